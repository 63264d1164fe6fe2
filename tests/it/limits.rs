//! Every limit, at the limit and one past it, and the word that names it.

use std::time::Duration;

use crate::harness::{Client, Daemon, Program, Response, Setup, guests};

const FAILURES: &str = "portcullis_failures_total";

/// A daemon that sends the reason for a failed request.
fn telling(setup: Setup) -> Setup {
    setup.prepend("admin = \"unix://admin.sock\"\nreason_header = true\n")
}

fn reason(response: &Response) -> Option<&str> {
    response.field("x-portcullis-reason")
}

fn post(client: &mut Client, length: u64) {
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));
}

#[test]
fn a_failure_has_one_word_for_the_client_the_log_and_the_metrics() {
    let memory =
        Program::new().code("(if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))");
    let cases = [
        ("trapped", 502, "", Program::new().trap()),
        ("exited", 502, "", Program::new().exit(3)),
        ("bad_answer", 502, "", Program::new().say("no answer\n")),
        ("memory_limit", 502, "limits.memory = \"1MiB\"", memory),
        ("output_limit", 502, "limits.output = 100", Program::text().pour(1)),
        ("cpu_limit", 504, "limits.cpu = \"50ms\"", Program::new().spin()),
        ("time_limit", 504, "limits.time = \"50ms\"", Program::new().sleep_for_ever()),
    ];
    let mut setup = Setup::new("");
    for (code, _, settings, program) in &cases {
        setup = setup.handler(code, settings, &program.wasm());
    }
    let daemon = telling(setup).start();

    for (code, status, ..) in &cases {
        let response = daemon.get(&format!("/{code}"));

        assert_eq!((response.status(), reason(&response)), (*status, Some(*code)));
        let labels = [format!("handler=\"{code}\""), format!("reason=\"{code}\"")];
        daemon.counted(FAILURES, &labels.each_ref().map(String::as_str), 1.0);
        daemon.log.line(&format!("({code})"));
    }
}

#[test]
fn a_body_that_is_too_large_is_counted_whether_or_not_its_length_was_told() {
    let program = Program::new().swallow().say("Content-Type: text/plain\n\nread\n");
    let daemon = telling(Setup::one("limits.body = 10", &program.wasm())).start();

    let told = daemon.client().submit("POST", "/", "", &[b'x'; 11]);
    let mut client = daemon.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nxxxxxxxxxxx\r\n0\r\n\r\n",
    );
    let untold = client.response();

    assert_eq!((reason(&told), reason(&untold)), (Some("body_limit"), Some("body_limit")));
    daemon.counted(FAILURES, &["reason=\"body_limit\""], 2.0);
}

#[test]
fn a_refusal_without_a_job_has_its_word_too_and_a_success_has_none() {
    let daemon = telling(Setup::one("", &Program::text().say("ok").wasm())).start();

    assert_eq!(reason(&daemon.get("/nowhere")), Some("no_route"));
    assert_eq!(reason(&daemon.get("/")), None);
}

#[test]
fn without_the_setting_no_answer_says_why() {
    let daemon = Setup::one("", &Program::new().trap().wasm()).start();

    let response = daemon.get("/");

    assert_eq!((response.status(), reason(&response)), (502, None));
}

/// A handler with one slot, which a client holds until it sends its one byte.
fn held(queue: &str) -> (Daemon, Client) {
    let program = Program::new().read_once().say("Content-Type: text/plain\n\ndone\n");
    let settings = format!("limits = {{ concurrency = 1, {queue} }}");
    let daemon = telling(Setup::one(&settings, &program.wasm())).flag("-D").start();
    let mut holder = daemon.client();
    post(&mut holder, 1);
    daemon.log.line("+job one(");
    (daemon, holder)
}

#[test]
fn a_job_waits_in_line_for_its_queue_time_and_no_longer() {
    let (daemon, mut holder) = held("queue = 2, queue_time = \"300ms\"");

    let refused = daemon.client().submit("POST", "/", "", b"x");

    assert_eq!((refused.status(), reason(&refused)), (503, Some("queue_time_limit")));
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert!(refused.text().contains("no slot within 300ms (limits.queue_time)"), "{}", refused.text());
    daemon.counted(FAILURES, &["reason=\"queue_time_limit\""], 1.0);
    daemon.counted("portcullis_jobs_waiting", &[], 0.0);
    holder.send("x");
    assert_eq!(holder.response().text(), "done\n");
}

#[test]
fn a_job_that_gets_its_slot_within_its_queue_time_runs() {
    let (daemon, mut holder) = held("queue = 2, queue_time = \"20s\"");
    let mut waiting = daemon.client();
    post(&mut waiting, 1);
    waiting.send("x");
    daemon.counted("portcullis_jobs_waiting", &[], 1.0);
    daemon.counted("portcullis_jobs_running", &[], 1.0);

    holder.send("x");

    assert_eq!(waiting.response().text(), "done\n");
}

#[test]
fn a_full_line_has_a_word_of_its_own() {
    let (daemon, mut holder) = held("queue = 0");

    let refused = daemon.get("/");

    assert_eq!((refused.status(), reason(&refused)), (503, Some("queue_limit")));
    daemon.counted(FAILURES, &["reason=\"queue_limit\""], 1.0);
    holder.send("x");
    holder.response();
}

/// A handler that opens a file repeatedly, and reports how often it succeeded.
fn hoarder(handles: usize) -> Daemon {
    let module = std::fs::read(guests().join("files.wasm")).unwrap();
    let setup = telling(Setup::new("").file("mine", b"mine"));
    std::fs::create_dir(setup.path("granted")).unwrap();
    std::fs::write(setup.path("granted/mine"), "mine").unwrap();
    let settings = format!(
        "output = \"raw\"\nlimits.handles = {handles}\nmounts = [{{ host = \"granted\", guest = \"/data\" }}]"
    );
    setup.handler("files", &settings, &module).start()
}

fn operate(daemon: &Daemon, operations: &str) -> String {
    let response = daemon.client().submit("POST", "/files", "", operations.as_bytes());
    assert_eq!(response.status(), 200, "{}", response.text());
    response.text().to_owned()
}

#[test]
fn a_job_opens_files_up_to_its_handles_and_is_refused_the_next_as_a_process_is() {
    let daemon = hoarder(20);

    // Its stdin, stdout, stderr and mount are four of the handles.
    assert_eq!(operate(&daemon, "hoard /data/mine 16\n"), "ok 16\n");
    assert_eq!(operate(&daemon, "hoard /data/mine 17\n"), "ok 16\n");
    // A guest that was refused a handle goes on, with the handles that it has closed since.
    assert_eq!(
        operate(&daemon, "hoard /data/mine 99\nread /data/mine\nhoard /data/mine 16\n"),
        "ok 16\nok mine\nok 16\n"
    );
}

#[test]
fn what_is_said_on_stderr_is_logged_within_its_limits_and_the_rest_is_counted() {
    let lines = |count: usize| (0..count).map(|number| format!("line {number:03}\n")).collect::<String>();
    let say = |text: &str| Program::text().say("ok").complain(text).wasm();
    let daemon = telling(Setup::new(""))
        .handler("rate", "limits.stderr_rate = 2", &say(&lines(25)))
        .handler("size", "limits.stderr = 40", &say(&lines(10)))
        .handler("fits", "limits = { stderr = 40, stderr_rate = 1 }", &say(&lines(5)))
        .start();

    for (name, left_out) in [("rate", 5.0), ("size", 5.0), ("fits", 0.0)] {
        assert_eq!(daemon.get(&format!("/{name}")).text(), "ok");

        let labels = [format!("handler=\"{name}\"")];
        daemon.counted(
            "portcullis_stderr_dropped_lines_total",
            &labels.each_ref().map(String::as_str),
            left_out,
        );
    }
    daemon.log.line("rate: 5 lines on stderr were left out here (limits.stderr_rate)");
    daemon.log.line("size: 5 lines on stderr were left out here (limits.stderr)");
    assert_eq!(daemon.log.lines(5, "fits: line").len(), 5);
}

#[test]
fn a_limit_that_cannot_be_enforced_is_refused() {
    let ended = Setup::new(
        "jobs = 16\n[limits]\nconcurrency = 15\nhandles = 15\nqueue_time = \"0s\"\nstderr_rate = 0\n",
    )
    .fail();

    assert_eq!(ended.code, Some(1));
    for line in [
        "limits.concurrency: 15 jobs of one handler cannot run at once where jobs = 16: at most 14",
        "limits.handles: wanted a whole number from 16 to 65536, found 15",
        "limits.queue_time: wanted more than 0",
        "limits.stderr_rate: wanted a whole number from 1 to 1000000, found 0",
    ] {
        assert!(ended.stderr.contains(line), "{line}: {}", ended.stderr);
    }
}

#[test]
fn a_reload_keeps_the_counters_of_a_handler_that_has_not_changed() {
    let ok = Program::text().say("ok").wasm();
    let daemon = telling(Setup::one("", &ok)).handler("other", "", &ok).start();
    daemon.get("/");
    daemon.get("/other");
    daemon.counted("portcullis_requests_total", &["handler=\"one\""], 1.0);
    daemon.counted("portcullis_requests_total", &["handler=\"other\""], 1.0);
    let file = daemon.path("portcullis.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[handler.other]", "# moved\n[handler.other]\nargs = [\"new\"]"))
        .unwrap();

    daemon.signal(rustix::process::Signal::HUP);

    daemon.counted("portcullis_generation", &[], 2.0);
    daemon.get("/");
    daemon.get("/other");
    daemon.counted("portcullis_requests_total", &["handler=\"one\""], 2.0);
    // Its module is the same, so its counters continue those of the handler it replaced.
    daemon.counted("portcullis_requests_total", &["handler=\"other\""], 2.0);
}

#[test]
fn an_answer_that_the_client_broke_off_is_no_failure_of_the_handler() {
    let program = Program::text().say("begun").echo();
    let daemon = telling(Setup::one("", &program.wasm())).start();
    let mut client = daemon.client();
    post(&mut client, 100);
    client.head();
    assert_eq!(client.chunk(), b"begun");

    client.reset();

    daemon.counted("portcullis_requests_total", &["handler=\"one\""], 1.0);
    daemon.counted("portcullis_request_failures_total", &["handler=\"one\""], 0.0);
}

#[test]
fn waiting_is_not_billed_as_time_on_a_processor() {
    let wait = Duration::from_millis(1500);
    let sleeps = Program::text().sleep(wait).say("slept");
    let reads = Program::new().swallow().say("Content-Type: text/plain\n\nread");
    let pours = Program::text().pour(64);
    let limits = "limits = { cpu = \"1s\", concurrency = 1, queue = 8 }";
    let daemon = Setup::new("")
        .handler("sleeps", limits, &sleeps.wasm())
        .handler("reads", limits, &reads.wasm())
        .handler("pours", limits, &pours.wasm())
        .start();
    let ask = |client: &mut Client, target: &str, length: usize| {
        client.send(format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));
    };

    // Asleep; queued behind sleeping jobs; waiting for the body of a slow client; waiting for a
    // slow reader.
    let mut sleeping: Vec<Client> = (0..3).map(|_| daemon.client()).collect();
    sleeping.iter_mut().for_each(|client| ask(client, "/sleeps", 0));
    let mut slow = daemon.client();
    ask(&mut slow, "/reads", 2);
    let mut lazy = daemon.client();
    ask(&mut lazy, "/pours", 0);
    assert!(slow.is_silent_for(wait));
    slow.send("xx");

    assert_eq!(slow.response().text(), "read");
    assert!(sleeping.iter_mut().all(|client| client.response().text() == "slept"));
    assert_eq!(lazy.response().body.len(), 64 << 16);
}

/// Starts a daemon with 8 places. One handler has its maximum of them and wants more. Returns it
/// with the clients that hold them, until each sends a byte.
fn hogged(beside: impl FnOnce(Setup) -> Setup) -> (Daemon, Vec<Client>) {
    let holds = Program::new().read_once().say("Content-Type: text/plain\n\ndone").wasm();
    let hog = telling(Setup::new("")).handler("hog", "limits = { concurrency = 7, queue = 16 }", &holds);
    let daemon = beside(hog).prepend("jobs = 8\n").start();
    let mut holders: Vec<Client> = (0..12).map(|_| daemon.client()).collect();
    for client in &mut holders {
        client.send("POST /hog HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    }
    daemon.counted("portcullis_jobs_waiting", &["handler=\"hog\""], 5.0);
    (daemon, holders)
}

#[test]
fn one_handler_cannot_take_every_place_of_the_daemon() {
    let hello = Program::text().say("hello").wasm();
    let (daemon, mut holders) = hogged(|setup| setup.handler("hello", "", &hello));

    let response = daemon.get("/hello");

    assert_eq!(response.text(), "hello");
    holders.iter_mut().for_each(|client| client.send("x"));
    assert!(holders.iter_mut().all(|client| client.response().text() == "done"));
    daemon.counted("portcullis_jobs_running", &["handler=\"hog\""], 0.0);
}

#[test]
fn a_burst_beside_a_handler_that_fills_the_daemon_is_answered() {
    let small = Program::text().sleep(Duration::from_millis(20)).say("hello").wasm();
    let (daemon, mut holders) = hogged(|setup| setup.handler("small", "limits.queue_time = \"20s\"", &small));

    // More at once than the reserved places allow: each place is passed on, and none stays unused.
    let mut burst: Vec<Client> = (0..20).map(|_| daemon.client().patient(Duration::from_secs(30))).collect();
    burst.iter_mut().for_each(|client| client.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n"));

    assert!(burst.iter_mut().all(|client| client.response().text() == "hello"));
    holders.iter_mut().for_each(|client| client.send("x"));
    assert!(holders.iter_mut().all(|client| client.response().text() == "done"));
}

#[test]
fn what_a_job_said_last_is_logged_when_its_client_leaves() {
    let says = Program::text().complain("half a line").say("begun").sleep_for_ever();
    let daemon = Setup::new("").handler("says", "", &says.wasm()).start();
    let mut client = daemon.client();
    client.send("GET /says HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();

    client.reset();

    daemon.log.line("says: half a line");
}
