//! Behaviour that both versions of wasi:http share.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{BOTH, SERVICE};
use crate::bodiless;
use crate::endings::{self, DATA, with_data};
use crate::harness::frames::{Frames, flag, get, head, kind};
use crate::harness::{Daemon, PATIENCE, finish, found, guests, portcullis, until};

/// Sends a request on a connection of its own, and expects a failure of the handler with this text.
pub(super) fn failed(daemon: &Daemon, target: &str, status: u16, part: &str) {
    let response = daemon.get(target);
    assert_eq!(response.status(), status, "{target}: {}", response.text());
    assert!(response.text().contains(part), "{target}: {}", response.text());
}

#[test]
fn the_request_itself_arrives_and_what_the_daemon_knows_comes_as_fields() {
    for guest in BOTH {
        let daemon = guest.serving("args = [\"one\"]\nenv = { COLOUR = \"red\" }");

        let fields = "X-Two: b\r\nX-Two: a\r\nPortcullis-Request-Id: forged\r\nPortcullis-Mood: bad\r\n";
        let response = daemon.client().ask("PATCH", "/facts/%C3%A9?q=%20", fields);

        let text = response.text();
        let mut lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| line.starts_with("field portcullis-request-id: ")).unwrap();
        assert_eq!(lines.remove(at).len(), "field portcullis-request-id: ".len() + 16, "{text}");
        // Version 0.3 does not report this field.
        lines.retain(|line| *line != "field host: test");
        let expected = [
            "method Method::Patch",
            "scheme Some(Scheme::Http)",
            "authority Some(\"test\")",
            "target Some(\"/facts/%C3%A9?q=%20\")",
            "args [\"p\", \"one\"]",
            "field portcullis-matched-route: /{verb}/{*rest}",
            "field portcullis-remote-addr: 127.0.0.1",
            "field portcullis-route-rest: é",
            "field portcullis-route-verb: facts",
            "field x-two: a",
            "field x-two: b",
            "env COLOUR=red",
        ];
        assert_eq!(lines, expected, "{guest:?}");
    }
}

#[test]
fn bodies_and_trailers_go_both_ways_while_they_come() {
    for guest in BOTH {
        let daemon = guest.serving("");
        let mut client = daemon.client();
        client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n");

        client.send("3\r\none\r\n");
        let head = client.head();
        assert!(head.contains("\r\ntrailer: x-length, ") && head.contains("x-sum\r\n"), "{head}");
        assert_eq!(client.chunk(), b"one");
        client.send("3\r\ntwo\r\n");
        assert_eq!(client.chunk(), b"two");
        let forged = "Portcullis-Remote-Addr: 6.6.6.6\r\nHost: other\r\nAuthorization: Basic eDp5\r\n";
        client.send(format!("0\r\n{forged}x-sum: 6\r\nX-Portcullis-Reason: none\r\n\r\n"));

        assert_eq!(client.up_to(b"\r\n"), b"0\r\n");
        let trailers = String::from_utf8(client.up_to(b"\r\n\r\n")).unwrap();
        let mut trailers: Vec<&str> = trailers.trim().lines().collect();
        trailers.sort_unstable();
        assert_eq!(trailers, ["x-echo: x-sum", "x-length: 6", "x-sum: 6"], "{guest:?}");
        assert_eq!(client.get("/hello").text(), "hello\n", "the connection is of use");
    }
}

#[test]
fn a_length_that_is_announced_stays_beside_trailers() {
    // RFC 7541: `content-length` as entry 28 of the static table, in a literal that is not indexed; `5` in the code
    // of appendix B.
    const LENGTH: [u8; 4] = [0x0f, 28 - 15, 0x81, 0x6f];
    for guest in BOTH {
        let daemon = guest.serving("");
        // Complete when its head is sent, and not complete by then.
        for path in ["/measured/0", "/measured/300"] {
            let mut client = daemon.client();
            let response = client.ask("GET", path, "TE: trailers\r\n");
            let fields = ["content-length", "transfer-encoding"].map(|name| response.field(name));
            assert_eq!((fields, response.text()), ([Some("5"), None], "body\n"), "{guest:?} {path}");
            assert_eq!(client.get("/hello").text(), "hello\n", "the connection is of use");

            let mut frames = Frames::begin(daemon.client(), &[]);
            frames.send(get(1, path));
            let head = frames.next();
            assert_eq!((head.kind, head.ends()), (kind::HEADERS, false), "{guest:?} {path}");
            assert!(head.payload.windows(4).any(|bytes| bytes == LENGTH), "{:x?}", head.payload);
            let mut body = Vec::new();
            let last = loop {
                let frame = frames.next();
                if frame.ends() {
                    break frame;
                }
                body.extend(frame.payload);
            };
            assert_eq!((&body[..], last.kind), (&b"body\n"[..], kind::HEADERS), "{guest:?} {path}");
        }
    }
}

#[test]
fn what_it_prints_is_logged_and_not_sent() {
    for guest in BOTH {
        let daemon = guest.serving("");

        assert_eq!(daemon.get("/say").text(), "said\n");

        let lines = daemon.log.lines(2, "p: to std");
        assert!(lines[0].ends_with("p: to stdout") && lines[1].ends_with("p: to stderr"), "{lines:?}");
    }
}

#[test]
fn a_status_without_a_body_has_none_and_head_is_the_head_alone() {
    for guest in BOTH {
        let daemon = guest.serving("");

        bodiless::over_http_1(daemon.client(), "/status");
        bodiless::over_http_2(daemon.client(), "/status");

        let mut client = daemon.client();
        let head = client.ask("HEAD", "/status/200", "");
        assert_eq!(head.field("content-length"), Some("5"));
        assert_eq!(client.get("/status/404").text(), "body\n");
    }
}

#[test]
fn what_is_written_behind_a_status_without_a_body_is_taken_and_dropped() {
    for guest in BOTH {
        let daemon = guest.serving("limits.time = \"20s\"");
        let mut client = daemon.client();
        for status in [204, 205, 304] {
            assert_eq!(client.get(&format!("/heavy/{status}")).status(), status, "{guest:?}");
        }
        daemon.log.lines(3, "p: all taken");

        let daemon = guest.serving("limits = { time = \"20s\", output = \"100KiB\" }");
        failed(&daemon, "/heavy/204", 502, "limits.output");
    }
}

#[test]
fn what_is_written_behind_a_head_that_was_all_that_was_asked_for_is_taken_where_jobs_finish() {
    for guest in BOTH {
        let daemon = guest.serving("client_leaves = \"finish\"\nlimits.time = \"20s\"");

        assert_eq!(daemon.client().ask("HEAD", "/heavy/200", "").status(), 200, "{guest:?}");

        daemon.log.line("p: all taken");
    }
}

#[test]
fn a_handler_behind_its_whole_response_puts_away_its_file_whenever_its_client_leaves() {
    for guest in BOTH {
        let daemon = with_data(guest.setup(DATA)).start();

        endings::each_job_goes_on_behind_its_whole_response(&daemon, "handler=\"p\"", "/whole");
    }
}

#[test]
fn a_handler_that_finishes_without_its_client_puts_away_its_file() {
    for guest in BOTH {
        let daemon = with_data(guest.setup(&format!("client_leaves = \"finish\"\n{DATA}"))).start();

        endings::a_job_outlives_its_client(&daemon, "handler=\"p\"", "/outlive");
    }
}

#[test]
fn answers_that_are_none_are_told_as_the_handlers_fault() {
    for guest in BOTH {
        let daemon = guest.serving("limits = { memory = \"16MiB\" }");

        for (path, part) in [
            ("/refuse", "ErrorCode::InternalError(Some(\"no\"))"),
            ("/trap", "trapped"),
            ("/exit", "exit status 1"),
            ("/grow", "limits.memory"),
            ("/hoard", "stopped at its limit of 256 handles (limits.handles)"),
        ] {
            failed(&daemon, path, 502, part);
        }
        assert_eq!(daemon.get("/hello").status(), 200);
    }
}

#[test]
fn what_is_no_answer_is_counted_and_logged_once_and_as_that() {
    const FAILURES: &str = "portcullis_failures_total";
    for guest in BOTH {
        let setup = guest.setup("");
        let admin = setup.path("admin.sock");
        let daemon = setup.prepend(&format!("admin = \"unix://{}\"\n", admin.display())).start();
        let paths = ["/status/103", "/refuse", "/abort"];

        for path in paths {
            let mut client = daemon.client();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
            client.rest();
        }
        daemon.counted("portcullis_requests_total", &["handler=\"p\""], 3.0);

        let failures = |reason: &str| daemon.so_far(FAILURES, &[&format!("reason=\"{reason}\"")]);
        assert_eq!((failures("bad_answer"), failures("cancelled")), (3.0, 0.0), "{guest:?}");
        assert_eq!(daemon.log.lines(paths.len(), "(bad_answer)").len(), paths.len());
    }
}

#[test]
fn a_body_that_is_not_what_it_says_never_looks_whole() {
    for guest in BOTH {
        let daemon = guest.serving("limits = { time = \"5s\", output = \"3MiB\" }");

        for (path, part) in [
            ("/late", "trapped"),
            ("/later", "trapped"),
            ("/abort", "did not finish its body"),
            ("/short", "did not finish its body"),
            ("/stall", "limits.time"),
            ("/pour/4", "limits.output"),
        ] {
            let mut client = daemon.client();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));

            let all = client.rest();

            // The handler may fail before its head is sent, if it never waits. The client then gets an error response.
            let told = all.starts_with(b"HTTP/1.1 50");
            assert!(told || !all.ends_with(b"0\r\n\r\n"), "{guest:?} {path}: {}", all.escape_ascii());
            daemon.log.line(part);
        }
    }
}

#[test]
fn limits_hold_before_the_head() {
    for guest in BOTH {
        failed(&guest.serving("limits.time = \"1s\""), "/never", 504, "limits.time");
        // This much CPU time may take seconds on a busy machine.
        let daemon = guest.serving("limits = { time = \"60s\", cpu = \"100ms\", body = \"10B\" }");
        failed(&daemon, "/spin", 504, "limits.cpu");
        assert_eq!(daemon.client().submit("POST", "/echo", "", b"12345678901").status(), 413);
        let mut client = daemon.client();
        client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n");
        assert!(!client.rest().ends_with(b"0\r\n\r\n"));
        daemon.log.line("limits.body");
    }
}

#[test]
fn a_client_that_leaves_ends_the_job() {
    for guest in BOTH {
        let daemon = guest.setup("").prepend("admin = \"unix://admin.sock\"\n").start();
        let mut client = daemon.client();
        client.send("GET /stall HTTP/1.1\r\nHost: test\r\n\r\n");
        client.head();
        assert_eq!(client.chunk(), b"a piece");
        let running = || {
            let jobs: Value = serde_json::from_slice(&daemon.verb(&["jobs", "--json"]).stdout).unwrap();
            jobs.as_array().unwrap().iter().filter(|job| job["handler"] == "p").count()
        };
        assert_eq!(running(), 1);

        client.reset();

        until("the job ends", || (running() == 0).then_some(()));
    }
}

#[test]
fn files_of_a_mount_are_there_and_no_others() {
    for guest in BOTH {
        let setup = guest.setup("mounts = [{ host = \"data\", guest = \"/data\" }]");
        fs::create_dir(setup.path("data")).unwrap();
        let daemon = setup.file("data/note", b"written down\n").file("secret", b"hidden\n").start();

        assert_eq!(daemon.get("/read/note").text(), "written down\n", "{guest:?}");
        assert!(!daemon.get("/read/../secret").text().contains("hidden"), "{guest:?}");
        assert!(!daemon.get("/read/%2e%2e/secret").text().contains("hidden"), "{guest:?}");
    }
}

#[test]
fn a_request_over_http_2_is_answered_with_its_body() {
    if !found(&["curl"], "curl") {
        return;
    }
    for guest in BOTH {
        let daemon = guest.serving("");
        for (path, wanted) in [("/echo", "said;"), ("/sleep/20", "slept\n")] {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--http2-prior-knowledge", "--data", "said;"]);
            curl.arg(format!("http://127.0.0.1:{}{path}", daemon.port()));

            let ended = finish(&mut curl, b"", PATIENCE);

            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
            assert_eq!(String::from_utf8(ended.stdout).unwrap(), wanted, "{guest:?}");
        }
    }
}

#[test]
fn the_crumbs_of_a_cookie_are_one_field_of_a_component() {
    for guest in BOTH {
        let daemon = guest.serving("");
        let crumbs: Vec<String> = (0..110).map(|number| format!("c{number}=v")).collect();
        let fields: Vec<(&str, &str)> = crumbs.iter().map(|crumb| ("cookie", crumb.as_str())).collect();
        let joined = crumbs.join("; ");

        let mut frames = Frames::begin(daemon.client(), &[]);
        frames.send(head(1, "GET", "/facts", &fields, flag::END_STREAM));
        let over_http2 = frames.answer(1);
        let over_http1 = daemon.client().ask("GET", "/facts", &format!("Cookie: {joined}\r\n"));

        assert_eq!((over_http2.status, over_http1.status()), (200, 200));
        for text in [over_http2.body, over_http1.body].map(|body| String::from_utf8(body).unwrap()) {
            let told: Vec<&str> =
                text.lines().filter_map(|line| line.strip_prefix("field cookie: ")).collect();
            assert_eq!(told, [joined.as_str()], "{guest:?}");
        }
    }
}

#[test]
fn code_that_is_kept_serves_after_the_next_start() {
    let cache = tempfile::tempdir().unwrap();
    let kept = || {
        let setup = SERVICE.setup("").prepend(&format!("cache = {:?}\n", cache.path().join("code")));
        let daemon =
            setup.env("HOME", cache.path()).env("XDG_STATE_HOME", cache.path().join("state")).start();
        let said = daemon.get("/hello").text().to_owned();
        let entries = fs::read_dir(cache.path().join("code")).unwrap();
        let mut entries: Vec<_> =
            entries.map(|entry| entry.unwrap().metadata().unwrap().modified().unwrap()).collect();
        entries.sort_unstable();
        (said, entries.len())
    };

    let (first, second) = (kept(), kept());

    assert_eq!(first.0, "hello\n");
    assert_eq!(first, second);
    assert!(first.1 > 0, "its code was kept");
}

#[test]
fn a_handler_that_speaks_http_is_no_program() {
    for guest in BOTH {
        let ended = finish(portcullis().arg("run").arg(guests().join(guest.module)), b"", PATIENCE);

        assert_eq!(ended.code, Some(1));
        let told = "answers HTTP requests (wasi:http) and is not a program";
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
}

#[test]
fn a_setting_that_is_for_programs_is_refused() {
    for guest in BOTH {
        let ended = guest.setup("output = \"raw\"").fail();

        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("output = \"raw\" is for programs"), "{}", ended.stderr);
    }
}
