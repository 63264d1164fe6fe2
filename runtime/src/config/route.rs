//! Reads `[[route]]`: the routes, checked against the handlers and each other.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use http::Method;

use super::before::GateNames;
use super::directories::Directories;
use super::group::Groups;
use super::nearest::Names;
use super::rate_limit;
use super::reader::Keyed;
use super::report::Diagnostics;
use super::route_model::{RouteConfig, TargetConfig};
use super::route_schema::Route;
use super::store::Stores;
use super::values::method;
use super::{response_rules, static_files, target, websocket};
use crate::catalog::{Claim, ResponseRules, Upgrade, VersionRange, captures, conflicts};
use crate::job::Name;

/// The context for reading a route.
#[derive(Clone, Copy)]
pub(super) struct RouteContext<'a> {
    /// The names of handlers written in the file, valid or not.
    pub(super) handlers: &'a Names<'a>,
    /// The directory at which relative paths start.
    pub(super) base: &'a Path,
    pub(super) directories: Directories,
    /// The versions of routes whose group names none. `None` without `version_prefix`.
    pub(super) versions: Option<&'a Arc<VersionRange>>,
    pub(super) groups: &'a Groups<'a>,
    /// The names that `before` may hold.
    pub(super) gates: &'a GateNames<'a>,
    /// The rules for the responses of all routes.
    pub(super) rules: &'a ResponseRules,
    /// The stores in which limits may count.
    pub(super) stores: &'a Stores<'a>,
}

/// Reads the routes. A route with an error is reported and left out.
pub(super) fn read(
    written: &[Keyed<Route>],
    context: RouteContext<'_>,
    report: &Diagnostics<'_>,
) -> Vec<RouteConfig> {
    let (places, routes): (Vec<_>, Vec<_>) =
        written.iter().filter_map(|at| Some((at, one(at, context, report)?))).unzip();
    let claims: Vec<_> = routes.iter().map(claim).collect();
    let mut reported = HashSet::new();
    for error in conflicts(&claims) {
        let Keyed { line, key, .. } = places[error.position];
        report.add(*line, key, error.message);
        reported.insert(error.position);
    }
    let sound = routes.into_iter().enumerate().filter(|(position, _)| !reported.contains(position));
    sound.map(|(_, route)| route).collect()
}

fn claim(route: &RouteConfig) -> Claim<'_> {
    Claim {
        pattern: &route.path,
        methods: &route.methods,
        host: route.host.as_deref(),
        handler: route.handler().map(Name::as_str),
    }
}

fn one(
    written: &Keyed<Route>,
    RouteContext { handlers, base, directories, groups, gates, rules, stores, versions }: RouteContext<'_>,
    report: &Diagnostics<'_>,
) -> Option<RouteConfig> {
    let Keyed { value: route, key, line } = written;
    if route.path.is_none() {
        report.missing(*line, key, "path", "write path = \"/hello/{who}\"");
    }
    target::exactly_one(written, report);
    let methods = route.methods.as_ref().map(|list| methods(list, report)).unwrap_or_default();
    let handler = route.handler.as_ref();
    let advice = |name: &str| format!("add [handler.{name}] with its module");
    let handler = report.settle(handler, None, |name| handlers.known(name, advice).map(Some));
    let captures = route.path.as_ref().and_then(|at| captures(&at.value)).unwrap_or_default();
    let redirect = target::redirect(route, &captures, report).map(TargetConfig::Redirect);
    let respond = route.respond.as_ref().map(|at| TargetConfig::Respond(target::respond(&at.value, report)));
    let files = static_files::read(route, (base, directories), report);
    let rewrite = target::rewrite(route, &captures, report).map(TargetConfig::Rewrite);
    let group = groups.of(route, report);
    let shared = group.map(|group| &group.shared);
    let rules = shared.map_or(rules, |group| &group.rules);
    let rules = response_rules::of_route(route, rules, base, report);
    let upgrade = websocket::read(written, report);
    let limit = rate_limit::read(route.limit.as_ref(), stores, report);
    let of_group = group.map_or(&[][..], |group| &group.before);
    let before = gates.of_route(route.before.as_ref(), of_group, handler.as_ref(), report);
    let of_group = shared.and_then(|group| group.versions.clone());
    let versions = of_group.or_else(|| versions.cloned());
    if let (Some(range), Some(at)) = (&versions, &route.path)
        && range.is_named_in(&at.value)
    {
        let message = "begins with a version, which `version_prefix` or the group adds already: leave out the first segment";
        report.add(at.line, &at.key, message);
    }
    // A route whose method or host is invalid must not count as a route for all of them.
    if report.blames(key) {
        return None;
    }
    let methods = match upgrade {
        Some(Upgrade::WebSocket(_)) => vec![Method::GET],
        // GET brings HEAD.
        None if files.is_some() && methods.is_empty() => vec![Method::GET],
        Some(Upgrade::Tcp) | None => methods,
    };
    let prefix = shared.map_or("", |group| &group.prefix);
    let host = route.host.as_ref().map(|at| at.value.clone());
    Some(RouteConfig {
        path: format!("{prefix}{}", route.path.as_ref()?.value),
        methods,
        host: host.or_else(|| shared.and_then(|group| group.host.clone())),
        group: shared.cloned(),
        versions,
        target: handler
            .map(TargetConfig::Handler)
            .or(redirect)
            .or(respond)
            .or(files.map(TargetConfig::Files))
            .or(rewrite)?,
        upgrade,
        rules,
        limit,
        before,
        line: *line,
    })
}

fn methods(list: &Keyed<Vec<Keyed<String>>>, report: &Diagnostics<'_>) -> Vec<Method> {
    if list.value.is_empty() && !report.blames(&list.key) {
        report.add(list.line, &list.key, "an empty list: leave the key out for every method");
    }
    let (mut methods, mut known) = (Vec::new(), HashSet::new());
    for at in &list.value {
        match report.settle(Some(at), None, |text| served(method(text)?).map(Some)) {
            Some(method) if !known.insert(method.clone()) => {
                report.add(at.line, &at.key, format!("{method} is in this list already"));
            }
            read => methods.extend(read),
        }
    }
    methods
}

/// Refuses a method that the server never passes to a handler.
fn served(method: Method) -> Result<Method, String> {
    match method {
        Method::CONNECT | Method::TRACE => {
            Err(format!("{method} never reaches a handler: it is answered with 501; leave it out"))
        }
        other => Ok(other),
    }
}
