//! `explain METHOD URL`: which route would answer a request, and why; or why none would.

use std::sync::{Arc, Weak};

use anyhow::{Context as _, Result, bail, ensure};
use http::{Method, Uri};
use serde_json::{Value, json};

use super::describe;
use super::tell::tell;
use crate::catalog::{Catalog, Lookup, Match, Route, RouteSpec, Routes, Upgrade};
use crate::cgi::path;
use crate::engine::Engine;
use crate::job::{Fault, Handler, Job, Run, Stay, Tenure};

/// Explains the routing of this engine.
pub struct Explain {
    /// The engine, which holds this job.
    pub engine: Weak<Engine>,
}

/// Near misses that are told at most.
const MISSES: usize = 5;

/// A request that nobody sends.
struct Request {
    method: Method,
    host: Option<String>,
    path: String,
}

impl Handler for Explain {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let engine = self.engine.upgrade().ok_or(Fault::Draining)?;
            let outcome = Request::read(&job.args).map(|request| request.explain(&engine.live().pin()));
            tell(&job, outcome.map(|told| told.to_string())).await
        })
    }

    fn tenure(&self) -> Tenure {
        Tenure::Attendance
    }

    fn stay(&self) -> Stay {
        Stay::Moment
    }
}

impl Request {
    fn read(args: &[String]) -> Result<Request> {
        let [method, url] = args else { bail!("usage: explain METHOD URL") };
        let capitals = !method.bytes().any(|byte| byte.is_ascii_lowercase());
        let method = method
            .parse::<Method>()
            .ok()
            .filter(|_| capitals)
            .with_context(|| format!("{method:?}: write a method in capitals, such as GET"))?;
        let wanted = || format!("{url:?}: write a path such as /hello, or http://HOST/hello");
        let uri: Uri = url.parse().ok().with_context(wanted)?;
        // `foo` alone reads as a host, and nobody means that.
        ensure!(url.starts_with('/') || url.contains("://"), wanted());
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        Ok(Request {
            method,
            host: uri.host().map(str::to_owned),
            path: path::decode(path).with_context(wanted)?.into_owned(),
        })
    }

    fn explain(&self, catalog: &Catalog) -> Value {
        let mut told = json!({
            "method": self.method.as_str(),
            "host": self.host,
            "path": self.path,
            "generation": catalog.generation,
        });
        let host = self.host.as_deref();
        let (status, why) = match catalog.routes.lookup(host, &self.method, &self.path) {
            Lookup::Found(found) => {
                told["route"] = self.found(&found);
                let trial = catalog.canaries.get(&found.route.handler.name);
                told["trial"] = trial.map(describe::trial).into();
                match found.option(&found.route.handler) {
                    None => (None, "this route is the most specific for the host and path"),
                    Some(_) => (Some(400), "a capture begins with `-`, which a program takes for an option"),
                }
            }
            Lookup::MethodNotAllowed { allow } => {
                let allow: Vec<&str> = allow.iter().map(Method::as_str).collect();
                told["allow"] = allow.into();
                (Some(405), "the most specific path has routes, but none for this method")
            }
            Lookup::NotFound if self.path == "/healthz" => {
                (Some(200), "no route matches, so the daemon itself says where its gate stands")
            }
            Lookup::NotFound => (Some(404), "no route matches this host and path"),
        };
        told["status"] = status.into();
        told["why"] = why.into();
        told["near"] = self.near(catalog, told["route"]["route"].as_str().unwrap_or_default()).into();
        told
    }

    fn found(&self, found: &Match<'_, '_>) -> Value {
        let Route { handler, methods, host, upgrade, .. } = found.route;
        let captures: serde_json::Map<_, _> =
            found.captures().map(|(capture, value)| (capture.name.clone(), value.into())).collect();
        let listed = methods.contains(&self.method);
        json!({
            "route": describe::route(found.route),
            "pattern": found.route.pattern,
            "host": host.as_deref().unwrap_or("every host"),
            "method": match (listed, methods.is_empty()) {
                (true, _) => "is listed",
                (false, true) => "every method is taken",
                (false, false) => "HEAD is answered as GET",
            },
            "upgrade": upgrade.as_ref().map(Upgrade::protocol),
            "api_version": found.api_version,
            "captures": captures,
            "script_name": found.script_name,
            "path_info": found.path_info,
            "handler": {
                "name": handler.name.as_str(),
                "kind": handler.kind.to_string(),
                "version": handler.version,
                "grants": describe::grants(handler),
            },
        })
    }

    /// Lists the routes that would have answered if the request had been a little different, or if
    /// they had been alone.
    fn near(&self, catalog: &Catalog, chosen: &str) -> Vec<Value> {
        let others = catalog.routes.iter().filter(|route| describe::route(route) != chosen);
        let missed = others.filter_map(|route| {
            let miss = self.miss(&alone(route, &catalog.routes)?, route)?;
            Some(json!({ "route": describe::route(route), "handler": route.handler.name.as_str(), "miss": miss }))
        });
        missed.take(MISSES).collect()
    }

    /// Says what is between a request and a route.
    fn miss(&self, alone: &Routes, route: &Route) -> Option<String> {
        let finds = |host: Option<&str>, path: &str| match alone.lookup(host, &self.method, path) {
            Lookup::Found(_) => Some(None),
            Lookup::MethodNotAllowed { allow } => {
                let allow: Vec<&str> = allow.iter().map(Method::as_str).collect();
                Some(Some(format!("takes {}", allow.join(", "))))
            }
            Lookup::NotFound => None,
        };
        // A name that a pattern such as `*.example.org` stands for.
        let its_host = route.host.as_ref().map(|host| host.replacen('*', "www", 1));
        let asked = self.host.as_deref();
        let slashed = match self.path.strip_suffix('/') {
            Some(without) => without.to_owned(),
            None => format!("{}/", self.path),
        };
        let lower = self.path.to_lowercase();
        let attempts = [
            (asked, self.path.as_str(), "matches, but is less specific".to_owned()),
            (
                its_host.as_deref(),
                self.path.as_str(),
                format!("answers for host {}", route.host.as_deref().unwrap_or_default()),
            ),
            (its_host.as_deref(), slashed.as_str(), format!("answers at {slashed}")),
            (its_host.as_deref(), lower.as_str(), format!("answers at {lower}: case matters")),
        ];
        let found = attempts
            .into_iter()
            .find_map(|(host, path, miss)| finds(host, path).map(|method| method.unwrap_or(miss)));
        found.or_else(|| self.begins_as(route).then(|| "begins with the same segment".to_owned()))
    }

    fn begins_as(&self, route: &Route) -> bool {
        let first = |path: &str| path.split('/').nth(1).map(str::to_owned).filter(|first| !first.is_empty());
        first(&self.path).is_some_and(|segment| first(&route.pattern) == Some(segment))
    }
}

/// Makes a table of one route, so that no other is in its way.
fn alone(route: &Route, all: &Routes) -> Option<Routes> {
    let spec = RouteSpec {
        pattern: route.pattern.clone(),
        methods: route.methods.clone(),
        host: route.host.clone(),
        handler: route.handler.clone(),
        upgrade: route.upgrade.clone(),
    };
    Routes::new(vec![spec], all.versions()).ok()
}
