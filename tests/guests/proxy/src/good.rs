//! Permitted behaviour of a wasi:http handler.

use std::time::Duration;

use portcullis_guest::job;
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, OutgoingRequest, OutgoingResponse, ResponseOutparam,
    Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

use crate::{begin, finish, text, write};

/// Sends the request's body back while it arrives, followed by its trailers, their names and its length.
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
            trailers.append("x-echo", name.as_bytes()).expect("a field");
        }
    }
    trailers.append("x-length", length.to_string().as_bytes()).expect("a field");
    finish(body, Some(trailers));
}

/// Prints all facts about a request and about this instance.
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

/// Writes to stdout and stderr.
pub fn say(out: ResponseOutparam) {
    println!("to stdout");
    eprintln!("to stderr");
    text(out, "said\n");
}

/// Responds with any status and a body.
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

/// Responds with any status, then writes more than a pipe holds.
pub fn heavy(out: ResponseOutparam, word: &str) {
    let body = begin(out, word.parse().unwrap_or(500), &[]);
    let stream = body.write().expect("a stream");
    for _ in 0..128 {
        stream.blocking_write_and_flush(&[b'x'; 4096]).expect("to be taken");
    }
    drop(stream);
    finish(body, None);
    eprintln!("all taken");
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

/// Makes fields until the limit is reached.
pub fn fill_fields() -> String {
    let fields = Fields::new();
    let value = [b'x'; 1000];
    let taken = (0..1000).take_while(|number| fields.append(&format!("x-{number}"), &value).is_ok()).count();
    format!("{taken}\n")
}

/// Tries fields that a response must not have.
pub fn forbidden() -> String {
    let fields = Fields::new();
    let tried = ["connection", "transfer-encoding", "upgrade", "host", "a b", "x-fine"];
    let said = tried.map(|name| format!("{name} {}\n", fields.append(name, b"x").is_ok()));
    let split = fields.append("x-split", b"a\r\nx-evil: b").is_ok();
    let twice =
        fields.append("content-length", b"1").is_ok() && fields.append("content-length", b"2").is_ok();
    said.concat() + &format!("split {split}\ntwice {twice}\n")
}

/// Reads the whole body of a request.
fn body(request: &IncomingRequest) -> String {
    let body = request.consume().expect("a body");
    let stream = body.stream().expect("a stream");
    let mut all = Vec::new();
    while let Ok(piece) = stream.blocking_read(65536) {
        all.extend(piece);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Requests the URLs in the body, one a line, and reports the outcome of each.
pub fn ask(request: &IncomingRequest) -> String {
    body(request).lines().map(|url| fetch(url).unwrap_or_else(|code| format!("{code:?}")) + "\n").collect()
}

/// Requests a URL.
fn fetch(url: &str) -> Result<String, ErrorCode> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    let said = |_| ErrorCode::HttpRequestUriInvalid;
    request.set_scheme(Some(&scheme)).map_err(said)?;
    request.set_authority(Some(authority)).map_err(said)?;
    request.set_path_with_query(Some(path)).map_err(said)?;
    let coming = outgoing_handler::handle(request, None)?;
    coming.subscribe().block();
    let response = coming.get().expect("an answer").expect("it was not taken")?;
    let body = response.consume().expect("a body");
    let stream = body.stream().expect("a stream");
    let mut text = format!("{} ", response.status());
    loop {
        match stream.blocking_read(65536) {
            Ok(piece) => text.push_str(&String::from_utf8_lossy(&piece)),
            Err(StreamError::Closed) => return Ok(text),
            Err(StreamError::LastOperationFailed(error)) => {
                return Ok(format!("{} and then {:?}", response.status(), http_error_code(&error)));
            }
        }
    }
}

/// Calls a job, `NAME/VERB/ARG`, with the request's body, and returns its output.
pub fn call(word: &str, request: &IncomingRequest) -> String {
    let mut words = word.split('/');
    let called = job(words.next().unwrap_or_default()).args(words);
    let body = body(request);
    let mut said = Vec::new();
    match called.stdin(body.as_bytes()).run_to(&mut said) {
        Ok(status) => format!("{}status {}\n", String::from_utf8_lossy(&said), status.code()),
        Err(error) => format!("{error:?}\n"),
    }
}

/// Reads a file of the mount /data.
pub fn read(name: &str) -> String {
    std::fs::read_to_string(format!("/data/{name}")).unwrap_or_else(|error| format!("{error}\n"))
}

/// Announces the length of its response, and puts away a file a moment after it.
pub fn whole(request: &IncomingRequest, out: ResponseOutparam) {
    let body = begin(out, 200, &[("content-length", "5")]);
    write(&body, b"hello");
    finish(body, None);
    subscribe_duration(5_000_000).block();
    put_away(request);
}

/// Begins its response, waits until the file `go` exists, and goes on with more than a pipe holds and a file.
pub fn outlive(request: &IncomingRequest, out: ResponseOutparam) {
    let body = begin(out, 200, &[]);
    let stream = body.write().expect("a stream");
    stream.blocking_write_and_flush(b"begun\n").expect("to be taken");
    while !std::path::Path::new("/data/go").exists() {
        subscribe_duration(5_000_000).block();
    }
    for _ in 0..64 {
        stream.blocking_write_and_flush(&[b'x'; 4096]).expect("to be taken");
    }
    drop(stream);
    finish(body, None);
    put_away(request);
}

/// Writes a file that is named after the request.
fn put_away(request: &IncomingRequest) {
    let id = request.headers().get("portcullis-request-id").concat();
    std::fs::write(format!("/data/{}", String::from_utf8_lossy(&id)), "put away").expect("a file");
}

/// Responds after this many milliseconds.
pub fn sleep(out: ResponseOutparam, word: &str) {
    let time = Duration::from_millis(word.parse().unwrap_or(0));
    subscribe_duration(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).block();
    text(out, "slept\n");
}

/// Responds with a length, a body that pauses for as many milliseconds as the path says, and trailers.
pub fn measured(out: ResponseOutparam, word: &str) {
    let body = begin(out, 200, &[("content-length", "5")]);
    let to = body.write().expect("a stream");
    to.blocking_write_and_flush(b"bo").expect("a reader");
    subscribe_duration(word.parse().unwrap_or(0) * 1_000_000).block();
    to.blocking_write_and_flush(b"dy\n").expect("a reader");
    drop(to);
    let trailers = Fields::new();
    trailers.append("x-sum", b"5").expect("a field");
    finish(body, Some(trailers));
}

/// Writes this many bytes to a file in its own directory. Reports what was there before, and the outcome.
pub fn tmp(word: &str) -> String {
    let place = std::path::PathBuf::from(std::env::var("TMPDIR").unwrap_or_default());
    let before = std::fs::read_dir(&place).map_or(usize::MAX, Iterator::count);
    let written = std::fs::write(place.join("file"), vec![b'x'; word.parse().unwrap_or(0)]);
    format!("{} {before} {:?}\n", place.display(), written.map_err(|error| error.kind()))
}
