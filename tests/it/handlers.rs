//! The shipped handlers, served with their shipped configuration.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::harness::{Daemon, Origin, Response, Setup, free_port, handlers, soon};

/// Serves `handlers/portcullis.toml`, but with a store and a database in a directory of the test.
fn shipped() -> Daemon {
    shipped_with(|config| config)
}

/// Serves the shipped configuration with a change.
fn shipped_with(change: impl FnOnce(String) -> String) -> Daemon {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../handlers").canonicalize().unwrap();
    let config = fs::read_to_string(source.join("portcullis.toml")).unwrap();
    // Not in the home directory of the user who runs the tests.
    let state = "\n[store.default]\nurl = \"redb:default.redb\"\n[database.default]\nurl = \"sqlite:default.sqlite\"\n";
    let setup = Setup::new(&(change(config) + state));
    symlink(handlers(), setup.path("build")).unwrap();
    symlink(source.join("public"), setup.path("public")).unwrap();
    setup.start()
}

/// Returns a daemon that is shared by concurrent tests, since compiling everything takes a while.
fn shared() -> Arc<Daemon> {
    static RUNNING: Mutex<Weak<Daemon>> = Mutex::new(Weak::new());
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.upgrade().unwrap_or_else(|| {
        let daemon = Arc::new(shipped());
        *running = Arc::downgrade(&daemon);
        daemon
    })
}

fn json(response: &Response) -> serde_json::Value {
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn hello_greets_whom_the_path_names_on_both_targets() {
    let daemon = shared();

    assert_eq!(daemon.get("/hello/ada").text(), "Hello, ada!\n");
    assert_eq!(daemon.get("/hello2/ada%20l").text(), "Hello from a component, ada l!\n");
    assert_eq!(daemon.client().ask("POST", "/hello/ada", "").status(), 405);
}

#[test]
fn greet_greets_and_sends_a_body_back_with_its_length_behind_it() {
    let daemon = shared();

    assert_eq!(daemon.get("/greet/ad%C3%A9le").text(), "Hello, adéle!\n");
    let mut client = daemon.client();
    client.send("POST /greet/ada HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nContent-Length: 5\r\n\r\n12345");
    assert!(client.head().contains("\r\ntrailer: x-length\r\n"));
    assert_eq!(client.chunk(), b"12345");
    assert_eq!(client.up_to(b"\r\n\r\n"), b"0\r\nx-length: 5\r\n\r\n");
}

#[test]
fn teapot_is_a_teapot() {
    let daemon = shared();

    let response = daemon.get("/teapot");

    assert!(response.head.starts_with("HTTP/1.1 418 I'm a teapot\r\ncontent-type: text/plain\r\n"));
    assert_eq!(response.text(), "I am short and stout here\n");
}

#[test]
fn echo_sends_back_a_body_while_it_comes() {
    let daemon = shared();
    let mut client = daemon.client();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Type: a/b\r\nContent-Length: 6\r\n\r\none");

    let head = client.head();

    assert!(head.contains("\r\ncontent-type: a/b\r\n"), "{head}");
    assert_eq!(client.chunk(), b"one");
    client.send("two");
    assert_eq!(client.chunks(), b"two");
}

#[test]
fn echo_shows_the_variables_of_a_request() {
    let daemon = shared();

    let response = daemon.get("/echo?a=b");

    let lines: Vec<&str> = response.text().lines().collect();
    assert!(lines.contains(&"QUERY_STRING=a=b") && lines.contains(&"REQUEST_METHOD=GET"), "{lines:?}");
    assert!(lines.is_sorted());
}

#[test]
fn files_serves_a_directorys_index_and_sends_clients_there() {
    let daemon = shared();
    let index = fs::read(daemon.path("public/index.html")).unwrap();

    let (bare, slashed) = (daemon.get("/files"), daemon.get("/files/"));

    assert_eq!((bare.status(), bare.field("location")), (308, Some("/files/")));
    assert_eq!(slashed.status(), 200);
    assert_eq!(slashed.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(slashed.body == index);
}

#[test]
fn files_sends_ranges() {
    let daemon = shared();
    let whole = fs::read(daemon.path("public/index.html")).unwrap();
    let ask =
        |range: &str| daemon.client().ask("GET", "/files/index.html", &format!("Range: bytes={range}\r\n"));

    let (first, last, beyond) = (ask("0-9"), ask("-5"), ask("99999999-"));

    assert_eq!((first.status(), &first.body[..]), (206, &whole[..10]));
    assert_eq!(first.field("content-range"), Some(&*format!("bytes 0-9/{}", whole.len())));
    assert_eq!((last.status(), &last.body[..]), (206, &whole[whole.len() - 5..]));
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.field("content-range"), Some(&*format!("bytes */{}", whole.len())));
}

#[test]
fn files_does_not_send_again_what_the_client_has() {
    let daemon = shared();
    let mut client = daemon.client();
    let etag = client.get("/files/index.html").field("etag").unwrap().to_owned();

    let response = client.ask("GET", "/files/index.html", &format!("If-None-Match: {etag}\r\n"));

    assert_eq!(response.status(), 304);
    assert_eq!(response.field("etag"), Some(&*etag));
    let other = client.ask("GET", "/files/index.html", "If-None-Match: \"other\"\r\n");
    assert_eq!(other.status(), 200);
}

#[test]
fn files_tells_the_length_to_who_asks_for_the_head() {
    let daemon = shared();
    let length = fs::read(daemon.path("public/index.html")).unwrap().len().to_string();

    let response = daemon.client().ask("HEAD", "/files/index.html", "");

    assert_eq!((response.status(), response.field("content-length")), (200, Some(&*length)));
}

#[test]
fn files_shows_nothing_outside_its_mount() {
    let daemon = shared();

    for target in [
        "/files/../portcullis.toml",
        "/files/%2e%2e/portcullis.toml",
        "/files/..%2fportcullis.toml",
        "/files//etc/passwd",
        "/files/%2fetc%2fpasswd",
        "/files/absent",
        "/files/index.html/",
    ] {
        let response = daemon.get(target);

        assert!([400, 404].contains(&response.status()), "{target}: {}", response.head);
    }
}

#[test]
fn notes_are_kept_changed_and_deleted() {
    let daemon = shipped();
    let mut client = daemon.client();

    let made = client.submit("POST", "/notes", "", br#"{"title": "milk", "text": "two litres"}"#);

    assert_eq!((made.status(), made.field("location")), (201, Some("/notes/1")));
    let etag = made.field("etag").unwrap().to_owned();
    assert_eq!(json(&client.get("/notes/1"))["text"], "two litres");
    let fields = format!("If-Match: {etag}\r\n");
    let changed = client.submit("PUT", "/notes/1", &fields, br#"{"title": "milk", "text": "three"}"#);
    assert_eq!((changed.status(), &json(&changed)["text"]), (200, &"three".into()));
    let late = client.submit("PUT", "/notes/1", &fields, br#"{"title": "milk", "text": "four"}"#);
    assert_eq!(late.status(), 412, "the note is in another state by now");
    assert_eq!(client.ask("DELETE", "/notes/1", "").status(), 204);
    assert_eq!(client.get("/notes/1").status(), 404);
}

#[test]
fn notes_that_are_made_at_once_are_all_kept_under_numbers_of_their_own() {
    const EACH: usize = 10;
    let daemon = shipped();
    let port = daemon.port();
    let create = move |thread: usize| {
        let mut client = crate::harness::Client::tcp(port);
        let one = |turn: usize| {
            let body = format!("{{\"title\": \"{thread}/{turn}\"}}");
            let made = client.submit("POST", "/notes", "", body.as_bytes());
            assert_eq!(made.status(), 201, "{}", made.text());
            json(&made)["id"].as_u64().unwrap()
        };
        (0..EACH).map(one).collect::<Vec<u64>>()
    };

    let threads: Vec<_> = (0..4).map(|thread| std::thread::spawn(move || create(thread))).collect();
    let numbers: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();

    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 4 * EACH);
    let listed = json(&daemon.get("/notes?limit=100"));
    let titles: BTreeSet<&str> =
        listed["notes"].as_array().unwrap().iter().map(|note| note["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), 4 * EACH);
}

#[test]
fn notes_refuse_what_is_none() {
    let daemon = shipped();
    let status = |body: &[u8]| daemon.client().submit("POST", "/notes", "", body).status();

    assert_eq!(status(b"milk"), 400);
    assert_eq!(status(br#"{"title": ""}"#), 422);
    assert_eq!(status(br#"{"title": "x", "colour": "red"}"#), 400);
}

#[test]
fn ticks_come_one_by_one_and_end() {
    let daemon = shared();

    // Before the second tick, which comes after 12 s.
    soon(Duration::from_secs(10), || {
        let mut client = daemon.client();
        client.send("GET /ticks?count=2&every_ms=12000 HTTP/1.1\r\nHost: test\r\n\r\n");
        let head = client.head();
        assert!(head.contains("\r\ncontent-type: text/event-stream\r\n"), "{head}");
        assert_eq!(client.chunk(), b"id: 1\nevent: tick\ndata: {\"tick\":1,\"of\":2}\n\n");
    });

    let mut client = daemon.client();
    client.send("GET /ticks?count=3&every_ms=20 HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    assert_eq!(
        String::from_utf8(client.chunks()).unwrap(),
        "id: 1\nevent: tick\ndata: {\"tick\":1,\"of\":3}\n\nid: 2\nevent: tick\ndata: {\"tick\":2,\"of\":3}\n\n\
         id: 3\nevent: tick\ndata: {\"tick\":3,\"of\":3}\n\nevent: done\ndata: {\"ticks\":3}\n\n"
    );
}

#[test]
fn shout_answers_each_message_in_capitals() {
    let daemon = shared();
    let stream = std::net::TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
    stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    stream.set_write_timeout(Some(crate::harness::PATIENCE)).unwrap();
    let url = format!("ws://127.0.0.1:{}/shout", daemon.port());
    let (mut socket, _response) = tokio_tungstenite::tungstenite::client(url, stream).unwrap();

    for (said, answer) in [("hello", "HELLO"), ("straße", "STRASSE"), ("bye", "GOOD BYE")] {
        socket.send(said.into()).unwrap();
        assert_eq!(socket.read().unwrap().to_text().unwrap(), answer);
    }

    assert!(socket.read().unwrap().is_close());
}

#[test]
fn report_has_wc_count_what_it_is_sent() {
    let daemon = shared();

    let counted = daemon.client().submit("POST", "/report", "", b"one two\nthree\n");

    assert_eq!(json(&counted), serde_json::json!({ "lines": 2, "words": 3, "bytes": 14 }));
}

#[test]
fn json_of_the_shipped_handlers_ends_its_line_and_the_length_counts_that() {
    let daemon = shipped();
    let mut client = daemon.client();

    let responses = [
        client.submit("POST", "/links", "", br#"{"url": "https://example.org/"}"#),
        client.submit("POST", "/notes", "", br#"{"title": "milk"}"#),
        client.get("/notes"),
        client.get("/notes/1"),
        client.submit("POST", "/report", "", b"one two\n"),
    ];

    for response in responses {
        assert_eq!(response.field("content-type"), Some("application/json"), "{}", response.head);
        assert!(response.body.ends_with(b"}\n"), "{}", response.text());
        assert_eq!(response.field("content-length"), Some(&*response.body.len().to_string()));
    }
}

#[test]
fn mirror_sends_on_what_the_server_says_that_it_asks() {
    let origin = Origin::says(
        "127.0.0.1",
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/x-note\r\nContent-Length: 4\r\n\r\nnone",
    );
    let url = format!("http://127.0.0.1:{}", origin.port());
    let daemon = shipped_with(|config| config.replace("http://127.0.0.1:8080\"", &format!("{url}\"")));

    let response = daemon.get("/mirror/notes/7%2F?a=b");

    assert_eq!((response.status(), response.field("content-type")), (404, Some("text/x-note")));
    assert_eq!(response.text(), "none");
    assert!(origin.heads()[0].starts_with("GET /notes/7%2F?a=b HTTP/1.1\r\n"), "{:?}", origin.heads());
}

#[test]
fn mirror_is_a_bad_gateway_where_nobody_listens() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let daemon = shipped_with(|config| config.replace("http://127.0.0.1:8080\"", &format!("{url}\"")));

    assert_eq!(daemon.get("/mirror/a").status(), 502);
}

#[test]
fn wc_is_reached_by_no_route() {
    assert_eq!(shared().get("/wc").status(), 404);
}

#[test]
fn census_counts_the_notes() {
    let daemon = shipped_with(|config| config.replace("*/5 * * * *", "* * * * * *"));
    daemon.log.line("census: 0 notes");

    for title in ["milk", "tea"] {
        let body = format!("{{\"title\": \"{title}\"}}");
        assert_eq!(daemon.client().submit("POST", "/notes", "", body.as_bytes()).status(), 201);
    }

    daemon.log.line("census: 2 notes");
}

/// Hashes a password as the users of `login` have it.
fn password_hash(password: &str) -> String {
    use argon2::password_hash::PasswordHasher as _;
    argon2::Argon2::default().hash_password(password.as_bytes()).unwrap().to_string()
}

#[test]
fn login_lets_a_session_through_and_nobody_else() {
    let settings = format!(
        "env = {{ SESSION_KEY = \"0123456789abcdef0123456789abcdef\", USERS = \"ada:{}\" }}",
        password_hash("lovelace")
    );
    let daemon = shipped_with(|config| {
        let line = "# env = { USERS = \"ada:$argon2id$...\" }";
        assert!(config.contains(line));
        config.replace(line, &settings)
    });
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let enter = |body: &str| daemon.client().submit("POST", "/login", form, body.as_bytes());
    let private = |fields: &str| daemon.client().ask("GET", "/private", fields);

    let sent = private("Accept: text/html\r\n");
    assert_eq!((sent.status(), sent.field("location")), (303, Some("/login?return=/private")));
    let page = daemon.get("/login?return=/private");
    assert_eq!(page.status(), 401);
    assert!(page.text().contains("name=\"return\" value=\"/private\""), "{}", page.text());
    assert_eq!(enter("user=ada&password=byron").field("set-cookie"), None);
    let entered = enter("user=ada&password=lovelace&return=//evil.example");
    assert_eq!((entered.status(), entered.field("location")), (303, Some("/")));
    let cookie = entered.field("set-cookie").unwrap().split(';').next().unwrap();

    let passed = private(&format!("Cookie: {cookie}\r\nRemote-User: eve\r\n"));
    assert_eq!(passed.status(), 200);
    assert!(passed.text().lines().any(|line| line == "REMOTE_USER=ada"), "{}", passed.text());
    assert!(passed.text().lines().any(|line| line == "AUTH_TYPE=login"), "{}", passed.text());
    for fields in
        ["", "Remote-User: ada\r\n", &format!("Cookie: {cookie}A\r\n"), "Cookie: session=YWRh.9.A\r\n"]
    {
        assert_eq!(private(fields).status(), 401, "{fields}");
    }
    let left = daemon.client().ask("POST", "/logout", &format!("Cookie: {cookie}\r\n"));
    assert!(left.field("set-cookie").is_some_and(|cookie| cookie.starts_with("session=;")), "{}", left.head);
}

#[test]
fn login_lets_nobody_in_before_it_has_a_key() {
    let daemon = shared();

    for path in ["/login", "/private"] {
        let response = daemon.get(path);
        assert_eq!(response.status(), 503);
        assert!(response.text().contains("SESSION_KEY"), "{}", response.text());
    }
}
