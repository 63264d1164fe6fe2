//! Builds the handlers of a directory: its crates and `.wat` files to `build/NAME.wasm`.
//!
//! Floors, lowest first: `toolchain`; `crates`; `watch`; the build in this file; `verb`.

mod crates;
mod toolchain;
pub(super) mod verb;
mod watch;

pub(crate) use crates::{OUTPUT, is_member, path_dependencies};
pub(crate) use watch::{Depth, FileContent, SourceFilter, WatchedPath, contents, is_lock, watched};

use crate::config;
use crate::confine::Untrusted;
use anyhow::{Context, Result, bail};
use crates::Crate;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A module that was built or is up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    /// The file name without `.wasm`: the name of the program. For another than the first target of its crate, the
    /// target is appended, such as `-wasip2`.
    pub name: String,
    /// Its path: `DIR/build/NAME.wasm`.
    pub module: PathBuf,
    /// Whether the file had these bytes already. If not, it has just been written.
    pub fresh: bool,
    /// The files that it was built from, as the compiler reports them; may be empty.
    pub inputs: Vec<PathBuf>,
}

/// Options of a build.
#[derive(Debug, Clone, Default)]
pub(crate) struct BuildOptions {
    /// The target directory of cargo; `None` for cargo's default.
    pub target_dir: Option<PathBuf>,
}

/// A module before it is moved into place.
struct BuiltModule {
    name: String,
    bytes: Vec<u8>,
    inputs: Vec<PathBuf>,
}

/// Builds what is out of date in `dir`: `dir` itself if it is a crate, every subdirectory that is a crate, and every
/// `*.wat`. Calls `say` with a line for the user before a step that may take long. Blocks.
///
/// The compiler's diagnostics go to standard error unchanged. Modules are moved into place after all are compiled, each
/// by one rename, so a daemon never reads a part of one.
///
/// # Errors
/// One line that names the crate or file: it does not compile, two have the same name, or a tool is missing.
pub(crate) fn build(dir: &Path, options: &BuildOptions, say: &dyn Fn(&str)) -> Result<Vec<Built>> {
    let dir = dir.canonicalize().with_context(|| format!("{}: cannot be opened", dir.display()))?;
    let untrusted = untrusted(&dir)?;
    let mut made = Vec::new();
    for path in texts(&dir)? {
        made.push(assemble(&path)?);
    }
    for ((_, target), group) in grouped(crates::find(&dir, &untrusted, say)?) {
        toolchain::ensure(&group[0].dir, &target, say)?;
        made.extend(compile(&group, &target, options, say)?);
    }
    made.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = made.windows(2).find(|pair| pair[0].name == pair[1].name) {
        bail!("{}: two handlers are called {:?}: rename one of them", dir.display(), pair[0].name);
    }
    let output = dir.join(OUTPUT);
    if !made.is_empty() {
        fs::create_dir_all(&output).with_context(|| format!("{}: cannot be made", output.display()))?;
    }
    made.into_iter().map(|made| put(&output, made)).collect()
}

/// Finds the directories that handlers may write to, by the configurations in this directory and those above: cargo
/// would run programs that a handler puts there.
///
/// # Errors
/// A configuration cannot be read, or cargo would look into such a directory for any build in `dir`.
fn untrusted(dir: &Path) -> Result<Untrusted> {
    let untrusted = config::written_by_handlers(&config::around(dir)).context("nothing is built")?;
    let here = ["target", OUTPUT].map(|name| dir.join(name));
    // cargo looks for these in every parent directory.
    let above = dir.ancestors().flat_map(|dir| ["Cargo.toml", ".cargo"].map(|name| dir.join(name)));
    for path in above.chain(here) {
        if let Some(writable) = untrusted.find(&path)? {
            bail!("cargo would read {}, in {writable}: nothing is built here", path.display());
        }
    }
    Ok(untrusted)
}

/// Returns the `.wat` files of a directory.
fn texts(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("{}: cannot be listed", dir.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.extension() == Some(OsStr::new("wat")) && path.is_file());
    Ok(paths)
}

fn assemble(path: &Path) -> Result<BuiltModule> {
    let name =
        path.file_stem().and_then(OsStr::to_str).with_context(|| format!("{path:?}: not a UTF-8 name"))?;
    let bytes = wat::parse_file(path).with_context(|| format!("{}: does not assemble", path.display()))?;
    Ok(BuiltModule { name: name.to_owned(), bytes, inputs: vec![path.to_owned()] })
}

/// Groups the crates by workspace and target, one cargo call each: cargo orders and shares the work of a call.
fn grouped(crates: Vec<Crate>) -> BTreeMap<(PathBuf, String), Vec<Crate>> {
    let mut groups = BTreeMap::<_, Vec<Crate>>::new();
    for found in crates {
        for target in &found.targets {
            groups.entry((found.workspace.clone(), target.clone())).or_default().push(found.clone());
        }
    }
    groups
}

fn compile(
    group: &[Crate],
    target: &str,
    options: &BuildOptions,
    say: &dyn Fn(&str),
) -> Result<Vec<BuiltModule>> {
    let names = group.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    say(&format!("building {names} for {target}"));
    let mut cargo = toolchain::command("cargo", &group[0].dir);
    cargo.args([
        "build",
        "--release",
        "--bins",
        "--message-format=json-render-diagnostics",
        "--target",
        target,
    ]);
    for one in group {
        // The full id, since a dependency may have the same name.
        cargo.args(["--package", &one.id]);
    }
    if let Some(target_dir) = &options.target_dir {
        cargo.arg("--target-dir").arg(std::path::absolute(target_dir)?);
    }
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo: cannot be run: install Rust from https://rustup.rs, or put cargo into PATH")?;
    let messages = messages(&output.stdout);
    if !output.status.success() {
        let failed = culprits(group, &messages);
        bail!("{failed}: does not build for {target}");
    }
    let artifacts = messages.iter().filter_map(|message| artifact(message, group));
    artifacts.map(|(name, path)| made(name, target, group, &path)).collect()
}

/// Parses cargo's messages, one JSON object a line. Other lines come from build scripts and are skipped.
fn messages(stdout: &[u8]) -> Vec<Value> {
    stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// Names the crates that did not compile: those with an error message, or else those that cargo has not finished.
fn culprits(group: &[Crate], messages: &[Value]) -> String {
    let reported = |one: &&Crate| {
        let of_it = |message: &&Value| message["package_id"] == one.id.as_str();
        messages.iter().filter(of_it).any(|message| message["message"]["level"] == "error")
    };
    let failed: Vec<&str> = group.iter().filter(reported).map(|one| one.name.as_str()).collect();
    let finished =
        |one: &&Crate| messages.iter().any(|message| artifact(message, std::slice::from_ref(one)).is_some());
    if failed.is_empty() {
        let left: Vec<&str> =
            group.iter().filter(|one| !finished(one)).map(|one| one.name.as_str()).collect();
        return left.join(", ");
    }
    failed.join(", ")
}

/// Returns the name and the path of the program that a message reports, if a crate of the group made it.
fn artifact(message: &Value, group: &[Crate]) -> Option<(String, PathBuf)> {
    let of_ours = group.iter().any(|one| message["package_id"] == one.id.as_str());
    if message["reason"] != "compiler-artifact" || !of_ours {
        return None;
    }
    Some((message["target"]["name"].as_str()?.to_owned(), message["executable"].as_str()?.into()))
}

fn made(program: String, target: &str, group: &[Crate], path: &Path) -> Result<BuiltModule> {
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let maker = group.iter().find(|one| one.programs.contains(&program));
    let first = maker.and_then(|one| one.targets.first()).is_none_or(|first| first == target);
    // The first target of a crate gets the plain name, every other one a suffix that tells it apart.
    let name = if first { program } else { format!("{program}-{}", target.trim_start_matches("wasm32-")) };
    Ok(BuiltModule { name, bytes, inputs: inputs(path) })
}

/// Reads the dependency file that cargo writes beside a program: the files it was built from, in the syntax of make(1).
/// Leaves out files in the target directory.
fn inputs(program: &Path) -> Vec<PathBuf> {
    // TARGET_DIR/TRIPLE/release/PROGRAM.wasm
    let target_dir = program.ancestors().nth(3);
    let text = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let list = text.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, list)| list);
    // The file escapes a space in a name.
    let list = list.replace("\\ ", "\0");
    let paths = list.split(' ').map(|path| PathBuf::from(path.replace('\0', " ")));
    // Both the path as written, with its directory resolved, and the path behind a link.
    let plain = |path: PathBuf| {
        let dir = path.parent().and_then(|dir| dir.canonicalize().ok());
        let beside = dir.zip(path.file_name()).map(|(dir, name)| dir.join(name));
        beside.into_iter().chain(path.canonicalize().ok())
    };
    let ours = |path: &PathBuf| target_dir.is_some_and(|dir| path.starts_with(dir));
    paths.filter(|path| path.is_absolute()).flat_map(plain).filter(|path| !ours(path)).collect()
}

/// Moves a module into place, unless the same bytes are there.
fn put(output: &Path, made: BuiltModule) -> Result<Built> {
    let module = output.join(format!("{}.wasm", made.name));
    let fresh = fs::read(&module).is_ok_and(|bytes| bytes == made.bytes);
    if !fresh {
        // In the same directory, so that the rename is atomic. With our process id, so that two builds do not collide.
        let temporary = output.join(format!(".{}.{}.tmp", made.name, std::process::id()));
        let written = fs::write(&temporary, &made.bytes).and_then(|()| fs::rename(&temporary, &module));
        if written.is_err() {
            let _leftover = fs::remove_file(&temporary);
        }
        written.with_context(|| format!("{}: cannot be written", module.display()))?;
    }
    Ok(Built { name: made.name, module, fresh, inputs: made.inputs })
}

#[cfg(test)]
mod tests;
