//! The limits on connections, in total and for one address.

use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::frames::{Frames, get, kind};
use crate::harness::{Client, Daemon, Program, Setup, until};

const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn setup(http: &str) -> Setup {
    Setup::new(&format!("[http]\n{http}\n"))
        .handler("hello", "", &Program::text().say("hello\n").wasm())
        .handler("sleep", "", &Program::new().complain("asleep\n").sleep_for_ever().wasm())
}

/// Connects `count` clients with requests in progress.
fn busy(daemon: &Daemon, count: usize) -> Vec<Client> {
    let begin = |nth| {
        let mut client = daemon.client();
        client.send("GET /sleep HTTP/1.1\r\nHost: test\r\n\r\n");
        daemon.log.lines(nth, "asleep");
        client
    };
    (1..=count).map(begin).collect()
}

/// Connects `count` clients that have been answered, one after the other, so each has been idle longer
/// than the next. The daemon counts a connection as idle a moment after its client has the response.
fn idle(daemon: &Daemon, count: usize) -> Vec<Client> {
    let answered = |_| {
        let mut client = daemon.client();
        assert_eq!(client.get("/hello").text(), "hello\n");
        assert!(client.is_silent_for(Duration::from_millis(100)));
        client
    };
    (0..count).map(answered).collect()
}

#[test]
fn where_there_is_no_room_the_connection_that_was_idle_the_longest_makes_it() {
    let daemon = setup("connections = 4\nconnections_per_peer = 5").start();
    let mut busy = busy(&daemon, 1);
    let mut idle = idle(&daemon, 3);
    // The first client is now the last to have become idle.
    assert_eq!(idle[0].get("/hello").text(), "hello\n");

    let mut fresh = daemon.client();

    assert_eq!(fresh.get("/hello").text(), "hello\n");
    assert!(idle[1].rest().is_empty());
    assert_eq!(idle[2].get("/hello").text(), "hello\n");
    assert_eq!(idle[0].get("/hello").text(), "hello\n");
    assert!(busy[0].is_silent_for(Duration::from_millis(50)), "whoever is answered keeps its connection");
    daemon.log.line("there are 4 connections, the maximum");
}

#[test]
fn clients_that_send_nothing_do_not_keep_others_out() {
    let daemon = setup("connections = 8\nconnections_per_peer = 9\nfirst_byte = \"10m\"").start();
    let mut silent: Vec<Client> = (0..40).map(|_| daemon.client()).collect();

    assert_eq!(daemon.get("/hello").text(), "hello\n");

    silent[..33].iter_mut().for_each(|client| assert!(client.rest().is_empty()));
}

#[test]
fn an_idle_connection_of_http2_makes_room_and_is_told() {
    let daemon = setup("connections = 1\nconnections_per_peer = 2").start();
    let mut idle = Frames::begin(daemon.client(), &[]);
    idle.send(get(1, "/hello"));
    assert_eq!(idle.answer(1).status, 200);

    let mut other = daemon.client();
    other.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n");

    // The first GOAWAY leaves room for a request in flight, the second one names the last stream.
    let farewell = idle.next();
    assert_eq!((farewell.kind, farewell.code()), (kind::GOAWAY, 0));
    let last = idle.next();
    assert_eq!((last.kind, last.code(), &last.payload[..4]), (kind::GOAWAY, 0, &[0, 0, 0, 1][..]));
    assert!(idle.0.rest().is_empty());
    assert_eq!(other.response().text(), "hello\n");
}

#[test]
fn an_idle_connection_of_http2_that_does_not_listen_makes_room_all_the_same() {
    let daemon = setup("connections = 1\nconnections_per_peer = 2").start();
    let mut idle = daemon.client();
    // The preface and an empty SETTINGS (RFC 9113 §3.4); the server's own SETTINGS come back.
    idle.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert!(idle.is_answered());

    assert_eq!(daemon.get("/hello").text(), "hello\n");

    idle.rest();
}

#[test]
fn one_address_has_its_share_and_leaves_the_rest_to_others() {
    let daemon = setup("connections = 8\nconnections_per_peer = 2").start();
    let mut within = busy(&daemon, 2);

    assert!(daemon.client().rest().is_empty(), "one beyond is closed");

    let mut other = Client::tcp_from(OTHER_ADDRESS, daemon.port());
    assert_eq!(other.get("/hello").text(), "hello\n");
    within.iter_mut().for_each(|client| assert!(client.is_silent_for(Duration::from_millis(50))));
    daemon.log.line("one beyond 2 busy connections, the maximum of one address: closed");
}

#[test]
fn connections_are_counted_and_so_are_those_that_are_turned_away() {
    let daemon =
        setup("connections = 8\nconnections_per_peer = 2").prepend("admin = \"unix://admin.sock\"\n").start();
    let within = busy(&daemon, 2);

    for _ in 0..3 {
        assert!(daemon.client().rest().is_empty(), "one beyond is closed");
    }

    daemon.counted("portcullis_connections_refused_total", &[], 3.0);
    assert_eq!(daemon.metric("portcullis_connections", &[]), 2.0);
    assert_eq!(daemon.metric("portcullis_connections_limit", &[]), 8.0);
    assert_eq!(daemon.metric("portcullis_build_info", &[env!("CARGO_PKG_VERSION")]), 1.0);
    assert!(daemon.metric("process_resident_memory_bytes", &[]) > 0.0);
    drop(within);
    daemon.counted("portcullis_connections", &[], 0.0);
    let _idle = idle(&daemon, 2);
    assert_eq!(daemon.get("/hello").text(), "hello\n");
    daemon.counted("portcullis_connections_made_room_total", &[], 1.0);
}

#[test]
fn an_idle_connection_makes_room_for_its_own_address_alone() {
    let daemon = setup("connections = 8\nconnections_per_peer = 2").start();
    let mut other = Client::tcp_from(OTHER_ADDRESS, daemon.port());
    assert_eq!(other.get("/hello").text(), "hello\n");
    let mut idle = idle(&daemon, 2);

    assert_eq!(daemon.get("/hello").text(), "hello\n");

    assert!(idle[0].rest().is_empty());
    assert_eq!(idle[1].get("/hello").text(), "hello\n");
    assert_eq!(other.get("/hello").text(), "hello\n");
}

#[test]
fn an_address_gets_its_share_back() {
    let daemon = setup("connections = 8\nconnections_per_peer = 1").start();
    let busy = busy(&daemon, 1);
    assert!(daemon.client().rest().is_empty());

    drop(busy);

    let answer = until("there is room again", || daemon.client().get_or_closed("/hello"));
    assert_eq!(answer.text(), "hello\n");
}

#[test]
fn clients_of_a_unix_socket_have_no_address_to_count() {
    let setup = setup("connections = 8\nconnections_per_peer = 1");
    let path = setup.path("p.sock");
    let _daemon = setup.host(format!("unix://{}", path.display())).start();

    let mut clients: Vec<Client> = (0..4).map(|_| Client::unix(&path)).collect();

    clients.iter_mut().for_each(|client| assert_eq!(client.get("/hello").text(), "hello\n"));
}

#[test]
fn connections_beyond_their_limit_wait_while_all_are_busy() {
    let daemon = setup("connections = 2\nconnections_per_peer = 2").start();
    let mut within = busy(&daemon, 2);
    // The listener holds one of them, the kernel the other.
    let port = daemon.port();
    let mut beyond = [1, 2].map(|_| Client::tcp_from(OTHER_ADDRESS, port));
    for client in &mut beyond {
        client.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(client.is_silent_for(Duration::from_millis(100)));
    }

    within.pop();

    beyond.iter_mut().for_each(|client| assert_eq!(client.response().text(), "hello\n"));
}

#[test]
fn connections_beyond_the_descriptors_wait_and_are_served_later() {
    let http = "first_byte = \"60s\"\nconnections = 1000\nconnections_per_peer = 1000";
    let daemon = setup(http).start();
    // The limit is lowered while the daemon runs, since it would refuse to start with so few.
    let few = Rlimit { current: Some(64), maximum: Some(64) };
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
    prlimit(pid, Resource::Nofile, few).unwrap();
    let idle: Vec<Client> = (0..100).map(|_| daemon.client()).collect();
    daemon.log.line("cannot accept");
    let mut late = daemon.client();
    late.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n");

    drop(idle);

    assert_eq!(late.response().text(), "hello\n");
    daemon.log.line("accepting again");
    assert_eq!(daemon.log.count("cannot accept"), 1, "one line, however long it takes");
    assert_eq!(daemon.get("/hello").text(), "hello\n");
}

#[test]
fn more_connections_than_descriptors_are_refused_with_what_to_do() {
    let ended = setup("connections = 1048576").fail();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("http.connections: 1048576 connections need"), "{}", ended.stderr);
    assert!(ended.stderr.contains("LimitNOFILE= in its unit, `ulimit -n` in a shell"), "{}", ended.stderr);
}

#[test]
fn an_operator_gets_in_where_no_client_does() {
    let setup = setup("connections = 1");
    let path = setup.path("admin.sock");
    let daemon = setup.prepend(&format!("admin = \"unix://{}\"\n", path.display())).start();
    let _busy = busy(&daemon, 1);
    let _hoarded: Vec<Client> = (0..100).map(|_| Client::unix(&path)).collect();
    let mut operator = Client::unix(&path);

    operator.send("POST /jobs/version HTTP/1.1\r\nHost: localhost\r\n\r\n");

    assert_eq!(operator.response().status(), 200);
}
