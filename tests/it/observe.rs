//! The `observe` addresses, which show the daemon's state and change nothing.

use rustix::process::Signal;

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, finish, portcullis, until};
use crate::lifecycle::hello;
use crate::upgrade::{Successors, successor};

/// A daemon whose only route takes every path.
fn setup(more: &str) -> Setup {
    Setup::new(&format!(
        "observe = [\"tcp://127.0.0.1:0\", \"unix://look.sock\"]\n{more}\n[handler.one]\nmodule = \"one.wasm\"\n\
         [[route]]\npath = \"/{{*all}}\"\nhandler = \"one\"\n"
    ))
    .file("one.wasm", &hello())
}

fn observer(daemon: &Daemon) -> Client {
    Client::unix(&daemon.path("look.sock"))
}

fn probes(daemon: &Daemon) -> [u16; 3] {
    ["/livez", "/readyz", "/startupz"].map(|path| observer(daemon).get(path).status())
}

#[test]
fn metrics_and_probes_are_shown_to_any_host_and_nothing_else_is_there() {
    let daemon = setup("").prepend("debug = true\n").start();
    let lines = daemon.log.lines(2, "listening on tcp://");
    let ports: Vec<u16> =
        lines.iter().map(|line| line.rsplit_once(':').unwrap().1.parse().unwrap()).collect();
    // On the handlers' address, the route takes every path, so `/healthz` runs the handler there.
    let (handlers, observe): (Vec<u16>, Vec<u16>) =
        ports.into_iter().partition(|port| Client::tcp(*port).get("/healthz").text() == "hello\n");
    assert_eq!((handlers.len(), observe.len()), (1, 1));
    let mut client = Client::tcp(observe[0]);

    client
        .send("GET /metrics HTTP/1.1\r\nHost: prometheus.example:9090\r\nOrigin: https://x.example\r\n\r\n");
    let metrics = client.response();

    assert_eq!(metrics.status(), 200);
    assert!(metrics.text().contains("portcullis_gate{state=\"open\"} 1\n"), "{}", metrics.text());
    assert_eq!(probes(&daemon), [200; 3]);
    for (method, path, status) in [
        ("POST", "/jobs/status", 404),
        ("POST", "/jobs/shutdown", 404),
        ("GET", "/debug/jobs", 404),
        ("GET", "/", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/readyz", 405),
    ] {
        assert_eq!(client.ask(method, path, "").status(), status, "{method} {path}");
    }
    assert_eq!(client.ask("HEAD", "/readyz", "").status(), 200);
}

#[test]
fn probes_tell_a_start_from_a_service_from_an_end() {
    // Longer than the probes take on a busy machine.
    let setup = setup("shutdown_delay = \"6s\"\n");
    let mut daemon = setup.handler("slow", "", &Program::new().wasm()).shut();
    assert_eq!(
        until("it listens", || Client::try_unix(&daemon.path("look.sock")).ok()).get("/livez").status(),
        200
    );
    assert_eq!(probes(&daemon), [200, 503, 503]);

    daemon.open();
    assert_eq!(probes(&daemon), [200; 3]);

    daemon.signal(Signal::TERM);
    daemon.log.line("probes are told");
    assert_eq!(probes(&daemon), [200, 503, 200]);
    assert_eq!(observer(&daemon).get("/readyz").text(), "draining\n");
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
    assert!(!daemon.path("look.sock").exists());
}

#[test]
fn an_upgrade_hands_the_addresses_over_and_a_reload_leaves_them() {
    let daemon = setup("").start();
    let config = daemon.path("portcullis.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("unix://look.sock", "unix://other.sock")).unwrap();
    daemon.signal(Signal::HUP);
    let refused = daemon.log.line("needs restart");
    assert!(refused.contains("observe"), "{refused}");
    std::fs::write(&config, text).unwrap();

    daemon.signal(Signal::USR2);
    let _successors = Successors(vec![successor(&daemon, 1)]);

    daemon.log.line("drained");
    assert_eq!(probes(&daemon), [200; 3]);
}

#[test]
fn an_address_that_is_another_ones_is_refused_with_both_named() {
    for (observe, told) in [
        ("tcp://127.0.0.1:8080", "\"tcp://127.0.0.1:8080\" is used by listen already"),
        ("unix://admin.sock", "is used by admin already"),
        ("fd://", "wanted tcp://HOST:PORT or unix://PATH, found \"fd://\""),
    ] {
        let text = format!(
            "listen = [\"tcp://127.0.0.1:8080\"]\nadmin = \"unix://admin.sock\"\nobserve = [\"{observe}\"]\n"
        );
        let setup = Setup::new(&text);
        let path = setup.path("portcullis.toml");

        let checked = finish(portcullis().arg("check").arg("-c").arg(path), b"", PATIENCE);

        assert_eq!(checked.code, Some(1), "{observe}: {}", checked.stderr);
        assert!(checked.stderr.contains(told), "{observe}: {}", checked.stderr);
    }
}
