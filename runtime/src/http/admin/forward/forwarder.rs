//! Serves the dashboard on a loopback port, and forwards what it asks for to the admin socket.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::dashboard_tokens::DashboardTokens;
use super::event_framer::EventFramer;
use super::rejection::Rejection;
use super::relayed_body::RelayedBody;
use super::site_check::{self, ForwardTarget};
use super::visits::{Visit, Visits};
use crate::http::admin::{daemon_connection, dashboard_files};
use crate::http::timeouts::DASHBOARD_HEAD;
use crate::net::LoopbackListener;

/// The largest request head: hyper's smallest buffer. A token has 43 bytes.
const HEAD: usize = 8192;

/// The content type of server-sent events. The page asks for it by this text alone.
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Finds the record file of a job by the id of the job.
pub type FindRecord = Box<dyn Fn(String) -> BoxFuture<'static, Result<String>> + Send + Sync>;

/// Runs a record file again.
pub type Replay = Box<dyn Fn(String) -> BoxFuture<'static, Result<ReplayOutput>> + Send + Sync>;

/// What a replay has written, and how it ended. The page gets it as JSON.
#[derive(Serialize)]
pub struct ReplayOutput {
    /// The exit status; `None` if it was killed.
    pub status: Option<i32>,
    /// What it wrote to stdout: the response.
    pub stdout: String,
    /// What it wrote to stderr: the comparison.
    pub stderr: String,
}

/// Serves the dashboard.
pub struct Forwarder {
    /// The admin socket.
    pub socket: PathBuf,
    /// Asks the daemon for the record file of a job.
    pub find_record: FindRecord,
    /// Runs a record file again.
    pub replay: Replay,
    /// Shows a new link to the operator.
    pub show: Box<dyn Fn(&str) + Send + Sync>,
}

/// The body of a response to the browser.
type ForwardBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// A forwarder that is bound to a port.
struct Bound {
    forwarder: Forwarder,
    port: u16,
    tokens: DashboardTokens,
    /// Held by the one replay that runs.
    replaying: Mutex<()>,
}

impl Forwarder {
    /// Serves until dropped.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub async fn run(self, listener: LoopbackListener) -> Result<Infallible> {
        let (port, tokens) = (listener.port(), DashboardTokens::default());
        let bound = Arc::new(Bound { forwarder: self, port, tokens, replaying: Mutex::default() });
        bound.show_link()?;
        let visits = Arc::new(Visits::default());
        let mut connections = JoinSet::new();
        loop {
            let stream = tokio::select! {
                stream = listener.accept() => stream,
                Some(_ended) = connections.join_next() => continue,
            };
            let Some(visit) = visits.enter().map(Arc::new) else { continue };
            let bound = bound.clone();
            connections.spawn(async move {
                let answer = |request| answer(bound.clone(), visit.clone(), request);
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(DASHBOARD_HEAD)
                    .max_buf_size(HEAD)
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::select! {
                    // The browser has left, or sent no HTTP.
                    _ended = connection => {}
                    () = visit.left() => {}
                }
            });
        }
    }
}

/// Answers a request of the browser.
async fn answer(
    bound: Arc<Bound>,
    visit: Arc<Visit>,
    request: Request<Incoming>,
) -> Result<Response<ForwardBody>, Infallible> {
    let head = request.into_parts().0;
    let mut response = bound.outcome(&head, &visit).await.unwrap_or_else(|Rejection { status, message }| {
        let mut response = Response::new(full(format!("{message}\n")));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    });
    dashboard_files::protect(response.headers_mut());
    Ok(response)
}

impl Bound {
    async fn outcome(&self, head: &Parts, visit: &Visit) -> Result<Response<ForwardBody>, Rejection> {
        site_check::check(head, self.port)?;
        let target = ForwardTarget::of(&head.method, head.uri.path())?;
        let token = bearer(&head.headers);
        match target {
            ForwardTarget::File => {}
            ForwardTarget::Open => return self.open(token).inspect(|_| visit.has_session()),
            ForwardTarget::Replay | ForwardTarget::Daemon => {
                if !self.tokens.is_open(token) {
                    return Err(Rejection::new(
                        StatusCode::UNAUTHORIZED,
                        "no session: open the last link that `portcullis dashboard` printed",
                    ));
                }
                visit.has_session();
            }
        }
        let answered = match target {
            ForwardTarget::Replay => {
                self.replay(head.uri.query().unwrap_or_default()).await.map(json_response)
            }
            ForwardTarget::File | ForwardTarget::Open | ForwardTarget::Daemon => self.forward(head).await,
        };
        answered.map_err(|error| Rejection::new(StatusCode::BAD_GATEWAY, format!("{error:#}")))
    }

    /// Exchanges the token of a link for a session, and shows the next link.
    fn open(&self, token: &str) -> Result<Response<ForwardBody>, Rejection> {
        let failed =
            |error: anyhow::Error| Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"));
        let Some(session) = self.tokens.open(token).map_err(failed)? else {
            return Err(Rejection::new(
                StatusCode::UNAUTHORIZED,
                "this link has been used, or is not the last one: open the last link that `portcullis dashboard` printed",
            ));
        };
        self.show_link().map_err(failed)?;
        Ok(json_response(json!({ "token": session })))
    }

    fn show_link(&self) -> Result<()> {
        let token = self.tokens.link()?;
        // A browser sends no server what follows the `#`.
        (self.forwarder.show)(&format!(
            "http://127.0.0.1:{}{}#token={token}",
            self.port,
            dashboard_files::ROOT
        ));
        Ok(())
    }

    /// Passes a request on, without its fields and its body, and the reply back. If the page asks for events, each line of
    /// the reply is one.
    async fn forward(&self, head: &Parts) -> Result<Response<ForwardBody>> {
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::builder().method(&head.method).uri(target).header(HOST, "localhost");
        for accept in head.headers.get_all(ACCEPT) {
            request = request.header(ACCEPT, accept);
        }
        let wants_events = head.headers.get(ACCEPT).is_some_and(|accept| *accept == EVENTS);
        let request = request.body(Empty::<Bytes>::new())?;
        // The wait ends with the browser, and so does the connection with its job.
        let (mut sender, connection) = daemon_connection::connect(&self.forwarder.socket).await?;
        let (reply, body) = sender.send_request(request).await?.into_parts();
        let relayed = RelayedBody { body, _connection: connection };
        let (kind, body) = if wants_events && reply.status == StatusCode::OK {
            let mut framer = EventFramer::default();
            let events = relayed.map_frame(move |frame| frame.map_data(|piece| framer.frame(&piece)));
            (Some(EVENTS), events.boxed_unsync())
        } else {
            (reply.headers.get(CONTENT_TYPE).cloned(), relayed.boxed_unsync())
        };
        let mut response = Response::new(body);
        *response.status_mut() = reply.status;
        response.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, kind)));
        Ok(response)
    }

    /// Runs the record of a job again. The daemon tells the file, so that the browser cannot name another.
    async fn replay(&self, query: &str) -> Result<Value> {
        let id = query.strip_prefix("a=").filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let id = id.context("wanted ?a=ID with the id of a job")?;
        let file = (self.forwarder.find_record)(id.to_owned()).await?;
        let _turn = self.replaying.lock().await;
        Ok(serde_json::to_value((self.forwarder.replay)(file).await?)?)
    }
}

/// Returns the token of a request; empty without one.
fn bearer(headers: &HeaderMap) -> &str {
    let text = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default()
}

fn json_response(value: Value) -> Response<ForwardBody> {
    let mut response = Response::new(full(format!("{value}\n")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn full(text: String) -> ForwardBody {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}
