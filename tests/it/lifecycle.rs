//! The life of the daemon: changing listeners, signals, and shutdown.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, attempted, never, until};

pub(crate) const CLOSE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// How long a daemon that ends waits for a request that may be on its way, if `grace` is 2 s or more. A client that is
/// later than this between two of its steps may find its connection closed.
pub(crate) const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// Runs the daemon as `serve -c FILE`: the configuration alone says where it listens.
pub(crate) const AS_CONFIGURED: [&str; 3] = ["sh", "-c", "exec \"$0\" \"$1\" \"$2\" \"$3\""];

pub(crate) fn hello() -> Vec<u8> {
    Program::text().say("hello\n").wasm()
}

/// A daemon that listens on `listen`.
pub(crate) fn listening(listen: &str) -> Setup {
    let setup = Setup::new(&configuration(listen, "")).file("one.wasm", &hello());
    setup.under(&AS_CONFIGURED)
}

pub(crate) fn configuration(listen: &str, more: &str) -> String {
    format!(
        "listen = {listen}\n{more}\n[handler.one]\nmodule = \"one.wasm\"\n[[route]]\npath = \"/\"\nhandler = \"one\"\n"
    )
}

/// Writes a configuration and reloads it. Returns once the daemon has logged the result.
fn reload(daemon: &Daemon, text: &str) {
    let said = |daemon: &Daemon| daemon.log.count("reloaded: ") + daemon.log.count("reload failed");
    let before = said(daemon);
    fs::write(daemon.path("portcullis.toml"), text).unwrap();
    daemon.signal(Signal::HUP);
    until("the reload is over", || (said(daemon) > before).then_some(()));
}

/// Returns the port of the `count`-th TCP listener so far.
pub(crate) fn port(daemon: &Daemon, count: usize) -> u16 {
    let line = daemon.log.lines(count, "listening on tcp://").pop().unwrap();
    line.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn a_reload_opens_new_listeners_and_closes_old_ones_and_keeps_the_rest() {
    let setup = listening("[\"unix://old.sock\", \"tcp://127.0.0.1:0\"]");
    let (old, new) = (setup.path("old.sock"), setup.path("new.sock"));
    let daemon = setup.start();
    let kept = port(&daemon, 1);
    let mut idle = Client::unix(&old);
    assert_eq!(idle.get("/").text(), "hello\n");

    reload(&daemon, &configuration("[\"tcp://127.0.0.1:0\", \"unix://new.sock\"]", ""));

    assert_eq!(daemon.log.count("reload failed"), 0);
    assert_eq!(Client::unix(&new).get("/").text(), "hello\n");
    assert_eq!(Client::tcp(kept).get("/").text(), "hello\n");
    daemon.log.line("old.sock: closed");
    assert!(!old.exists());
    // The client may send one more request, or the connection is closed.
    let answer = idle.try_send(CLOSE).map(|()| String::from_utf8(idle.rest()).unwrap()).unwrap_or_default();
    assert!(answer.is_empty() || answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[test]
fn a_listener_that_cannot_be_bound_leaves_everything_as_it_was() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let setup = listening("[\"tcp://127.0.0.1:0\", \"unix://old.sock\"]");
    let (module, new) = (setup.path("one.wasm"), setup.path("new.sock"));
    let daemon = setup.start();
    fs::write(module, Program::text().say("changed\n").wasm()).unwrap();

    reload(&daemon, &configuration(&format!("[\"unix://new.sock\", \"tcp://{addr}\"]"), ""));

    daemon.log.line("address already in use");
    assert!(!new.exists());
    assert_eq!(daemon.get("/").text(), "hello\n");
}

#[test]
fn a_bad_module_leaves_the_listeners_as_they_were() {
    let setup = listening("[\"tcp://127.0.0.1:0\", \"unix://old.sock\"]");
    let (module, new) = (setup.path("one.wasm"), setup.path("new.sock"));
    let daemon = setup.start();
    fs::write(module, "text").unwrap();

    reload(&daemon, &configuration("[\"unix://new.sock\"]", ""));

    daemon.log.line("reload failed");
    until("the socket is unbound", || (!new.exists()).then_some(()));
    assert_eq!(daemon.get("/").text(), "hello\n");
}

#[test]
fn what_needs_a_restart_is_refused_whole_and_the_rest_applies() {
    let listen = "[\"tcp://127.0.0.1:0\"]";
    let daemon = listening(listen).start();

    reload(&daemon, &configuration(listen, "jobs = 7\naccess_log = true\n[unix]\nmode = \"0600\"\n"));
    daemon.log.line("needs restart: jobs, unix.mode");
    daemon.get("/");
    assert_eq!(daemon.log.count("GET / -> 200"), 0);

    reload(&daemon, &configuration(listen, "access_log = true\n[http]\nkeep_alive = \"50ms\"\n"));
    let mut client = daemon.client();
    client.get("/");
    daemon.log.line("GET / -> 200");
    assert!(client.rest().is_empty(), "the new deadline closes it");
}

#[test]
fn two_hundred_slow_requests_are_finished_after_a_signal_to_end() {
    let module = Program::text().say("begun\n").sleep(Duration::from_millis(700)).say("ended\n").wasm();
    let mut daemon = Setup::one("limits = { queue = 400 }", &module).start();
    let mut clients: Vec<Client> = (0..200).map(|_| daemon.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n"));
    let mut idle = daemon.client();
    idle.send("GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n");
    idle.response();
    clients[0].head();

    daemon.signal(Signal::TERM);

    assert!(idle.rest().is_empty());
    assert_eq!(clients[0].chunks(), b"begun\nended\n");
    for client in &mut clients[1..] {
        assert_eq!(client.response().text(), "begun\nended\n");
        assert!(client.rest().is_empty(), "it was the last answer");
    }
    let ended = daemon.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("drained"), "{}", ended.stderr);
}

#[test]
fn a_request_line_that_has_begun_is_completed_and_answered_after_a_signal_to_end() {
    let mut daemon = Setup::one("", &Program::text().say("hello\n").wasm()).start();
    let mut first = daemon.client();
    first.send("GET / HT");
    let mut second = daemon.client();
    second.send("GET / HTTP/1.1\r\nHost: test\r\n\r\nGET / HT");
    second.response();
    let mut idle = daemon.client();
    idle.get("/");

    daemon.signal(Signal::TERM);

    assert!(idle.rest().is_empty());
    for mut begun in [first, second] {
        assert!(begun.is_silent_for(Duration::from_millis(100)));
        begun.send("TP/1.1\r\nHost: test\r\n\r\n");
        let response = begun.response();
        assert_eq!((response.text(), response.field("connection")), ("hello\n", Some("close")));
        assert!(begun.rest().is_empty());
    }
    let ended = daemon.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn what_does_not_end_in_time_is_cut_off_and_the_exit_status_says_so() {
    let module = Program::text().say("begun\n").sleep_for_ever().wasm();
    let mut daemon = Setup::one("", &module).add("").start();
    let text = fs::read_to_string(daemon.path("portcullis.toml")).unwrap();
    reload(&daemon, &format!("grace = \"200ms\"\n{text}"));
    let mut client = daemon.client();
    client.send(CLOSE);
    client.head();

    let ended = daemon.terminate();

    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("stopped 1 job"), "{}", ended.stderr);
}

#[test]
fn a_request_whose_job_is_stopped_at_the_end_is_told_so() {
    let module = Program::new().sleep_for_ever().wasm();
    let setup = Setup::one("", &module).prepend("grace = \"200ms\"\nadmin = \"unix://admin.sock\"\n");
    let mut daemon = setup.start();
    let mut clients: Vec<Client> = (0..8).map(|_| daemon.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n"));
    daemon.counted("portcullis_jobs_running", &["handler=\"one\""], 8.0);

    daemon.signal(Signal::TERM);

    for client in &mut clients {
        let response = client.response();
        assert_eq!((response.status(), response.field("retry-after").is_some()), (503, true));
        assert!(client.rest().is_empty());
    }
    let ended = daemon.wait(PATIENCE);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("stopped 8 jobs"), "{}", ended.stderr);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let module = Program::text().say("begun\n").sleep_for_ever().wasm();
    let setup = Setup::one("", &module);
    let path = setup.path("p.sock");
    let mut daemon = setup.host(format!("unix://{}", path.display())).start();
    let mut client = Client::unix(&path);
    client.send(CLOSE);
    client.head();
    daemon.signal(Signal::TERM);
    daemon.log.line("draining");

    daemon.signal(Signal::INT);

    // The code of a signal: the end of `grace` would have another.
    assert_eq!(daemon.wait(PATIENCE).code, Some(130));
    assert!(!path.exists());
}

#[test]
fn a_reader_of_the_log_that_has_stalled_does_not_hold_up_the_end() {
    /// Runs the daemon with its output in a pipe that is open but never read.
    const STALLED: [&str; 3] = ["sh", "-c", "mkfifo \"$0\"; exec 3<>\"$0\"; exec \"$@\" >&3 2>&3"];
    let flood = Program::text().say("ok\n").code(
        "(memory.fill (i32.const 0x10000) (i32.const 10) (i32.const 0x10000))
         (call $write (i32.const 2) (i32.const 0x10000) (i32.const 0x10000))",
    );
    let setup = Setup::one("", &flood.wasm());
    let (path, fifo) = (setup.path("p.sock"), setup.path("out"));
    let mut program = STALLED.to_vec();
    program.push(fifo.to_str().unwrap());
    let mut daemon = setup.host(format!("unix://{}", path.display())).under(&program).start();
    (0..4).for_each(|_| assert_eq!(Client::unix(&path).get("/").text(), "ok\n"));

    daemon.signal(Signal::TERM);

    assert_eq!(daemon.wait(Duration::from_secs(20)).code, Some(0));
}

#[test]
fn a_connection_that_never_sent_a_request_does_not_hold_up_the_end() {
    attempted(|| {
        let mut daemon = Setup::one("", &hello()).start();
        let mut silent = daemon.client();
        assert_eq!(daemon.get("/").status(), 200);
        let start = Instant::now();

        assert_eq!(daemon.terminate().code, Some(0));

        let time = start.elapsed();
        assert!(silent.rest().is_empty());
        if time < Duration::from_secs(3) { Ok(()) } else { Err(format!("{time:?}")) }
    });
}

#[test]
fn hangups_during_a_reload_are_one_more_reload_after_it() {
    let setup = Setup::one("", &hello()).holding();
    let held = fs::read_to_string(setup.path("portcullis.toml")).unwrap();
    let (first, _) = held.split_once("\n[handler.holds]").unwrap();
    fs::write(setup.path("portcullis.toml"), first).unwrap();
    let daemon = setup.start();
    fs::write(daemon.path("portcullis.toml"), &held).unwrap();
    // One at a time: a signal that is handled late would ask for a reload more. The start is a reload as well.
    daemon.signal(Signal::HUP);
    daemon.log.lines(2, "+job reload()");
    for wanted in ["queued behind the change in progress", "one is queued already"] {
        daemon.signal(Signal::HUP);
        daemon.log.line(wanted);
    }
    fs::write(daemon.path("portcullis.toml"), held.replace("\"/\"", "\"/later\"")).unwrap();
    assert_eq!(daemon.log.count("reloaded: "), 0);

    daemon.let_go();

    daemon.log.lines(2, "reloaded: ");
    assert_eq!(daemon.get("/later").text(), "hello\n");
    never(Duration::from_millis(300), "a third reload", || daemon.log.count("reloaded: ") > 2);
}

#[test]
fn a_hangup_during_the_start_is_a_reload_after_it() {
    let mut daemon = Setup::one("", &hello()).shut();
    let text = fs::read_to_string(daemon.path("portcullis.toml")).unwrap();
    fs::write(daemon.path("portcullis.toml"), text.replace("\"/\"", "\"/later\"")).unwrap();
    daemon.signal(Signal::HUP);

    daemon.open();

    daemon.log.line("reloaded: generation 2");
    assert_eq!(daemon.get("/later").text(), "hello\n");
}
