//! Parts of a path that a program would take for options.

use serde_json::{Value, json};

use crate::harness::{Daemon, Program, Setup};

fn setup(settings: &str) -> Setup {
    let module = Program::text().say("ran\n").wasm();
    let routes = "[[route]]\npath = \"/c/{what}\"\nhandler = \"c\"\n[[route]]\npath = \"/t/{*rest}\"\nhandler = \"c\"\n";
    Setup::new("").handler("c", settings, &module).add(routes)
}

fn serve(settings: &str) -> Daemon {
    setup(settings).start()
}

#[test]
fn a_capture_that_begins_with_a_dash_does_not_become_an_option() {
    let daemon = serve("");

    for (target, status) in [
        ("/c/word", 200),
        ("/c/a-b", 200),
        ("/c/--version", 400),
        ("/c/-", 400),
        ("/c/%2d%2dversion", 400),
        ("/t/-x/y", 400),
        ("/t/x/-y", 200),
    ] {
        assert_eq!(daemon.get(target).status(), status, "{target}");
    }
    assert!(daemon.get("/c/-x").text().contains("ROUTE_WHAT begins with `-`"));
}

#[test]
fn a_handler_takes_such_captures_where_it_says_so_or_ends_its_options() {
    for settings in ["captures = \"any\"", "args = [\"-n\", \"--\"]"] {
        assert_eq!(serve(settings).get("/c/--version").status(), 200, "{settings}");
    }
    assert_eq!(serve("args = [\"--\", \"-n\"]").get("/c/--version").status(), 400);
}

#[test]
fn explain_foretells_the_refusal_of_a_capture() {
    for (settings, status) in [("", json!(400)), ("captures = \"any\"", json!(null))] {
        let daemon = setup(settings).prepend("admin = \"unix://admin.sock\"\n").start();

        let ended = daemon.verb(&["explain", "GET", "/c/--version", "--json"]);

        let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(
            (&told["status"], &told["route"]["handler"]["name"]),
            (&status, &json!("c")),
            "{settings}"
        );
    }
}
