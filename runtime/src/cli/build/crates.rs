//! The crates in a directory, as `cargo metadata` describes them.

use super::toolchain;
use crate::config;
use crate::confine::Untrusted;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory for built modules, below the directory that is built.
pub(crate) const OUTPUT: &str = "build";

/// The target of a crate that names none.
const DEFAULT_TARGET: &str = "wasm32-wasip1";

/// The entries of a crate that cargo compiles or runs, or that tell cargo what to run.
const RUN: [&str; 5] = ["Cargo.toml", "build.rs", "src", ".cargo", "target"];

/// A crate with at least one program.
#[derive(Debug, Clone)]
pub(super) struct Crate {
    /// The id for cargo's `--package`.
    pub(super) id: String,
    /// The name of the package.
    pub(super) name: String,
    /// The names of its programs.
    pub(super) programs: Vec<String>,
    /// The directory of its `Cargo.toml`.
    pub(super) dir: PathBuf,
    /// The root of its workspace; a crate without a workspace is its own root.
    pub(super) workspace: PathBuf,
    /// The `package.metadata.portcullis.targets`, in the order written.
    pub(super) targets: Vec<String>,
}

/// Finds the crates to build: `dir` itself and its subdirectories, one level deep. Skips a crate that handlers may
/// write to, and says so: cargo runs programs that a crate or a directory names.
pub(super) fn find(dir: &Path, untrusted: &Untrusted, say: &dyn Fn(&str)) -> Result<Vec<Crate>> {
    let mut manifests = vec![dir.join("Cargo.toml")];
    let entries = fs::read_dir(dir).with_context(|| format!("{}: cannot be listed", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let ours =
            name.to_str().is_some_and(|name| !name.starts_with('.') && name != "target" && name != OUTPUT);
        if ours {
            manifests.push(entry.path().join("Cargo.toml"));
        }
    }
    manifests.retain(|path| path.is_file() && path.parent().is_some_and(may_have_program));
    let mut trusted = Vec::with_capacity(manifests.len());
    for manifest in manifests {
        let dir = manifest.parent().context("a manifest has a directory")?;
        let mut names = RUN.iter();
        let found = names.find_map(|name| untrusted.find(&dir.join(name)).transpose()).transpose()?;
        match found {
            Some(writable) => say(&format!("{} is not built: it lies in {writable}", dir.display())),
            None => trusted.push(manifest),
        }
    }
    let mut manifests = trusted;
    manifests.sort();
    let mut crates = Vec::<Crate>::new();
    // A description covers the whole workspace, so its other crates need no call. A call takes a tenth of a second.
    let mut told = Vec::<PathBuf>::new();
    for manifest in &manifests {
        if told.contains(manifest) {
            continue;
        }
        let described = describe(manifest)?;
        for package in described["packages"].as_array().into_iter().flatten() {
            let Some(path) = package["manifest_path"].as_str().map(PathBuf::from) else { continue };
            if manifests.contains(&path) && !told.contains(&path) {
                match written(package, &described, untrusted)? {
                    Some(why) => say(&format!("{} is not built: {why}", path.display())),
                    None => crates.extend(read(package, &described, &path)?),
                }
            }
            told.push(path);
        }
    }
    Ok(crates)
}

/// Describes the first directory of a package that handlers may write to and whose programs cargo would run. Checks its
/// sources outside of `src`, the paths and replacements of its workspace, and its dependencies by path, transitively.
fn written(package: &Value, described: &Value, untrusted: &Untrusted) -> Result<Option<String>> {
    if untrusted.is_empty() {
        return Ok(None);
    }
    let path = |value: &Value| value.as_str().map(PathBuf::from);
    let parent = |package: &Value| path(&package["manifest_path"])?.parent().map(Path::to_owned);
    let root = path(&described["workspace_root"]);
    let mut left: Vec<PathBuf> = root.iter().cloned().chain(parent(package)).collect();
    left.extend(root.iter().flat_map(|root| config::cargo_replacements(root)));
    let mut seen = Vec::<PathBuf>::new();
    while let Some(dir) = left.pop() {
        if seen.contains(&dir) {
            continue;
        }
        let here = |packages: &Value| -> Vec<Value> {
            let packages = packages.as_array().into_iter().flatten();
            packages.filter(|one| parent(one).as_ref() == Some(&dir)).cloned().collect()
        };
        let mut packages = here(&described["packages"]);
        if packages.is_empty() && root.as_ref() != Some(&dir) {
            // A crate that cargo cannot describe cannot be built either.
            packages = here(&describe(&dir.join("Cargo.toml")).unwrap_or_default()["packages"]);
        }
        let within = |key, value| {
            let lists = packages.iter().filter_map(move |package| package[key].as_array());
            lists.flatten().filter_map(move |one| path(&one[value])).collect::<Vec<_>>()
        };
        let names = RUN.iter().map(|name| (dir.clone(), dir.join(name)));
        let sources = within("targets", "src_path").into_iter().map(|source| (source.clone(), source));
        for (needed, run) in names.chain(sources) {
            if let Some(writable) = untrusted.find(&run)? {
                return Ok(Some(format!("it needs {}, which lies in {writable}", needed.display())));
            }
        }
        left.extend(within("dependencies", "path"));
        seen.push(dir);
    }
    Ok(None)
}

/// Lists the directories of the crates that the crates of `dir` depend on by path, transitively. A crate that cargo
/// cannot describe has no dependencies here. Takes a tenth of a second for each workspace.
pub(crate) fn path_dependencies(dir: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let own: Vec<PathBuf> = std::iter::once(dir.to_owned())
        .chain(below.filter(|path| path.file_name().is_none_or(|name| name != "target" && name != OUTPUT)))
        .filter(|path| path.join("Cargo.toml").is_file())
        .collect();
    let mut described = HashMap::<PathBuf, Vec<PathBuf>>::new();
    let (mut left, mut found) = (own.clone(), Vec::new());
    while let Some(dir) = left.pop() {
        if !described.contains_key(&dir) {
            let told = describe(&dir.join("Cargo.toml")).unwrap_or_default();
            for package in told["packages"].as_array().into_iter().flatten() {
                let Some(manifest) = package["manifest_path"].as_str().map(Path::new) else { continue };
                let dependencies = package["dependencies"].as_array().into_iter().flatten();
                let local = dependencies.filter_map(|one| one["path"].as_str().map(PathBuf::from)).collect();
                described.insert(manifest.parent().unwrap_or(manifest).to_owned(), local);
            }
        }
        // Taken out of the map, so that each crate is visited once.
        for needed in described.insert(dir.clone(), Vec::new()).unwrap_or_default() {
            if !own.contains(&needed) && !found.contains(&needed) {
                found.push(needed.clone());
                left.push(needed);
            }
        }
    }
    found
}

/// Returns `true` if cargo is to be asked about a crate. A library beside the handlers is not built, and cargo may even
/// refuse to describe it.
fn may_have_program(dir: &Path) -> bool {
    let names_one = || fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|text| text.contains("[[bin]]"));
    dir.join("src/main.rs").is_file() || dir.join("src/bin").is_dir() || names_one()
}

fn describe(manifest: &Path) -> Result<Value> {
    let dir = manifest.parent().context("a manifest has a directory")?;
    let output = toolchain::command("cargo", dir)
        .args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"])
        .arg(manifest)
        .output()
        .context("cargo: cannot be run: install Rust from https://rustup.rs, or put cargo into PATH")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: cargo cannot read it: {}", manifest.display(), said.trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata: not JSON")
}

/// Reads one package. `None` if it has no program, or is not to be built (`targets = []`).
fn read(package: &Value, described: &Value, manifest: &Path) -> Result<Option<Crate>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let is_program = |target: &&Value| {
        target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"))
    };
    let targets = package["targets"].as_array().into_iter().flatten();
    let programs: Vec<String> =
        targets.filter(is_program).filter_map(|target| text(&target["name"])).collect();
    let wanted = match &package["metadata"]["portcullis"]["targets"] {
        Value::Null => vec![DEFAULT_TARGET.to_owned()],
        value => match value.as_array().map(|all| all.iter().map(text).collect::<Option<Vec<String>>>()) {
            Some(Some(all)) => all,
            _ => bail!(
                "{}: package.metadata.portcullis.targets: wanted a list of target names",
                manifest.display()
            ),
        },
    };
    if programs.is_empty() || wanted.is_empty() {
        return Ok(None);
    }
    Ok(Some(Crate {
        id: text(&package["id"]).context("cargo metadata: a package without an id")?,
        name: text(&package["name"]).context("cargo metadata: a package without a name")?,
        programs,
        dir: manifest.parent().context("a manifest has a directory")?.to_owned(),
        workspace: text(&described["workspace_root"]).context("cargo metadata: no workspace_root")?.into(),
        targets: wanted,
    }))
}

/// Returns `true` if cargo accepts the crate at `dir` as a member of the workspace around it. Also `false` without
/// cargo.
pub(crate) fn is_member(dir: &Path) -> bool {
    describe(&dir.join("Cargo.toml")).is_ok()
}
