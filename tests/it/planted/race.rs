//! Renames that race with requests and reloads.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::Signal;

use super::{CANARY, nested, operate, untouched};

/// Exchanges names as fast as possible until `work` has ended and there were `times` exchanges, or the time is up.
fn exchanging<T>(pairs: &[(&Path, &Path)], times: u64, work: impl FnOnce() -> T) -> (T, u64) {
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let deadline = Instant::now() + Duration::from_secs(30);
    let worked = std::thread::scope(|scope| {
        scope.spawn(|| {
            let more = |done| !over.load(Ordering::Relaxed) || (done < times && Instant::now() < deadline);
            while more(done.load(Ordering::Relaxed)) {
                for (one, other) in pairs {
                    // Exchanging the outer directory moves the inner ones away for a moment.
                    let _exchanged = renameat_with(CWD, *one, CWD, *other, RenameFlags::EXCHANGE);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    (worked, done.load(Ordering::Relaxed))
}

#[test]
fn a_hundred_thousand_renames_race_with_requests_and_reloads_for_nothing() {
    race(true);
}

#[test]
fn a_hundred_thousand_renames_race_for_nothing_without_landlock_as_well() {
    race(false);
}

/// Exchanges directories of a mount for links that lead out of it, beside requests and reloads.
fn race(hardened: bool) {
    let daemon = nested("files", true, hardened).start();
    let (public, mid) = (daemon.path("data/mid/public"), daemon.path("data/mid"));
    let (door, gate) = (daemon.path("data/mid/door"), daemon.path("data/gate"));
    symlink("../../outside/public", &door).unwrap();
    symlink("../outside", &gate).unwrap();

    let (seen, exchanged) = exchanging(&[(&public, &door), (&mid, &gate)], 100_000, || {
        let mut seen = Vec::new();
        for round in 0..20 {
            if round % 4 == 0 {
                daemon.signal(Signal::HUP);
            }
            seen.extend(operate(&daemon, "/files", "hammer /public/file 50\nstamp /public/stamped 10"));
        }
        seen
    });

    assert!(!seen.concat().contains(CANARY), "{seen:?}");
    assert!(exchanged > 1000, "{exchanged} renames");
    crate::harness::figure(&format!("{exchanged} renames beside {} operations", 20 * 60));
    untouched(&daemon);
}
