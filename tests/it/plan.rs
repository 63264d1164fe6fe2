//! `plan`: reports what a reload would do, even if it would refuse.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Daemon, Ended, PATIENCE, Setup, finish, portcullis};
use crate::swap::{swap, version};

fn daemon() -> Daemon {
    Setup::one("", &version("one")).prepend("admin = \"unix://admin.sock\"\n").start()
}

/// Plans the reload of a changed configuration.
fn plan(daemon: &Daemon, change: impl FnOnce(String) -> String, flags: &[&str]) -> Ended {
    let text = change(fs::read_to_string(daemon.path("portcullis.toml")).unwrap());
    let file = daemon.path("next.toml");
    fs::write(&file, text).unwrap();
    let mut command = portcullis();
    command.arg("plan").arg("-c").arg(file).arg("--socket").arg(daemon.path("admin.sock")).args(flags);
    finish(&mut command, b"", PATIENCE)
}

#[test]
fn what_a_reload_would_refuse_is_told_beside_what_would_change_and_is_status_1() {
    let daemon = daemon();
    let change = |text: String| format!("jobs = 9\n{}", text.replace("\"/\"", "\"/later\""));

    let told = plan(&daemon, change, &["--json"]);
    let shown = plan(&daemon, change, &[]);

    assert_eq!((told.code, shown.code), (Some(1), Some(1)), "{}", shown.stderr);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let refused = "needs restart: jobs: a running daemon cannot change this";
    assert_eq!(told["refused"], json!([refused]));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("+ route * /later -> one\n"), "{shown}");
    assert!(shown.ends_with(&format!("! a reload refuses this: {refused}\n")), "{shown}");
}

#[test]
fn a_configuration_without_a_route_is_refused_as_a_reload_refuses_it() {
    let daemon = daemon();

    let planned = plan(&daemon, |text| text.split("[[route]]").next().unwrap().to_owned(), &[]);

    assert_eq!(planned.code, Some(1));
    let shown = String::from_utf8(planned.stdout).unwrap();
    assert!(shown.contains("! a reload refuses this: it has no [[route]]"), "{shown}");
}

#[test]
fn what_only_a_module_can_tell_is_refused_by_a_plan_too() {
    let daemon = daemon();
    fs::copy(crate::harness::handlers().join("greet.wasm"), daemon.path("two.wasm")).unwrap();
    let change = |text: String| text.replace("\"one.wasm\"", "\"two.wasm\"") + "upgrade = \"tcp\"\n";

    let planned = plan(&daemon, change, &[]);

    assert_eq!(planned.code, Some(1));
    assert!(planned.stderr.contains("upgrade is for programs"), "{}", planned.stderr);
}

#[test]
fn a_changed_share_of_one_address_is_named_with_both_numbers() {
    let setup = Setup::one("limits.concurrency_per_peer = 3", &version("one"));
    let daemon = setup.prepend("admin = \"unix://admin.sock\"\n").start();

    let planned = plan(&daemon, |text| text.replace("per_peer = 3", "per_peer = 2"), &[]);

    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    let shown = String::from_utf8(planned.stdout).unwrap();
    assert_eq!(shown, "~ handler one\n    limits.concurrency_per_peer 3 -> 2\n");
}

#[test]
fn a_trial_that_a_reload_would_end_is_named() {
    let daemon = daemon();
    assert_eq!(swap(&daemon, "one", "Job-Env: CANARY=50%\r\n", &version("two")).status(), 200);

    let planned = plan(&daemon, |text| text, &[]);

    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    let shown = String::from_utf8(planned.stdout).unwrap();
    assert!(
        shown.starts_with("- trial of one: ") && shown.ends_with(", with 50% of the requests\n"),
        "{shown}"
    );
}

#[test]
fn a_file_that_is_named_in_another_way_than_at_the_start_is_the_same_configuration() {
    let setup = Setup::one("", &version("one"))
        .prepend("admin = \"unix://admin.sock\"\ncache = \"cache\"\nrecord_dir = \"failures\"\n");
    let dir = setup.path("");
    // The same as `cd DIR && portcullis serve -c portcullis.toml`.
    let script = "cd \"$0\" && exec \"$1\" serve -c portcullis.toml -H tcp://127.0.0.1:0";
    let daemon = setup.under(&["sh", "-c", script, dir.to_str().unwrap()]).start();

    let mut command = portcullis();
    command.args(["plan", "-c", "portcullis.toml", "--socket", "admin.sock"]).current_dir(dir);
    let planned = finish(&mut command, b"", PATIENCE);

    let shown = String::from_utf8(planned.stdout).unwrap();
    assert_eq!((planned.code, shown.as_str()), (Some(0), "nothing changes\n"), "{}", planned.stderr);
    daemon.signal(rustix::process::Signal::HUP);
    daemon.log.line("reloaded: generation 2");
}

#[test]
fn a_plan_in_a_directory_without_a_configuration_names_the_flag() {
    let (daemon, elsewhere) = (daemon(), tempfile::tempdir().unwrap());
    let mut command = portcullis();
    command.arg("plan").arg("--socket").arg(daemon.path("admin.sock")).current_dir(elsewhere.path());

    let planned = finish(&mut command, b"", PATIENCE);

    assert_eq!(planned.code, Some(1));
    assert!(planned.stderr.contains("name the configuration with -c FILE"), "{}", planned.stderr);
}

#[test]
fn a_configuration_on_stdin_that_is_too_large_is_not_called_a_request_body() {
    let daemon = daemon();
    let mut command = portcullis();
    command.args(["plan", "-c", "-", "--socket"]).arg(daemon.path("admin.sock"));

    let planned = finish(&mut command, &b"#".repeat((1 << 20) + 1), PATIENCE);

    assert_eq!(planned.code, Some(1));
    assert!(planned.stderr.contains("the configuration: it is larger than 1 MiB"), "{}", planned.stderr);
}
