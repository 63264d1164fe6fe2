//! Compiles modules to machine code, in child processes that can fail without the daemon.
//!
//! Floors, lowest first: `features`, `flags`, `limits`, `slots`; `precompile`, `reason`, `scan`; `spawn`, `in_child`;
//! `compiler`.

mod compiler;
mod features;
mod flags;
mod in_child;
mod limits;
pub(super) mod precompile;
mod reason;
mod scan;
mod slots;
mod spawn;

pub use compiler::Compiler;
pub use flags::{COMPARED, CONCURRENT, CPU, LINES, MEMORY, MODULE, VERB};
pub use in_child::work;
pub use limits::CompileLimits;
pub(super) use scan::look;
