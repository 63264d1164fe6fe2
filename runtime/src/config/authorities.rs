//! Reads a file of certificates of authorities.

use std::path::Path;
use std::sync::Arc;

use super::report::Diagnostics;
use crate::operator_file;

/// The largest file of certificates: twice the size of a system's own.
const LARGEST: u64 = 1 << 20;

/// Returns the content of a file of certificates in PEM, which is not parsed. The configuration depends on the file.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(path: &Path, report: &Diagnostics<'_>) -> Result<Arc<[u8]>, String> {
    report.depends_on(path);
    match operator_file::read(path, LARGEST) {
        Ok(file) => Ok(file.bytes.into()),
        Err(refusal) => Err(format!("there is no PEM file at {}: {refusal}", path.display())),
    }
}
