//! Checks a request for an upgrade, and starts the job that takes over the connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Version};
use hyper::upgrade::OnUpgrade;

use super::job_streams::JobStreams;
use super::stdin::{self, InputWanted};
use super::tunnel::Tunnel;
use super::websocket::handshake::{self, Agreement, Transport};
use crate::catalog::{Cors, Upgrade};
use crate::engine::Engine;
use crate::http::refusal::Refusal;
use crate::http::request::drain_body::DrainBody;
use crate::http::request::job_run::{JobEvent, JobRun};
use crate::http::request::running_job::RunningJob;
use crate::job::{Fault, Job, PipeReader, Status};

/// A checked request for the protocol of its route.
pub(in crate::http) struct UpgradeRequest<'a> {
    upgrade: &'a Upgrade,
    agreed: Option<Agreement>,
    connection: OnUpgrade,
}

impl<'a> UpgradeRequest<'a> {
    /// Checks that a request asks for this upgrade.
    ///
    /// # Errors
    /// The request does not ask for it, or the handshake is invalid.
    pub(in crate::http) fn of(
        head: &Parts,
        body: &DrainBody,
        way: Transport,
        upgrade: &'a Upgrade,
        cors: Option<&Cors>,
    ) -> Result<UpgradeRequest<'a>, Refusal> {
        let protocol = upgrade.protocol();
        // RFC 9110 §7.8: HTTP/1.0 cannot ask for an upgrade, and HTTP/2 has no such field.
        let asks = head.version == Version::HTTP_11
            && names(&head.headers, &CONNECTION, "upgrade")
            && names(&head.headers, &UPGRADE, protocol);
        let connection = head.extensions.get::<OnUpgrade>().filter(|_| asks);
        let Some(connection) = connection.cloned() else { return Err(Refusal::UpgradeRequired(protocol)) };
        if body.look().is_some() {
            // The bytes after the head belong to the new protocol. A body would have to be stored.
            return Err(Refusal::Malformed(format!("a request for an upgrade to {protocol} has a body")));
        }
        let agreed = match upgrade {
            Upgrade::Tcp => None,
            // RFC 6455 §4.1 requires GET. A HEAD matches the same route and gets here, too.
            Upgrade::WebSocket(_) if head.method != Method::GET => {
                return Err(Refusal::WrongMethod(Method::GET.to_string()));
            }
            Upgrade::WebSocket(websocket) => Some(handshake::agree(head, way, websocket, cors)?),
        };
        Ok(UpgradeRequest { upgrade, agreed, connection })
    }

    /// Starts the job and runs it until it reads or writes. The client gets its 101 only then, so an earlier
    /// failure becomes an ordinary HTTP response.
    ///
    /// After the upgrade the client owes no bytes. Its silence is bounded by the time limit of the job, and every byte
    /// restarts that wait.
    ///
    /// # Errors
    /// No slot is free, or the job failed before it read or wrote.
    pub(in crate::http) async fn accept(
        self,
        engine: &Arc<Engine>,
        mut job: Box<Job>,
    ) -> Result<Tunnel, Fault> {
        if let Upgrade::WebSocket(websocket) = self.upgrade {
            let agreed = self.agreed.as_ref().and_then(|agreed| agreed.protocol.as_ref());
            let protocol = agreed.and_then(|protocol| protocol.to_str().ok()).unwrap_or_default();
            let env = &mut job.env;
            // Fails only for a value with a NUL.
            let _set = env.set("WEBSOCKET_MESSAGES", websocket.messages.name());
            let _set = env.set("WEBSOCKET_PROTOCOL", protocol);
        }
        let (stdin, input, wanted) = stdin::feed(job.entry.limits.body, job.entry.limits.time);
        job.stdin = input;
        let job = first_sign(RunningJob::start_cgi(engine, job), &wanted).await?;
        let UpgradeRequest { upgrade, agreed, connection } = self;
        let streams = JobStreams { job, stdin };
        Ok(Tunnel { upgrade: upgrade.clone(), agreed, connection, streams, log: None })
    }
}

/// Runs a job until it wants input, has written something, or has ended well. Output before a failure is sent
/// to the client, so the failure is then no error here.
async fn first_sign(
    mut job: RunningJob<PipeReader>,
    wanted: &InputWanted,
) -> Result<RunningJob<PipeReader>, Fault> {
    let RunningJob { run, output: stdout, .. } = &mut job;
    let event = poll_fn(|context| {
        run.poll_next(context, |context| match wanted.poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(())),
            Poll::Pending => stdout.poll_filled(context).map(|is_filled| is_filled.then_some(())),
        })
    });
    if let Some(JobEvent::Exited(outcome)) = event.await {
        let has_written = stdout.held() > 0;
        let outcome = if has_written { outcome } else { job.check(outcome).map(|()| Ok(Status::OK))? };
        job.run = JobRun::Exited(Some(outcome));
    }
    Ok(job)
}

/// Reports whether a list field names this protocol or option, in any letter case.
fn names(headers: &HeaderMap, field: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(field).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case(wanted))
}
