//! Where a handler may stand: programs behind upgrades and calls, middlewares in front of routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Error, anyhow};

use crate::catalog::{Catalog, Route, RouteGate};
use crate::config::Config;
use crate::job::{HandlerVersion, Kind, Name};

/// The most middlewares of a route. Each holds a job while what stands behind it answers.
const DEEPEST: usize = 4;

/// The middlewares in front of a route.
struct RouteMiddlewares<'a> {
    path: &'a str,
    has_upgrade: bool,
    list: Vec<&'a HandlerVersion>,
}

/// Finds routes and `calls` that use a handler as a program although it answers HTTP itself, and so has no stdin and
/// stdout.
pub(super) fn for_programs(config: &Config, kinds: &BTreeMap<Name, Kind>) -> Vec<Error> {
    let proxy = |name: &Name| kinds.get(name) == Some(&Kind::Proxy);
    let upgraded = config.routes.iter().filter(|route| route.upgrade.is_some());
    let upgraded = upgraded.filter_map(|route| Some((&route.path, route.handler()?)));
    let upgraded = upgraded.filter(|(_, name)| proxy(name)).map(|(path, name)| no_upgrade(path, name));
    let called = config.handlers.iter().flat_map(|handler| {
        let called = handler.calls.iter().filter(|called| proxy(called));
        called.map(|called| no_call(&handler.name, called))
    });
    upgraded.chain(called).collect()
}

/// Finds middlewares that cannot stand where they are named. No middleware may stand in front of an upgrade, or behind too
/// many others. And the middlewares that run at once must leave a job for what stands behind them.
pub(super) fn for_middlewares(config: &Config, handlers: &BTreeMap<Name, Arc<HandlerVersion>>) -> Vec<Error> {
    let middleware = |name: &String| handlers.get(name.as_str()).filter(|entry| entry.grants.passes_on);
    let routes = config.routes.iter().map(|route| RouteMiddlewares {
        path: &route.path,
        has_upgrade: route.upgrade.is_some(),
        list: route.before.iter().filter_map(middleware).map(|entry| &**entry).collect(),
    });
    misplaced(routes, config.jobs)
}

/// Checks that a version of another kind than the one before may stand where its handler is named. `catalog` has it
/// already, and `jobs` is the number of jobs at once, if it is bounded.
///
/// # Errors
/// All places where it cannot stand, one each.
pub(in crate::jobs) fn check_places(
    catalog: &Catalog,
    entry: &HandlerVersion,
    jobs: Option<usize>,
) -> Result<(), Vec<Error>> {
    let mut errors = Vec::new();
    if entry.kind == Kind::Proxy {
        let upgraded = catalog.routes.iter().filter(|route| route.upgrade.is_some());
        let upgraded = upgraded.filter(|route| route.leads_to(&entry.name));
        errors.extend(upgraded.map(|route| no_upgrade(&route.pattern, &entry.name)));
        let callers = catalog.handlers.values().filter(|caller| caller.calls.contains(&entry.name));
        errors.extend(callers.map(|caller| no_call(&caller.name, &entry.name)));
    }
    if entry.grants.passes_on {
        errors.extend(misplaced(catalog.routes.iter().map(middlewares), jobs.unwrap_or(usize::MAX)));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn middlewares(route: &Route) -> RouteMiddlewares<'_> {
    let gates = route.checks.iter().flat_map(|checks| &checks.gates);
    let list = gates.filter_map(|gate| match gate {
        RouteGate::Handler(entry) => entry.grants.passes_on.then_some(&**entry),
        RouteGate::BuiltIn(_) => None,
    });
    RouteMiddlewares { path: &route.pattern, has_upgrade: route.upgrade.is_some(), list: list.collect() }
}

fn misplaced<'a>(routes: impl Iterator<Item = RouteMiddlewares<'a>>, jobs: usize) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut used: BTreeMap<&Name, usize> = BTreeMap::new();
    for RouteMiddlewares { path, has_upgrade, list } in routes {
        used.extend(list.iter().map(|&entry| (&entry.name, entry.limits.concurrency)));
        let names = || list.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
        if !list.is_empty() && has_upgrade {
            errors.push(anyhow!(
                "route {path:?}: upgrade: {} in before is a middleware, which passes on requests and no upgrade",
                names()
            ));
        }
        if list.len() > DEEPEST {
            errors.push(anyhow!("route {path:?}: before: {DEEPEST} middlewares at most, found {}", names()));
        }
    }
    let held: usize = used.values().sum();
    if held > 0 && held >= jobs {
        let names = used.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        errors.push(anyhow!(
            "the middlewares {names} may hold {held} jobs at once, which leaves none of jobs = {jobs} for what stands \
             behind them: lower limits.concurrency of these handlers, or raise jobs"
        ));
    }
    errors
}

fn no_upgrade(path: &str, name: &Name) -> Error {
    let name = name.as_str();
    anyhow!("route {path:?}: upgrade is for programs; the handler {name:?} answers by itself (wasi:http)")
}

fn no_call(caller: &Name, called: &Name) -> Error {
    let (caller, called) = (caller.as_str(), called.as_str());
    anyhow!("handler {caller:?}: calls: only programs are called; {called:?} answers HTTP by itself")
}
