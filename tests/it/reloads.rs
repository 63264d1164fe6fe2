//! A refused reload shows in `status`, in metrics, at the service manager, and in the verb's exit status.

use std::fs;
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::harness::{Daemon, Ended, PATIENCE, Setup, finish, portcullis, until};
use crate::swap::{run, version};

const SUCCESSFUL: &str = "portcullis_config_last_reload_successful";
const SINCE: &str = "portcullis_config_last_reload_success_timestamp_seconds";

fn daemon() -> Daemon {
    Setup::one("", &version("one")).prepend("admin = \"unix://admin.sock\"\n").start()
}

/// Runs `portcullis reload`, as the systemd unit does.
fn reload(daemon: &Daemon) -> Ended {
    let mut command = portcullis();
    command.args(["reload", "-c"]).arg(daemon.path("portcullis.toml"));
    finish(&mut command, b"", PATIENCE)
}

#[test]
fn a_refused_reload_is_seen_until_one_succeeds() {
    let daemon = daemon();
    let since = daemon.metric(SINCE, &[]);
    assert!(since > 1e9, "the start is the first reload: {since}");
    let config = daemon.path("portcullis.toml");
    let sound = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        sound.replace("one.wasm", "gone.wasm") + "[[route]]\npath = \"/b\"\nhandler = \"none\"\n",
    )
    .unwrap();

    let refused = reload(&daemon);

    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("gone.wasm") && refused.stderr.contains("\"none\""),
        "{}",
        refused.stderr
    );
    assert_eq!((daemon.metric(SUCCESSFUL, &[]), daemon.metric(SINCE, &[])), (0.0, since));
    let shown = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    let line = shown.lines().find(|line| line.starts_with("reload refused")).unwrap();
    assert!(line.contains("gone.wasm") && line.contains("; "), "{line}");
    assert_eq!(daemon.get("/").text(), "one");

    fs::write(&config, sound).unwrap();
    let taken = reload(&daemon);
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    assert_eq!(daemon.metric(SUCCESSFUL, &[]), 1.0);
    assert!(daemon.metric(SINCE, &[]) > since);
    assert!(run(&daemon, "status", "", b"").text().contains("\"reload_refused\":null"));
}

#[test]
fn a_reload_names_what_it_takes_up_from_the_same_paths() {
    let settings = "mounts = [{ host = \"data\", guest = \"/data\" }]\ndatabases = [\"app\"]\n\
                    [database.app]\nurl = \"sqlite:app.sqlite\"\n";
    let setup = Setup::one(settings, &version("one"))
        .prepend("admin = \"unix://admin.sock\"\nerrors = { 404 = \"404.html\" }\n")
        .add("[[route]]\npath = \"/f/{*path}\"\nstatic = { dir = \"public\" }\n")
        .file("404.html", b"<p>none");
    ["data", "public"].iter().for_each(|dir| fs::create_dir(setup.path(dir)).unwrap());
    let daemon = setup.start();
    for dir in ["data", "public"] {
        fs::rename(daemon.path(dir), daemon.path(&format!("{dir}.old"))).unwrap();
        fs::create_dir(daemon.path(dir)).unwrap();
    }
    fs::write(daemon.path("404.html"), "<p>not here").unwrap();
    fs::copy(daemon.path("app.sqlite"), daemon.path("copy")).unwrap();
    fs::rename(daemon.path("copy"), daemon.path("app.sqlite")).unwrap();

    let planned = daemon.verb(&["plan", "-c", daemon.path("portcullis.toml").to_str().unwrap()]);
    let taken = reload(&daemon);
    let again = reload(&daemon);

    assert_eq!((planned.code, taken.code), (Some(0), Some(0)), "{} {}", planned.stderr, taken.stderr);
    let at = |name: &str| daemon.path(name).display().to_string();
    for told in [planned.stdout, taken.stdout] {
        let told = String::from_utf8(told).unwrap();
        for line in [
            format!("~ handler one\n    mount {}: another directory\n", at("data")),
            format!("~ static directory {}: another directory\n", at("public")),
            format!("~ database app: another file at {}\n", at("app.sqlite")),
            format!("~ error page {}: other content\n", at("404.html")),
        ] {
            assert!(told.contains(&line), "{line}: {told}");
        }
    }
    let told = String::from_utf8(again.stdout).unwrap();
    assert!(told.ends_with("\nnothing changes\n"), "{told}");
}

#[test]
fn a_setting_that_a_version_does_not_show_is_named_by_the_reload() {
    let daemon = Setup::one("record = \"failures\"", &version("one"))
        .prepend("admin = \"unix://admin.sock\"\nrecord_dir = \"failures\"\n")
        .start();
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();

    fs::write(&config, text.replace("record = \"failures\"", "record = \"nothing\"")).unwrap();
    let taken = reload(&daemon);

    let told = String::from_utf8(taken.stdout).unwrap();
    assert!(told.contains("~ handler one\n    record failures -> nothing\n"), "{told} {}", taken.stderr);
}

#[test]
fn a_reload_that_a_signal_asked_for_is_seen_as_well_and_by_the_service_manager() {
    let setup = Setup::one("", &version("one")).prepend("admin = \"unix://admin.sock\"\n");
    let manager = UnixDatagram::bind(setup.path("manager.sock")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let under = format!("NOTIFY_SOCKET={}", setup.path("manager.sock").display());
    let daemon = setup.under(&["env", &under]).spawn();
    let told = |wanted: &str| {
        let mut buffer = [0; 4096];
        until(wanted, || {
            let length = manager.recv(&mut buffer).unwrap();
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            message.contains(wanted).then_some(message)
        })
    };
    told("READY=1");
    fs::write(daemon.path("portcullis.toml"), "jobs = \"many\"\n").unwrap();

    daemon.signal(Signal::HUP);

    let message = told("the last reload was refused: ");
    assert!(message.contains("portcullis.toml:1: jobs:"), "{message}");
    assert_eq!(daemon.metric(SUCCESSFUL, &[]), 0.0);
}

#[test]
fn the_unit_reloads_by_what_waits_for_the_outcome() {
    let unit = include_str!("../../runtime/systemd/portcullis.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecReload=/usr/bin/portcullis ")).unwrap();
    let daemon = daemon();
    let words: Vec<String> = line
        .split(' ')
        .map(|word| match word {
            "/etc/portcullis/portcullis.toml" => daemon.path("portcullis.toml").to_str().unwrap().to_owned(),
            other => other.to_owned(),
        })
        .collect();

    let ended = finish(portcullis().args(&words), b"", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(daemon.metric("portcullis_generation", &[]), 2.0);
}
