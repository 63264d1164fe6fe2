//! Renames that race with requests and reloads.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::Signal;

use super::{KINDS, nested, operate, untouched};
use crate::harness::{Daemon, Ends, Landlock, PATIENCE, figure};

/// The minimum of exchanges in a race.
const EXCHANGES: u64 = 100_000;

/// The minimum of requests in a race.
const REQUESTS: u64 = 20;

/// Exchanges names as fast as possible while `work` goes on. `work` gets the number of exchanges so far.
fn exchanging<T>(pairs: &[(&Path, &Path)], work: impl FnOnce(&AtomicU64) -> T) -> T {
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (one, other) in pairs {
                    // Exchanging the outer directory moves the inner ones away for a moment.
                    let exchanged = renameat_with(CWD, *one, CWD, *other, RenameFlags::EXCHANGE);
                    done.fetch_add(u64::from(exchanged.is_ok()), Ordering::Relaxed);
                }
            }
        });
        let _ends = Ends(&over);
        work(&done)
    })
}

#[test]
fn a_hundred_thousand_renames_race_with_requests_and_reloads_for_nothing() {
    KINDS.into_iter().for_each(|kind| race(kind, Landlock::Native));
}

#[test]
fn a_hundred_thousand_renames_race_for_nothing_without_landlock_as_well() {
    KINDS.into_iter().for_each(|kind| race(kind, Landlock::Missing));
}

/// Exchanges directories of a mount for links that lead out of it, beside requests and reloads.
fn race(kind: &str, landlock: Landlock) {
    let daemon = landlock.start(nested(kind, true));
    let (public, mid) = (daemon.path("data/mid/public"), daemon.path("data/mid"));
    let (door, gate) = (daemon.path("data/mid/door"), daemon.path("data/gate"));
    symlink("../../outside/public", &door).unwrap();
    symlink("../outside", &gate).unwrap();
    let deadline = Instant::now() + PATIENCE;

    let (exchanged, requests) = exchanging(&[(&public, &door), (&mid, &gate)], |done| {
        let mut requests = 0;
        while requests < REQUESTS || done.load(Ordering::Relaxed) < EXCHANGES {
            assert!(Instant::now() < deadline, "{done:?} exchanges within {PATIENCE:?}");
            ask(&daemon, requests);
            requests += 1;
        }
        (done.load(Ordering::Relaxed), requests)
    });

    figure(&format!("{kind}: {exchanged} exchanges beside {} operations", requests * 60));
    untouched(&daemon);
}

#[test]
fn a_handler_that_displaces_a_mount_again_and_again_leads_no_other_out() {
    /// Puts a directory with a link in the place of `mid`, and then puts `mid` back.
    const ROUND: &str = "rename /data/mid /data/spare\nrename /data/x/mid /data/mid\n\
        rename /data/mid /data/x/mid\nrename /data/spare /data/mid\n";
    for (kind, landlock) in Landlock::each(KINDS) {
        let daemon = landlock.start(nested(kind, true));
        // The link leads out only while its directory is in the place of `mid`.
        let planted = "mkdir /data/x\nmkdir /data/x/mid\nsymlink ../../outside/public /data/x/mid/public";
        assert_eq!(operate(&daemon, "/up", planted), ["ok "; 3], "{kind}");
        let over = AtomicBool::new(false);

        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ends = Ends(&over);
                for _ in 0..10 {
                    let outcomes = operate(&daemon, "/up", &ROUND.repeat(100));
                    assert_eq!(outcomes, ["ok "; 400], "{kind}");
                }
            });
            for number in 0.. {
                ask(&daemon, number);
                if over.load(Ordering::Acquire) {
                    break;
                }
            }
        });

        untouched(&daemon);
    }
}

/// Lets the handler with the inner mount read and write there. Reloads with every eighth request.
fn ask(daemon: &Daemon, number: u64) {
    if number.is_multiple_of(8) {
        daemon.signal(Signal::HUP);
    }
    let outcomes = operate(daemon, "/files", "hammer /public/file 50\nstamp /public/stamped 10");
    assert_eq!(outcomes, ["ok mine", "ok 10"], "the request number {number}");
}
