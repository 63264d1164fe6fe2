//! Keeps notes in the directory mounted at `/data`, behind a JSON API.
//!
//! Any number of instances run at once, none sees the memory of another, any may be killed between two instructions,
//! and WASI preview1 has no file locks. What remains is what the file system does in one step, and the store is built
//! of that alone: see `store` for the scheme and why it holds.
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

/// Where the mount is, unless `ROOT` says otherwise.
const ROOT: &str = "/data";

fn main() -> ExitCode {
    serve(|request: Request| {
        let root = request.var("ROOT").unwrap_or(ROOT).to_owned();
        api::answer(request, &store::Store::at(root))
    })
}
