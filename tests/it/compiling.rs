//! The limits on compiling a module, and the reuse of cached code.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Ended, Setup, bomb, finish, portcullis};
use crate::replay::{only, recording};
use crate::swap::{run, swap, version};

const PATIENCE: Duration = Duration::from_secs(60);

/// A program with 201 functions.
fn manifold() -> Vec<u8> {
    let functions = "(func)".repeat(200);
    let program = format!(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 16) "Status: 204 No Content\n\n")
        (data (i32.const 0) "\10\00\00\00\18\00\00\00") {functions}
        (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    );
    wat::parse_str(program).unwrap()
}

/// Without a cache, since it might hold modules that another test has compiled.
const LOW: &str = "cache = \"none\"\ncompile.functions = 100\n";
const RAISED: &str = "compile.functions = 1000\n";

#[test]
fn a_module_beyond_a_bound_of_compiling_names_the_key_and_is_taken_once_it_is_raised() {
    let refused = Setup::one("", &manifold()).prepend(LOW).fail();
    assert!(refused.stderr.contains("201 functions: 100 at most; raise compile.functions"), "{refused:?}");

    let daemon = Setup::one("", &manifold()).prepend(RAISED).start();
    assert_eq!(daemon.get("/").status(), 204);
}

#[test]
fn a_reload_takes_up_what_compiling_may_take() {
    let setup = Setup::one("", &crate::harness::Program::text().say("hello\n").wasm());
    let daemon = setup.prepend(LOW).start();
    fs::write(daemon.path("one.wasm"), manifold()).unwrap();

    daemon.signal(Signal::HUP);
    daemon.log.line("100 at most; raise compile.functions");
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("compile.functions = 100\n", RAISED)).unwrap();
    daemon.signal(Signal::HUP);

    crate::harness::until("the larger module answers", || (daemon.get("/").status() == 204).then_some(()));
}

/// Runs a verb with a file, whose cache is in `home`.
fn verb(home: &Path, words: &[&str], file: &Path) -> Ended {
    let mut command: Command = portcullis();
    command.env("XDG_CACHE_HOME", home.join("cache")).env("XDG_STATE_HOME", home.join("state"));
    finish(command.args(words).arg(file), b"", PATIENCE)
}

#[test]
fn check_fills_the_cache_that_serve_reads_and_run_finds_what_it_has_compiled() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::one("", &manifold());
    let config = setup.path("portcullis.toml");
    let setup = setup.prepend(RAISED);
    for words in [&["check", "-c"][..], &["run", "one", "-c"]] {
        let ended = verb(home.path(), words, &config);
        assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
    }

    let before = entries(home.path());
    assert_eq!(before.len(), 2, "those of check and run, whose stacks tell lines: {before:?}");

    for words in [&["check", "-c"][..], &["run", "one", "-c"]] {
        let ended = verb(home.path(), words, &config);
        assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
    }
    let at = |name: &str| home.path().join(name);
    let daemon = setup.env("XDG_CACHE_HOME", at("cache")).env("XDG_STATE_HOME", at("state")).start();
    assert_eq!(daemon.get("/").status(), 204);
    assert_eq!(entries(home.path()), before, "it was compiled anew");
}

#[test]
fn a_replay_uses_the_code_that_a_run_of_the_module_has_kept_and_keeps_its_own() {
    let module = crate::harness::Program::new().complain("why\n").exit(3).wasm();
    let daemon = recording("", &module).start();
    assert_eq!(daemon.get("/").status(), 502);
    let (record, _) = only(&daemon);
    let [warm, cold] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let ran = verb(warm.path(), &["run"], &daemon.path("one.wasm"));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    let kept = entries(warm.path());

    for home in [&warm, &cold] {
        let again = verb(home.path(), &["replay"], &record);
        assert_eq!(again.code, Some(0), "{}", again.stderr);
    }

    assert_eq!((kept.len(), entries(cold.path()).len()), (1, 1));
    assert_eq!(entries(warm.path()), kept, "it was compiled anew");
}

/// Lists the entries of a cache by inode, which changes when an entry is rewritten.
fn entries(home: &Path) -> BTreeSet<u64> {
    let entries = fs::read_dir(home.join("cache/portcullis/code")).unwrap().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.path().is_file()).map(|entry| entry.metadata().unwrap().ino()).collect()
}

/// A program that writes a text, with `megabytes` MiB of padding that nothing reads.
fn padded(text: &str, megabytes: usize) -> Vec<u8> {
    let mut module = version(text);
    let mut length = 1 + (megabytes << 20);
    module.push(0);
    // LEB128: seven bits for each byte, the lowest first.
    while length >= 0x80 {
        module.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    module.push(length as u8);
    module.resize(module.len() + 1 + (megabytes << 20), 0);
    module
}

#[test]
fn a_swap_may_be_as_large_as_a_module_may_and_the_refusal_of_a_larger_one_names_the_key() {
    let serve = |most: &str| {
        let settings = format!("admin = \"unix://admin.sock\"\ncompile.module = \"{most}\"\n");
        Setup::one("", &version("small\n")).prepend(&settings).start()
    };

    let daemon = serve("80MiB");
    let swapped = swap(&daemon, "one", "", &padded("large\n", 65));
    assert_eq!((swapped.status(), daemon.get("/").text()), (200, "large\n"), "{}", swapped.text());

    let daemon = serve("1MiB");
    let refused = swap(&daemon, "one", "", &padded("large\n", 2));
    assert_eq!((refused.status(), daemon.get("/").text()), (400, "small\n"));
    assert!(refused.text().contains("more than 1048576 bytes: raise compile.module"), "{}", refused.text());
}

/// Lists the children of a process.
fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|task| task.unwrap().path());
    let lists = tasks.filter_map(|task| fs::read_to_string(task.join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|one| one.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_cold_start_says_which_module_of_how_many_it_compiles_and_a_warm_one_has_none_to_compile() {
    let home = tempfile::tempdir().unwrap();
    let setup = |config: &str| {
        let setup = Setup::one("", &version("one\n")).handler("two", "", &version("two\n")).add(config);
        // The same module as the first handler: it is compiled once.
        let setup = setup.handler("three", "", &version("one\n"));
        let setup = setup.prepend("access_log = true\n");
        setup.env("XDG_CACHE_HOME", home.path()).env("XDG_STATE_HOME", home.path())
    };

    let cold = setup("").start();
    let warm = setup("").start();

    // A request is logged behind all that the start has logged.
    for daemon in [&cold, &warm] {
        assert_eq!(daemon.get("/").status(), 200);
        daemon.log.line("GET / -> ");
    }
    let told = cold.log.lines(2, "compiling ");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("compiling 1 of 2: ") && told[1].contains("compiling 2 of 2: "), "{told:?}");
    assert_eq!(warm.log.count("compiling "), 0, "{}", warm.log.text());
}

#[test]
fn modules_of_a_start_are_compiled_on_every_core_and_one_core_is_left_to_requests_afterwards() {
    let cores = std::thread::available_parallelism().unwrap().get();
    // Enough for a while, and small enough for two of them on a small host.
    let bounds = "cache = \"none\"\nadmin = \"unix://admin.sock\"\ncompile.memory = \"1GiB\"\n";
    let other = [bomb(), b"\0\x02\x01x".to_vec()].concat();
    let setup = Setup::one("", &bomb()).handler("two", "", &other).prepend(bounds);
    let starting = setup.spawn();

    crate::harness::until("as many compilers as cores", || {
        // If there is memory for only one, there is one.
        let wanted = cores.min(2).min(room()).max(1);
        (children(starting.pid()).len() >= wanted).then_some(())
    });
    drop(starting);

    let bounds = format!("{bounds}compile.cpu = \"5s\"\n");
    let setup = Setup::one("", &version("one\n")).prepend(&bounds).handler("two", "", &version("two\n"));
    let serving = setup.start();
    fs::write(serving.path("one.wasm"), bomb()).unwrap();
    fs::write(serving.path("two.wasm"), other).unwrap();
    serving.signal(Signal::HUP);
    let told = crate::harness::until("status tells what is compiled", || {
        let mut status = portcullis();
        status.args(["status", "--socket"]).arg(serving.path("admin.sock"));
        let told = String::from_utf8(finish(&mut status, b"", PATIENCE).stdout).unwrap();
        told.lines().any(|line| line.starts_with("loading ")).then_some(told)
    });
    assert!(told.contains("compiling 1 of 2: "), "{told}");
    let most = cores.saturating_sub(1).clamp(1, 2);
    // Compilers have low priority: 10 s of CPU time take minutes on a busy machine.
    crate::harness::within(PATIENCE * 5, "the reload ends", || {
        let compilers = children(serving.pid()).len();
        assert!(compilers <= most, "{compilers} at once");
        serving.log.text().contains("raise compile.").then_some(())
    });
}

#[test]
fn the_compilation_of_a_swap_shows_in_status_until_it_ends() {
    let bounds = "cache = \"none\"\nadmin = \"unix://admin.sock\"\ncompile.cpu = \"5s\"\n";
    let daemon = Setup::one("", &version("one\n")).prepend(bounds).start();
    let status = || run(&daemon, "status", "", b"").text().to_owned();

    std::thread::scope(|scope| {
        let swapped = scope.spawn(|| swap(&daemon, "one", "", &bomb()));
        crate::harness::until("status names the module", || {
            status().contains("\"loading\":\"compiling 1 of 1: one\"").then_some(())
        });
        assert_eq!(swapped.join().unwrap().status(), 400);
    });

    assert!(!status().contains("compiling 1 of 1"), "it is over");
}

/// Returns for how many compilers of 1 GiB there is memory now. A control group may have less than
/// the machine.
fn room() -> usize {
    let (machine, group) = (portcullis::observe::available(), portcullis::observe::cgroup::available());
    machine.into_iter().chain(group).min().map_or(usize::MAX, |bytes| usize::try_from(bytes >> 30).unwrap())
}
