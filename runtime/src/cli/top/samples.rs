//! The samples of the last seconds, and the rows that they give.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::figures::HandlerFigures;
use super::order::Order;
use crate::jobs::api::HandlerReport;

/// The time over which durations are shown.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// The samples of the last [`WINDOW`], oldest first.
#[derive(Default)]
pub(super) struct Samples(VecDeque<HandlersSample>);

/// The handlers at one moment.
struct HandlersSample {
    at: Instant,
    handlers: HashMap<String, HandlerReport>,
}

impl Samples {
    /// Adds a sample, and drops those that are too old.
    pub(super) fn push(&mut self, at: Instant, handlers: Vec<HandlerReport>) {
        let handlers = handlers.into_iter().map(|report| (report.name.clone(), report)).collect();
        self.0.push_back(HandlersSample { at, handlers });
        while self.0.get(1).is_some_and(|second| at.saturating_duration_since(second.at) >= WINDOW) {
            self.0.pop_front();
        }
    }

    /// Returns the rows, in this order.
    pub(super) fn rows(&self, order: Order) -> Vec<HandlerFigures> {
        let Some(last) = self.0.back() else { return Vec::new() };
        let before = self.0.len().checked_sub(2).and_then(|position| self.0.get(position));
        let oldest = self.0.front().filter(|oldest| oldest.at < last.at);
        let figures = |report: &HandlerReport| {
            let before = before.and_then(|sample| {
                let time = last.at.saturating_duration_since(sample.at);
                Some((sample.handlers.get(&report.name)?, time))
            });
            HandlerFigures::of(report, before, oldest.and_then(|sample| sample.handlers.get(&report.name)))
        };
        let mut rows: Vec<HandlerFigures> = last.handlers.values().map(figures).collect();
        rows.sort_by(|one, other| order.compare(one, other));
        rows
    }
}
