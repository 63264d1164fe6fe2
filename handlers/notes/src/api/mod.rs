//! The JSON API of the store: methods, statuses, entity tags.

use crate::listing::{self, Page};
use crate::store::{self, Change, Found, Note, Store};
use crate::version::Version;
use portcullis_guest::{Error, Request, Response};
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read};
use std::time::{SystemTime, UNIX_EPOCH};

/// The largest request body, in bytes: a text of maximum length with every character escaped.
const BODY: u64 = 512 * 1024;

/// The longest title, in characters.
const TITLE: usize = 200;

/// The longest text, in bytes.
const TEXT: usize = 64 * 1024;

/// How often a change without `If-Match` is retried when another change came first.
const TRIES: usize = 16;

/// A note as a client sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    title: String,
    #[serde(default)]
    text: String,
}

/// A note as a client receives it.
#[derive(Serialize)]
struct View<'a> {
    id: u64,
    #[serde(flatten)]
    note: &'a Note,
}

/// Answers one request.
///
/// # Errors
/// 4xx for a client's mistake, 503 for a note that others keep changing, 507 for a full store, 500 for a disk
/// error.
pub(crate) fn answer(request: Request, store: &Store) -> Result<Response, Error> {
    let method = request.method().to_owned();
    let Some(id) = request.capture("id").map(str::to_owned) else {
        return match method.as_str() {
            "GET" | "HEAD" => list(&request, store),
            "POST" => create(request, store),
            _ => Ok(not_allowed("GET, HEAD, POST")),
        };
    };
    // Only the canonical form of an id is accepted, so a note has one name.
    let Some(id) = id
        .parse::<u64>()
        .ok()
        .filter(|number| (1..=store::MOST).contains(number) && number.to_string() == id)
    else {
        return Ok(Response::not_found());
    };
    match method.as_str() {
        "GET" | "HEAD" => read(&request, store, id),
        "PUT" => update(request, store, id),
        "DELETE" => delete(&request, store, id),
        _ => Ok(not_allowed("DELETE, GET, HEAD, PUT")),
    }
}

fn list(request: &Request, store: &Store) -> Result<Response, Error> {
    let number = |name: &str, default: u64| match request.query(name) {
        None => Ok(default),
        Some(text) => text
            .parse::<u64>()
            .map_err(|_| Error::bad_request(format!("{name}: {text:?} is not a whole number"))),
    };
    let (after, limit) = (number("after", 0)?, number("limit", 20)?);
    if !(1..=listing::MOST).contains(&limit) {
        return Err(Error::bad_request(format!("limit: {limit} is not between 1 and {}", listing::MOST)));
    }
    Ok(Response::json(&Page::read(store, after, limit).map_err(failed)?))
}

fn create(request: Request, store: &Store) -> Result<Response, Error> {
    let place = request.path().trim_end_matches('/').to_owned();
    let draft = Draft::read(request)?;
    let now = now_ms();
    let note = Note { title: draft.title, text: draft.text, created_ms: now, updated_ms: now };
    match store.create(&note).map_err(failed)? {
        Some((id, version)) => {
            let response = shown(id, version, &note).with_status(201);
            Ok(response.header("Location", format!("{place}/{id}")))
        }
        None => Err(Error::new(507, format!("the store holds its {} notes", store::MOST))),
    }
}

fn read(request: &Request, store: &Store, id: u64) -> Result<Response, Error> {
    let Found::Note(version, note) = store.read(id).map_err(failed)? else {
        return Ok(Response::not_found());
    };
    // RFC 9110 §13.1.2: weak comparison, so the `W/` of a cache is ignored.
    let known = request.header("if-none-match").map(|tags| tags.replace("W/", ""));
    if known.is_some_and(|tags| version.is_named_by(&tags)) {
        return Ok(Response::new(304).header("ETag", version.etag()));
    }
    Ok(shown(id, version, &note))
}

fn update(request: Request, store: &Store, id: u64) -> Result<Response, Error> {
    let wanted = request.header("if-match").map(str::to_owned);
    let draft = Draft::read(request)?;
    for _ in 0..TRIES {
        let Some((from, old)) = current(store, id, wanted.as_deref())? else {
            return Ok(Response::not_found());
        };
        let note = Note {
            title: draft.title.clone(),
            text: draft.text.clone(),
            created_ms: old.created_ms,
            updated_ms: now_ms(),
        };
        if let (to, Change::Made) = store.replace(id, from, &note).map_err(failed)? {
            return Ok(shown(id, to, &note));
        }
    }
    Err(failed(store::busy()))
}

fn delete(request: &Request, store: &Store, id: u64) -> Result<Response, Error> {
    for _ in 0..TRIES {
        let Some((from, _)) = current(store, id, request.header("if-match"))? else {
            return Ok(Response::not_found());
        };
        if store.delete(id, from).map_err(failed)? == Change::Made {
            return Ok(Response::no_content());
        }
    }
    Err(failed(store::busy()))
}

/// Reads a note that is about to be changed. Returns 412 if its state is not in `wanted`. A change that lost a
/// race is retried from here: an `If-Match` with one tag then refuses it, while `*` or none lets it proceed.
fn current(store: &Store, id: u64, wanted: Option<&str>) -> Result<Option<(Version, Note)>, Error> {
    let Found::Note(version, note) = store.read(id).map_err(failed)? else { return Ok(None) };
    if wanted.is_some_and(|tags| !version.is_named_by(tags)) {
        return Err(Error::new(412, format!("the note is in state {version} by now")));
    }
    Ok(Some((version, note)))
}

impl Draft {
    fn read(request: Request) -> Result<Draft, Error> {
        let mut bytes = Vec::new();
        request.into_body().take(BODY + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > BODY {
            return Err(Error::new(413, format!("a body of more than {BODY} bytes")));
        }
        let draft: Draft = serde_json::from_slice(&bytes)
            .map_err(|error| Error::bad_request(format!("not a note: {error}")))?;
        let title = draft.title.chars().count();
        if !(1..=TITLE).contains(&title) {
            return Err(Error::new(422, format!("title: {title} characters, and 1 to {TITLE} are wanted")));
        }
        if draft.text.len() > TEXT {
            return Err(Error::new(
                422,
                format!("text: {} bytes, and at most {TEXT} are wanted", draft.text.len()),
            ));
        }
        Ok(draft)
    }
}

fn shown(id: u64, version: Version, note: &Note) -> Response {
    Response::json(&View { id, note }).header("ETag", version.etag())
}

fn not_allowed(methods: &str) -> Response {
    Response::text("method not allowed\n").with_status(405).header("Allow", methods)
}

/// Distinguishes a note that others keep changing, for which a client should retry, from a disk error.
fn failed(error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock => Error::new(503, error.to_string()),
        _ => error.into(),
    }
}

/// Returns the milliseconds since 1970; 0 if the clock is set to an earlier time.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
