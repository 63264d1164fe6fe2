//! The directories of the host that a job sees.

use std::fmt;
use std::path::PathBuf;

use crate::confine::Writable;

/// A directory of the host, and its path in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory on the host.
    pub host: PathBuf,
    /// Its path in the guest.
    pub guest: String,
    /// What the guest may do in it.
    pub access: Access,
    /// The outermost directory on its path that a handler may write to, or `None`.
    pub within: Option<Writable>,
}

/// What a guest may do in a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read files and list directories.
    Read,
    /// As [`Access::Read`], and create, change and delete.
    Write,
}

/// `/srv/data as /data, read`.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}, {}", self.host.display(), self.guest, self.access)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
        })
    }
}
