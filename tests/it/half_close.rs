//! How an upgraded connection ends: half-closed, closed, or broken off.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::{Daemon, PATIENCE, Program, Setup};

const ASK: &str = "POST / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

fn serving(settings: &str, module: &[u8]) -> Daemon {
    Setup::new(&format!(
        "[handler.one]\nmodule = \"one.wasm\"\n{settings}\n[[route]]\npath = \"/\"\nhandler = \"one\"\nupgrade = \"tcp\"\n"
    ))
    .file("one.wasm", module)
    .flag("-D")
    .start()
}

/// Sends the upgrade request and reads the head of the response.
fn upgraded(daemon: &Daemon) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(ASK.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    stream
}

/// Answers, closes its stdout, reads its stdin to the end, and writes how much that was.
fn closing() -> Vec<u8> {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
        (memory (export "memory") 4)
        (data (i32.const 64) "answer\0a") (data (i32.const 80) "all was read\0a") (data (i32.const 96) "not closed\0a")
        (func $write (param $fd i32) (param $at i32) (param $length i32) (result i32)
          (i32.store (i32.const 0) (local.get $at))
          (i32.store (i32.const 4) (local.get $length))
          (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
        (func (export "_start") (local $sum i32)
          (drop (call $write (i32.const 1) (i32.const 64) (i32.const 7)))
          (if (call $fd_close (i32.const 1)) (then (unreachable)))
          (if (i32.eqz (call $write (i32.const 1) (i32.const 64) (i32.const 7)))
            (then (drop (call $write (i32.const 2) (i32.const 96) (i32.const 11)))))
          (loop $again
            (i32.store (i32.const 0) (i32.const 0x10000))
            (i32.store (i32.const 4) (i32.const 0x10000))
            (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
            (local.set $sum (i32.add (local.get $sum) (i32.load (i32.const 8))))
            (br_if $again (i32.load (i32.const 8))))
          (if (i32.eq (local.get $sum) (i32.const 300000))
            (then (drop (call $write (i32.const 2) (i32.const 80) (i32.const 13)))))))"#;
    wat::parse_str(text).unwrap()
}

#[test]
fn a_job_may_close_its_end_while_the_client_goes_on_sending() {
    let daemon = serving("", &closing());
    let mut stream = upgraded(&daemon);

    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    for _ in 0..3 {
        stream.write_all(&[b'x'; 100_000]).unwrap();
    }
    assert_eq!(daemon.log.count("all was read"), 0);
    stream.shutdown(std::net::Shutdown::Write).unwrap();

    assert_eq!(said, b"answer\n");
    daemon.log.line("one: all was read");
    assert_eq!(daemon.log.count("not closed"), 0, "{}", daemon.log.text());
}

#[test]
fn a_job_that_answers_http_may_close_its_stdout_before_it_ends() {
    let head = closing();
    let daemon = Setup::one("output = \"raw\"", &head).start();

    let answer = daemon.client().submit("POST", "/", "", &vec![b'x'; 300_000]);

    assert_eq!((answer.status(), answer.text()), (200, "answer\n"));
    daemon.log.line("one: all was read");
}

#[test]
fn a_job_that_fails_resets_the_connection_and_one_that_ends_does_not() {
    let begun = || Program::new().say("half").read_once();
    let ends = [
        ("", begun().trap(), true),
        ("limits.time = \"3s\"", begun().sleep_for_ever(), true),
        ("limits.cpu = \"300ms\"", begun().spin(), true),
        ("", begun().exit(3), false),
        ("", begun(), false),
    ];
    for (settings, program, broken) in ends {
        let daemon = serving(settings, &program.wasm());
        let mut stream = upgraded(&daemon);
        let mut half = [0; 4];
        stream.read_exact(&mut half).unwrap();
        stream.write_all(b"go on").unwrap();

        let end = stream.read(&mut [0]).map_err(|error| error.kind());

        assert_eq!(&half, b"half");
        assert_eq!(
            end,
            if broken { Err(ErrorKind::ConnectionReset) } else { Ok(0) },
            "{}",
            daemon.log.text()
        );
    }
}

#[test]
fn a_job_whose_client_breaks_off_never_takes_that_for_the_end_of_its_input() {
    let daemon = serving("", &Program::new().say("ready").swallow().complain("all was read\n").wasm());
    let ready = || {
        let mut stream = upgraded(&daemon);
        stream.read_exact(&mut [0; 5]).unwrap();
        stream
    };
    // It says so if the client ends its input.
    ready().shutdown(std::net::Shutdown::Write).unwrap();
    daemon.log.line("one: all was read");

    for nth in 1..=50 {
        let stream = ready();
        // Closing the socket then resets the connection (SO_LINGER with a time of 0).
        rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
        drop(stream);
        daemon.log.lines(nth, "-job one() = cancelled");
    }

    assert_eq!(daemon.log.count("all was read"), 1);
}

#[test]
fn a_connection_without_bounds_carries_more_than_they_would_allow() {
    let none = "limits = { body = \"none\", output = \"none\", time = \"none\", cpu = \"none\" }";
    const SIZE: usize = 20 << 20;
    let daemon = serving(none, &Program::new().echo().wasm());
    let bounded = serving("limits.cpu = \"none\"", &Program::new().echo().wasm());
    let carried = |daemon: &Daemon| {
        let mut stream = upgraded(daemon);
        let mut to = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            // The server with a limit does not read all of it.
            let sent = to.write_all(&vec![b'x'; SIZE]);
            sent.and_then(|()| to.shutdown(std::net::Shutdown::Write))
        });
        let mut back = Vec::new();
        let end = stream.read_to_end(&mut back);
        let _sent = sending.join().unwrap();
        end.map(|_| back.len()).map_err(|error| error.kind())
    };

    assert_eq!(carried(&daemon), Ok(SIZE));
    assert_eq!(carried(&bounded), Err(ErrorKind::ConnectionReset));
}
