//! Directories of the host whose files are served: opened by descriptor, and read without holding up other requests.
//!
//! Floors, lowest first: `content_type`, `opened`; `root`.

pub mod content_type;
mod opened;
mod root;

pub use opened::{FileState, OpenedFile};
pub use root::{FileRoot, FoundEntry, ListedEntry, OpenError};
