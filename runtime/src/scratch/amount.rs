//! A number of files with their bytes, as used or allowed in a file system.

/// A number of files and their total bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Amount {
    pub(super) files: u64,
    pub(super) bytes: u64,
}
