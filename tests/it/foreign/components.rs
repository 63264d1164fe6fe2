//! Components of the SDKs of Spin and wasmCloud, with the stores that they ask for.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tools::{install, place};
use super::tried;
use crate::harness::{Daemon, Setup};

/// The crates, each with its lock file.
const CRATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/it/foreign/components");

/// Builds a crate. Returns its component.
fn component(name: &str) -> Option<PathBuf> {
    let target = place("components").join(name);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2", "--manifest-path"]);
    cargo.arg(Path::new(CRATES).join(name).join("Cargo.toml")).env("CARGO_TARGET_DIR", &target);
    install(
        &mut cargo,
        "is crates.io within reach, and the target installed (rustup target add wasm32-wasip2)?",
    )?;
    Some(target.join(format!("wasm32-wasip2/release/{name}.wasm")))
}

/// Serves a component with a store, and returns its response.
fn asked(name: &str, settings: &str) -> Option<(Daemon, String)> {
    let module = component(name)?;
    let setup = Setup::new(&format!(
        "{settings}\n[store.default]\nurl = \"redb:kept.redb\"\n\
         [handler.c]\nmodule = \"c.wasm\"\nstores = [\"default\"]\nenv = {{ GREETING = \"hi\" }}\n\
         [[route]]\npath = \"/\"\nhandler = \"c\"\n"
    ));
    let setup = setup.file("c.wasm", &std::fs::read(module).unwrap());
    let (daemon, response) = tried(name, setup, |daemon| daemon.get("/"));
    assert_eq!(response.status(), 200, "{}", response.text());
    Some((daemon, response.text().to_owned()))
}

/// What a component of Spin sees, whatever its SDK.
const SPIN: &str = "Some(Ok(\"one\"))\n[\"spin/a\", \"spin/b\"]\nfalse\nSome(Error::AccessDenied)\n\
    Ok(\"hi\") Err(Error::Undefined(\"none\"))\n";

#[test]
fn a_component_of_spins_sdk_5_keeps_its_keys() {
    let Some((_daemon, seen)) = asked("spin5", "") else { return };

    assert_eq!(seen, SPIN);
}

#[test]
fn a_component_of_spins_sdk_7_keeps_its_keys() {
    let Some((_daemon, seen)) = asked("spin7", "wasi_http_03 = true") else { return };

    assert_eq!(seen, SPIN);
}

#[test]
fn a_component_of_wasmcloud_keeps_its_keys_and_logs() {
    let Some((daemon, seen)) = asked("wasmcloud", "") else { return };

    let wanted = "7\n[Some((\"cloud/a\", [111, 110, 101])), None]\n[\"cloud/a\", \"cloud/n\"] None\nfalse\n\
        Some(Error::AccessDenied)\n";
    assert_eq!(seen, wanted);
    daemon.log.line("info cloud: done");
}
