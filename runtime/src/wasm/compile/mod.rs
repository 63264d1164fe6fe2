//! Compiles modules to machine code, in child processes that can fail without the daemon.
//!
//! Floors, lowest first: `entry_points`, `features`, `flags`, `module_limits`, `slots`; `examine`, `precompile`, `reason`,
//! `scan`; `spawn`, `child_limits`; `compiler`.

mod child_limits;
mod compiler;
mod entry_points;
mod examine;
mod features;
mod flags;
mod module_limits;
pub(super) mod precompile;
mod reason;
mod scan;
mod slots;
mod spawn;

pub use child_limits::work;
pub use compiler::{Compiler, durations};
pub use flags::{COMPARED, CONCURRENT, CPU, EXAMINE, LINES, MEMORY, MODULE, VERB, Work};
pub use module_limits::CompileLimits;
pub(super) use scan::look;
