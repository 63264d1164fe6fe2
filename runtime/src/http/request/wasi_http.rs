//! Starts the job of a `wasi:http` handler, and makes the response it gives.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::uri::{self, Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};

use super::body_source::BodySource;
use super::cgi_job::RoutedRequest;
use super::job_run::JobEvent;
use super::reserved_fields::{PREFIX, unforged};
use super::response_body::Body;
use super::running_job::RunningJob;
use super::{h2_rules, request_trace};
use crate::cgi::CgiHead;
use crate::engine::Engine;
use crate::job::{Fault, HandlerVersion, Job, JobId, Proxied, RequestBody, ResponseBody, ResponseSender};
use crate::net::Secured;

/// The number of the job, which is also the number of the request.
const REQUEST_ID: HeaderName = HeaderName::from_static("portcullis-request-id");
/// The client's address; absent on a Unix socket.
const REMOTE_ADDR: HeaderName = HeaderName::from_static("portcullis-remote-addr");
/// The path of the route, as it was configured.
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("portcullis-matched-route");

/// Gets the response that the handler gives. `None` once the handler has dropped the channel. Its job may still go
/// on.
pub(in crate::http) type ResponseReceiver = Option<oneshot::Receiver<ResponseSender>>;

impl RoutedRequest<'_> {
    /// Makes the job that gets the request itself. Its environment and arguments are those of the handler,
    /// because its instance may serve other requests too. What the daemon knows about the request is passed in
    /// header fields.
    pub(in crate::http) fn http_job(self, engine: &Arc<Engine>, entry: &Arc<HandlerVersion>) -> Box<Job> {
        let mut job = engine.job_of(entry.clone());
        self.begin(engine, &mut job);
        job.env.extend(&entry.env);
        job
    }

    /// Hands the request to its job, and starts it. `next` takes the requests that a middleware passes on.
    ///
    /// # Errors
    /// The client names a host that is invalid in a URI.
    pub(in crate::http) fn start_http(
        self,
        engine: &Arc<Engine>,
        mut job: Box<Job>,
        body: RequestBody,
        next: Option<mpsc::Sender<Proxied>>,
    ) -> Result<RunningJob<ResponseReceiver>, http::Error> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.head.method.clone();
        head.version = self.head.version;
        head.uri = absolute(self.head, if self.peer.is_secure() { Scheme::HTTPS } else { Scheme::HTTP })?;
        head.headers = self.fields(job.id);
        request_trace::fields(&job.usage, &mut head.headers);
        let (sender, answer) = oneshot::channel();
        let request = Request::from_parts(head, body);
        job.proxied = Some(Box::new(Proxied { request, answer: sender, next }));
        Ok(RunningJob::start(engine, job, Some(answer)))
    }

    /// Adds the daemon's own fields to those of the client.
    fn fields(self, id: JobId) -> HeaderMap {
        /// Fields that most requests get here: the three constants and a few captures.
        const OWN: usize = 6;
        let mut fields = unforged(self.pass.shown(&self.head.headers).into_owned());
        h2_rules::join_crumbs(&mut fields);
        // A copy has no room to grow.
        fields.reserve(OWN);
        let mut add = |name: HeaderName, value: &str| {
            // A value that is invalid in a field is left out, just as a variable with a NUL is.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                fields.append(name, value);
            }
        };
        add(REQUEST_ID, id.digits(&mut [0; 16]));
        add(MATCHED_ROUTE, &self.found.route.pattern);
        if !self.peer.remote_addr().is_empty() {
            add(REMOTE_ADDR, self.peer.remote_addr());
        }
        for (capture, value) in self.found.captures() {
            add(capture.field.clone(), value);
        }
        for (variable, value) in self.peer.secured().map(Secured::variables).unwrap_or_default() {
            let name = variable.to_ascii_lowercase().replace('_', "-");
            if let Ok(name) = HeaderName::try_from(format!("{PREFIX}{name}")) {
                add(name, value);
            }
        }
        for (name, value) in self.pass.fields() {
            if let Ok(name) = HeaderName::try_from(format!("{PREFIX}{name}")) {
                add(name, value);
            }
        }
        fields
    }
}

/// Makes the target of a request absolute, with the authority that HTTP/1 sends elsewhere.
fn absolute(head: &Parts, scheme: Scheme) -> Result<Uri, http::Error> {
    // What the head has parsed already is shared with it.
    let authority = match head.uri.authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(h2_rules::host(head).unwrap_or("localhost"))?,
    };
    let target = head.uri.path_and_query().cloned();
    let mut parts = uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Ok(Uri::from_parts(parts)?)
}

/// The body of a handler whose jobs finish without their clients. If it is dropped early, a task reads it to
/// its end, so that the handler does not fail on a write.
struct DetachedBody(Option<ResponseBody>);

/// Forwards the response of a job that finishes without its client. The client may leave before the response
/// comes.
fn outliving(answer: oneshot::Receiver<ResponseSender>) -> oneshot::Receiver<ResponseSender> {
    let (sender, passed) = oneshot::channel();
    drop(tokio::spawn(async move {
        if let Ok(answer) = answer.await {
            let answer = answer.map(|response| response.map(|body| DetachedBody(Some(body)).boxed_unsync()));
            // If the receiver is gone, the response is dropped, which reads its body to the end.
            let _refused = sender.send(answer);
        }
    }));
    passed
}

impl http_body::Body for DetachedBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }
}

impl Drop for DetachedBody {
    fn drop(&mut self) {
        if let Some(mut body) = self.0.take() {
            drop(tokio::spawn(async move { while let Some(Ok(_dropped)) = body.frame().await {} }));
        }
    }
}

impl RunningJob<ResponseReceiver> {
    /// Runs the job until it has given the head of its response, then makes the response for the client.
    ///
    /// # Errors
    /// The job failed, or gave no response that can be sent, before anything was sent.
    pub(in crate::http) async fn response(mut self, method: &Method) -> Result<Response<Body>, Fault> {
        if self.finishes() {
            self.output = self.output.take().map(outliving);
            self.outlive();
        }
        let given = self.given().await.and_then(|response| {
            let (parts, body) = response.into_parts();
            Ok((CgiHead::relayed(parts.status, parts.headers)?, body))
        });
        let (head, body) = given.map_err(|fault| self.refused(fault))?;
        self.with(|_| BodySource::Frames(Some(body))).respond(method, head, Bytes::new()).await
    }

    /// Waits for the response that the handler gives.
    async fn given(&mut self) -> Result<Response<ResponseBody>, Fault> {
        loop {
            let RunningJob { run, output, .. } = self;
            match poll_fn(|context| run.poll_next(context, |context| poll_given(output, context))).await {
                Some(JobEvent::Output(response)) => return response,
                Some(JobEvent::Exited(outcome)) => self.check(outcome)?,
                None => {
                    return Err(Fault::BadAnswer("the handler ended without a response".to_owned()));
                }
            }
        }
    }
}

/// Polls for the response. `None` if the handler has dropped the channel: the end of its job tells why.
fn poll_given(receiver: &mut ResponseReceiver, context: &mut Context<'_>) -> Poll<Option<ResponseSender>> {
    let Some(waiting) = receiver else { return Poll::Ready(None) };
    let given = ready!(Pin::new(waiting).poll(context)).ok();
    // A receiver must not be polled again.
    *receiver = None;
    Poll::Ready(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HOST;

    #[test]
    fn the_target_of_a_component_has_the_authority_of_the_request_wherever_it_was_sent() {
        for (target, host, authority, path) in [
            ("/a?b=c", Some("h:81"), "h:81", "/a?b=c"),
            ("*", Some("h"), "h", "*"),
            ("/", None, "localhost", "/"),
            ("/", Some(""), "localhost", "/"),
            ("http://other/x?y", Some("h"), "other", "/x?y"),
            ("http://other", Some("other"), "other", "/"),
        ] {
            let mut request = Request::builder().uri(target).body(()).unwrap();
            request.headers_mut().extend(host.map(|host| (HOST, HeaderValue::from_static(host))));

            let uri = absolute(&request.into_parts().0, Scheme::HTTPS).unwrap();

            assert_eq!(uri.scheme_str(), Some("https"));
            assert_eq!(uri.authority().map(Authority::as_str), Some(authority));
            assert_eq!(uri.path_and_query().map(PathAndQuery::as_str), Some(path));
        }
    }
}
