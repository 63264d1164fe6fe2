//! Tells the program what it is built of: its commit, if it is built in its repository, and the version of wasmtime.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What packagers set who build without a repository.
const NAMED: &str = "PORTCULLIS_COMMIT";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={NAMED}");
    let named = std::env::var(NAMED).ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = named.or_else(commit) {
        println!("cargo:rustc-env=PORTCULLIS_BUILT_OF={commit}");
    }
    println!(
        "cargo:rustc-env=PORTCULLIS_WASMTIME={}",
        locked("wasmtime").unwrap_or_else(|| "unknown".to_owned())
    );
}

/// Returns the commit, and has cargo come here again with the next one.
fn commit() -> Option<String> {
    // An archive of the sources may lie in the repository of something else, which does not know this file.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    // Every commit and checkout is a line of the log. Without one, the head changes or what it points to.
    let head = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["logs/HEAD", "HEAD", "packed-refs"].into_iter().chain(head.as_deref()) {
        let path = git(&["rev-parse", "--git-path", name]).map(PathBuf::from);
        // What is not there would have cargo come here each time.
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// Asks git; `None` where there is none, or it does not know.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Finds the version of a package in the lock file.
fn locked(package: &str) -> Option<String> {
    let file = Path::new("../Cargo.lock");
    println!("cargo:rerun-if-changed={}", file.display());
    let text = fs::read_to_string(file).ok()?;
    let after = text.split(&format!("name = \"{package}\"\nversion = \"")).nth(1)?;
    after.split('"').next().map(str::to_owned)
}
