//! Connections that leave HTTP: the job takes the place of the response.

mod stdin;
mod tcp;
mod websocket;

pub(super) use websocket::{VERSION, Way};

use std::future::{poll_fn, ready};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::answer::Answering;
use super::call::Made;
use super::deadline::Progress;
use super::error::Refusal;
use super::exchange::Exchange;
use super::response_body::Body;
use super::unread::Unread;
use super::work::Work;
use crate::catalog::{Cors, Upgrade};
use crate::engine::Engine;
use crate::job::{Fault, PipeReader, PipeWriter, Run, Status, Stop, Tail};
use crate::net::Leaving;
use stdin::Wanted;
use websocket::Agreed;

/// What a connection goes on with once its last response is written: nothing, or a job.
#[derive(Default)]
pub(super) struct Switched(Mutex<Option<Tunnel>>);

/// A job that has a connection to itself.
pub(super) struct Tunnel {
    upgrade: Upgrade,
    /// What a WebSocket's handshake has come to.
    agreed: Option<Agreed>,
    /// Becomes the connection when the 101 is written.
    connection: OnUpgrade,
    job: Ends,
    /// The request that has led here; none until its response is made.
    exchange: Option<Exchange>,
}

/// The ends of a running job's streams.
struct Ends {
    run: Run,
    stdin: PipeWriter,
    stdout: PipeReader,
    last_words: Tail,
    stop: Stop,
}

/// Why a connection is over.
enum Ended {
    /// The job has ended, and all it wrote is sent.
    Job(Result<Status, Fault>),
    /// The client has left, or does not read.
    Client(io::Error),
    /// The client sends what asks for work, and for nothing of a job.
    Flood,
}

/// A client that has asked for the protocol of its route.
pub(super) struct Applicant<'a> {
    upgrade: &'a Upgrade,
    agreed: Option<Agreed>,
    connection: OnUpgrade,
}

impl<'a> Applicant<'a> {
    /// Checks that a request asks for this upgrade.
    ///
    /// # Errors
    /// It does not, or not so that it can be done.
    pub(super) fn of(
        head: &Parts,
        body: &Unread,
        way: Way,
        upgrade: &'a Upgrade,
        cors: Option<&Cors>,
    ) -> Result<Applicant<'a>, Refusal> {
        let protocol = upgrade.protocol();
        // RFC 9110 §7.8: HTTP/1.0 cannot ask for it, and HTTP/2 has no such field.
        let asks = head.version == Version::HTTP_11
            && names(&head.headers, &CONNECTION, "upgrade")
            && names(&head.headers, &UPGRADE, protocol);
        let connection = head.extensions.get::<OnUpgrade>().filter(|_| asks);
        let Some(connection) = connection.cloned() else { return Err(Refusal::UpgradeRequired(protocol)) };
        if body.look().is_some() {
            // What follows the head belongs to the new protocol; a body would have to be kept for it.
            return Err(Refusal::Malformed(format!("a request for an upgrade to {protocol} has a body")));
        }
        let agreed = match upgrade {
            Upgrade::Tcp => None,
            // RFC 6455 §4.1: by GET. A HEAD has got here in its stead.
            Upgrade::WebSocket(_) if head.method != Method::GET => {
                return Err(Refusal::WrongMethod(Method::GET.to_string()));
            }
            Upgrade::WebSocket(websocket) => Some(websocket::agree(head, way, websocket, cors)?),
        };
        Ok(Applicant { upgrade, agreed, connection })
    }

    /// Starts the job and runs it until it reads or writes: only then is the client told that it has
    /// what it asked for, so that whatever goes wrong before is an answer in HTTP. The job reads at most `most`
    /// bytes, and waits for them no longer than `idle`, if there is one.
    ///
    /// # Errors
    /// No slot is free, or the job failed before it read or wrote.
    pub(super) async fn accept(
        self,
        mut made: Made,
        engine: &Arc<Engine>,
        most: u64,
        idle: Option<Duration>,
    ) -> Result<Tunnel, Fault> {
        if let Upgrade::WebSocket(websocket) = self.upgrade {
            let agreed = self.agreed.as_ref().and_then(|agreed| agreed.protocol.as_ref());
            let protocol = agreed.and_then(|protocol| protocol.to_str().ok()).unwrap_or_default();
            let env = &mut made.job.env;
            // Refused only where they hold a NUL.
            let _set = env.set("WEBSOCKET_MESSAGES", websocket.messages.name());
            let _set = env.set("WEBSOCKET_PROTOCOL", protocol);
        }
        let (stdin, input, wanted) = stdin::feed(most, idle);
        let Answering { work, reader: mut stdout } = made.start(engine, input);
        let Work { run, last_words, stop, .. } = work;
        let run = match run {
            Some(run) => first_sign(run, &mut stdout, &wanted, &last_words).await?,
            None => done(Ok(Status::OK)),
        };
        let job = Ends { run, stdin, stdout, last_words, stop };
        let Applicant { upgrade, agreed, connection } = self;
        Ok(Tunnel { upgrade: upgrade.clone(), agreed, connection, job, exchange: None })
    }
}

impl Switched {
    /// Keeps the job, and makes the response that ends HTTP on this connection.
    pub(super) fn offer(&self, tunnel: Tunnel) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().extend(fields(tunnel.upgrade.protocol()));
        if let Some(agreed) = &tunnel.agreed {
            agreed.tell(response.headers_mut());
        }
        *self.lock() = Some(tunnel);
        response
    }

    /// Keeps the exchange, which lasts as long as the job.
    pub(super) fn keep(&self, exchange: Exchange) {
        if let Some(tunnel) = &mut *self.lock() {
            tunnel.exchange = Some(exchange);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tunnel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with the job, if there is one, until it or the client has had enough. Says what the
    /// client is refused for, if it is.
    ///
    /// # Cancel safety
    /// Dropping the future ends the job.
    pub(super) async fn run(&self, progress: &Progress, leaving: &Leaving) -> Option<Refusal> {
        let tunnel = self.lock().take();
        // HTTP's deadlines end with HTTP; a client that does not read is bounded all the same.
        let tunnel = tunnel.inspect(|_| progress.switched())?;
        // Boxed: a connection that stays with HTTP need not be as large as one that does not.
        Box::pin(tunnel.run(progress, leaving)).await
    }
}

impl Tunnel {
    async fn run(self, progress: &Progress, leaving: &Leaving) -> Option<Refusal> {
        let Tunnel { upgrade, connection, job, exchange, .. } = self;
        let mut exchange = exchange?;
        // Not there: the client left before it was told.
        let connection = connection.await.ok()?;
        let last_words = job.last_words.clone();
        progress.tunnels(job.stop.clone());
        let ended = match upgrade {
            Upgrade::Tcp => tcp::carry(TokioIo::new(connection), job, progress, &mut exchange).await,
            Upgrade::WebSocket(websocket) => {
                let connection = TokioIo::new(connection);
                websocket::carry(connection, &websocket, job, &mut exchange, leaving).await
            }
        };
        match ended {
            Ended::Job(Ok(status)) if status.is_ok() => exchange.complete(),
            Ended::Job(Ok(status)) => {
                exchange.broke_off(&Fault::Exited { status, last_line: last_words.last_line() });
            }
            Ended::Job(Err(fault)) => exchange.broke_off(&fault),
            Ended::Client(error) => tracing::debug!("an upgraded connection: {error}"),
            Ended::Flood => {
                exchange.refused(&Refusal::Flood);
                return Some(Refusal::Flood);
            }
        }
        None
    }
}

/// Names a protocol in the fields of a response: one that takes it up, or one that asks for it.
pub(super) fn fields(protocol: &'static str) -> [(HeaderName, HeaderValue); 2] {
    [(CONNECTION, HeaderValue::from_static("Upgrade")), (UPGRADE, HeaderValue::from_static(protocol))]
}

/// Runs a job until it wants input, has written something, or has ended well; what it has written
/// before a failure is the client's.
async fn first_sign(
    mut run: Run,
    stdout: &mut PipeReader,
    wanted: &Wanted,
    last_words: &Tail,
) -> Result<Run, Fault> {
    let ended = poll_fn(|context| match run.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if wanted.poll(context).is_ready() => Poll::Ready(None),
        Poll::Pending => match stdout.poll_filled(context) {
            Poll::Ready(true) => Poll::Ready(None),
            // One that closed its stdout wakes us when it ends.
            Poll::Ready(false) | Poll::Pending => Poll::Pending,
        },
    });
    let Some(outcome) = ended.await else { return Ok(run) };
    let has_written = stdout.poll_filled(&mut Context::from_waker(Waker::noop())) == Poll::Ready(true);
    match outcome {
        Ok(status) if !status.is_ok() && !has_written => {
            Err(Fault::Exited { status, last_line: last_words.last_line() })
        }
        Err(fault) if !has_written => Err(fault),
        outcome => Ok(done(outcome)),
    }
}

/// Makes a run that has ended.
fn done(outcome: Result<Status, Fault>) -> Run {
    Box::pin(ready(outcome))
}

/// Reports whether a field that is a list names this, in any case.
fn names(headers: &HeaderMap, field: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(field).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case(wanted))
}
