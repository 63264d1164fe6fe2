//! Failed jobs: what the log, the client and the record show of them, and how `replay` runs them again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Daemon, Ended, PATIENCE, Program, Setup, finish, guests, portcullis, until};

/// A handler whose failed jobs are recorded.
pub(crate) fn recording(settings: &str, module: &[u8]) -> Setup {
    Setup::one(&format!("record = \"failures\"\n{settings}"), module).prepend("record_dir = \"failures\"\n")
}

/// Returns the record files of failed jobs, oldest first.
fn files(daemon: &Daemon) -> Vec<PathBuf> {
    let entries = fs::read_dir(daemon.path("failures")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')).collect();
    files.sort();
    files
}

/// Waits for the record file of the only failed job.
pub(crate) fn only(daemon: &Daemon) -> (PathBuf, Value) {
    let file = until("the failed job to be recorded", || files(daemon).pop());
    let bundle = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    (file, bundle)
}

/// Runs `replay` with a record file.
pub(crate) fn replay(file: &PathBuf, args: &[&str]) -> Ended {
    finish(portcullis().arg("replay").arg(file).args(args), b"", PATIENCE)
}

/// A guest that traps if its body begins with an `x`.
fn picky() -> Program {
    Program::new()
        .read_once()
        .complain("looking\n")
        .code("(if (i32.eq (i32.load8_u (i32.const 0x10000)) (i32.const 120)) (then unreachable))")
        .say("Content-Type: text/plain\n\nfine")
}

#[test]
fn a_body_that_is_not_to_be_kept_is_in_no_file_and_replay_says_so() {
    let daemon = recording("record_body = false", &picky().wasm()).start();

    assert_eq!(daemon.client().submit("POST", "/", "", b"x very private").status(), 502);

    let (file, bundle) = only(&daemon);
    assert!(!fs::read_to_string(&file).unwrap().contains("private"));
    assert_eq!((&bundle["stdin"]["text"], &bundle["stdin_withheld"]), (&"".into(), &true.into()));
    let again = replay(&file, &[]);
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert!(again.stderr.contains("its stdin was not recorded (record_body = false)"), "{}", again.stderr);
    assert!(again.stdout.ends_with(b"fine"), "the response has no newline at its end");
    assert!(again.stderr.contains("looking\n\nportcullis: then: "), "{}", again.stderr);
    let body = daemon.path("body");
    fs::write(&body, "x very private").unwrap();
    let again = replay(&file, &["--stdin", body.to_str().unwrap()]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(!again.stderr.contains("not recorded"), "{}", again.stderr);
}

#[test]
fn a_job_that_trapped_is_kept_and_traps_again_offline() {
    let daemon =
        recording("args = [\"one\"]\nenv = { GREETING = \"hi\", API_TOKEN = \"s3cret\" }", &picky().wasm())
            .start();
    assert_eq!(daemon.client().submit("POST", "/?q=1", "Cookie: id=s3cret\r\n", b"yes").text(), "fine");

    let response = daemon.client().submit("POST", "/?q=1", "Cookie: id=s3cret\r\n", b"x marks");

    assert_eq!(response.status(), 502);
    let (file, bundle) = only(&daemon);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(daemon.path("failures")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!((&bundle["handler"], &bundle["outcome"]["code"]), (&"one".into(), &"trapped".into()));
    assert_eq!((&bundle["stdin"]["text"], &bundle["args"][0]), (&"x marks".into(), &"one".into()));
    assert_eq!(bundle["masked"], serde_json::json!(["HTTP_COOKIE", "API_TOKEN"]));
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("s3cret") && text.contains("\"GREETING\"") && text.contains("q=1"), "{text}");
    daemon.log.line("is recorded: portcullis replay ");

    let again = replay(&file, &[]);

    assert_eq!(again.code, Some(0), "{}", again.stderr);
    for line in [
        "not recorded, and empty here: HTTP_COOKIE, API_TOKEN",
        "looking",
        "0: main",
        "the outcome is the same",
    ] {
        assert!(again.stderr.contains(line), "{line}: {}", again.stderr);
    }
    assert_eq!(files(&daemon).len(), 1, "what went well is not kept, nor is a replay");
}

#[test]
fn a_replay_says_that_it_has_no_stores_and_databases() {
    let settings = "stores = [\"default\"]\ndatabases = [\"app\"]\n[store.default]\nurl = \"memory:\"\n\
                    [database.app]\nurl = \"sqlite:app.sqlite\"\n";
    let daemon = recording(settings, &picky().wasm()).start();
    assert_eq!(daemon.client().submit("POST", "/", "", b"x marks").status(), 502);
    let (file, bundle) = only(&daemon);
    assert_eq!(bundle["stores"], serde_json::json!(["default"]));
    assert_eq!(bundle["databases"], serde_json::json!(["app"]));

    let again = replay(&file, &[]);

    for line in [
        "its stores are not recorded, and denied here: default",
        "its databases are not recorded, and denied here: app",
    ] {
        assert!(again.stderr.contains(line), "{line}: {}", again.stderr);
    }
}

#[test]
fn credentials_in_an_address_are_not_kept() {
    let daemon = recording("", &Program::new().trap().wasm()).start();
    let fields = "X-Auth: s3cret\r\nX-Hub-Signature: s3cret\r\nReferer: http://a/?q=2&session=s3cret\r\n\
                  X-Original-URL: /?sig=s3cret\r\n";

    daemon.client().submit("GET", "/?access_token=s3cret&q=1&%6Bey=s3cret", fields, b"");

    let (file, bundle) = only(&daemon);
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("s3cret"), "{text}");
    assert!(
        text.contains("\"/?access_token=***&q=1&%6Bey=***\"") && text.contains("http://a/?q=2&session=***"),
        "{text}"
    );
    assert_eq!(bundle["masked"], serde_json::json!(["HTTP_X_AUTH", "HTTP_X_HUB_SIGNATURE"]));
    let in_part = bundle["masked_in_part"].as_array().unwrap();
    for name in ["QUERY_STRING", "REQUEST_URI", "X_FULL_URL", "HTTP_REFERER", "HTTP_X_ORIGINAL_URL"] {
        assert!(in_part.contains(&name.into()), "{name}: {in_part:?}");
    }
    let again = replay(&file, &["-e", "QUERY_STRING=access_token=known"]);
    assert!(again.stderr.contains("recorded without credentials, *** here: "), "{}", again.stderr);
    assert!(
        again.stderr.contains("the outcome is the same") && !again.stderr.contains("QUERY_STRING"),
        "{}",
        again.stderr
    );
}

#[test]
fn a_handler_that_fails_often_does_not_push_out_the_failures_of_another() {
    let module = Program::new().trap().wasm();
    let daemon = recording("", &module).handler("often", "record = \"failures\"", &module).start();
    assert_eq!(daemon.get("/").status(), 502);
    only(&daemon);
    let mut client = daemon.client();

    until("more to be recorded than is kept", || {
        assert_eq!(client.get("/often").status(), 502);
        (daemon.log.count("is recorded: ") > 110).then_some(())
    });

    let own =
        |files: Vec<PathBuf>| files.iter().filter(|file| file.to_str().unwrap().contains("Z-one-")).count();
    assert_eq!(own(files(&daemon)), 1);
}

#[test]
fn another_module_shows_whether_it_mends_the_failure() {
    let daemon = recording("", &picky().wasm()).start();
    daemon.client().submit("POST", "/", "", b"x");
    let (file, _) = only(&daemon);
    let mended = daemon.path("mended.wasm");
    fs::write(&mended, Program::text().say("mended").wasm()).unwrap();

    let outcome = replay(&file, &["--module", mended.to_str().unwrap()]);

    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, b"Content-Type: text/plain\n\nmended");
    assert!(
        outcome.stderr.contains("now:  ok") && outcome.stderr.contains("the outcome differs"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn every_failure_of_a_handler_is_kept_and_fails_at_the_same_again() {
    for (code, settings, program) in [
        ("bad_answer", "", Program::new().say("no answer\n")),
        ("bad_answer", "", Program::new().say("Content-Type: text/plain\nContent-Length: 9\n\nshort")),
        ("exited", "", Program::new().complain("no disk left\n").exit(3)),
        ("cpu_limit", "limits.cpu = \"50ms\"", Program::new().spin()),
        ("time_limit", "limits.time = \"50ms\"", Program::new().sleep_for_ever()),
        ("output_limit", "limits.output = 100", Program::text().pour(1)),
    ] {
        let daemon = recording(settings, &program.wasm()).start();
        assert!(daemon.get("/").status() >= 500);

        let (file, bundle) = only(&daemon);
        let again = replay(&file, &[]);

        assert_eq!(bundle["outcome"]["code"], code);
        assert_eq!(again.code, Some(0), "{code}: {}", again.stderr);
    }
}

#[test]
fn a_response_that_was_shorter_than_its_content_length_is_so_again_and_not_ok() {
    let short = "Content-Type: text/plain\nContent-Length: 9\n\nshort";
    let daemon = recording("", &Program::new().say(short).read_once().wasm()).start();
    let mut client = daemon.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n");
    assert!(client.head().contains("content-length: 9\r\n"));
    assert_eq!(client.take(5), b"short");
    client.send("go");
    assert_eq!(client.rest(), b"", "it broke off after its head was sent");

    let (file, bundle) = only(&daemon);
    let again = replay(&file, &[]);

    assert_eq!(bundle["outcome"]["code"], "bad_answer");
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    for line in ["now:  ", "Content-Length says 9, the body has 5 bytes", "the outcome is the same"] {
        assert!(again.stderr.contains(line), "{line}: {}", again.stderr);
    }
    // The response to HEAD has no body, so none is missing.
    let of_head = replay(&file, &["-e", "REQUEST_METHOD=HEAD"]);
    assert!(of_head.stderr.contains("now:  ok"), "{}", of_head.stderr);
}

#[test]
fn a_large_body_is_kept_up_to_a_bound_and_marked() {
    let daemon = recording("", &Program::new().swallow().trap().wasm()).start();
    daemon.client().submit("POST", "/", "", &[b'y'; 3 << 20]);

    let (file, bundle) = only(&daemon);

    assert_eq!(bundle["stdin"]["text"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(bundle["stdin_truncated"], true);
    let again = replay(&file, &[]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.contains("the job read more than was recorded"), "{}", again.stderr);
}

#[test]
fn recording_without_a_place_for_it_is_refused() {
    let ended = Setup::one("record = \"failures\"", &picky().wasm()).fail();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("handler.one.record: there is nowhere to keep them: set record_dir"),
        "{}",
        ended.stderr
    );

    let ended = Setup::one("record_body = false", &picky().wasm()).fail();
    assert_eq!(ended.code, Some(1));
    let wanted =
        "handler.one.record_body: nothing is recorded: set record = \"failures\", or leave the key out";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);

    let open = recording("", &picky().wasm());
    fs::create_dir(open.path("failures")).unwrap();
    fs::set_permissions(open.path("failures"), fs::Permissions::from_mode(0o755)).unwrap();
    let ended = open.fail();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("others may use"), "{}", ended.stderr);
}

#[test]
fn a_panic_stands_in_the_error_line_with_its_place_and_the_stack_has_source_lines() {
    for name in ["panics", "panics-wasip2"] {
        let module = fs::read(guests().join(format!("{name}.wasm"))).unwrap();
        let daemon = Setup::one("", &module).prepend("source_lines = true\n").start();

        let response = daemon.get("/");

        assert_eq!(response.status(), 502, "{name}");
        assert!(!response.text().contains("cheese"), "{name}: {}", response.text());
        let line = daemon.log.line("trapped: panicked at src/bin/panics.rs:");
        assert!(line.contains("out of cheese with 1 argument (trapped)"), "{name}: {line}");
        for function in ["inner", "outer"] {
            let frame = daemon.log.line(&format!("panics::{function} at "));
            assert!(frame.contains("panics.rs:"), "{name}: {frame}");
        }
    }
}

/// The daemon must ignore it by default: wasmtime reads debug information outside every limit.
#[test]
fn debug_information_is_left_alone_unless_it_is_asked_for() {
    let module = fs::read(guests().join("panics.wasm")).unwrap();
    let daemon = Setup::one("", &module).start();

    assert_eq!(daemon.get("/").status(), 502);

    let frame = daemon.log.line("panics::inner");
    assert!(!frame.contains("panics.rs:"), "{frame}");
}

#[test]
fn whoever_develops_is_told_what_the_handler_said_and_nobody_else() {
    let fails = Program::new().complain("the password is s3cret\n").exit(3);
    let traps = Program::new().trap();
    let setup = || Setup::new("").handler("fails", "", &fails.wasm()).handler("traps", "", &traps.wasm());
    let (public, debug) = (setup().start(), setup().prepend("debug = true\n").start());

    assert!(!public.get("/fails").text().contains("s3cret"));
    assert!(!public.get("/traps").text().contains("main"));
    assert!(debug.get("/fails").text().ends_with("the password is s3cret\n"));
    assert!(
        debug.get("/traps").text().ends_with("trapped: wasm `unreachable` instruction executed\n  0: main\n")
    );
}
