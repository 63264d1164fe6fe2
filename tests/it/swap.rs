//! Swapping versions of a handler: under load, refused, as a canary, and rolled back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Client, Daemon, PATIENCE, Program, Response, Setup, finish, portcullis, until};

pub(crate) fn version(text: &str) -> Vec<u8> {
    Program::text().say(text).wasm()
}

/// A handler at `/` that answers "one", and an admin socket.
fn daemon(settings: &str) -> Daemon {
    Setup::one(settings, &version("one"))
        .prepend("admin = \"unix://admin.sock\"\nversion_header = true\n")
        .handler("other", "", &version("other"))
        .start()
}

/// Returns the name of the handler that `Setup::one` serves.
fn name(daemon: &Daemon) -> String {
    let mut client = daemon.client();
    let response = client.get("/");
    let head = response.undated();
    let version = head.lines().find_map(|line| line.strip_prefix("x-portcullis-version: ")).unwrap();
    version.split_once('@').unwrap().0.to_owned()
}

/// How long a job of the daemon may be silent: compiling a module may take a minute.
pub(crate) const COMPILING: Duration = Duration::from_secs(100);

/// Runs a job of the daemon. `fields` are complete header lines.
pub(crate) fn run(daemon: &Daemon, call: &str, fields: &str, stdin: &[u8]) -> Response {
    let mut client = Client::unix(&daemon.path("admin.sock")).patient(COMPILING);
    let length = stdin.len();
    let head =
        format!("POST /jobs/{call} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n");
    client.send([head.as_bytes(), stdin].concat());
    client.response()
}

pub(crate) fn swap(daemon: &Daemon, name: &str, fields: &str, module: &[u8]) -> Response {
    run(daemon, &format!("swap?a={name}"), fields, module)
}

fn roll_back(daemon: &Daemon, name: &str) -> Response {
    run(daemon, &format!("rollback?a={name}"), "", b"")
}

/// Sends requests until `done` is set, alternately over a kept connection and a fresh one. Counts
/// the answers, and asserts that each is one of `texts`.
pub(crate) fn ask_until(daemon: &Daemon, done: &AtomicBool, asked: &AtomicUsize, texts: &[&str]) {
    let mut kept = daemon.client();
    while !done.load(Ordering::Relaxed) {
        for response in [kept.get("/"), daemon.get("/")] {
            assert_eq!(response.status(), 200);
            assert!(texts.contains(&response.text()), "{:?}", response.text());
        }
        asked.fetch_add(2, Ordering::Relaxed);
    }
}

#[test]
fn a_module_that_cannot_serve_leaves_the_old_one_serving() {
    let daemon = daemon("probe = { path = \"/\", status = 200 }");
    let name = name(&daemon);
    let whole = version("two");
    let broken = [
        ("empty", Vec::new()),
        ("text", b"hello".to_vec()),
        ("trapping", Program::text().trap().wasm()),
        // Fails after its response head was sent.
        ("trapping later", Program::text().say("o").sleep(Duration::from_millis(50)).trap().wasm()),
        ("failing", Program::new().exit(3).wasm()),
        ("answerless", Program::new().wasm()),
        (
            "foreign",
            wat::parse_str("(module (import \"env\" \"x\" (func)) (func (export \"_start\")))").unwrap(),
        ),
        (
            "large",
            wat::parse_str("(module (memory (export \"memory\") 65536) (func (export \"_start\")))").unwrap(),
        ),
    ];
    let truncated =
        (8..whole.len()).step_by(whole.len() / 16).map(|end| ("truncated", whole[..end].to_vec()));

    for (what, module) in broken.into_iter().chain(truncated) {
        let refused = swap(&daemon, &name, "", &module);

        assert_eq!(refused.status(), 400, "{what}: {}", refused.text());
        assert_eq!(daemon.get("/").text(), "one", "{what}");
    }
}

#[test]
fn a_swap_of_what_is_not_there_says_so() {
    let daemon = daemon("");

    let refused = swap(&daemon, "nobody", "", &version("two"));

    assert_eq!(refused.status(), 400);
    assert!(refused.text().contains("there is no handler \"nobody\""), "{}", refused.text());
}

#[test]
fn rolling_back_goes_one_version_at_a_time_and_then_says_that_there_is_none() {
    let daemon = daemon("");
    let name = name(&daemon);
    for text in ["two", "three"] {
        assert_eq!(swap(&daemon, &name, "", &version(text)).status(), 200);
    }

    for text in ["two", "one"] {
        assert_eq!(roll_back(&daemon, &name).status(), 200);
        assert_eq!(daemon.get("/").text(), text);
    }

    let refused = roll_back(&daemon, &name);
    assert_eq!(refused.status(), 400);
    assert!(refused.text().contains("no version served before"), "{}", refused.text());
}

#[test]
fn a_request_under_way_ends_on_the_version_it_began_with() {
    let slow = Program::text().say("o").sleep(Duration::from_millis(300)).say("ld").wasm();
    let daemon =
        Setup::one("", &slow).prepend("admin = \"unix://admin.sock\"\nversion_header = true\n").start();
    let name = name(&daemon);
    let mut client = daemon.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.head();

    assert_eq!(swap(&daemon, &name, "", &version("new")).status(), 200);

    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(client.chunks(), b"old");
    assert_eq!(daemon.get("/").text(), "new");
}

#[test]
fn a_canary_that_fails_goes_back_by_itself() {
    let daemon = daemon("");
    let name = name(&daemon);
    let fails = Program::new().say("Status: 500\n\nno").wasm();

    let begun = swap(&daemon, &name, "Job-Env: CANARY=50%\r\nJob-Env: FOR=60s\r\n", &fails);
    assert_eq!(begun.status(), 200, "{}", begun.text());
    // On one connection: there, a failure is known before the next request is read.
    let mut client = daemon.client();
    let statuses: Vec<u16> = (0..20).map(|_| client.get("/").status()).collect();

    // The fourth failure ends the trial at once; no further failures wait for the periodic check.
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 4, "{statuses:?}");
    daemon.log.line("has failed its trial");
    until("the verdict in `logs`", || {
        let told = String::from_utf8(daemon.verb(&["logs", "canary"]).stdout).unwrap();
        told.contains(&format!(" canary: {name}: went back to ")).then_some(())
    });
    assert!((0..20).all(|_| daemon.get("/").text() == "one"));
}

#[test]
fn a_canary_that_does_as_well_is_promoted_by_itself() {
    let daemon = daemon("");
    let name = name(&daemon);

    let trial = "Job-Env: CANARY=10%\r\nJob-Env: FOR=8s\r\nJob-Env: REQUESTS=2\r\n";
    let begun = swap(&daemon, &name, trial, &version("two"));
    assert_eq!(begun.status(), 200, "{}", begun.text());
    let twos = (0..20).filter(|_| daemon.get("/").text() == "two").count();

    assert_eq!(twos, 2);
    daemon.log.line("has passed its trial");
    assert!((0..20).all(|_| daemon.get("/").text() == "two"));
}

#[test]
fn a_trial_that_cannot_be_held_changes_nothing() {
    let daemon = daemon("");
    let name = name(&daemon);
    let before = daemon.metric("portcullis_generation", &[]);
    let canary = "Job-Env: CANARY=50%\r\n";
    for (wrong, told) in [
        ("Job-Env: FOR=18446744073709551615s\r\n", "FOR: wanted 8784h at most"),
        ("Job-Env: FOR=18446744073709551615ms\r\n", "FOR: wanted 8784h at most"),
        ("Job-Env: FOR=0s\r\n", "FOR: wanted more than 0"),
        ("Job-Env: FOR=soon\r\n", "FOR: wanted a duration"),
        ("Job-Env: REQUESTS=0\r\n", "REQUESTS=\"0\": wanted a whole number from 1 to 1000000000"),
        ("Job-Env: REQUESTS=18446744073709551616\r\n", "REQUESTS="),
        ("Job-Env: SLOWER=0\r\n", "SLOWER=\"0\": wanted a whole number from 1 to 1000"),
        ("Job-Env: SLOWER=1.5\r\n", "or \"none\""),
        ("Job-Env: CANARY=100%\r\n", "wanted 1% to 99%"),
        ("Job-Env: CANARY=256\r\n", "wanted 1% to 99%"),
    ] {
        let refused = swap(&daemon, &name, &format!("{canary}{wrong}"), &version("two"));

        assert_eq!(refused.status(), 400, "{wrong}: {}", refused.text());
        assert!(refused.text().contains(told), "{wrong}: {}", refused.text());
    }
    let alone = swap(&daemon, &name, "Job-Env: FOR=5s\r\n", &version("two"));
    assert_eq!(alone.status(), 400, "{}", alone.text());
    assert!(alone.text().contains("set CANARY as well"), "{}", alone.text());

    assert!((0..4).all(|_| daemon.get("/").text() == "one"));
    assert_eq!(daemon.metric("portcullis_generation", &[]), before);
    assert!(run(&daemon, "handlers", "", b"").text().contains("\"trial\":null"));
}

#[test]
fn a_version_that_answered_nobody_is_not_promoted() {
    let daemon = daemon("");
    let name = name(&daemon);
    let hangs = Program::new().sleep_for_ever().wasm();
    let trial = "Job-Env: CANARY=50%\r\nJob-Env: FOR=5s\r\nJob-Env: REQUESTS=1\r\n";
    assert_eq!(swap(&daemon, &name, trial, &hangs).status(), 200);

    // Every second client gets no answer for a while, and gives up.
    for turn in 0..6 {
        let mut client = daemon.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        if turn % 2 == 0 {
            assert_eq!(client.response().text(), "one", "{turn}");
        } else {
            assert!(client.is_silent_for(Duration::from_millis(200)), "{turn}");
        }
    }

    daemon.log.line("has failed its trial");
    assert!((0..4).all(|_| daemon.get("/").text() == "one"));
}

#[test]
fn a_version_that_is_400_times_slower_goes_back_by_itself() {
    let daemon = daemon("");
    let name = name(&daemon);
    // Slower by far than the other version, even on a busy machine.
    let slow = Program::text().sleep(Duration::from_secs(1)).say("slow").wasm();
    let trial = "Job-Env: CANARY=20%\r\nJob-Env: FOR=300s\r\nJob-Env: SLOWER=2\r\n";
    assert_eq!(swap(&daemon, &name, trial, &slow).status(), 200);

    let answers: Vec<String> = (0..60).map(|_| daemon.get("/").text().to_owned()).collect();

    let slow = answers.iter().filter(|text| *text == "slow").count();
    assert!((4..=7).contains(&slow), "{answers:?}");
    assert!(daemon.log.line("has failed its trial").contains("answers took longer than"));
}

#[test]
fn a_version_that_answered_too_few_goes_back_at_the_end() {
    let daemon = daemon("");
    let name = name(&daemon);
    let trial = "Job-Env: CANARY=50%\r\nJob-Env: FOR=6s\r\n";
    assert_eq!(swap(&daemon, &name, trial, &version("two")).status(), 200);

    let twos = (0..12).filter(|_| daemon.get("/").text() == "two").count();

    assert_eq!(twos, 6);
    let told = daemon.log.line("has failed its trial");
    assert!(told.contains("it has answered 6 of at least 20 requests"), "{told}");
}

#[test]
fn a_trial_whose_watch_is_killed_does_not_go_on_without_it() {
    let daemon = daemon("");
    let name = name(&daemon);
    let trial = "Job-Env: CANARY=50%\r\nJob-Env: FOR=60s\r\n";
    let begun = swap(&daemon, &name, trial, &version("two"));
    let told: serde_json::Value = serde_json::from_str(begun.text()).unwrap();
    let job = told["canary"]["job"].as_str().unwrap();
    daemon.log.line(&format!("[{job}] +job canary("));

    assert_eq!(run(&daemon, &format!("kill?a={job}"), "", b"").status(), 200);

    daemon.log.line("the trial was stopped");
    assert!((0..4).all(|_| daemon.get("/").text() == "one"));
    assert!(run(&daemon, "handlers", "", b"").text().contains("\"trial\":null"));
}

#[test]
fn a_swap_after_a_reload_that_failed_has_the_settings_that_are_in_force() {
    let daemon = daemon("");
    let name = name(&daemon);
    let file = daemon.path("portcullis.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let header = format!("[handler.{name}]\n");
    let raw = "output = \"raw\"\nprobe = { path = \"/\", status = 500 }\n";
    std::fs::write(&file, text.replace(&header, &format!("{header}{raw}"))).unwrap();
    let refused = run(&daemon, "reload", "", b"");
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert!(refused.text().contains("the response has status 200 OK, wanted 500"), "{}", refused.text());

    let swapped = swap(&daemon, &name, "", &version("two"));

    assert_eq!(swapped.status(), 200, "{}", swapped.text());
    assert_eq!(daemon.get("/").text(), "two");
}

#[test]
fn a_reload_that_undoes_a_swap_says_so_in_the_log() {
    let daemon = daemon("");
    let name = name(&daemon);
    let quiet = run(&daemon, "reload", "", b"");
    assert_eq!(quiet.status(), 200, "{}", quiet.text());
    assert_eq!(swap(&daemon, &name, "", &version("two")).status(), 200);

    let reloaded = run(&daemon, "reload", "", b"");

    assert_eq!(reloaded.status(), 200, "{}", reloaded.text());
    assert_eq!(daemon.get("/").text(), "one");
    daemon.log.line("was swapped in, and the reload goes back to the file of its handler");
    assert_eq!(daemon.log.count("was swapped in"), 1);
}

#[test]
fn a_rollback_during_a_trial_ends_the_trial_and_nothing_else() {
    let daemon = daemon("");
    let name = name(&daemon);
    assert_eq!(swap(&daemon, &name, "", &version("two")).status(), 200);
    let trial = "Job-Env: CANARY=50%\r\nJob-Env: FOR=60s\r\n";
    assert_eq!(swap(&daemon, &name, trial, &version("three")).status(), 200);

    let ended = roll_back(&daemon, &name);

    assert_eq!(ended.status(), 200, "{}", ended.text());
    assert!(ended.text().contains("\"trial\":\"ended\""), "{}", ended.text());
    assert!((0..4).all(|_| daemon.get("/").text() == "two"));
    assert_eq!(roll_back(&daemon, &name).status(), 200);
    assert_eq!(daemon.get("/").text(), "one");
}

#[test]
fn a_first_swap_on_trial_is_rolled_back_though_no_version_served_before() {
    let daemon = daemon("");
    let name = name(&daemon);
    let trial = "Job-Env: CANARY=50%\r\nJob-Env: FOR=60s\r\n";
    assert_eq!(swap(&daemon, &name, trial, &version("two")).status(), 200);

    let socket = daemon.path("admin.sock");
    let ended = finish(portcullis().args(["rollback", &name, "--socket"]).arg(socket), b"", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.starts_with(&format!("{name}: the trial of ")) && said.ends_with(" goes on\n"), "{said}");
    assert!((0..4).all(|_| daemon.get("/").text() == "one"));
}

#[test]
fn what_ends_on_a_version_that_was_replaced_is_counted() {
    let slow = Program::text().say("o").read_once().say("ld").wasm();
    let daemon = Setup::one("", &slow)
        .prepend("admin = \"unix://admin.sock\"\nversion_header = true\n")
        .handler("other", "", &version("other"))
        .start();
    let mut client = daemon.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    let head = client.head();
    let old =
        head.lines().find_map(|line| line.strip_prefix("x-portcullis-version: one@")).unwrap().to_owned();
    let labels = ["handler=\"one\"", &format!("version=\"{old}\"")];

    assert_eq!(swap(&daemon, "one", "", &version("new")).status(), 200);

    assert_eq!(daemon.metric("portcullis_jobs_running", &labels), 1.0);
    client.send("x");
    assert_eq!(client.chunks(), b"old");
    daemon.counted("portcullis_requests_total", &labels, 1.0);
    daemon.counted("portcullis_jobs_running", &labels, 0.0);
    // The same module as a new handler version. Metrics must not contain the same sample twice.
    assert_eq!(swap(&daemon, "one", "", &slow).status(), 200);
    let text = daemon.metrics();
    let samples = text.lines().filter(|line| line.starts_with("portcullis_requests_total{handler=\"one\""));
    assert_eq!(samples.filter(|line| line.contains(&old)).count(), 1, "{text}");
}
