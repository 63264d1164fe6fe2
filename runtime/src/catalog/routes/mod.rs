//! The routing table: from host, method and path to a handler.
//!
//! Floors, lowest first: `claim`; `tables`; this file; `evasion`.

mod claim;
mod evasion;
mod tables;

pub use claim::{Claim, RouteError};
use tables::Tables;
pub use tables::conflicts;

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use http::Method;

use super::api_version::{self, VersionRange};
use super::entry_checks::EntryChecks;
use super::group::{RouteGroup, RouteGroups};
use super::path_tree::{CaptureValues, PathMatch};
use super::pattern::{PathCapture, PathPattern};
use super::prefix_map::PrefixMap;
use super::response_rules::ResponseRules;
use super::target::RouteTarget;
use super::template::{self, NoHost, RequestParts, Template};
use super::upgrade::Upgrade;
use crate::access::RateLimits;
use crate::job::{HandlerVersion, Kind, Name};

/// All routes of a catalog.
///
/// The most specific route of a path is chosen first. An exact host precedes `*.HOST`, and that precedes no host. Then
/// a fixed segment precedes a capture, and that precedes a tail. The method counts only after that: if the chosen path
/// has no route for it, the response is 405, not a less specific route.
#[derive(Clone, Default)]
pub struct Routes {
    list: Vec<Route>,
    /// Maps requests to indices in the list. Shared between generations: a swap changes handlers, not paths.
    tables: Arc<Tables>,
    /// The texts in front of the versions of groups.
    before_versions: Arc<PrefixMap<()>>,
    /// The groups that have routes.
    groups: Arc<RouteGroups>,
    has_hosts: bool,
    has_rewrites: bool,
    has_gates: bool,
}

/// A route in service. Immutable.
#[derive(Clone)]
pub struct Route {
    /// The route as configured.
    pub spec: RouteSpec,
    /// Its name in metrics and logs: the host and the path as written.
    pub label: Arc<str>,
    /// The named parts of the path, in order.
    pub captures: Vec<PathCapture>,
    has_tail: bool,
    /// The length of the text before the tail, if it is the same in every path.
    before_tail: Option<usize>,
}

/// A route as configured.
#[derive(Clone)]
pub struct RouteSpec {
    /// The path: matchit's `{name}` for a segment, or a part of one, and `{*name}` for the whole tail.
    pub pattern: String,
    /// The methods. An empty list means all of them.
    pub methods: Vec<Method>,
    /// A host name, or `*.NAME` for every name with one label more.
    pub host: Option<String>,
    /// Its target, which answers.
    pub target: RouteTarget,
    /// The protocol that clients upgrade to. `None` keeps HTTP.
    pub upgrade: Option<Upgrade>,
    /// The rules for its responses. `None` leaves them as they are.
    pub rules: Option<Arc<ResponseRules>>,
    /// Its group. `None` if it belongs to none.
    pub group: Option<Arc<RouteGroup>>,
    /// The API versions of its group. `None` without any.
    pub versions: Option<Arc<VersionRange>>,
    /// The checks that a request must pass before it is answered. `None` if there is no check.
    pub checks: Option<Arc<EntryChecks>>,
}

/// The result of a lookup.
pub enum Lookup<'r, 'p> {
    /// A route.
    Found(Match<'r, 'p>),
    /// The path has routes, but none for this method.
    MethodNotAllowed {
        /// The first route of the path.
        route: &'r Route,
        /// The methods of the path, sorted; HEAD where there is GET, and always OPTIONS.
        allow: &'r [Method],
    },
    /// The path has a route, but not in this version of the API.
    UnsupportedVersion {
        /// The route.
        route: &'r Route,
        /// Which versions are supported, for the client.
        message: String,
    },
    /// The path has no route.
    NotFound,
}

/// A route that matched, with the parts of the path.
pub struct Match<'r, 'p> {
    /// The route.
    pub route: &'r Route,
    /// The API version at the start of the path: `1.14`.
    named_version: Option<&'p str>,
    /// The path up to the tail, without a final `/`; without a tail, the whole path (RFC 3875 §4.1.13).
    pub script_name: &'p str,
    /// `/` and the tail; empty without a tail (RFC 3875 §4.1.5).
    pub path_info: &'p str,
    values: CaptureValues<'r, 'p>,
}

impl Routes {
    /// Makes a routing table.
    ///
    /// # Errors
    /// Every invalid path or host, and every route that conflicts with an earlier one. Routes conflict if they have
    /// the same path, host and method, if neither path is more specific, or if only the names of captures differ.
    pub fn new(specs: Vec<RouteSpec>) -> Result<Routes, Vec<RouteError>> {
        let claims: Vec<_> = specs.iter().map(RouteSpec::claim).collect();
        let tables = Arc::new(Tables::new(&claims)?);
        let route = |spec: RouteSpec| {
            let pattern = PathPattern::read(&spec.pattern).expect("Tables::new has read every pattern");
            let before_tail = pattern.before_tail();
            let PathPattern { captures, has_tail, .. } = pattern;
            let label = format!("{}{}", spec.host.as_deref().unwrap_or_default(), spec.pattern).into();
            Route { spec, label, captures, has_tail, before_tail }
        };
        let ranges = specs.iter().filter_map(|spec| spec.versions.as_ref());
        let before: BTreeMap<String, ()> = ranges.map(|range| (range.before.clone(), ())).collect();
        let before_versions = Arc::new(PrefixMap::from(before));
        let groups = Arc::new(RouteGroups::of(specs.iter().filter_map(|spec| spec.group.as_ref())));
        let has_hosts = tables.have_hosts() || groups.have_hosts();
        let has_rewrites = specs.iter().any(|spec| matches!(spec.target, RouteTarget::Rewrite(_)));
        let list: Vec<Route> = specs.into_iter().map(route).collect();
        let has_gates = list.iter().any(Route::has_gates);
        Ok(Routes { list, tables, before_versions, groups, has_hosts, has_rewrites, has_gates })
    }

    /// Finds the route of a request. The path must be percent-decoded, once. Allocates only for a host in upper case
    /// and for a route with more than three captures. Never blocks.
    ///
    /// A version at the beginning of the path takes precedence over a capture that would match it. If no route of such a
    /// group matches the rest of the path, the whole path is looked up. A version that the group does not support is
    /// reported for every method, also for a method that none of its routes has.
    pub fn lookup<'r, 'p>(&'r self, host: Option<&str>, method: &Method, path: &'p str) -> Lookup<'r, 'p> {
        if self.before_versions.is_empty() {
            return self.find(host, method, path);
        }
        let (mut denied, mut unsupported) = (None, None);
        for (before, ()) in self.before_versions.prefixes(path) {
            let Some((version, rest)) = api_version::split(before, path) else { continue };
            let versioned = |position: usize| {
                let route = &self.list[position];
                Some((route, route.versions.as_ref().filter(|range| range.before == before)?))
            };
            match self.at(host, method, rest) {
                PathMatch::Route(position, values) => {
                    let Some((route, range)) = versioned(position) else { continue };
                    return match range.check(version) {
                        Ok(()) => Lookup::Found(Match::new(route, values, rest)).behind(version, path),
                        Err(message) => Lookup::UnsupportedVersion { route, message },
                    };
                }
                PathMatch::Methods { allow, takers, .. } => {
                    for (route, range) in takers.iter().filter_map(|(_, position)| versioned(*position)) {
                        match range.check(version) {
                            Ok(()) => denied = denied.or(Some((route, allow))),
                            Err(message) => unsupported = unsupported.or(Some((route, message))),
                        }
                    }
                }
                PathMatch::Nothing => {}
            }
        }
        match (self.find(host, method, path), denied, unsupported) {
            (Lookup::NotFound, Some((route, allow)), _) => Lookup::MethodNotAllowed { route, allow },
            (Lookup::NotFound | Lookup::MethodNotAllowed { .. }, None, Some((route, message))) => {
                Lookup::UnsupportedVersion { route, message }
            }
            (found, ..) => found,
        }
    }

    /// Returns the version prefix that a rewritten path has left out, percent-encoded, such as `/v1.14`. Without it, the
    /// request would be for the newest version, and not for that which the client names. `None` if the client names none,
    /// or the path names one or leads to other versions. The path must be percent-decoded, once.
    pub fn version_left_out(
        &self,
        rewrite: &Match<'_, '_>,
        host: Option<&str>,
        method: &Method,
        path: &str,
    ) -> Option<String> {
        let (range, version) = (rewrite.route.versions.as_ref()?, rewrite.named_version?);
        let Lookup::Found(behind) = self.lookup(host, method, path) else { return None };
        let lacks_it = behind.named_version.is_none() && behind.route.versions.as_ref() == Some(range);
        lacks_it.then(|| format!("{}{version}", template::encoded(&range.before)))
    }

    /// Finds the group of a request that no route answers. The path must be percent-decoded, once.
    pub fn group_of(&self, host: Option<&str>, path: &str) -> Option<&RouteGroup> {
        self.groups.find(host, path)
    }

    /// Makes the same table with other versions of these handlers.
    pub fn with(&self, versions: &[Arc<HandlerVersion>]) -> Routes {
        let versions: HashMap<Name, Arc<HandlerVersion>> =
            versions.iter().map(|entry| (entry.name.clone(), entry.clone())).collect();
        let mut routes = self.clone();
        for Route { spec, .. } in &mut routes.list {
            let other = spec.target.handler().and_then(|handler| versions.get(&handler.name));
            if let Some(entry) = other {
                spec.target = RouteTarget::Handler(entry.clone());
            }
            EntryChecks::replace(&mut spec.checks, &versions);
        }
        routes
    }

    /// Iterates over the routes, in the order given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Route> {
        self.list.iter()
    }

    /// Reports whether the host of a request matters: a route or a group is for one.
    pub fn has_hosts(&self) -> bool {
        self.has_hosts
    }

    /// Reports whether any route rewrites requests.
    pub fn has_rewrites(&self) -> bool {
        self.has_rewrites
    }

    /// Returns the number of routes.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Reports whether there are no routes.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the rate limits in service, so that the next generation keeps their state.
    pub fn limits(&self) -> RateLimits {
        let mut limits = RateLimits::default();
        let checks = self.list.iter().filter_map(|route| route.checks.as_ref());
        checks.flat_map(|checks| checks.all_limits()).for_each(|limit| limits.keep(&limit.limit));
        limits
    }

    fn find<'r, 'p>(&'r self, host: Option<&str>, method: &Method, path: &'p str) -> Lookup<'r, 'p> {
        match self.at(host, method, path) {
            PathMatch::Route(position, values) => {
                Lookup::Found(Match::new(&self.list[position], values, path))
            }
            PathMatch::Methods { first, allow, .. } => {
                Lookup::MethodNotAllowed { route: &self.list[first], allow }
            }
            PathMatch::Nothing => Lookup::NotFound,
        }
    }

    /// Finds the path in the most specific table of the host that has it.
    fn at<'t, 'p>(&'t self, host: Option<&str>, method: &Method, path: &'p str) -> PathMatch<'t, 'p> {
        for table in self.tables.of(host).into_iter().flatten() {
            match table.at(method, path) {
                PathMatch::Nothing => {}
                found => return found,
            }
        }
        PathMatch::Nothing
    }
}

impl Deref for Route {
    type Target = RouteSpec;

    fn deref(&self) -> &RouteSpec {
        &self.spec
    }
}

impl Route {
    /// Reports whether the handler with this name answers.
    pub fn leads_to(&self, name: &Name) -> bool {
        self.target.handler().is_some_and(|handler| handler.name == *name)
    }

    /// Reports whether a request must pass gates.
    pub fn has_gates(&self) -> bool {
        self.checks.as_ref().is_some_and(|checks| !checks.gates.is_empty())
    }
}

impl RouteSpec {
    /// Returns what this route would match.
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            pattern: &self.pattern,
            methods: &self.methods,
            host: self.host.as_deref(),
            handler: self.target.handler().map(|handler| handler.name.as_str()),
        }
    }
}

impl<'r, 'p> Lookup<'r, 'p> {
    /// Adds the version prefix to the result of a lookup without it.
    fn behind(self, version: &'p str, path: &'p str) -> Lookup<'r, 'p> {
        match self {
            Lookup::Found(found) => {
                let script_name = &path[..path.len() - found.path_info.len()];
                Lookup::Found(Match { named_version: Some(version), script_name, ..found })
            }
            Lookup::MethodNotAllowed { .. } | Lookup::UnsupportedVersion { .. } | Lookup::NotFound => self,
        }
    }
}

impl<'r, 'p> Match<'r, 'p> {
    fn new(route: &'r Route, values: CaptureValues<'r, 'p>, path: &'p str) -> Match<'r, 'p> {
        let before_tail = route.before_tail.or_else(|| {
            let last = route.captures.len().checked_sub(1).filter(|_| route.has_tail)?;
            values.iter().nth(last).map(|tail| path.len() - tail.len())
        });
        // The `/` before the tail is part of the path info.
        let split = before_tail.map_or(path.len(), |before| before.saturating_sub(1));
        let (script_name, path_info) = path.split_at(split);
        Match { route, named_version: None, script_name, path_info, values }
    }

    /// Returns the API version of the request: `1.14`. In a group with versions, a request that names none is for the
    /// newest.
    pub fn api_version(&self) -> Option<&str> {
        self.named_version.or_else(|| self.route.versions.as_ref().and_then(|range| range.newest()))
    }

    /// Iterates over the captures and their values, in the order of the path.
    pub fn captures(&self) -> impl Iterator<Item = (&'r PathCapture, &'p str)> {
        self.route.captures.iter().zip(self.values.iter())
    }

    /// Fills in a template with the parts of a request and the captures of its route.
    ///
    /// # Errors
    /// The request has no host.
    pub fn fill(&self, template: &Template, request: RequestParts<'_>) -> Result<String, NoHost> {
        template.fill(request, |index| self.values.iter().nth(index))
    }

    /// Finds the first capture whose value a handler program would parse as an option.
    pub fn option(&self, handler: &HandlerVersion) -> Option<&'r PathCapture> {
        // Other kinds of handlers have no arguments.
        let is_program = matches!(handler.kind, Kind::Core | Kind::Command);
        // An option begins with `-`, and few paths have one: the values need not be looked at.
        let has_dash = || self.script_name.contains('-') || self.path_info.contains('-');
        if !is_program || !has_dash() {
            return None;
        }
        let takes = |value: &str| !handler.conduct.captures.admit(&handler.args, value);
        self.captures().find(|(_, value)| takes(value)).map(|(capture, _)| capture)
    }
}

#[cfg(test)]
mod tests;
