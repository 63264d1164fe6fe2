//! Scaffolds handlers in directories of all kinds, and builds them.

use super::*;
use crate::cli::build::{BuildOptions, build};
use crate::job::Intake;
use std::process::Command;

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Builds the handlers of a directory, with a target directory of its own.
fn modules(dir: &Path) -> Vec<PathBuf> {
    let options = BuildOptions { target_dir: Some(dir.join("target")) };
    build(dir, &options, &|_| ()).unwrap().into_iter().map(|built| built.module).collect()
}

#[test]
fn a_new_handler_in_an_empty_directory_builds_and_its_test_passes() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().canonicalize().unwrap();

    let created = new(&dir, "hi", NewTemplate::Hello).unwrap();
    let counting = new(&dir, "counts", NewTemplate::Store).unwrap();

    assert!(created.config_is_new && created.sdk_is_new);
    assert_eq!(created.dir, dir.join("hi"));
    let built = modules(&dir);
    assert!(built.len() == 2 && built.iter().all(|module| fs::read(module).unwrap().starts_with(b"\0asm")));
    for made in [created.dir, counting.dir] {
        let tested = Command::new("cargo")
            .args(["test", "-q", "--target-dir"])
            .arg(dir.join("target"))
            .current_dir(made)
            .status();
        assert!(tested.unwrap().success());
    }
}

#[test]
fn a_new_handler_gets_a_body_of_unknown_length_whole_and_its_configuration_names_the_other_way() {
    let dir = tempfile::tempdir().unwrap();
    let created = new(dir.path(), "hi", NewTemplate::Hello).unwrap();
    // A configuration is read only if its modules exist.
    fs::create_dir(dir.path().join("build")).unwrap();
    fs::write(dir.path().join("build/hi.wasm"), "").unwrap();
    let written = text(&created.config);
    let intake = |text: &str| {
        let config = crate::config::parse(text, dir.path(), "portcullis.toml").unwrap();
        config.handlers[0].conduct.intake()
    };

    assert_eq!(intake(&written), Intake::Whole);
    assert_eq!(intake(&written.replace("# body = ", "body = ")), Intake::Stream);
}

#[test]
fn a_second_handler_shares_the_sdk_and_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    new(dir.path(), "one", NewTemplate::Hello).unwrap();

    let second = new(dir.path(), "two", NewTemplate::Hello).unwrap();

    assert!(!second.config_is_new && !second.sdk_is_new);
    let config = text(second.config);
    assert!(config.contains("[handler.one]") && config.contains("[handler.two]"));
    assert_eq!(modules(dir.path()).len(), 2);
}

#[test]
fn the_sdk_of_a_repository_above_is_used_where_it_is() {
    let repository = tempfile::tempdir().unwrap();
    let root = repository.path();
    new(root, "first", NewTemplate::Hello).unwrap();
    fs::create_dir(root.join("handlers")).unwrap();

    let created = new(&root.join("handlers"), "hi", NewTemplate::Hello).unwrap();

    assert!(!created.sdk_is_new);
    assert!(text(created.dir.join("Cargo.toml")).contains("path = \"../../guest-sdk\""));
}

#[test]
fn a_workspace_that_does_not_have_it_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = []\n").unwrap();

    let created = new(dir.path(), "hi", NewTemplate::Hello).unwrap();

    assert!(text(created.dir.join("Cargo.toml")).ends_with("\n[workspace]\n"));
    assert_eq!(modules(dir.path()).len(), 1);
}

#[test]
fn a_workspace_that_takes_everything_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"h*\", \"guest-sdk\"]\n",
    )
    .unwrap();

    let created = new(dir.path(), "hi", NewTemplate::Hello).unwrap();

    assert!(!text(created.dir.join("Cargo.toml")).contains("[workspace]"));
    assert_eq!(modules(dir.path()).len(), 1);
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("there")).unwrap();
    fs::write(dir.path().join("portcullis.toml"), "[handler.served]\nmodule = \"x.wasm\"\n").unwrap();

    assert!(
        new(dir.path(), "there", NewTemplate::Hello).unwrap_err().to_string().contains("is there already")
    );
    assert!(new(dir.path(), "served", NewTemplate::Hello).is_err());

    assert!(!dir.path().join("served").exists() && !dir.path().join("guest-sdk").exists());
}

#[test]
fn a_broken_configuration_is_not_added_to() {
    let dir = tempfile::tempdir().unwrap();
    let (file, broken) = (dir.path().canonicalize().unwrap().join("portcullis.toml"), "jobs = 1\njobs = 2\n");
    fs::write(&file, broken).unwrap();

    let refusal = new(dir.path(), "hi", NewTemplate::Hello).unwrap_err().to_string();

    let place = format!("{}:2: this is not TOML: ", file.display());
    assert!(refusal.starts_with(&place) && refusal.lines().count() == 1, "{refusal}");
    assert_eq!(text(&file), broken);
    assert!(!dir.path().join("hi").exists() && !dir.path().join("guest-sdk").exists());
}

#[test]
fn a_name_must_do_for_a_job_a_crate_and_a_program() {
    for good in ["hello", "a", "resize-2", "snake_case", "Tea"] {
        assert!(check(good).is_ok(), "{good} must be taken");
    }
    for bad in
        ["", "-x", "2fast", "a.b", "a b", "../x", "é", "_", "fn", "test", "build", "target", "guest-sdk"]
    {
        assert!(check(bad).is_err(), "{bad:?} must be refused");
    }
}
