//! The files of a directory that a route serves.

use std::path::PathBuf;
use std::sync::Arc;

use super::coding::Coding;
use super::wildcard::Wildcard;
use crate::files::FileRoot;

/// A directory that a route serves, open.
#[derive(Debug)]
pub struct StaticFiles {
    /// The directory.
    pub root: Arc<FileRoot>,
    /// How its files are served.
    pub options: StaticOptions,
}

/// How the files of a directory are served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaticOptions {
    /// The directory, which was there when the configuration was read.
    pub dir: PathBuf,
    /// The file that answers for a directory. `None` if no file does.
    pub index: Option<String>,
    /// The file that answers for a path without a file, if its last segment has no dot.
    pub spa: Option<String>,
    /// The files that never change under their names.
    pub immutable: Option<Wildcard>,
    /// The codings in which files may lie beside the file itself: `app.js.br`.
    pub precompressed: Vec<Coding>,
    /// Whether a directory without an index is listed.
    pub listing: bool,
}
