//! Rate limits that two daemons count together in a Redis server, and what they do without it.

use std::net::Ipv4Addr;

use crate::harness::{
    Client, Daemon, PATIENCE, Program, Setup, StoreServer, attempted, finish, portcullis, until,
};

fn setup(limit: &str, store: &str) -> Setup {
    Setup::one("", &Program::text().say("hello\n").wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
        .add(&format!("limit = {limit}\n{store}\n"))
}

fn store(server: &StoreServer) -> String {
    format!("[store.limits]\nurl = \"{}\"\n", server.url())
}

/// Returns an error if a daemon has counted a request alone. It does when the server is busy for 250 ms.
fn counted_together(daemon: &Daemon) -> Result<(), String> {
    let alone = daemon.metric("portcullis_rate_limit_fallbacks_total", &["store=\"limits\""]);
    if alone == 0.0 { Ok(()) } else { Err(format!("{alone} requests were counted alone")) }
}

#[test]
fn two_daemons_count_one_limit_together() {
    attempted(|| {
        let Some(server) = StoreServer::redis(&["--appendonly", "no"]) else { return Ok(()) };
        let limit = "{ rate = \"3/h\", store = \"limits\" }";
        let [one, other] = [0; 2].map(|_| setup(limit, &store(&server)).start());

        let passed = [one.get("/"), other.get("/"), one.get("/")];
        let refused = other.get("/");

        [&one, &other].into_iter().try_for_each(counted_together)?;
        for (left, response) in [2, 1, 0].into_iter().zip(&passed) {
            assert_eq!(response.status(), 200);
            let told = response.field("ratelimit").unwrap();
            assert!(told.starts_with(&format!("\"route\";r={left};t=")), "{told}");
        }
        assert_eq!(refused.status(), 429);
        let after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((1190..=1200).contains(&after), "{after}");
        assert_eq!(Client::tcp_from(Ipv4Addr::new(127, 0, 0, 3), other.port()).get("/").status(), 200);
        let counted = ["operation=\"rate\"", "end=\"ok\""];
        assert!(other.metric("portcullis_store_operations_total", &counted) >= 2.0);
        let explained = String::from_utf8(one.verb(&["explain", "GET", "/"]).stdout).unwrap();
        assert!(explained.contains("3/h, burst 3, by address, in store limits (route * /)"), "{explained}");
        Ok(())
    });
}

#[test]
fn without_its_server_a_limit_counts_in_each_daemon_and_says_so() {
    let limit = "{ rate = \"2/h\", by = \"all\", store = \"limits\" }";
    let Some((mut server, daemon)) = attempted(|| {
        let Some(server) = StoreServer::redis(&["--appendonly", "no"]) else { return Ok(None) };
        let daemon = setup(limit, &store(&server)).start();
        let statuses = [0; 3].map(|_| daemon.get("/").status());
        counted_together(&daemon)?;
        assert_eq!(statuses, [200, 200, 429]);
        Ok(Some((server, daemon)))
    }) else {
        return;
    };
    server.stop();

    let alone = [0; 3].map(|_| daemon.get("/").status());

    assert_eq!(alone, [200, 200, 429], "a whole burst, as this daemon has counted nothing so far");
    daemon.log.line("until it answers, its rate limits count in this daemon alone");
    assert!(daemon.metric("portcullis_rate_limit_fallbacks_total", &["store=\"limits\""]) >= 3.0);
    server.start();
    until("the server to count again", || {
        daemon.get("/");
        daemon.log.text().contains("it counts requests for rate limits again").then_some(())
    });
}

#[test]
fn a_daemon_starts_without_the_server_of_a_limit() {
    // Nothing listens on port 1.
    let daemon =
        setup("{ rate = \"1/h\", store = \"limits\" }", "[store.limits]\nurl = \"redis://127.0.0.1:1\"\n")
            .start();

    daemon.log.line("until it can be, its rate limits count in this daemon alone");
    assert_eq!([daemon.get("/").status(), daemon.get("/").status()], [200, 429]);
}

#[test]
fn a_limit_behind_the_gates_is_in_the_metric_of_what_counts_alone() {
    // The limit of a handler counts behind the gates. Nothing listens on port 1.
    let limit = "limit = { rate = \"9/h\", store = \"limits\" }";
    let daemon = Setup::one(limit, &Program::text().say("hello\n").wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
        .add("[store.limits]\nurl = \"redis://127.0.0.1:1\"\n")
        .start();

    assert_eq!([daemon.get("/").status(), daemon.get("/").status()], [200; 2]);

    assert!(daemon.metric("portcullis_rate_limit_fallbacks_total", &["store=\"limits\""]) >= 2.0);
}

#[test]
fn a_store_that_daemons_cannot_count_in_is_refused() {
    for (store, wanted) in [
        ("[store.limits]\nurl = \"memory:\"", "(memory:) is of this daemon alone"),
        ("[store.limits]\nurl = \"redb:limits.redb\"", "is of this daemon alone"),
        ("[store.limits]\nurl = \"nats://127.0.0.1:1\"", "cannot count a request in one step"),
        ("", "there is no store \"limits\": add [store.limits] with a url"),
    ] {
        let setup = setup("{ rate = \"1/h\", store = \"limits\" }", store);
        let said = finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE).stderr;
        assert!(said.contains("route[0].limit.store: ") && said.contains(wanted), "{said}");
    }
}
