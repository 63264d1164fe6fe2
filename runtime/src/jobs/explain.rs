//! `explain METHOD URL`: which route a request would match, and why; or why no route matches.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use http::{Method, Uri};

use super::api::{ExplainCommand, ExplainReply, ExplainedHandler, ExplainedRoute, NearMiss};
use super::daemon_state::DaemonState;
use super::describe;
use super::reply::ReplyJob;
use crate::access::AddressSet;
use crate::catalog::{Catalog, Lookup, Match, NoHost, RequestParts, Route, RouteSpec, RouteTarget, Routes};
use crate::cgi::path::{self, PathError};
use crate::engine::Engine;
use crate::job::Job;
use crate::net::AcmeCertificates;

/// Explains how this engine routes a request.
pub struct Explain {
    /// The state with the configuration in effect.
    pub state: Arc<DaemonState>,
}

/// The maximum number of near misses in the reply.
const MISSES: usize = 5;

/// The request to explain, which is not sent.
struct Request {
    method: Method,
    host: Option<String>,
    /// Decoded.
    path: String,
    /// As a client sends it.
    raw_path: String,
    query: Option<String>,
}

impl ReplyJob for Explain {
    type Command = ExplainCommand;

    async fn answer(&self, engine: &Arc<Engine>, job: &Job) -> Result<ExplainReply> {
        let request = Request::read(&ExplainCommand::decode(&job.args)?)?;
        let config = self.state.config.load();
        let client = client(&config.trusted_proxies);
        let mut reply = request.explain(&engine.live().pin());
        if config.https_redirect && request.path != "/healthz" {
            reply.why += "; before routing, a request over TCP in clear is redirected to https:";
        }
        let obtains = self.state.tls().is_some_and(|tls| tls.acme().is_some());
        if obtains && AcmeCertificates::is_validation_path(&request.raw_path) {
            reply.why += "; before routing, a token that [tls.acme] waits for is answered";
        }
        let traces = engine.traces().current().map(|tracer| tracer.settings().to_string());
        Ok(ExplainReply { client, traces, ..reply })
    }
}

impl Request {
    fn read(ExplainCommand { method, url }: &ExplainCommand) -> Result<Request> {
        let capitals = !method.bytes().any(|byte| byte.is_ascii_lowercase());
        let method = method
            .parse::<Method>()
            .ok()
            .filter(|_| capitals)
            .with_context(|| format!("{method:?}: write a method in capitals, such as GET"))?;
        let wanted = || format!("{url:?}: write a path such as /hello, or http://HOST/hello");
        let uri: Uri = url.parse().ok().with_context(wanted)?;
        // The parser reads `foo` alone as a host, which is hardly what was meant.
        ensure!(url.starts_with('/') || url.contains("://"), wanted());
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        Ok(Request {
            method,
            host: uri.host().map(str::to_owned),
            path: path::decode(path).with_context(wanted)?.into_owned(),
            raw_path: path.to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    fn explain(&self, catalog: &Catalog) -> ExplainReply {
        let (mut route, mut trial, mut allow) = (None, None, None);
        let host = self.host.as_deref();
        let (status, why) = match catalog.routes.lookup(host, &self.method, &self.path) {
            _ if matches!(self.method, Method::CONNECT | Method::TRACE) => {
                (Some(501), "CONNECT and TRACE are not implemented".to_owned())
            }
            Lookup::Found(found) => {
                let explained = route.insert(self.found(&found));
                let handler = found.route.target.handler();
                trial = handler.and_then(|handler| catalog.trials.get(&handler.name)).map(describe::trial);
                match &found.route.target {
                    RouteTarget::Rewrite(_) => self.follow(catalog, &found, explained),
                    RouteTarget::Handler(_)
                    | RouteTarget::Redirect(_)
                    | RouteTarget::Respond(_)
                    | RouteTarget::Files(_) => self.answered(catalog, &found, &self.path),
                }
            }
            Lookup::MethodNotAllowed { allow: methods, .. } => {
                allow = Some(methods.iter().map(ToString::to_string).collect());
                self.not_allowed("the most specific path")
            }
            Lookup::UnsupportedVersion { route, .. } => (Some(400), unsupported(route)),
            Lookup::NotFound if self.path == "/healthz" => {
                let why = "no route matches, so the daemon itself answers with the state of its gate";
                (Some(200), why.to_owned())
            }
            Lookup::NotFound => {
                let group = catalog.routes.group_of(host, &self.path);
                let of_group = group.map(|group| format!("; the 404 is that of the group {}", group.name));
                (Some(404), format!("no route matches this host and path{}", of_group.unwrap_or_default()))
            }
        };
        let near = self.near(catalog, route.as_ref().map(|found| found.route.as_str()));
        ExplainReply {
            method: self.method.to_string(),
            host: self.host.clone(),
            path: self.path.clone(),
            generation: catalog.generation,
            client: String::new(),
            traces: None,
            route,
            trial,
            allow,
            status,
            why,
            near,
        }
    }

    fn found(&self, found: &Match<'_, '_>) -> ExplainedRoute {
        let RouteSpec { target, methods, host, upgrade, group, .. } = &found.route.spec;
        let captures = found.captures().map(|(capture, value)| (capture.name.clone(), value.to_owned()));
        let method = match (methods.contains(&self.method), methods.is_empty()) {
            (true, _) => "is listed",
            (false, true) => "every method is taken",
            (false, false) => "HEAD is answered as GET",
        };
        ExplainedRoute {
            route: describe::route(found.route),
            pattern: found.route.pattern.clone(),
            host: host.as_deref().unwrap_or("every host").to_owned(),
            method: method.to_owned(),
            upgrade: upgrade.as_ref().map(|upgrade| upgrade.protocol().to_owned()),
            group: group.as_ref().map(|group| group.name.clone()),
            api_version: found.api_version().map(str::to_owned),
            limits: describe::rate_limits(found.route),
            before: describe::gates(found.route),
            captures: captures.collect(),
            script_name: found.script_name.to_owned(),
            path_info: found.path_info.to_owned(),
            target: target.to_string(),
            location: self.location(found),
            responses: found.route.rules.as_ref().map(|rules| rules.to_string()),
            handler: target.handler().map(|handler| ExplainedHandler {
                name: handler.name.to_string(),
                kind: handler.kind.to_string(),
                version: handler.version.clone(),
                grants: describe::grants(handler),
            }),
        }
    }

    /// Follows the path that a rewrite has made, as a request does: the gates and limits are those of the route behind it.
    /// Returns the status if the daemon answers, and the reason.
    fn follow(
        &self,
        catalog: &Catalog,
        found: &Match<'_, '_>,
        rewrite: &mut ExplainedRoute,
    ) -> (Option<u16>, String) {
        let (routes, host) = (&catalog.routes, self.host.as_deref());
        let location = rewrite.location.get_or_insert_default();
        let Ok(mut path) = path_of(location) else {
            return (Some(400), "the rewrite makes no valid path of this request".to_owned());
        };
        if let Some(version) = routes.version_left_out(found, host, &self.method, &path) {
            location.insert_str(0, &version);
            // Both are valid.
            path = path_of(location).unwrap_or(path);
        }
        match routes.lookup(host, &self.method, &path) {
            Lookup::Found(found) => {
                let behind = describe::route(found.route);
                if matches!(found.route.target, RouteTarget::Rewrite(_)) {
                    return (Some(508), format!("the rewritten path leads to another rewrite, {behind}"));
                }
                rewrite.limits = describe::rate_limits(found.route);
                rewrite.before = describe::gates(found.route);
                let (status, why) = self.answered(catalog, &found, &path);
                (status, format!("the rewritten path leads to {behind}: {why}"))
            }
            Lookup::MethodNotAllowed { .. } => self.not_allowed("the rewritten path"),
            Lookup::UnsupportedVersion { route, .. } => (Some(400), unsupported(route)),
            Lookup::NotFound if path == "/healthz" => {
                (Some(200), "the rewritten path is answered with the state of the gate".to_owned())
            }
            Lookup::NotFound => (Some(404), "no route matches the rewritten path".to_owned()),
        }
    }

    /// Returns the status of a request for a path that has no route for the method, and the reason.
    fn not_allowed(&self, path: &str) -> (Option<u16>, String) {
        let why = format!("{path} has routes, but none for this method");
        match self.method == Method::OPTIONS {
            true => (Some(204), format!("{why}, so the daemon answers with the methods that they have")),
            false => (Some(405), why),
        }
    }

    /// Returns the status of a request that a route takes, if the daemon answers, and the reason.
    fn answered(&self, catalog: &Catalog, found: &Match<'_, '_>, path: &str) -> (Option<u16>, String) {
        let RouteSpec { target, .. } = &found.route.spec;
        let is_option = target.handler().is_some_and(|handler| found.option(handler).is_some());
        let (status, why) = match catalog.routes.evasion(found, self.host.as_deref(), &self.method, path) {
            Some(evades) => (Some(400), evades),
            None if is_option => {
                (Some(400), "a capture begins with `-`, which a program would read as an option")
            }
            None => (describe::status(target), "this route is the most specific for the host and path"),
        };
        (status, why.to_owned())
    }

    /// Returns the URL that the route redirects to, or the path that is routed instead.
    fn location(&self, found: &Match<'_, '_>) -> Option<String> {
        let to = match &found.route.target {
            RouteTarget::Redirect(redirect) => &redirect.to,
            RouteTarget::Rewrite(to) => to,
            RouteTarget::Handler(_) | RouteTarget::Respond(_) | RouteTarget::Files(_) => return None,
        };
        let (path, query) = (self.raw_path.as_str(), self.query.as_deref());
        let parts = RequestParts { host: self.host.as_deref(), path, query };
        Some(found.fill(to, parts).unwrap_or_else(|NoHost| "needs a host: write http://HOST/...".to_owned()))
    }

    /// Lists the routes that would match if the request were slightly different, or if no other route came first.
    fn near(&self, catalog: &Catalog, chosen: Option<&str>) -> Vec<NearMiss> {
        let others = catalog.routes.iter().filter(|route| Some(&*describe::route(route)) != chosen);
        let missed = others.filter_map(|route| {
            let miss = self.miss(&alone(route)?, route)?;
            Some(NearMiss { route: describe::route(route), handler: route.target.to_string(), miss })
        });
        missed.take(MISSES).collect()
    }

    /// Describes why a request does not match a route.
    fn miss(&self, alone: &Routes, route: &Route) -> Option<String> {
        let finds = |host: Option<&str>, path: &str| match alone.lookup(host, &self.method, path) {
            Lookup::Found(_) => Some(None),
            Lookup::MethodNotAllowed { allow, .. } => {
                let allow: Vec<&str> = allow.iter().map(Method::as_str).collect();
                Some(Some(format!("takes {}", allow.join(", "))))
            }
            Lookup::NotFound | Lookup::UnsupportedVersion { .. } => None,
        };
        // A name that matches a pattern such as `*.example.org`.
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

/// Decodes the path of a target.
fn path_of(target: &str) -> Result<String, PathError> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    path::decode(path).map(Cow::into_owned)
}

/// Describes why a version of the API is refused.
fn unsupported(route: &Route) -> String {
    let supported = route.versions.as_ref();
    supported.map_or_else(
        || "the version of the API is not supported".to_owned(),
        |range| format!("the group of the route supports the versions {range}"),
    )
}

/// Describes which client a request would come from.
fn client(trusted: &AddressSet) -> String {
    if trusted.is_empty() {
        return "the far end of the connection; no proxy is trusted".to_owned();
    }
    format!(
        "the far end of the connection; behind {trusted}, the client that Forwarded or X-Forwarded-For names"
    )
}

/// Makes a routing table of one route, so that no other route comes first.
fn alone(route: &Route) -> Option<Routes> {
    let spec = RouteSpec { checks: None, ..route.spec.clone() };
    Routes::new(vec![spec]).ok()
}
