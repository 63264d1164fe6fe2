//! What a configuration asks for at most, over all jobs that may run at once.

use std::cmp::Reverse;
use std::fmt;

use crate::config::{Config, HandlerConfig};
use crate::job::Name;

/// The most that jobs may hold at once.
pub(super) struct Demand {
    pub(super) sum: usize,
    /// The handlers that ask for most: how many of their jobs there may be.
    parts: Vec<(Name, usize)>,
}

/// Handlers that are named.
const NAMED: usize = 3;

/// Sums up what jobs may hold, if those that hold most run: as many of a handler as it may have at once,
/// and as many in all as there are places.
pub(super) fn max(config: &Config, of_job: impl Fn(&HandlerConfig) -> usize) -> Demand {
    let mut handlers: Vec<_> = config.handlers.iter().map(|handler| (of_job(handler), handler)).collect();
    handlers.sort_by_key(|(each, _)| Reverse(*each));
    let mut left = config.jobs;
    let mut demand = Demand { sum: 0, parts: Vec::new() };
    for (each, handler) in handlers {
        let jobs = handler.limits.concurrency.min(left);
        if jobs == 0 || each == 0 {
            break;
        }
        left -= jobs;
        demand.sum = demand.sum.saturating_add(each.saturating_mul(jobs));
        demand.parts.push((handler.name.clone(), jobs));
    }
    demand
}

/// `up: 64 jobs, files: 64 jobs and 3 more`
impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, jobs)) in self.parts.iter().take(NAMED).enumerate() {
            write!(f, "{}{name}: {jobs} jobs", if position == 0 { "" } else { ", " })?;
        }
        match self.parts.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} handlers more"),
        }
    }
}
