//! Directories of the host whose files are served: opened by descriptor, and read without holding up other requests.
//!
//! Floors, lowest first: `content_type`, `opened`; `dir_listing`; `root`.

pub mod content_type;
mod dir_listing;
mod opened;
mod root;

pub use dir_listing::{DirListing, ListedEntry};
pub use opened::{FileState, OpenedFile};
pub use root::{FileRoot, FoundEntry, OpenError, is_local};
