//! The databases that a guest opens, with the numbers by which it knows them.
//!
//! Floors, lowest first: `grants`, `records`; `core`.

mod core;
mod grants;
mod records;

pub(in crate::wasm) use self::core::{MODULE, link as link_core};
pub(in crate::wasm) use self::grants::GuestDatabases;
