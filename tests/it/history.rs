//! The history of ended jobs: what is listed, what is shown of one job, and what is kept.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Client, Daemon, Origin, PATIENCE, Program, Setup, finish, guests, portcullis, until};
use crate::trace_contexts::{TRUSTING, traceparent};
use crate::traces::TRACE;

/// Two handlers: the first answers, the second complains and traps.
fn setup() -> Setup {
    let traps = Program::new().complain("looking\nfound \x1b[2J\n").trap();
    Setup::one("env = { TOKEN = \"s3cret\" }", &Program::text().complain("fine\n").say("hi").wasm())
        .handler("bad", "", &traps.wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
}

/// Runs `history` with these arguments.
pub(crate) fn history(daemon: &Daemon, args: &[&str]) -> Vec<Value> {
    let ended = daemon.verb(&[&["history", "--json"], args].concat());
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    serde_json::from_slice(&ended.stdout).unwrap()
}

/// Waits until this many jobs are listed.
pub(crate) fn listed(daemon: &Daemon, args: &[&str], count: usize) -> Vec<Value> {
    until("the jobs in the history", || Some(history(daemon, args)).filter(|jobs| jobs.len() == count))
}

/// Returns what `show` prints of a listed job.
pub(crate) fn shown(daemon: &Daemon, job: &Value) -> String {
    let ended = daemon.verb(&["show", job["id"].as_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn ended_jobs_are_listed_with_their_times_and_without_credentials() {
    let daemon = setup().start();
    assert_eq!(daemon.client().submit("POST", "/?token=s3cret", "Cookie: s3cret\r\n", b"body").status(), 200);
    // A job is listed a moment after its response, and they are listed in that order.
    listed(&daemon, &[], 1);
    assert_eq!(daemon.get("/bad").status(), 502);

    let jobs = listed(&daemon, &[], 2);

    assert!(!format!("{jobs:?}").contains("s3cret"), "{jobs:?}");
    let (well, bad) = (&jobs[0], &jobs[1]);
    assert_eq!((&well["handler"], &well["outcome"]), (&"one".into(), &"ok".into()));
    let request = &well["request"];
    assert_eq!((&request["method"], &request["path"]), (&"POST".into(), &"/".into()));
    assert_eq!(
        (&request["status"], &request["sent"], &request["complete"]),
        (&200.into(), &2.into(), &true.into())
    );
    assert_eq!((&request["route"], &request["client"]), (&"/".into(), &"127.0.0.1".into()));
    let run = &well["run"];
    assert_eq!((&run["status"], &run["stderr"]), (&0.into(), &"fine".into()));
    let ms = |value: &Value| value.as_f64().unwrap();
    let times = [&run["started_ms"], &run["ended_ms"], &well["total_ms"]].map(ms);
    assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");
    let times =
        [&run["started_ms"], &request["first_byte_ms"], &request["ended_ms"], &well["total_ms"]].map(ms);
    assert!(times.is_sorted(), "{times:?}");
    assert!(ms(&run["limits"]["memory"]) > 0.0 && run["memory"].as_u64() >= Some(4 << 16), "{run}");
    assert_eq!((&bad["outcome"], &bad["run"]["status"]), (&"trapped".into(), &134.into()));
    assert_eq!((well.get("trace_id"), bad.get("trace_id")), (Some(&Value::Null), Some(&Value::Null)));
    assert_eq!(listed(&daemon, &["--failed"], 1)[0]["id"], bad["id"]);
    assert_eq!(listed(&daemon, &["one", "-n", "5"], 1)[0]["id"], well["id"]);
}

#[test]
fn an_error_that_a_handler_answers_with_is_a_failed_request_everywhere() {
    let answers =
        |status: u16| Program::new().say(&format!("Status: {status}\nContent-Type: text/plain\n\nx")).wasm();
    let daemon = setup().handler("sorry", "", &answers(500)).handler("none", "", &answers(404)).start();
    for (path, status) in [("/", 200), ("/none", 404), ("/sorry", 500)] {
        assert_eq!(daemon.get(path).status(), status, "{path}");
    }
    listed(&daemon, &[], 3);

    let failed = &listed(&daemon, &["--failed"], 1)[0];

    assert_eq!((&failed["handler"], &failed["outcome"]), (&"sorry".into(), &"answered 500".into()));
    assert_eq!(
        (&failed["message"], &failed["run"]["status"]),
        (&Value::Null, &0.into()),
        "the job went well"
    );
    let text = shown(&daemon, failed);
    assert!(text.contains("outcome     answered 500\nexit status 0\n"), "{text}");
    let handlers: Vec<Value> = serde_json::from_slice(&daemon.verb(&["handlers", "--json"]).stdout).unwrap();
    let counted = |name: &str| {
        let handler = handlers.iter().find(|handler| handler["name"] == name).unwrap();
        ["failures", "answered_errors"].map(|key| handler[key].as_u64().unwrap())
    };
    assert_eq!(["one", "none", "sorry"].map(counted), [[0, 0], [0, 0], [1, 1]]);
}

#[test]
fn the_job_of_a_gate_has_the_request_that_it_answers() {
    let says = |text: &str| Program::new().say(text).wasm();
    let daemon = setup()
        .handler("page", "", &Program::text().say("page").wasm())
        .add("before = [\"opens\", \"login\"]\n")
        .handler("opens", "", &says("Status: 204\n\n"))
        .handler("login", "", &says("Status: 503\n\nlater\n"))
        .start();
    assert_eq!(daemon.get("/page").status(), 503);

    let jobs = listed(&daemon, &[], 2);

    let [opens, login] =
        ["opens", "login"].map(|name| jobs.iter().find(|job| job["handler"] == name).unwrap());
    assert_eq!((&opens["outcome"], &opens["request"]), (&"ok".into(), &Value::Null));
    let request = &login["request"];
    assert_eq!((&request["path"], &request["route"]), (&"/page".into(), &"/page".into()));
    assert_eq!((&request["status"], &login["run"]["status"]), (&503.into(), &0.into()));
    assert_eq!(listed(&daemon, &["--failed"], 1)[0]["id"], login["id"]);
}

#[test]
fn one_job_is_shown_with_its_timeline_its_stack_and_its_stderr() {
    let daemon = setup().start();
    assert_eq!(daemon.get("/bad").status(), 502);

    let text = shown(&daemon, &listed(&daemon, &[], 1)[0]);

    for line in [
        "request     GET /bad (route /bad) from 127.0.0.1",
        "response    502, ",
        "outcome     trapped: wasm `unreachable` instruction executed",
        "exit status 134",
        "of limits   memory ",
        " got its slot after ",
        " the guest started\n",
        " its run ended\n",
        " head of the response\n",
        "0: main",
        "stderr      looking\n            found \\u{1b}[2J\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_job_shows_the_jobs_that_it_called() {
    let module = fs::read(guests().join("calls.wasm")).unwrap();
    let settings = "output = \"raw\"\nargs = [\"call\", \"back\", \"upper\"]\ncalls = [\"back\"]\n";
    let daemon = Setup::new("admin = \"unix://admin.sock\"\n")
        .handler("front", settings, &module)
        .handler("back", "output = \"raw\"\n", &module)
        .start();
    assert_eq!(daemon.client().submit("POST", "/front", "", b"words").status(), 200);

    let jobs = listed(&daemon, &[], 2);

    let [front, back] = ["front", "back"].map(|name| jobs.iter().find(|job| job["handler"] == name).unwrap());
    assert_eq!((&back["parent"], &back["request"]), (&front["id"], &Value::Null));
    let called = format!(" job {} of back: ok after ", back["id"].as_str().unwrap());
    assert!(shown(&daemon, front).contains(&called), "{}", shown(&daemon, front));
}

#[test]
fn a_traced_job_and_the_job_that_it_called_show_their_trace() {
    let module = fs::read(guests().join("calls.wasm")).unwrap();
    let settings = "output = \"raw\"\nargs = [\"call\", \"back\", \"upper\"]\ncalls = [\"back\"]\n";
    let daemon = Setup::new("admin = \"unix://admin.sock\"\n")
        .handler("front", settings, &module)
        .handler("back", "output = \"raw\"\n", &module)
        .add(TRUSTING)
        .start();
    let field = traceparent("00");
    assert_eq!(daemon.client().submit("POST", "/front", &field, b"words").status(), 200);

    let jobs = listed(&daemon, &[], 2);

    for job in &jobs {
        assert_eq!(job["trace_id"], TRACE, "{job}");
        let text = shown(&daemon, job);
        assert!(text.contains(&format!("\ntrace       {TRACE}\n")), "{text}");
    }
}

#[test]
fn a_job_shows_its_calls_to_other_servers_without_their_paths() {
    let origin = Origin::text("127.0.0.1", "hello");
    let url = format!("http://127.0.0.1:{}", origin.port());
    let module = fs::read(guests().join("fetch-wasip2.wasm")).unwrap();
    let daemon = Setup::one(&format!("allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.1\"]"), &module)
        .prepend("admin = \"unix://admin.sock\"\n")
        .start();
    let calls = format!("GET {url}/a?token=s3cret\nGET http://127.0.0.1:1/b");
    assert_eq!(daemon.client().submit("POST", "/", "", calls.as_bytes()).status(), 200);

    let text = shown(&daemon, &listed(&daemon, &[], 1)[0]);

    assert!(text.contains(&format!(" call to {url}: answered after ")), "{text}");
    assert!(text.contains(" call to http://127.0.0.1:1: denied after "), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn a_failure_stays_while_successes_come_and_go() {
    let daemon = setup().prepend("history = \"64KiB\"\n").start();
    assert_eq!(daemon.get("/bad").status(), 502);
    let failed = listed(&daemon, &[], 1)[0]["id"].clone();
    let mut client = daemon.client();

    for _ in 0..300 {
        assert_eq!(client.get("/").status(), 200);
    }

    let jobs = history(&daemon, &["-n", "1000"]);
    assert!((5..200).contains(&jobs.len()), "{}", jobs.len());
    assert!(jobs.iter().any(|job| job["id"] == failed));
    let status = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    assert!(status.contains("KiB of 64 KiB"), "{status}");
}

#[test]
fn a_client_that_leaves_and_a_job_without_a_slot_are_told_apart_from_failures_of_the_handler() {
    let slow = Program::text().sleep_for_ever().wasm();
    let daemon = Setup::one("limits.concurrency = 1\nlimits.queue = 0", &slow)
        .prepend("admin = \"unix://admin.sock\"\n")
        .start();
    let mut leaving = daemon.client();
    leaving.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the job runs", || (daemon.metric("portcullis_jobs_running", &["one"]) > 0.0).then_some(()));
    assert_eq!(daemon.get("/").status(), 503);

    leaving.reset();

    let jobs = listed(&daemon, &["--failed"], 2);
    let of = |outcome: &str| {
        jobs.iter().find(|job| job["outcome"] == outcome).unwrap_or_else(|| panic!("{jobs:?}"))
    };
    assert_eq!(
        (&of("queue_limit")["run"]["started_ms"], &of("queue_limit")["request"]["status"]),
        (&Value::Null, &503.into())
    );
    assert_eq!(
        (&of("cancelled")["request"]["status"], &of("cancelled")["request"]["complete"]),
        (&Value::Null, &false.into())
    );
    assert!(shown(&daemon, of("queue_limit")).contains(" was refused a slot\n"));
}

#[test]
fn a_recorded_failure_names_the_replay_that_runs_it_again() {
    let daemon = setup()
        .handler("kept", "record = \"failures\"", &Program::new().complain("why\n").exit(3).wasm())
        .prepend("record_dir = \"failures\"\n")
        .start();
    assert_eq!(daemon.get("/kept").status(), 502);
    daemon.log.line("is recorded: portcullis replay ");

    let text = shown(&daemon, &listed(&daemon, &[], 1)[0]);

    let command = text.lines().find_map(|line| line.strip_prefix("run again   portcullis ")).unwrap();
    let words: Vec<&str> = command.split(' ').collect();
    let again = finish(portcullis().args(&words), b"", PATIENCE);
    assert!(again.stderr.contains("the outcome is the same"), "{}", again.stderr);
    assert!(
        text.contains("outcome     ended with exit status 3 before it had answered: why (exited)"),
        "{text}"
    );
}

#[test]
fn history_is_switched_off_and_on_by_a_reload() {
    let daemon = setup().prepend("history = \"none\"\n").start();
    assert_eq!(daemon.get("/").status(), 200);
    let refused = daemon.verb(&["history"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("set history = \"4MiB\" and reload"), "{}", refused.stderr);

    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("history = \"none\"", "history = \"1MiB\"")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.log.line("reloaded: generation 2");
    assert_eq!(daemon.get("/").status(), 200);

    let job = &listed(&daemon, &[], 1)[0];
    assert_eq!(job["request"]["status"], 200);
}

#[test]
fn what_is_not_in_the_history_is_said_with_the_reason() {
    let slow = Program::text().sleep_for_ever().wasm();
    let daemon = setup().handler("slow", "limits.time = \"none\"", &slow).start();
    let mut client = Client::tcp(daemon.port());
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    let id = until("the job runs", || {
        let jobs: Vec<Value> = serde_json::from_slice(&daemon.verb(&["jobs", "--json"]).stdout).unwrap();
        let job = jobs.iter().find(|job| job["handler"] == "slow")?;
        Some(job["id"].as_str().unwrap().to_owned())
    });

    for (args, wanted) in [
        (["show", id.as_str()], "still runs: `portcullis jobs` shows it"),
        (["show", "1f"], "job 000000000000001f is not in the history"),
        (["show", "no id"], "\"no id\" is not the id of a job"),
        (["history", "nobody"], "there is no handler \"nobody\": `portcullis handlers` lists them"),
    ] {
        let ended = daemon.verb(&args);
        assert_eq!(ended.code, Some(1), "{args:?}");
        assert!(ended.stderr.contains(wanted), "{args:?}: {}", ended.stderr);
    }
}
