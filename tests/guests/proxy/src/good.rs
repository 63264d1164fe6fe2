//! What a handler may do.

use std::time::Duration;

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

use crate::{begin, finish, text, write};

/// Sends the request's body back while it comes, and behind it the request's trailers and its length.
pub fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("a body");
    let body = begin(out, 200, &[("trailer", "x-length, x-echo"), ("trailer", "x-sum")]);
    let mut length = 0;
    {
        let from = incoming.stream().expect("a stream");
        let to = body.write().expect("a stream");
        loop {
            match from.blocking_read(65536) {
                Ok(bytes) => {
                    length += bytes.len();
                    for piece in bytes.chunks(4096) {
                        if to.blocking_write_and_flush(piece).is_err() {
                            return;
                        }
                    }
                }
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(error)) => panic!("{}", error.to_debug_string()),
            }
        }
    }
    let coming = IncomingBody::finish(incoming);
    coming.subscribe().block();
    let trailers = Fields::new();
    if let Some(Ok(Ok(Some(given)))) = coming.get() {
        for (name, value) in given.entries() {
            trailers.append(&name, &value).expect("a field");
        }
    }
    trailers.append("x-length", length.to_string().as_bytes()).expect("a field");
    finish(body, Some(trailers));
}

/// Says all that is known of a request, and of ourselves.
pub fn facts(request: &IncomingRequest) -> String {
    let mut lines = vec![
        format!("method {:?}", request.method()),
        format!("scheme {:?}", request.scheme()),
        format!("authority {:?}", request.authority()),
        format!("target {:?}", request.path_with_query()),
        format!("args {:?}", std::env::args().collect::<Vec<_>>()),
    ];
    let mut fields = request.headers().entries();
    fields.sort();
    lines.extend(
        fields.iter().map(|(name, value)| format!("field {name}: {}", String::from_utf8_lossy(value))),
    );
    lines.extend(std::env::vars().map(|(name, value)| format!("env {name}={value}")));
    lines.join("\n") + "\n"
}

/// Prints to both streams.
pub fn say(out: ResponseOutparam) {
    println!("to stdout");
    eprintln!("to stderr");
    text(out, "said\n");
}

/// Answers with any status, and a body.
pub fn status(out: ResponseOutparam, word: &str) {
    let status = word.parse().unwrap_or(500);
    let response = OutgoingResponse::new(Fields::new());
    if response.set_status_code(status).is_err() {
        return text(out, "refused\n");
    }
    let body = begin(out, status, &[("content-length", "5")]);
    write(&body, b"body\n");
    finish(body, None);
}

/// Writes this many MiB.
pub fn pour(out: ResponseOutparam, word: &str) {
    let body = begin(out, 200, &[]);
    let stream = body.write().expect("a stream");
    let piece = vec![b'x'; 4096];
    for _ in 0..word.parse().unwrap_or(1) * 256 {
        if stream.blocking_write_and_flush(&piece).is_err() {
            return;
        }
    }
    drop(stream);
    finish(body, None);
}

/// Makes fields until there is no room for more.
pub fn fill_fields() -> String {
    let fields = Fields::new();
    let value = [b'x'; 1000];
    let taken = (0..1000).take_while(|number| fields.append(&format!("x-{number}"), &value).is_ok()).count();
    format!("{taken}\n")
}

/// Tries what a response may not have.
pub fn forbidden() -> String {
    let fields = Fields::new();
    let tried = ["connection", "transfer-encoding", "upgrade", "host", "a b", "x-fine"];
    let said = tried.map(|name| format!("{name} {}\n", fields.append(name, b"x").is_ok()));
    let split = fields.append("x-split", b"a\r\nx-evil: b").is_ok();
    let twice =
        fields.append("content-length", b"1").is_ok() && fields.append("content-length", b"2").is_ok();
    said.concat() + &format!("split {split}\ntwice {twice}\n")
}

/// Asks another server.
pub fn fetch(authority: &str) -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some(authority)).expect("an authority");
    request.set_path_with_query(Some("/")).expect("a path");
    match outgoing_handler::handle(request, None) {
        Err(code) => format!("{code:?}\n"),
        Ok(response) => {
            response.subscribe().block();
            match response.get() {
                Some(Ok(Ok(response))) => format!("{}\n", response.status()),
                Some(Ok(Err(code))) => format!("{code:?}\n"),
                other => format!("{other:?}\n"),
            }
        }
    }
}

/// Answers after so many milliseconds.
pub fn sleep(out: ResponseOutparam, word: &str) {
    let time = Duration::from_millis(word.parse().unwrap_or(0));
    subscribe_duration(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).block();
    text(out, "slept\n");
}
