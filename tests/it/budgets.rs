//! The shared budgets of the process, while one handler takes as much as it can.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{
    Client, Daemon, PATIENCE, Program, Setup, figure, finish, found, portcullis, until, within,
};
use crate::lifecycle::hello;

/// The metric of descriptors that jobs hold.
const DESCRIPTORS: &str = "portcullis_jobs_descriptors";

/// The metric of memory that jobs hold.
const MEMORY: &str = "portcullis_jobs_memory_bytes";

/// The mount of handlers that open files.
const MOUNTS: &str = "mounts = [{ host = \"data\", guest = \"/data\" }]";

/// A daemon with an admin socket and a directory to mount.
fn operated(lines: &str) -> Setup {
    let setup = Setup::new("admin = \"unix://admin.sock\"\n").add(lines);
    fs::create_dir(setup.path("data")).unwrap();
    fs::write(setup.path("data/f"), "content").unwrap();
    setup
}

/// Requests a target over `times` connections, without waiting for a response.
fn ask(daemon: &Daemon, target: &str, times: usize) -> Vec<Client> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    let clients = (0..times).map(|_| {
        let mut client = daemon.client();
        client.send(&request);
        client
    });
    clients.collect()
}

#[test]
fn a_handler_that_opens_all_it_can_locks_nobody_out() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }
    let reads = Program::text().await_file("f").say("read\n").wasm();
    let settings = format!("{MOUNTS}\nlimits.handles = 256\nlimits.time = \"none\"");
    let daemon = operated("")
        .handler("hoard", &settings, &Program::new().hoard("f").sleep_for_ever().wasm())
        .handler("reads", &settings, &reads)
        .under(&["prlimit", "--nofile=1024:1024"])
        .start();
    daemon.log.line("file descriptors at once (hoard: 64 jobs, reads: 64 jobs)");

    let hoarding = ask(&daemon, "/hoard", 200);
    let most = daemon.metric("portcullis_jobs_descriptors_limit", &[]);
    // Seven eighths of the budget, and not one more.
    until("all that the handler may have is taken", || {
        (daemon.metric(DESCRIPTORS, &[]) >= (most * 7.0 / 8.0).floor() - 1.0).then_some(())
    });

    for _ in 0..20 {
        assert_eq!(daemon.get("/reads").text(), "read\n");
        assert_eq!(daemon.get("/healthz").status(), 200);
    }
    // The rest of 1024, without connections and the reserve.
    assert!(most < 400.0 && daemon.metric(DESCRIPTORS, &[]) <= most, "{most}");
    drop(hoarding);
    daemon.counted(DESCRIPTORS, &[], 0.0);
    assert_eq!(daemon.get("/reads").text(), "read\n");
}

#[test]
fn handlers_that_do_nothing_hold_no_threads() {
    let reads = Program::text().await_file("f").say("read\n").wasm();
    let handlers =
        (0..10).fold(operated(""), |setup, number| setup.handler(&format!("h{number}"), MOUNTS, &reads));
    let daemon = handlers.start();
    let threads = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim_end() == "files").count()
    };
    assert_eq!(daemon.get("/h3").text(), "read\n");

    // Ten seconds after the last job, and the same again for a check that just missed it.
    within(Duration::from_secs(60), "no thread is left", || (threads() == 0).then_some(()));

    assert_eq!(daemon.get("/h3").text(), "read\n");
    // An operation starts another thread if the previous thread is not idle yet. One thread for each handler would
    // make ten.
    assert!((1..10).contains(&threads()), "{}", threads());
}

#[test]
fn a_job_that_closes_its_files_can_open_others() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }
    let close = "(local.set $count (i32.const 4))
        (loop $close
          (drop (call $fd_close (local.get $count)))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br_if $close (i32.lt_u (local.get $count) (i32.const 300))))";
    let program = || Program::text().hoard("f").code(close).await_file("f").code(close).await_file("f");
    let daemon = operated("")
        .handler("one", MOUNTS, &program().say("opened\n").wasm())
        .handler("waits", MOUNTS, &program().code(close).say("closed\n").sleep_for_ever().wasm())
        .under(&["prlimit", "--nofile=256:256"])
        .start();

    assert_eq!(daemon.get("/one").text(), "opened\n");
    daemon.counted(DESCRIPTORS, &[], 0.0);
    let mut waiting = ask(&daemon, "/waits", 1).remove(0);
    waiting.head();
    assert_eq!(waiting.chunk(), b"closed\n");
    // One for its next file, in addition to those from its start.
    daemon.counted(DESCRIPTORS, &[], 3.0);
}

#[test]
fn jobs_for_which_there_are_no_descriptors_are_a_503_that_says_so() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }
    let settings = format!("{MOUNTS}\nlimits.queue_time = \"200ms\"");
    let daemon = operated("reason_header = true\n")
        .handler("hoard", &settings, &Program::new().hoard("f").sleep_for_ever().wasm())
        .under(&["prlimit", "--nofile=256:256"])
        .start();
    let mut hoarding = ask(&daemon, "/hoard", 30);

    until("a job is refused", || {
        (daemon.so_far("portcullis_failures_total", &["reason=\"descriptors_total\""]) > 0.0).then_some(())
    });
    let silent = Duration::from_millis(20);
    // It is counted before its client has the response.
    let refused = until("its client is told", || {
        hoarding.iter_mut().find_map(|client| (!client.is_silent_for(silent)).then(|| client.response()))
    });

    assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("1")), "{refused:?}");
    assert_eq!(refused.field("x-portcullis-reason"), Some("descriptors_total"));
}

#[test]
fn memory_of_all_jobs_together_is_bounded_and_one_handler_leaves_some_to_others() {
    let daemon = operated("[limits]\ntotal_memory = \"16MiB\"\n")
        .handler("grow", "", &Program::text().grow().sleep_for_ever().wasm())
        .handler("other", "", &hello())
        .start();
    let mut hog = ask(&daemon, "/grow", 1).remove(0);
    hog.head();

    // Seven eighths of 256 pages. Its table takes none.
    assert_eq!(hog.chunk(), b"224");
    assert_eq!(daemon.get("/other").text(), "hello\n");
    assert!(daemon.metric(MEMORY, &[]) <= 14.0 * 1024.0 * 1024.0);
    drop(hog);
    daemon.counted(MEMORY, &[], 0.0);
}

#[test]
fn a_job_that_starts_with_more_than_a_little_memory_gets_it_from_the_reserve() {
    let daemon = operated("[limits]\ntotal_memory = \"64MiB\"\n")
        .handler("grow", "", &Program::text().grow().sleep_for_ever().wasm())
        // 5 MiB: a thirteenth of the whole.
        .handler("large", "", &Program::text().of_pages(80).say("large\n").wasm())
        .handler("small", "", &hello())
        .start();
    let mut hog = ask(&daemon, "/grow", 1).remove(0);
    hog.head();
    assert_eq!(hog.chunk(), b"896");

    assert_eq!(daemon.get("/large").text(), "large\n");
    assert_eq!(daemon.get("/small").text(), "hello\n");
}

#[test]
fn a_job_whose_memory_is_not_free_waits_and_is_then_a_503_that_says_so() {
    let large = Program::text().of_pages(100).say("large\n").wasm();
    let daemon =
        operated("reason_header = true\n[limits]\ntotal_memory = \"16MiB\"\nqueue_time = \"300ms\"\n")
            .handler("grow", "", &Program::text().grow().sleep_for_ever().wasm())
            .handler("large", "", &large)
            .handler("patient", "limits.queue_time = \"60s\"", &large)
            .start();
    assert_eq!(daemon.get("/large").text(), "large\n");
    let mut hog = ask(&daemon, "/grow", 1).remove(0);
    hog.head();
    hog.chunk();
    let mut patient = ask(&daemon, "/patient", 1).remove(0);

    let refused = daemon.get("/large");

    assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("1")), "{refused:?}");
    assert_eq!(refused.field("x-portcullis-reason"), Some("memory_total"));
    assert!(refused.text().contains("limits.total_memory"), "{refused:?}");
    daemon.counted("portcullis_failures_total", &["handler=\"large\"", "reason=\"memory_total\""], 1.0);
    drop(hog);
    assert_eq!(patient.response().text(), "large\n");
}

#[test]
fn a_guest_that_exits_for_want_of_shared_memory_did_not_fail() {
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))";
    let daemon = operated("reason_header = true\n[limits]\ntotal_memory = \"16MiB\"\n")
        .handler("exits", "", &Program::new().code(grow).exit(1).wasm())
        .start();

    let refused = daemon.get("/exits");

    assert_eq!((refused.status(), refused.field("x-portcullis-reason")), (503, Some("memory_total")));
}

/// A program that calls itself `depth` times, and reads its input at the deepest point.
fn recurses(depth: u32) -> Vec<u8> {
    let code = format!(
        "(i32.store (i32.const 200) (i32.add (i32.load (i32.const 200)) (i32.const 1)))
         (if (i32.lt_u (i32.load (i32.const 200)) (i32.const {depth})) (then (call $main) (return)))"
    );
    Program::new()
        .code(&code)
        .complain("is deep\n")
        .read_once()
        .say("Content-Type: text/plain\n\nback\n")
        .wasm()
}

/// Sums up the resident size of the 1 MiB mappings, which are the stacks of guests, in KiB.
fn resident_stacks(daemon: &Daemon) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{}/smaps", daemon.pid())).unwrap();
    let mut lines = maps.lines();
    let mut value = |name: &str| {
        let line = lines.find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let maps = std::iter::from_fn(|| Some((value("Size:")?, value("Rss:")?)));
    maps.filter(|(size, _)| *size == 1024).map(|(_, resident)| resident).sum()
}

#[test]
fn stacks_that_were_deep_are_given_back_where_memory_is_short() {
    // Fewer than one handler may have at once.
    const JOBS: usize = 48;
    let resident = |total: &str| {
        let daemon =
            operated(&format!("[limits]\ntotal_memory = \"{total}\"\n[hardening]\nprivileges = false\n"))
                .handler("deep", "body = \"stream\"", &recurses(10_000))
                .start();
        let mut clients: Vec<Client> = (0..JOBS).map(|_| daemon.client()).collect();
        let head = "POST /deep HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n";
        clients.iter_mut().for_each(|client| client.send(head));
        daemon.log.lines(JOBS, "deep: is deep");
        for mut client in clients {
            client.send("x");
            assert_eq!(client.response().text(), "back\n");
        }
        resident_stacks(&daemon)
    };

    // 15 MiB, or only the tops of the stacks.
    let (plenty, little) = (resident("16GiB"), resident("64MiB"));
    assert!(plenty > 10 << 10 && little < 5 << 10, "{plenty} KiB, {little} KiB");
}

#[test]
fn what_a_configuration_asks_for_beyond_what_there_is_is_told_before_it_is_missed() {
    let setup = operated("[limits]\ntotal_memory = \"1GiB\"\n").handler("one", "", &hello());
    let file = setup.path("portcullis.toml");
    let checked =
        finish(portcullis().env("HOME", setup.path("")).arg("check").arg("-c").arg(&file), b"", PATIENCE);

    let warning = "limits.memory: jobs may have 8192 MiB at once (one: 64 jobs), and there is 1024 MiB for all jobs \
                   (limits.total_memory)";
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(checked.stderr.contains(warning), "{}", checked.stderr);
    let daemon = setup.start();
    daemon.log.line(warning);
    assert_eq!(daemon.get("/one").text(), "hello\n");
}

#[test]
fn the_memory_of_all_jobs_is_refused_at_a_handler() {
    let ended = operated("").handler("one", "limits.total_memory = \"1GiB\"", &hello()).fail();

    let wanted =
        "handler.one.limits.total_memory: applies to all handlers together: set total_memory in [limits]";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
}

/// A control group with a memory limit. Dropping it deletes the group.
struct Group(PathBuf);

impl Group {
    /// Makes a group below that of this process. Returns `None`, with a message, if this host does
    /// not allow it.
    fn of_memory(bytes: u64) -> Option<Group> {
        let made = Group::make(bytes);
        let advice = "a control group of memory cannot be made: run as root, where memory is delegated";
        assert!(made.is_some() || std::env::var_os("CI").is_none(), "{advice}");
        if made.is_none() {
            figure(&format!("skipped: {advice}"));
        }
        made
    }

    fn make(bytes: u64) -> Option<Group> {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        // Version 1 if it controls memory, otherwise version 2.
        let of = |mark: &str| {
            groups.lines().find_map(|line| Some(line.split_once(mark)?.1.trim_start_matches('/')))
        };
        let (own, file) = match of(":memory:") {
            Some(own) => (Path::new("/sys/fs/cgroup/memory").join(own), "memory.limit_in_bytes"),
            None => (Path::new("/sys/fs/cgroup").join(of("0::")?), "memory.max"),
        };
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let group = Group(own.join(format!("portcullis-{}-{number}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(file), bytes.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The processes in it have ended, but the kernel may not have noticed yet.
        let gone = || fs::remove_dir(&self.0).is_ok();
        let _gone = (0..1000).any(|_| {
            std::thread::park_timeout(Duration::from_millis(2));
            gone()
        });
    }
}

#[test]
fn jobs_within_their_limits_do_not_have_the_daemon_killed_in_a_small_control_group() {
    let Some(group) = Group::of_memory(256 << 20) else { return };
    // 100 MiB, with a write to every page.
    let fill = "(if (i32.eq (memory.grow (i32.const 1600)) (i32.const -1)) (then (unreachable)))
        (memory.fill (i32.const 0x40000) (i32.const 1) (i32.const 0x6400000))";
    let daemon = operated("reason_header = true\n")
        .handler(
            "fill",
            "limits.cpu = \"20s\"",
            &Program::new().code(fill).say("Content-Type: text/plain\n\nfull").sleep_for_ever().wasm(),
        )
        .handler("other", "", &hello())
        .under(&["sh", "-c", "echo $$ > $0/cgroup.procs && exec \"$@\"", group.0.to_str().unwrap()])
        .start();
    daemon.log.line("and one handler gets 126 MiB at most of 144 MiB for all jobs");

    let mut answers = ask(&daemon, "/fill", 8);
    daemon.counted("portcullis_failures_total", &["handler=\"fill\"", "reason=\"memory_total\""], 7.0);

    let heads = answers.iter_mut().map(Client::head);
    let refused = heads.filter(|head| head.starts_with("HTTP/1.1 503 ") && head.contains("memory_total"));
    assert_eq!(refused.count(), 7);
    for _ in 0..20 {
        assert_eq!(daemon.get("/other").text(), "hello\n");
    }
}

#[test]
fn mounts_that_a_reload_adds_leave_fewer_descriptors_to_jobs() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }
    let reads = Program::text().await_file("f").say("read\n").wasm();
    let daemon =
        operated("").handler("one", MOUNTS, &reads).under(&["prlimit", "--nofile=1024:1024"]).start();
    let config = daemon.path("portcullis.toml");
    let alone = fs::read_to_string(&config).unwrap();
    let with = |more: usize| {
        let handler = |number| format!("\n[handler.h{number}]\nmodule = \"one.wasm\"\n{MOUNTS}\n");
        fs::write(&config, alone.clone() + &(0..more).map(handler).collect::<String>()).unwrap();
        daemon.signal(Signal::HUP);
    };
    let limit = || daemon.metric("portcullis_jobs_descriptors_limit", &[]);
    let before = limit();

    with(10);
    daemon.log.line("reloaded: generation 2");
    // Two for a mount, and five for its threads.
    assert_eq!(limit(), before - 70.0);

    // A configuration that would leave too little is refused, and the old one keeps serving.
    with(60);
    daemon.log.line("the mounts of all handlers hold 427 while nothing runs");
    assert_eq!(limit(), before - 70.0);
    assert_eq!(daemon.get("/one").text(), "read\n");

    with(0);
    daemon.log.line("reloaded: generation 3");
    assert_eq!(limit(), before);
}
