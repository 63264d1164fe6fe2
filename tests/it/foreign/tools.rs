//! Tools of other languages, as their registries have them: each by its version and hash, installed once for all runs.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::LONG;
use crate::harness::{figure, finish, found};

/// The packages of the npm registry, with their hashes.
const NPM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/it/foreign/npm");

/// The first version of Node that the tools run on. Debian 12 has 18.
const NODE: u32 = 20;

/// Returns a place for what is installed, below the directory that cargo gives tests.
pub(super) fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign").join(name)
}

/// Runs a package manager. Without its registry tests fail in CI, and are skipped with a message elsewhere; `advice` is
/// for whoever reads that.
pub(super) fn install(manager: &mut Command, advice: &str) -> Option<()> {
    let ended = finish(manager, b"", LONG);
    if ended.code == Some(0) {
        return Some(());
    }
    let message = format!("{advice} {manager:?}: {}", ended.stderr);
    assert!(std::env::var_os("CI").is_none(), "{message}");
    figure(&format!("skipped: {message}"));
    None
}

/// Has a place filled by `fill`, unless an earlier run has done so.
pub(super) fn filled(name: &str, fill: impl FnOnce(&Path) -> Option<()>) -> Option<PathBuf> {
    // One after the other: two tests may want the same.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let place = place(name);
    let mark = place.join("whole");
    if !mark.exists() {
        // What a run has left half-way that was broken off.
        let _absent = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        fill(&place)?;
        fs::write(mark, "").unwrap();
    }
    Some(place)
}

/// Returns a directory with packages of PyPI, which `requirements` names with their hashes.
pub(super) fn pip(name: &str, requirements: &str, options: &[&str]) -> Option<PathBuf> {
    if !found(&["python3"], "python3 python3-venv") {
        return None;
    }
    let venv = filled("venv", |place| {
        install(
            Command::new("python3").args(["-m", "venv"]).arg(place.join("venv")),
            "apt-get install python3-venv",
        )
    })?;
    filled(name, |place| {
        let list = place.join("requirements.txt");
        fs::write(&list, requirements).unwrap();
        let mut pip = Command::new(venv.join("venv/bin/pip"));
        pip.args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-compile",
            "--require-hashes",
        ]);
        pip.args(["--only-binary", ":all:"]).args(options).arg("--target").arg(place).arg("-r").arg(list);
        install(&mut pip, "is PyPI within reach?")
    })
}

/// Returns the directory of the tools of the npm registry, and `None` where there is no Node that they run on, which no
/// package of Debian 12 brings, so that the test is skipped with a message.
pub(super) fn npm() -> Option<&'static Path> {
    static PLACE: OnceLock<Option<PathBuf>> = OnceLock::new();
    PLACE.get_or_init(npm_ci).as_deref()
}

fn npm_ci() -> Option<PathBuf> {
    let version = Command::new("node").arg("--version").output().ok();
    let version = version.and_then(|said| String::from_utf8(said.stdout).ok()).unwrap_or_default();
    let major =
        version.trim().strip_prefix('v').and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE) {
        figure(&format!("skipped: needs Node {NODE} or later and its npm, found {:?}", version.trim()));
        return None;
    }
    let mut lock = DefaultHasher::new();
    fs::read(Path::new(NPM).join("package-lock.json")).unwrap().hash(&mut lock);
    filled(&format!("npm-{:016x}", lock.finish()), |place| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(Path::new(NPM).join(file), place.join(file)).unwrap();
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(place);
        install(&mut npm, "is the npm registry within reach?")
    })
}
