//! Finds the directories with which a Cargo workspace replaces other packages.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Lists the directories that `[patch]` and `[replace]` of the workspace in `root` name. Returns none if the manifest
/// cannot be read: cargo cannot build it either.
pub fn cargo_replacements(root: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let Ok(manifest) = text.parse::<Table>() else { return Vec::new() };
    let table = |value: Option<&Value>| value.and_then(Value::as_table).cloned().unwrap_or_default();
    let patched = table(manifest.get("patch")).into_iter().map(|(_, source)| table(Some(&source)));
    let replacing = patched.chain([table(manifest.get("replace"))]).flatten();
    replacing.filter_map(|(_, other)| Some(root.join(other.get("path")?.as_str()?))).collect()
}
