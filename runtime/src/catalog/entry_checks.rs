//! The gates and rate limits that a request must pass before its route answers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::access::{AccessGate, RateLimit};
use crate::job::{HandlerVersion, Name};
use crate::store::SharedRate;

/// The checks of a route, in the order in which they are made.
#[derive(Clone)]
pub struct EntryChecks {
    /// The rate limits that count every request, those that a gate refuses too.
    pub limits: Vec<RouteLimit>,
    /// The gates, in their order.
    pub gates: Vec<RouteGate>,
    /// The rate limits that count the requests that passed the gates: that of the route, then that of its handler.
    pub limits_behind: Vec<RouteLimit>,
}

/// A rate limit of a route.
#[derive(Clone)]
pub struct RouteLimit {
    /// The limit, which counts in this daemon.
    pub limit: Arc<RateLimit>,
    /// Where daemons count together. `None` means nowhere.
    pub shared: Option<Arc<SharedRate>>,
}

/// A gate in front of a route.
#[derive(Clone)]
pub enum RouteGate {
    /// A check of the daemon.
    BuiltIn(Arc<AccessGate>),
    /// A handler, whose answer decides.
    Handler(Arc<HandlerVersion>),
}

impl EntryChecks {
    /// Returns the checks, or `None` if it is empty. Then a request does not look for any check.
    pub fn if_any(self) -> Option<Arc<EntryChecks>> {
        let is_empty = self.limits.is_empty() && self.gates.is_empty() && self.limits_behind.is_empty();
        (!is_empty).then(|| Arc::new(self))
    }

    /// Iterates over all rate limits, in the order in which they count.
    pub fn all_limits(&self) -> impl Iterator<Item = &RouteLimit> {
        self.limits.iter().chain(&self.limits_behind)
    }

    /// Puts other versions of handlers in place of those of the same names.
    pub(super) fn replace(
        checks: &mut Option<Arc<EntryChecks>>,
        versions: &HashMap<Name, Arc<HandlerVersion>>,
    ) {
        let Some(checks) = checks else { return };
        if !checks.gates.iter().any(|gate| gate.other(versions).is_some()) {
            return;
        }
        for gate in &mut Arc::make_mut(checks).gates {
            if let Some(entry) = gate.other(versions) {
                *gate = RouteGate::Handler(entry);
            }
        }
    }
}

impl RouteGate {
    /// Returns the name in the configuration.
    pub fn name(&self) -> &str {
        match self {
            RouteGate::BuiltIn(gate) => &gate.name,
            RouteGate::Handler(entry) => entry.name.as_str(),
        }
    }

    /// Finds the version that takes the place of this gate.
    fn other(&self, versions: &HashMap<Name, Arc<HandlerVersion>>) -> Option<Arc<HandlerVersion>> {
        match self {
            RouteGate::BuiltIn(_) => None,
            RouteGate::Handler(gate) => versions.get(&gate.name).cloned(),
        }
    }
}

/// In a row: `10/s, burst 20, by address, in store limits`.
impl fmt::Display for RouteLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.limit.rule)?;
        match &self.shared {
            Some(shared) => write!(f, ", in store {}", shared.store().options().name),
            None => Ok(()),
        }
    }
}

/// In a row: `limit of the route 10/s, burst 20, by address; before login; limit of the handler 1/s, burst 1, by user`.
impl fmt::Display for EntryChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = |limit: &RouteLimit| {
            let kind = limit.limit.subject.split(' ').next().unwrap_or_default();
            format!("limit of the {kind} {limit}")
        };
        let limits = self.limits.iter().map(limit);
        let gates = self.gates.iter().map(|gate| format!("before {}", gate.name()));
        let behind = self.limits_behind.iter().map(limit);
        f.write_str(&limits.chain(gates).chain(behind).collect::<Vec<_>>().join("; "))
    }
}
