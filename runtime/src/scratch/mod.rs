//! A directory for what does not fit into memory and is not needed tomorrow: files without a name, what of them each
//! client has, and directories of jobs.
//!
//! Floors, lowest first: `amount`; `tree`; `process`; `spool`; `jobs`; `quota`.

mod amount;
mod jobs;
mod process;
mod quota;
mod spool;
mod tree;

pub use jobs::{HandlerDir, JobDir};
pub use quota::Quota;
pub use spool::{Account, Scratch, room_in};
