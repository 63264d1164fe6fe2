//! Histograms of durations, and the cells in which they count.
//!
//! Floors, lowest first: `cells`; `histogram`.

mod cells;
mod histogram;

pub use cells::{BOUNDS, BUCKETS, FIRST_NATIVE, NATIVE_BUCKETS, SCHEMA, ZERO_THRESHOLD};
pub use histogram::{Histograms, LatencyExemplar, LatencyExemplars, LatencyHistogram, LatencySnapshot};
