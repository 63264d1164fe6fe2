//! The daemon is changed a thousand times, at every byte and at any moment, while it serves.

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Client, Daemon, Program, Setup, bomb, until};
use crate::swap::{ask_until, run, swap, version};

/// A daemon with one handler, `one`, which answers "one" at `/`.
fn daemon(settings: &str) -> Setup {
    Setup::new(&configuration(settings)).file("one.wasm", &version("one"))
}

fn configuration(settings: &str) -> String {
    format!(
        "admin = \"unix://admin.sock\"\ngrace = \"5s\"\n[handler.one]\nmodule = \"one.wasm\"\n{settings}\n\
         [[route]]\npath = \"/\"\nhandler = \"one\"\n"
    )
}

/// Runs `work` while clients send requests over kept and fresh connections. Each response must be one of
/// `texts`. Returns the number of responses.
fn under_load(daemon: &Daemon, texts: &[&str], work: impl FnOnce(&AtomicUsize)) -> usize {
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Barrier::new(3);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    begun.wait();
                    ask_until(daemon, &done, &asked, texts)
                })
            })
            .collect();
        begun.wait();
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&asked)));
        done.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
        worked.unwrap();
    });
    asked.into_inner()
}

#[test]
fn a_thousand_swaps_fail_no_request_and_leave_memory_as_it_was() {
    /// The growth in one round that an allocator may cause, in KiB. A version that is kept too long has 16 KiB
    /// of module and its code, so a round that kept them all would grow by 8 MiB at least.
    const SLACK: u64 = 2 << 10;
    const ROUND: usize = 500;
    /// The growth of the allocator ends after a few rounds, but that of a leak does not.
    const ROUNDS: usize = 8;
    let daemon = daemon("").start();
    // As large as real modules, so a version that is kept too long is noticed.
    let versions = ["two", "one"].map(|text| Program::text().say(text).padded(16 << 10).wasm());
    let freed = || {
        let status: serde_json::Value =
            serde_json::from_slice(&run(&daemon, "status", "", b"").body).unwrap();
        (status["generations_alive"] == 1).then_some(())
    };
    let mut asked = 0;
    let mut round = || {
        asked += under_load(&daemon, &["one", "two"], |_| {
            for module in versions.iter().cycle().take(ROUND) {
                assert_eq!(swap(&daemon, "one", "", module).status(), 200);
            }
        });
        until("all old generations to be freed", freed);
        daemon.status("VmRSS")
    };

    let mut sizes = vec![round(), round()];
    while sizes[sizes.len() - 1] >= sizes[sizes.len() - 2] + SLACK && sizes.len() < ROUNDS {
        sizes.push(round());
    }

    assert!(asked > 100, "{asked} requests met the swaps");
    let [.., before, after] = sizes[..] else { unreachable!("two rounds at least") };
    assert!(after < before + SLACK, "every round of {ROUND} swaps grew: {sizes:?} KiB");
}

#[test]
fn a_module_cut_off_at_any_kib_leaves_the_old_one_serving() {
    let daemon = daemon("").start();
    let whole = Program::text().say("two").padded(64 << 10).wasm();

    let asked = under_load(&daemon, &["one"], |_| {
        for end in (0..whole.len()).step_by(1 << 10) {
            let refused = swap(&daemon, "one", "", &whole[..end]);

            assert_eq!(refused.status(), 400, "at {end}: {}", refused.text());
        }
    });

    assert!(asked > 10, "{asked}");
    assert_eq!(swap(&daemon, "one", "", &whole).status(), 200, "the whole module is one");
}

#[test]
fn a_configuration_cut_off_at_any_byte_leaves_the_old_one_serving() {
    // A number that is cut off becomes another valid number.
    let daemon = daemon("limits.concurrency = 64\nlimits.memory = 16777216").start();
    // Nothing reads the notifications, and each reload would wait a while for a reader.
    fs::remove_file(daemon.path("notify.sock")).unwrap();
    let path = daemon.path("portcullis.toml");
    let whole = fs::read(&path).unwrap();
    let told = |response: &str| response.lines().next().unwrap_or_default().to_owned();

    let asked = under_load(&daemon, &["one"], |asked| {
        for end in 0..whole.len() - 1 {
            let before = asked.load(Ordering::Relaxed);
            fs::write(&path, &whole[..end]).unwrap();
            let response = run(&daemon, "reload", "", b"");

            let cut = String::from_utf8_lossy(&whole[..end]).into_owned();
            // A configuration that lacks only its last line break is complete.
            let is_whole = cut.trim_end().ends_with("handler = \"one\"");
            assert_eq!(response.status() == 200, is_whole, "{cut}\n{}", told(response.text()));
            until("a request is answered meanwhile", || {
                (asked.load(Ordering::Relaxed) > before).then_some(())
            });
        }
    });

    assert!(asked > whole.len(), "{asked} requests met the reloads");
}

#[test]
fn a_daemon_killed_while_it_swaps_starts_cleanly() {
    /// Each of them hits another moment of a swap.
    const KILLS: u32 = 12;
    let home = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let daemon = daemon("").env("HOME", home.path()).start();
        assert_eq!(daemon.get("/").text(), "one");
        assert_eq!(daemon.log.count("WARN"), 0, "{}", daemon.log.text());
        let swapping = thread::spawn({
            let socket = daemon.path("admin.sock");
            move || swap_until_gone(&socket)
        });
        let moment = Duration::from_millis(u64::from(kill) * 7 % 60);
        until("a swap", || (daemon.get("/").text() == "two").then_some(()));
        thread::park_timeout(moment);

        daemon.signal(Signal::KILL);

        drop(daemon);
        swapping.join().unwrap();
    }
}

/// Swaps in new modules until the daemon is gone. Each module has to be compiled.
fn swap_until_gone(socket: &std::path::Path) {
    for number in 0.. {
        let module = Program::text().say("two").padded(4096 + number).wasm();
        let head = format!(
            "POST /jobs/swap?a=one HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            module.len()
        );
        let Ok(mut client) = Client::try_unix(socket) else { return };
        if client.try_send([head.as_bytes(), &module].concat()).is_err() || !client.is_answered() {
            return;
        }
    }
}

#[test]
fn a_compile_bomb_in_a_swap_is_refused_while_requests_go_on() {
    // The compiler has low priority: on a busy machine a minute of CPU time takes several minutes.
    let daemon = daemon("").prepend("compile.cpu = \"5s\"\n").start();
    let bomb = bomb();

    let asked = under_load(&daemon, &["one"], |_| {
        let refused = swap(&daemon, "one", "", &bomb);

        assert_eq!(refused.status(), 400);
        assert!(refused.text().contains("compiling it takes "), "{}", refused.text());
    });

    assert!(asked > 100, "{asked} requests were answered meanwhile");
}
