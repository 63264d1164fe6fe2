//! Reads `[[route]]`: the routes, checked against the handlers and each other.

use std::collections::HashSet;

use http::Method;

use super::model::RouteConfig;
use super::nearest::Names;
use super::reader::Keyed;
use super::report::Diagnostics;
use super::schema;
use super::values::method;
use super::websocket;
use crate::catalog::{Claim, Upgrade, VersionPrefix, conflicts};
use crate::job::Name;

/// Reads the routes; `handlers` are the names written in the file, valid or not. A route with an error is
/// reported and left out.
pub(super) fn read(
    written: &[Keyed<schema::Route>],
    handlers: &Names<'_>,
    versions: VersionPrefix,
    report: &Diagnostics<'_>,
) -> Vec<RouteConfig> {
    let (places, routes): (Vec<_>, Vec<_>) =
        written.iter().filter_map(|at| Some((at, one(at, handlers, report)?))).unzip();
    let claims: Vec<_> = routes.iter().map(claim).collect();
    let mut reported = HashSet::new();
    for error in conflicts(&claims, versions) {
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
        handler: route.handler.as_str(),
    }
}

fn one(
    written: &Keyed<schema::Route>,
    handlers: &Names<'_>,
    report: &Diagnostics<'_>,
) -> Option<RouteConfig> {
    let Keyed { value: route, key, line } = written;
    if route.path.is_none() {
        report.missing(*line, key, "path", "write path = \"/hello/{who}\"");
    }
    if route.handler.is_none() {
        report.missing(*line, key, "handler", "write the NAME of a [handler.NAME]");
    }
    let methods = route.methods.as_ref().map(|list| methods(list, report)).unwrap_or_default();
    let handler = route.handler.as_ref();
    let handler = report.settle(handler, None, |name| known(name, handlers).map(Some));
    let upgrade = websocket::read(written, report);
    // A route whose method or host is invalid must not count as a route for all of them.
    if report.blames(key) {
        return None;
    }
    let methods = match upgrade {
        Some(Upgrade::WebSocket(_)) => vec![Method::GET],
        Some(Upgrade::Tcp) | None => methods,
    };
    Some(RouteConfig {
        path: route.path.as_ref()?.value.clone(),
        methods,
        host: route.host.as_ref().map(|at| at.value.clone()),
        handler: handler?,
        upgrade,
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

fn known(name: &str, handlers: &Names<'_>) -> Result<Name, String> {
    if handlers.contains(name) {
        return name.parse().map_err(|error| format!("{error}"));
    }
    Err(match handlers.nearest(name) {
        Some(near) => format!("there is no handler {name:?}; did you mean {near:?}?"),
        None => format!("there is no handler {name:?}: add [handler.{name}] with its module"),
    })
}
