//! Secrets from files, the environment and a development file: updated when they change, and never shown.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Daemon, PATIENCE, Program, Setup, finish, portcullis, until};
use crate::swap::{run, swap};
use crate::trials::{LONG, versions};

/// A handler that prints its variables.
fn serving(secrets: &str) -> Setup {
    Setup::one(&format!("secrets = {{ {secrets} }}"), &Program::text().environment().wasm())
        .prepend("admin = \"unix://admin.sock\"\nrecord_dir = \"failures\"\ndebug = true\n")
}

/// Returns the value of a variable in the handler's jobs.
fn variable(daemon: &Daemon, name: &str) -> Option<String> {
    let response = daemon.get("/");
    let found = response.text().split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.map(str::to_owned)
}

fn becomes(daemon: &Daemon, name: &str, value: &str) {
    until(value, || (variable(daemon, name).as_deref() == Some(value)).then_some(()));
}

#[test]
fn a_secret_in_a_file_is_taken_up_when_the_file_changes_and_nothing_else_is() {
    let daemon =
        serving("KEY = { file = \"secret/key\" }, OTHER = { env = \"OUTSIDE\" }").env("OUTSIDE", "0uter");
    fs::create_dir(daemon.path("secret")).unwrap();
    fs::write(daemon.path("secret/key"), "f1rst\n").unwrap();
    let daemon = daemon.start();
    assert_eq!(variable(&daemon, "KEY").as_deref(), Some("f1rst"));
    assert_eq!(variable(&daemon, "OTHER").as_deref(), Some("0uter"));
    // Without `watch`, neither change is loaded.
    fs::write(daemon.path("one.wasm"), "no module").unwrap();
    fs::write(daemon.path("portcullis.toml"), "nonsense").unwrap();

    for value in ["s3cond", "th1rd"] {
        fs::write(daemon.path("secret/key"), value).unwrap();
        becomes(&daemon, "KEY", value);
    }
    fs::write(daemon.path("secret/new"), "f0urth").unwrap();
    fs::rename(daemon.path("secret/new"), daemon.path("secret/key")).unwrap();
    becomes(&daemon, "KEY", "f0urth");
    fs::remove_file(daemon.path("secret/key")).unwrap();
    // A file may have been read while it was written: the line about that comes first.
    let line = daemon.log.line("secrets.KEY: there is no file ");
    assert!(line.contains("a changed secret cannot be used") && line.contains("/secret/key"), "{line}");
    assert_eq!(variable(&daemon, "KEY").as_deref(), Some("f0urth"));
    assert!(run(&daemon, "status", "", b"").text().contains("secrets.KEY"), "it is seen");
}

#[test]
fn a_secret_file_that_is_empty_while_it_is_written_is_not_taken_up() {
    let setup = serving("KEY = { file = \"secret/key\" }");
    fs::create_dir(setup.path("secret")).unwrap();
    fs::write(setup.path("secret/key"), "f1rst\n").unwrap();
    let daemon = setup.start();

    fs::write(daemon.path("secret/key"), "").unwrap();

    let line = daemon.log.line("a changed secret cannot be used");
    assert!(line.contains("secrets.KEY: ") && line.contains("/secret/key is empty"), "{line}");
    assert_eq!(variable(&daemon, "KEY").as_deref(), Some("f1rst"));
    fs::write(daemon.path("secret/key"), "s3cond\n").unwrap();
    becomes(&daemon, "KEY", "s3cond");
}

#[test]
fn a_secret_whose_directory_is_moved_away_or_removed_is_told_as_one_that_cannot_be_read() {
    let setup = serving("KEY = { file = \"outer/secret/key\" }");
    let at = |name: &str| setup.path(name);
    fs::create_dir_all(at("outer/secret")).unwrap();
    fs::write(at("outer/secret/key"), "f1rst").unwrap();
    let daemon = setup.start();
    let path = |name: &str| daemon.path(name);
    let refused = || {
        let told: Value = serde_json::from_str(run(&daemon, "status", "", b"").text()).unwrap();
        told["secrets_refused"].as_str().map(str::to_owned)
    };
    let is_up_to_date = || daemon.metric("portcullis_secrets_last_reload_successful", &[]);
    assert_eq!((refused(), is_up_to_date()), (None, 1.0));

    // The directory of the file, the one above it, and both at once.
    type Step = fn(&dyn Fn(&str) -> std::path::PathBuf);
    let steps: [(Step, Step); 3] = [
        (
            |path| fs::rename(path("outer/secret"), path("outer/gone")).unwrap(),
            |path| fs::rename(path("outer/gone"), path("outer/secret")).unwrap(),
        ),
        (
            |path| fs::rename(path("outer"), path("gone")).unwrap(),
            |path| fs::rename(path("gone"), path("outer")).unwrap(),
        ),
        (
            |path| fs::remove_dir_all(path("outer")).unwrap(),
            |path| {
                fs::create_dir_all(path("outer/secret")).unwrap();
                fs::write(path("outer/secret/key"), "s3cond").unwrap();
            },
        ),
    ];
    for (number, (lose, restore)) in steps.into_iter().enumerate() {
        lose(&path);
        daemon.log.lines(number + 1, "a changed secret cannot be used");
        let why = until("the status names it", &refused);
        assert!(why.contains("secrets.KEY: there is no file "), "{why}");
        assert_eq!(is_up_to_date(), 0.0);
        assert_eq!(variable(&daemon, "KEY").as_deref(), Some("f1rst"), "the one before stays");

        restore(&path);
        until("it is read again", || refused().is_none().then_some(()));
        assert_eq!(is_up_to_date(), 1.0);
    }
    becomes(&daemon, "KEY", "s3cond");
}

/// Writes a version of these files to a directory, and switches to it, as a kubelet does.
pub(crate) fn project(dir: &Path, version: &str, files: &[(&str, &[u8])]) {
    fs::create_dir(dir.join(version)).unwrap();
    for (name, bytes) in files {
        fs::write(dir.join(version).join(name), bytes).unwrap();
    }
    let _none = fs::remove_file(dir.join("..data_tmp"));
    symlink(version, dir.join("..data_tmp")).unwrap();
    let old = fs::read_link(dir.join("..data"));
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    match old {
        Ok(old) => fs::remove_dir_all(dir.join(old)).unwrap(),
        Err(_) => files.iter().for_each(|(name, _)| {
            symlink(format!("..data/{name}"), dir.join(name)).unwrap();
        }),
    }
}

#[test]
fn a_mounted_secret_that_is_switched_is_taken_up_without_a_warning() {
    let setup = serving("KEY = { file = \"mounted/key\" }");
    let dir = setup.path("mounted");
    fs::create_dir(&dir).unwrap();
    project(&dir, "..1", &[("key", b"f1rst")]);
    let daemon = setup.start();
    assert_eq!(variable(&daemon, "KEY").as_deref(), Some("f1rst"));

    for (version, value) in [("..2", "s3cond"), ("..3", "th1rd"), ("..4", "f0urth")] {
        project(&dir, version, &[("key", value.as_bytes())]);
        becomes(&daemon, "KEY", value);
    }

    assert_eq!(daemon.log.count("WARN Unable to remove"), 0, "{}", daemon.log.text());
    assert_eq!(daemon.log.count("watch"), 0, "{}", daemon.log.text());
}

#[test]
fn no_secret_is_shown_to_operators() {
    let setup = Setup::one(
        "secrets = { KEY = { file = \"key\" }, OTHER = { env = \"OUTSIDE\" } }\nrecord = \"failures\"",
        &Program::new().trap().wasm(),
    )
    .prepend("admin = \"unix://admin.sock\"\nrecord_dir = \"failures\"\ndebug = true\naccess_log = true\n")
    .file("key", b"f1rst-hush")
    .env("OUTSIDE", "0uter-hush")
    .flag("-D");
    let daemon = setup.start();
    assert_eq!(daemon.get("/").status(), 502);
    fs::write(daemon.path("key"), "s3cond-hush").unwrap();
    daemon.log.line("a secret has changed: generation 2");

    let mut plan = portcullis();
    plan.args(["plan", "-c"]).arg(daemon.path("portcullis.toml"));
    let plan = finish(plan.arg("--socket").arg(daemon.path("admin.sock")), b"", PATIENCE);
    let mut seen =
        vec![daemon.metrics(), String::from_utf8(plan.stdout).unwrap(), daemon.get("/").text().to_owned()];
    for job in ["status", "handlers", "routes", "jobs", "logs", "history", "explain?a=GET&a=/", "reload"] {
        seen.push(run(&daemon, job, "", b"").text().to_owned());
    }
    // A record has another name while it is written.
    daemon.log.lines(2, "is recorded: ");
    for entry in fs::read_dir(daemon.path("failures")).unwrap() {
        seen.push(String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap()).into_owned());
    }
    assert!(seen.len() >= 3 + 8 + 2, "both failures were recorded");
    seen.push(daemon.log.text());

    for text in seen {
        assert!(!text.contains("-hush"), "{text}");
    }
}

#[test]
fn a_secret_where_a_handler_may_write_is_refused() {
    let setup = serving("KEY = { file = \"data/key\" }").handler(
        "writer",
        "mounts = [{ host = \"data\", guest = \"/data\", write = true }]",
        &Program::text().wasm(),
    );
    fs::create_dir(setup.path("data")).unwrap();
    fs::write(setup.path("data/key"), "x").unwrap();

    let refused = setup.fail();

    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("handler.one.secrets.KEY: "), "{}", refused.stderr);
    assert!(refused.stderr.contains("is looked up in "), "{}", refused.stderr);
}

#[test]
fn a_missing_secret_of_one_handler_does_not_keep_others_from_theirs() {
    let other = "secrets = { KEY = { file = \"other\" } }";
    let setup = serving("KEY = { file = \"key\" }").file("key", b"f1rst").file("other", b"0ther");
    let daemon = setup.handler("other", other, &Program::text().environment().wasm()).start();
    fs::remove_file(daemon.path("other")).unwrap();
    daemon.log.line("handler \"other\": secrets.KEY: there is no file ");

    fs::write(daemon.path("key"), "s3cond").unwrap();

    becomes(&daemon, "KEY", "s3cond");
    let other = daemon.get("/other");
    assert!(other.text().contains("KEY=0ther\0"), "{}", other.text());
}

#[test]
fn a_handler_with_a_changed_secret_keeps_its_counters_at_the_next_reload() {
    let daemon = serving("KEY = { file = \"key\" }").file("key", b"f1rst").start();
    fs::write(daemon.path("key"), "s3cond").unwrap();
    becomes(&daemon, "KEY", "s3cond");
    let answered = || {
        let told: Value = serde_json::from_str(run(&daemon, "handlers", "", b"").text()).unwrap();
        told[0]["requests"].as_u64().unwrap()
    };
    let before = until("a request is counted", || Some(answered()).filter(|count| *count > 0));

    let told = run(&daemon, "reload", "", b"");

    assert_eq!(told.status(), 200, "{}", told.text());
    assert!(answered() >= before, "{} requests are left of {before}", answered());
}

#[test]
fn a_version_on_trial_gets_a_changed_secret_when_it_is_promoted() {
    let setup = serving("KEY = { file = \"key\" }").file("key", b"f1rst");
    let daemon = setup.start();
    let module = Program::text().complain("new\n").environment().wasm();
    let trial = "Job-Env: CANARY=50%\r\nJob-Env: FOR=15s\r\nJob-Env: REQUESTS=1\r\nJob-Env: SLOWER=none\r\n";
    assert_eq!(swap(&daemon, "one", trial, &module).status(), 200);

    fs::write(daemon.path("key"), "s3cond").unwrap();
    daemon.log.line("a secret has changed: generation");
    for _ in 0..4 {
        assert_eq!(daemon.get("/").status(), 200);
    }
    daemon.log.line("has passed its trial");

    becomes(&daemon, "KEY", "s3cond");
    for _ in 0..4 {
        assert_eq!(variable(&daemon, "KEY").as_deref(), Some("s3cond"));
    }
}

#[test]
fn a_secret_that_a_handler_fails_with_changes_nothing_and_ends_no_trial() {
    // Traps with many bytes of variables.
    let picky = |name: &str| {
        let program = Program::new().complain(name).code(
            "(drop (call $environ_sizes_get (i32.const 16) (i32.const 20)))
             (if (i32.gt_u (i32.load (i32.const 20)) (i32.const 8000)) (then (unreachable)))",
        );
        program.say("Content-Type: text/plain\n\n").environment().wasm()
    };
    let settings = "secrets = { KEY = { file = \"key\" } }\nprobe = { path = \"/\", status = 200 }";
    let setup = Setup::one(settings, &picky("one\n")).prepend("admin = \"unix://admin.sock\"\n");
    let daemon = setup.file("key", b"f1rst").start();
    assert_eq!(swap(&daemon, "one", LONG, &picky("two\n")).status(), 200);
    let before = versions(&daemon);
    assert!(before.1[0][2].is_string(), "{before:?}");

    fs::write(daemon.path("key"), "x".repeat(9000)).unwrap();
    daemon.log.line("handler \"one\": probe \"/\" failed");
    fs::remove_file(daemon.path("key")).unwrap();
    daemon.log.line("secrets.KEY: there is no file ");

    assert_eq!(versions(&daemon), before);
    assert!((0..4).all(|_| variable(&daemon, "KEY").as_deref() == Some("f1rst")));
    fs::write(daemon.path("key"), "s3cond").unwrap();
    becomes(&daemon, "KEY", "s3cond");
    assert_eq!(versions(&daemon).1, before.1);
}

#[test]
fn what_looks_like_a_variable_in_env_is_refused_and_points_to_secrets() {
    let module = Program::text().environment().wasm();
    let refused = Setup::one("env = { URL = \"https://${HOST}/\" }", &module).fail();
    assert!(
        refused.stderr.contains("handler.one.env.URL: `${HOST}` is not replaced here")
            && refused.stderr.contains("secrets = { VARIABLE = { env = \"HOST\" } }"),
        "{}",
        refused.stderr
    );

    let daemon = Setup::one("env = { A = \"$${HOST}\", B = \"5 $ {x} ${}\" }", &module).start();
    assert_eq!(variable(&daemon, "A").as_deref(), Some("${HOST}"));
    assert_eq!(variable(&daemon, "B").as_deref(), Some("5 $ {x} ${}"));
}

#[test]
fn who_develops_has_the_values_in_a_file_that_only_up_and_run_read() {
    let config = "KEY = \"api-key\", OTHER = { file = \"/nowhere\" }";
    let files = |setup: Setup| setup.file("secrets.toml", b"KEY = \"for all\"\n[one]\nOTHER = \"0wn\"\n");
    let served = files(serving(config)).fail();
    assert!(served.stderr.contains("secrets.KEY: there are no credentials"), "{}", served.stderr);

    let setup = files(serving(config)).up();
    let dir = setup.path("");
    let ended = finish(portcullis().args(["run", "one"]).current_dir(&dir), b"", PATIENCE);
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.contains("KEY=for all\0") && said.contains("OTHER=0wn\0"), "{said} {}", ended.stderr);
    let daemon = setup.start();
    assert_eq!(variable(&daemon, "KEY").as_deref(), Some("for all"));
    fs::write(daemon.path("secrets.toml"), "KEY = \"changed\"\nOTHER = \"too\"\n").unwrap();
    becomes(&daemon, "KEY", "changed");
    let status: Value = serde_json::from_str(run(&daemon, "status", "", b"").text()).unwrap();
    assert_eq!(status["reload_refused"], Value::Null);
}

#[test]
fn a_changed_secret_undoes_no_swap_and_is_taken_up_whatever_is_wrong_with_the_rest() {
    let daemon = serving("KEY = { file = \"key\" }").file("key", b"f1rst").prepend("watch = true\n").start();
    let module = Program::text().complain("new\n").environment().wasm();
    assert_eq!(swap(&daemon, "one", "", &module).status(), 200);
    let is_swapped_in = || {
        let before = daemon.log.count("one: new");
        assert_eq!(daemon.get("/").status(), 200);
        daemon.log.lines(before + 1, "one: new");
    };

    fs::write(daemon.path("key"), "s3cond").unwrap();
    becomes(&daemon, "KEY", "s3cond");
    is_swapped_in();

    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("nonsense = 1\n{text}")).unwrap();
    daemon.log.line("reload failed");
    fs::write(daemon.path("key"), "th1rd").unwrap();
    becomes(&daemon, "KEY", "th1rd");
    is_swapped_in();

    // The refused file still differs from the running configuration.
    assert_eq!(daemon.metric("portcullis_config_last_reload_successful", &[]), 0.0);
    // Compilation is over, so `status` must not go on to report it. Each write of a file is more than one event.
    until("a status without loading", || {
        (!run(&daemon, "status", "", b"").text().contains("loading")).then_some(())
    });
}
