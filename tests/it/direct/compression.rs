//! Compressed responses.

use std::fs;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use super::files::write;
use crate::dashboard::webdriver::Browser;
use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, finish, found, reaped};

/// The longest text of these guests: it fits into the memory for their texts.
const LINES: usize = 1500;

fn text() -> String {
    (0..LINES).map(|number| format!("line {number} of a text that repeats itself\n")).collect()
}

/// A guest that writes a head and a text.
fn guest(head: &str, text: &str) -> Vec<u8> {
    Program::new().say(&format!("{head}\n\n")).say(text).wasm()
}

fn serve(head: &str, text: &str) -> Daemon {
    Setup::one("", &guest(head, text)).prepend("compress = [\"zstd\", \"br\", \"gzip\"]\n").start()
}

/// Requests `/` with curl, which decodes, and returns the body and `Content-Encoding`.
fn curl(daemon: &Daemon, arguments: &[&str]) -> (Vec<u8>, String) {
    let fields = daemon.path("fields");
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "30", "-D"]).arg(&fields).args(arguments);
    command.arg(format!("http://127.0.0.1:{}/", daemon.port()));
    let ended = finish(&mut command, b"", PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let fields = fs::read_to_string(fields).unwrap().to_lowercase();
    let coding = fields.lines().find_map(|line| line.strip_prefix("content-encoding: "));
    (ended.stdout, coding.unwrap_or_default().trim().to_owned())
}

#[test]
fn curl_reads_every_coding_over_both_versions_of_http() {
    if !found(&["curl"], "curl") {
        return;
    }
    let text = text();
    let short = text[..4000].to_owned();
    for text in [text, short] {
        let daemon = serve("Content-Type: text/plain; charset=utf-8\nETag: \"1\"", &text);
        for coding in ["zstd", "br", "gzip"] {
            for version in ["--http1.1", "--http2-prior-knowledge"] {
                let field = format!("Accept-Encoding: {coding}");
                let (body, said) = curl(&daemon, &["--compressed", "-H", &field, version]);
                assert_eq!(said, coding, "{version}");
                assert!(body == text.as_bytes(), "{coding} {version}: {} bytes", body.len());
            }
        }
        let (body, said) = curl(&daemon, &["--http1.1"]);
        assert_eq!((body.as_slice(), said.as_str()), (text.as_bytes(), ""));
    }
}

#[test]
fn the_client_chooses_and_caches_are_told() {
    let daemon = serve(
        "Content-Type: application/json\nETag: \"1\"\nAccept-Ranges: bytes\nContent-Length: 3000",
        &"[1]".repeat(1000),
    );
    let ask = |accept: &str| daemon.client().ask("GET", "/", &format!("Accept-Encoding: {accept}\r\n"));

    let best = ask("gzip, br, zstd");
    assert_eq!((best.field("content-encoding"), best.field("vary")), (Some("zstd"), Some("Accept-Encoding")));
    assert_eq!((best.field("etag"), best.field("accept-ranges")), (Some("W/\"1\""), None));
    assert!(best.body.len() < 300 && best.field("content-length").is_some(), "{}", best.head);
    assert_eq!(ask("gzip;q=1, br;q=0.5").field("content-encoding"), Some("gzip"));
    assert_eq!(ask("*;q=0.1, zstd;q=0").field("content-encoding"), Some("br"));
    assert_eq!(ask("identity;q=0, gzip").field("content-encoding"), Some("gzip"));
    for plain in ["identity", "gzip;q=0", "", "deflate", "gzip;q=0.1, identity;q=0.5"] {
        let sent = ask(plain);
        assert_eq!(
            (sent.field("content-encoding"), sent.field("vary")),
            (None, Some("Accept-Encoding")),
            "{plain}"
        );
        assert_eq!((sent.field("etag"), sent.body.len()), (Some("\"1\""), 3000));
    }
    let head = |fields: &str| daemon.client().ask("HEAD", "/", fields);
    let coded = head("Accept-Encoding: gzip\r\n");
    assert_eq!((coded.field("content-encoding"), coded.field("vary")), (None, Some("Accept-Encoding")));
    // The response to GET has another length and another tag.
    assert_eq!((coded.field("content-length"), coded.field("etag")), (None, Some("W/\"1\"")));
    let plain = head("");
    assert_eq!((plain.field("content-length"), plain.field("etag")), (Some("3000"), Some("\"1\"")));
}

#[test]
fn a_response_to_head_without_a_handler_has_no_length_that_get_would_not_have() {
    let long = "x".repeat(3000);
    let daemon = Setup::new(&format!(
        "compress = [\"gzip\"]\n[[route]]\npath = \"/long\"\nrespond = {{ body = \"{long}\" }}\n\
         [[route]]\npath = \"/short\"\nrespond = {{ body = \"short\" }}\n"
    ))
    .start();

    for (target, length) in [("/long", None), ("/short", Some("5"))] {
        let head = daemon.client().ask("HEAD", target, "Accept-Encoding: gzip\r\n");
        assert_eq!((head.status(), head.field("content-length")), (200, length), "{target}");
    }
    let get = daemon.client().ask("GET", "/long", "Accept-Encoding: gzip\r\n");
    assert_eq!(get.field("content-encoding"), Some("gzip"));
}

#[test]
fn what_gains_nothing_or_must_stay_is_left_as_it_is() {
    let long = text();
    for (head, text) in [
        ("Content-Type: image/png", long.as_str()),
        ("Status: 200\nX-Type: none", &long),
        ("Content-Type: text/plain\nContent-Encoding: gzip", &long),
        ("Content-Type: text/plain\nContent-Encoding: identity\nContent-Encoding: gzip", &long),
        ("Content-Type: text/plain\nCache-Control: max-age=1, no-transform", &long),
        ("Content-Type: text/plain\nRepr-Digest: sha-256=:x:", &long),
        ("Status: 206\nContent-Type: text/plain\nContent-Range: bytes 0-3/9", "0123"),
        ("Content-Type: text/plain", &long[..511]),
        ("Status: 204\nX-A: b", ""),
    ] {
        let daemon = serve(head, text);

        let sent = daemon.client().ask("GET", "/", "Accept-Encoding: gzip\r\n");

        let coding = sent.field("content-encoding").filter(|_| !head.contains("Encoding"));
        assert_eq!((coding, sent.field("vary")), (None, None), "{head}");
        assert_eq!(sent.text(), text, "{head}");
    }
}

#[test]
fn a_route_has_its_own_list() {
    let module = guest("Content-Type: text/plain", &text());
    let daemon = Setup::one("", &module)
        .add("compress = []\n[[route]]\npath = \"/gzip\"\nhandler = \"one\"\ncompress = [\"gzip\"]\n")
        .prepend("compress = [\"br\"]\n")
        .start();
    let coding = |target: &str| {
        let sent = daemon.client().ask("GET", target, "Accept-Encoding: br, gzip\r\n");
        sent.field("content-encoding").map(str::to_owned)
    };

    assert_eq!((coding("/"), coding("/gzip").as_deref()), (None, Some("gzip")));
}

#[test]
fn events_arrive_at_once_although_they_are_compressed() {
    let event = "data: the same event\n\n";
    let program = Program::new().say("Content-Type: text/event-stream\n\n").say(event).read_once().say(event);
    let daemon = Setup::one("body = \"stream\"", &program.wasm()).prepend("compress = [\"gzip\"]\n").start();
    let mut client = daemon.client();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(client.head().contains("content-encoding: gzip\r\n"));

    let mut encoded = Vec::new();
    let decoded = |encoded: &[u8]| {
        let mut command = Command::new("gzip");
        // The end is missing so far, which gzip complains of.
        let ended = finish(command.arg("-dc"), encoded, PATIENCE);
        String::from_utf8(ended.stdout).unwrap()
    };
    while decoded(&encoded) != event {
        encoded.extend(client.chunk());
    }
    client.send("2\r\ngo\r\n0\r\n\r\n");
    encoded.extend(client.chunks());
    assert_eq!(decoded(&encoded), event.repeat(2));
}

#[test]
fn curl_shows_an_event_of_every_coding_before_the_next_one() {
    if !found(&["curl"], "curl") {
        return;
    }
    let event = "data: the same event\n\n";
    let program = Program::new().say("Content-Type: text/event-stream\n\n").say(event).sleep_for_ever();
    let daemon = Setup::one("", &program.wasm()).prepend("compress = [\"zstd\", \"br\", \"gzip\"]\n").start();
    for coding in ["zstd", "br", "gzip"] {
        let mut curl = Command::new("curl");
        curl.args(["-sN", "--compressed", "-H", &format!("Accept-Encoding: {coding}")]);
        curl.arg(format!("http://127.0.0.1:{}/", daemon.port()));
        let mut curl = curl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();

        let mut shown = vec![0; event.len()];
        // The end of the job would end curl, so this does not wait for ever.
        let read = curl.stdout.take().unwrap().read_exact(&mut shown);

        curl.kill().unwrap();
        reaped(&mut curl, PATIENCE);
        assert!(read.is_ok() && shown == event.as_bytes(), "{coding}: {}", shown.escape_ascii());
    }
}

#[test]
fn chromium_reads_every_coding() {
    let Some(browser) = Browser::start() else { return };
    let (text, codings) = (text(), ["zstd", "br", "gzip"]);
    let routes = codings.map(|coding| {
        format!("[[route]]\npath = \"/{coding}\"\nhandler = \"one\"\ncompress = [\"{coding}\"]\n")
    });
    let module = guest("Content-Type: text/plain; charset=utf-8", &text);
    let daemon = Setup::one("", &module).add(&routes.concat()).start();
    browser.open(&format!("http://127.0.0.1:{}/", daemon.port()));

    for coding in codings {
        let script = "return fetch(arguments[0]).then(async (response) =>
            [response.headers.get('content-encoding'), await response.text()])";
        let read = browser.run(script, &[&format!("/{coding}")]);

        assert_eq!(read[0], coding);
        assert!(read[1] == text.as_str(), "{coding}: {}", read[1].to_string().len());
    }
}

#[test]
fn a_response_that_breaks_off_does_not_look_whole() {
    let program = Program::text().say(&text()).read_once().trap();
    let daemon = Setup::one("body = \"stream\"", &program.wasm()).prepend("compress = [\"gzip\"]\n").start();
    let mut client = daemon.client();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();
    client.chunk();
    client.send("2\r\ngo\r\n0\r\n\r\n");

    let rest = client.rest();

    assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
}

#[test]
fn a_response_of_announced_length_ends_with_its_last_byte_although_its_job_goes_on() {
    let text = text();
    let head = format!("Content-Type: text/plain\nContent-Length: {}\n\n", text.len());
    let program = Program::new().say(&head).say(&text).sleep_for_ever();
    let daemon = Setup::one("", &program.wasm()).prepend("compress = [\"gzip\"]\n").start();

    let sent = daemon.client().ask("GET", "/", "Accept-Encoding: gzip\r\n");

    let ended = finish(Command::new("gzip").arg("-dc"), &sent.body, PATIENCE);
    assert_eq!(sent.field("content-encoding"), Some("gzip"));
    assert!(ended.stdout == text.as_bytes(), "{} bytes", ended.stdout.len());
}

#[test]
fn a_large_file_is_sent_as_it_is() {
    let setup = Setup::new(
        "compress = [\"gzip\"]\n[[route]]\npath = \"/f/{*path}\"\nstatic = { dir = \"public\" }\n",
    );
    fs::create_dir(setup.path("public")).unwrap();
    for (name, length) in [("most.txt", 16 << 20), ("more.txt", (16 << 20) + 1)] {
        fs::File::create(setup.path("public").join(name)).unwrap().set_len(length).unwrap();
    }
    let daemon = setup.start();
    let coding = |name: &str| {
        let mut client = daemon.client();
        client.send(format!("GET /f/{name} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n"));
        client.head().to_lowercase().contains("content-encoding: gzip")
    };

    assert!(coding("most.txt") && !coding("more.txt"));
}

#[test]
fn one_client_has_so_many_compressed_streams_and_the_others_come_as_they_are() {
    let daemon = Setup::one("body = \"stream\"", &Program::text().say("begun\n").read_once().wasm())
        .prepend("compress = [\"gzip\"]\n")
        .start();
    let begin = |source: u8| {
        let mut client = Client::tcp_from(Ipv4Addr::new(127, 0, 0, source), daemon.port());
        client.send(
            "POST / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        let is_compressed = client.head().to_lowercase().contains("content-encoding: gzip");
        (client, is_compressed)
    };

    let held: Vec<_> = (0..33).map(|_| begin(2)).collect();

    let compressed = held.iter().filter(|(_, is_compressed)| *is_compressed).count();
    assert_eq!((compressed, held[32].1, begin(3).1), (32, false, true));
}

#[test]
fn files_are_compressed_unless_a_part_is_asked_for() {
    let setup = Setup::new(
        "compress = [\"gzip\"]\n[[route]]\npath = \"/f/{*path}\"\nstatic = { dir = \"public\" }\n",
    );
    fs::create_dir(setup.path("public")).unwrap();
    let content = text();
    write(&setup.path("public/a.txt"), content.as_bytes());
    let daemon = setup.start();
    let mut client = daemon.client();

    let sent = client.ask("GET", "/f/a.txt", "Accept-Encoding: gzip\r\n");
    let ended = finish(Command::new("gzip").arg("-dc"), &sent.body, PATIENCE);
    assert_eq!(sent.field("content-encoding"), Some("gzip"));
    assert!(ended.stdout.as_slice().bytes().map(Result::unwrap).eq(content.bytes()));
    let part = client.ask("GET", "/f/a.txt", "Accept-Encoding: gzip\r\nRange: bytes=0-599\r\n");
    assert_eq!((part.status(), part.field("content-encoding"), part.body.len()), (206, None, 600));
    let etag = sent.field("etag").unwrap();
    let same = client.ask("GET", "/f/a.txt", &format!("Accept-Encoding: gzip\r\nIf-None-Match: {etag}\r\n"));
    assert!(etag.starts_with("W/"), "{etag}");
    assert_eq!((same.status(), same.field("etag")), (304, Some(etag)));
}
