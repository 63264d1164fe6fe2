//! Clients that connect before the daemon is ready.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Client, PATIENCE, Program, Setup};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// A daemon whose handler has a long queue.
fn patient() -> Setup {
    let program = Program::new().say("Content-Type: text/plain\nContent-Length: 6\n\nhello\n");
    Setup::one("limits = { queue = 4096, queue_time = \"60s\" }", &program.wasm())
}

/// Raises the descriptor limit of this process to its maximum.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

#[test]
fn two_thousand_clients_that_come_while_it_is_shut_are_all_answered() {
    raise_descriptors();
    let mut daemon = patient().shut();
    let mut clients: Vec<Client> = (0..2000).map(|_| daemon.client()).collect();
    clients.iter_mut().for_each(|client| client.send(REQUEST));
    assert!(clients[0].is_silent_for(Duration::from_millis(100)), "nobody is answered while it is shut");

    daemon.open();

    for client in &mut clients {
        let response = client.response();
        assert_eq!(
            response.undated(),
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(response.text(), "hello\n");
        assert!(client.rest().is_empty());
    }
}

#[test]
fn clients_that_gave_up_while_it_was_shut_do_no_harm() {
    raise_descriptors();
    let mut daemon = patient().shut();
    for turn in 0..600 {
        let mut client = daemon.client();
        match turn % 3 {
            0 => client.send(REQUEST),
            1 => client.send("GET / HT"),
            _ => {}
        }
        if turn % 2 == 0 {
            client.reset();
        }
    }
    let mut stayed: Vec<Client> = (0..100).map(|_| daemon.client()).collect();
    stayed.iter_mut().for_each(|client| client.send(REQUEST));

    daemon.open();

    for client in &mut stayed {
        assert_eq!(client.response().text(), "hello\n");
    }
    assert_eq!(daemon.get("/").text(), "hello\n");
    assert_eq!(daemon.log.count("ERROR"), 0);
}

#[test]
fn clients_of_a_unix_socket_wait_for_the_gate_as_well() {
    let setup = patient();
    let path = setup.path("p.sock");
    let mut daemon = setup.host(format!("unix://{}", path.display())).shut();
    let mut clients: Vec<Client> = (0..50).map(|_| Client::unix(&path)).collect();
    clients.iter_mut().for_each(|client| client.send(REQUEST));

    daemon.open();

    for client in &mut clients {
        assert_eq!(client.response().text(), "hello\n");
    }
}

#[test]
fn a_signal_to_end_while_it_is_shut_ends_it_well_and_leaves_nothing_behind() {
    let setup = patient();
    let path = setup.path("p.sock");
    let mut daemon = setup.host(format!("unix://{}", path.display())).host("tcp://127.0.0.1:0").shut();
    let mut waiting = daemon.client();
    waiting.send(REQUEST);
    assert!(path.exists());

    let ended = daemon.terminate();

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!path.exists());
    assert!(waiting.rest().is_empty());
}

#[test]
fn a_bad_module_keeps_the_gate_shut_and_says_which() {
    let setup = Setup::one("", b"text");
    let path = setup.path("p.sock");

    let (ended, left) = setup.host(format!("unix://{}", path.display())).fail_leaving();

    assert_eq!(ended.code, Some(1));
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("portcullis: handler \"one\": "), "{last}");
    assert_eq!(left, ["one.wasm", "portcullis.toml"]);
}

#[test]
fn a_daemon_that_drains_finishes_what_it_began_and_takes_nothing_more() {
    let module = Program::text().say("begun\n").read_once().say("ended\n").wasm();
    let mut daemon = Setup::one("", &module).start();
    let mut client = daemon.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    client.head();
    assert_eq!(client.chunk(), b"begun\n");
    let port = daemon.port();

    daemon.signal(rustix::process::Signal::TERM);

    daemon.log.line("closed, 1 connections left");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    client.send("x");
    assert_eq!(client.chunks(), b"ended\n");
    assert!(client.rest().is_empty());
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}
