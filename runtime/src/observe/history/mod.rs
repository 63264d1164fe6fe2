//! The history of jobs: the last ended jobs of each handler, kept in bounded memory, and live listeners to their ends.
//!
//! Floors, lowest first: `entry`; `packed`, `tap`; `chunk`; `ring`; `store`.

mod chunk;
mod entry;
mod packed;
mod ring;
mod store;
mod tap;

pub use self::ring::HistoryFigures;
pub use chunk::ChunkEntry;
pub use entry::{
    CallSummary, FailureSummary, HistoryEntry, JobDetails, JobDurations, JobSummary, RequestSummary,
    VersionLabel,
};
pub use store::{History, VersionHistory};
pub use tap::{TapBatch, TapListener};
