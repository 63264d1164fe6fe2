//! Temporary files on disk for data that does not fit into memory.
//!
//! The scratch directory holds unnamed files, accounted per client, and the directories of jobs. Nothing in it is
//! needed after a restart.
//!
//! Floors, lowest first: `amount`; `tree`; `process`; `spool`; `job_directories`; `quota`.

mod amount;
mod job_directories;
mod process;
mod quota;
mod spool;
mod tree;

pub use job_directories::{HandlerDir, JobDir};
pub use quota::Quota;
pub use spool::{Account, RATE_GRACE, Scratch, room_in};
