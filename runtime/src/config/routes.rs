//! Makes the routing table from the routes and the handlers.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use http::Method;

use super::model::Config;
use super::rate_limit::RateLimitConfig;
use super::route_model::{RouteConfig, TargetConfig};
use super::store::StoreConfig;
use crate::access::{AccessGate, RateLimits};
use crate::catalog::{
    EntryChecks, RouteError, RouteGate, RouteLimit, RouteSpec, RouteTarget, Routes, StaticFiles,
};
use crate::files::FileRoot;
use crate::job::{HandlerVersion, Name};
use crate::store::{SharedRate, SharedStore};

impl Config {
    /// Lists the files of error pages, with the line of their route.
    pub(super) fn error_pages(&self) -> impl Iterator<Item = (usize, &Path)> {
        let of_all = self.response_rules.errors.files().map(|page| (0, page));
        let of_routes = self.routes.iter().flat_map(|route| {
            // Most routes have the pages of their group.
            let of_group = route.group.iter().filter(|group| group.rules.errors != route.rules.errors);
            let of_group = of_group.flat_map(|group| group.rules.errors.files());
            route.rules.errors.files().chain(of_group).map(|page| (route.line, page))
        });
        of_all.chain(of_routes)
    }

    /// Makes the routing table from the routes and the handlers. `limits` are those in service: a limit with the same
    /// rule keeps its state. `open` opens the directories of static routes, and `store` returns the stores of limits.
    ///
    /// # Errors
    /// A route leads to a handler that is not in `handlers` or to a directory that cannot be opened, the password of a
    /// store is missing, or routes conflict. A configuration that was read has no conflicts.
    pub fn routes(
        &self,
        handlers: &BTreeMap<Name, Arc<HandlerVersion>>,
        limits: RateLimits,
        mut open: impl FnMut(&Path) -> anyhow::Result<FileRoot>,
        store: impl Fn(&StoreConfig) -> anyhow::Result<Arc<SharedStore>>,
    ) -> Result<Routes, Vec<RouteError>> {
        let mut specs = Vec::with_capacity(self.routes.len());
        let mut errors = Vec::new();
        let mut checks = ChecksOfRoutes::new(self, handlers, limits);
        for (position, route) in self.routes.iter().enumerate() {
            let RouteConfig { path, methods, host, target, upgrade, rules, group, versions, .. } = route;
            let target = match target {
                TargetConfig::Handler(name) => match handlers.get(name) {
                    Some(entry) => RouteTarget::Handler(entry.clone()),
                    None => {
                        let message = format!("route {path:?}: there is no handler {:?}", name.as_str());
                        errors.push(RouteError { position, message });
                        continue;
                    }
                },
                TargetConfig::Redirect(redirect) => RouteTarget::Redirect(redirect.clone()),
                TargetConfig::Respond(response) => RouteTarget::Respond(response.clone()),
                TargetConfig::Rewrite(to) => RouteTarget::Rewrite(to.clone()),
                TargetConfig::Files(options) => match open(&options.dir) {
                    Ok(root) => {
                        let files = StaticFiles { root: Arc::new(root), options: options.clone() };
                        RouteTarget::Files(Arc::new(files))
                    }
                    Err(failure) => {
                        let message = format!("route {path:?}: static: {failure:#}");
                        errors.push(RouteError { position, message });
                        continue;
                    }
                },
            };
            let checks = match checks.of(route, &store) {
                Ok(checks) => checks,
                Err(failure) => {
                    let message = format!("route {path:?}: limit: {failure:#}");
                    errors.push(RouteError { position, message });
                    continue;
                }
            };
            specs.push(RouteSpec {
                pattern: path.clone(),
                methods: methods.clone(),
                host: host.clone(),
                target,
                upgrade: upgrade.clone(),
                group: group.clone(),
                versions: versions.clone(),
                checks,
                rules: (!rules.is_empty()).then(|| Arc::new(rules.clone())),
            });
        }
        if errors.is_empty() { Routes::new(specs) } else { Err(errors) }
    }
}

/// Makes the checks of routes.
struct ChecksOfRoutes<'a> {
    /// The limits of handlers that have one.
    of_handlers: HashMap<&'a Name, &'a RateLimitConfig>,
    gates: HashMap<&'a str, &'a Arc<AccessGate>>,
    handlers: HashMap<&'a str, &'a Arc<HandlerVersion>>,
    limits: RateLimits,
}

impl<'a> ChecksOfRoutes<'a> {
    fn new(
        config: &'a Config,
        handlers: &'a BTreeMap<Name, Arc<HandlerVersion>>,
        limits: RateLimits,
    ) -> ChecksOfRoutes<'a> {
        let limited =
            config.handlers.iter().filter_map(|handler| Some((&handler.name, handler.limit.as_ref()?)));
        let gates = config.gates.iter().map(|gate| (gate.name.as_str(), gate));
        let handlers = handlers.iter().map(|(name, entry)| (name.as_str(), entry));
        ChecksOfRoutes {
            of_handlers: limited.collect(),
            gates: gates.collect(),
            handlers: handlers.collect(),
            limits,
        }
    }

    fn of(
        &mut self,
        route: &RouteConfig,
        store: impl Fn(&StoreConfig) -> anyhow::Result<Arc<SharedStore>>,
    ) -> anyhow::Result<Option<Arc<EntryChecks>>> {
        if matches!(route.target, TargetConfig::Rewrite(_)) {
            // Those of the route that answers apply.
            return Ok(None);
        }
        let (limits, limits_behind) = self.limits_of(route, store)?;
        Ok(EntryChecks { limits, gates: self.gates_of(route), limits_behind }.if_any())
    }

    /// Returns the gates of a route. A handler that could not be made is left out; the load is refused for it.
    fn gates_of(&self, route: &RouteConfig) -> Vec<RouteGate> {
        let gate = |name: &String| match self.gates.get(name.as_str()) {
            Some(gate) => Some(RouteGate::BuiltIn((*gate).clone())),
            None => self.handlers.get(name.as_str()).map(|entry| RouteGate::Handler((*entry).clone())),
        };
        route.before.iter().filter_map(gate).collect()
    }

    /// Returns the limits of a route before its gates and behind them. That of a handler counts what would reach the
    /// handler, so that nobody uses it up without credentials.
    fn limits_of(
        &mut self,
        route: &RouteConfig,
        store: impl Fn(&StoreConfig) -> anyhow::Result<Arc<SharedStore>>,
    ) -> anyhow::Result<(Vec<RouteLimit>, Vec<RouteLimit>)> {
        let of_route = route.limit.as_ref().map(|limit| (format!("route {}", subject(route)), limit));
        let of_handler = route.handler().and_then(|name| {
            let limit = *self.of_handlers.get(name)?;
            Some((format!("handler {name}"), limit))
        });
        let mut made = |(subject, RateLimitConfig { rule, store: shared }): (String, &RateLimitConfig)| {
            let shared = shared.as_ref().map(|shared| {
                let (interval, burst) = (rule.rate.interval(), rule.burst.get());
                let description = format!("{subject}: {rule}");
                anyhow::Ok(Arc::new(SharedRate::new(store(shared)?, &description, interval, burst)))
            });
            anyhow::Ok(RouteLimit { limit: self.limits.get(&subject, rule), shared: shared.transpose()? })
        };
        let is_early = |(_, limit): &(String, &RateLimitConfig)| limit.rule.by.counts_before_gates();
        let (early, late): (Vec<_>, Vec<_>) = of_route.into_iter().partition(is_early);
        let early = early.into_iter().map(&mut made).collect::<anyhow::Result<_>>()?;
        let behind = late.into_iter().chain(of_handler).map(made).collect::<anyhow::Result<_>>()?;
        Ok((early, behind))
    }
}

/// Names a route on one line: `GET,POST a.example/hello/{who}`.
fn subject(route: &RouteConfig) -> String {
    let methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
    let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
    format!("{methods} {}{}", route.host.as_deref().unwrap_or_default(), route.path)
}
