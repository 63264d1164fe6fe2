//! Greets the name in the route or echoes the body with its length as a trailer: HTTP by wasi:http.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{OutputStream, StreamError};

wasip2::http::proxy::export!(Greet);

struct Greet;

impl Guest for Greet {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let greets = matches!(request.method(), Method::Get | Method::Head);
        let fields = Fields::new();
        // Cannot fail: the fields are new, and the name and value are valid.
        let _set = fields.append("content-type", b"text/plain; charset=utf-8");
        if !greets {
            let _set = fields.append("trailer", b"x-length");
        }
        let response = OutgoingResponse::new(fields);
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(out, Ok(response));
        let trailers = if greets { greet(&request, &body) } else { echo(&request, &body) };
        // A body that is dropped without `finish` counts as broken off, and the client sees that it is incomplete.
        if let Ok(trailers) = trailers {
            let _finished = OutgoingBody::finish(body, trailers);
        }
    }
}

/// Writes a greeting.
fn greet(request: &IncomingRequest, body: &OutgoingBody) -> Result<Option<Fields>, StreamError> {
    // The daemon adds a field for each capture of the route.
    let who = request.headers().get("portcullis-route-who").pop().unwrap_or_default();
    let greeting = [b"Hello, ", &who[..], b"!\n"].concat();
    let stream = body.write().map_err(|()| StreamError::Closed)?;
    write(&stream, &greeting)?;
    Ok(None)
}

/// Sends the request body back, with its length in a trailer.
fn echo(request: &IncomingRequest, body: &OutgoingBody) -> Result<Option<Fields>, StreamError> {
    let incoming = request.consume().map_err(|()| StreamError::Closed)?;
    let from = incoming.stream().map_err(|()| StreamError::Closed)?;
    let to = body.write().map_err(|()| StreamError::Closed)?;
    let mut length = 0;
    loop {
        match from.blocking_read(64 << 10) {
            Ok(bytes) => {
                write(&to, &bytes)?;
                length += bytes.len();
            }
            Err(StreamError::Closed) => break,
            Err(broken) => return Err(broken),
        }
    }
    drop(from);
    drop(IncomingBody::finish(incoming));
    let trailers = Fields::new();
    let _set = trailers.append("x-length", length.to_string().as_bytes());
    Ok(Some(trailers))
}

/// Writes the bytes, as many at a time as there is room for.
fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let room = match stream.check_write()? {
            0 => {
                stream.subscribe().block();
                continue;
            }
            room => usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()),
        };
        let (now, later) = bytes.split_at(room);
        stream.write(now)?;
        bytes = later;
    }
    Ok(())
}

/// A program for this target must have a `main`. It is never called.
fn main() {}
