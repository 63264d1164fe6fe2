//! The source files of a directory's handlers: which paths to watch, and what they contain.

use super::OUTPUT;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Component, Path, PathBuf};

/// A path to watch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatchedPath {
    /// The path: a directory.
    pub path: PathBuf,
    /// Whether changes below its subdirectories count.
    pub depth: Depth,
}

/// The depth of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// The entries of the directory itself.
    Flat,
    /// Everything below it.
    Recursive,
}

/// Decides which changed paths in watched directories are sources.
#[derive(Debug, Clone)]
pub(crate) struct SourceFilter {
    /// The directory to build, and the directories of crates that it depends on by path.
    dirs: Vec<PathBuf>,
    /// Other inputs of the last build: files, and directories with all their contents.
    inputs: HashSet<PathBuf>,
}

/// A hash of a file's content, or `None` if it cannot be read.
pub(crate) type FileContent = Option<u64>;

/// The maximum number of files to read. No project has so many, but a directory named by mistake may.
const MAX: usize = 50_000;

/// The largest file whose bytes are hashed. For a larger one, its length and modification time count.
const LARGEST: u64 = 16 << 20;

/// Lists the directories to watch for changes of the handlers and the configuration of `dir`: with the crates `needed`,
/// which they depend on by path, and the other `inputs` of the last build. No files: an editor that saves by renaming
/// would leave a watch on a deleted file.
pub(crate) fn watched(dir: &Path, needed: &[PathBuf], inputs: &HashSet<PathBuf>) -> Vec<WatchedPath> {
    let flat = |path: &Path| WatchedPath { path: path.to_owned(), depth: Depth::Flat };
    let mut list = vec![flat(dir)];
    list.extend(crate_paths(dir));
    let crates = fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let crates = crates.filter(|path| path.join("Cargo.toml").is_file() && is_source(dir, path));
    for path in crates.chain(needed.iter().filter(|path| path.is_dir()).cloned()) {
        list.push(flat(&path));
        list.extend(crate_paths(&path));
    }
    for input in inputs {
        match input.is_dir() {
            true => list.push(WatchedPath { path: input.clone(), depth: Depth::Recursive }),
            false => list.extend(input.parent().filter(|parent| parent.is_dir()).map(flat)),
        }
    }
    // A directory below a recursive watch needs no watch of its own.
    list.sort();
    list.dedup();
    let recursive: Vec<PathBuf> =
        list.iter().filter(|one| one.depth == Depth::Recursive).map(|one| one.path.clone()).collect();
    list.retain(|one| {
        !recursive
            .iter()
            .any(|above| one.path.starts_with(above) && (one.path != *above || one.depth == Depth::Flat))
    });
    list
}

impl SourceFilter {
    pub(crate) fn of(dir: &Path, needed: &[PathBuf], inputs: &HashSet<PathBuf>) -> SourceFilter {
        let dirs = std::iter::once(dir.to_owned()).chain(needed.iter().cloned()).collect();
        SourceFilter { dirs, inputs: inputs.clone() }
    }

    /// Returns `true` if a change at `path` may require a build or a reload.
    pub(crate) fn is_source(&self, path: &Path) -> bool {
        self.dirs.iter().any(|dir| is_source(dir, path))
            || path.ancestors().any(|above| {
                // A crate's own directory may be an input, with the output of its builds in it.
                self.inputs.contains(above) && !is_built(above, path)
            })
    }
}

/// Returns `true` if the path lies in the build output of the crate in `dir`.
fn is_built(dir: &Path, path: &Path) -> bool {
    let first = path.strip_prefix(dir).ok().and_then(|inside| inside.components().next());
    let names = ["target", OUTPUT].map(|name| Component::Normal(name.as_ref()));
    first.is_some_and(|first| names.contains(&first)) && dir.join("Cargo.toml").is_file()
}

/// Returns `true` for a file that cargo writes itself and users rarely do.
pub(crate) fn is_lock(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "Cargo.lock")
}

/// Reads every source in these places.
pub(crate) fn contents(places: &[WatchedPath], relevant: &SourceFilter) -> BTreeMap<PathBuf, FileContent> {
    let mut found = BTreeMap::new();
    for WatchedPath { path, depth } in places {
        let mut left = vec![path.clone()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok) {
                let path = entry.path();
                if found.len() >= MAX || !relevant.is_source(&path) {
                    continue;
                }
                if !path.is_dir() {
                    found.insert(path.clone(), content(&path));
                } else if *depth == Depth::Recursive && !path.is_symlink() {
                    left.push(path);
                }
            }
        }
    }
    found
}

fn content(path: &Path) -> FileContent {
    let mut hasher = DefaultHasher::new();
    let found = path.metadata().ok().filter(Metadata::is_file)?;
    if found.len() > LARGEST {
        (found.len(), found.modified().ok()).hash(&mut hasher);
    } else {
        fs::read(path).ok()?.hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// Returns `true` if a change at `path` may require a rebuild or a reload of `dir`. Ignores the output of builds, and
/// the temporary files of editors.
fn is_source(dir: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(dir) else { return false };
    let names: Vec<&str> = inside
        .components()
        .map(|component| match component {
            Component::Normal(name) => name.to_str().unwrap_or(".unreadable"),
            _ => ".elsewhere",
        })
        .collect();
    // Vim creates `4913` to test whether it can write.
    let leftover =
        |name: &&str| name.starts_with(['.', '#']) || name.ends_with(['~', '#']) || *name == "4913";
    match names.as_slice() {
        [] => true,
        // Directly in `dir`, only files that are built or read: a daemon may write its log here.
        [name]
            if path.is_file()
                && !name.ends_with(".toml")
                && !name.ends_with(".wat")
                && !name.ends_with(".rs") =>
        {
            false
        }
        [first, ..] if *first == OUTPUT || *first == "target" => false,
        [_, second, ..] if *second == "target" => false,
        names => !names.iter().any(|name| leftover(name) || name.ends_with(".swp") || name.ends_with(".tmp")),
    }
}

/// Returns the source directory of the crate at `dir`, if it has the usual layout.
fn crate_paths(dir: &Path) -> Option<WatchedPath> {
    let source = dir.join("src");
    let is_crate = dir.join("Cargo.toml").is_file() && source.is_dir();
    is_crate.then_some(WatchedPath { path: source, depth: Depth::Recursive })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_and_the_directory_itself_are_watched() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        for path in ["hello/src", "build", "public/src", "target/x/src"] {
            fs::create_dir_all(dir.join(path)).unwrap();
        }
        fs::write(dir.join("hello/Cargo.toml"), "no manifest").unwrap();
        fs::write(dir.join("target/Cargo.toml"), "").unwrap();

        let list = watched(dir, &[], &HashSet::new());

        let flat = |path: &Path| WatchedPath { path: path.to_owned(), depth: Depth::Flat };
        let source = WatchedPath { path: dir.join("hello/src"), depth: Depth::Recursive };
        assert_eq!(list, [flat(dir), flat(&dir.join("hello")), source]);
    }

    #[test]
    fn what_we_and_editors_write_is_no_source() {
        let source = |path: &str| is_source(Path::new("/h"), &Path::new("/h").join(path));

        for yes in
            ["portcullis.toml", "teapot.wat", "hello/src/main.rs", "hello/Cargo.toml", "hello/src/build/x.rs"]
        {
            assert!(source(yes), "{yes}");
        }
        let no = [
            "build/hello.wasm",
            "target/x",
            "hello/target/x",
            ".git/x",
            "hello/src/.main.rs.swp",
            "hello/src/main.rs~",
            "/e/x",
        ];
        for no in no {
            assert!(!source(no), "{no}");
        }
    }
}
