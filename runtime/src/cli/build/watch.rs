//! Where the sources of a directory's handlers are, for who rebuilds on change.

use super::OUTPUT;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A path to watch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Watched {
    /// The path: a directory.
    pub path: PathBuf,
    /// Whether what is below its subdirectories counts.
    pub depth: Depth,
}

/// How deep a watch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// The directory's own entries.
    Flat,
    /// Everything below it.
    Recursive,
}

/// Lists what to watch for changes of `dir`'s handlers and configuration. Directories, never files: an editor that
/// saves by renaming would leave a watch on a file that is no more. Runs no cargo.
///
/// # Errors
/// When `dir` cannot be listed.
pub(crate) fn watched(dir: &Path) -> io::Result<Vec<Watched>> {
    let mut list = vec![Watched { path: dir.to_owned(), depth: Depth::Flat }];
    list.extend(crate_paths(dir));
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() && is_source(dir, &path) {
            list.push(Watched { path: path.clone(), depth: Depth::Flat });
            list.extend(crate_paths(&path));
        }
    }
    list.sort();
    list.dedup();
    Ok(list)
}

/// Whether a change at `path` may ask for a rebuild or a reload of `dir`: not what `build` and cargo write
/// themselves, and not what editors leave beside a file.
pub(crate) fn is_source(dir: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(dir) else { return false };
    let names: Vec<&str> = inside
        .components()
        .map(|component| match component {
            Component::Normal(name) => name.to_str().unwrap_or(".unreadable"),
            _ => ".elsewhere",
        })
        .collect();
    // Vim writes `4913` to see whether it can.
    let leftover =
        |name: &&str| name.starts_with(['.', '#']) || name.ends_with(['~', '#']) || *name == "4913";
    match names.as_slice() {
        [] => true,
        // Beside the crates only what is built or read: the log of a daemon may lie here too.
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

/// The directory with the sources of the crate at `dir`, where it is a crate with the usual layout.
fn crate_paths(dir: &Path) -> Option<Watched> {
    let source = dir.join("src");
    let is_crate = dir.join("Cargo.toml").is_file() && source.is_dir();
    is_crate.then_some(Watched { path: source, depth: Depth::Recursive })
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
        fs::write(dir.join("hello/Cargo.toml"), "").unwrap();
        fs::write(dir.join("target/Cargo.toml"), "").unwrap();

        let list = watched(dir).unwrap();

        let flat = |path: &Path| Watched { path: path.to_owned(), depth: Depth::Flat };
        let source = Watched { path: dir.join("hello/src"), depth: Depth::Recursive };
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
