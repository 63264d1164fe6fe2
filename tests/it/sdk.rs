//! Rust handlers that use the SDK, run by the daemon.

use std::fs;

use crate::harness::{Daemon, Setup, guests};

/// A handler whose behaviour is selected by the last part of the path.
fn serve(kind: &str, settings: &str) -> Daemon {
    let module = fs::read(guests().join(format!("{kind}.wasm"))).unwrap();
    let handler = format!("[handler.s]\nmodule = \"s.wasm\"\n{settings}\n");
    Setup::new(&format!("{handler}[[route]]\npath = \"/{{word}}\"\nhandler = \"s\"\n"))
        .file("s.wasm", &module)
        .start()
}

/// The same program as a core module and as a component.
const KINDS: [&str; 2] = ["sdk", "sdk-wasip2"];

#[test]
fn an_error_that_a_handler_passes_on_is_in_the_log_with_its_file_and_line() {
    for kind in KINDS {
        let daemon = serve(kind, "");

        let response = daemon.get("/fail");

        assert_eq!((response.status(), response.text()), (500, "internal error\n"), "{kind}");
        let line = daemon.log.line(", at src/bin/sdk.rs:");
        assert!(line.contains("s: "), "{line}");
    }
}

#[test]
fn an_upload_is_read_part_by_part_in_less_memory_than_it_has() {
    let file = vec![b'x'; 12_000_000];
    let part = |disposition: &str| {
        format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n").into_bytes()
    };
    let body = [
        part("name=\"title\""),
        b"A day\r\n".to_vec(),
        part("name=\"file\"; filename=\"a.bin\""),
        file,
        b"\r\n--b--\r\n".to_vec(),
    ]
    .concat();
    for kind in KINDS {
        let daemon = serve(kind, "limits.memory = \"4MiB\"\nlimits.cpu = \"20s\"");

        let fields = "Content-Type: multipart/form-data; boundary=b\r\n";
        let response = daemon.client().submit("POST", "/upload", fields, &body);
        let cut = daemon.client().submit("POST", "/upload", fields, &body[..1000]);

        assert_eq!((response.status(), response.text()), (200, "title - 5\nfile a.bin 12000000\n"), "{kind}");
        assert_eq!(cut.status(), 400, "{}", cut.text());
    }
}

#[test]
fn a_body_is_read_by_what_it_is_given_to() {
    let daemon = serve(KINDS[0], "");

    let response = daemon.client().submit("POST", "/elsewhere", "", &[b'x'; 100_000]);

    assert_eq!(response.text(), "100000");
}

#[test]
fn cookies_come_and_go() {
    let daemon = serve(KINDS[0], "");

    let response = daemon.client().ask("GET", "/visit", "Cookie: a=b; visits=6\r\n");

    assert_eq!(response.text(), "7");
    let head = response.undated();
    assert!(head.contains("visits=7; Path=/; HttpOnly; SameSite=Lax\r\n"), "{head}");
    assert!(head.contains("old=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax\r\n"), "{head}");
}

#[test]
fn events_are_sent_as_a_browser_reads_them() {
    let daemon = serve(KINDS[0], "");

    let response = daemon.get("/events");

    assert_eq!(response.field("content-type"), Some("text/event-stream"));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    let wanted = "data: one\n\n:\n\nid: 2\nevent: news\ndata: two\ndata: lines\n\n";
    assert_eq!(response.text(), wanted);
}
