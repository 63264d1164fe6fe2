//! A request from the daemon to itself, which tests a handler version before it serves.

use std::future::poll_fn;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode};
use tokio::time::timeout;

use super::cgi_job::RoutedRequest;
use super::gate_pass::GatePass;
use super::response_body::Body;
use crate::catalog::{Catalog, Lookup};
use crate::cgi::path;
use crate::engine::Engine;
use crate::http::timeouts::PROBE_BODY;
use crate::job::HandlerVersion;
use crate::net::Peer;

/// The most bytes of a body that are read.
const READ: usize = 64 << 10;

/// Lets `entry` answer a GET for `target`, as if a client of `catalog` had asked, and returns the status of
/// the response. The body is read for [`PROBE_BODY`] and up to [`READ`] bytes; then the job is ended.
///
/// # Errors
/// The target leads to another handler or to none, or the job failed before its head or in the part that was
/// read.
pub async fn probe(
    engine: &Arc<Engine>,
    catalog: &Arc<Catalog>,
    entry: &Arc<HandlerVersion>,
    target: &str,
) -> Result<StatusCode> {
    let (head, ()) = Request::get(target).header(HOST, "localhost").body(())?.into_parts();
    let path = path::decode(head.uri.path())?;
    let found = match catalog.routes.lookup(Some("localhost"), &head.method, &path) {
        Lookup::Found(found) => found,
        Lookup::MethodNotAllowed { .. } => bail!("no route accepts GET for it"),
        Lookup::UnsupportedVersion { message, .. } => bail!("{message}"),
        Lookup::NotFound => bail!("no route leads there"),
    };
    ensure!(found.route.leads_to(&entry.name), "this path leads to {}", found.route.target);
    let peer = Peer::nobody();
    let pass = GatePass::default();
    let (found, head, peer, pass) = (&found, &head, &peer, &pass);
    let request = RoutedRequest { catalog, found, head, peer, pass, span: None, around: &[] };
    let response = request.get(engine, request.bodiless_job(engine, entry)).await?;
    read(response?).await
}

/// Reads the start of a response and returns its status.
async fn read(response: Response<Body>) -> Result<StatusCode> {
    let status = response.status();
    let mut body = response.into_body();
    let reading = async {
        let mut left = READ;
        while let Some(frame) = poll_fn(|context| body.poll_next(context)).await {
            let length = frame?.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(length);
            if left == 0 {
                break;
            }
        }
        anyhow::Ok(())
    };
    if let Ok(read) = timeout(PROBE_BODY, reading).await {
        read.with_context(|| format!("the response with status {status} was cut off"))?;
    }
    body.abandon().await;
    Ok(status)
}
