//! `RouteStats`: the requests that one version of a handler has answered for one route.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::observe::latency::{LatencyExemplars, LatencyHistogram, LatencySnapshot};
use crate::observe::series::{SeriesLimit, SeriesPermit};
use crate::observe::stripes::Stripes;
use crate::observe::traces::TraceId;

/// How many routes of one version have counters of their own.
const NAMED: usize = 16;

/// How many pairs of a route and a version have counters of their own, over all versions.
const ROUTES: usize = 500;

/// The label of routes without counters of their own.
pub const OTHER: &str = "other";

static LIMIT: SeriesLimit = SeriesLimit::new(ROUTES);

/// The counters of all routes beyond the limit over all versions.
pub static ALL_OTHER: RouteStats = RouteStats::shared();

/// The counters of one route.
#[derive(Debug)]
pub struct RouteStats {
    route: Option<Box<str>>,
    counts: Stripes<RouteCounts>,
    durations: LatencyHistogram,
    exemplars: LatencyExemplars,
    _permit: Option<SeriesPermit>,
}

/// What a group of threads counts of one route.
#[derive(Debug, Default)]
struct RouteCounts {
    /// Requests by the first digit of their status. 0: no status was sent.
    classes: [AtomicU64; CLASSES.len()],
    /// The route. A copy, so that the threads count references to it apart from others.
    name: OnceLock<Arc<str>>,
}

/// The counters of the routes of one version. Made at the first request of each route.
///
/// A lookup compares the names of the routes before it, [`NAMED`] at most, and takes no lock.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// `None` if the limit over all versions was reached.
    named: [OnceLock<Option<Box<RouteStats>>>; NAMED],
    /// The counters of further routes of this version.
    further: OnceLock<Option<Box<RouteStats>>>,
}

/// The position of a route in its table.
#[derive(Clone, Copy, Debug)]
pub struct RoutePosition(usize);

/// The classes of statuses, as labels.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl RouteStats {
    const fn shared() -> RouteStats {
        RouteStats {
            route: None,
            counts: Stripes::new(),
            durations: LatencyHistogram::new(),
            exemplars: LatencyExemplars::new(),
            _permit: None,
        }
    }

    fn within_limit(route: &str) -> Option<Box<RouteStats>> {
        let permit = LIMIT.take()?;
        Some(Box::new(RouteStats {
            route: Some(route.into()),
            _permit: Some(permit),
            ..RouteStats::shared()
        }))
    }

    /// Returns the route: its host and its path as configured, or [`OTHER`].
    pub fn route(&self) -> &str {
        self.route.as_deref().unwrap_or(OTHER)
    }

    /// Counts a request that has ended, of this job, with its trace if one is sent. `status` is 0 if none was sent. The
    /// duration of an upgraded connection is not counted: it lasts as long as its client wants.
    pub fn ended(&self, status: u16, time: Duration, job: (u64, Option<TraceId>)) {
        let class = usize::from(status / 100).min(CLASSES.len() - 1);
        self.counts.own().classes[class].fetch_add(1, Ordering::Relaxed);
        if class != 1 {
            self.durations.observe_job(&self.exemplars, time, job);
        }
    }

    /// Returns the number of requests of each class that has any.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let of_threads = |class: usize| {
            self.counts.iter().map(move |counts| counts.classes[class].load(Ordering::Relaxed))
        };
        let counts: [u64; CLASSES.len()] = array::from_fn(|class| of_threads(class).sum());
        CLASSES.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    /// Returns the distribution of the durations, with exemplars.
    pub fn durations(&self) -> LatencySnapshot {
        let mut snapshot = self.durations.snapshot();
        self.exemplars.add_to(&mut snapshot);
        snapshot
    }
}

impl RouteTable {
    /// Finds a route, or gives it counters.
    pub fn position(&self, route: &str) -> RoutePosition {
        let is_free_or_same = |slot: &OnceLock<Option<Box<RouteStats>>>| {
            let stats = slot.get_or_init(|| RouteStats::within_limit(route));
            stats.as_ref().is_none_or(|stats| stats.route.as_deref() == Some(route))
        };
        RoutePosition(self.named.iter().position(is_free_or_same).unwrap_or(NAMED))
    }

    /// Returns the name of the route at this position, for those who keep it: a copy that other processors do not
    /// refer to, or `route` itself if the route has no counters of its own.
    pub fn name<'a>(&'a self, RoutePosition(position): RoutePosition, route: &'a Arc<str>) -> &'a Arc<str> {
        let named = self.named.get(position).and_then(|slot| slot.get()?.as_deref());
        named.map_or(route, |stats| stats.counts.own().name.get_or_init(|| Arc::from(&**route)))
    }

    /// Returns the counters of a route of this table.
    pub fn at(&self, RoutePosition(position): RoutePosition) -> &RouteStats {
        let stats = match self.named.get(position) {
            Some(slot) => slot.get().and_then(Option::as_deref),
            None => self.further.get_or_init(|| RouteStats::within_limit(OTHER)).as_deref(),
        };
        stats.unwrap_or(&ALL_OTHER)
    }

    /// Iterates over the routes with counters.
    pub fn iter(&self) -> impl Iterator<Item = &RouteStats> {
        self.named.iter().chain([&self.further]).filter_map(|slot| slot.get()?.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_the_same_counters_every_time_and_shares_them_with_no_other() {
        let table = RouteTable::default();
        for (route, status) in [("/a", 200), ("/b", 404), ("/a", 200), ("/a", 0), ("/b", 599)] {
            table.at(table.position(route)).ended(status, Duration::from_millis(1), (7, None));
        }

        let counted: Vec<_> =
            table.iter().map(|stats| (stats.route(), stats.classes().collect::<Vec<_>>())).collect();

        let wanted = [("/a", vec![("none", 1), ("2xx", 2)]), ("/b", vec![("4xx", 1), ("5xx", 1)])];
        assert_eq!(counted, wanted);
        assert_eq!(table.at(table.position("/a")).durations().count(), 3);
    }

    #[test]
    fn routes_beyond_the_limit_of_a_version_are_counted_together() {
        let table = RouteTable::default();

        for number in 0..NAMED + 3 {
            let route: Arc<str> = format!("/{number}").into();
            let position = table.position(&route);
            table.at(position).ended(200, Duration::ZERO, (1, None));
            assert_eq!(table.name(position, &route), &route);
        }

        let last = table.iter().last().map(|stats| (stats.route().to_owned(), stats.durations().count()));
        assert_eq!((table.iter().count(), last), (NAMED + 1, Some((OTHER.to_owned(), 3))));
    }

    #[test]
    fn the_duration_of_an_upgraded_connection_is_not_counted() {
        let table = RouteTable::default();
        let stats = table.at(table.position("/socket"));

        stats.ended(101, Duration::from_secs(3600), (1, None));

        assert_eq!((stats.classes().next(), stats.durations().count()), (Some(("1xx", 1)), 0));
    }
}
