//! A request that the daemon asks itself, to prove a version before it serves.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use http::header::HOST;
use http::{Method, Request, StatusCode};

use super::call::Call;
use super::request_body;
use crate::catalog::{Catalog, Lookup};
use crate::cgi::path;
use crate::engine::Engine;
use crate::job::{Entry, Input, Kind};
use crate::net::Peer;

/// Has `entry` answer a GET for `target`, as a client that asked `catalog` would, and returns the
/// status of the answer. The body is not read: behind its head the job is ended, as behind that of a HEAD.
///
/// # Errors
/// The target leads to another handler or to none, or the job failed.
pub async fn probe(
    engine: &Arc<Engine>,
    catalog: &Arc<Catalog>,
    entry: &Arc<Entry>,
    target: &str,
) -> Result<StatusCode> {
    let (head, ()) = Request::get(target).header(HOST, "localhost").body(())?.into_parts();
    let path = path::decode(head.uri.path())?;
    let found = match catalog.routes.lookup(Some("localhost"), &head.method, &path) {
        Lookup::Found(found) => found,
        Lookup::MethodNotAllowed { .. } => bail!("no route takes a GET for it"),
        Lookup::NotFound => bail!("no route leads there"),
    };
    let name = &found.route.handler.name;
    ensure!(*name == entry.name, "this path leads to the handler {:?}", name.as_str());
    let peer = Peer::nobody();
    let call = Call { catalog, entry, found: &found, head: &head, peer: &peer };
    if entry.kind == Kind::Proxy {
        let responding = call.proxied(engine).start(engine, request_body::nothing())?;
        return Ok(responding.response(&Method::HEAD).await?.status());
    }
    let answering = call.job(engine).start(engine, Input::empty());
    Ok(answering.response(&Method::HEAD, &entry.mapping).await?.status())
}
