//! Compiles modules to machine code, in child processes that can fail without the daemon.
//!
//! Floors, lowest first: `features`, `flags`, `module_limits`, `slots`; `precompile`, `reason`, `scan`; `spawn`, `child_limits`;
//! `compiler`.

mod child_limits;
mod compiler;
mod features;
mod flags;
mod module_limits;
pub(super) mod precompile;
mod reason;
mod scan;
mod slots;
mod spawn;

pub use child_limits::work;
pub use compiler::Compiler;
pub use flags::{COMPARED, CONCURRENT, CPU, LINES, MEMORY, MODULE, VERB};
pub use module_limits::CompileLimits;
pub(super) use scan::look;
