//! `watch = true`: what is served decides, and not what was refused.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Daemon, Program, Setup, never, until};

fn saying(text: &str) -> Vec<u8> {
    Program::text().say(text).wasm()
}

/// Puts another module into the place of the one that is served.
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
        daemon.log.lines(count + 1, "not reloaded");
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
    daemon.log.line("not reloaded");
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
    daemon.log.line("reloaded: generation 2");
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
