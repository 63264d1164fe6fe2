//! `History`: the ended jobs of all handlers within one bound of memory, and the listeners to their ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

use opentelemetry::TraceId;

use super::chunk::ChunkEntry;
use super::entry::{HistoryEntry, RequestSummary, VersionLabel};
use super::ring::{HandlerHistory, HistoryFigures};
use super::tap::{TapListener, Taps};

/// Gets a failure that the run of a job does not show: the number of the job, the name of its handler, and the text.
type FailureListener = Box<dyn Fn(u64, &str, String) + Send + Sync>;

/// The ended jobs of all handlers. Each handler whose jobs have ended has an equal part of the memory, half of it for
/// failures.
#[derive(Default)]
pub struct History {
    /// The bytes of all entries together. 0 keeps nothing.
    limit: AtomicUsize,
    /// The bytes of each handler with a part.
    share: AtomicUsize,
    /// The number of handlers with a part.
    parts: Arc<AtomicUsize>,
    /// The handlers by name. A handler that no version refers to is gone.
    handlers: Mutex<BTreeMap<String, Weak<HandlerHistory>>>,
    taps: Arc<Taps>,
    on_failure: OnceLock<FailureListener>,
}

/// The history, as one handler version feeds it.
pub struct VersionHistory {
    history: Arc<History>,
    handler: Arc<HandlerHistory>,
    label: Arc<VersionLabel>,
}

impl History {
    /// Returns the history of a version. All versions of a handler share its entries.
    pub fn of(self: &Arc<Self>, label: VersionLabel) -> VersionHistory {
        let mut handlers = self.lock();
        let place = handlers.entry(label.handler.clone()).or_default();
        let handler = place.upgrade().unwrap_or_else(|| {
            let handler = Arc::new(HandlerHistory::of(&self.parts));
            *place = Arc::downgrade(&handler);
            handler
        });
        if handlers.len().is_power_of_two() {
            // A plan makes handlers that are never used. This keeps their number below that of the others.
            handlers.retain(|_, handler| handler.strong_count() > 0);
        }
        self.divide(&handlers);
        VersionHistory { history: self.clone(), handler, label: Arc::new(label) }
    }

    /// Sets the bytes of all entries together. 0 keeps nothing.
    pub fn resize(&self, limit: usize) {
        let mut handlers = self.lock();
        handlers.retain(|_, handler| handler.strong_count() > 0);
        self.limit.store(limit, Ordering::Relaxed);
        self.divide(&handlers);
    }

    /// Divides the memory among the handlers with a part, and drops entries that no longer fit. The number of parts is
    /// rounded up to a power of two, because each time that parts become smaller takes a walk over all handlers.
    fn divide(&self, handlers: &BTreeMap<String, Weak<HandlerHistory>>) {
        let parts = self.parts.load(Ordering::Relaxed).next_power_of_two();
        let share = self.limit.load(Ordering::Relaxed) / parts;
        if share < self.share.swap(share, Ordering::Relaxed) {
            handlers.values().filter_map(Weak::upgrade).for_each(|handler| handler.shrink_to(share));
        }
    }

    /// Reports whether anything listens to the ends of requests.
    pub fn is_tapped(&self) -> bool {
        self.taps.is_listening()
    }

    /// Sets the one listener to failures that the runs of jobs do not show, such as an invalid response. A later one is
    /// ignored.
    pub fn on_failure(&self, listener: impl Fn(u64, &str, String) + Send + Sync + 'static) {
        let _first = self.on_failure.set(Box::new(listener));
    }

    /// Adds a listener to the jobs and requests that end from now on and that `is_wanted` selects.
    pub fn tap(&self, is_wanted: impl Fn(&HistoryEntry) -> bool + Send + Sync + 'static) -> TapListener {
        self.taps.listen(Box::new(is_wanted))
    }

    /// Tells the listeners of a request that no handler answered, with its trace.
    pub fn refused(&self, request: RequestSummary, trace: Option<TraceId>) {
        if self.is_tapped() {
            let (ended, request) = (SystemTime::now(), Some(request));
            let entry =
                HistoryEntry { id: None, parent: None, trace, version: None, ended, job: None, request };
            self.taps.send(&entry);
        }
    }

    /// Ends every listener.
    pub fn close(&self) {
        self.taps.close();
    }

    /// Returns the entries of all handlers, oldest first.
    pub fn recent(&self) -> Vec<ChunkEntry> {
        let mut all = Vec::new();
        let handlers: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        handlers.iter().for_each(|handler| handler.collect(&mut all));
        all.sort_by_key(ChunkEntry::ended);
        all
    }

    /// Returns how much is kept.
    pub fn figures(&self) -> HistoryFigures {
        let limit = self.limit.load(Ordering::Relaxed);
        let mut figures = HistoryFigures { limit, ..HistoryFigures::default() };
        let handlers: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        handlers.iter().for_each(|handler| handler.count(&mut figures));
        figures
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Weak<HandlerHistory>>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VersionHistory {
    /// Reports whether ended jobs are kept or listened to.
    pub fn is_wanted(&self) -> bool {
        self.history.share.load(Ordering::Relaxed) > 0 || self.history.is_tapped()
    }

    /// Tells the listener of a failure that the run of a job does not show.
    pub fn failed(&self, id: u64, why: String) {
        if let Some(listener) = self.history.on_failure.get() {
            listener(id, &self.label.handler, why);
        }
    }

    /// Returns the label of the version.
    pub fn label(&self) -> &Arc<VersionLabel> {
        &self.label
    }

    /// Adds an ended job of this version, and takes the parts out of its entry. Names the version in it for listeners.
    /// Takes a lock of its handler for the insertion alone.
    pub fn add(&self, entry: &mut HistoryEntry) {
        if self.history.is_tapped() {
            entry.version = Some(self.label.clone());
            self.history.taps.send(entry);
        }
        if self.history.share.load(Ordering::Relaxed) > 0 {
            if self.handler.take_part() {
                self.history.divide(&self.history.lock());
            }
            self.handler.add(entry, &self.label, &self.history.share);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::thread;
    use std::time::{Duration, Instant};

    use http::Method;

    use super::*;
    use crate::observe::history::{FailureSummary, JobDetails, JobDurations, JobSummary};

    fn label(handler: &str) -> VersionLabel {
        VersionLabel { handler: handler.to_owned(), version: "1".to_owned(), kind: "wasip1".to_owned() }
    }

    fn history(limit: usize) -> Arc<History> {
        let history = Arc::new(History::default());
        history.resize(limit);
        history
    }

    fn job(is_own: Option<bool>) -> JobSummary {
        let failure = |is_own| FailureSummary {
            code: "trapped",
            message: "x".repeat(100),
            stack: String::new(),
            is_own,
        };
        let now = Instant::now();
        JobSummary {
            started: Some(now),
            ended: now,
            parts: JobDurations::default(),
            cpu: Duration::ZERO,
            memory: 0,
            read: 0,
            written: 0,
            used: [0; 6],
            status: 0,
            details: JobDetails::of(is_own.map(failure), String::new(), Vec::new()),
        }
    }

    fn ended(id: u64, job: JobSummary) -> HistoryEntry {
        let (ended, job) = (SystemTime::now(), Some(job));
        HistoryEntry { id: Some(id), parent: None, trace: None, version: None, ended, job, request: None }
    }

    fn ids(history: &History) -> Vec<u64> {
        history.recent().iter().filter_map(ChunkEntry::id).collect()
    }

    #[test]
    fn successes_and_cancelled_jobs_do_not_push_out_failures_and_no_handler_those_of_another() {
        const LIMIT: usize = 32 << 10;
        let history = history(LIMIT);
        let (quiet, loud) = (history.of(label("quiet")), history.of(label("loud")));
        quiet.add(&mut ended(1, job(Some(true))));
        quiet.add(&mut ended(2, job(None)));

        (100..1100).for_each(|id| loud.add(&mut ended(id, job(None))));
        (2000..3000).for_each(|id| loud.add(&mut ended(id, job(Some(true)))));
        (3000..4000).for_each(|id| loud.add(&mut ended(id, job(Some(false)))));

        let kept = ids(&history);
        assert!(kept.contains(&1) && kept.contains(&2), "{kept:?}");
        assert!(kept.contains(&2999) && kept.contains(&3999), "{kept:?}");
        let figures = history.figures();
        assert!(figures.bytes <= LIMIT && figures.bytes > LIMIT / 3, "{figures:?}");
        assert_eq!(figures.jobs, kept.len());
    }

    #[test]
    fn successes_do_not_push_out_an_error_that_the_handler_answered_with() {
        let history = history(32 << 10);
        let version = history.of(label("one"));
        let begun = RequestSummary::begun(Instant::now(), &Method::GET, "/", None);
        let request = RequestSummary { status: Some(500), is_complete: true, ..begun };
        version.add(&mut HistoryEntry { request: Some(request), ..ended(1, job(None)) });

        (100..1100).for_each(|id| version.add(&mut ended(id, job(None))));

        let kept = ids(&history);
        assert!(kept.contains(&1) && !kept.contains(&100), "{kept:?}");
    }

    #[test]
    fn versions_of_a_handler_share_its_entries_and_a_removed_handler_leaves_its_part() {
        let history = history(1 << 20);
        let (old, new) = (history.of(label("one")), history.of(label("one")));
        let other = history.of(label("two"));
        old.add(&mut ended(1, job(None)));
        new.add(&mut ended(2, job(None)));
        other.add(&mut ended(3, job(None)));

        drop(old);
        assert_eq!(ids(&history), [1, 2, 3]);
        drop(other);
        history.resize(1 << 20);

        assert_eq!((ids(&history), history.lock().len()), (vec![1, 2], 1));
    }

    #[test]
    fn handlers_without_jobs_have_no_part_and_the_others_stay_within_the_bound() {
        const LIMIT: usize = 64 << 10;
        let history = history(LIMIT);
        let versions: Vec<_> = (0..1000).map(|number| history.of(label(&number.to_string()))).collect();
        let fail = |version: &VersionHistory, first: u64| {
            (first..first + 40).for_each(|id| version.add(&mut ended(id, job(Some(true)))));
        };

        fail(&versions[0], 0);

        assert!(history.figures().jobs >= 20, "{:?}", history.figures());
        (1..).zip(&versions[1..9]).for_each(|(number, version)| fail(version, 100 * number));
        let (kept, figures) = (ids(&history), history.figures());
        assert!((0..9).all(|number| kept.contains(&(100 * number + 39))), "{kept:?}");
        assert!(figures.bytes <= LIMIT, "{figures:?}");
        // The parts of handlers that are removed are free.
        drop(versions);
        let next = history.of(label("next"));
        fail(&next, 5000);
        assert!(history.figures().jobs >= 20, "{:?}", history.figures());
    }

    #[test]
    fn jobs_that_end_on_many_threads_are_listed_once_each_and_stay_within_the_bound() {
        const LIMIT: usize = 1 << 20;
        let history = history(LIMIT);
        let version = history.of(label("one"));
        let end = |ids: Range<u64>| ids.for_each(|id| version.add(&mut ended(id, job(None))));
        let end_all = |jobs: u64| {
            thread::scope(|scope| {
                for first in (0..6).map(|thread| thread * jobs) {
                    scope.spawn(move || end(first..first + jobs));
                }
            });
        };

        end_all(100);

        let mut kept = ids(&history);
        kept.sort_unstable();
        assert!(kept.iter().copied().eq(0..600), "{kept:?}");
        end_all(1000);
        let figures = history.figures();
        assert!((LIMIT / 3..LIMIT / 2).contains(&figures.bytes), "{figures:?}");
        assert_eq!(figures.jobs, ids(&history).len());
    }

    #[test]
    fn with_no_room_nothing_is_kept_and_what_was_kept_is_dropped() {
        let history = history(1 << 20);
        let version = history.of(label("one"));
        version.add(&mut ended(1, job(None)));
        assert!(version.is_wanted());

        history.resize(0);
        version.add(&mut ended(2, job(None)));

        assert!(!version.is_wanted() && ids(&history).is_empty());
        assert_eq!(history.figures(), HistoryFigures::default());
    }

    #[test]
    fn a_job_that_ends_while_the_history_is_switched_off_is_not_kept() {
        let history = history(0);
        let version = history.of(label("one"));
        let end_jobs = || {
            while version.is_wanted() {
                version.add(&mut ended(1, job(None)));
            }
        };
        for _ in 0..100 {
            history.resize(1 << 20);
            thread::scope(|scope| {
                scope.spawn(end_jobs);
                while history.figures().jobs == 0 {
                    thread::yield_now();
                }
                history.resize(0);
            });
            assert_eq!(history.figures(), HistoryFigures::default());
        }
    }

    #[tokio::test]
    async fn a_listener_gets_what_it_asked_for_and_learns_what_it_missed() {
        let history = history(0);
        let version = history.of(label("one"));
        let mut odd = history.tap(|entry| entry.id.is_some_and(|id| id % 2 == 1));
        assert!(version.is_wanted());

        (0..1030).for_each(|id| version.add(&mut ended(id, job(None))));

        let batch = odd.next().await.unwrap();
        assert_eq!((batch.dropped, batch.entries.len(), batch.entries[0].id), (3, 512, Some(7)));
        version.add(&mut ended(2000, job(None)));
        version.add(&mut ended(2001, job(None)));
        assert_eq!(odd.next().await.map(|batch| (batch.dropped, batch.entries.len())), Some((0, 1)));
        history.close();
        assert!(odd.next().await.is_none());
        drop(odd);
        assert!(!version.is_wanted());
    }

    #[tokio::test]
    async fn large_entries_that_wait_for_a_listener_are_bounded_in_bytes() {
        let history = history(0);
        let version = history.of(label("one"));
        let mut tap = history.tap(|_| true);
        let with_stderr = |length| JobSummary {
            details: JobDetails::of(None, "x".repeat(length), Vec::new()),
            ..job(None)
        };

        for id in 0..100 {
            version.add(&mut ended(id, with_stderr(100 << 10)));
        }

        let batch = tap.next().await.unwrap();
        assert_eq!((batch.dropped, batch.entries.len(), batch.entries[0].id), (90, 10, Some(90)));
        version.add(&mut ended(100, with_stderr(2 << 20)));
        assert_eq!(tap.next().await.map(|batch| (batch.dropped, batch.entries.len())), Some((0, 1)));
    }
}
