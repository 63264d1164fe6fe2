//! Trials under load, and promotions and rollbacks that fail. A version that fails goes back after few requests. A
//! change that fails leaves everything as it was.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Daemon, PATIENCE, Program, Setup};
use crate::swap::{run, swap, version};

const ADMIN: &str = "admin = \"unix://admin.sock\"\n";

/// A trial that lasts longer than its test.
pub(crate) const LONG: &str = "Job-Env: CANARY=50%\r\nJob-Env: FOR=1h\r\nJob-Env: REQUESTS=1000000\r\n";

/// Returns the generation. Also returns the name of each handler, its version, and its version on trial.
pub(crate) fn versions(daemon: &Daemon) -> (f64, Vec<[Value; 3]>) {
    let told: Value = serde_json::from_str(run(daemon, "handlers", "", b"").text()).unwrap();
    let of = |handler: &Value| {
        [&handler["name"], &handler["version"], &handler["trial"]["version"]].map(Value::clone)
    };
    (daemon.metric("portcullis_generation", &[]), told.as_array().unwrap().iter().map(of).collect())
}

#[test]
fn a_version_that_fails_every_request_fails_few_of_many_clients_before_it_goes_back() {
    const CLIENTS: usize = 32;
    const REQUESTS: usize = 30;
    // The slow version has a request of every client before its first failure is known.
    let slow = Program::new().sleep(Duration::from_millis(300)).trap().wasm();
    for failing in [Program::new().trap().wasm(), slow] {
        let daemon = Setup::one("", &version("one")).prepend(ADMIN).start();
        let begun = swap(&daemon, "one", LONG, &failing);
        assert_eq!(begun.status(), 200, "{}", begun.text());
        let failed = AtomicUsize::new(0);

        let ask = || {
            let mut client = daemon.client();
            let (mut asked, start) = (0, Instant::now());
            while asked < REQUESTS {
                assert!(start.elapsed() < 2 * PATIENCE, "{asked} of {REQUESTS} are answered");
                let Some(response) = client.get_or_closed("/") else {
                    client = daemon.client();
                    continue;
                };
                asked += 1;
                match response.status() {
                    200 => assert_eq!(response.text(), "one"),
                    502 => drop(failed.fetch_add(1, Ordering::Relaxed)),
                    other => panic!("{other}: {}", response.text()),
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(ask);
            }
        });

        // The fourth failure ends the trial. Each client may have a request in progress then.
        let failed = failed.load(Ordering::Relaxed);
        assert!((4..=4 + CLIENTS).contains(&failed), "{failed} of {}", CLIENTS * REQUESTS);
        daemon.log.line("has failed its trial");
        assert!((0..20).all(|_| daemon.get("/").text() == "one"));
    }
}

#[test]
fn a_promotion_that_fails_changes_nothing() {
    let daemon =
        Setup::one("", &version("one")).prepend(ADMIN).handler("other", "", &version("other")).start();
    let begun = swap(&daemon, "other", LONG, &version("another"));
    assert_eq!(begun.status(), 200, "{}", begun.text());
    let before = versions(&daemon);

    for (name, why) in [("one", "one: no version is on trial"), ("nobody", "there is no handler \"nobody\"")]
    {
        let refused = run(&daemon, &format!("promote?a={name}"), "", b"");
        assert_eq!(refused.status(), 400, "{}", refused.text());
        assert!(refused.text().contains(why), "{}", refused.text());
    }

    assert_eq!(versions(&daemon), before);
    assert_eq!(daemon.get("/").text(), "one");
    let answers: BTreeSet<String> = (0..4).map(|_| daemon.get("/other").text().to_owned()).collect();
    assert_eq!(answers, BTreeSet::from(["another", "other"].map(str::to_owned)), "the trial goes on");
}

#[test]
fn a_rollback_that_fails_changes_nothing_and_succeeds_once_it_can() {
    let large = Program::text().of_pages(64).say("one").wasm();
    let daemon = Setup::one("", &large).prepend(ADMIN).start();
    let fails = |why: &str, serving: &str| {
        let before = versions(&daemon);
        // The version that served before is not lost by an attempt.
        for _ in 0..2 {
            let refused = run(&daemon, "rollback?a=one", "", b"");
            assert_eq!(refused.status(), 400, "{}", refused.text());
            assert!(refused.text().contains(why), "{}", refused.text());
        }
        assert_eq!(versions(&daemon), before);
        assert_eq!(daemon.get("/").text(), serving);
    };
    fails("no version served before", "one");

    // The version before needs more memory than the handler has now.
    assert_eq!(swap(&daemon, "one", "", &version("two")).status(), 200);
    fs::write(daemon.path("one.wasm"), version("two")).unwrap();
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    let header = "[handler.one]\n";
    fs::write(&config, text.replace(header, &format!("{header}limits.memory = \"1MiB\"\n"))).unwrap();
    let reloaded = run(&daemon, "reload", "", b"");
    assert_eq!(reloaded.status(), 200, "{}", reloaded.text());
    fails("memory", "two");

    fs::write(&config, text).unwrap();
    let reloaded = run(&daemon, "reload", "", b"");
    assert_eq!(reloaded.status(), 200, "{}", reloaded.text());
    let back = run(&daemon, "rollback?a=one", "", b"");
    assert_eq!(back.status(), 200, "{}", back.text());
    assert_eq!(daemon.get("/").text(), "one");
}
