//! Opens the file of a store: made, repaired after a crash, and checked.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use redb::{Builder, ConcurrencyMode, Database};

use super::failure;
use super::file::PageFile;
use super::tables::StoredRows;
use super::view::OpenFile;
use crate::store::error::StoreError;
use crate::store::value::Durability;

/// Memory for pages of one file. The kernel caches the file as well.
pub(super) const CACHE: usize = 16 << 20;

/// When an open file is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// If it was not closed, and its last commit does not say which pages are in use: after a commit that failed.
    AfterCrash,
    /// Always. Other processes cannot write meanwhile.
    Whole,
}

/// Opens the file of a store, or makes it with its directory. Blocks; to verify a file, it reads the whole of it.
///
/// # Errors
/// The file cannot be opened, or is damaged.
pub(super) fn open(path: &Path, durability: Durability, verify: Verify) -> Result<OpenFile, StoreError> {
    let unavailable = |error: io::Error| StoreError::Unavailable(format!("{}: {error}", path.display()));
    let is_new = !path.try_exists().map_err(unavailable)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if is_new {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(unavailable)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(unavailable)?;
    let shared = match mode(durability) {
        ConcurrencyMode::ExclusiveWriter => None,
        _ => Some(file.try_clone().map_err(unavailable)?),
    };
    let database = failure::guarded(path, || {
        let backend = PageFile::new(file).map_err(|error| failure::of(path, error))?;
        let mut builder = Builder::new();
        builder
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(verify == Verify::Whole)
            .set_concurrency_mode(mode(durability));
        let database = builder.create_with_backend(backend).map_err(|error| failure::of(path, error))?;
        prepare(path, &database)?;
        Ok(database)
    })?;
    if is_new {
        // The name of a new file is on disk when its directory is.
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(unavailable)?;
    }
    Ok(OpenFile::new(database, shared))
}

/// Returns how processes share the file. During an upgrade the old daemon and the new one both have it open, which is
/// possible as long as every commit goes to disk at once.
fn mode(durability: Durability) -> ConcurrencyMode {
    match durability {
        Durability::Sync => ConcurrencyMode::MultiWriter,
        Durability::Relaxed => ConcurrencyMode::ExclusiveWriter,
    }
}

/// Makes the tables of a new file, and checks those of an old one.
pub(super) fn prepare(path: &Path, database: &Database) -> Result<(), StoreError> {
    let mut transaction = database.begin_write().map_err(|error| failure::of(path, error))?;
    transaction.set_two_phase_commit(true);
    let is_new = StoredRows::open(path, &transaction)?.finish()?;
    match is_new {
        true => transaction.commit().map_err(|error| failure::of(path, error)),
        false => transaction.abort().map_err(|error| failure::of(path, error)),
    }
}
