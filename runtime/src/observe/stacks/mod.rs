//! Sampled stacks in the formats of profile viewers.
//!
//! Floors, lowest first: `firefox`, `flame_graph`, `pprof`.

mod firefox;
mod flame_graph;
mod pprof;

pub use firefox::firefox;
pub use flame_graph::flame_graph;
pub use pprof::pprof;
