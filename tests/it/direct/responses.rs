//! Changed fields, error pages and rewritten paths.

use serde_json::{Value, json};

use crate::harness::{Program, Setup};

fn guest() -> Vec<u8> {
    Program::new().say("Content-Type: text/plain\nServer: guest\nVary: Cookie\n\n").environment().wasm()
}

/// One handler at `/a/{*rest}`, with settings for its route.
fn serve(settings: &str) -> Setup {
    Setup::new(&format!(
        "[handler.one]\nmodule = \"one.wasm\"\n[[route]]\npath = \"/a/{{*rest}}\"\nhandler = \"one\"\n{settings}\n"
    ))
    .file("one.wasm", &guest())
}

#[test]
fn fields_are_changed_on_every_response_of_a_route() {
    let fields = "methods = [\"GET\"]\nfields = { remove = [\"server\"], set = { X-Frame-Options = \"DENY\" }, \
                  add = { Vary = \"Accept\" } }";
    let daemon = serve(fields)
        .add("[[route]]\npath = \"/f/{*rest}\"\nstatic = { dir = \"public\" }\nfields.set = { X-Robots-Tag = \"none\" }\n");
    std::fs::create_dir(daemon.path("public")).unwrap();
    let daemon = daemon.start();

    let answered = daemon.get("/a/b");

    assert_eq!((answered.field("server"), answered.field("x-frame-options")), (None, Some("DENY")));
    assert!(
        answered.head.contains("vary: Cookie\r\n") && answered.head.contains("vary: Accept\r\n"),
        "{}",
        answered.head
    );
    let missing = daemon.get("/f/none");
    assert_eq!((missing.status(), missing.field("x-robots-tag")), (404, Some("none")));
    assert_eq!(daemon.get("/nowhere").field("x-frame-options"), None);
}

#[test]
fn a_page_stands_in_place_of_an_error_of_the_daemon_and_not_of_a_handler() {
    let trap = Program::new().trap().wasm();
    let own = Program::new().say("Status: 404\nContent-Type: text/plain\n\nmine\n").wasm();
    let daemon = serve("")
        .prepend("errors = { 404 = \"404.html\", 502 = \"sorry.txt\" }\n")
        .handler("trap", "", &trap)
        .handler("own", "", &own)
        .file("404.html", b"<p>nothing here")
        .file("sorry.txt", b"sorry\n")
        .start();

    let missing = daemon.get("/nowhere");
    assert_eq!((missing.status(), missing.text()), (404, "<p>nothing here"));
    assert_eq!(missing.field("content-type"), Some("text/html; charset=utf-8"));
    let failed = daemon.get("/trap");
    assert_eq!((failed.status(), failed.text()), (502, "sorry\n"));
    assert_eq!(daemon.get("/own").text(), "mine\n");
    let asked = daemon.client().ask("GET", "/nowhere", "Accept: application/json\r\n");
    assert_eq!(serde_json::from_slice::<Value>(&asked.body).unwrap()["error"], json!("no_route"));
}

#[test]
fn errors_are_json_for_every_client_where_that_is_set() {
    let daemon =
        serve("methods = [\"GET\"]\nerrors = \"json\"").handler("trap", "", &Program::new().trap().wasm());
    let daemon = daemon.prepend("errors = \"json\"\n").start();

    for target in ["/nowhere", "/trap"] {
        let refused = daemon.get(target);
        assert_eq!(refused.field("content-type"), Some("application/json"), "{}", refused.head);
        assert!(serde_json::from_slice::<Value>(&refused.body).unwrap()["message"].is_string());
    }
}

#[test]
fn a_rewritten_path_is_routed_and_seen_by_its_handler() {
    let rewrites = "[[route]]\npath = \"/old/{*rest}\"\nrewrite = \"/a/{rest}\"\n\
                    [[route]]\npath = \"/q/{id}\"\nrewrite = \"/a/item?id={id}\"\n\
                    [[route]]\npath = \"/twice\"\nrewrite = \"/old/x\"\n\
                    [[route]]\npath = \"/lost\"\nrewrite = \"/nowhere\"\n";
    let daemon = serve("").add(rewrites).prepend("access_log = true\n").start();
    let seen = |target: &str| {
        let text = daemon.get(target).text().to_owned();
        let variable = |name: &str| {
            let found = text.split('\0').find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        [variable("PATH_INFO"), variable("QUERY_STRING"), variable("REQUEST_URI")]
    };

    assert_eq!(seen("/old/x%20y?z=1"), ["/x y", "z=1", "/a/x%20y?z=1"]);
    assert_eq!(seen("/q/1%26b"), ["/item", "id=1%26b", "/a/item?id=1%26b"]);
    assert_eq!(daemon.get("/twice").status(), 508);
    assert_eq!(daemon.get("/lost").status(), 404);
    daemon.log.line("GET /old/x%20y?z=1 -> 200");
}

#[test]
fn explain_follows_a_rewritten_path_to_its_gates_and_limits_or_to_its_error() {
    let settings = "before = [\"office\"]\nlimit = { rate = \"9/s\" }\n\
                    [gate.office]\nkind = \"addresses\"\nallow = [\"192.0.2.1\"]";
    let rewrites = "[[route]]\npath = \"/old/{*rest}\"\nrewrite = \"/a/{rest}\"\n\
                    [[route]]\npath = \"/twice\"\nrewrite = \"/old/x\"\n\
                    [[route]]\npath = \"/lost\"\nrewrite = \"/nowhere\"\n";
    let daemon = serve(settings).add(rewrites).prepend("admin = \"unix://admin.sock\"\n").start();
    let explain = |target: &str| -> Value {
        serde_json::from_slice(&daemon.verb(&["explain", "GET", target, "--json"]).stdout).unwrap()
    };
    let why = |told: &Value| told["why"].as_str().unwrap().to_owned();

    let told = explain("/old/x?z=1");
    assert_eq!(told["route"]["before"], json!(["office (addresses)"]));
    assert!(told["route"]["limits"][0].as_str().unwrap().starts_with("9/s"), "{told}");
    assert!(why(&told).starts_with("the rewritten path leads to * /a/{*rest}: "), "{told}");
    assert_eq!((&told["status"], &told["route"]["location"]), (&Value::Null, &json!("/a/x")));
    for (target, status, wanted) in [
        ("/twice", 508, "the rewritten path leads to another rewrite, * /old/{*rest}"),
        ("/lost", 404, "no route matches the rewritten path"),
    ] {
        let told = explain(target);
        assert_eq!((&told["status"], why(&told).as_str()), (&json!(status), wanted), "{target}");
    }
}
