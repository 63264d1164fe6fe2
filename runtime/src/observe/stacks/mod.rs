//! Sampled stacks in the formats of profile viewers.
//!
//! Floors, lowest first: `collapsed`, `firefox`, `pprof`; `flame_graph`.

mod collapsed;
mod firefox;
mod flame_graph;
mod pprof;

pub use collapsed::collapsed;
pub use firefox::firefox;
pub use flame_graph::flame_graph;
pub use pprof::{PprofHead, ValueType, pprof};
