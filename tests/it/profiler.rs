//! The profiler, whose pages the admin socket serves in debug mode.

use serde_json::Value;

use crate::harness::{Client, Crowd, Daemon, PATIENCE, Program, Response, Setup, within};

/// Three handlers: the first computes in a function of its own, the second wakes up again and again, the third waits
/// forever.
fn setup() -> Setup {
    let spins = r#"(module (memory (export "memory") 1)
        (func $inner (loop $spin (br $spin))) (func $outer (call $inner))
        (func $start (export "_start") (call $outer)))"#;
    let naps = "(loop $again (call $sleep (i64.const 150000000)) (br $again))";
    Setup::new("")
        .handler("bad", "limits = { cpu = \"20s\", time = \"20s\" }", &wat::parse_str(spins).unwrap())
        .handler("naps", "", &Program::new().code(naps).wasm())
        .handler("waits", "", &Program::new().sleep_for_ever().wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
}

fn page(daemon: &Daemon, path: &str) -> Response {
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    client.response()
}

/// Waits until every handler has a running job, and until the third handler's job is past its start.
fn all_run(daemon: &Daemon) {
    within(PATIENCE, "every handler has a job", || {
        let running = |name: &str| daemon.metric("portcullis_jobs_running", &[name]) > 0.0;
        ["bad", "naps", "waits"].into_iter().all(running).then_some(())
    });
    within(PATIENCE, "a job waits", || {
        let jobs = page(daemon, "/debug/jobs");
        let waits = |line: &str| line.contains(" waits@") && line.ends_with(": waits");
        jobs.text().lines().any(waits).then_some(())
    });
}

#[test]
fn a_profile_names_the_function_that_computes_and_none_that_waits() {
    let daemon = setup().prepend("debug = true\n").start();
    let _crowds = ["/bad", "/naps", "/waits"].map(|path| Crowd::on(daemon.port(), path, 1));
    all_run(&daemon);

    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| page(&daemon, "/debug/profile?seconds=2"));
        (page(&daemon, "/debug/profile?seconds=1"), other.join().unwrap())
    });

    for response in [one, other] {
        let text = response.text();
        assert_eq!(response.status(), 200, "{text}");
        let (stack, count) = text.lines().next().unwrap_or_default().rsplit_once(' ').unwrap();
        assert_eq!(stack, "bad;start;outer;inner", "{text}");
        let count: u32 = count.parse().unwrap();
        assert!(count >= 5, "{text}");
        // A sample may hit a job just as it wakes up, more often on a busy machine.
        let naps = text.lines().filter_map(|line| line.strip_prefix("naps;")?.rsplit(' ').next());
        let met: u32 = naps.map(|count| count.parse::<u32>().unwrap()).sum();
        assert!(met <= 3.max(count / 20) && !text.contains("waits"), "{text}");
    }
}

/// The parts of pprof's `profile.proto` that a test reads.
#[derive(Clone, PartialEq, prost::Message)]
struct Pprof {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<PprofType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<PprofSample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<PprofLocation>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<PprofFunction>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<PprofType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PprofType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PprofSample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PprofLocation {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<PprofLine>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PprofLine {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PprofFunction {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

impl Pprof {
    fn text(&self, number: i64) -> &str {
        &self.string_table[usize::try_from(number).unwrap()]
    }

    /// Returns the names of the functions of a sample, the innermost first.
    fn stack(&self, sample: &PprofSample) -> Vec<&str> {
        let function = |location: &u64| {
            let location = self.location.iter().find(|found| found.id == *location).unwrap();
            let function = self.function.iter().find(|found| found.id == location.line[0].function_id);
            self.text(function.unwrap().name)
        };
        sample.location_id.iter().map(function).collect()
    }
}

#[test]
fn a_profile_is_also_what_pprof_the_firefox_profiler_and_a_browser_open() {
    let daemon = setup().prepend("debug = true\n").start();
    let _crowds = ["/bad", "/naps", "/waits"].map(|path| Crowd::on(daemon.port(), path, 1));
    all_run(&daemon);

    let [pprof, firefox, svg] = std::thread::scope(|scope| {
        let daemon = &daemon;
        let pages = ["pprof", "firefox", "svg"].map(|format| {
            scope.spawn(move || page(daemon, &format!("/debug/profile?seconds=1&format={format}")))
        });
        pages.map(|page| page.join().unwrap())
    });

    let profile = <Pprof as prost::Message>::decode(&*pprof.body).unwrap();
    let most = profile.sample.iter().max_by_key(|sample| sample.value[0]).unwrap();
    assert_eq!(profile.stack(most), ["inner", "outer", "start", "bad"]);
    assert_eq!((most.value[1], profile.period), (most.value[0] * profile.period, 10_000_000));
    let types: Vec<_> =
        profile.sample_type.iter().map(|kind| (profile.text(kind.kind), profile.text(kind.unit))).collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    assert_eq!((profile.string_table[0].as_str(), profile.duration_nanos), ("", 1_000_000_000));

    let profile: Value = serde_json::from_slice(&firefox.body).unwrap();
    let threads = profile["threads"].as_array().unwrap();
    let thread =
        threads.iter().find(|thread| thread["name"] == "bad").unwrap_or_else(|| panic!("{profile:#}"));
    let weight: i64 = thread["samples"]["weight"].as_array().unwrap().iter().filter_map(Value::as_i64).sum();
    assert!(weight >= 5 && profile["meta"]["preprocessedProfileVersion"].is_u64(), "{profile:#}");
    assert!(profile.to_string().contains("\"inner\""), "{profile:#}");

    let svg = svg.text();
    assert!(svg.contains("<svg") && svg.contains("<title>inner (") && svg.contains("<title>bad ("), "{svg}");
}

#[test]
fn a_heap_profile_names_the_functions_of_the_daemon_that_allocate() {
    let daemon = Setup::one("", &Program::text().say("hi").wasm())
        .prepend("debug = true\nadmin = \"unix://admin.sock\"\n")
        .start();
    let _crowd = Crowd::on(daemon.port(), "/", 2);

    let text = page(&daemon, "/debug/heap?seconds=2&of=allocated");
    let pprof = page(&daemon, "/debug/heap?seconds=1&format=pprof");
    let firefox = page(&daemon, "/debug/heap?seconds=1&format=firefox");

    assert_eq!(text.status(), 200, "{}", text.text());
    let lines: Vec<_> = text.text().lines().map(|line| line.rsplit_once(' ').unwrap()).collect();
    assert!(lines.iter().any(|(stack, _)| stack.contains(";portcullis::")), "{}", text.text());
    assert!(lines.iter().all(|(_, bytes)| bytes.parse::<u64>().unwrap() > 0), "{}", text.text());
    let profile = <Pprof as prost::Message>::decode(&*pprof.body).unwrap();
    let types: Vec<_> =
        profile.sample_type.iter().map(|kind| (profile.text(kind.kind), profile.text(kind.unit))).collect();
    assert_eq!(types[1], ("alloc_space", "bytes"));
    assert_eq!(types[3], ("inuse_space", "bytes"));
    assert!(
        profile.sample.iter().all(|sample| sample.value.len() == 4 && sample.value[1] >= sample.value[3])
    );
    assert!(!profile.sample.is_empty());
    assert_eq!(firefox.status(), 400);
}

#[test]
fn the_threads_are_listed_with_their_names_and_states() {
    let daemon = setup().prepend("debug = true\n").start();
    let _crowd = Crowd::on(daemon.port(), "/bad", 1);
    bad_runs(&daemon);

    // One handler computes all the time, at a low priority: a busy machine may not let it for a while.
    within(PATIENCE, "a thread that computes", || {
        let threads = page(&daemon, "/debug/threads");
        let text = threads.text();
        let first: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert!(text.starts_with("       id name ") && first.len() >= 6, "{text}");
        let now: f64 = first[5].parse().unwrap();
        (now > 5.0).then_some(())
    });
}

/// Waits until the handler that computes has a running job.
fn bad_runs(daemon: &Daemon) {
    within(PATIENCE, "a job computes", || {
        (daemon.metric("portcullis_jobs_running", &["bad"]) > 0.0).then_some(())
    });
}

#[test]
fn jobs_are_shown_with_the_place_where_they_are() {
    let daemon = setup().prepend("debug = true\n").start();
    let _crowds = ["/bad", "/naps", "/waits"].map(|path| Crowd::on(daemon.port(), path, 1));
    all_run(&daemon);

    // On a busy machine, a job may not be scheduled while it is sampled.
    within(PATIENCE, "the jobs at their places", || {
        let text = page(&daemon, "/debug/jobs").text().to_owned();
        let shown = |job: &str, place: &str| {
            text.lines().any(|line| line.contains(job) && line.ends_with(place)).then_some(())
        };
        shown(" bad@", ": computes in bad;start;outer;inner").and(shown(" waits@", ": waits"))
    });
}

#[test]
fn counters_tell_who_computes() {
    let daemon = setup().prepend("debug = true\n").start();
    let _crowds = ["/bad", "/naps", "/waits"].map(|path| Crowd::on(daemon.port(), path, 1));
    all_run(&daemon);

    let vars = within(PATIENCE, "half a second of processor time", || {
        let vars: Value = serde_json::from_str(page(&daemon, "/debug/vars").text()).unwrap();
        (vars["handlers"]["bad"]["cpu_ms"].as_u64().unwrap() > 500).then_some(vars)
    });

    assert!(vars["handlers"]["waits"]["cpu_ms"].as_u64().unwrap() < 100, "{vars:#}");
    let named = |name: &str| {
        vars["threads"].as_array().unwrap().iter().filter(|thread| thread["name"] == name).count()
    };
    assert!(named("worker") >= 1 && named("lane") >= 1 && named("ticker") == 1, "{vars:#}");
    // File threads have the same name.
    let workers = vars["workers"]["busy_ms"].as_array().unwrap().len();
    assert!((1..=named("worker")).contains(&workers), "{vars:#}");
    assert!(vars["cmdline"].as_array().unwrap().iter().any(|word| word == "serve"), "{vars:#}");
}

#[test]
fn processor_time_is_a_metric_of_each_handler_without_debug_mode() {
    let computes = Program::text().say("done").code(
        "(local.set $count (i32.const 40000000))
         (loop $next (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))",
    );
    let daemon = Setup::one("limits.cpu = \"20s\"", &computes.wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
        .start();

    assert_eq!(daemon.get("/").text(), "done");

    within(PATIENCE, "the time to be counted", || {
        (daemon.metric("portcullis_cpu_seconds_total", &["one"]) > 0.001).then_some(())
    });
}

#[test]
fn without_debug_mode_there_is_no_profiler_and_a_reload_switches_it() {
    const PAGES: [&str; 7] = [
        "/debug/",
        "/debug/profile?seconds=1",
        "/debug/jobs",
        "/debug/vars",
        "/debug/heap?seconds=1",
        "/debug/threads",
        "/debug/pprof/",
    ];
    let daemon = setup().start();
    let status = |path: &str| page(&daemon, path).status();
    let are_absent = || PAGES.iter().for_each(|path| assert_eq!(status(path), 404, "{path}"));
    are_absent();

    let config = daemon.path("portcullis.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("debug = true\n{text}")).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.log.line("reloaded: generation 2");

    let mut kept = Client::unix(&daemon.path("admin.sock"));
    let mut vars = || {
        kept.send("GET /debug/vars HTTP/1.1\r\nHost: localhost\r\n\r\n");
        kept.response().status()
    };
    assert_eq!((status("/debug/threads"), vars()), (200, 200));
    assert!(page(&daemon, "/debug/").text().contains("/debug/profile"));
    assert_eq!(daemon.get("/debug/").status(), 404, "clients have no profiler");

    std::fs::write(&config, text).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.log.line("reloaded: generation 3");

    are_absent();
    assert_eq!(vars(), 404, "on a connection from before");
}

#[test]
fn the_flag_of_debug_mode_brings_the_profiler_and_what_cannot_be_is_refused() {
    let daemon = setup().flag("-D").start();
    let status = |path: &str| page(&daemon, path).status();

    assert_eq!(status("/debug/vars"), 200);
    assert_eq!((status("/debug/profile?seconds=0"), status("/debug/profile?seconds=301")), (400, 400));
    assert_eq!(status("/debug/profile?format=png"), 400);
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send("POST /debug/vars HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.response().status(), 405);
}
