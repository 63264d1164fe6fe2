//! Directories of the host whose files are served: opened by descriptor, and read without holding up other requests.
//!
//! Floors, lowest first: `content_type`, `opened`; `dir_listing`, `held_file`; `direct_path`; `kept_files`; `root`.

pub mod content_type;
mod dir_listing;
mod direct_path;
mod held_file;
mod kept_files;
mod opened;
mod root;

pub use dir_listing::{DirListing, ListedEntry, is_odd};
pub use kept_files::KeptFile;
pub use opened::{FileState, FileVersion, OpenedFile};
pub use root::{FileRoot, FoundEntry, OpenError, WholeFile, is_local};
