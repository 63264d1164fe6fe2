//! Redirects and fixed responses of routes.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::harness::{Authority, Client, Daemon, Setup};
use crate::lifecycle::AS_CONFIGURED;

const ROUTES: &str = r#"
admin = "unix://admin.sock"
access_log = true

[[route]]
path = "/old/{*rest}"
redirect = "/new/{rest}{?query}"
status = 308

[[route]]
path = "/users/{id}"
methods = ["GET"]
redirect = "https://{host}/profile?id={id}&{query}"

[[route]]
path = "/{*rest}"
host = "www.example.org"
redirect = "/{rest}"

[[route]]
path = "/robots.txt"
methods = ["GET"]
respond = { body = "User-agent: *\nDisallow:\n", fields = { Cache-Control = "max-age=60" } }

[[route]]
path = "/gone"
respond = { status = 410 }

[[route]]
path = "/empty"
respond = { status = 204, fields = { X-Empty = "yes" } }
"#;

fn location(daemon: &Daemon, target: &str, host: &str) -> (u16, Option<String>) {
    let mut client = daemon.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let response = client.response();
    (response.status(), response.field("location").map(str::to_owned))
}

fn explain(daemon: &Daemon, method: &str, url: &str) -> Value {
    serde_json::from_slice(&daemon.verb(&["explain", method, url, "--json"]).stdout).unwrap()
}

#[test]
fn a_redirect_is_filled_in_from_the_request() {
    let daemon = Setup::new(ROUTES).start();
    let to = |target: &str, host: &str| location(&daemon, target, host);

    assert_eq!(to("/old/a/b%20c?x=1", "h"), (308, Some("/new/a/b%20c?x=1".to_owned())));
    assert_eq!(to("/old/", "h"), (308, Some("/new/".to_owned())));
    let profile = "https://h.example/profile?id=ada&tab=2".to_owned();
    assert_eq!(to("/users/ada?tab=2", "H.example.:8080"), (302, Some(profile)));
}

#[test]
fn no_client_chooses_the_host_or_adds_a_field_or_a_parameter() {
    let daemon = Setup::new(ROUTES).start();
    let to = |target: &str, host: &str| location(&daemon, target, host).1.unwrap();

    assert_eq!(to("//evil.example/x", "www.example.org"), "/evil.example/x");
    assert_eq!(to("/%2F%2Fevil.example", "www.example.org"), "/evil.example");
    assert_eq!(to("/%5Cevil.example", "www.example.org"), "/%5Cevil.example");
    assert_eq!(to("/users/1&admin=1", "h"), "https://h/profile?id=1%26admin%3D1&");
    assert_eq!(to("/users/1%26a%23b", "h"), "https://h/profile?id=1%26a%23b&");
    assert_eq!(location(&daemon, "/users/1%0d%0aSet-Cookie:x=1", "h").0, 400);
    // `https:///profile` would be read as `https://profile`.
    assert_eq!([".", ".:80", ".."].map(|host| location(&daemon, "/users/1", host).0), [400; 3]);
    let mut client = daemon.client();
    client.send("GET /users/1 HTTP/1.0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.0 400 "), "this redirect needs a host");
}

#[test]
fn explain_tells_of_the_204_that_answers_options() {
    let daemon = Setup::new(ROUTES).start();

    for (method, status) in [("OPTIONS", 204), ("POST", 405)] {
        let told = explain(&daemon, method, "/robots.txt");
        assert_eq!(told["status"], json!(status), "{told}");
        assert_eq!(told["allow"], json!(["GET", "HEAD", "OPTIONS"]), "{told}");
        assert_eq!(daemon.client().ask(method, "/robots.txt", "").status(), status);
    }
}

#[test]
fn a_fixed_response_has_its_status_its_fields_and_its_body() {
    let daemon = Setup::new(ROUTES).start();
    let mut client = daemon.client();

    let robots = client.get("/robots.txt");
    assert_eq!((robots.status(), robots.text()), (200, "User-agent: *\nDisallow:\n"));
    assert_eq!(robots.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(robots.field("cache-control"), Some("max-age=60"));
    let head = client.ask("HEAD", "/robots.txt", "");
    assert_eq!((head.status(), head.field("content-length")), (200, Some("24")));
    let refused = client.ask("POST", "/robots.txt", "");
    assert_eq!((refused.status(), refused.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(client.submit("POST", "/gone", "", b"some body").status(), 410);
    let empty = client.get("/empty");
    assert_eq!(
        (empty.status(), empty.field("x-empty"), empty.field("content-length")),
        (204, Some("yes"), None)
    );
}

#[test]
fn such_routes_are_listed_explained_logged_and_counted() {
    let daemon = Setup::new(ROUTES).start();

    assert_eq!(daemon.get("/gone").status(), 410);
    assert_eq!(location(&daemon, "/old/a", "h").0, 308);

    daemon.log.line("GET /old/a -> 308 0 bytes");
    assert_eq!(daemon.metric("portcullis_direct_requests_total", &["target=\"respond\""]), 1.0);
    assert_eq!(daemon.metric("portcullis_direct_requests_total", &["target=\"redirect\""]), 1.0);
    let told = explain(&daemon, "GET", "http://h.example/old/a?x=1");
    assert_eq!((&told["status"], &told["route"]["location"]), (&json!(308), &json!("/new/a?x=1")));
    assert_eq!(told["route"]["handler"], Value::Null);
    assert_eq!(explain(&daemon, "GET", "/gone")["route"]["target"], json!("respond 410"));
    let listed = String::from_utf8(daemon.verb(&["routes"]).stdout).unwrap();
    assert!(listed.contains("redirect 308 /new/{rest}{?query}"), "{listed}");
}

#[test]
fn requests_in_clear_are_sent_to_https_except_health_checks() {
    let pair = Authority::usual().server(&["127.0.0.1", "localhost"]);
    let daemon = Setup::new(&format!("https = \"redirect\"\n{ROUTES}"))
        .prepend("listen = [\"tcp://127.0.0.1:0\", \"tcp://127.0.0.2:0\", \"unix://p.sock\"]\n")
        .add("[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nplain = [\"tcp://127.0.0.2:0\"]\n")
        .file("cert.pem", pair.cert.as_bytes())
        .file("key.pem", pair.key.as_bytes())
        .under(&AS_CONFIGURED)
        .start();
    let lines = daemon.log.lines(2, "listening on tcp://");
    let clear = lines.iter().find_map(|line| line.split_once("tcp://127.0.0.2:")).unwrap().1;
    let mut plain = Client::to(format!("127.0.0.2:{clear}").parse().unwrap());

    let sent = plain.get("/gone?x=1");

    assert_eq!((sent.status(), sent.field("location")), (308, Some("https://test/gone?x=1")));
    assert_eq!(plain.ask("POST", "/nowhere", "").status(), 308);
    assert_eq!(plain.get("/healthz").status(), 200);
    assert_eq!(Client::unix(&daemon.path("p.sock")).get("/gone").status(), 410);
    let told = explain(&daemon, "GET", "/gone");
    assert!(told["why"].as_str().unwrap().ends_with("in clear is redirected to https:"), "{told}");
}

#[test]
fn the_scheme_that_decides_is_that_of_a_trusted_proxy_and_nobody_elses() {
    let pair = Authority::usual().server(&["127.0.0.1", "localhost"]);
    let daemon = Setup::new(&format!("https = \"redirect\"\ntrusted_proxies = [\"127.0.0.3\"]\n{ROUTES}"))
        .prepend("listen = [\"tcp://127.0.0.2:0\", \"tcp://127.0.0.1:0\"]\n")
        .add("[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nplain = [\"tcp://127.0.0.1:0\"]\n")
        .file("cert.pem", pair.cert.as_bytes())
        .file("key.pem", pair.key.as_bytes())
        .under(&AS_CONFIGURED)
        .start();
    let line = daemon.log.line("listening on tcp://127.0.0.1:");
    let clear: u16 = line.rsplit_once(':').unwrap().1.parse().unwrap();
    let ask = |last: u8, fields: &str| {
        Client::tcp_from(Ipv4Addr::new(127, 0, 0, last), clear).ask("GET", "/gone", fields).status()
    };

    for (fields, of_proxy) in [
        ("", 308),
        ("X-Forwarded-Proto: https\r\n", 410),
        ("Forwarded: for=203.0.113.7;proto=https\r\n", 410),
        ("X-Forwarded-Proto: http\r\n", 308),
        // The nearest proxy wrote the last one.
        ("X-Forwarded-Proto: https, http\r\n", 308),
    ] {
        assert_eq!((ask(3, fields), ask(4, fields)), (of_proxy, 308), "{fields}");
    }
}
