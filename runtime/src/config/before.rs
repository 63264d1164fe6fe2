//! Reads `before` at the top, in groups and in routes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::front_schema::WrittenGate;
use super::model::HandlerConfig;
use super::nearest::Names;
use super::reader::{Keyed, NamedTable};
use super::report::Diagnostics;
use super::route_model::RouteConfig;
use crate::access::{AccessCheck, AccessGate, RateKey};
use crate::job::{Name, OutputFormat};

/// The names that `before` may hold.
pub(super) struct GateNames<'a> {
    known: BTreeMap<&'a str, KnownGate>,
    /// The same names, for suggestions.
    near: Names<'a>,
    /// The names of the gates in front of every route.
    all: Vec<String>,
}

/// A name that `before` may hold.
#[derive(Clone, Copy)]
struct KnownGate {
    /// What is wrong with it as a gate, or `None` if it can be one.
    wrong: Option<&'static str>,
    /// Whether it names the user.
    names_user: bool,
}

impl<'a> GateNames<'a> {
    /// Collects the names, and reads the gates of all routes. `gates` are those of `table` without mistakes. A gate with
    /// a mistake, which is reported already, is taken for sound where it is named.
    pub(super) fn new(
        gates: &'a [Arc<AccessGate>],
        table: Option<&'a Keyed<NamedTable<WrittenGate>>>,
        handlers: &'a [HandlerConfig],
        written: Option<&Keyed<Vec<Keyed<String>>>>,
        report: &Diagnostics<'_>,
    ) -> GateNames<'a> {
        let handlers = handlers.iter().map(|handler| {
            let is_raw = matches!(handler.mapping, OutputFormat::Raw(_));
            let wrong =
                is_raw.then_some("has output = \"raw\", which has no status, so it would let everybody pass");
            (handler.name.as_str(), KnownGate { wrong, names_user: true })
        });
        let blamed = table.into_iter().flat_map(|table| &table.value.0);
        let blamed = blamed.map(|(name, _)| (name.as_str(), KnownGate { wrong: None, names_user: true }));
        let gates = gates.iter().map(|gate| {
            let names_user = match gate.check {
                AccessCheck::Addresses(_) => false,
                AccessCheck::Basic(_) | AccessCheck::ClientCertificate(_) | AccessCheck::Token(_) => true,
            };
            (gate.name.as_str(), KnownGate { wrong: None, names_user })
        });
        // A later entry replaces an earlier one.
        let known: BTreeMap<&str, KnownGate> = blamed.chain(handlers).chain(gates).collect();
        let near = Names::new(known.keys().copied());
        let mut names = GateNames { known, near, all: Vec::new() };
        names.all = names.list(written, report);
        names
    }

    /// Reads the gates of a group. Those of all routes are not among them.
    pub(super) fn of_group(
        &self,
        written: Option<&Keyed<Vec<Keyed<String>>>>,
        report: &Diagnostics<'_>,
    ) -> Vec<String> {
        self.list(written, report)
    }

    /// Reads the gates of a route, behind those of all routes and those of its group. A handler that is a gate of those
    /// does not stand in front of its own: that is how a login page is reached.
    pub(super) fn of_route(
        &self,
        written: Option<&Keyed<Vec<Keyed<String>>>>,
        of_group: &[String],
        handler: Option<&Name>,
        report: &Diagnostics<'_>,
    ) -> Vec<String> {
        let own = |name: &str| handler.is_some_and(|handler| handler.as_str() == name);
        let listed = self.list(written, report);
        if let Some(at) = written.filter(|_| listed.iter().any(|name| own(name))) {
            report.add(at.line, &at.key, "a handler cannot be the gate of its own route: leave it out");
        }
        let mut known = HashSet::new();
        let shared = self.all.iter().chain(of_group).filter(|name| !own(name));
        shared.chain(&listed).filter(|name| known.insert(*name)).cloned().collect()
    }

    /// Reports limits by user where no gate names one: all requests would count as one user.
    pub(super) fn check_limits(
        &self,
        routes: &[RouteConfig],
        handlers: &[HandlerConfig],
        report: &Diagnostics<'_>,
    ) {
        let names_user = |name: &String| self.known.get(name.as_str()).is_some_and(|gate| gate.names_user);
        let by_user: HashMap<&Name, usize> = handlers
            .iter()
            .filter(|handler| handler.limit.as_ref().is_some_and(|limit| limit.rule.by == RateKey::User))
            .map(|handler| (&handler.name, handler.line))
            .collect();
        for route in routes.iter().filter(|route| !route.before.iter().any(names_user)) {
            let path = &route.path;
            if route.limit.as_ref().is_some_and(|limit| limit.rule.by == RateKey::User) {
                let message = format!(
                    "by = \"user\" counts nobody on the route {path:?}: add a gate that names the user to `before`, such as one \
                     of kind = \"jwt\""
                );
                report.add(route.line, "route.limit.by", message);
            }
            if let Some((name, line)) = route.handler().and_then(|name| by_user.get_key_value(name)) {
                let message = format!(
                    "by = \"user\" needs a gate that names the user on every route of the handler, and the route {path:?} has \
                     none in `before`"
                );
                report.add(*line, &format!("handler.{name}.limit.by"), message);
            }
        }
    }

    fn list(&self, written: Option<&Keyed<Vec<Keyed<String>>>>, report: &Diagnostics<'_>) -> Vec<String> {
        let (mut names, mut listed) = (Vec::new(), HashSet::new());
        for at in written.iter().flat_map(|list| &list.value) {
            let checked = match self.known.get(at.value.as_str()) {
                Some(KnownGate { wrong: Some(wrong), .. }) => {
                    Err(format!("the handler {:?} {wrong}", at.value))
                }
                Some(_) if !listed.insert(&at.value) => Err("is in this list already".to_owned()),
                Some(_) => Ok(()),
                None => Err(self
                    .near
                    .absent("gate", &at.value, || format!("add [gate.{}], or name a handler", at.value))),
            };
            match checked {
                Ok(()) => names.push(at.value.clone()),
                Err(message) => report.add(at.line, &at.key, message),
            }
        }
        names
    }
}
