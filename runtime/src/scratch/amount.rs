//! How much of a file system is taken: files and bytes.

/// Files and their bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Amount {
    pub(super) files: u64,
    pub(super) bytes: u64,
}
