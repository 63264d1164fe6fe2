//! The JSON API of the notes: methods, statuses, entity tags.

use crate::listing::{self, Page};
use crate::store::{self, Note};
use portcullis_guest::sql::{Database, SqlError, SqlErrorKind, Transaction};
use portcullis_guest::{Error, Request, Response};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

/// The largest request body, in bytes: a text of maximum length with every character escaped.
const BODY: u64 = 512 * 1024;

/// The longest title, in characters.
const TITLE: usize = 200;

/// The longest text, in bytes.
const TEXT: usize = 64 * 1024;

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
    id: i64,
    title: &'a str,
    text: &'a str,
    created_ms: i64,
    updated_ms: i64,
}

/// Answers one request.
///
/// # Errors
/// 4xx for a client's mistake, 503 for a note that others keep changing, 507 for a full database, 500 for a database
/// that cannot be used.
pub(crate) fn answer(request: Request) -> Result<Response, Error> {
    let notes = store::open()?;
    let method = request.method().to_owned();
    let Some(id) = request.capture("id").map(str::to_owned) else {
        return match method.as_str() {
            "GET" | "HEAD" => list(&request, &notes),
            "POST" => create(request, &notes),
            _ => Ok(not_allowed("GET, HEAD, POST")),
        };
    };
    // Only the canonical form of an id is accepted, so a note has one name.
    let Some(id) = id
        .parse::<i64>()
        .ok()
        .filter(|number| (1..=store::MOST).contains(number) && number.to_string() == id)
    else {
        return Ok(Response::not_found());
    };
    match method.as_str() {
        "GET" | "HEAD" => read(&request, &notes, id),
        "PUT" => update(request, &notes, id),
        "DELETE" => delete(&request, &notes, id),
        _ => Ok(not_allowed("DELETE, GET, HEAD, PUT")),
    }
}

fn list(request: &Request, notes: &Database) -> Result<Response, Error> {
    let number = |name: &str, default: i64| match request.query(name) {
        None => Ok(default),
        // A number beyond all ids is one.
        Some(text) => match text.parse::<u64>() {
            Ok(number) => Ok(i64::try_from(number).unwrap_or(i64::MAX)),
            Err(_) => Err(Error::bad_request(format!("{name}: {text:?} is not a whole number"))),
        },
    };
    let (after, limit) = (number("after", 0)?, number("limit", 20)?);
    if !(1..=listing::MOST).contains(&limit) {
        return Err(Error::bad_request(format!("limit: {limit} is not between 1 and {}", listing::MOST)));
    }
    Ok(Response::json(&Page::read(notes, after, limit)?))
}

fn create(request: Request, notes: &Database) -> Result<Response, Error> {
    let place = request.path().trim_end_matches('/').to_owned();
    let draft = Draft::read(request)?;
    match store::create(notes, &draft.title, &draft.text, now_ms()) {
        Ok(Some(note)) => {
            let response = shown(&note).with_status(201);
            Ok(response.header("Location", format!("{place}/{}", note.id)))
        }
        Ok(None) => Err(Error::new(507, format!("there are {} notes already", store::MOST))),
        Err(error) => Err(failed(error)),
    }
}

fn read(request: &Request, notes: &Database, id: i64) -> Result<Response, Error> {
    let Some(note) = store::find(notes, id)? else { return Ok(Response::not_found()) };
    // RFC 9110 §13.1.2: weak comparison, so the `W/` of a cache is ignored.
    let known = request.header("if-none-match").map(|tags| tags.replace("W/", ""));
    if known.is_some_and(|tags| note.is_named_by(&tags)) {
        return Ok(Response::new(304).header("ETag", note.etag()));
    }
    Ok(shown(&note))
}

fn update(request: Request, notes: &Database, id: i64) -> Result<Response, Error> {
    let wanted = request.header("if-match").map(str::to_owned);
    let draft = Draft::read(request)?;
    change(notes, id, wanted.as_deref(), |t, mut note| {
        note.version += 1;
        note.title.clone_from(&draft.title);
        note.text.clone_from(&draft.text);
        note.updated_ms = now_ms();
        store::replace(t, &note)?;
        Ok(shown(&note))
    })
}

fn delete(request: &Request, notes: &Database, id: i64) -> Result<Response, Error> {
    change(notes, id, request.header("if-match"), |t, note| {
        store::delete(t, note.id)?;
        Ok(Response::no_content())
    })
}

/// Why a change was not made.
enum Unmade {
    /// The note has another state than wanted. This is the tag of that state.
    Late(String),
    Failed(SqlError),
}

impl From<SqlError> for Unmade {
    fn from(error: SqlError) -> Unmade {
        Unmade::Failed(error)
    }
}

/// Changes a note in a transaction. Returns 412 if its state is not in `wanted`, and 404 if there is no such note.
fn change(
    notes: &Database,
    id: i64,
    wanted: Option<&str>,
    make: impl Fn(&Transaction<'_>, Note) -> Result<Response, SqlError>,
) -> Result<Response, Error> {
    let outcome = notes.transaction(|t| {
        let Some(note) = store::find_in(t, id)? else { return Ok(Response::not_found()) };
        if wanted.is_some_and(|tags| !note.is_named_by(tags)) {
            return Err(Unmade::Late(note.etag()));
        }
        Ok(make(t, note)?)
    });
    outcome.map_err(|unmade| match unmade {
        Unmade::Late(state) => Error::new(412, format!("the note is in state {state} by now")),
        Unmade::Failed(error) => failed(error),
    })
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
        // SQLite keeps it, and PostgreSQL does not.
        if draft.title.contains('\0') || draft.text.contains('\0') {
            return Err(Error::new(422, "title, text: there is a NUL, and none is wanted"));
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

fn shown(note: &Note) -> Response {
    let Note { id, title, text, created_ms, updated_ms, .. } = note;
    let view = View { id: *id, title, text, created_ms: *created_ms, updated_ms: *updated_ms };
    Response::json(&view).header("ETag", note.etag())
}

fn not_allowed(methods: &str) -> Response {
    Response::text("method not allowed\n").with_status(405).header("Allow", methods)
}

/// Tells apart what a client should try again, and what it should not.
fn failed(error: SqlError) -> Error {
    match error.kind() {
        SqlErrorKind::Conflict | SqlErrorKind::Timeout => Error::new(503, "others were faster: try again"),
        SqlErrorKind::QuotaExceeded => Error::new(507, "no room for more notes"),
        _ => error.into(),
    }
}

/// Returns the milliseconds since 1970; 0 if the clock is set to an earlier time.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
