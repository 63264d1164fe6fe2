//! Versions that no longer serve, kept until their last jobs have been counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::generation::Catalog;
use crate::job::{HandlerVersion, SlotUse, VersionCounts};

/// How long a version is kept after its last job. This is several times the usual scrape interval of metrics.
pub(super) const KEPT: Duration = Duration::from_secs(5 * 60);

/// The most versions kept without running jobs. Versions with running jobs are bounded by the limits on jobs.
pub(super) const MAX: usize = 100;

/// The versions replaced or removed recently.
#[derive(Default)]
pub(super) struct Replaced(Vec<ReplacedVersion>);

struct ReplacedVersion {
    counts: VersionCounts,
    /// When it last served, or last had a job.
    since: Instant,
    busy: bool,
}

impl Replaced {
    /// Keeps the versions that are in `old` but not in `new`.
    pub(super) fn follow(&mut self, old: &Catalog, new: &Catalog, now: Instant) {
        let gone = old.entries().map(|entry| ReplacedVersion {
            counts: VersionCounts::of(entry),
            since: now,
            busy: false,
        });
        self.0.extend(gone);
        self.tidy(new, now);
    }

    /// Returns the counters of the versions kept, after dropping those that expired.
    pub(super) fn counts(&mut self, serving: &Catalog, now: Instant) -> Vec<VersionCounts> {
        self.tidy(serving, now);
        self.0.iter().map(|former| former.counts.clone()).collect()
    }

    fn tidy(&mut self, serving: &Catalog, now: Instant) {
        // A version that serves again is counted by the catalog.
        self.0.retain(|former| !serving.entries().any(|entry| same(&former.counts, entry)));
        for former in &mut self.0 {
            let SlotUse { running, waiting } = former.counts.taken();
            former.busy = running + waiting > 0;
            if former.busy {
                former.since = now;
            }
        }
        self.0.retain(|former| now.saturating_duration_since(former.since) < KEPT);
        // The most recent last.
        self.0.sort_by_key(|former| (former.busy, former.since));
        let idle = self.0.iter().filter(|former| !former.busy).count();
        self.0.drain(..idle.saturating_sub(MAX));
    }
}

/// Returns whether the counters belong to this very version, and not to another of the same name.
fn same(counts: &VersionCounts, entry: &HandlerVersion) -> bool {
    Arc::ptr_eq(&counts.record, &entry.record)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::Routes;

    fn entry(version: &str) -> Arc<HandlerVersion> {
        Arc::new(HandlerVersion { version: version.to_owned(), ..HandlerVersion::idle("one") })
    }

    fn catalog(entry: &Arc<HandlerVersion>) -> Catalog {
        let handlers = BTreeMap::from([(entry.name.clone(), entry.clone())]);
        Catalog::default().next(handlers, Routes::default())
    }

    fn remembered(replaced: &mut Replaced, serving: &Catalog, now: Instant) -> Vec<String> {
        replaced.counts(serving, now).into_iter().map(|counts| counts.version).collect()
    }

    #[test]
    fn a_version_is_remembered_while_a_job_of_it_runs_and_some_minutes_after() {
        let (old, new) = (entry("old"), entry("new"));
        let (before, after, start) = (catalog(&old), catalog(&new), Instant::now());
        let mut replaced = Replaced::default();
        let running = old.slots.running.clone().try_acquire_owned().unwrap();

        replaced.follow(&before, &after, start);

        assert_eq!(remembered(&mut replaced, &after, start + KEPT * 3), ["old"]);
        drop(running);
        assert_eq!(remembered(&mut replaced, &after, start + KEPT * 4 - Duration::from_secs(1)), ["old"]);
        assert!(remembered(&mut replaced, &after, start + KEPT * 4).is_empty());
    }

    #[test]
    fn a_version_that_serves_again_is_not_counted_twice() {
        let (old, new) = (catalog(&entry("old")), catalog(&entry("new")));
        let mut replaced = Replaced::default();
        replaced.follow(&old, &new, Instant::now());

        replaced.follow(&new, &old, Instant::now());

        assert_eq!(remembered(&mut replaced, &old, Instant::now()), ["new"]);
    }

    #[test]
    fn of_many_versions_the_latest_are_remembered_and_those_that_jobs_run_on() {
        let start = Instant::now();
        let busy = entry("busy");
        let _running = busy.slots.running.clone().try_acquire_owned().unwrap();
        let (mut replaced, mut serving) = (Replaced::default(), catalog(&busy));
        for number in 0..=MAX as u64 + 1 {
            let next = catalog(&entry(&number.to_string()));
            replaced.follow(&serving, &next, start + Duration::from_millis(number));
            serving = next;
        }

        let versions = remembered(&mut replaced, &serving, start + Duration::from_secs(1));

        assert_eq!(versions.len(), MAX + 1);
        assert!(versions.contains(&"busy".to_owned()) && versions.contains(&MAX.to_string()), "{versions:?}");
        assert!(!versions.contains(&"0".to_owned()), "{versions:?}");
    }
}
