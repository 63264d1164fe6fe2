//! Errors in a module that are reported before it is compiled, which may take a minute.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Ended, PATIENCE, Setup, bomb, dear, dear_text, finish, guests, portcullis};
use crate::swap::{swap, version};

/// A home directory for a cache and its key.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn variables(&self) -> [(&'static str, &Path); 2] {
        ["XDG_CACHE_HOME", "XDG_STATE_HOME"].map(|name| (name, self.0.path()))
    }

    /// Makes a daemon use it.
    fn of(&self, setup: Setup) -> Setup {
        self.variables().into_iter().fold(setup, |setup, (name, path)| setup.env(name, path))
    }

    /// Runs a verb that uses it.
    fn run(&self, words: &[&str], file: &Path) -> Ended {
        finish(portcullis().envs(self.variables()).args(words).arg(file), b"", PATIENCE)
    }

    /// Counts the modules that were compiled.
    fn compiled(&self) -> usize {
        fs::read_dir(self.0.path().join("portcullis/code")).map_or(0, Iterator::count)
    }
}

/// Makes a library module that is too expensive to compile within the limits.
fn library() -> Vec<u8> {
    dear("", "_begin")
}

#[test]
fn a_library_is_refused_by_every_verb_without_compiling_it() {
    let told = "exports no `_start` function: build it as a program";
    let (home, setup) = (Home::new(), Setup::one("", &library()));
    let (config, module) = (setup.path("portcullis.toml"), setup.path("one.wasm"));

    for ended in [
        home.run(&["check", "-c"], &config),
        home.run(&["run", "one", "-c"], &config),
        home.run(&["run"], &module),
        setup.fail(),
    ] {
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(told) && !ended.stderr.contains("compiling"), "{}", ended.stderr);
    }
}

#[test]
fn a_file_that_cannot_be_made_is_told_of_by_check_as_by_the_start() {
    let settings = "stores = [\"a\"]\ndatabases = [\"b\"]\n[store.a]\nurl = \"redb:plain/a.redb\"\n\
                    [database.b]\nurl = \"sqlite:plain/b.sqlite\"\n";
    // Not even root makes a file in a file.
    let setup = Setup::one(settings, &version("first\n")).file("plain", b"");

    let checked = Home::new().run(&["check", "-c"], &setup.path("portcullis.toml"));
    let daemon = setup.start();

    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    for wanted in
        ["store \"a\": the store cannot be reached: ", "database \"b\": the database cannot be reached: "]
    {
        assert!(checked.stderr.contains(wanted), "{wanted}: {}", checked.stderr);
        daemon.log.line(wanted);
    }
}

#[test]
fn a_swap_or_reload_to_a_library_is_refused_without_compiling_it() {
    let setup = Setup::one("", &version("first\n")).prepend("admin = \"unix://admin.sock\"\n");
    let daemon = setup.start();

    let refused = swap(&daemon, "one", "", &library());
    assert!(refused.text().contains("the uploaded module: exports no `_start`"), "{}", refused.text());
    fs::write(daemon.path("one.wasm"), library()).unwrap();
    daemon.signal(Signal::HUP);
    daemon.log.line("exports no `_start`");

    assert_eq!(daemon.get("/").text(), "first\n");
}

#[test]
fn imports_that_nobody_has_are_told_without_compiling() {
    let foreign = r#"(import "env" "emscripten_resize_heap" (func))"#;
    let misspelt = r#"(import "wasi_snapshot_preview1" "fd_wirte" (func))"#;
    let threads = r#"(import "wasi" "thread-spawn" (func (param i32) (result i32)))"#;
    let preview_0 = r#"(import "wasi_unstable" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
    for (import, told) in [
        (foreign, "env::emscripten_resize_heap"),
        (misspelt, "fd_wirte"),
        (threads, "build for wasm32-wasip1, not for a target with threads"),
        (preview_0, "build it with a current toolchain for wasm32-wasip1"),
    ] {
        let ended = Setup::one("", &dear(import, "_start")).fail();

        let said = &ended.stderr;
        assert!(said.contains("imports what this daemon does not provide") && said.contains(told), "{said}");
    }
}

#[test]
fn what_a_module_uses_and_this_daemon_lacks_is_told_in_a_programs_words_by_every_verb() {
    let start = "(func (export \"_start\"))";
    for (parts, told) in [
        ("(func try nop catch_all nop end)", "-mllvm -wasm-use-legacy-eh=false"),
        (
            "(memory 1 1 shared)",
            "uses threads (shared memory, atomic operations), which this daemon does not have: build for",
        ),
        (
            "(type (struct (field i32)))",
            "uses garbage collection by WebAssembly (struct, array), which this daemon does not have:",
        ),
    ] {
        let module = wat::parse_str(format!("(module {parts} {start})")).unwrap();
        let (home, setup) = (Home::new(), Setup::one("", &module));
        let (config, module) = (setup.path("portcullis.toml"), setup.path("one.wasm"));

        for ended in [
            home.run(&["check", "-c"], &config),
            home.run(&["run", "one", "-c"], &config),
            home.run(&["run"], &module),
            home.of(setup).fail(),
        ] {
            let said = &ended.stderr;
            assert_eq!(ended.code, Some(1), "{said}");
            assert!(said.contains(told), "{said}");
            assert!(!said.contains("proposal") && !said.contains("offset"), "{said}");
        }
        assert_eq!(home.compiled(), 0, "{told}");
    }
}

/// A program of WASI 0.2: a module whose function `f` becomes `run`, which returns `result`.
fn program(canonical: &str, result: &str) -> String {
    format!(
        r#"(core module $m (func (export "f") {canonical})) (core instance $i (instantiate $m))
        (func $run {result} (canon lift (core func $i "f")))
        (instance $e (export "run" (func $run))) (export "wasi:cli/run@0.2.0" (instance $e))"#
    )
}

/// Makes such a component with these imports, and a module that is too expensive to compile within the limits. `more`
/// are functions at the end of that module.
fn dear_component(imports: &str, more: &str) -> Vec<u8> {
    let module = dear_text("", "g", more).replacen("(module", "(core module", 1);
    let program = program("(result i32) (i32.const 0)", "(result (result))");
    wat::parse_str(format!("(component {imports} {module} {program})")).unwrap()
}

#[test]
fn what_a_component_imports_and_lacks_is_told_without_compiling_it() {
    let absent = r#"(import "acme:rockets/launch@1.0.0" (instance (export "go" (func))))"#;
    // The interface is there, and this function is not, or has another type.
    let misspelt = r#"(import "wasi:random/random@0.2.0" (instance (export "get-random-bits" (func))))"#;
    let mistyped =
        r#"(import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (result string)))))"#;
    for (import, told) in
        [(absent, "acme:rockets/launch@1.0.0"), (misspelt, "get-random-bits"), (mistyped, "get-random-u64")]
    {
        let home = Home::new();
        let setup = home.of(Setup::one("", &dear_component(import, "")));
        let config = setup.path("portcullis.toml");

        let [check, run] =
            [&["check", "-c"][..], &["run", "one", "-c"]].map(|words| home.run(words, &config));
        for ended in [check, run, setup.fail()] {
            let said = &ended.stderr;
            assert_eq!(ended.code, Some(1));
            assert!(
                said.contains("imports what this daemon does not provide") && said.contains(told),
                "{said}"
            );
            assert!(!said.contains("raise compile."), "{said}");
        }
    }
}

#[test]
fn a_mistake_in_the_last_function_is_told_without_compiling_the_others() {
    let wrong = "(func (result i32) (i64.const 0))";
    let module = wat::parse_str(dear_text("", "_start", wrong)).unwrap();
    for (module, what) in [(module, "module"), (dear_component("", wrong), "component")] {
        let home = Home::new();

        let ended = home.of(Setup::one("", &module)).fail();

        let said = &ended.stderr;
        assert!(said.contains(&format!("not a valid {what}: type mismatch")), "{said}");
        assert_eq!(home.compiled(), 0);
    }
}

#[test]
fn an_entry_point_of_a_wrong_type_is_refused_by_every_verb() {
    let wrong = program("(result i32) (i32.const 0)", "(result u32)");
    let wrong = wat::parse_str(format!("(component {wrong})")).unwrap();
    let wanted = "its export `wasi:cli/run@0.2.0` has another type for `run`: wanted `run: func() -> result`";
    let setup = Setup::one("", &version("first\n")).prepend("admin = \"unix://admin.sock\"\n");
    let daemon = setup.start();

    let refused = swap(&daemon, "one", "", &wrong);
    assert!(refused.status() == 400 && refused.text().contains(wanted), "{}", refused.text());
    fs::write(daemon.path("one.wasm"), &wrong).unwrap();
    daemon.signal(Signal::HUP);
    daemon.log.line(wanted);
    assert_eq!(daemon.get("/").text(), "first\n");
    let home = Home::new();
    for words in [&["check", "-c"][..], &["run", "one", "-c"]] {
        let ended = home.run(words, &daemon.path("portcullis.toml"));
        assert!(ended.code == Some(1) && ended.stderr.contains(wanted), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn a_module_whose_memory_wasi_cannot_find_is_refused_at_the_load() {
    let import = r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#;

    let ended = Setup::one("", &dear(import, "_start")).fail();

    assert!(ended.stderr.contains("exports no memory `memory`"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("link it as a program of WASI, or with --export-memory"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("wasi_snapshot_preview1::proc_exit"), "{}", ended.stderr);
}

#[test]
fn a_setting_that_does_not_go_with_the_module_is_told_without_compiling() {
    let proxy = fs::read(guests().join("proxy.wasm")).unwrap();
    for (settings, module, told) in [
        ("output = \"raw\"", &proxy, "output = \"raw\" is for programs"),
        ("mounts = [{ host = \"nowhere\", guest = \"/d\" }]", &proxy, "nowhere"),
        ("secrets = { KEY = \"key\" }", &proxy, "there are no credentials"),
        ("reuse = 2", &bomb(), "reuse is for wasi:http handlers"),
        ("allow = [\"https://a.example\"]", &bomb(), "a wasip1 module cannot call other servers"),
    ] {
        let home = Home::new();

        let ended = home.of(Setup::one(settings, module)).fail();

        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
        assert_eq!(home.compiled(), 0, "{told}");
    }
}

#[test]
fn a_handler_of_http_that_is_run_as_a_program_is_not_compiled_for_that() {
    let home = Home::new();

    let ended = home.run(&["run"], &guests().join("proxy.wasm"));

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("is not a program"), "{}", ended.stderr);
    assert_eq!(home.compiled(), 0);
}

#[test]
fn nothing_is_compiled_for_a_start_that_one_module_refuses_and_check_tells_all_at_once() {
    // Its sections are valid, but its code is not.
    let mut broken = wat::parse_str("(module (func (export \"_start\") (drop (i32.const 7))))").unwrap();
    let at = broken.len() - 4;
    broken[at] = 0xff;
    let setup = Setup::one("", &library()).handler("two", "", &version("two\n"));
    let setup = setup.handler("three", "", &broken);
    let (home, config) = (Home::new(), setup.path("portcullis.toml"));

    let checked = Home::new().run(&["check", "-c"], &config).stderr;
    let served = home.of(setup).fail().stderr;

    assert!(checked.contains("handler \"one\"") && checked.contains("handler \"three\""), "{checked}");
    assert!(served.contains("handler \"one\""), "{served}");
    assert_eq!(home.compiled(), 0);
}

#[test]
fn a_bound_that_is_lowered_holds_for_code_that_is_kept() {
    let functions = "(func)".repeat(20);
    let module = wat::parse_str(format!("(module {functions} (func (export \"_start\")))")).unwrap();
    let bound = |most: &str| format!("compile.functions = {most}\n");
    let home = Home::new();
    let daemon = home.of(Setup::one("", &module).prepend(&bound("30"))).start();
    let config = daemon.path("portcullis.toml");
    assert_eq!(home.compiled(), 1);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&bound("30"), &bound("20"))).unwrap();

    daemon.signal(Signal::HUP);

    daemon.log.line("21 functions: 20 at most; raise compile.functions");
    let refused = home.run(&["check", "-c"], &config).stderr;
    assert!(refused.contains("raise compile.functions"), "{refused}");
}
