//! A test handler for wasi:http 0.3: each path behaves in its own way.

mod bad;
#[path = "../../src/marks.rs"]
mod marks;
mod send;

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_guest::job;
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::exports::http::handler::Guest;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_bindgen::rt::async_support::{FutureReader, StreamReader, StreamResult, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

wasip3::http::service::export!(Service);

struct Service;

type Answer = Result<Response, ErrorCode>;

/// The trailers after a body.
type End = Result<Option<Fields>, ErrorCode>;

impl Guest for Service {
    async fn handle(request: Request) -> Answer {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let target = request.get_path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().trim_start_matches('/').to_owned();
        let (verb, word) = path.split_once('/').unwrap_or((&path, ""));
        match verb {
            "hello" => text("hello\n"),
            "echo" => echo(request),
            "mark" => {
                marks::make();
                echo(request)
            }
            "marks" => text(&format!("{}\n", marks::count())),
            "pass" => pass(request),
            "facts" => text(&facts(&request)),
            "say" => {
                println!("to stdout");
                eprintln!("to stderr");
                text("said\n")
            }
            "status" => status(word),
            "heavy" => heavy(word),
            "measured" => measured(word),
            "pour" => pour(word),
            "count" => text(&format!("{}\n", COUNT.load(Ordering::Relaxed))),
            "ask" => text(&ask(&body(request).await).await),
            "send" => text(&send::send(&body(request).await).await),
            "call" => text(&call(word, &body(request).await)),
            "read" => text(&read(word)),
            "whole" => whole(&request),
            "outlive" => outlive(&request),
            "sleep" => {
                wait_for(word.parse().unwrap_or(0) * 1_000_000).await;
                text("slept\n")
            }
            "refuse" => Err(ErrorCode::InternalError(Some("no".to_owned()))),
            other => bad::handle(other).await,
        }
    }
}

/// Makes a response whose body is written after the head. `write` also returns the trailers.
fn answer<F>(fields: &[(&str, &str)], write: impl FnOnce(StreamWriter<u8>) -> F + 'static) -> Answer
where
    F: Future<Output = End> + 'static,
{
    let headers = Fields::new();
    for (name, value) in fields {
        headers.append(name, value.as_bytes()).expect("a field");
    }
    let (writer, contents) = wit_stream::new();
    let (end, ended) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(contents), ended);
    spawn_local(async move {
        let said = write(writer).await;
        let _read = end.write(said).await;
    });
    Ok(response)
}

/// Responds with a text.
fn text(text: &str) -> Answer {
    let text = text.as_bytes().to_vec();
    answer(&[("content-type", "text/plain")], move |mut body| async move {
        body.write_all(text).await;
        Ok(None)
    })
}

/// Responds with any status and a body.
fn status(word: &str) -> Answer {
    let response = answer(&[("content-length", "5")], |mut body| async move {
        body.write_all(b"body\n".to_vec()).await;
        Ok(None)
    })?;
    match response.set_status_code(word.parse().unwrap_or(500)) {
        Ok(()) => Ok(response),
        Err(()) => text("refused\n"),
    }
}

/// Responds with any status, then writes more than a pipe holds.
fn heavy(word: &str) -> Answer {
    let response = answer(&[], |mut body| async move {
        for _ in 0..8 {
            assert!(body.write_all(vec![b'x'; 65536]).await.is_empty(), "not taken");
        }
        eprintln!("all taken");
        Ok(None)
    })?;
    response.set_status_code(word.parse().unwrap_or(500)).expect("a status");
    Ok(response)
}

/// Responds with a length, a body that pauses for as many milliseconds as the path says, and trailers.
fn measured(word: &str) -> Answer {
    let pause = word.parse().unwrap_or(0) * 1_000_000;
    answer(&[("content-length", "5")], move |mut body| async move {
        body.write_all(b"bo".to_vec()).await;
        wait_for(pause).await;
        body.write_all(b"dy\n".to_vec()).await;
        let trailers = Fields::new();
        trailers.append("x-sum", b"5").expect("a field");
        Ok(Some(trailers))
    })
}

/// Sends the request's body back while it arrives, followed by its trailers, their names and its length.
fn echo(request: Request) -> Answer {
    let (processed, outcome) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Request::consume_body(request, outcome);
    drop(processed);
    answer(&[("trailer", "x-length, x-echo, x-sum")], |mut to| async move {
        let mut length = 0;
        loop {
            let (result, bytes) = body.read(Vec::with_capacity(16384)).await;
            length += bytes.len();
            if !to.write_all(bytes).await.is_empty() || result == StreamResult::Dropped {
                break;
            }
        }
        let given = trailers.await?;
        let trailers = Fields::new();
        for (name, value) in given.map(|given| given.copy_all()).unwrap_or_default() {
            trailers.append(&name, &value).expect("a field");
            trailers.append("x-echo", name.as_bytes()).expect("a field");
        }
        trailers.append("x-length", length.to_string().as_bytes()).expect("a field");
        Ok(Some(trailers))
    })
}

/// Passes the request's body on as the response's body, and ends.
fn pass(request: Request) -> Answer {
    let (processed, outcome) = wit_future::new(|| Ok(()));
    let (body, trailers): (_, FutureReader<End>) = Request::consume_body(request, outcome);
    drop(processed);
    let (response, _sent) = Response::new(Fields::new(), Some(body), trailers);
    Ok(response)
}

/// Prints all facts about a request and about this instance.
fn facts(request: &Request) -> String {
    let mut lines = vec![
        format!("method {:?}", request.get_method()),
        format!("scheme {:?}", request.get_scheme()),
        format!("authority {:?}", request.get_authority()),
        format!("target {:?}", request.get_path_with_query()),
        format!("args {:?}", std::env::args().collect::<Vec<_>>()),
    ];
    let mut fields = request.get_headers().copy_all();
    fields.sort();
    lines.extend(
        fields.iter().map(|(name, value)| format!("field {name}: {}", String::from_utf8_lossy(value))),
    );
    lines.extend(std::env::vars().map(|(name, value)| format!("env {name}={value}")));
    lines.join("\n") + "\n"
}

/// Writes this many MiB.
fn pour(word: &str) -> Answer {
    let most: usize = word.parse().unwrap_or(1);
    answer(&[], move |mut body| async move {
        for _ in 0..most * 16 {
            if !body.write_all(vec![b'x'; 65536]).await.is_empty() {
                break;
            }
        }
        Ok(None)
    })
}

/// The number of requests of this instance.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Reads a whole body.
async fn all(mut body: StreamReader<u8>) -> String {
    let mut all = Vec::new();
    loop {
        let (result, bytes) = body.read(Vec::with_capacity(16384)).await;
        all.extend(bytes);
        if result == StreamResult::Dropped {
            return String::from_utf8_lossy(&all).into_owned();
        }
    }
}

/// Reads the whole body of a request.
async fn body(request: Request) -> String {
    let (processed, outcome) = wit_future::new(|| Ok(()));
    let (body, _trailers) = Request::consume_body(request, outcome);
    drop(processed);
    all(body).await
}

/// Requests the URLs, one a line, and reports the outcome of each.
async fn ask(urls: &str) -> String {
    let mut said = String::new();
    for url in urls.lines() {
        said += &fetch(url).await.unwrap_or_else(|code| format!("{code:?}"));
        said.push('\n');
    }
    said
}

/// Requests a URL.
async fn fetch(url: &str) -> Result<String, ErrorCode> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (end, ended) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, ended, None);
    drop(end);
    let said = |()| ErrorCode::HttpRequestUriInvalid;
    request.set_scheme(Some(&scheme)).map_err(said)?;
    request.set_authority(Some(authority)).map_err(said)?;
    request.set_path_with_query(Some(path)).map_err(said)?;
    let response = client::send(request).await?;
    let status = response.get_status_code();
    let (processed, outcome) = wit_future::new(|| Ok(()));
    let (body, trailers): (_, FutureReader<End>) = Response::consume_body(response, outcome);
    drop(processed);
    let text = all(body).await;
    Ok(match trailers.await {
        Ok(_) => format!("{status} {text}"),
        Err(code) => format!("{status} and then {code:?}"),
    })
}

/// Calls a job, `NAME/VERB/ARG`, with a body, and returns its output.
fn call(word: &str, body: &str) -> String {
    let mut words = word.split('/');
    let called = job(words.next().unwrap_or_default()).args(words);
    let mut said = Vec::new();
    match called.stdin(body.as_bytes()).run_to(&mut said) {
        Ok(status) => format!("{}status {}\n", String::from_utf8_lossy(&said), status.code()),
        Err(error) => format!("{error:?}\n"),
    }
}

/// Reads a file of the mount /data.
fn read(name: &str) -> String {
    std::fs::read_to_string(format!("/data/{name}")).unwrap_or_else(|error| format!("{error}\n"))
}

/// Announces the length of its response, and puts away a file a moment after it.
fn whole(request: &Request) -> Answer {
    let place = place(request);
    answer(&[("content-length", "5")], move |mut body| async move {
        body.write_all(b"hello".to_vec()).await;
        drop(body);
        wait_for(5_000_000).await;
        std::fs::write(place, "put away").expect("a file");
        Ok(None)
    })
}

/// Begins its response, waits until the file `go` exists, and goes on with more than a pipe holds and a file.
fn outlive(request: &Request) -> Answer {
    let place = place(request);
    answer(&[], move |mut body| async move {
        body.write_all(b"begun\n".to_vec()).await;
        while !std::path::Path::new("/data/go").exists() {
            wait_for(5_000_000).await;
        }
        assert!(body.write_all(vec![b'x'; 256 << 10]).await.is_empty(), "not taken");
        drop(body);
        std::fs::write(place, "put away").expect("a file");
        Ok(None)
    })
}

/// Returns the path of a file that is named after the request.
fn place(request: &Request) -> String {
    let id = request.get_headers().get("portcullis-request-id").concat();
    format!("/data/{}", String::from_utf8_lossy(&id))
}

/// The target requires a `main`, which is never run.
fn main() {}
