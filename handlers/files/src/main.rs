//! Serves static files from the directory mounted at `/data`.
//!
//! Conditional requests (RFC 9110 §13), single ranges (§14), `index.html` for a directory; no listings. What a
//! symbolic link may reach is the sandbox's matter: it ends at the mount. Another directory than `/data` is named by
//! the variable `ROOT`, not by an argument: a route's captures are arguments too, and they are the client's words.

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
