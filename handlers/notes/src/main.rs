//! Keeps notes in the directory mounted at `/data`, behind a JSON API.
//!
//! Any number of instances run at once. None sees the memory of another, each may be killed between two instructions,
//! and WASI preview1 has no file locks. The store therefore uses only atomic steps of the file system: see `store`
//! for the scheme and why it is correct.
//!
//! ```text
//! GET    /notes?limit=20&after=7   {"notes": [{"id", "title", "etag", "updated_ms"}...], "next": 27 or null}
//! POST   /notes                    {"title", "text"} -> 201, Location, ETag
//! GET    /notes/{id}               200, ETag; 304 on If-None-Match
//! PUT    /notes/{id}               {"title", "text"} -> 200, ETag; 412 when If-Match names another state
//! DELETE /notes/{id}               204; 412 when If-Match names another state
//! ```

mod api;
mod listing;
mod store;
mod version;

use portcullis_guest::{Request, serve};
use std::process::ExitCode;

/// The path of the mount, unless the variable `ROOT` names another.
const ROOT: &str = "/data";

fn main() -> ExitCode {
    serve(|request: Request| {
        let root = request.var("ROOT").unwrap_or(ROOT).to_owned();
        api::answer(request, &store::Store::at(root))
    })
}
