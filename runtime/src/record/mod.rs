//! Jobs that failed, kept in files, so that they can be run again.

mod bundle;
mod store;

pub use bundle::{Bundle, Masked, Outcome};
pub use store::{Keeper, LARGEST, Store, examine};
