//! Keeps notes in the database `default`, behind a JSON API.
//!
//! Any number of instances run at once, and each may be killed between two instructions. A change is a transaction: it
//! reads the note, compares its entity tag and writes the new state, and no other request comes in between.
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

use portcullis_guest::serve;
use std::process::ExitCode;

fn main() -> ExitCode {
    serve(api::answer)
}
