//! A request for the protocol of its route, and the job that it starts.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Version};
use hyper::upgrade::OnUpgrade;

use super::job_streams::{JobStreams, done};
use super::stdin::{self, InputWanted};
use super::tunnel::Tunnel;
use super::websocket::handshake::{self, Agreement, Transport};
use crate::catalog::{Cors, Upgrade};
use crate::engine::Engine;
use crate::http::refusal::Refusal;
use crate::http::request::cgi_job::PreparedJob;
use crate::http::request::cgi_response::CgiRun;
use crate::http::request::drain_body::DrainBody;
use crate::http::request::running_job::RunningJob;
use crate::job::{Fault, PipeReader, Run, Status, Tail};

/// A client that has asked for the protocol of its route.
pub(in crate::http) struct UpgradeRequest<'a> {
    upgrade: &'a Upgrade,
    agreed: Option<Agreement>,
    connection: OnUpgrade,
}

impl<'a> UpgradeRequest<'a> {
    /// Checks that a request asks for this upgrade.
    ///
    /// # Errors
    /// It does not, or not so that it can be done.
    pub(in crate::http) fn of(
        head: &Parts,
        body: &DrainBody,
        way: Transport,
        upgrade: &'a Upgrade,
        cors: Option<&Cors>,
    ) -> Result<UpgradeRequest<'a>, Refusal> {
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
            Upgrade::WebSocket(websocket) => Some(handshake::agree(head, way, websocket, cors)?),
        };
        Ok(UpgradeRequest { upgrade, agreed, connection })
    }

    /// Starts the job and runs it until it reads or writes: only then is the client told that it has
    /// what it asked for, so that whatever goes wrong before is an answer in HTTP. The job reads at most `most`
    /// bytes, and waits for them no longer than `idle`, if there is one.
    ///
    /// # Errors
    /// No slot is free, or the job failed before it read or wrote.
    pub(in crate::http) async fn accept(
        self,
        mut made: PreparedJob,
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
        let CgiRun { work, reader: mut stdout } = made.start(engine, input);
        let RunningJob { run, last_words, stop, .. } = work;
        let run = match run {
            Some(run) => first_sign(run, &mut stdout, &wanted, &last_words).await?,
            None => done(Ok(Status::OK)),
        };
        let job = JobStreams { run, stdin, stdout, last_words, stop };
        let UpgradeRequest { upgrade, agreed, connection } = self;
        Ok(Tunnel { upgrade: upgrade.clone(), agreed, connection, job, log: None })
    }
}

/// Runs a job until it wants input, has written something, or has ended well; what it has written
/// before a failure is the client's.
async fn first_sign(
    mut run: Run,
    stdout: &mut PipeReader,
    wanted: &InputWanted,
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

/// Reports whether a field that is a list names this, in any case.
fn names(headers: &HeaderMap, field: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(field).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case(wanted))
}
