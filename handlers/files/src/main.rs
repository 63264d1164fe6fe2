//! Serves static files from the directory mounted at `/data`.
//!
//! It supports conditional requests (RFC 9110 §13), single ranges (§14), and `index.html` for a directory. It lists
//! no directories. The sandbox keeps symbolic links inside the mount. The variable `ROOT` names another directory
//! than `/data`. It is not an argument, because a route's captures are arguments too, and clients choose them.

mod answer;
mod condition;
mod kind;
mod path;
mod range;

use portcullis_guest::serve;
use std::process::ExitCode;

fn main() -> ExitCode {
    serve(answer::answer)
}
