//! `upgrade = "tcp"`: the connection becomes the job's stdin and stdout, tested with raw sockets.

use std::io::Write as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, until};

/// A request for the upgrade that the route offers.
const ASK: &str = "POST / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// The head of the response that grants it.
const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n";

/// Limits that none of these tests reaches.
const AMPLE: &str = "limits = { body = \"4GiB\", output = \"4GiB\", cpu = \"60s\", time = \"60s\" }";

fn setup(settings: &str, program: &Program) -> Setup {
    Setup::new(&format!(
        "[handler.one]\nmodule = \"one.wasm\"\n{settings}\n[[route]]\npath = \"/\"\nhandler = \"one\"\nupgrade = \"tcp\"\n"
    ))
    .file("one.wasm", &program.wasm())
    .flag("-D")
}

fn serving(program: &Program) -> Daemon {
    setup(AMPLE, program).start()
}

/// Requests the upgrade and asserts that it is granted.
#[track_caller]
fn upgraded(daemon: &Daemon) -> Client {
    let mut client = daemon.client();
    client.send(ASK);
    granted(&mut client);
    client
}

#[track_caller]
fn granted(client: &mut Client) {
    let head = client.head();
    let undated: String = head.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect();
    assert_eq!(undated, GRANTED);
}

#[test]
fn what_is_sent_behind_the_head_and_after_the_101_arrives_once_and_in_order() {
    let daemon = serving(&Program::new().echo().say("end\n"));
    let mut client = daemon.client();

    client.send(format!("{ASK}early\n"));
    granted(&mut client);
    assert_eq!(client.take(6), b"early\n");
    client.send("late\n");
    assert_eq!(client.take(5), b"late\n");
    client.shut();

    assert_eq!(client.rest(), b"end\n");
}

#[test]
fn a_client_that_says_all_at_once_and_shuts_its_end_is_answered() {
    let daemon = serving(&Program::new().echo().say("end\n"));
    let mut client = daemon.client();

    client.send(format!("{ASK}all of it\n"));
    client.shut();

    granted(&mut client);
    assert_eq!(client.rest(), b"all of it\nend\n");
}

#[test]
fn the_end_of_the_job_closes_the_connection_of_a_client_that_goes_on_sending() {
    let daemon = serving(&Program::new().say("hello\n").read_once().say("bye\n"));
    let mut client = upgraded(&daemon);
    assert_eq!(client.take(6), b"hello\n");

    client.send("more than is read".repeat(1000));

    assert_eq!(client.rest(), b"bye\n");
}

#[test]
fn who_does_not_ask_for_the_protocol_is_told_which_one_it_is() {
    let daemon = serving(&Program::new().echo());
    let mut client = daemon.client();
    for fields in [
        "",
        "Connection: Upgrade\r\n",
        "Upgrade: tcp\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: keep-alive\r\nUpgrade: tcp\r\n",
        "Connection: Upgrade\r\nUpgrade: tcpx\r\n",
    ] {
        let response = client.ask("GET", "/", &format!("Accept: application/json\r\n{fields}"));

        assert_eq!(response.status(), 426, "{fields:?}");
        assert_eq!(response.field("upgrade"), Some("tcp"));
        assert_eq!(response.field("connection"), Some("Upgrade"));
        assert!(response.text().contains("\"upgrade_required\""), "{}", response.text());
    }

    client.send("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    assert_eq!(client.response().status(), 426);
}

#[test]
fn fields_in_lists_and_in_any_case_are_understood() {
    let daemon = serving(&Program::new().say("here"));
    let mut client = daemon.client();

    client.send(
        "GET / HTTP/1.1\r\nHost: test\r\nconnection: keep-alive, UPGRADE\r\nupgrade: foo/1, TCP\r\n\r\n",
    );

    granted(&mut client);
    assert_eq!(client.rest(), b"here");
}

#[test]
fn a_request_with_a_body_is_not_upgraded() {
    let daemon = serving(&Program::new().echo());

    let response = daemon.client().submit("POST", "/", "Connection: Upgrade\r\nUpgrade: tcp\r\n", b"a body");

    assert_eq!(response.status(), 400);
    assert!(response.text().contains("has a body"), "{}", response.text());
}

#[test]
fn a_job_that_fails_before_it_reads_or_writes_is_an_answer_in_http() {
    let failing = Program::new().complain("no such room\n").exit(3);
    let daemon = setup("", &failing).handler("fine", "", &Program::text().say("fine").wasm()).start();
    let mut client = daemon.client();

    client.send(ASK);

    let response = client.response();
    assert_eq!(response.status(), 502);
    assert!(response.text().contains("exit status 3"), "{}", response.text());
    assert_eq!(client.get("/fine").text(), "fine", "the connection goes on");
}

#[test]
fn a_job_that_finds_no_slot_is_an_answer_in_http() {
    let settings = "limits = { concurrency = 1, queue = 0 }";
    let daemon = setup(settings, &Program::new().say("in\n").echo()).start();
    let mut first = upgraded(&daemon);
    assert_eq!(first.take(3), b"in\n");
    let mut second = daemon.client();

    second.send(ASK);
    let response = second.response();

    assert_eq!((response.status(), response.field("retry-after")), (503, Some("1")));
    first.shut();
    assert_eq!(first.rest(), b"");
    until("the slot is free", || {
        second.send(ASK);
        let head = second.head();
        let granted = head.starts_with("HTTP/1.1 101");
        if !granted {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            second.take(length.parse().unwrap());
        }
        granted.then_some(())
    });
}

#[test]
fn an_exit_status_and_the_last_words_of_a_job_are_logged() {
    let daemon = serving(&Program::new().say("so far\n").complain("the disk is full\n").exit(5));
    let mut client = upgraded(&daemon);

    assert_eq!(client.rest(), b"so far\n");

    daemon.log.line("one: the disk is full");
    let line = daemon.log.line("exit status 5");
    assert!(line.contains("WARN") && line.contains("the disk is full"), "{line}");
}

#[test]
fn a_client_that_leaves_ends_the_job_whatever_it_is_at() {
    let asleep = Program::new().say("in\n").sleep_for_ever();
    let daemon = serving(&asleep);
    let mut client = upgraded(&daemon);
    client.take(3);

    client.reset();

    daemon.log.line("-job one() = cancelled");
}

#[test]
fn no_deadline_of_http_ends_a_connection_that_is_silent() {
    let daemon = setup("", &Program::new().say("in\n").echo())
        .prepend(
            "[http]\nfirst_byte = \"1s\"\nhead = \"1s\"\nbody_idle = \"1s\"\nwrite_idle = \"1s\"\nkeep_alive = \"1s\"\n",
        )
        .start();
    let mut client = upgraded(&daemon);
    assert_eq!(client.take(3), b"in\n");

    // Each of them is over. Until the upgrade, the client has had their time.
    assert!(client.is_silent_for(Duration::from_secs(3)));

    client.send("still here");
    assert_eq!(client.take(10), b"still here");
}

#[test]
fn limits_hold_for_the_whole_of_a_connection() {
    for (limit, said, program) in [
        ("time = \"3s\"", "limits.time", Program::new().say("in\n").echo()),
        ("body = \"8\"", "limits.body", Program::new().say("in\n").echo()),
        ("output = \"8\"", "limits.output", Program::new().say("in\n").pour(1)),
        ("cpu = \"100ms\"", "limits.cpu", Program::new().say("in\n").spin()),
    ] {
        let daemon = setup(&format!("limits = {{ {} }}", limit.replace("\"8\"", "8")), &program).start();
        let mut client = upgraded(&daemon);

        // A job that has ended by now has reset the connection.
        let _reset = client.try_send("more than eight bytes");
        client.rest();

        daemon.log.line(&format!("({said})"));
    }
}

#[test]
fn a_client_that_does_not_read_makes_the_job_wait_and_is_closed_in_the_end() {
    let pouring = Program::new()
        .code("(loop $ever (call $write (i32.const 1) (i32.const 0x10000) (i32.const 0x10000)) (br $ever))");
    let daemon = setup(AMPLE, &pouring).prepend("[http]\nwrite_idle = \"2s\"\n").start();
    let base = daemon.peak_memory();
    let start = Instant::now();

    let client = upgraded(&daemon);
    daemon.log.line("-job one() = cancelled");

    assert!(start.elapsed() >= Duration::from_secs(2));
    let grown = daemon.peak_memory().saturating_sub(base);
    assert!(grown < 16 << 10, "{grown} KiB");
    drop(client);
}

#[test]
fn a_job_that_does_not_read_makes_the_client_wait() {
    let daemon = serving(&Program::new().say("in\n").read_once().sleep_for_ever());
    let mut client = upgraded(&daemon);
    client.take(3);
    let mut socket = client.socket();
    socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (piece, most) = ([b'x'; 64 << 10], 256 << 20);
    let mut sent = 0;

    while sent < most {
        match socket.write(&piece) {
            Ok(written) => sent += written,
            Err(_) => break,
        }
    }

    assert!(sent < most, "the daemon took {sent} bytes that nobody reads");
}

#[test]
fn a_connection_can_be_killed_and_is_listed_until_then() {
    let daemon =
        setup("", &Program::new().say("in\n").echo()).prepend("admin = \"unix://admin.sock\"\n").start();
    let mut client = upgraded(&daemon);
    client.take(3);
    let jobs: Value = serde_json::from_slice(&daemon.verb(&["jobs", "--json"]).stdout).unwrap();
    let job = jobs.as_array().unwrap().iter().find(|job| job["handler"] == "one").unwrap();

    let killed = daemon.verb(&["kill", job["id"].as_str().unwrap()]);

    assert_eq!(killed.code, Some(0), "{}", killed.stderr);
    client.rest();
    daemon.log.line("stopped after it had begun to answer: an operator ended the job");
}

#[test]
fn a_shutdown_waits_for_a_connection_and_ends_it_when_grace_is_over() {
    for (grace, code) in [("30s", 0), ("300ms", 3)] {
        let mut daemon = setup("", &Program::new().say("in\n").echo().say("end\n"))
            .prepend(&format!("grace = \"{grace}\"\n"))
            .start();
        let mut client = upgraded(&daemon);
        client.take(3);

        daemon.signal(Signal::TERM);
        daemon.log.line("connections left");
        if code == 0 {
            client.send("last words\n");
            assert_eq!(client.take(11), b"last words\n");
            client.shut();
            assert_eq!(client.rest(), b"end\n");
        } else {
            client.rest();
        }

        assert_eq!(daemon.wait(PATIENCE).code, Some(code));
    }
}

#[test]
fn a_connection_over_a_unix_socket_is_the_same() {
    let setup = setup("", &Program::new().echo().say("end\n"));
    let host = format!("unix://{}", setup.path("s.sock").display());
    let daemon = setup.host(host).start();
    let mut client = Client::unix(&daemon.path("s.sock"));

    client.send(format!("{ASK}hello\n"));
    granted(&mut client);
    assert_eq!(client.take(6), b"hello\n");
    client.shut();

    assert_eq!(client.rest(), b"end\n");
}

#[test]
fn a_reload_leaves_a_connection_its_version() {
    let daemon = setup("", &Program::new().say("one\n").echo()).start();
    let mut client = upgraded(&daemon);
    client.take(4);
    std::fs::write(daemon.path("one.wasm"), Program::new().say("two\n").echo().wasm()).unwrap();

    daemon.signal(Signal::HUP);
    daemon.log.lines(2, "-job reload() = OK");

    client.send("still one");
    assert_eq!(client.take(9), b"still one");
    assert_eq!(upgraded(&daemon).take(4), b"two\n");
    client.send("and later");
    assert_eq!(client.take(9), b"and later");
}

#[test]
fn what_a_job_said_before_it_failed_at_once_is_the_clients() {
    for failing in [Program::new().say("said\n").exit(1), Program::new().say("said\n").trap()] {
        let daemon = serving(&failing);
        let mut client = upgraded(&daemon);

        assert_eq!(client.rest(), b"said\n");
    }
}
