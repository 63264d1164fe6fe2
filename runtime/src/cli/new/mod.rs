//! Scaffolds a handler: a crate with ten lines of code, and its place in `portcullis.toml`.
//!
//! Floors, lowest first: `config`, `sdk`; the scaffolding in this file; `verb`.

mod config;
mod sdk;
pub(super) mod verb;

use super::build;
use crate::config::secrets_file;
use crate::job::{BUILTIN, Name};
use crate::operator_file::{self, ReadError};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Names that a program or directory cannot have here: directories of cargo, its test harness, crates of Rust, and
/// directories beside handlers.
const RESERVED: &[&str] = &[
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "guest-sdk",
    "incremental",
    "proc-macro",
    "proc_macro",
    "std",
    "target",
    "test",
];

/// Rust's keywords, which cargo refuses for a package.
/// Source: the Rust reference, "Keywords".
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// What a new handler does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum NewTemplate {
    /// Greet the name in the path.
    Hello,
    /// Count visits in a key-value store.
    Store,
    /// Count visits in a table of a database.
    Sql,
}

/// The result of a scaffolding.
#[derive(Debug)]
pub(crate) struct Created {
    /// The directory of the crate.
    pub dir: PathBuf,
    /// The configuration with the route `/NAME/{who}` to it.
    pub config: PathBuf,
    /// Whether the configuration was created; if not, it was extended.
    pub config_is_new: bool,
    /// The directory of the SDK that the crate depends on.
    pub sdk: PathBuf,
    /// Whether the SDK was unpacked from this program by this call.
    pub sdk_is_new: bool,
}

impl NewTemplate {
    fn source(self) -> &'static str {
        match self {
            NewTemplate::Hello => include_str!("template/main.rs.txt"),
            NewTemplate::Store => include_str!("template/store.rs.txt"),
            NewTemplate::Sql => include_str!("template/sql.rs.txt"),
        }
    }

    /// Returns what its manifest has beside that of any handler.
    fn dependencies(self) -> &'static str {
        match self {
            NewTemplate::Hello | NewTemplate::Store => "",
            // Databases in memory, for its tests.
            NewTemplate::Sql => {
                "\n[dev-dependencies]\nportcullis-guest = { path = \"{sdk}\", features = [\"sqlite\"] }\n"
            }
        }
    }

    /// Returns the line of the configuration that the source needs.
    fn setting(self) -> &'static str {
        match self {
            NewTemplate::Hello => "env = { GREETING = \"Hello\" }",
            NewTemplate::Store => {
                "stores = [\"default\"]           # a file, unless [store.default] has another url"
            }
            NewTemplate::Sql => {
                "databases = [\"default\"]        # a file, unless [database.default] has another url"
            }
        }
    }
}

/// Creates a handler `name` in `parent`, and adds it with a route to the `portcullis.toml` there. Blocks.
///
/// # Errors
/// The name is not allowed, or exists already, or the configuration there is not TOML. A crate that was created in part
/// is removed again.
pub(crate) fn new(parent: &Path, name: &str, template: NewTemplate) -> Result<Created> {
    check(name)?;
    let parent = parent.canonicalize().with_context(|| format!("{}: cannot be opened", parent.display()))?;
    let dir = parent.join(name);
    ensure!(!dir.exists(), "{}: is there already: choose another name, or remove it", dir.display());
    let config = parent.join("portcullis.toml");
    let before = match operator_file::text(&config, crate::config::LARGEST) {
        Ok(text) => Some(text),
        Err(ReadError::Unreadable(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", config.display())),
    };
    if let Some(text) = &before {
        crate::config::check_syntax(text, &config.display().to_string())?;
    }
    let after = config::added(before.as_deref(), name, template.setting())
        .with_context(|| config.display().to_string())?;
    let sdk = sdk::locate(&parent)?;

    let made = scaffold(&dir, name, template, &sdk).and_then(|()| write(&config, &after));
    if made.is_err() {
        let _leftover = fs::remove_dir_all(&dir);
    }
    made?;
    if before.is_none() {
        ignore(&parent, &format!("/{}/\n/{}\n", build::OUTPUT, secrets_file::FILE))?;
    }
    Ok(Created { config_is_new: before.is_none(), sdk: sdk.dir, sdk_is_new: sdk.unpacked, dir, config })
}

/// Checks that a name can be that of a job, a package, a program and a key of the configuration.
fn check(name: &str) -> Result<()> {
    name.parse::<Name>()?;
    ensure!(
        name.starts_with(|first: char| first.is_ascii_alphabetic()) && !name.contains('.'),
        "{name:?}: a crate's name starts with a letter and has no dots"
    );
    ensure!(
        !BUILTIN.contains(&name),
        "{name:?}: this is the name of a built-in job: choose one like \"{name}-handler\""
    );
    if RESERVED.contains(&name) || KEYWORDS.contains(&name) {
        bail!("{name:?}: cargo has another use for this name: choose one like \"{name}-handler\"");
    }
    Ok(())
}

fn scaffold(dir: &Path, name: &str, template: NewTemplate, sdk: &sdk::Located) -> Result<()> {
    fs::create_dir_all(dir.join("src")).with_context(|| format!("{}: cannot be made", dir.display()))?;
    let manifest = include_str!("template/Cargo.toml.txt").to_owned() + template.dependencies();
    let manifest = manifest.replace("{name}", name).replace("{sdk}", &sdk.from_crate);
    write(&dir.join("src/main.rs"), &template.source().replace("{name}", name))?;
    write(&dir.join("Cargo.toml"), &manifest)?;
    match enclosing_workspace(dir) {
        Some(_) if build::is_member(dir) => {}
        // The workspace around it does not include it, and cargo would refuse such a crate: make it a workspace of its
        // own.
        Some(_) => {
            write(&dir.join("Cargo.toml"), &format!("{manifest}\n[workspace]\n"))?;
            ignore(dir, "/target/\n")?;
        }
        None => ignore(dir, "/target/\n")?,
    }
    Ok(())
}

/// Returns the nearest `Cargo.toml` above that has a `[workspace]`.
fn enclosing_workspace(dir: &Path) -> Option<PathBuf> {
    let manifests = dir.ancestors().skip(1).map(|dir| dir.join("Cargo.toml"));
    manifests.into_iter().find(|manifest| {
        let text = fs::read_to_string(manifest).unwrap_or_default();
        text.lines().any(|line| line.trim_start().starts_with("[workspace"))
    })
}

/// Writes a `.gitignore`, unless one exists, which belongs to the user.
fn ignore(dir: &Path, lines: &str) -> Result<()> {
    let path = dir.join(".gitignore");
    if path.exists() { Ok(()) } else { write(&path, lines) }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))
}

#[cfg(test)]
mod tests;
