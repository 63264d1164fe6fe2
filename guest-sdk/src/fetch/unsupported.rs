//! The implementation for targets without `wasi:http`: every request fails.

use std::convert::Infallible;
use std::io;

use super::{Fetch, FetchError, Fetched};

#[cfg(all(target_os = "wasi", target_env = "p1"))]
compile_error!(
    "portcullis-guest: the feature `fetch` is for components: build for wasm32-wasip2, with `targets = [\"wasm32-wasip2\"]` below [package.metadata.portcullis]"
);

/// A body that cannot exist.
pub(super) struct Incoming(Infallible);

pub(super) fn send(fetch: Fetch) -> Result<Fetched, FetchError> {
    let Fetch { method, url, fields, body, timeout, connect_timeout } = fetch;
    drop((method, url, fields, body, timeout, connect_timeout));
    Err(FetchError::Unsupported)
}

impl Incoming {
    pub(super) fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}
