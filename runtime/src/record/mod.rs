//! Failed jobs, recorded in files so that they can be run again.
//!
//! Floors, lowest first: `mask`; `bundle`; `store`.

mod bundle;
mod mask;
mod store;

pub use bundle::{Bundle, RecordedOutcome};
pub use mask::Masked;
pub use store::{HandlerRecorder, LARGEST, Store, examine, find};
