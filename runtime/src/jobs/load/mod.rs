//! Loads a configuration: reads and compiles modules, and makes handlers, routes and a catalog of them.
//!
//! Floors, lowest first: `draft`, `left_directories`, `parallel`, `placement`, `prepared`, `progress`; `examined`,
//! `known`; `handler`; `code`, `stores`; `databases`; `loader`; `reopened`, `uploaded`; `in_use`, `migrations`.

mod code;
mod databases;
mod draft;
mod examined;
mod handler;
mod in_use;
mod known;
mod left_directories;
mod loader;
mod migrations;
mod parallel;
mod placement;
mod prepared;
mod progress;
mod reopened;
mod stores;
mod uploaded;

pub(super) use draft::{Candidate, DisplacedDir, Draft, Uploaded};
pub use loader::{Loader, lines};
pub use migrations::Migrating;
pub(super) use placement::check_places;
pub use progress::{LoadNumber, OnProgress, Step, StepTurn};
pub(super) use reopened::ReopenedPaths;
