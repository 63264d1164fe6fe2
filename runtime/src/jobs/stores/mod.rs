//! The built-in jobs on stores, one a file: operators list stores and keys, and read, write, dump and load entries.
//!
//! Floors, lowest first: `find`; `delete`, `dump`, `get`, `keys`, `load`, `report`, `set`.

mod delete;
mod dump;
mod find;
mod get;
mod keys;
mod load;
mod report;
mod set;

pub use delete::DeleteEntries;
pub use dump::DumpStore;
pub use find::OperatorStores;
pub use get::GetEntry;
pub use keys::ListKeys;
pub use load::LoadStore;
pub use report::ListStores;
pub(super) use report::reports;
pub use set::SetEntry;
