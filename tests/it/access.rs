//! The access log: how each request ended, and which requests count as cancelled.

use crate::harness::frames::{Frames, flag, get, head};
use crate::harness::{Daemon, Program, Setup};

const FAILURES: &str = "portcullis_failures_total";

/// `/hello` answers at once, `/sleep` never, `/pour` for long.
fn daemon() -> Daemon {
    let setup = Setup::new("")
        .handler("hello", "", &Program::text().say("hello\n").wasm())
        .handler("sleep", "", &Program::new().sleep_for_ever().wasm())
        .handler("pour", "limits.output = \"1GiB\"", &Program::text().pour(1024).wasm())
        .flag("-D");
    let admin = setup.path("admin.sock");
    setup.prepend(&format!("admin = \"unix://{}\"\naccess_log = true\n", admin.display())).start()
}

#[test]
fn a_client_that_leaves_before_its_answer_is_broken_off() {
    let daemon = daemon();
    for leaves in [Leaves::HalfCloses, Leaves::Closes] {
        let mut client = daemon.client();
        client.send(format!("GET /sleep?{leaves:?} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let from = client.socket().local_addr().unwrap();
        daemon.log.next("+job sleep(");

        let kept = match leaves {
            Leaves::HalfCloses => {
                client.shut();
                Some(client)
            }
            Leaves::Closes => {
                drop(client);
                None
            }
        };

        let line = daemon.log.line(&format!("GET /sleep?{leaves:?} -> - sleep@"));
        assert!(line.ends_with(&format!(" (broken off) for {from}")), "{line}");
        drop(kept);
    }
    daemon.counted(FAILURES, &["handler=\"sleep\"", "reason=\"cancelled\""], 2.0);
}

#[derive(Debug)]
enum Leaves {
    HalfCloses,
    Closes,
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_answer_is_broken_off() {
    let daemon = daemon();
    let mut client = daemon.client();
    client.send("GET /pour HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));

    drop(client);

    assert!(daemon.log.line("GET /pour -> 200 pour@").contains(" (broken off) for "));
}

#[test]
fn an_answer_that_was_handed_over_whole_is_not_broken_off() {
    let daemon = daemon();
    let mut client = daemon.client();

    client.get("/hello");
    client.ask("HEAD", "/hello", "");
    client.ask("HEAD", "/nowhere", "");
    client.get("/nowhere");
    client.send("GET /pour HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    client.receive_chunks();
    let mut client = Frames::begin(daemon.client(), &[]);
    client.send([get(1, "/hello"), head(3, "HEAD", "/hello", &[], flag::END_STREAM)].concat());
    client.next();
    client.next();

    daemon.log.lines(4, "/hello -> 200 hello@");
    daemon.log.lines(2, "/nowhere -> 404 ");
    daemon.log.line("GET /pour -> 200 pour@");
    assert_eq!(daemon.log.count("broken off"), 0, "{}", daemon.log.text());
}

#[test]
fn a_redirect_of_no_bytes_is_not_broken_off_while_its_job_goes_on() {
    let redirect = Program::new()
        .say("Status: 302\nLocation: /a\nContent-Length: 0\n\n")
        .sleep(std::time::Duration::from_millis(300));
    let setup = Setup::one("", &redirect.wasm()).prepend("access_log = true\n").start();
    let mut client = setup.client();

    assert_eq!(client.get("/").status(), 302);
    let mut frames = Frames::begin(setup.client(), &[]);
    frames.send(get(1, "/"));
    frames.next();

    for line in setup.log.lines(2, "GET / -> 302 one@") {
        assert!(!line.contains("broken off"), "{line}");
    }
}

#[test]
fn a_job_whose_head_is_all_that_is_asked_for_is_not_cancelled() {
    let daemon = daemon();

    let head = daemon.client().ask("HEAD", "/pour", "");

    assert_eq!(head.status(), 200);
    let line = daemon.log.line("-job pour(");
    assert!(line.ends_with(" = answered"), "{line}");
    daemon.counted("portcullis_requests_total", &["handler=\"pour\""], 1.0);
    assert_eq!(daemon.so_far(FAILURES, &["handler=\"pour\""]), 0.0);
}

#[test]
fn a_job_that_goes_on_behind_what_is_no_answer_is_not_cancelled_as_well() {
    let setup = Setup::one("", &Program::new().say("Status: 103\n\n").sleep_for_ever().wasm()).flag("-D");
    let admin = setup.path("admin.sock");
    let daemon = setup.prepend(&format!("admin = \"unix://{}\"\n", admin.display())).start();

    assert_eq!(daemon.get("/").status(), 502);

    let line = daemon.log.line("-job one(");
    assert!(line.ends_with(" = no answer"), "{line}");
    daemon.counted(FAILURES, &["reason=\"bad_answer\""], 1.0);
    assert_eq!(daemon.so_far(FAILURES, &["reason=\"cancelled\""]), 0.0);
    daemon.log.line("(bad_answer)");
    assert_eq!(daemon.log.count("(bad_answer)"), 1);
}

#[test]
fn a_probe_whose_answer_goes_on_is_not_cancelled() {
    let probed = "limits.output = \"1GiB\"\nprobe = { path = \"/\", status = 200 }";
    let setup = Setup::one(probed, &Program::text().pour(1024).wasm()).flag("-D");
    let admin = setup.path("admin.sock");
    let daemon = setup.prepend(&format!("admin = \"unix://{}\"\n", admin.display())).start();

    let line = daemon.log.line("-job one(");

    assert!(line.ends_with(" = answered"), "{line}");
    assert_eq!(daemon.so_far(FAILURES, &[]), 0.0);
}
