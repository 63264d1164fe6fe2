//! The cache of compiled modules: modules in use are kept, the rest up to a limit, and metrics show both.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Daemon, Program, Setup, finish, portcullis, until};

/// The time limit for compiling all modules on a busy machine.
const COMPILING: Duration = Duration::from_secs(200);

/// More than an earlier limit on the number of entries.
const MANY: usize = 140;

/// Makes a daemon with `handlers` handlers and the smallest possible cache, in `home`.
fn setup(home: &Path, handlers: usize) -> Setup {
    let setup = Setup::new("").prepend("admin = \"unix://admin.sock\"\ncache_size = \"1MiB\"\n");
    let setup = setup.env("XDG_CACHE_HOME", home.join("cache")).env("XDG_STATE_HOME", home.join("state"));
    let module = |number: usize| Program::text().say(&number.to_string()).wasm();
    (0..handlers).fold(setup, |setup, number| setup.handler(&format!("h{number}"), "", &module(number)))
}

fn figures(daemon: &Daemon) -> [f64; 4] {
    ["hits_total", "misses_total", "evictions_total", "entries"]
        .map(|name| daemon.metric(&format!("portcullis_compile_cache_{name}"), &[]))
}

#[test]
fn of_more_modules_than_the_cache_has_room_for_none_is_compiled_at_the_second_start() {
    let home = tempfile::tempdir().unwrap();
    let (many, all) = (MANY as f64, setup(home.path(), MANY));
    let mut check = portcullis();
    check.env("XDG_CACHE_HOME", home.path().join("cache")).env("XDG_STATE_HOME", home.path().join("state"));
    let checked = finish(check.args(["check", "-c"]).arg(all.path("portcullis.toml")), b"", COMPILING);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let first = all.start();
    assert_eq!(figures(&first), [many, 0.0, 0.0, many]);
    let bytes = first.metric("portcullis_compile_cache_bytes", &[]);
    assert!(bytes > first.metric("portcullis_compile_cache_limit_bytes", &[]), "{bytes}");
    // A second daemon does not evict the entries that the first one uses.
    drop(setup(home.path(), 1).start());
    drop(first);

    let second = setup(home.path(), MANY).start();
    assert_eq!(figures(&second), [many, 0.0, 0.0, many]);
    let status = crate::swap::run(&second, "status", "", b"");
    assert!(status.text().contains("140 found, 0 compiled"), "{}", status.text());

    // Modules that the configuration no longer names are evicted, down to the limit.
    let config = second.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    let at = text.find("\n[handler.h3]").unwrap();
    fs::write(&config, &text[..at]).unwrap();
    second.signal(Signal::HUP);
    until("what is not named is evicted, down to the bound", || {
        let [bytes, most] = ["bytes", "limit_bytes"]
            .map(|name| second.metric(&format!("portcullis_compile_cache_{name}"), &[]));
        (figures(&second)[2] > 0.0 && bytes <= most).then_some(())
    });
    assert_eq!(second.get("/h1").text(), "1");
}

#[test]
fn what_a_request_keeps_from_being_evicted_is_evicted_when_it_ends() {
    let home = tempfile::tempdir().unwrap();
    let slow = Program::new().complain("begun\n").sleep_for_ever().wasm();
    let daemon = setup(home.path(), MANY).handler("slow", "limits.time = \"none\"", &slow).flag("-D").start();
    let mut client = daemon.client();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    daemon.log.line("slow: begun");
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, &text[..text.find("\n[handler.h3]").unwrap()]).unwrap();

    let reloaded = crate::swap::run(&daemon, "reload", "", b"");

    assert_eq!(reloaded.status(), 200, "{}", reloaded.text());
    assert_eq!(figures(&daemon)[2], 0.0, "the request runs under the generation before");
    drop(client);
    until("what the request kept is evicted", || (figures(&daemon)[2] > 0.0).then_some(()));
}

#[test]
fn a_version_that_a_rollback_may_go_back_to_stays_in_the_cache() {
    let home = tempfile::tempdir().unwrap();
    let daemon = setup(home.path(), 1).start();
    let swapped = crate::swap::swap(&daemon, "h0", "", &Program::text().say("new").wasm());
    assert_eq!(swapped.status(), 200, "{}", swapped.text());

    assert_eq!(figures(&daemon), [0.0, 2.0, 0.0, 2.0]);
}

#[test]
fn a_size_without_a_cache_is_refused() {
    let refused = setup(Path::new("/nowhere"), 1).prepend("cache = \"none\"\n").fail();
    assert!(
        refused.stderr.contains("cache_size: nothing is kept with cache = \"none\""),
        "{}",
        refused.stderr
    );
}

#[test]
fn on_a_root_that_is_read_only_a_cache_directory_is_enough() {
    let place = tempfile::tempdir().unwrap();
    let start = || {
        Setup::one("", &Program::text().say("hi").wasm())
            .prepend(&format!(
                "admin = \"unix://admin.sock\"\ncache = \"{}\"\n",
                place.path().join("c").display()
            ))
            // Not even root can make a directory there.
            .env("HOME", "/proc/self")
            .start()
    };

    let first = start();
    assert!(!first.log.text().contains("WARN"), "{}", first.log.text());
    drop(first);
    let second = start();
    assert_eq!(
        (figures(&second)[..2].to_vec(), second.get("/").text().to_owned()),
        (vec![1.0, 0.0], "hi".into())
    );
}
