//! How long a WebSocket lives, and how it ends if neither side closes it.

use super::*;
use crate::harness::attempted;
use crate::upgrade::{Successors, successor};

#[test]
fn a_silent_client_is_pinged_and_one_that_does_not_answer_is_given_up() {
    let daemon = serving("websocket.ping = \"200ms\"", &Program::new().say("hello\n").echo());
    let mut mute = by_hand(&daemon);

    // A client that gets no CPU time for 200 ms is late with its pong.
    attempted(|| {
        let mut alive = opened(&daemon);
        assert_eq!(alive.read().unwrap(), Message::text("hello"));
        let start = Instant::now();
        // The library answers a ping during a read.
        while start.elapsed() < Duration::from_secs(1) {
            let read = alive.read().map_err(|error| error.to_string())?;
            assert!(matches!(read, Message::Ping(_)), "{read}");
        }
        alive.send(Message::text("still here")).map_err(|error| error.to_string())?;
        let said = std::iter::repeat_with(|| alive.read())
            .take(50)
            .find(|read| !matches!(read, Ok(Message::Ping(_))));
        assert_eq!(said.unwrap().map_err(|error| error.to_string())?, Message::text("still here"));
        Ok(())
    });

    daemon.log.line("no answer to a ping");
    assert_eq!(mute.rest(), b"\x81\x05hello\x89\0");
}

#[test]
fn a_connection_without_messages_is_closed_if_the_route_says_so() {
    let daemon = serving("websocket.idle = \"300ms\"", &Program::new().say("hello\n").echo());

    assert_eq!(closed(&mut opened(&daemon)), (1001, "idle".to_owned()));
}

#[test]
fn a_client_that_vanishes_ends_the_job_and_one_that_closes_lets_it_finish() {
    let daemon = serving("", &Program::new().say("hello\n").swallow().complain("tidied up\n"));
    let mut socket = opened(&daemon);
    socket.read().unwrap();
    socket.close(None).unwrap();
    assert!(matches!(socket.read().unwrap(), Message::Close(None)));
    daemon.log.line("one: tidied up");

    let mut client = by_hand(&daemon);
    client.take(7);
    client.reset();

    daemon.log.line("-job one() = cancelled");
    assert_eq!(daemon.log.count("tidied up"), 1);
}

#[test]
fn a_client_that_does_not_read_makes_the_job_wait_and_is_closed_in_the_end() {
    let pour = "(memory.fill (i32.const 0x10000) (i32.const 120) (i32.const 0x10000))
                (i32.store8 (i32.const 0x1ffff) (i32.const 10))
                (loop $ever (call $write (i32.const 1) (i32.const 0x10000) (i32.const 0x10000)) (br $ever))";
    let daemon = setup("limits = { output = \"4GiB\", cpu = \"60s\" }", "", &Program::new().code(pour))
        .prepend("[http]\nwrite_idle = \"2s\"\n")
        .start();
    let (base, start) = (daemon.peak_memory(), Instant::now());

    let client = by_hand(&daemon);
    daemon.log.line("-job one() = cancelled");

    assert!(start.elapsed() >= Duration::from_secs(2));
    let grown = daemon.peak_memory().saturating_sub(base);
    assert!(grown < 16 << 10, "{grown} KiB");
    drop(client);
}

#[test]
fn pings_without_end_to_which_nobody_reads_the_answers_fill_no_memory() {
    let daemon = setup("", "", &Program::new().say("hello\n").echo()).start();
    let client = by_hand(&daemon);
    let base = daemon.peak_memory();
    let mut socket = client.socket();
    socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let pings = frame(0x89, &[b'x'; 125]).repeat(500);

    let mut sent = 0;
    while sent < 8 << 20 {
        match socket.write(&pings) {
            Ok(written) => sent += written,
            Err(_) => break,
        }
    }

    let grown = daemon.peak_memory().saturating_sub(base);
    assert!(grown < 16 << 10, "{grown} KiB");
}

#[test]
fn a_shutdown_ends_the_input_of_a_job_and_closes_with_going_away() {
    let mut daemon = serving("", &Program::new().say("hello\n").swallow().say("last words\n"));
    let mut socket = opened(&daemon);
    assert_eq!(socket.read().unwrap(), Message::text("hello"));

    daemon.signal(Signal::TERM);

    assert_eq!(socket.read().unwrap(), Message::text("last words"));
    assert_eq!(closed(&mut socket), (1001, "shutdown".to_owned()));
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

#[test]
fn a_job_that_does_not_end_at_a_shutdown_is_ended_and_its_client_told() {
    let mut daemon = serving("", &Program::new().say("hello\n").sleep_for_ever());
    let mut socket = opened(&daemon);
    socket.read().unwrap();

    daemon.signal(Signal::TERM);

    assert_eq!(closed(&mut socket), (1001, "shutdown".to_owned()));
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

#[test]
fn an_open_connection_keeps_its_version_over_a_reload() {
    let daemon = serving("", &Program::new().say("one\n").echo());
    let mut socket = opened(&daemon);
    assert_eq!(socket.read().unwrap(), Message::text("one"));
    std::fs::write(daemon.path("one.wasm"), Program::new().say("two\n").echo().wasm()).unwrap();

    daemon.signal(Signal::HUP);
    daemon.log.lines(2, "-job reload() = OK");

    assert_eq!(opened(&daemon).read().unwrap(), Message::text("two"));
    socket.send(Message::text("still one")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still one"));
}

#[test]
fn a_socket_that_is_half_shut_is_no_close() {
    let daemon = serving("", &Program::new().say("hello\n").swallow().complain("tidied up\n"));
    let mut client = by_hand(&daemon);
    client.take(7);

    client.shut();

    daemon.log.line("-job one() = cancelled");
    never(Duration::from_millis(100), "it was told of an end", || daemon.log.count("tidied up") > 0);
    let mut rest = Vec::new();
    client.socket().read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn a_flood_of_frames_that_no_job_sees_ends_the_connection() {
    let daemon = setup("limits.time = \"none\"", "", &Program::new().say("hello\n").echo())
        .prepend("admin = \"unix://admin.sock\"\naccess_log = true\n")
        .start();
    // With a mask of zeros: pings, pongs, and a message in empty fragments.
    let ping = b"\x89\x81\0\0\0\0x".repeat(5000);
    let pong = b"\x8a\x80\0\0\0\0".repeat(5000);
    let empty = [&b"\x01\x81\0\0\0\0x"[..], &b"\x00\x80\0\0\0\0".repeat(5000)].concat();

    for (number, frames) in [ping, pong, empty].iter().enumerate() {
        let mut socket = opened(&daemon);
        let stream = socket.get_mut();

        stream.write_all(frames).unwrap();

        let mut answered = Vec::new();
        stream.read_to_end(&mut answered).unwrap();
        assert!(answered.ends_with(b"\x88\x07\x03\xf0flood"), "{}", answered.escape_ascii());
        daemon.counted("portcullis_refused_total", &["reason=\"flood\""], (number + 1) as f64);
    }
    assert_eq!(daemon.log.lines(3, "(flood) (broken off)").len(), 3);
}

#[test]
fn pings_at_the_pace_of_a_client_that_measures_are_answered() {
    let daemon = serving("", &Program::new().echo());
    let mut socket = opened(&daemon);

    for _ in 0..500 {
        socket.send(Message::Ping("x".into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong("x".into()));
    }

    socket.send(Message::text("still here")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still here"));
}

#[test]
fn an_upgrade_leaves_websockets_open_until_upgrade_grace_is_over() {
    let program = Program::new().say("hello\n").echo();
    let daemon = setup("", "", &program).prepend("upgrade_grace = \"6s\"\n").start();
    let mut socket = opened(&daemon);
    assert_eq!(socket.read().unwrap(), Message::text("hello"));

    daemon.signal(Signal::USR2);
    let _successors = Successors(vec![successor(&daemon, 1)]);

    daemon.log.line("the requests of this process have");
    socket.send(Message::text("still here")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still here"));
    assert_eq!(closed(&mut socket), (1001, "shutdown".to_owned()));
}

#[test]
fn a_signal_to_end_closes_the_websockets_that_outlived_an_upgrade() {
    let daemon = serving("", &Program::new().say("hello\n").echo());
    let mut socket = opened(&daemon);
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    daemon.signal(Signal::USR2);
    let _successors = Successors(vec![successor(&daemon, 1)]);
    daemon.log.line("the requests of this process have");

    daemon.signal(Signal::TERM);

    assert_eq!(closed(&mut socket), (1001, "shutdown".to_owned()));
    daemon.log.line("drained");
}
