//! The admin socket under many long requests: it refuses more of them, and still answers short ones.

use crate::harness::{Client, Daemon, PATIENCE, Program, Response, Setup, within};

/// More than the maximum of any long request, and more than the maximum of connections.
const CROWD: usize = 70;

fn setup() -> Setup {
    Setup::one("", &Program::text().say("hi").wasm())
        .handler("slow", "limits.time = \"none\"", &Program::text().sleep_for_ever().wasm())
        .prepend("admin = \"unix://admin.sock\"\ndebug = true\n")
}

fn send(daemon: &Daemon, request: &str) -> Client {
    send_with(daemon, request, "")
}

fn send_with(daemon: &Daemon, request: &str, fields: &str) -> Client {
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send(format!("{request} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
    client
}

fn ask(daemon: &Daemon, request: &str) -> Response {
    send(daemon, request).response()
}

/// Starts `count` jobs of a name, and keeps them running.
fn hold(daemon: &Daemon, count: usize, request: &str, fields: &str, name: &str) -> Vec<Client> {
    let held = (0..count).map(|_| send_with(daemon, request, fields)).collect();
    within(PATIENCE, "the jobs that last", || {
        let jobs = ask(daemon, "POST /jobs/jobs");
        let named = format!("\"handler\":\"{name}\"");
        (jobs.text().replace(": ", ":").matches(&named).count() == count).then_some(())
    });
    held
}

/// Asserts that each further request is refused at once, and that what an operator needs is still answered.
fn one_too_many(daemon: &Daemon, request: &str) {
    // Kept open, because dropped connections would free places by themselves.
    let refused: Vec<Client> = (0..CROWD)
        .map(|_| {
            let mut client = send(daemon, request);
            let response = client.response();
            assert_eq!(
                (response.status(), response.field("retry-after")),
                (503, Some("1")),
                "{}",
                response.text()
            );
            client
        })
        .collect();
    assert_eq!(ask(daemon, "GET /metrics").status(), 200);
    assert_eq!(ask(daemon, "GET /debug/vars").status(), 200);
    for name in ["status", "handlers", "jobs"] {
        assert_eq!(ask(daemon, &format!("POST /jobs/{name}")).status(), 200, "{name}");
    }
    drop(refused);
}

#[test]
fn four_profiles_are_taken_at_once_and_the_fifth_is_refused() {
    let daemon = setup().start();
    // Sends profiles until all places are taken: the check itself may have held one for a moment.
    let mut held = Vec::new();
    within(PATIENCE, "four profiles", || {
        held.push(send(&daemon, "GET /debug/profile?seconds=300"));
        (ask(&daemon, "GET /debug/profile?seconds=1").status() == 503).then_some(())
    });

    one_too_many(&daemon, "GET /debug/profile?seconds=300");
    assert_eq!(ask(&daemon, "POST /jobs/reload").status(), 200);

    held.clear();
    within(PATIENCE, "a place that was given back", || {
        (ask(&daemon, "GET /debug/profile?seconds=1").status() == 200).then_some(())
    });
}

#[test]
fn followers_of_the_log_and_jobs_of_handlers_leave_connections_to_operators() {
    let daemon = setup().start();
    let _followers = hold(&daemon, 20, "POST /jobs/logs?a=-f", "", "logs");
    let _jobs = hold(&daemon, 12, "POST /jobs/slow", "", "slow");

    one_too_many(&daemon, "POST /jobs/logs?a=-f");

    assert_eq!(ask(&daemon, "POST /jobs/one").status(), 503);
    assert_eq!(ask(&daemon, "POST /jobs/reload").status(), 200);
    assert_eq!(ask(&daemon, "GET /debug/profile?seconds=1").status(), 200);
    assert_eq!(daemon.get("/").text(), "hi");
}

#[test]
fn modules_that_arrive_slowly_leave_connections_to_operators() {
    let daemon = setup().start();
    let mut swaps = hold(&daemon, 12, "POST /jobs/swap?a=one", "Content-Length: 1000\r\n", "swap");

    one_too_many(&daemon, "POST /jobs/reload");

    assert_eq!(ask(&daemon, "POST /jobs/logs").status(), 200);
    swaps.clear();
    within(PATIENCE, "a place that was given back", || {
        (ask(&daemon, "POST /jobs/reload").status() == 200).then_some(())
    });
}

#[test]
fn how_near_a_handler_came_to_each_limit_stands_in_handlers() {
    // The guest grows from four pages to eight, of the sixteen that its limit allows.
    let grow = "(drop (memory.grow (i32.const 4)))";
    let program = Program::text().code(grow).read_once().say(&"x".repeat(700));
    let limits = "limits = { memory = \"1MiB\", output = \"1KiB\", body = \"1KiB\", handles = 256 }";
    let daemon = Setup::one(limits, &program.wasm()).prepend("admin = \"unix://admin.sock\"\n").start();
    let handlers =
        |words: &[&str]| String::from_utf8(daemon.verb(&[&["handlers"], words].concat()).stdout).unwrap();
    assert!(handlers(&[]).contains("NEAREST"), "{}", handlers(&[]));

    assert_eq!(daemon.client().submit("POST", "/", "", &[b'x'; 256]).status(), 200);
    assert_eq!(daemon.client().submit("POST", "/", "", b"x").status(), 200);

    let peaks = within(PATIENCE, "the jobs are counted", || {
        let told: serde_json::Value = serde_json::from_str(&handlers(&["--json"])).unwrap();
        let peaks = told[0]["peaks"].clone();
        (peaks["output"] != 0.0).then_some(peaks)
    });
    assert_eq!((&peaks["memory"], &peaks["body"]), (&50.0.into(), &25.0.into()), "{peaks}");
    let output = peaks["output"].as_f64().unwrap();
    assert!((70.0..80.0).contains(&output), "{peaks}");
    assert!(peaks["time"].as_f64().unwrap() > 0.0 && peaks["cpu"].as_f64().unwrap() > 0.0, "{peaks}");
    let table = handlers(&[]);
    assert!(table.contains(&format!("output {}%", output.ceil())), "{table}");
}

#[test]
fn handles_that_a_reused_instance_keeps_count_for_the_request_that_took_them() {
    let module = std::fs::read(crate::harness::guests().join("proxy.wasm")).unwrap();
    let settings = "reuse = 8\nlimits.handles = 1000";
    let setup = Setup::new(&format!(
        "[handler.p]\nmodule = \"p.wasm\"\n{settings}\n[[route]]\npath = \"/{{*rest}}\"\nhandler = \"p\"\n"
    ));
    let setup = setup.file("p.wasm", &module).prepend("admin = \"unix://admin.sock\"\n");
    let daemon = setup.start();

    assert_eq!(daemon.get("/keep-handles").text(), "kept\n");

    within(PATIENCE, "the handles are counted", || {
        let told = daemon.verb(&["handlers", "--json"]).stdout;
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        // A tenth of the limit, and the handles that it always has, while it waits for its next request.
        let handles = told[0]["peaks"]["handles"].as_f64().unwrap();
        (10.0..12.0).contains(&handles).then_some(())
    });
}
