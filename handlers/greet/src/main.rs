//! Greets whoever the route names, and sends a body back while it comes, with its length behind it: HTTP itself, by wasi:http.

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
        // They hold for any fields: these are new, and what is set is a name and a value.
        let _set = fields.append("content-type", b"text/plain; charset=utf-8");
        if !greets {
            let _set = fields.append("trailer", b"x-length");
        }
        let response = OutgoingResponse::new(fields);
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(out, Ok(response));
        let trailers = if greets { greet(&request, &body) } else { echo(&request, &body) };
        // A body that is dropped instead is one that broke off: the client sees that it is not whole.
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

/// Sends the request's body back, and says behind it how long it was.
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

/// Writes as much at a time as there is room for.
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

/// A program of this target has a `main`. Nobody runs it.
fn main() {}
