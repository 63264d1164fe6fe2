//! Metrics for Prometheus: what is exposed, and the formats that show it.
//!
//! Floors, lowest first: `families`; `text`, `protobuf`; `format`.

mod families;
mod format;
mod protobuf;
mod text;

pub use families::{Exposition, Labels, MetricKind, SampleValue};
pub use format::ExpositionFormat;
