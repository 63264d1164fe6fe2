//! `watch = true`: changes are compared with what is served, not with what was refused.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Daemon, Program, Setup, found, never, until};
use crate::secrets::project;

fn saying(text: &str) -> Vec<u8> {
    Program::text().say(text).wasm()
}

/// Replaces the file of the module that is served.
fn replace(daemon: &Daemon, text: &str) {
    fs::write(daemon.path("one.wasm"), saying(text)).unwrap();
}

fn becomes(daemon: &Daemon, text: &str) {
    until(text, || (daemon.get("/").text() == text).then_some(()));
}

#[test]
fn a_refused_configuration_without_watch_does_not_end_the_watch() {
    let daemon = Setup::one("", &saying("first")).prepend("watch = true\n").start();
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();

    for (count, refused) in ["".to_owned(), text.replace("watch = true", "jobs = 7")].iter().enumerate() {
        fs::write(&config, refused).unwrap();
        daemon.log.lines(count + 1, "reload failed");
        replace(&daemon, "second");
        fs::write(&config, &text).unwrap();
        becomes(&daemon, "second");
        replace(&daemon, "first");
        becomes(&daemon, "first");
    }
}

#[test]
fn a_module_that_a_refused_configuration_names_is_waited_for() {
    let daemon = Setup::one("", &saying("first")).prepend("watch = true\n").start();
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::create_dir(daemon.path("later")).unwrap();
    fs::write(daemon.path("later/one.wasm"), "no module").unwrap();

    fs::write(&config, text.replace("one.wasm", "later/one.wasm")).unwrap();
    daemon.log.line("reload failed");
    fs::write(daemon.path("later/one.wasm"), saying("later")).unwrap();

    becomes(&daemon, "later");
}

#[test]
fn watch_is_taken_up_given_up_and_taken_up_again_by_reloads() {
    let daemon = Setup::one("", &saying("first")).start();
    let config = daemon.path("portcullis.toml");
    let without = fs::read_to_string(&config).unwrap();
    let with = format!("watch = true\n{without}");

    fs::write(&config, &with).unwrap();
    daemon.signal(Signal::HUP);
    // Both the signal and the watch may cause the reload, and the log may show them in either order.
    daemon.log.line("reloaded: generation ");
    replace(&daemon, "second");
    becomes(&daemon, "second");

    fs::write(&config, format!("version_header = true\n{without}")).unwrap();
    let in_force = || daemon.get("/").field("x-portcullis-version").map(drop);
    until("it is in force", in_force);
    replace(&daemon, "third");
    never(Duration::from_millis(700), "it is not watched", || daemon.get("/").text() == "third");

    fs::write(&config, &with).unwrap();
    daemon.signal(Signal::HUP);
    becomes(&daemon, "third");
    replace(&daemon, "fourth");
    becomes(&daemon, "fourth");
}

#[test]
fn a_bind_mounted_file_that_is_written_in_place_is_seen() {
    if !found(&["unshare"], "util-linux") {
        return;
    }
    let setup = Setup::one("", &saying("first")).prepend("watch = true\n");
    let elsewhere = tempfile::tempdir().unwrap();
    let source = elsewhere.path().join("module");
    fs::write(&source, saying("first")).unwrap();
    let script = format!(
        "mount --bind {} {} && exec \"$0\" \"$@\"",
        source.display(),
        setup.path("one.wasm").display()
    );
    let tried = std::process::Command::new("unshare").args(["-rm", "true"]).output().unwrap();
    if !tried.status.success() {
        assert!(std::env::var_os("CI").is_none(), "unshare -rm: {}", String::from_utf8_lossy(&tried.stderr));
        return;
    }
    let daemon = setup.under(&["unshare", "-rm", "sh", "-c", &script]).start();
    assert_eq!(daemon.get("/").text(), "first");

    for text in ["second", "third"] {
        fs::write(&source, saying(text)).unwrap();
        becomes(&daemon, text);
    }
}

#[test]
fn a_config_map_that_is_switched_is_followed_without_a_warning() {
    let setup = Setup::one("", &saying("first")).prepend("watch = true\n");
    let (dir, config) = (setup.path(""), setup.path("portcullis.toml"));
    let first = fs::read_to_string(&config).unwrap();
    fs::remove_file(&config).unwrap();
    fs::remove_file(setup.path("one.wasm")).unwrap();
    let switch = |version: &str, config: &str, text: &str| {
        project(&dir, version, &[("portcullis.toml", config.as_bytes()), ("one.wasm", &saying(text))]);
    };
    switch("..1", &first, "first");
    let daemon = setup.start();
    assert_eq!(daemon.get("/").text(), "first");

    // First the module alone, then the configuration as well.
    switch("..2", &first, "second");
    becomes(&daemon, "second");
    let route = "[[route]]\npath = \"/more\"\nhandler = \"one\"\n";
    switch("..3", &format!("{first}{route}"), "third");
    until("the new route", || (daemon.get("/more").text() == "third").then_some(()));
    switch("..4", &first, "fourth");
    until("the old routes", || (daemon.get("/more").status() == 404).then_some(()));

    assert_eq!(daemon.get("/").text(), "fourth");
    assert_eq!(daemon.log.count(" WARN ") + daemon.log.count(" ERROR "), 0, "{}", daemon.log.text());
}

#[test]
fn an_error_page_is_watched_and_one_that_is_missing_is_waited_for() {
    let setup = Setup::one("", &saying("x")).prepend("watch = true\nerrors = { 404 = \"404.html\" }\n");
    let daemon = setup.file("404.html", b"first").start();
    let told = |text: &str| until(text, || (daemon.get("/nowhere").text() == text).then_some(()));
    told("first");
    fs::write(daemon.path("404.html"), "second").unwrap();
    told("second");

    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("404.html", "later.html")).unwrap();
    daemon.log.line("reload failed");
    fs::write(daemon.path("later.html"), "third").unwrap();

    told("third");
}
