//! Hashes of the certificate files, so that a reload can detect a change.

use super::files::LARGEST;
use super::options::TlsOptions;
use crate::operator_file;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The hash of each file, or `None` for a file that could not be read.
pub(super) type Contents = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// Hashes every file that the options name.
pub(super) fn contents(options: &TlsOptions) -> Contents {
    let digest = |path: PathBuf| {
        let digest = operator_file::read(&path, LARGEST).ok().map(|given| Sha256::digest(given.bytes).into());
        (path, digest)
    };
    order(options).into_iter().map(digest).collect()
}

/// Returns the absolute paths of the files, because a configuration may be read from another directory.
pub(super) fn order(options: &TlsOptions) -> Vec<PathBuf> {
    options.files().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned())).collect()
}
