//! Groups of routes: a prefix, versions, and the responses that they have in common.

use serde_json::{Value, json};

use crate::harness::{Daemon, Program, Response, Setup};

const GROUPS: &str = r#"
admin = "unix://admin.sock"

[group.api]
prefix = "/v{version}"
versions = "1.24..1.41"
errors = "message"
fields = { set = { Api-Version = "1.41" } }

[group.web]
prefix = "/web"
host = "www.example.org"
errors = "json"

[handler.one]
module = "one.wasm"

[[route]]
path = "/info"
group = "api"
methods = ["GET"]
handler = "one"
fields = { set = { X-Own = "yes" } }

[[route]]
path = "/containers/{id}/json"
group = "api"
handler = "one"

[[route]]
path = "/page/{name}"
group = "web"
respond = { body = "page" }
"#;

fn serve() -> Daemon {
    Setup::new(GROUPS).file("one.wasm", &Program::text().environment().wasm()).start()
}

/// Returns a variable of the handler.
fn variable(daemon: &Daemon, target: &str, name: &str) -> String {
    let seen = daemon.get(target);
    let found =
        seen.text().split('\0').find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{name} is not in {:?}", seen.text())).to_owned()
}

#[test]
fn every_version_of_the_range_is_answered_and_none_is_the_newest() {
    let daemon = serve();

    for (target, version) in [("/v1.24/info", "1.24"), ("/v1.41/info", "1.41"), ("/info", "1.41")] {
        assert_eq!(variable(&daemon, target, "API_VERSION"), version, "{target}");
    }
    assert_eq!(variable(&daemon, "/v1.30/containers/7/json", "ROUTE_ID"), "7");
    let answered = daemon.get("/v1.30/info");
    assert_eq!((answered.field("api-version"), answered.field("x-own")), (Some("1.41"), Some("yes")));
}

#[test]
fn a_rewritten_path_of_a_group_is_for_the_version_that_the_client_names() {
    let rewrites = "[[route]]\npath = \"/about\"\ngroup = \"api\"\nrewrite = \"/info\"\n\
                    [[route]]\npath = \"/same\"\ngroup = \"api\"\nrewrite = \"/v1.25/info?a=1\"\n\
                    [[route]]\npath = \"/other\"\ngroup = \"api\"\nrewrite = \"/plain\"\n\
                    [[route]]\npath = \"/plain\"\nrespond = { body = \"plain\" }\n";
    let module = Program::text().environment().wasm();
    let daemon = Setup::new(GROUPS).add(rewrites).file("one.wasm", &module).start();

    for (target, version, uri) in [
        ("/v1.24/about?x=1", "1.24", "/v1.24/info?x=1"),
        ("/about", "1.41", "/info"),
        ("/v1.24/same", "1.25", "/v1.25/info?a=1"),
    ] {
        assert_eq!(variable(&daemon, target, "API_VERSION"), version, "{target}");
        assert_eq!(variable(&daemon, target, "REQUEST_URI"), uri, "{target}");
    }
    assert_eq!(daemon.get("/v1.24/other").text(), "plain");
    assert_eq!(daemon.get("/v1.23/about").status(), 400);
    let told = daemon.verb(&["explain", "GET", "/v1.24/about?x=1", "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["route"]["location"], &told["status"]), (&json!("/v1.24/info"), &Value::Null));
}

#[test]
fn a_rewritten_path_stays_in_a_version_whose_prefix_no_url_can_hold_as_it_is() {
    let group = "[group.odd]\nprefix = \"/caf\u{e9} {version}\"\n\
                 [[route]]\npath = \"/new\"\ngroup = \"odd\"\nhandler = \"one\"\n\
                 [[route]]\npath = \"/old\"\ngroup = \"odd\"\nrewrite = \"/new\"\n";
    let module = Program::text().environment().wasm();
    let daemon = Setup::new(GROUPS).add(group).file("one.wasm", &module).start();

    let target = "/caf%C3%A9%201.2/old";

    assert_eq!(variable(&daemon, target, "API_VERSION"), "1.2");
    assert_eq!(variable(&daemon, target, "REQUEST_URI"), "/caf%C3%A9%201.2/new");
}

#[test]
fn a_gate_of_a_group_stands_in_front_of_its_routes_behind_those_of_all() {
    let gates = "[gate.all]\nkind = \"addresses\"\ndeny = [\"192.0.2.1\"]\n\
                 [gate.nobody]\nkind = \"addresses\"\nallow = [\"192.0.2.1\"]\n";
    let groups = GROUPS.replace("[group.web]\n", "[group.web]\nbefore = [\"nobody\"]\n");
    let module = Program::text().environment().wasm();
    let daemon =
        Setup::new(&groups).prepend("before = [\"all\"]\n").add(gates).file("one.wasm", &module).start();
    let mut client = daemon.client();

    client.send("GET /web/page/x HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
    let page = client.response();

    assert_eq!((page.status(), daemon.get("/info").status()), (403, 200));
    let ended = daemon.verb(&["explain", "GET", "http://www.example.org/web/page/x", "--json"]);
    let explained: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(explained["route"]["before"], json!(["all (addresses)", "nobody (addresses)"]));
}

#[test]
fn version_prefix_is_a_group_of_all_routes_with_every_version() {
    let module = Program::text().environment().wasm();
    let top = Setup::new("version_prefix = true\n").handler("one", "", &module).start();
    let group = Setup::new("[group.all]\nprefix = \"/v{version}\"\n")
        .handler("one", "", &module)
        .add("group = \"all\"\n")
        .start();

    for daemon in [top, group] {
        assert_eq!(variable(&daemon, "/v99.1/one", "API_VERSION"), "99.1");
        assert_eq!(daemon.get("/one").status(), 200);
        assert!(!daemon.get("/one").text().contains("API_VERSION"), "no version is the newest");
    }
    let twice = "version_prefix = true\n[[route]]\npath = \"/v2/x\"\nrespond = {}\n";
    let refused = Setup::new(twice).fail();
    assert!(refused.stderr.contains("route[0].path: begins with a version"), "{}", refused.stderr);
}

#[test]
fn a_version_outside_the_range_is_refused_as_by_docker() {
    let daemon = serve();

    for (version, said) in [
        (
            "1.23",
            "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
        ),
        ("1.42", "client version 1.42 is too new. Maximum supported API version is 1.41"),
        ("2", "client version 2 is too new. Maximum supported API version is 1.41"),
        (
            "1.9",
            "client version 1.9 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
        ),
        (
            "1.99999999999999999999",
            "client version 1.99999999999999999999 is too new. Maximum supported API version is 1.41",
        ),
    ] {
        let refused = daemon.get(&format!("/v{version}/info"));
        assert_eq!((refused.status(), refused.field("content-type")), (400, Some("application/json")));
        assert_eq!(serde_json::from_slice::<Value>(&refused.body).unwrap(), json!({ "message": said }));
        assert_eq!(refused.field("api-version"), Some("1.41"));
    }
    assert_eq!(daemon.get("/v01.030/info").status(), 200, "leading zeros make no difference");
    assert_eq!(daemon.get("/v1.30/web/page/a").status(), 404);
}

#[test]
fn a_version_outside_the_range_is_refused_for_every_method_and_a_page_of_another_site_reads_why() {
    let daemon = Setup::new(GROUPS)
        .add("[cors]\norigins = [\"https://a.example\"]\n")
        .file("one.wasm", &Program::text().environment().wasm())
        .start();
    let ask = |method: &str, target: &str, fields: &str| -> Response {
        daemon.client().ask(method, target, &format!("Origin: https://a.example\r\n{fields}"))
    };

    for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS"] {
        let refused = ask(method, "/v9.9/info", "");
        let granted = refused.field("access-control-allow-origin");
        assert_eq!((refused.status(), granted), (400, Some("https://a.example")), "{method}");
        assert_eq!(refused.field("allow"), None, "{method}");
        if method != "HEAD" {
            assert!(refused.text().contains("client version 9.9 is too new"), "{method}: {}", refused.text());
        }
    }
    assert_eq!(
        (ask("DELETE", "/v1.30/info", "").status(), ask("OPTIONS", "/v1.30/info", "").status()),
        (405, 204)
    );
    // With a refused preflight the page would learn nothing of the version.
    let preflight = ask("OPTIONS", "/v9.9/info", "Access-Control-Request-Method: DELETE\r\n");
    assert_eq!(preflight.status(), 204);
}

#[test]
fn a_prefix_and_a_host_belong_to_every_route_of_a_group() {
    let daemon = serve();
    let mut client = daemon.client();
    let mut ask = |host: &str, target: &str| {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.response().status()
    };

    assert_eq!((ask("www.example.org", "/web/page/a"), ask("h", "/web/page/a")), (200, 404));
    assert_eq!(ask("www.example.org", "/page/a"), 404);
}

#[test]
fn an_answer_below_a_prefix_has_the_fields_and_the_form_of_its_group_if_no_route_gives_it() {
    let daemon = serve();
    let mut client = daemon.client();
    let mut ask = |method: &str, host: &str, target: &str| {
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.response()
    };
    let keys = |response: &Response| -> Vec<String> {
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        body.as_object().map(|body| body.keys().cloned().collect()).unwrap_or_default()
    };

    let denied = ask("POST", "h", "/v1.30/info");
    assert_eq!((denied.status(), denied.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!((denied.field("api-version"), denied.field("x-own")), (Some("1.41"), Some("yes")));
    assert_eq!(keys(&denied), ["message"]);
    let options = ask("OPTIONS", "h", "/v1.30/info");
    assert_eq!((options.status(), options.field("allow")), (204, denied.field("allow")));
    assert_eq!(options.field("api-version"), Some("1.41"));
    let absent = ask("GET", "h", "/v1.30/nowhere");
    assert_eq!((absent.status(), absent.field("api-version")), (404, Some("1.41")));
    assert_eq!(
        (keys(&absent), absent.field("content-type")),
        (vec!["message".into()], Some("application/json"))
    );
    let page = ask("GET", "www.example.org", "/web/nowhere");
    assert_eq!(page.status(), 404);
    assert!(keys(&page).iter().any(|key| key == "error"), "{}", page.text());
    for (host, target) in [("h", "/nowhere"), ("h", "/web/nowhere"), ("www.example.org", "/website")] {
        let other = ask("GET", host, target);
        assert_eq!((other.status(), keys(&other)), (404, Vec::new()), "{host}{target}");
        assert_eq!(other.field("api-version"), None, "{host}{target}");
    }
}

#[test]
fn explain_tells_the_versions_and_what_happens_to_responses() {
    let daemon = serve();
    let explain = |url: &str| -> Value {
        serde_json::from_slice(&daemon.verb(&["explain", "GET", url, "--json"]).stdout).unwrap()
    };

    let told = explain("/v1.30/info");
    assert_eq!((&told["route"]["group"], &told["route"]["api_version"]), (&json!("api"), &json!("1.30")));
    assert_eq!(told["route"]["responses"], json!("errors message, fields api-version x-own"));
    let told = explain("/v1.2/info");
    assert_eq!(
        (&told["status"], &told["why"]),
        (&json!(400), &json!("the group of the route supports the versions 1.24..1.41"))
    );
    for (url, wanted) in [
        (
            "http://www.example.org/web/none",
            "no route matches this host and path; the 404 is that of the group web",
        ),
        ("/none", "no route matches this host and path"),
    ] {
        let told = explain(url);
        assert_eq!((&told["status"], &told["why"]), (&json!(404), &json!(wanted)), "{url}");
    }
}
