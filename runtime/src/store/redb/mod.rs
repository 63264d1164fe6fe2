//! `redb:PATH`, a store in one file. Commits run on a thread of their own and share their fsync; reads run where they
//! are asked for.
//!
//! Floors, lowest first: `failure`, `file`, `tables`, `open`, `committer`, and this file's `reader`.

mod committer;
mod failure;
mod file;
mod open;
mod reader;
mod tables;

pub(super) use self::reader::Redb;
