//! `reuse`: instances that answer several requests.

use std::collections::HashSet;
use std::sync::Barrier;

use super::{BOTH, PROXY, SERVICE};
use crate::harness::{Daemon, Program, Setup};

/// Asks for the number of this request within its instance.
fn count(daemon: &Daemon) -> u32 {
    daemon.get("/count").text().trim().parse().unwrap()
}

#[test]
fn an_instance_answers_as_many_requests_as_it_may() {
    for guest in BOTH {
        let daemon = guest.setup("reuse = 3").start();

        let counts: Vec<u32> = (0..7).map(|_| count(&daemon)).collect();

        assert_eq!(counts, [1, 2, 3, 1, 2, 3, 1]);
    }
}

#[test]
fn without_reuse_every_request_is_the_first() {
    for settings in ["", "reuse = 1"] {
        let daemon = PROXY.setup(settings).start();

        assert_eq!([count(&daemon), count(&daemon)], [1, 1]);
    }
}

#[test]
fn an_instance_that_failed_answers_no_more() {
    for guest in BOTH {
        let daemon = guest
            .setup("reuse = 1000\nlimits = { time = \"5s\", cpu = \"100ms\", memory = \"16MiB\" }")
            .start();

        for (path, status) in
            [("/trap", 502), ("/spin", 504), ("/grow", 502), ("/never", 504), ("/exit", 502)]
        {
            assert_eq!([count(&daemon), count(&daemon)], [1, 2], "before {path}");

            assert_eq!(daemon.get(path).status(), status, "{path}");
        }
        assert_eq!(count(&daemon), 1);
    }
}

#[test]
fn a_client_that_leaves_takes_the_instance_with_it() {
    for guest in BOTH {
        let daemon = guest.setup("reuse = 1000").start();
        assert_eq!(count(&daemon), 1);
        let mut client = daemon.client();
        client.send("GET /stall HTTP/1.1\r\nHost: test\r\n\r\n");
        client.head();

        client.reset();

        assert_eq!(count(&daemon), 1);
    }
}

#[test]
fn limits_and_lines_are_those_of_each_request() {
    for guest in BOTH {
        let daemon = guest.setup("reuse = 1000\nlimits = { cpu = \"1s\", output = \"3MiB\" }").start();

        // More than 3 MiB in total, and with a wait more than 1 s, but no request exceeds its limits alone.
        for _ in 0..3 {
            assert_eq!(daemon.get("/pour/2").body.len(), 2 << 20);
            assert_eq!(daemon.get("/say").text(), "said\n");
        }

        assert_eq!(count(&daemon), 7, "one instance has answered all of them");
        let lines = daemon.log.lines(3, "p: to stdout");
        let jobs: HashSet<&str> = lines.iter().map(|line| line.split(['[', ']']).nth(1).unwrap()).collect();
        assert_eq!(jobs.len(), 3, "each line has the id of its own job: {lines:?}");
    }
}

#[test]
fn requests_at_once_have_instances_of_their_own() {
    const CLIENTS: usize = 4;
    for guest in BOTH {
        let daemon = guest.setup("reuse = 1000").start();
        let barrier = Barrier::new(CLIENTS);
        let ask = || {
            let mut client = daemon.client();
            barrier.wait();
            (0..20).for_each(|_| assert_eq!(client.get("/sleep/5").text(), "slept\n"));
        };

        std::thread::scope(|scope| (0..CLIENTS).for_each(|_| drop(scope.spawn(ask))));

        assert!(count(&daemon) > 1);
    }
}

#[test]
fn a_body_that_is_not_read_is_none_of_the_next_requests() {
    for guest in BOTH {
        let daemon = guest.setup("reuse = 1000").start();
        for _ in 0..3 {
            assert_eq!(daemon.client().submit("POST", "/hello", "", &[b'x'; 1000]).text(), "hello\n");

            assert_eq!(daemon.client().submit("POST", "/echo", "", b"mine").text(), "mine");
        }
    }
}

#[test]
fn a_program_cannot_be_used_twice() {
    let ended = Setup::one("reuse = 128", &Program::text().wasm()).fail();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("reuse is for wasi:http handlers"), "{}", ended.stderr);
}

#[test]
fn an_instance_that_keeps_a_stream_answers_no_more() {
    let daemon = SERVICE.serving("reuse = 1000");

    assert_eq!([count(&daemon), count(&daemon)], [1, 2]);
    assert_eq!(daemon.get("/keep").text(), "kept\n");

    assert_eq!(count(&daemon), 1);
}

#[test]
fn bodies_that_an_instance_echoes_are_those_of_each_request() {
    for guest in BOTH {
        let daemon = guest.serving("reuse = 1000");
        for round in 0..50 {
            let body = format!("round {round} ").repeat(round * 20);

            assert_eq!(daemon.client().submit("POST", "/echo", "", body.as_bytes()).text(), body);
        }
        assert_eq!(count(&daemon), 51, "{guest:?}");
    }
}

#[test]
fn an_instance_that_waits_for_a_request_needs_no_memory_for_it() {
    let daemon = PROXY
        .setup("reuse = 1000\nlimits.queue_time = \"5s\"")
        .prepend("admin = \"unix://admin.sock\"\n")
        .add("[limits]\ntotal_memory = \"16MiB\"\n")
        .handler("grow", "", &Program::text().grow().sleep_for_ever().wasm())
        .start();
    assert_eq!(count(&daemon), 1);
    assert!(daemon.metric("portcullis_jobs_memory_bytes", &[]) > 0.0, "it waits");
    let mut hog = daemon.client();
    hog.send("GET /grow HTTP/1.1\r\nHost: test\r\n\r\n");
    hog.head();
    hog.chunk();

    assert_eq!(count(&daemon), 2);

    // If memory is scarce, no instance is kept idle, and the next one is fresh.
    assert_eq!(count(&daemon), 1);
    drop(hog);
    daemon.counted("portcullis_jobs_memory_bytes", &[], 0.0);
    assert_eq!(count(&daemon), 1);
}

#[test]
fn a_component_that_answers_only_once_is_found_by_the_probe_where_it_is_reused() {
    let refused = PROXY.setup("reuse = 3\nprobe = { path = \"/once\" }").fail();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let told = "probe \"/once\" asked the same instance again (reuse)";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);

    PROXY.setup("reuse = 3\nprobe = { path = \"/hello\" }").start();
    PROXY.setup("probe = { path = \"/once\" }").start();
}
