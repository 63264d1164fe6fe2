//! Gates: the built-in ones, handlers as gates, and what clients try.

use std::fs;
use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::Value;

use crate::harness::{Client, Daemon, Ended, PATIENCE, Program, Response, Setup, finish, guests, portcullis};

/// `/env` lists its variables, and has these gates.
fn setup(before: &str, gates: &str) -> Setup {
    Setup::new("access_log = true\nadmin = \"unix://admin.sock\"\n")
        .handler("env", "", &Program::text().environment().wasm())
        .add(&format!("before = [{before}]\n{gates}"))
}

fn variable<'r>(response: &'r Response, name: &str) -> &'r str {
    let variables = response.text().split_terminator('\0');
    variables.filter_map(|variable| variable.strip_prefix(name)?.strip_prefix('=')).next().unwrap_or("-")
}

/// `REMOTE_USER AUTH_TYPE GATE_ROLE`, as the handler sees them.
fn told(response: &Response) -> String {
    assert_eq!(response.status(), 200, "{}", response.head);
    ["REMOTE_USER", "AUTH_TYPE", "GATE_ROLE"].map(|name| variable(response, name)).join(" ")
}

/// A gate that says this.
fn gate(says: &str) -> Vec<u8> {
    Program::new().say(says).wasm()
}

fn check(setup: &Setup) -> Ended {
    finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE)
}

fn explained(daemon: &Daemon, path: &str) -> Value {
    serde_json::from_slice(&daemon.verb(&["explain", "GET", path, "--json"]).stdout).unwrap()
}

#[test]
fn an_address_passes_or_gets_a_403() {
    let gates = "[gate.office]\nkind = \"addresses\"\nallow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.3\"]\n";
    let setup = setup("\"office\"", gates);
    let socket = format!("unix://{}", setup.path("web.sock").display());
    let daemon = setup.host("tcp://127.0.0.1:0").host(socket).start();
    let from = |last: u8| Client::tcp_from(Ipv4Addr::new(127, 0, 0, last), daemon.port()).get("/env");

    assert_eq!(told(&from(2)), "- - -");
    let refused = from(3);
    assert_eq!((refused.status(), refused.text()), (403, "access denied\n"));
    assert!(daemon.log.line("-> 403").contains("(access_denied)"), "{}", daemon.log.text());
    assert_eq!(Client::unix(&daemon.path("web.sock")).get("/env").status(), 403, "no address is allowed");
    assert_eq!(explained(&daemon, "/env")["route"]["before"], serde_json::json!(["office (addresses)"]));
}

#[test]
fn redirects_and_files_are_guarded_too() {
    let routes = "[gate.office]\nkind = \"addresses\"\ndeny = [\"127.0.0.3\"]\n\
                  [[route]]\npath = \"/old\"\nredirect = \"/env\"\nbefore = [\"office\"]\n\
                  [[route]]\npath = \"/older\"\nrewrite = \"/old\"\n\
                  [[route]]\npath = \"/once\"\nrespond = { body = \"x\" }\nlimit = { rate = \"1/h\" }\n\
                  [[route]]\npath = \"/files/{*path}\"\nstatic = { dir = \"public\" }\nbefore = [\"office\"]\n";
    let setup = setup("", routes);
    fs::create_dir(setup.path("public")).unwrap();
    let daemon = setup.file("public/a.txt", b"a").host("tcp://127.0.0.1:0").start();
    let from = |last: u8, path: &str| {
        Client::tcp_from(Ipv4Addr::new(127, 0, 0, last), daemon.port()).get(path).status()
    };

    for (path, passed) in [("/old", 302), ("/older", 302), ("/files/a.txt", 200)] {
        assert_eq!((from(2, path), from(3, path)), (passed, 403), "{path}");
    }
    assert_eq!((from(2, "/once"), from(2, "/once"), from(4, "/once")), (200, 429, 200));
}

#[test]
fn a_password_names_the_user_and_nothing_else_passes() {
    let users = format!("ada:{}", bcrypt::hash("lovelace", 4).unwrap());
    let daemon = setup("\"staff\"", "[gate.staff]\nkind = \"basic\"\nusers_file = \"users\"\n")
        .file("users", format!("# staff\n{users}").as_bytes())
        .start();
    let mut client = daemon.client();
    let mut ask = |fields: &str| client.ask("GET", "/env", fields);

    // "ada:lovelace"
    assert_eq!(
        told(&ask("Authorization: Basic YWRhOmxvdmVsYWNl\r\nRemote-User: root\r\nGate-Role: x\r\n")),
        "ada Basic -"
    );
    assert_eq!(told(&ask("Authorization: basic YWRhOmxvdmVsYWNl\r\n")), "ada Basic -", "from the cache");
    for (what, fields) in [
        ("none", ""),
        ("ada:byron", "Authorization: Basic YWRhOmJ5cm9u\r\n"),
        ("bob:lovelace", "Authorization: Basic Ym9iOmxvdmVsYWNl\r\n"),
        ("ada:", "Authorization: Basic YWRhOg==\r\n"),
        ("no colon", "Authorization: Basic YWRh\r\n"),
        ("no base64", "Authorization: Basic !!!\r\n"),
        ("another scheme", "Authorization: Bearer YWRhOmxvdmVsYWNl\r\n"),
        ("two fields", "Authorization: Basic YWRhOmxvdmVsYWNl\r\nAuthorization: Basic YWRhOmxvdmVsYWNl\r\n"),
    ] {
        let refused = ask(fields);
        assert_eq!(refused.status(), 401, "{what}");
        assert_eq!(
            refused.field("www-authenticate"),
            Some("Basic realm=\"staff\", charset=\"UTF-8\""),
            "{what}"
        );
    }
}

#[test]
fn a_token_names_its_subject_and_forged_ones_get_a_401() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let gates =
        "[gate.api]\nkind = \"jwt\"\nalgorithms = [\"HS256\"]\nsecret = \"secret\"\nissuer = \"us\"\n";
    let daemon = setup("\"api\"", gates).file("secret", secret).start();
    let ask = |token: &str| daemon.client().ask("GET", "/env", &format!("Authorization: Bearer {token}\r\n"));
    let token = |alg: &str, issuer: &str, end: u64, secret: &[u8]| {
        let body = serde_json::json!({"sub": "ada", "iss": issuer, "exp": end});
        let parts = [serde_json::json!({"alg": alg}), body].map(|part| BASE64.encode(part.to_string()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let message = parts.join(".");
        format!("{message}.{}", BASE64.encode(ring::hmac::sign(&key, message.as_bytes())))
    };
    let far = 4_102_444_800;

    assert_eq!(told(&ask(&token("HS256", "us", far, secret))), "ada Bearer -");
    for (what, forged) in [
        ("no algorithm", token("none", "us", far, secret)),
        ("another algorithm", token("HS512", "us", far, secret)),
        ("another secret", token("HS256", "us", far, b"another secret")),
        ("another issuer", token("HS256", "them", far, secret)),
        ("expired", token("HS256", "us", 1, secret)),
        ("nonsense", "x.y.z".to_owned()),
    ] {
        let refused = ask(&forged);
        assert_eq!(refused.status(), 401, "{what}");
        assert_eq!(
            refused.field("www-authenticate"),
            Some("Bearer realm=\"api\", error=\"invalid_token\""),
            "{what}"
        );
    }
    assert_eq!(daemon.get("/env").field("www-authenticate"), Some("Bearer realm=\"api\""));
}

#[test]
fn a_handler_lets_pass_or_answers_and_tells_what_clients_cannot() {
    let passes = "Status: 204\nRemote-User: ada\nGate-Role: admin\nSet-Cookie: s=1\nX-Other: no\n\n";
    let answers = "Status: 302\nLocation: https://login.example/\nSet-Cookie: t=2\n\n";
    let daemon = setup("\"opens\"", "")
        .handler("opens", "", &gate(passes))
        .handler("sends", "", &gate(answers))
        .handler("both", "", &Program::text().environment().wasm())
        .add("before = [\"opens\", \"sends\"]\n")
        .start();
    let forged = "Remote-User: root\r\nGate-Role: root\r\nAuth-Type: x\r\nPortcullis-Remote-User: root\r\n";

    let passed = daemon.client().ask("GET", "/env", forged);
    let answered = daemon.client().ask("GET", "/both", forged);

    assert_eq!(told(&passed), "ada opens admin");
    assert_eq!(variable(&passed, "HTTP_REMOTE_USER"), "root", "the client's field is a field of the client");
    assert_eq!((passed.field("set-cookie"), passed.field("x-other")), (Some("s=1"), None));
    assert_eq!((answered.status(), answered.field("location")), (302, Some("https://login.example/")));
    let cookies: Vec<&str> = answered.head.lines().filter(|line| line.starts_with("set-cookie")).collect();
    assert_eq!(cookies, ["set-cookie: t=2", "set-cookie: s=1"], "those of the gate before it too");
    assert_eq!(passed.field("cache-control"), Some("private"));
    assert!(daemon.log.line("GET /both -> 302").contains("sends@"), "{}", daemon.log.text());
    let gates = &explained(&daemon, "/both")["route"]["before"];
    assert_eq!(*gates, serde_json::json!(["opens (handler)", "sends (handler)"]));
}

#[test]
fn a_gate_removes_and_sets_fields_for_the_handler_and_for_the_client() {
    let says = "Status: 204\nRemove-Fields: Authorization, Cookie\nResponse-X-User: ada\n\
                Remove-Response-Fields: Server\n\n";
    let named = Program::new().say("Content-Type: text/plain\nServer: guest\nX-User: me\n\n").wasm();
    let component = fs::read(guests().join("proxy.wasm")).unwrap();
    let daemon = setup("\"opens\"", "")
        .handler("named", "", &named)
        .add("before = [\"opens\"]\n")
        .handler("opens", "", &gate(says))
        .add("[handler.p]\nmodule = \"p.wasm\"\n[[route]]\npath = \"/{verb}\"\nhandler = \"p\"\nbefore = [\"opens\"]\n")
        .file("p.wasm", &component)
        .start();
    let sent = "Authorization: Basic YWRhOng=\r\nCookie: s=1\r\nX-Kept: yes\r\nRemove-Fields: X-Kept\r\n";
    let ask = |path: &str| daemon.client().ask("GET", path, sent);

    let (program, component, named) = (ask("/env"), ask("/facts"), ask("/named"));

    let seen = ["HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_X_KEPT"].map(|name| variable(&program, name));
    assert_eq!(seen, ["-", "-", "yes"]);
    let fields = ["authorization", "cookie", "x-kept"].map(|name| format!("field {name}: "));
    let seen = fields.map(|field| component.text().lines().any(|line| line.starts_with(&field)));
    assert_eq!(seen, [false, false, true], "{}", component.text());
    assert_eq!((named.field("server"), named.field("x-user")), (None, Some("ada")));
    assert_eq!((program.field("x-user"), program.field("cache-control")), (Some("ada"), Some("private")));
}

#[test]
fn a_gate_that_fails_is_an_error_and_never_a_pass() {
    let pass = "Status: 204\n\n";
    let flood = format!("Status: 200\nContent-Type: text/plain\n\n{}", "x".repeat(60_000));
    for (what, program, settings, status) in [
        ("traps", Program::new().trap(), "", 502),
        ("traps after its head", Program::new().say(pass).trap(), "", 502),
        ("exits with 1 after its head", Program::new().say(pass).exit(1), "", 502),
        ("says nothing", Program::new(), "", 502),
        ("says nonsense", Program::new().say("pass\n"), "", 502),
        (
            "traps within its body",
            Program::new().say("Status: 200\nContent-Type: text/plain\n\nok").trap(),
            "",
            502,
        ),
        ("says too much", Program::new().say(&flood).say(&"x".repeat(10_000)), "", 502),
        ("takes too long", Program::new().sleep_for_ever(), "limits.time = \"200ms\"", 504),
    ] {
        let daemon = setup("\"fails\"", "").handler("fails", settings, &program.wasm()).start();

        let response = daemon.get("/env");

        assert_eq!(response.status(), status, "{what}: {}", response.text());
        assert!(!response.text().contains("REMOTE_ADDR"), "{what}: {}", response.text());
    }
}

#[test]
fn the_body_stays_for_the_handler_and_a_gate_sees_none() {
    let daemon = Setup::new("")
        .handler("echo", "", &Program::text().echo().wasm())
        .add("before = [\"looks\"]\n")
        .handler("looks", "", &Program::new().say("Status: 204\n\n").swallow().wasm())
        .start();

    let response = daemon.client().submit("POST", "/echo", "", b"the body");

    assert_eq!((response.status(), response.text()), (200, "the body"));
}

#[test]
fn a_component_is_a_gate_and_sees_the_gates_before_it() {
    let component = fs::read(guests().join("proxy.wasm")).unwrap();
    let daemon = Setup::new("")
        .handler("names", "", &gate("Status: 204\nRemote-User: ada\nGate-Role: admin\n\n"))
        .add("[handler.p]\nmodule = \"p.wasm\"\n[[route]]\npath = \"/{verb}\"\nhandler = \"p\"\nbefore = [\"names\"]\n")
        .file("p.wasm", &component)
        .handler("env", "", &Program::text().environment().wasm())
        .add("[[route]]\npath = \"/status/{code}\"\nhandler = \"env\"\nbefore = [\"p\"]\n")
        .start();

    let seen = daemon.client().ask("GET", "/facts", "Portcullis-Remote-User: root\r\n");
    let refused = daemon.get("/status/403");

    for line in [
        "field portcullis-remote-user: ada",
        "field portcullis-auth-type: names",
        "field portcullis-gate-role: admin",
    ] {
        assert!(seen.text().lines().any(|found| found == line), "{line} in {}", seen.text());
    }
    assert_eq!(refused.status(), 403, "the answer of the component");
    assert_eq!(daemon.get("/status/200").status(), 200, "it lets the request pass");
}

#[test]
fn a_gate_of_all_routes_spares_its_own_page_and_changes_with_a_swap() {
    let login = gate("Status: 401\nContent-Type: text/plain\n\nlog in at /login\n");
    let daemon = setup("", "").prepend("before = [\"login\"]\n").handler("login", "", &login).start();
    assert_eq!(daemon.get("/env").status(), 401);
    assert_eq!(daemon.get("/login").text(), "log in at /login\n");
    fs::write(daemon.path("next.wasm"), gate("Status: 204\nRemote-User: bob\n\n")).unwrap();
    let mut swap = portcullis();
    swap.args(["swap", "login"]).arg(daemon.path("next.wasm")).arg("--socket").arg(daemon.path("admin.sock"));

    let ended = finish(&mut swap, b"", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(told(&daemon.get("/env")), "bob login -");
}

#[test]
fn a_cookie_of_a_gate_is_not_lost_with_a_refusal_or_a_failure() {
    let daemon =
        setup("\"renews\", \"nobody\"", "[gate.nobody]\nkind = \"addresses\"\nallow = [\"192.0.2.1\"]\n")
            .handler("renews", "", &gate("Status: 204\nSet-Cookie: s=2\n\n"))
            .handler("fails", "", &Program::new().trap().wasm())
            .add("before = [\"renews\"]\n")
            .start();

    for (path, status) in [("/env", 403), ("/fails", 502)] {
        let response = daemon.get(path);
        assert_eq!((response.status(), response.field("set-cookie")), (status, Some("s=2")), "{path}");
    }
}

#[test]
fn an_empty_segment_or_its_escape_leads_round_no_gate() {
    let routes = "[[route]]\npath = \"/{*rest}\"\nhandler = \"env\"\n[[route]]\npath = \"/admin/{*rest}\"\nhandler = \"env\"\n\
                  before = [\"nobody\"]\n[gate.nobody]\nkind = \"addresses\"\nallow = [\"192.0.2.1\"]\n";
    let setup = setup("", routes);
    let said = check(&setup).stderr;
    assert!(
        said.contains("warning: handler.env answers \"/admin/{*rest}\" behind gates and \"/\" with a tail"),
        "{said}"
    );
    let daemon = setup.start();

    for path in ["/admin/x", "/admin%2Fx", "/%61dmin/x", "/admin/"] {
        assert_eq!(daemon.get(path).status(), 403, "{path}");
    }
    for path in ["//admin/x", "/%2Fadmin/x", "///admin//x"] {
        let refused = daemon.get(path);
        assert_eq!(refused.status(), 400, "{path}");
        assert!(refused.text().contains("empty segment"), "{}", refused.text());
        assert_eq!(explained(&daemon, path)["status"], 400, "{path}");
    }
    assert_eq!((daemon.get("//x").status(), daemon.get("/x//y").status()), (200, 200));
}

#[test]
fn a_limit_counts_before_a_gate() {
    let gates = "limit = { rate = \"1/h\", burst = 2 }\n[gate.nobody]\nkind = \"addresses\"\nallow = [\"192.0.2.1\"]\n";
    let daemon = setup("\"nobody\"", gates).start();
    let mut client = daemon.client();

    let statuses: Vec<u16> = (0..3).map(|_| client.get("/env").status()).collect();

    assert_eq!(statuses, [403, 403, 429]);
}

#[test]
fn what_cannot_be_a_gate_is_refused_with_what_can() {
    for (before, gates, wanted) in [
        ("\"x\"", "", "route[0].before[0]: there is no gate \"x\": add [gate.x], or name a handler"),
        ("\"enw\"", "", "route[0].before[0]: there is no gate \"enw\"; did you mean \"env\"?"),
        ("\"env\"", "", "route[0].before: a handler cannot be the gate of its own route"),
        (
            "",
            "[gate.env]\nkind = \"addresses\"\nallow = [\"::1\"]\n",
            "gate.env: a handler has this name too",
        ),
        ("", "[gate.g]\n", "gate.g: the key kind is missing"),
        ("", "[gate.g]\nkind = \"ldap\"\n", "gate.g.kind: wanted \"addresses\", \"basic\""),
        ("", "[gate.g]\nkind = \"addresses\"\n", "gate.g: lets everybody pass"),
        ("", "[gate.g]\nkind = \"addresses\"\nallow = []\n", "gate.g.allow: an empty list: name a network"),
        ("", "[gate.g]\nkind = \"addresses\"\nallow = [\"::1\"]\ndeny = []\n", "gate.g.deny: an empty list"),
        (
            "",
            "[gate.g]\nkind = \"addresses\"\nallow = [\"::1\"]\nusers = {}\n",
            "gate.g.users: is no key of kind = \"addresses\"",
        ),
        ("", "[gate.g]\nkind = \"basic\"\n", "gate.g: lets nobody pass"),
        (
            "",
            "[gate.g]\nkind = \"basic\"\nusers = { ada = \"lovelace\" }\n",
            "gate.g.users.ada: wanted a hash of Argon2",
        ),
        ("", "[gate.g]\nkind = \"basic\"\nusers_file = \"none\"\n", "gate.g.users_file: /"),
        ("", "[gate.g]\nkind = \"basic\"\nusers_file = \"users\"\n", "/users:3: wanted a hash of Argon2"),
        (
            "",
            "[gate.g]\nkind = \"jwt\"\nalgorithms = [\"none\"]\n",
            "gate.g.algorithms[0]: wanted HS256 to HS512",
        ),
        (
            "",
            "[gate.g]\nkind = \"jwt\"\nalgorithms = [\"RS256\"]\n",
            "gate.g: wanted one of key, secret and jwks",
        ),
        (
            "",
            "[gate.g]\nkind = \"jwt\"\nalgorithms = [\"HS256\"]\nsecret = \"short\"\n",
            "wanted 32 at least",
        ),
    ] {
        let said =
            check(&setup(before, gates).file("short", b"short").file("users", b"# staff\n\nada:x\n")).stderr;
        assert!(said.contains(wanted), "{before} {gates}: {said}");
    }
    let broken = setup("\"g\"", "[gate.g]\nkind = \"ldap\"\n");
    let said = check(&broken).stderr;
    assert!(!said.contains("there is no gate"), "a gate with a mistake is there: {said}");
    let raw = setup("\"raw\"", "").handler("raw", "output = \"raw\"", &gate("x"));
    let said = check(&raw).stderr;
    assert!(said.contains("the handler \"raw\" has output = \"raw\", which has no status"), "{said}");
}
