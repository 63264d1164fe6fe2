//! The log and the access log: their formats, their levels, the file and its rotation, and masked values.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{PATIENCE, Program, Setup, finish, middleware, portcullis, until};
use crate::trace_contexts::{TRUSTING, traceparent};
use crate::traces::TRACE;

/// Serves a program at `/`, with these lines in front.
fn logging(lines: &str) -> Setup {
    Setup::one("", &Program::text().say("hello\n").wasm())
        .add("[[route]]\npath = \"/b/{x}\"\nhandler = \"one\"\n")
        .prepend(&format!("admin = \"unix://admin.sock\"\n{lines}\n"))
}

/// Returns the lines of a file once there are so many.
fn lines(path: &Path, count: usize) -> Vec<String> {
    until(&format!("{count} lines in {}", path.display()), || {
        let text = fs::read_to_string(path).ok()?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn a_json_line_has_the_job_the_route_and_the_parts_of_the_time() {
    let daemon = logging("access_log = \"json\"\nmask_query = [\"token\"]").start();

    daemon.client().ask("GET", "/b/c?token=s3cret&x=1", "User-Agent: curl/8\r\nReferer: /?token=s3cret\r\n");

    let line: Value = serde_json::from_str(&daemon.log.line("\"target\":\"/b/c")).unwrap();
    for (key, wanted) in [
        ("handler", Value::from("one")),
        ("route", "/b/{x}".into()),
        ("method", "GET".into()),
        ("target", "/b/c?token=***&x=1".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes", 6.into()),
        ("complete", true.into()),
        ("user_agent", "curl/8".into()),
        ("referer", "/?token=***".into()),
    ] {
        assert_eq!(line[key], wanted, "{key}: {line}");
    }
    assert_eq!(line["job"].as_str().map(str::len), Some(16));
    assert_eq!(line["version"].as_str().map(str::len), Some(12));
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    let parts =
        ["queue_ms", "instantiate_ms", "guest_ms", "send_ms"].map(|part| line[part].as_f64().unwrap());
    let whole = line["duration_ms"].as_f64().unwrap();
    assert!(parts.iter().sum::<f64>() <= whole + 0.01, "{line}");
    assert_eq!(daemon.log.count("s3cret"), 0, "{}", daemon.log.text());
}

#[test]
fn the_user_that_a_gate_has_named_is_in_the_line_whatever_the_response_is() {
    let page = Program::text().say("hello\n").wasm();
    let names = |user: &str| Program::new().say(&format!("Status: 204\nRemote-User: {user}\n\n")).wasm();
    let around = fs::read(middleware().join("middleware.wasm")).unwrap();
    let users = format!("ada:{}", bcrypt::hash("lovelace", 4).unwrap());
    // "ada:lovelace"
    let password = "Authorization: Basic YWRhOmxvdmVsYWNl\r\n";
    let long = "x".repeat(200);
    for format in ["common", "combined", "json"] {
        let daemon = Setup::new(&format!("wasi_http_03 = true\naccess_log = {format:?}\n"))
            .add("[gate.staff]\nkind = \"basic\"\nusers_file = \"users\"\n")
            .add("[gate.nobody]\nkind = \"addresses\"\nallow = [\"192.0.2.1\"]\n")
            .add("[handler.around]\nmodule = \"around.wasm\"\n")
            .file("around.wasm", &around)
            .file("users", users.as_bytes())
            .handler("odd", "", &names("a b\"c"))
            .handler("long", "", &names(&long))
            .handler("page", "", &page)
            .add("before = [\"staff\"]\n")
            .add("[[route]]\npath = \"/shut\"\nhandler = \"page\"\nbefore = [\"staff\", \"nobody\"]\n")
            .add("[[route]]\npath = \"/last\"\nhandler = \"page\"\nbefore = [\"staff\", \"odd\"]\n")
            .add("[[route]]\npath = \"/cut\"\nhandler = \"page\"\nbefore = [\"long\"]\n")
            .add("[[route]]\npath = \"/behind\"\nhandler = \"page\"\nbefore = [\"around\", \"staff\"]\n")
            .start();
        let cut = "x".repeat(128) + "…";

        for (target, fields, status, user, word) in [
            ("/page?in", password, 200, Some("ada"), "ada"),
            ("/page?out", "", 401, None, "-"),
            ("/shut", password, 403, Some("ada"), "ada"),
            ("/last", password, 200, Some("a b\"c"), "a\\u{20}b\\\"c"),
            ("/cut", "", 200, Some(cut.as_str()), cut.as_str()),
            ("/behind", password, 200, Some("ada"), "ada"),
        ] {
            assert_eq!(daemon.client().ask("GET", target, fields).status(), status, "{target}");

            if format == "json" {
                let line = daemon.log.line(&format!("\"target\":\"{target}\""));
                let line: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(line.get("user").and_then(Value::as_str), user, "{line}");
            } else {
                let line = daemon.log.line(&format!("\"GET {target} HTTP/1.1\""));
                assert!(line.starts_with(&format!("127.0.0.1 - {word} [")), "{line}");
            }
        }
    }
}

#[test]
fn the_trace_of_a_job_is_in_every_json_line_about_it_and_in_no_text() {
    for (lines, access, is_json) in [
        ("log = \"json\"\naccess_log = \"json\"", "\"target\":\"/\"", true),
        ("log = \"json\"\naccess_log = true", "GET / -> 502", true),
        ("access_log = true", "GET / -> 502", false),
    ] {
        let daemon = Setup::one("", &Program::new().complain("told by the guest\n").trap().wasm())
            .prepend(&format!("{lines}\n"))
            .add(TRUSTING)
            .start();

        let field = traceparent("00");
        assert_eq!(daemon.client().submit("GET", "/", &field, b"").status(), 502);

        for part in ["told by the guest", "trapped: ", access] {
            let line = daemon.log.line(part);
            let named = serde_json::from_str::<Value>(&line).ok().map(|line| line["trace_id"].clone());
            assert_eq!(named, is_json.then(|| TRACE.into()), "{part}: {line}");
            assert_eq!(line.contains(TRACE), is_json, "{part}: {line}");
        }
    }
}

#[test]
fn a_request_without_a_handler_has_a_json_line_with_the_reason() {
    let daemon = logging("access_log = \"json\"").start();
    daemon.get("/nowhere");
    let mut client = daemon.client();

    client.send("GET / HTTP/1.1\r\n\r\n");
    client.response();

    let absent: Value = serde_json::from_str(&daemon.log.line("/nowhere")).unwrap();
    assert_eq!((&absent["status"], &absent["reason"]), (&404.into(), &"no_route".into()));
    assert!(absent.get("job").is_none() && absent.get("queue_ms").is_none(), "{absent}");
    let malformed: Value = serde_json::from_str(&daemon.log.line("malformed_request")).unwrap();
    assert_eq!((&malformed["status"], &malformed["target"]), (&400.into(), &"GET /".into()));
}

#[test]
fn the_file_of_the_access_log_is_reopened_by_a_signal_and_by_a_verb() {
    let daemon = logging("access_log = \"combined\"\naccess_log_file = \"access.log\"").start();
    let (file, first) = (daemon.path("access.log"), daemon.path("access.log.1"));
    daemon.client().ask("GET", "/?x=%22", "User-Agent: a \"b\"\r\n");
    let line = &lines(&file, 1)[0];
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.ends_with("] \"GET /?x=%22 HTTP/1.1\" 200 6 \"-\" \"a \\\"b\\\"\""), "{line}");
    fs::rename(&file, &first).unwrap();

    daemon.signal(Signal::USR1);
    daemon.log.line("reopened ");
    daemon.get("/second");

    assert!(lines(&file, 1)[0].contains("/second"));
    assert_eq!(lines(&first, 1).len(), 1);
    fs::remove_file(&file).unwrap();
    let reopened = daemon.verb(&["log-reopen"]);
    assert_eq!(reopened.code, Some(0), "{}", reopened.stderr);
    daemon.get("/third");
    assert!(lines(&file, 1)[0].contains("/third"));
    assert_eq!(daemon.log.count("/third"), 0, "the log has no access lines");
}

#[test]
fn a_file_that_cannot_be_opened_stops_the_start_and_shows_in_check() {
    let setup = logging("access_log = true\naccess_log_file = \"nowhere/access.log\"");
    let file = setup.path("portcullis.toml");

    let checked = finish(portcullis().arg("check").arg("-c").arg(&file), b"", PATIENCE);
    let ended = setup.fail();

    assert!(checked.code == Some(1) && checked.stderr.contains("access_log_file"), "{}", checked.stderr);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("access_log_file: open "), "{}", ended.stderr);
}

/// Opening a FIFO to write waits for a reader.
#[test]
fn a_file_that_is_a_fifo_is_refused_and_not_waited_for() {
    let setup = logging("access_log = true\naccess_log_file = \"fifo\"");
    mkfifoat(CWD, setup.path("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
    let file = setup.path("portcullis.toml");

    let checked = finish(portcullis().arg("check").arg("-c").arg(&file), b"", PATIENCE);
    let ended = setup.fail();

    assert!(checked.code == Some(1) && checked.stderr.contains("not a regular file"), "{}", checked.stderr);
    assert!(ended.code == Some(1) && ended.stderr.contains("access_log_file: "), "{}", ended.stderr);
}

#[test]
fn without_a_file_there_is_nothing_to_reopen() {
    let daemon = logging("").start();

    let refused = daemon.verb(&["log-reopen"]);
    daemon.signal(Signal::USR1);

    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("set access_log_file"), "{}", refused.stderr);
    daemon.log.line("not reopened: ");
    assert_eq!(daemon.get("/").status(), 200);
}

#[test]
fn a_file_that_cannot_be_opened_again_stays_in_use() {
    let daemon = logging("access_log = \"common\"\naccess_log_file = \"access.log\"").start();
    let (file, before) = (daemon.path("access.log"), daemon.path("access.log.1"));
    fs::rename(&file, &before).unwrap();
    fs::create_dir(&file).unwrap();

    let refused = daemon.verb(&["log-reopen"]);
    daemon.signal(Signal::USR1);

    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("access_log_file: open "), "{}", refused.stderr);
    daemon.log.line("not reopened: access_log_file: open ");
    daemon.get("/still");
    assert!(lines(&before, 1)[0].contains("] \"GET /still HTTP/1.1\" 404 "), "{:?}", lines(&before, 1));
}

#[test]
fn the_text_lines_of_a_file_have_their_time() {
    let daemon = logging("access_log = true\naccess_log_file = \"access.log\"").start();

    daemon.get("/");

    let line = &lines(&daemon.path("access.log"), 1)[0];
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.len() == "2026-11-29T10:00:00.000000Z".len() && time.ends_with('Z'), "{line}");
    assert!(rest.starts_with('[') && rest.contains("] GET / -> 200 one@"), "{line}");
}

#[test]
fn the_whole_log_is_json_and_a_reload_makes_it_text_again() {
    let trap = Setup::one("", &Program::new().trap().wasm());
    let daemon = trap.prepend("admin = \"unix://admin.sock\"\nlog = \"json\"\naccess_log = true\n").start();
    assert_eq!(daemon.get("/").status(), 502);

    let access: Value = serde_json::from_str(&daemon.log.line("GET / -> 502 one@")).unwrap();
    let failure: Value = serde_json::from_str(&daemon.log.line("trapped: ")).unwrap();

    assert_eq!((&access["level"], &failure["level"]), (&"INFO".into(), &"WARN".into()));
    assert_eq!((&access["job"], failure["job"].as_str().map(str::len)), (&failure["job"], Some(16)));
    assert!(failure["message"].as_str().unwrap().starts_with("one@"), "{failure}");
    assert!(failure["target"].as_str().unwrap().starts_with("portcullis::http"), "{failure}");
    for line in daemon.log.text().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    let file = daemon.path("portcullis.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("log = \"json\"", "log = \"text\"")).unwrap();
    let reloaded = daemon.verb(&["reload"]);
    assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);
    daemon.get("/?text");
    assert!(daemon.log.line("GET /?text -> 502").contains(" INFO "), "{}", daemon.log.text());
}

#[test]
fn levels_are_set_while_the_daemon_runs_and_a_wrong_one_changes_nothing() {
    let daemon = logging("").start();
    let shown = daemon.verb(&["log-level"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("portcullis=info"), "{:?}", shown.stdout);
    daemon.get("/");
    assert_eq!(daemon.log.count("+job one("), 0);

    let set = daemon.verb(&["log-level", "portcullis::engine=debug,info"]);

    assert_eq!(set.code, Some(0), "{}", set.stderr);
    daemon.get("/");
    daemon.log.line("+job one(");
    let refused = daemon.verb(&["log-level", "portcullis::nowhere=debug"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("there is no module"), "{}", refused.stderr);
    let reply = daemon.verb(&["log-level", "--json", "default"]);
    let reply: Value = serde_json::from_slice(&reply.stdout).unwrap();
    assert!(reply["filter"].as_str().unwrap().contains("portcullis=info"), "{reply}");
    let before = daemon.log.count("+job one(");
    daemon.get("/");
    daemon.counted("portcullis_requests_total", &["handler=\"one\""], 3.0);
    assert_eq!(daemon.log.count("+job one("), before);
}

#[test]
fn a_masked_value_is_in_no_line_whatever_the_format() {
    for format in ["true", "\"common\"", "\"combined\"", "\"json\""] {
        let daemon = logging(&format!("access_log = {format}\nmask_query = [\"token\", \"key\"]")).start();

        daemon.client().ask("GET", "/?%74oken=s3cret&key=s3cret", "Referer: http://x/?key=s3cret\r\n");
        let mut client = daemon.client();
        client.send("GET /?key=s3cret HTTP/1.1\r\nbad field\r\n\r\n");
        client.response();

        daemon.log.line("key=***");
        until("both requests to be logged", || (daemon.log.count("?") >= 2).then_some(()));
        assert_eq!(daemon.log.count("s3cret"), 0, "{}", daemon.log.text());
    }
}

#[test]
fn a_line_that_is_no_request_is_quoted_once_in_every_format() {
    for (format, wanted) in [
        ("true", "INFO \"no such line?token=***\" -> 400 "),
        ("\"common\"", "] \"no such line?token=***\" 400 "),
        ("\"combined\"", "] \"no such line?token=***\" 400 "),
        ("\"json\"", "\"target\":\"\\\"no such line?token=***\\\"\""),
    ] {
        let daemon = logging(&format!("access_log = {format}\nmask_query = [\"token\"]")).start();
        let mut client = daemon.client();

        client.send("no such line?token=s3cret\r\n\r\n");

        assert_eq!(client.response().status(), 400, "{format}");
        let line = daemon.log.line("no such line");
        assert!(line.contains(wanted), "{format}: {line}");
    }
}

#[test]
fn a_masked_value_is_in_no_line_about_an_explained_url() {
    let daemon = logging("mask_query = [\"token\"]").start();

    let ended = daemon.verb(&["explain", "GET", "/b/c?token=s3cret&x=1"]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    daemon.log.line("+job explain(GET, /b/c?token=***&x=1)");
    daemon.log.line("-job explain(");
    assert_eq!(daemon.log.count("s3cret"), 0, "{}", daemon.log.text());
}
