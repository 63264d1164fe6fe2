//! Sends a request to another server as a text describes it, and reports all that came back.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::wit_bindgen::rt::async_support::FutureReader;
use wasip3::{spawn_local, wit_future, wit_stream};

use crate::{End, all};

/// A description, whose parts are separated by blank lines. Only the first part is required.
struct Description<'a> {
    /// `METHOD AUTHORITY TARGET`, or `METHOD AUTHORITY` for a request without a target.
    line: Vec<&'a str>,
    /// The lines below it.
    fields: Fields,
    body: Option<&'a str>,
    /// Trailers, or an error for the word `abort`.
    end: End,
}

fn parse(text: &str) -> Description<'_> {
    let mut parts = text.splitn(3, "\n\n");
    let head = parts.next().unwrap_or_default();
    let (line, fields) = head.split_once('\n').unwrap_or((head, ""));
    let body = parts.next();
    let end = match parts.next() {
        None => Ok(None),
        Some("abort") => Err(ErrorCode::InternalError(None)),
        Some(trailers) => Ok(Some(parse_fields(trailers))),
    };
    Description { line: line.splitn(3, ' ').collect(), fields: parse_fields(fields), body, end }
}

fn parse_fields(text: &str) -> Fields {
    let fields = Fields::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        fields.append(name, value.as_bytes()).expect("a field");
    }
    fields
}

/// Sends the request. Reports whether it was transmitted, and the response.
pub async fn send(text: &str) -> String {
    let Description { line, fields, body, end } = parse(text);
    let (mut writer, contents) = wit_stream::new();
    let (ending, ended) = wit_future::new(|| Ok(None));
    let (request, sent) = Request::new(fields, body.map(|_| contents), ended, None);
    request.set_method(&Method::Other(line[0].to_owned())).expect("a method");
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some(line[1])).expect("an authority");
    request.set_path_with_query(line.get(2).copied()).expect("a target");
    let body = body.unwrap_or_default().as_bytes().to_vec();
    spawn_local(async move {
        writer.write_all(body).await;
        drop(writer);
        let _read = ending.write(end).await;
    });
    let report = match client::send(request).await {
        Ok(response) => receive(response).await,
        Err(code) => format!("failed {code:?}\n"),
    };
    format!("sent {:?}\n{report}", sent.await)
}

/// Reads a response. Reports its status, fields and trailers, and its body behind a blank line.
async fn receive(response: Response) -> String {
    let mut report = format!("status {}\n", response.get_status_code());
    report += &lines("field", &response.get_headers());
    let (processed, outcome) = wit_future::new(|| Ok(()));
    let (body, trailers): (_, FutureReader<End>) = Response::consume_body(response, outcome);
    drop(processed);
    let body = all(body).await;
    match trailers.await {
        Ok(Some(trailers)) => report += &lines("trailer", &trailers),
        Ok(None) => {}
        Err(code) => report += &format!("broken off {code:?}\n"),
    }
    format!("{report}\n{body}")
}

fn lines(kind: &str, fields: &Fields) -> String {
    let line =
        |(name, value): (String, Vec<u8>)| format!("{kind} {name}: {}\n", String::from_utf8_lossy(&value));
    fields.copy_all().into_iter().map(line).collect()
}
