//! Sends a request over `wasi:http/outgoing-handler` and receives its response.

use std::io;
use std::time::Duration;

use wasip2::clocks::monotonic_clock::{self, Instant};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme, http_error_code,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, StreamError};

use super::{Fetch, FetchError, Fetched, Url, split, words};

/// The deadline of an exchange.
#[derive(Clone, Copy)]
struct Deadline {
    time: Duration,
    at: Instant,
}

/// The body of a response. The fields are dropped in their order, as the host requires.
pub(super) struct Incoming {
    stream: InputStream,
    deadline: Option<Deadline>,
    _body: IncomingBody,
    _response: IncomingResponse,
}

pub(super) fn send(fetch: Fetch) -> Result<Fetched, FetchError> {
    let Fetch { method, url, mut fields, body, timeout, connect_timeout } = fetch;
    let deadline = timeout.map(Deadline::after);
    let malformed = |what: &str| FetchError::Malformed(what.to_owned());
    let Url { secure, authority, target } = split(&url)?;
    if let Some(body) = &body {
        let named = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if !named {
            fields.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
        }
    }
    let fields = Fields::from_list(&fields).map_err(|error| FetchError::Malformed(error.to_string()))?;
    let request = OutgoingRequest::new(fields);
    let scheme = if secure { Scheme::Https } else { Scheme::Http };
    request.set_method(&named(method)).map_err(|()| malformed("the method is not valid"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| malformed("the scheme is not valid"))?;
    request.set_authority(Some(authority)).map_err(|()| malformed("the host or port is not valid"))?;
    request.set_path_with_query(Some(&target)).map_err(|()| malformed("the path is not valid"))?;

    let outgoing = match body {
        Some(bytes) => Some((request.body().map_err(|()| malformed("the body has no such length"))?, bytes)),
        None => None,
    };
    let pending = outgoing_handler::handle(request, options(timeout, connect_timeout)?).map_err(told)?;
    if let Some((outgoing, bytes)) = outgoing {
        pour(outgoing, &bytes, deadline)?;
    }
    wait(pending.subscribe(), deadline)?;
    let response =
        pending.get().and_then(Result::ok).ok_or_else(|| broken("there is no response"))?.map_err(told)?;
    let fields = response.headers().entries();
    let body = response.consume().map_err(|()| broken("the response has no body"))?;
    let stream = body.stream().map_err(|()| broken("the response has no body"))?;
    Ok(Fetched {
        status: response.status(),
        fields,
        body: Incoming { stream, deadline, _body: body, _response: response },
    })
}

impl Deadline {
    fn after(time: Duration) -> Deadline {
        Deadline { time, at: monotonic_clock::now().saturating_add(nanoseconds(time)) }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Passes the timeouts to the daemon, so it closes a connection by itself.
fn options(
    timeout: Option<Duration>,
    connect: Option<Duration>,
) -> Result<Option<RequestOptions>, FetchError> {
    let connect = connect.into_iter().chain(timeout).min();
    if connect.is_none() {
        return Ok(None);
    }
    let options = RequestOptions::new();
    let set = options
        .set_connect_timeout(connect.map(nanoseconds))
        .and_then(|()| options.set_first_byte_timeout(timeout.map(nanoseconds)))
        .and_then(|()| options.set_between_bytes_timeout(timeout.map(nanoseconds)));
    set.map_err(|()| FetchError::Malformed("a timeout is not valid".to_owned()))?;
    Ok(Some(options))
}

/// Waits until a pollable is ready, up to the deadline.
fn wait(what: Pollable, deadline: Option<Deadline>) -> Result<(), FetchError> {
    let Some(Deadline { time, at }) = deadline else {
        what.block();
        return Ok(());
    };
    let over = monotonic_clock::subscribe_instant(at);
    // The deadline has priority over data that is ready: a response may go on without end.
    if poll(&[&what, &over]).contains(&1) {
        return Err(FetchError::TimedOut(format!("more than {time:?}")));
    }
    Ok(())
}

/// Writes a body. An error is ignored: a server that responds early need not read the body, and the response
/// tells why a call failed.
fn pour(outgoing: OutgoingBody, mut bytes: &[u8], deadline: Option<Deadline>) -> Result<(), FetchError> {
    let Ok(stream) = outgoing.write() else { return Ok(()) };
    while !bytes.is_empty() {
        let room = match stream.check_write() {
            Ok(0) => {
                wait(stream.subscribe(), deadline)?;
                continue;
            }
            Ok(room) => usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()),
            Err(_) => return Ok(()),
        };
        let (now, later) = bytes.split_at(room);
        if stream.write(now).is_err() {
            return Ok(());
        }
        bytes = later;
    }
    if stream.flush().is_err() {
        return Ok(());
    }
    wait(stream.subscribe(), deadline)?;
    drop(stream);
    let _told_by_the_answer = OutgoingBody::finish(outgoing, None);
    Ok(())
}

impl Incoming {
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.deadline.is_some() {
                wait(self.stream.subscribe(), self.deadline)
                    .map_err(|late| io::Error::new(io::ErrorKind::TimedOut, late))?;
            }
            return match self.stream.blocking_read(buffer.len() as u64) {
                // A spurious wake-up, since the end of the stream is an error of its own.
                Ok(bytes) if bytes.is_empty() => continue,
                Ok(bytes) => {
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    Ok(bytes.len())
                }
                Err(StreamError::Closed) => Ok(0),
                Err(StreamError::LastOperationFailed(error)) => {
                    Err(io::Error::other(match http_error_code(&error) {
                        Some(code) => told(code),
                        None => broken(&error.to_debug_string()),
                    }))
                }
            };
        }
    }
}

fn named(method: String) -> Method {
    match method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        _ => Method::Other(method),
    }
}

fn broken(what: &str) -> FetchError {
    FetchError::Broken(what.to_owned())
}

/// Classifies the errors of `wasi:http` by what a handler can do about them.
fn told(code: ErrorCode) -> FetchError {
    let what = said(&code);
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => FetchError::Denied(what),
        ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriTooLong => FetchError::Malformed(what),
        ErrorCode::ConnectionLimitReached
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseHeaderSectionSize(_) => FetchError::Limited(what),
        ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout
        | ErrorCode::DnsTimeout => FetchError::TimedOut(what),
        ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError
        | ErrorCode::TlsAlertReceived(_) => FetchError::Unreachable(what),
        _ => FetchError::Broken(what),
    }
}

/// Describes an error in words.
fn said(code: &ErrorCode) -> String {
    let what = words(&format!("{code:?}"));
    match code {
        ErrorCode::InternalError(Some(text)) => text.clone(),
        ErrorCode::HttpResponseTransferCoding(Some(text))
        | ErrorCode::HttpResponseContentCoding(Some(text)) => {
            format!("{what}: {text}")
        }
        ErrorCode::DnsError(error) => match &error.rcode {
            Some(reason) => format!("{what}: {reason}"),
            None => what,
        },
        ErrorCode::TlsAlertReceived(alert) => match &alert.alert_message {
            Some(message) => format!("{what}: {message}"),
            None => what,
        },
        ErrorCode::HttpRequestBodySize(Some(most)) | ErrorCode::HttpResponseBodySize(Some(most)) => {
            format!("{what}: {most} bytes")
        }
        _ => what,
    }
}
