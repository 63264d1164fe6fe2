//! The errors that clients get when a request fails, and who is blamed.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::harness::{Client, Daemon, Latencies, Program, Response, Setup, attempted, soon, until};

fn failing(settings: &str, program: Program) -> Daemon {
    Setup::one(settings, &program.wasm()).start()
}

/// Removes the number of the job from an error in plain text.
fn complaint(response: &Response) -> &str {
    let (job, complaint) = response.text().split_once(": ").unwrap();
    let number = job.strip_prefix("job ").unwrap();
    assert!(number.bytes().all(|byte| byte.is_ascii_hexdigit()), "{number}");
    complaint
}

fn post(client: &mut Client, length: u64) {
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));
}

#[test]
fn a_body_is_taken_at_its_limit_and_refused_one_byte_later() {
    let daemon = failing("limits.body = 1000", Program::text().echo());

    let at = daemon.client().submit("POST", "/", "", &[b'x'; 1000]);
    let past = daemon.client().submit("POST", "/", "", &[b'x'; 1001]);

    assert_eq!((at.status(), at.body.len()), (200, 1000));
    assert_eq!(past.status(), 413);
    assert_eq!(complaint(&past), "the request body is larger than the limit of 1000B (limits.body)\n");
    assert_eq!(past.field("connection"), Some("close"));
}

#[test]
fn a_body_of_unknown_length_is_taken_at_its_limit_and_refused_one_byte_later() {
    let daemon =
        failing("limits.body = 1000", Program::new().swallow().say("Content-Type: text/plain\n\nread\n"));
    let submit = |length: usize| {
        let mut client = daemon.client();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length)));
        client.response()
    };

    let (at, past) = (submit(1000), submit(1001));

    assert_eq!((at.status(), at.text()), (200, "read\n"));
    assert_eq!(past.status(), 413);
    assert_eq!(complaint(&past), "the request body is larger than the limit of 1000B (limits.body)\n");
}

#[test]
fn a_client_in_the_middle_of_a_large_body_gets_to_see_why_it_is_refused() {
    let daemon = failing("limits.body = 1000", Program::text().echo());
    let mut client = daemon.client();
    post(&mut client, 8 << 20);

    // More than the socket buffers hold: the server answers long before all of it is sent.
    client.send(vec![b'x'; 8 << 20]);

    let response = client.response();
    assert_eq!(response.status(), 413);
    assert!(client.rest().is_empty());
}

#[test]
fn output_is_taken_at_its_limit_and_broken_off_one_byte_later() {
    let head = "Content-Type: text/plain\n\n".len();
    let say = |length: usize| Program::text().say(&"x".repeat(length)).wasm();
    let limit = format!("limits.output = {}", head + 1000);
    let daemon = Setup::new("").handler("at", &limit, &say(1000)).handler("past", &limit, &say(1001)).start();

    let at = daemon.get("/at");
    let past = daemon.get("/past");

    assert_eq!((at.status(), at.body.len()), (200, 1000));
    assert_eq!(past.status(), 502);
    assert_eq!(
        complaint(&past),
        format!("stopped at its output limit of {}B (limits.output)\n", head + 1000)
    );
}

#[test]
fn a_trap_is_a_502_and_the_log_says_where() {
    let daemon = failing("", Program::new().trap());

    let response = daemon.get("/");

    assert_eq!(response.status(), 502);
    assert_eq!(complaint(&response), "trapped: wasm `unreachable` instruction executed\n");
    let line = daemon.log.line("trapped: wasm `unreachable` instruction executed");
    assert!(line.contains("one@"), "{line}");
    daemon.log.line("0: main");
}

#[test]
fn a_name_of_a_function_cannot_forge_a_line_of_the_log() {
    let text = r#"(module (memory (export "memory") 1)
        (func $"evil\nINFO forged" unreachable) (func (export "_start") (call $"evil\nINFO forged")))"#;
    let daemon = Setup::one("", &wat::parse_str(text).unwrap()).start();

    assert_eq!(daemon.get("/").status(), 502);

    daemon.log.line("0: evil\\nINFO forged");
}

#[test]
fn a_flood_on_stderr_is_left_out_of_the_log_and_counted() {
    let flood = Program::text().say("ok\n").code(
        "(memory.fill (i32.const 0x10000) (i32.const 10) (i32.const 0x10000))
         (call $write (i32.const 2) (i32.const 0x10000) (i32.const 0x10000))",
    );
    let daemon = Setup::one("", &flood.wasm()).start();

    assert_eq!(daemon.get("/").text(), "ok\n");

    daemon.log.line("lines on stderr were left out here");
    let lines = daemon.log.text().lines().count();
    assert!(lines < 3000, "{lines}");
}

#[test]
fn an_exit_status_is_a_502_with_the_last_line_of_stderr() {
    let program = Program::new().complain("first\nno disk left\n").exit(3);
    let daemon = Setup::one("", &program.wasm()).prepend("debug = true\n").start();

    let response = daemon.get("/");

    assert_eq!(response.status(), 502);
    assert_eq!(complaint(&response), "ended with exit status 3 before it had answered: no disk left\n");
    daemon.log.line("one: first");
}

#[test]
fn output_that_is_no_answer_is_a_502() {
    let daemon = Setup::new("")
        .handler("garbage", "", &Program::new().say("Hello, world!\n").wasm())
        .handler("empty", "", &Program::new().wasm())
        .handler("unfinished", "", &Program::new().say("Content-Type: text/plain\n").wasm())
        .handler("short", "", &Program::new().say("Content-Type: a/b\nContent-Length: 5\n\nfour").wasm())
        .prepend("debug = true\n")
        .start();

    for (target, what) in [
        ("/garbage", "Hello, world!"),
        ("/empty", "without writing anything"),
        ("/unfinished", "blank line"),
        ("/short", "5"),
    ] {
        let response = daemon.get(target);

        assert_eq!(response.status(), 502, "{target}");
        let complaint = complaint(&response);
        assert!(complaint.starts_with("not a valid answer: ") && complaint.contains(what), "{complaint}");
    }
}

#[test]
fn a_guest_that_computes_too_long_is_a_504() {
    let daemon = failing("limits = { cpu = \"100ms\", time = \"60s\" }", Program::new().spin());
    let start = Instant::now();

    let response = daemon.get("/");

    assert_eq!(response.status(), 504);
    assert_eq!(complaint(&response), "stopped at its processor limit of 100ms (limits.cpu)\n");
    // The wall time depends on the load of the machine, but is less than `limits.time`.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_guest_that_waits_too_long_is_a_504() {
    let daemon = failing("limits = { cpu = \"20s\", time = \"100ms\" }", Program::new().sleep_for_ever());

    soon(Duration::from_secs(5), || {
        let response = daemon.get("/");

        assert_eq!(response.status(), 504);
        assert_eq!(complaint(&response), "stopped at its time limit of 100ms (limits.time)\n");
    });
}

#[test]
fn guests_that_spin_on_every_core_do_not_keep_others_from_being_answered() {
    let spin = Program::new().spin().wasm();
    let daemon = Setup::new("")
        .handler("spin", "limits = { cpu = \"9s\", time = \"30s\" }", &spin)
        .handler("hello", "", &Program::text().say("hello\n").wasm())
        .start();
    let mut spinning: Vec<Client> = (0..8).map(|_| daemon.client()).collect();
    spinning.iter_mut().for_each(|client| client.send("GET /spin HTTP/1.1\r\nHost: test\r\n\r\n"));

    soon(Duration::from_secs(2), || assert_eq!(daemon.get("/hello").text(), "hello\n"));

    assert!(spinning[0].is_silent_for(Duration::from_millis(1)), "they were still spinning");
}

#[test]
fn guests_that_spin_give_way_to_the_sockets_at_every_tick() {
    let spin = Program::new().spin().wasm();
    let daemon = Setup::new("").handler("spin", "limits = { cpu = \"9s\", time = \"20s\" }", &spin).start();
    let mut spinning: Vec<Client> = (0..4).map(|_| daemon.client()).collect();
    spinning.iter_mut().for_each(|client| client.send("GET /spin HTTP/1.1\r\nHost: test\r\n\r\n"));
    assert!(spinning[0].is_silent_for(Duration::from_millis(100)), "they spin");
    let mut client = daemon.client();

    attempted(|| {
        let latencies =
            Latencies::of(&mut client, "/healthz", 20, |response| assert_eq!(response.status(), 200));
        // Not the sum of them: others may have the processor for seconds.
        let (half, latest) = (latencies.percentile(50), latencies.percentile(100));
        let is_soon = half < Duration::from_millis(200) && latest < Duration::from_secs(5);
        if is_soon { Ok(()) } else { Err(format!("{latencies:?}")) }
    });
    assert!(spinning[0].is_silent_for(Duration::from_millis(1)), "they were still spinning");
}

#[test]
fn the_slots_and_the_line_in_front_of_them_are_taken_and_one_more_is_a_503() {
    let program = Program::new().read_once().say("Content-Type: text/plain\n\ndone\n");
    let daemon = Setup::one("limits = { concurrency = 2, queue = 1 }", &program.wasm()).flag("-D").start();
    let mut running = [daemon.client(), daemon.client()];
    for (client, count) in running.iter_mut().zip(1..) {
        post(client, 1);
        daemon.log.lines(count, "+job one(");
    }

    // Two more, and one place in the queue: the first to arrive gets it.
    let mut more = [daemon.client(), daemon.client()];
    more.iter_mut().for_each(|client| post(client, 1));

    let (refused, mut waiting) = until("one of two is refused", || {
        let first = more.iter_mut().position(|client| !client.is_silent_for(Duration::from_millis(20)))?;
        let [one, other] = std::mem::replace(&mut more, [daemon.client(), daemon.client()]);
        Some(if first == 0 { (one, other) } else { (other, one) })
    });
    let refused = { refused }.response();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(
        complaint(&refused),
        "one: every slot is taken and the queue is full (limits.concurrency, limits.queue); try again in 1s\n"
    );
    assert!(waiting.is_silent_for(Duration::from_millis(50)));
    for client in running.iter_mut().chain([&mut waiting]) {
        client.send("x");
        assert_eq!(client.response().text(), "done\n");
    }
}

#[test]
fn without_a_queue_one_past_the_slots_is_refused_at_once() {
    let program = Program::new().read_once().say("Content-Type: text/plain\n\ndone\n");
    let daemon = Setup::one("limits = { concurrency = 1, queue = 0 }", &program.wasm()).flag("-D").start();
    let mut running = daemon.client();
    post(&mut running, 1);
    daemon.log.line("+job one(");

    let refused = daemon.get("/");

    assert_eq!(refused.status(), 503);
    running.send("x");
    assert_eq!(running.response().text(), "done\n");
    assert_eq!(daemon.client().submit("POST", "/", "", b"x").text(), "done\n");
}

#[test]
fn a_failure_after_the_head_breaks_the_stream_off_before_its_last_chunk() {
    let daemon = failing("", Program::text().say("begun\n").read_once().trap());
    let mut client = daemon.client();
    post(&mut client, 1);
    client.head();
    assert_eq!(client.chunk(), b"begun\n");

    client.send("x");

    assert!(client.rest().is_empty(), "no last chunk, and nothing else");
    daemon.log.line("trapped after it had begun to answer: wasm `unreachable` instruction executed");
}

#[test]
fn a_failure_after_an_announced_length_breaks_off_before_that_length() {
    let program =
        Program::new().say("Content-Type: text/plain\nContent-Length: 10\n\nbegun").read_once().exit(1);
    let daemon = failing("", program);
    let mut client = daemon.client();
    post(&mut client, 1);
    assert!(client.head().contains("\r\ncontent-length: 10\r\n"));
    client.take(5);

    client.send("x");

    assert!(client.rest().is_empty());
}

#[test]
fn an_error_is_json_for_who_asks_for_it_and_names_the_job_of_the_log() {
    let daemon = failing("", Program::new().exit(3));

    let response = daemon.client().ask("GET", "/", "Accept: application/json\r\n");

    assert_eq!(response.status(), 502);
    assert_eq!(response.field("content-type"), Some("application/json"));
    let error: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(error["error"], "exited");
    assert_eq!(error["message"], "ended with exit status 3 before it had answered");
    let line = daemon.log.line("ended with exit status 3");
    assert!(line.contains(&format!("[{}] one@", error["job"].as_str().unwrap())), "{line}");
}

#[test]
fn an_error_without_a_job_is_json_as_well() {
    let daemon = failing("", Program::new());

    let response = daemon.client().ask("GET", "/nowhere", "Accept: application/json\r\n");

    assert_eq!(response.status(), 404);
    assert_eq!(
        response.text(),
        "{\"error\":\"no_route\",\"message\":\"no route matches this path\",\"job\":null}\n"
    );
}

#[test]
fn raw_output_is_the_body_as_it_is() {
    let daemon =
        Setup::one("output = \"raw\"\ncontent_type = \"text/csv\"", &Program::new().say("a,b\n\n1,2").wasm())
            .start();

    let response = daemon.get("/");

    assert_eq!((response.status(), response.field("content-type")), (200, Some("text/csv")));
    assert_eq!(response.text(), "a,b\n\n1,2");
}

#[test]
fn every_field_of_an_answer_reaches_the_client_in_its_order() {
    let document = "Status: 201 Made Up\nSet-Cookie: a=1\nSet-Cookie: b=2\nX-Odd:  spaced \nConnection: close\n\
                    Transfer-Encoding: chunked\nContent-Type: text/plain\nContent-Length: 4\n\nbody";
    let daemon = failing("", Program::new().say(document));
    let mut client = daemon.client();

    let response = client.get("/");

    assert_eq!(
        response.undated(),
        "HTTP/1.1 201 Created\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-odd: spaced\r\ncontent-type: text/plain\r\n\
         content-length: 4\r\n\r\n"
    );
    assert_eq!(client.get("/").status(), 201, "the connection is ours to keep");
}

#[test]
fn more_fields_than_a_head_can_hold_are_an_error_and_the_connection_stays() {
    let head = |first: &str, prefix: &str, numbers: Range<u32>| {
        let fields: String = numbers.map(|number| format!("{prefix}{number:x}:1\n")).collect();
        Program::new().say(&format!("{first}\n{fields}\n")).wasm()
    };
    // Together more than the 24,576 names that a `HeaderMap` has room for. Those of the gates alone fit.
    let names: Vec<_> = (0..11).map(|gate| format!("g{gate}")).collect();
    let mut setup = Setup::new("")
        .handler("short", "", &Program::text().wasm())
        .handler("full", "", &head("Content-Type: text/plain", "z", 4096..8096))
        .add(&format!("before = {names:?}\n"));
    for (name, first) in names.iter().zip((4096..).step_by(2000)) {
        setup = setup.handler(name, "", &head("Status: 204", "Response-", first..first + 2000));
    }
    let daemon = setup.start();
    let mut client = daemon.client();

    let statuses = ["/full", "/short"].map(|path| client.get(path).status());

    assert_eq!(statuses, [500, 200]);
    assert!(daemon.log.line("the daemon panicked over its answer").contains(" full@"));
}
