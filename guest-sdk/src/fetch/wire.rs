//! A request over `wasi:http/outgoing-handler`, and its response.

use std::io;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
    http_error_code,
};
use wasip2::io::streams::{InputStream, StreamError};

use super::{Fetch, FetchError, Fetched, Url, split};

/// The most that `blocking-write-and-flush` takes at once, by the definition of `wasi:io`.
const PIECE: usize = 4096;

/// The body of a response. The order of the fields is that in which the host wants them dropped.
pub(super) struct Incoming {
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
}

pub(super) fn send(fetch: Fetch) -> Result<Fetched, FetchError> {
    let Fetch { method, url, mut fields, body } = fetch;
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
    request.set_method(&named(method)).map_err(|()| malformed("the method is none"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| malformed("the scheme is none"))?;
    request.set_authority(Some(authority)).map_err(|()| malformed("the host or port is none"))?;
    request.set_path_with_query(Some(&target)).map_err(|()| malformed("the path is none"))?;

    let outgoing = match body {
        Some(bytes) => Some((request.body().map_err(|()| malformed("the body has no such length"))?, bytes)),
        None => None,
    };
    let pending = outgoing_handler::handle(request, None).map_err(told)?;
    if let Some((outgoing, bytes)) = outgoing {
        pour(outgoing, &bytes);
    }
    let answer = pending.subscribe();
    answer.block();
    drop(answer);
    let response =
        pending.get().and_then(Result::ok).ok_or_else(|| broken("there is no answer"))?.map_err(told)?;
    let fields = response.headers().entries();
    let body = response.consume().map_err(|()| broken("the answer has no body"))?;
    let stream = body.stream().map_err(|()| broken("the answer has no body"))?;
    Ok(Fetched {
        status: response.status(),
        fields,
        body: Incoming { stream, _body: body, _response: response },
    })
}

/// Writes a body. A server that answers early need not take all of it, and why a call fails its answer says.
fn pour(outgoing: OutgoingBody, bytes: &[u8]) {
    let Ok(stream) = outgoing.write() else { return };
    for piece in bytes.chunks(PIECE) {
        if stream.blocking_write_and_flush(piece).is_err() {
            return;
        }
    }
    drop(stream);
    let _told_by_the_answer = OutgoingBody::finish(outgoing, None);
}

impl Incoming {
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            return match self.stream.blocking_read(buffer.len() as u64) {
                // Nothing yet, though it was waited for: an end says that it is one.
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

/// Sorts the errors of `wasi:http` by what a handler can do about them.
fn told(code: ErrorCode) -> FetchError {
    let what = code.to_string();
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
