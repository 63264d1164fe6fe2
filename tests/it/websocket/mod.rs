//! `upgrade = "websocket"`: the job reads and writes messages, with a client library on the other side.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::client::{IntoClientRequest as _, client_with_config};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, never};

mod life;

/// The handshake of the standard up to its last fields (RFC 6455 §1.2).
const ASK: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn setup(handler: &str, route: &str, program: &Program) -> Setup {
    Setup::new(&format!(
        "[handler.one]\nmodule = \"one.wasm\"\n{handler}\n[[route]]\npath = \"/\"\nhandler = \"one\"\nupgrade = \"websocket\"\n{route}\n"
    ))
    .file("one.wasm", &program.wasm())
    .flag("-D")
}

fn serving(route: &str, program: &Program) -> Daemon {
    setup("", route, program).start()
}

/// Connects with these additional fields.
fn connect(daemon: &Daemon, fields: &[(&'static str, &str)]) -> WebSocket<TcpStream> {
    let mut request = format!("ws://127.0.0.1:{}/", daemon.port()).into_client_request().unwrap();
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    client_with_config(request, stream, Some(WebSocketConfig::default().max_message_size(None))).unwrap().0
}

fn opened(daemon: &Daemon) -> WebSocket<TcpStream> {
    connect(daemon, &[])
}

/// Reads until the close frame, and returns its code and reason.
#[track_caller]
fn closed(socket: &mut WebSocket<TcpStream>) -> (u16, String) {
    loop {
        match socket.read().unwrap() {
            Message::Close(Some(CloseFrame { code, reason })) => {
                let ended = std::iter::from_fn(|| socket.read().err()).next().unwrap();
                assert!(matches!(ended, Error::ConnectionClosed), "{ended}");
                return (code.into(), reason.to_string());
            }
            Message::Close(None) => panic!("a close without a code"),
            _ => {}
        }
    }
}

/// Makes a client frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()).unwrap() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Sends the handshake without the library, and reads the 101.
fn by_hand(daemon: &Daemon) -> Client {
    let mut client = daemon.client();
    client.send(format!("{ASK}\r\n"));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client
}

/// Reads frames until the close frame, and returns its code.
fn close_code(client: &mut Client) -> u16 {
    loop {
        let head = client.take(2);
        let length = match head[1] {
            126 => u16::from_be_bytes(client.take(2).try_into().unwrap()),
            length => u16::from(length),
        };
        let payload = client.take(usize::from(length));
        if head[0] == 0x88 {
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
    }
}

#[test]
fn a_line_is_a_message_both_ways_and_the_end_of_the_job_closes() {
    let daemon = serving("", &Program::new().say("hello\n").read_once().say("one\ntwo\nrest"));
    let mut socket = opened(&daemon);

    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    socket.send(Message::text("go on")).unwrap();
    for line in ["one", "two", "rest"] {
        assert_eq!(socket.read().unwrap(), Message::text(line));
    }

    assert_eq!(closed(&mut socket), (1000, String::new()));
}

#[test]
fn a_program_that_echoes_its_stdin_echoes_messages() {
    let daemon = serving("", &Program::new().echo());
    let mut socket = opened(&daemon);

    for text in ["", "one", "größer", &"x".repeat(65_536)] {
        socket.send(Message::text(text)).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text(text));
    }

    socket.close(None).unwrap();
    assert!(matches!(socket.read().unwrap(), Message::Close(None)));
    daemon.log.line("-job one() = OK (0)");
}

#[test]
fn frames_carry_text_and_bytes_of_any_kind() {
    let daemon = serving("websocket.messages = \"frames\"", &Program::new().echo());
    let mut socket = opened(&daemon);

    for message in [Message::text("one\ntwo"), Message::binary(vec![0; 3]), Message::binary(Vec::new())] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
}

#[test]
fn a_job_may_say_with_which_code_it_closes() {
    let daemon = serving(
        "websocket.messages = \"frames\"",
        &Program::new().say("\u{8}\0\0\0\u{5}\u{f}").code(
            "(i32.store8 (i32.const 64) (i32.const 0xa1)) (call $write (i32.const 1) (i32.const 64) (i32.const 1))",
        ).say("bye").swallow(),
    );

    assert_eq!(closed(&mut opened(&daemon)), (4001, "bye".to_owned()));

    daemon.log.line("-job one() = OK (0)");
}

#[test]
fn how_a_job_ends_is_the_code_of_the_close() {
    for (settings, program, code, reason) in [
        ("", Program::new().say("so far\n").exit(3), 1011, "exited"),
        ("", Program::new().say("so far\n").trap(), 1011, "trapped"),
        ("limits.time = \"3s\"", Program::new().say("so far\n").echo(), 1011, "time_limit"),
        ("limits.output = 8", Program::new().say("so far\n").say("too far\n"), 1011, "output_limit"),
        ("", Program::new().say("so far\n\u{7f}\n").code(
            "(i32.store8 (i32.const 64) (i32.const 0xff)) (i32.store8 (i32.const 65) (i32.const 10)) (call $write (i32.const 1) (i32.const 64) (i32.const 2))",
        ).echo(), 1011, "bad_answer"),
    ] {
        let daemon = setup(settings, "", &program).start();
        let mut socket = opened(&daemon);
        assert_eq!(socket.read().unwrap(), Message::text("so far"));

        assert_eq!(closed(&mut socket), (code, reason.to_owned()));
        daemon.log.line("WARN");
    }
}

#[test]
fn what_a_client_must_not_send_is_the_code_of_the_close() {
    let echo = Program::new().say("hello\n").echo();
    let daemon = setup("limits.body = 70000", "websocket.message_size = 1000", &echo).start();
    for (what, bytes, code) in [
        ("a message that is too large", frame(0x81, &[b'x'; 1001]), 1009),
        (
            "one that is too large in parts",
            [frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 401])].concat(),
            1009,
        ),
        ("text that is not UTF-8", frame(0x81, b"\xff"), 1007),
        ("a binary message", frame(0x82, b"x"), 1003),
        ("two lines", frame(0x81, b"one\ntwo"), 1003),
        ("a frame without its mask", vec![0x81, 0x01, b'x'], 1002),
        ("a reserved bit", frame(0xc1, b"x"), 1002),
        ("an unknown opcode", frame(0x83, b"x"), 1002),
        ("the rest of nothing", frame(0x80, b"x"), 1002),
        ("a ping in parts", frame(0x09, b"x"), 1002),
        ("a ping that is too long", frame(0x89, &[b'x'; 126]), 1002),
        ("a length that no memory holds", [&[0x81], &[0xff; 9][..], &[0; 4]].concat(), 1009),
        ("half a code of a close", frame(0x88, b"x"), 1002),
        ("more than the limit", frame(0x81, &[b'x'; 999]).repeat(80), 1008),
    ] {
        let mut client = by_hand(&daemon);
        assert_eq!(client.take(7), b"\x81\x05hello");

        client.send(bytes);

        assert_eq!(close_code(&mut client), code, "{what}");
    }
}

#[test]
fn a_message_in_parts_with_a_ping_between_them_is_one_message() {
    let daemon = serving("", &Program::new().echo());
    let mut client = by_hand(&daemon);

    client.send([frame(0x01, b"one "), frame(0x89, b"there?"), frame(0x80, b"two")].concat());

    assert_eq!(client.take(8), b"\x8a\x06there?");
    assert_eq!(client.take(9), b"\x81\x07one two");
}

#[test]
fn a_message_that_comes_with_the_handshake_is_not_lost() {
    let daemon = serving("", &Program::new().echo());
    let mut client = daemon.client();

    client.send([format!("{ASK}\r\n").as_bytes(), &frame(0x81, b"early")].concat());

    let head = client.head();
    assert!(head.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert_eq!(client.take(7), b"\x81\x05early");
}

#[test]
fn a_bad_handshake_is_told_what_is_wrong_with_it() {
    let daemon = setup("", "websocket.protocols = [\"v1\"]", &Program::new().echo())
        .add("[cors]\norigins = [\"https://app.example\"]\n")
        .start();
    let with = |field: &str| format!("{ASK}{field}\r\n");
    for (request, status, code) in [
        ("GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(), 426, "upgrade_required"),
        (ASK.replace("GET", "POST") + "\r\n", 405, "method_not_allowed"),
        (ASK.replace("HTTP/1.1", "HTTP/1.0") + "\r\n", 426, "upgrade_required"),
        (ASK.replace("Version: 13", "Version: 8") + "\r\n", 426, "websocket_version"),
        (ASK.replace("Sec-WebSocket-Version: 13\r\n", "") + "\r\n", 400, "malformed_request"),
        (ASK.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=") + "\r\n", 400, "malformed_request"),
        (with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400, "malformed_request"),
        (with("Sec-WebSocket-Protocol: v2\r\n"), 400, "malformed_request"),
        (with("Content-Length: 1\r\n") + "x", 400, "malformed_request"),
        (with("Origin: https://evil.example\r\n"), 403, "forbidden"),
        (with("Origin: https://app.example\r\n"), 403, "forbidden"),
    ] {
        let mut client = daemon.client();
        client.send(request.replacen("\r\n", "\r\nAccept: application/json\r\n", 1));
        let response = client.response();

        assert_eq!(response.status(), status, "{request}");
        assert!(response.text().contains(&format!("\"{code}\"")), "{}", response.text());
        match status {
            426 => assert_eq!(response.field("upgrade"), Some("websocket")),
            405 => assert_eq!(response.field("allow"), Some("GET, HEAD, OPTIONS")),
            _ => assert_eq!(response.field("connection"), Some("close")),
        }
        if code == "websocket_version" {
            assert_eq!(response.field("sec-websocket-version"), Some("13"));
        }
    }
    assert_eq!(daemon.log.count("+job one()"), 0);
}

#[test]
fn a_subprotocol_is_agreed_on_and_the_job_knows_it() {
    let daemon = serving("websocket.protocols = [\"v2\", \"v1\"]", &Program::new().environment().say("\n"));
    let mut socket = connect(&daemon, &[("sec-websocket-protocol", "v0, v1")]);

    let environment = socket.read().unwrap();

    let environment = environment.to_text().unwrap();
    assert!(environment.contains("\0WEBSOCKET_PROTOCOL=v1\0"), "{environment:?}");
    assert!(environment.contains("\0WEBSOCKET_MESSAGES=lines\0"), "{environment:?}");
    assert!(environment.contains("\0HTTP_SEC_WEBSOCKET_PROTOCOL=v0, v1\0"), "{environment:?}");
}

#[test]
fn a_page_of_the_site_itself_and_of_one_that_is_listed_may_connect() {
    let daemon = serving("websocket.origins = [\"https://app.example\"]", &Program::new().say("hello\n"));
    let own = format!("http://127.0.0.1:{}", daemon.port());

    for origin in [own.as_str(), "https://app.example"] {
        let mut socket = connect(&daemon, &[("origin", origin)]);
        assert_eq!(socket.read().unwrap(), Message::text("hello"));
    }
}

#[test]
fn a_job_that_fails_before_it_reads_or_writes_is_an_answer_in_http() {
    let daemon = serving("", &Program::new().exit(1));
    let mut client = daemon.client();

    client.send(format!("{ASK}\r\n"));

    assert_eq!(client.response().status(), 502);
}
