//! The client of the admin API: runs a job in a daemon that listens on a Unix socket.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http::header::{CONNECTION, HOST, TE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::daemon_connection::{self, DaemonConnection};
use super::run_job::{ENCODED, JOB_ENV, JOB_ERROR, JOB_STATUS};
use crate::job::Status;

/// A call of a job.
#[derive(Clone, Default, Debug)]
pub struct JobCall {
    /// The name of the job.
    pub name: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment variables.
    pub env: Vec<(String, String)>,
    /// Its stdin.
    pub stdin: Bytes,
}

/// The reply to a call: the output of the job, and its outcome.
pub struct JobReply {
    body: ReplyBody,
    outcome: Option<JobOutcome>,
    _connection: DaemonConnection,
}

enum ReplyBody {
    /// The stdout of the job.
    Stdout(Incoming),
    /// The text of a refusal: the job did not run, or failed before it wrote.
    Refusal(String),
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobOutcome {
    /// Its exit status.
    pub status: Status,
    /// The end of its stderr, which may be empty.
    pub error: String,
}

/// The most bytes of a refusal's text that are read.
const REFUSAL: usize = 64 << 10;

/// Runs a job in the daemon at this socket. Needs a tokio runtime.
///
/// # Errors
/// No daemon listens there, or it breaks off before it responds.
pub async fn run(socket: &Path, mut call: JobCall) -> Result<JobReply> {
    let stdin = std::mem::take(&mut call.stdin);
    send(socket, call, Full::new(stdin)).await
}

/// Runs a job whose stdin is sent as it comes. Needs a tokio runtime.
///
/// # Errors
/// Those of [`run`], and those of the stream.
pub async fn run_streaming(
    socket: &Path,
    call: JobCall,
    stdin: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Result<JobReply> {
    send(socket, call, StreamBody::new(stdin.map_ok(Frame::data))).await
}

async fn send<B>(socket: &Path, call: JobCall, stdin: B) -> Result<JobReply>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) = daemon_connection::connect(socket).await?;
    let request = request(call, stdin)?;
    // The body may be a stream that cannot be moved.
    let request = request.map(Box::pin);
    let response = sender.send_request(request).await.with_context(|| {
        format!("the daemon at {} closed the connection before it answered", socket.display())
    })?;
    JobReply::of(response, connection).await
}

fn request<B>(call: JobCall, body: B) -> Result<Request<B>> {
    let JobCall { name, args, env, stdin: _ } = call;
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let query: Vec<String> = args.iter().map(|arg| format!("a={}", encode(arg))).collect();
    let mut request = Request::post(format!("/jobs/{}?{}", encode(&name), query.join("&")))
        .header(HOST, "localhost")
        // RFC 9110 §10.1.4: TE applies to the next hop only, and has to be listed in Connection.
        .header(CONNECTION, "TE")
        .header(TE, "trailers");
    for (name, value) in env {
        request = request.header(JOB_ENV, format!("{name}={}", utf8_percent_encode(&value, ENCODED)));
    }
    Ok(request.body(body)?)
}

impl JobReply {
    async fn of(response: Response<Incoming>, connection: DaemonConnection) -> Result<JobReply> {
        let (head, body) = response.into_parts();
        let outcome = JobOutcome::of(&head.headers);
        if head.status == StatusCode::OK {
            return Ok(JobReply { body: ReplyBody::Stdout(body), outcome, _connection: connection });
        }
        let text = Limited::new(body, REFUSAL).collect().await;
        let text = text.map(|text| String::from_utf8_lossy(&text.to_bytes()).trim_end().to_owned());
        let text = text.unwrap_or_else(|_| head.status.to_string());
        Ok(JobReply { body: ReplyBody::Refusal(text), outcome, _connection: connection })
    }

    /// Waits for the next piece of the job's stdout. Returns `None` at its end.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let ReplyBody::Stdout(body) = &mut self.body else { return Ok(None) };
        while let Some(frame) = body.frame().await {
            match frame.context("the daemon closed the connection within its answer")?.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(frame) => {
                    let trailers = frame.into_trailers().ok();
                    self.outcome = trailers.as_ref().and_then(JobOutcome::of).or(self.outcome.take());
                }
            }
        }
        Ok(None)
    }

    /// Returns how the job ended, once [`JobReply::next`] has returned all of its stdout.
    pub fn outcome(&self) -> JobOutcome {
        match (&self.outcome, &self.body) {
            (Some(outcome), _) => outcome.clone(),
            (None, ReplyBody::Refusal(error)) => JobOutcome { status: Status::ERROR, error: error.clone() },
            (None, ReplyBody::Stdout(_)) => {
                let error = "the daemon did not say how the job ended".to_owned();
                JobOutcome { status: Status::ERROR, error }
            }
        }
    }
}

impl JobOutcome {
    fn of(fields: &HeaderMap) -> Option<JobOutcome> {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let status = fields.get(JOB_STATUS).and_then(text)?.parse().map(Status).ok()?;
        let error = fields.get(JOB_ERROR).and_then(text).unwrap_or_default();
        Some(JobOutcome { status, error: percent_decode_str(&error).decode_utf8_lossy().into_owned() })
    }
}

/// Parses the address of a daemon: a path, or `unix://PATH`.
pub fn socket(text: &str) -> PathBuf {
    PathBuf::from(text.strip_prefix("unix://").unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_its_arguments_and_variables_apart() {
        let call = JobCall {
            name: "explain".to_owned(),
            args: vec!["GET".to_owned(), "/a b?c=d&e".to_owned()],
            env: vec![("SHARE".to_owned(), "10%\n".to_owned())],
            ..JobCall::default()
        };

        let request = request(call, ()).unwrap();

        assert_eq!(request.uri(), "/jobs/explain?a=GET&a=%2Fa%20b%3Fc%3Dd%26e");
        assert_eq!(request.headers()[JOB_ENV], "SHARE=10%25%0A");
    }
}
