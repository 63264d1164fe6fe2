//! Invalid files that an operator names: refused at once, at the start, by a reload and by `plan`.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::harness::{Ended, PATIENCE, Setup, finish, portcullis};
use crate::lifecycle::{AS_CONFIGURED, configuration, hello};

/// A configuration that names a file in every possible way.
fn setup() -> Setup {
    Setup::one("secrets = { KEY = \"secret\" }", &hello())
        .prepend("admin = \"unix://admin.sock\"\n")
        .add("[outbound]\nca = \"ca.pem\"\n")
        .file("secret", b"s3cret")
        .file("ca.pem", crate::harness::Authority::usual().cert.as_bytes())
}

/// Replaces a file by a FIFO without a writer.
fn into_fifo(path: &Path) {
    fs::remove_file(path).unwrap();
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Replaces a file by an endless file.
fn into_endless(path: &Path) {
    fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
}

fn verb(setup: &Path, args: &[&str]) -> Ended {
    let mut command = portcullis();
    command.args(args).current_dir(setup).env("CREDENTIALS_DIRECTORY", setup);
    finish(&mut command, b"", PATIENCE)
}

#[test]
fn a_configuration_that_is_no_file_is_refused_at_once() {
    for (change, wanted) in [
        (into_fifo as fn(&Path), "the configuration cannot be read: wanted a file, found a FIFO, "),
        (into_endless, "the configuration cannot be read: wanted a file, found a device, "),
    ] {
        let setup = Setup::new(&configuration("[\"tcp://127.0.0.1:0\"]", "")).under(&AS_CONFIGURED);
        change(&setup.path("portcullis.toml"));

        let checked = verb(&setup.path(""), &["check"]);
        let served = setup.fail();

        for ended in [checked, served] {
            assert_eq!(ended.code, Some(1));
            assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
        }
    }
}

#[test]
fn a_configuration_that_is_too_large_is_refused() {
    let setup = Setup::new(&"#".repeat((1 << 20) + 1));

    let ended = setup.fail();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("it is larger than 1 MiB, the most that is read"), "{}", ended.stderr);
}

#[test]
fn whatever_a_configuration_names_is_refused_at_once_and_named() {
    for (name, wanted) in [
        ("one.wasm", "handler.one.module: "),
        ("ca.pem", "outbound.ca: there is no PEM file at "),
        ("secret", "secrets.KEY: the credential \"secret\" cannot be read: "),
    ] {
        for change in [into_fifo as fn(&Path), into_endless] {
            let setup = setup();
            change(&setup.path(name));

            let ended = verb(&setup.path(""), &["check"]);

            assert_eq!(ended.code, Some(1), "{name}");
            assert!(ended.stderr.contains(wanted) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
        }
    }
}

#[test]
fn a_daemon_that_runs_is_not_held_up_by_what_is_no_file() {
    let setup = setup();
    let credentials = setup.path("");
    let daemon = setup.env("CREDENTIALS_DIRECTORY", credentials).start();
    let dir = daemon.path("");
    for name in ["secret", "ca.pem", "one.wasm", "portcullis.toml"] {
        let kept = fs::read(daemon.path(name)).unwrap();
        into_fifo(&daemon.path(name));

        // Without a configuration, only the flag tells where the daemon is.
        let socket = ["--socket", "admin.sock"];
        let reloaded = verb(&dir, &[&["reload"], &socket[..]].concat());
        let planned = verb(&dir, &[&["plan"], &socket[..]].concat());

        for ended in [reloaded, planned] {
            assert_eq!(ended.code, Some(1), "{name}");
            assert!(ended.stderr.contains("found a FIFO, ") || name == "one.wasm", "{}", ended.stderr);
        }
        fs::remove_file(daemon.path(name)).unwrap();
        fs::write(daemon.path(name), kept).unwrap();
    }
    assert_eq!(verb(&dir, &["reload"]).code, Some(0));
    assert_eq!(daemon.get("/").text(), "hello\n");
}
