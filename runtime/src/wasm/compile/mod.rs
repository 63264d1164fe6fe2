//! Compiles modules to machine code, in child processes that can fail without the daemon.
//!
//! Floors, lowest first: `features`, `flags`, `limits`, `slots`; `precompile`, `reason`, `scan`; `child`, `worker`;
//! `compiler`.

mod child;
mod compiler;
mod features;
mod flags;
mod limits;
pub(super) mod precompile;
mod reason;
mod scan;
mod slots;
mod worker;

pub use compiler::Compiler;
pub use flags::{COMPARED, CONCURRENT, CPU, LINES, MEMORY, MODULE, VERB};
pub use limits::CompileLimits;
pub(super) use scan::look;
pub use worker::work;
