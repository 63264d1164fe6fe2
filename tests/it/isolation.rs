//! What a job can see of its neighbours, the daemon and the host: only what it was granted.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Daemon, Landlock, Program, Response, Setup, guests, until};

/// Serves one of the guests built with Rust, with its stdout as the body.
fn rust(name: &str, settings: &str) -> Setup {
    let module = fs::read(guests().join(format!("{name}.wasm"))).unwrap();
    Setup::one(settings, &module)
}

/// Splits the output of [`Program::environment`] after the head.
fn variables(response: &Response) -> Vec<&str> {
    let mut variables: Vec<&str> = response.text().split_terminator('\0').collect();
    variables.sort_unstable();
    variables
}

#[test]
fn a_job_sees_the_variables_of_its_request_and_none_of_the_daemon() {
    let module = Program::text().environment().wasm();
    let daemon = Setup::one("env = { GREETING = \"hi\" }", &module)
        .env("SECRET_OF_THE_DAEMON", "x")
        .env("HTTP_PROXY", "http://proxy")
        .start();
    let port = daemon.port();

    let response = daemon.client().ask("GET", "/?a=b", "X-Mine: 1\r\nProxy: evil\r\nX_Under: 2\r\n");

    let mut found = variables(&response);
    found.retain(|variable| !variable.starts_with("REQUEST_ID=") && !variable.starts_with("REMOTE_PORT="));
    assert_eq!(
        found,
        [
            "GATEWAY_INTERFACE=CGI/1.1",
            "GREETING=hi",
            "HTTP_HOST=test",
            "HTTP_X_MINE=1",
            "PATH_INFO=",
            "QUERY_STRING=a=b",
            "REMOTE_ADDR=127.0.0.1",
            "REMOTE_HOST=127.0.0.1",
            "REQUEST_METHOD=GET",
            "REQUEST_URI=/?a=b",
            "SCRIPT_NAME=/",
            "SERVER_NAME=test",
            &format!("SERVER_PORT={port}"),
            "SERVER_PROTOCOL=HTTP/1.1",
            "SERVER_SOFTWARE=Portcullis/0.1.0",
            "X_FULL_URL=http://test/?a=b",
            "X_MATCHED_ROUTE=/",
        ]
    );
}

#[test]
fn two_jobs_never_see_each_others_variables() {
    let daemon = Setup::one("", &Program::text().read_once().environment().wasm()).flag("-D").start();
    let mut clients = [daemon.client(), daemon.client()];
    for (turn, client) in clients.iter_mut().enumerate() {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nX-Only-{turn}: secret{turn}\r\nContent-Length: 1\r\n\r\n"
        ));
        daemon.log.lines(turn + 1, "+job one(");
    }

    clients.iter_mut().for_each(|client| client.send("x"));

    for (turn, client) in clients.iter_mut().enumerate() {
        let response = client.response();
        let secrets: Vec<&str> =
            variables(&response).into_iter().filter(|variable| variable.contains("secret")).collect();
        assert_eq!(secrets, [format!("HTTP_X_ONLY_{turn}=secret{turn}")]);
    }
}

#[test]
fn memory_is_new_for_every_job() {
    let look = "
        (local.set $count (i32.const 0x21000))
        (loop $next
          (if (i32.load8_u (local.get $count)) (then (call $proc_exit (i32.const 9))))
          (br_if $next (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 0x40000))))
        (if (i32.ne (memory.size) (i32.const 4)) (then (call $proc_exit (i32.const 8))))
        (drop (memory.grow (i32.const 2)))
        (memory.fill (i32.const 0x21000) (i32.const 0xaa) (i32.const 0x3f000))";
    let module = Program::new().code(look).say("Content-Type: text/plain\n\nclean\n").wasm();
    let daemon = Setup::one("", &module).start();
    let mut client = daemon.client();

    for _ in 0..100 {
        let response = client.get("/");

        assert_eq!(response.text(), "clean\n");
    }
}

#[test]
fn memory_that_grows_between_two_writes_is_read_where_it_has_grown() {
    let grow = "
        (drop (memory.grow (i32.const 1)))
        (memory.fill (i32.const 0x40000) (i32.const 0x61) (i32.const 3))
        (call $write (i32.const 1) (i32.const 0x40000) (i32.const 3))";
    let daemon = Setup::one("", &Program::text().code(grow).say("\n").wasm()).start();

    let response = daemon.get("/");

    assert_eq!((response.status(), response.text()), (200, "aaa\n"));
}

/// Grows its memory of four pages by `pages`, and reports whether that succeeded.
fn growing(pages: usize) -> Program {
    Program::new().code(&format!(
        "(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then (call $proc_exit (i32.const 5))))"
    ))
}

#[test]
fn memory_is_given_up_to_its_limit_and_not_one_page_further() {
    let answer = |program: Program| program.say("Content-Type: text/plain\n\ngrown\n").wasm();
    let daemon = Setup::new("[limits]\nmemory = \"1MiB\"\n")
        .handler("at", "", &answer(growing(12)))
        .handler("past", "", &answer(growing(13)))
        .start();

    assert_eq!(daemon.get("/at").text(), "grown\n");
    let past = daemon.get("/past");
    assert_eq!(past.status(), 502);
    assert!(past.text().contains("memory limit of 1MiB"), "{}", past.text());
}

#[test]
fn a_guest_that_falls_over_for_want_of_memory_is_told_as_that() {
    let past =
        Program::new().code("(if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))");
    let daemon = Setup::one("limits.memory = \"1MiB\"", &past.wasm()).start();

    let response = daemon.get("/");

    assert_eq!(response.status(), 502);
    assert!(
        response.text().ends_with("stopped at its memory limit of 1MiB (limits.memory)\n"),
        "{}",
        response.text()
    );
}

#[test]
fn a_guest_that_starts_with_more_memory_than_it_may_have_is_refused_at_the_start() {
    let ended = Setup::one("limits.memory = \"192KiB\"", &Program::new().wasm()).fail();

    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("stopped at its memory limit of 192KiB (limits.memory)"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_stack_without_end_ends_the_job_and_nothing_else() {
    let module =
        wat::parse_str("(module (func $deep (export \"_start\") (call $deep) (call $deep)))").unwrap();
    let daemon = Setup::one("", &module).handler("hello", "", &Program::text().say("hello\n").wasm()).start();

    let response = daemon.get("/");

    assert_eq!(response.status(), 502);
    assert!(response.text().contains("call stack exhausted"), "{}", response.text());
    assert_eq!(daemon.get("/hello").text(), "hello\n");
}

/// The two kinds of modules that have files.
const FILES: [&str; 2] = ["files", "files-wasip2"];

/// A directory `granted` with a file in it, and other files beside it that were not granted.
fn with_mount(kind: &str, write: bool) -> Setup {
    let setup = rust(kind, "");
    let (granted, outside) = (setup.path("granted"), setup.path("outside"));
    fs::create_dir_all(granted.join("sub")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(granted.join("mine"), "mine").unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink("../outside/secret", granted.join("relative")).unwrap();
    symlink(outside.join("secret"), granted.join("absolute")).unwrap();
    symlink("../outside", granted.join("directory")).unwrap();
    symlink("mine", granted.join("inner")).unwrap();
    let module = fs::read(setup.path("one.wasm")).unwrap();
    let settings =
        format!("output = \"raw\"\nmounts = [{{ host = \"granted\", guest = \"/data\", write = {write} }}]");
    setup.handler("files", &settings, &module)
}

/// Makes a guest perform these operations and returns the outcome of each.
fn operate(daemon: &Daemon, operations: &[&str]) -> Vec<String> {
    let body = operations.iter().map(|operation| format!("{operation}\n")).collect::<String>();
    let response = daemon.client().submit("POST", "/files", "", body.as_bytes());
    assert_eq!(response.status(), 200, "{}", response.text());
    response.text().lines().map(str::to_owned).collect()
}

#[test]
fn a_mount_shows_what_is_in_it() {
    let daemon = with_mount("files", false).start();

    let outcomes = operate(&daemon, &["read /data/mine", "read /data/inner", "list /data/sub", "list /data"]);

    assert_eq!(outcomes, ["ok mine", "ok mine", "ok ", "ok absolute,directory,inner,mine,relative,sub"]);
}

#[test]
fn no_way_leads_out_of_a_mount() {
    let ways = [
        "read /data/../outside/secret",
        "read /data/sub/../../outside/secret",
        "read /data/relative",
        "read /data/absolute",
        "read /data/directory/secret",
        "list /data/directory",
        "read /etc/passwd",
        "list /",
        "list ..",
        "write /data/../outside/secret x",
        "write /data/relative x",
        "rename /data/mine /data/../outside/mine",
        "remove /data/../outside/secret",
        "read /proc/self/environ",
    ];

    for (kind, landlock) in Landlock::each(FILES) {
        let daemon = landlock.start(with_mount(kind, true));

        let outcomes = operate(&daemon, &ways);

        for (way, outcome) in ways.iter().zip(&outcomes) {
            assert!(outcome.starts_with("failed "), "{kind}: {way}: {outcome}");
        }
        assert_eq!(outcomes.len(), ways.len());
        assert_eq!(fs::read_to_string(daemon.path("outside/secret")).unwrap(), "secret");
    }
}

#[test]
fn a_mount_to_read_cannot_be_written() {
    let ways =
        ["write /data/new x", "write /data/mine x", "remove /data/mine", "rename /data/mine /data/other"];
    for (kind, landlock) in Landlock::each(FILES) {
        let daemon = landlock.start(with_mount(kind, false));

        let outcomes = operate(&daemon, &ways);

        assert!(outcomes.iter().all(|outcome| outcome.starts_with("failed ")), "{kind}: {outcomes:?}");
        assert_eq!(fs::read_to_string(daemon.path("granted/mine")).unwrap(), "mine");
        assert!(!daemon.path("granted/new").exists());
    }
}

#[test]
fn a_mount_to_write_can_be_written() {
    let daemon = with_mount("files", true).start();

    let outcomes =
        operate(&daemon, &["write /data/new x", "rename /data/new /data/sub/old", "remove /data/mine"]);

    assert_eq!(outcomes, ["ok ", "ok ", "ok "]);
    assert_eq!(fs::read_to_string(daemon.path("granted/sub/old")).unwrap(), "x");
    assert!(!daemon.path("granted/mine").exists());
}

#[test]
fn a_job_without_mounts_sees_no_files() {
    for (kind, landlock) in Landlock::each(FILES) {
        let setup = rust(kind, "output = \"raw\"").add("[[route]]\npath = \"/files\"\nhandler = \"one\"\n");
        let daemon = landlock.around(|| setup.start());

        let outcomes = operate(&daemon, &["list /", "list .", "read /etc/passwd", "write x y"]);

        assert!(outcomes.iter().all(|outcome| outcome.starts_with("failed ")), "{kind}: {outcomes:?}");
    }
}

#[test]
fn a_job_may_hold_some_files_and_leaves_none_of_them_open() {
    let daemon = with_mount("files", false).start();
    let open = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    operate(&daemon, &["read /data/mine"]);
    let before = open();

    assert_eq!(operate(&daemon, &["hoard /data/mine 200"]), ["ok 200"]);

    until("its files are closed", || (open() <= before).then_some(()));
}

#[test]
fn output_is_delivered_also_of_a_program_that_ends_without_cleaning_up() {
    for name in ["abrupt", "abrupt-wasip2"] {
        let daemon = rust(name, "").start();

        let response = daemon.get("/");

        assert_eq!(response.body.len(), 200_004, "{name}");
        assert!(response.body.ends_with(b"x\nend"), "{name}");
    }
}

#[test]
fn a_panic_says_its_message_and_its_place_in_the_log() {
    for name in ["panics", "panics-wasip2"] {
        let daemon = rust(name, "").start();

        let response = daemon.get("/");

        assert_eq!(response.status(), 502, "{name}");
        assert!(daemon.log.line("out of cheese with 1 argument").contains("one: "), "{name}");
        assert!(daemon.log.line("panicked at").contains("panics.rs:"), "{name}");
        daemon.log.line("panics::inner");
        daemon.log.line("panics::outer");
    }
}

#[test]
fn a_job_that_fails_leaves_the_others_alone() {
    let daemon = Setup::one("", &Program::text().echo().wasm())
        .handler("trap", "", &Program::new().trap().wasm())
        .start();
    let mut client = daemon.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\none");
    client.head();
    assert_eq!(client.chunk(), b"one");

    assert_eq!(daemon.get("/trap").status(), 502);

    client.send("two");
    assert_eq!(client.chunks(), b"two");
}
