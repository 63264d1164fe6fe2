//! A component of wasmCloud: keeps text in a bucket, and logs.

use wasmcloud_component::http;
use wasmcloud_component::wasi::keyvalue::store::Error;
use wasmcloud_component::wasi::keyvalue::{atomics, batch, store};
use wasmcloud_component::wasi::logging::logging::{Level, log};

struct Component;

http::export!(Component);

/// Writes, counts, reads and deletes, and returns what it has seen, a line each.
fn act() -> Result<String, Error> {
    let bucket = store::open("default")?;
    bucket.set("cloud/a", b"one")?;
    bucket.delete("cloud/n")?;
    let sum = atomics::increment(&bucket, "cloud/n", 2)? + atomics::increment(&bucket, "cloud/n", 3)?;
    let keys = ["cloud/a", "none"].map(str::to_owned);
    let many = batch::get_many(&bucket, &keys)?;
    let listed = bucket.list_keys(None)?;
    let there = bucket.exists("none")?;
    let other = store::open("other").err();
    log(Level::Info, "cloud", "done");
    Ok(format!("{sum}\n{many:?}\n{:?} {:?}\n{there}\n{other:?}\n", listed.keys, listed.cursor))
}

impl http::Server for Component {
    fn handle(_request: http::IncomingRequest) -> http::Result<http::Response<impl http::OutgoingBody>> {
        let text = act().unwrap_or_else(|error| format!("{error:?}"));
        Ok(http::Response::new(text))
    }
}
