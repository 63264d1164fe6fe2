//! Runs the Rust toolchain: which program, in which environment, with which targets.

use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Variables that cargo sets for programs and build scripts, or that are meant for host code; an inner cargo would take
/// some of them as its settings. Settings of the user for all cargos (`CARGO_HOME`, `CARGO_TARGET_DIR`,
/// `CARGO_NET_OFFLINE`, `CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS`...) are not listed. Source: "Environment Variables" in
/// the Cargo book.
const OUTER: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_CRATE_NAME",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "DEBUG",
    "HOST",
    "MAKEFLAGS",
    "MFLAGS",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "TARGET",
];

/// Prefixes of such variables.
const OUTER_PREFIXES: &[&str] =
    &["CARGO_BIN_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_", "DEP_"];

/// Makes a command of the toolchain that builds `dir`, without the variables of an outer cargo.
pub(super) fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(found(program));
    // rustup and cargo look for their settings in this directory and those above.
    command.current_dir(dir);
    for (name, _) in env::vars_os() {
        let under_cargo = env::var_os("CARGO_MANIFEST_DIR").is_some();
        if name.to_str().is_some_and(|name| is_outer(name, under_cargo && names_a_toolchain(dir))) {
            command.env_remove(name);
        }
    }
    // A relative path of the user starts at our working directory, and the child has another one.
    if let Some(Ok(target_dir)) = env::var_os("CARGO_TARGET_DIR").map(std::path::absolute) {
        command.env("CARGO_TARGET_DIR", target_dir);
    }
    command
}

/// Makes sure that code can be compiled for `target`. Asks rustup to add the target if it is missing.
///
/// # Errors
/// The target is missing and rustup cannot add it. The message says what to run.
pub(super) fn ensure(dir: &Path, target: &str, say: &dyn Fn(&str)) -> Result<()> {
    match presence(dir, target)? {
        Presence::There | Presence::Unknown => return Ok(()),
        Presence::Missing => {}
    }
    say(&format!("adding the target {target}"));
    let rustup = command("rustup", dir)
        .args(["target", "add", target])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    let by_hand = format!("run `rustup target add {target}` in {}", dir.display());
    match rustup {
        Ok(status) if status.success() => {}
        Ok(_) => bail!("target {target} is missing, and rustup could not add it: {by_hand}"),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "target {target} is missing, and so is rustup: install it from https://rustup.rs and {by_hand}, or install your distribution's package of Rust's standard library for {target}"
        ),
        Err(error) => return Err(error).context("rustup: cannot be run"),
    }
    match presence(dir, target)? {
        Presence::There | Presence::Unknown => Ok(()),
        Presence::Missing => bail!(
            "target {target} is missing, though rustup has added it: the rustc in PATH is not rustup's: put ~/.cargo/bin first in PATH"
        ),
    }
}

/// Whether a target's standard library is installed.
#[derive(Debug, PartialEq)]
enum Presence {
    There,
    Missing,
    /// rustc does not know. The build goes on, and cargo's message explains the error.
    Unknown,
}

fn presence(dir: &Path, target: &str) -> Result<Presence> {
    let output = command("rustc", dir)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .context("rustc: cannot be run: install Rust from https://rustup.rs, or put rustc into PATH")?;
    Ok(judge(output.status.success(), &String::from_utf8_lossy(&output.stdout)))
}

/// rustc prints the path whether or not it exists.
fn judge(success: bool, libdir: &str) -> Presence {
    match libdir.trim() {
        path if !success || path.is_empty() => Presence::Unknown,
        path if Path::new(path).is_dir() => Presence::There,
        _ => Presence::Missing,
    }
}

/// Returns `true` if a variable belongs to an outer cargo, not to the user. `RUSTUP_TOOLCHAIN` may be either: rustup
/// sets it under `cargo run`, and it would override the `rust-toolchain.toml` of the crate, if there is one.
fn is_outer(name: &str, crate_names_toolchain: bool) -> bool {
    OUTER.contains(&name)
        || OUTER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || (name == "RUSTUP_TOOLCHAIN" && crate_names_toolchain)
}

fn names_a_toolchain(dir: &Path) -> bool {
    dir.ancestors()
        .any(|dir| dir.join("rust-toolchain.toml").is_file() || dir.join("rust-toolchain").is_file())
}

/// Returns the program from PATH, or else beside the cargo that runs us, which may not be in PATH.
fn found(program: &str) -> OsString {
    let in_path =
        env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| has(&dir, program)));
    let beside = env::var_os("CARGO").and_then(|cargo| Some(PathBuf::from(cargo).parent()?.to_owned()));
    match beside {
        Some(dir) if !in_path && has(&dir, program) => dir.join(program).into(),
        _ => program.into(),
    }
}

fn has(dir: &Path, program: &str) -> bool {
    dir.join(program).with_extension(env::consts::EXE_EXTENSION).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_outer_cargo_left_is_told_from_what_a_person_set() {
        for outer in
            ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_BIN_EXE_portcullis", "RUSTFLAGS"]
        {
            assert!(is_outer(outer, false), "{outer} must go");
        }
        for theirs in
            ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "RUSTUP_HOME", "PATH", "RUSTC_WRAPPER"]
        {
            assert!(!is_outer(theirs, true), "{theirs} must stay");
        }
        assert!(!is_outer("CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", true));
    }

    #[test]
    fn the_outer_toolchain_stays_where_the_crate_names_none() {
        assert!(!is_outer("RUSTUP_TOOLCHAIN", false));
        assert!(is_outer("RUSTUP_TOOLCHAIN", true));
    }

    #[test]
    fn a_target_is_there_when_its_library_is() {
        let there = tempfile::tempdir().unwrap();

        assert_eq!(judge(true, &format!("{}\n", there.path().display())), Presence::There);
        assert_eq!(judge(true, "/nowhere/lib\n"), Presence::Missing);
        assert_eq!(judge(false, ""), Presence::Unknown);
        assert_eq!(judge(true, ""), Presence::Unknown);
    }
}
