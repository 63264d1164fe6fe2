//! Resolves symbolic links in paths, so that two spellings of one file compare equal.

use std::path::{Path, PathBuf};

/// Resolves links and dots in a path. If the file does not exist, those of its directory are resolved.
pub(super) fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| in_real_directory(path))
}

/// Resolves links and dots in the directory of a path, if that directory exists.
pub(super) fn in_real_directory(path: &Path) -> PathBuf {
    let dir = path.parent().and_then(|dir| dir.canonicalize().ok());
    dir.zip(path.file_name()).map_or_else(|| path.components().collect(), |(dir, name)| dir.join(name))
}
