//! The largest amount of a resource that all concurrent jobs may ask for under a configuration.

use std::cmp::Reverse;
use std::fmt;

use crate::config::{Config, HandlerConfig};
use crate::job::Name;
use crate::observe::counted;

/// The maximum that jobs may hold at the same time.
pub(super) struct Demand {
    pub(super) sum: usize,
    /// The handlers that ask for the most, each with the number of its concurrent jobs.
    parts: Vec<(Name, usize)>,
}

/// The most handlers that a message names.
const NAMED: usize = 3;

/// Sums up the worst case: the handlers with the largest jobs run as many as `limits.concurrency` allows, until the
/// slots of `jobs` are used up. `of_job` returns the amount that one job of a handler may hold.
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

/// `up: 64 jobs, files: 64 jobs, report: 64 jobs and 3 more handlers`
impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, jobs)) in self.parts.iter().take(NAMED).enumerate() {
            write!(f, "{}{name}: {jobs} jobs", if position == 0 { "" } else { ", " })?;
        }
        match self.parts.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {}", counted(more, "more handler")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn five_handlers() -> Config {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.wasm"), "").unwrap();
        let handlers =
            ["a", "b", "c", "d", "e"].map(|name| format!("[handler.{name}]\nmodule = \"a.wasm\"\n"));
        parse(&format!("jobs = 1000\n{}", handlers.concat()), place.path(), "p.toml").unwrap()
    }

    #[test]
    fn of_many_handlers_three_are_named_and_the_others_counted() {
        let shown = |config: &Config| max(config, |_| 1).to_string();
        let mut config = five_handlers();

        assert_eq!(shown(&config), "a: 64 jobs, b: 64 jobs, c: 64 jobs and 2 more handlers");
        config.handlers.pop();
        assert_eq!(shown(&config), "a: 64 jobs, b: 64 jobs, c: 64 jobs and 1 more handler");
        config.handlers.pop();
        assert_eq!(shown(&config), "a: 64 jobs, b: 64 jobs, c: 64 jobs");
    }
}
