//! A test handler for wasi:http 0.2: each path behaves in its own way.

mod bad;
mod good;
#[path = "../../src/marks.rs"]
mod marks;

use std::sync::atomic::{AtomicU32, Ordering};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

wasip2::http::proxy::export!(Proxy);

struct Proxy;

impl Guest for Proxy {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().trim_start_matches('/').to_owned();
        let (verb, word) = path.split_once('/').unwrap_or((&path, ""));
        match verb {
            "hello" => text(out, "hello\n"),
            "count" => text(out, &count()),
            "once" => once(out),
            "echo" => good::echo(&request, out),
            "mark" => {
                marks::make();
                good::echo(&request, out);
            }
            "marks" => text(out, &format!("{}\n", marks::count())),
            "facts" => text(out, &good::facts(&request)),
            "say" => good::say(out),
            "status" => good::status(out, word),
            "heavy" => good::heavy(out, word),
            "measured" => good::measured(out, word),
            "pour" => good::pour(out, word),
            "fields" => text(out, &good::fill_fields()),
            "keep-handles" => {
                (0..100).for_each(|_| std::mem::forget(Fields::new()));
                text(out, "kept\n");
            }
            "forbidden" => text(out, &good::forbidden()),
            "ask" => text(out, &good::ask(&request)),
            "call" => text(out, &good::call(word, &request)),
            "read" => text(out, &good::read(word)),
            "whole" => good::whole(&request, out),
            "outlive" => good::outlive(&request, out),
            "tmp" => text(out, &good::tmp(word)),
            "sleep" => good::sleep(out, word),
            "refuse" => ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("no".to_owned())))),
            "rant" => ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("Z".repeat(1_000_000))))),
            other => bad::handle(other, out),
        }
    }
}

/// The number of requests of this instance.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Responds to the first request of an instance only.
fn once(out: ResponseOutparam) {
    assert_eq!(COUNT.load(Ordering::Relaxed), 1, "asked twice");
    text(out, "once\n");
}

/// Returns the number of this request within its instance.
fn count() -> String {
    format!("{}\n", COUNT.load(Ordering::Relaxed))
}

/// Responds with a text.
fn text(out: ResponseOutparam, text: &str) {
    let body = begin(out, 200, &[("content-type", "text/plain")]);
    write(&body, text.as_bytes());
    finish(body, None);
}

/// Sends a head.
fn begin(out: ResponseOutparam, status: u16, fields: &[(&str, &str)]) -> OutgoingBody {
    let headers = Fields::new();
    for (name, value) in fields {
        headers.append(name, value.as_bytes()).expect("a field");
    }
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("a body");
    ResponseOutparam::set(out, Ok(response));
    body
}

/// Writes to a body until all is written or the reader has gone.
fn write(body: &OutgoingBody, bytes: &[u8]) {
    let Ok(stream) = body.write() else { return };
    for piece in bytes.chunks(4096) {
        if stream.blocking_write_and_flush(piece).is_err() {
            return;
        }
    }
}

fn finish(body: OutgoingBody, trailers: Option<Fields>) {
    let _finished = OutgoingBody::finish(body, trailers);
}

/// The target requires a `main`, which is never run.
fn main() {}
