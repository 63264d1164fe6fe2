//! `redb:PATH`, a store in one file. Commits run on a thread of their own and share their fsync; reads run where they
//! are asked for, those of many rows on threads that may block.
//!
//! Floors, lowest first: `failure`, `file`, `turns`; `tables`, `closing`; `view`; `open`; `committer`, `examine`;
//! `reader`.

mod closing;
mod committer;
mod examine;
mod failure;
mod file;
mod open;
mod reader;
mod tables;
mod turns;
mod view;

pub use self::closing::wait_for_all;
pub(super) use self::examine::examine;
pub(super) use self::reader::Redb;
