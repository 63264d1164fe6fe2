//! Rate limits: what passes, what clients are told, and a flood of clients.

use std::fs;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::harness::frames::{Frames, block, flag, frame, kind};
use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, finish, portcullis};

/// `/a` has a limit of its own, `/b` and `/c` one of their handler.
fn setup() -> Setup {
    let hello = Program::text().say("hello\n").wasm();
    Setup::new(
        "admin = \"unix://admin.sock\"\naccess_log = true\n[handler.one]\nmodule = \"one.wasm\"\n\
         [handler.two]\nmodule = \"two.wasm\"\nlimit = { rate = \"2/h\", by = \"header:x-key\" }\n\
         [[route]]\npath = \"/a\"\nhandler = \"one\"\nlimit = { rate = \"1/h\", burst = 3 }\n\
         [[route]]\npath = \"/b\"\nhandler = \"two\"\n[[route]]\npath = \"/c\"\nhandler = \"two\"\n\
         limit = { rate = \"1/h\", by = \"all\" }\n[[route]]\npath = \"/free\"\nhandler = \"one\"\n",
    )
    .file("one.wasm", &hello)
    .file("two.wasm", &hello)
}

fn admin(daemon: &Daemon, args: &[&str]) -> Value {
    let ended = daemon.verb(&[args, &["--json"]].concat());
    serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr))
}

#[test]
fn a_burst_passes_and_the_rest_is_told_when_to_come_back() {
    let daemon = setup().start();
    let mut client = daemon.client();

    let passed: Vec<_> = (0..3).map(|_| client.get("/a")).collect();
    let refused = client.get("/a");

    for (left, response) in [2, 1, 0].into_iter().zip(&passed) {
        assert_eq!(response.status(), 200);
        assert_eq!(response.field("ratelimit-policy"), Some("\"route\";q=3;w=10800"));
        assert!(
            response.field("ratelimit").unwrap().starts_with(&format!("\"route\";r={left};t=")),
            "{}",
            response.head
        );
    }
    assert_eq!(refused.status(), 429);
    let after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&after), "{after}");
    assert_eq!(refused.field("ratelimit"), Some(format!("\"route\";r=0;t={after}").as_str()));
    assert_eq!(refused.field("ratelimit-policy"), Some("\"route\";q=3;w=10800"));
    assert!(refused.text().contains("too many requests"), "{}", refused.text());
    assert!(daemon.log.line("-> 429").contains("(rate_limited)"), "{}", daemon.log.text());
    // The connection stays, and other routes and addresses are not limited.
    assert_eq!(client.get("/free").field("ratelimit"), None);
    assert_eq!(Client::tcp_from(Ipv4Addr::new(127, 0, 0, 3), daemon.port()).get("/a").status(), 200);
}

#[test]
fn a_limit_of_a_handler_counts_all_its_routes_by_a_field() {
    let daemon = setup().start();
    let ask = |path: &str, key: &str| daemon.client().ask("GET", path, &format!("X-Key: {key}\r\n"));

    let both = ask("/c", "k");

    assert_eq!(both.status(), 200);
    let told: Vec<&str> = both.head.lines().filter(|line| line.starts_with("ratelimit-policy")).collect();
    assert_eq!(told, ["ratelimit-policy: \"route\";q=1;w=3600", "ratelimit-policy: \"handler\";q=2;w=3600"]);
    assert_eq!((ask("/b", "k").status(), ask("/b", "k").status()), (200, 429));
    assert_eq!(ask("/b", "other").status(), 200);
    assert_eq!(ask("/c", "third").status(), 429, "the route is limited for all");
}

#[test]
fn preflights_do_not_count_and_pages_can_read_the_refusal() {
    let daemon = setup().add("[cors]\norigins = [\"https://app.example\"]\n").start();
    let mut client = daemon.client();
    let origin = "Origin: https://app.example\r\n";
    let preflight = format!("{origin}Access-Control-Request-Method: GET\r\n");
    for _ in 0..5 {
        assert_eq!(client.ask("OPTIONS", "/a", &preflight).status(), 204);
    }
    for _ in 0..3 {
        assert_eq!(client.ask("GET", "/a", origin).status(), 200);
    }

    let refused = client.ask("GET", "/a", origin);

    assert_eq!(refused.status(), 429);
    assert_eq!(refused.field("access-control-allow-origin"), Some("https://app.example"));
}

#[test]
fn a_reload_keeps_the_state_of_an_unchanged_limit_and_shows_the_change_of_another() {
    let daemon = setup().start();
    let file = daemon.path("portcullis.toml");
    let change = |from: &str, to: &str| {
        fs::write(&file, fs::read_to_string(&file).unwrap().replace(from, to)).unwrap();
        admin(&daemon, &["reload"])
    };
    let mut client = daemon.client();
    let statuses: Vec<u16> = (0..4).map(|_| client.get("/a").status()).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);

    let told = change("rate = \"2/h\"", "rate = \"5/h\"");

    assert_eq!(client.get("/a").status(), 429, "the limit of the route has not changed");
    assert!(told.to_string().contains("limit of the handler 5/h, burst 5, by header:x-key"), "{told}");
    change("burst = 3", "burst = 4");
    assert_eq!(client.get("/a").status(), 200, "another limit starts afresh");
}

#[test]
fn a_limit_by_user_counts_who_has_passed_the_gates_wherever_they_come_from() {
    let users = ["ada", "bob"].map(|name| format!("{name}:{}", bcrypt::hash("x", 4).unwrap())).join("\n");
    let daemon = Setup::new("[gate.staff]\nkind = \"basic\"\nusers_file = \"users\"\n")
        .file("users", users.as_bytes())
        .handler("one", "limit = { rate = \"2/h\", by = \"all\" }", &Program::text().say("hello\n").wasm())
        .add("before = [\"staff\"]\nlimit = { rate = \"1/h\", by = \"user\" }\n")
        .host("tcp://127.0.0.1:0")
        .start();
    let ask = |last: u8, credentials: &str| {
        let mut client = Client::tcp_from(Ipv4Addr::new(127, 0, 0, last), daemon.port());
        client.ask("GET", "/one", &format!("Authorization: Basic {credentials}\r\n"))
    };
    // "ada:x", "bob:x" and "eve:x".
    let [ada, bob, eve] = ["YWRhOng=", "Ym9iOng=", "ZXZlOng="];

    // Neither limit counts who does not pass.
    assert!((0..5).all(|_| ask(2, eve).status() == 401));
    let first = ask(2, ada);
    assert_eq!((first.status(), ask(3, ada).status()), (200, 429));
    assert_eq!((ask(2, bob).status(), ask(2, bob).status()), (200, 429));
    let told: Vec<&str> = first.head.lines().filter(|line| line.starts_with("ratelimit-policy")).collect();
    assert_eq!(told, ["ratelimit-policy: \"route\";q=1;w=3600", "ratelimit-policy: \"handler\";q=2;w=3600"]);
}

#[test]
fn the_addresses_of_one_network_of_ipv6_count_together_and_those_of_ipv4_do_not() {
    let route = "[[route]]\npath = \"/\"\nrespond = { body = \"x\" }\nlimit = { rate = \"1/h\" }\n";
    let daemon = Setup::new(&format!("trusted_proxies = [\"127.0.0.1\"]\n{route}")).start();
    let mut client = daemon.client();

    for (address, wanted) in [
        ("2001:db8:1:2::1", 200),
        ("2001:db8:1:2:ffff::9", 429),
        ("[2001:db8:1:2::3]:4711", 429),
        ("2001:db8:1:3::1", 200),
        ("::ffff:203.0.113.7", 200),
        ("::ffff:203.0.113.8", 200),
        ("203.0.113.7", 429),
    ] {
        let response = client.ask("GET", "/", &format!("X-Forwarded-For: {address}\r\n"));
        assert_eq!(response.status(), wanted, "{address}");
    }
}

#[test]
fn a_flood_of_keys_takes_no_more_memory() {
    // The limit of the route counts every key. That of the handler then refuses, so that no jobs are measured.
    let daemon = Setup::one("limit = { rate = \"1/d\", by = \"all\" }", &Program::text().wasm())
        .add("limit = { rate = \"1/h\", by = \"header:x-key\" }\n")
        .start();
    let mut client = daemon.client();
    assert_eq!(client.get("/").status(), 200);
    let mut flood = |keys: std::ops::Range<u32>| {
        // Pipelined, so that the keys come as fast as the daemon takes them.
        for chunk in keys.collect::<Vec<_>>().chunks(500) {
            let requests: String = chunk
                .iter()
                .map(|key| format!("GET / HTTP/1.1\r\nHost: test\r\nX-Key: {key}\r\n\r\n"))
                .collect();
            client.send(requests);
            for _ in chunk {
                assert_eq!(client.response().status(), 429);
            }
        }
    };
    flood(0..10_000);
    let before = daemon.status("VmRSS");

    flood(10_000..20_000);

    let after = daemon.status("VmRSS");
    assert!(after < before + 8 * 1024, "{before} KiB grew to {after} KiB");
}

#[test]
fn limits_are_explained_and_checked() {
    let daemon = setup().start();
    let explained = admin(&daemon, &["explain", "GET", "/c"]);
    assert_eq!(
        explained["route"]["limits"],
        serde_json::json!([
            "1/h, burst 1, by all (route * /c)",
            "2/h, burst 2, by header:x-key (handler two)"
        ])
    );
    let check = |limit: &str| {
        let setup = Setup::one("", b"").add(&format!("limit = {limit}\n"));
        finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE).stderr
    };

    for (limit, wanted) in [
        ("{ rate = \"0/s\" }", "route[0].limit.rate: wanted a rate from \"1/d\" to \"1000000/s\""),
        ("{ burst = 3 }", "route[0].limit: the key rate is missing: write rate = \"10/s\""),
        ("{ rate = \"1/s\", burst = 0 }", "route[0].limit.burst: wanted a whole number from 1 to 1000000"),
        (
            "{ rate = \"1/d\", burst = 1000 }",
            "route[0].limit.burst: a burst of 1000 at 1/d takes more than a year",
        ),
        (
            "{ rate = \"1/s\", by = \"ip\" }",
            "route[0].limit.by: wanted \"address\", \"user\", \"header:NAME\" or \"all\"",
        ),
        ("\"10/s\"", "route[0].limit: wanted a table"),
        (
            "{ rate = \"1/s\", by = \"user\" }",
            "route.limit.by: by = \"user\" counts nobody on the route \"/\"",
        ),
    ] {
        let said = check(limit);
        assert!(said.contains(wanted), "{limit}: {said}");
    }
    let idle = Setup::new("[handler.x]\nmodule = \"x.wasm\"\nlimit = { rate = \"1/s\" }\n")
        .file("x.wasm", &Program::text().wasm());
    let said = finish(portcullis().arg("check").current_dir(idle.path("")), b"", PATIENCE).stderr;
    assert!(
        said.contains("warning: handler.x.limit counts nothing: no route leads to the handler"),
        "{said}"
    );
    let mistaken = Setup::new(
        "[handler.x]\nmodule = \"x.wasm\"\nlimit = { rate = \"1/s\" }\n\
         [[route]]\npath = \"/\"\nhandler = \"x\"\nmethods = [\"get\"]\n",
    )
    .file("x.wasm", &Program::text().wasm());
    let said = finish(portcullis().arg("check").current_dir(mistaken.path("")), b"", PATIENCE).stderr;
    assert!(said.contains("route[0].methods[0]: ") && !said.contains("counts nothing"), "{said}");
    let misheard = Setup::new(
        "listen = [\"tcp:8080\"]\n[[route]]\npath = \"/\"\nrespond = {}\nlimit = { rate = \"1/s\" }\n",
    );
    let said = finish(portcullis().arg("check").current_dir(misheard.path("")), b"", PATIENCE).stderr;
    assert!(said.contains("listen[0]: ") && !said.contains("clients of Unix sockets"), "{said}");
}

#[test]
fn the_host_and_the_cookies_of_http2_count_as_the_fields_of_http1() {
    let routes = "[[route]]\npath = \"/host\"\nrespond = {}\nlimit = { rate = \"1/h\", by = \"header:host\" }\n\
                  [[route]]\npath = \"/cookie\"\nrespond = {}\nlimit = { rate = \"1/h\", by = \"header:cookie\" }\n";
    let daemon = Setup::new(routes).start();
    let ask = |path: &str, fields: &[(&str, &str)]| {
        let all = [&[(":method", "GET"), (":scheme", "http"), (":path", path)], fields].concat();
        let mut connection = Frames::begin(daemon.client(), &[]);
        connection.send(frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block(&all)));
        connection.answer(1).status
    };
    let host = |name: &str| ask("/host", &[(":authority", name)]);
    let cookies = |first: &str, second: &str| {
        ask("/cookie", &[(":authority", "test"), ("cookie", first), ("cookie", second)])
    };

    assert_eq!([host("a.example"), host("b.example"), host("a.example")], [200, 200, 429]);
    assert_eq!([cookies("a=1", "b=2"), cookies("a=1", "b=3"), cookies("a=1", "b=2")], [200, 200, 429]);
    let joined = daemon.client().ask("GET", "/cookie", "Cookie: a=1; b=3\r\n");
    assert_eq!(joined.status(), 429, "the same cookies over HTTP/1");
}

#[test]
fn another_spelling_of_the_host_is_the_same_client() {
    let routes = "[[route]]\npath = \"/\"\nrespond = {}\nlimit = { rate = \"1/h\", burst = 2, by = \"header:host\" }\n";
    let daemon = Setup::new(routes).start();
    let ask = |host: &str| {
        let mut client = daemon.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.response().status()
    };

    assert_eq!(["a.example", "A.Example"].map(ask), [200, 200]);
    assert_eq!(["a.EXAMPLE", "a.example.", "a.example:80", "A.example.:8080"].map(ask), [429; 4]);
    assert_eq!(ask("b.example"), 200);
}
