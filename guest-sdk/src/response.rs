//! The response to a request, and conversions to it.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};

use crate::{Error, SetCookie};

/// The content type of plain text.
const TEXT: &str = "text/plain; charset=utf-8";

/// A response: status, header fields, body.
///
/// ```
/// use portcullis_guest::Response;
///
/// let response = Response::text("made\n").with_status(201).header("Location", "/notes/1");
/// assert_eq!(response.status(), 201);
/// assert_eq!(response.field("location"), Some("/notes/1"));
/// ```
///
/// An invalid response has, for instance, an invalid status or a line break in a header field. It
/// becomes a 500 with the reason on stderr, and later calls do not change that. A client's input in
/// a header field thus cannot add a second field.
pub struct Response {
    status: u16,
    fields: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    content: Content,
    complaint: Option<String>,
    spoilt: bool,
}

/// The body of a response.
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Stream(Stream),
    Reader(Box<dyn Read>),
}

type Stream = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()>>;

impl Response {
    /// Makes a response with an empty body. The status must be from 200 to 599.
    pub fn new(status: u16) -> Response {
        let content = Content::Bytes(Vec::new());
        let response = Response { status: 200, fields: Vec::new(), content, complaint: None, spoilt: false };
        response.with_status(status)
    }

    /// Makes a 200 with an empty body.
    pub fn ok() -> Response {
        Response::new(200)
    }

    /// Makes a 200 with a text as its body. Does not add a line break.
    pub fn text(text: impl Into<String>) -> Response {
        Response::known(TEXT, text.into().into_bytes())
    }

    /// Makes a 200 with an HTML page as its body. Does not escape anything.
    pub fn html(page: impl Into<String>) -> Response {
        Response::known("text/html; charset=utf-8", page.into().into_bytes())
    }

    /// Makes a 200 with a value in JSON and a line break. Makes a 500 if JSON cannot represent the
    /// value, such as a map whose keys are lists.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Response {
        match serde_json::to_vec(value) {
            // In a terminal, the prompt does not follow the value on its line.
            Ok(bytes) => Response::known("application/json", [&*bytes, b"\n"].concat()),
            Err(error) => Response::ok().spoil(format!("the response has no form in JSON: {error}")),
        }
    }

    /// Makes a 200 with these bytes.
    pub fn bytes(content_type: impl AsRef<str>, bytes: impl Into<Vec<u8>>) -> Response {
        Response::ok().with_content(Content::Bytes(bytes.into())).header("Content-Type", content_type)
    }

    /// Makes a 302: the resource is temporarily at `location`.
    pub fn redirect(location: impl AsRef<str>) -> Response {
        Response::new(302).header("Location", location)
    }

    /// Makes a 303: the request was carried out, and its result is at `location`.
    pub fn see_other(location: impl AsRef<str>) -> Response {
        Response::new(303).header("Location", location)
    }

    /// Makes a 204, which has no body.
    pub fn no_content() -> Response {
        Response::new(204)
    }

    /// Makes a 404 that says `not found`.
    pub fn not_found() -> Response {
        Response::text("not found\n").with_status(404)
    }

    /// Makes a 200 whose body is written while it is sent.
    ///
    /// The head is sent before `write` runs, and each of its writes at once; a `write!` is one
    /// write. An error cuts the response off, and the client learns that it is incomplete. A write
    /// fails when the client has gone: return that error.
    ///
    /// ```
    /// use portcullis_guest::Response;
    ///
    /// let response = Response::stream("text/csv", |out| {
    ///     for n in 1..=3 {
    ///         writeln!(out, "{n},{}", n * n)?;
    ///     }
    ///     Ok(())
    /// });
    /// assert_eq!(response.body_string(), "1,1\n2,4\n3,9\n");
    /// ```
    pub fn stream<F>(content_type: impl AsRef<str>, write: F) -> Response
    where
        F: FnOnce(&mut dyn Write) -> io::Result<()> + 'static,
    {
        Response::ok().with_content(Content::Stream(Box::new(write))).header("Content-Type", content_type)
    }

    /// Makes a 200 whose body is read while it is sent. Its `Content-Type` is
    /// `application/octet-stream` until another one is set.
    pub fn reader(reader: impl Read + 'static) -> Response {
        let response = Response::ok().with_content(Content::Reader(Box::new(reader)));
        response.put("Content-Type".into(), "application/octet-stream".into())
    }

    /// Changes the status. It must be from 200 to 599.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Response {
        if self.spoilt {
            return self;
        }
        if !(200..600).contains(&status) {
            return self.spoil(format!("{status} is no status to answer with: 200 to 599 are"));
        }
        self.status = status;
        self
    }

    /// Adds a header field. Fields with the same name are kept, except for `Content-Type`,
    /// `Content-Length` and `Location`, which are replaced.
    #[must_use]
    pub fn header(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Response {
        let (name, value) = (name.as_ref(), value.as_ref());
        if name.eq_ignore_ascii_case("status") {
            return self.spoil("a status is no header field: use with_status".to_owned());
        }
        if name.is_empty() || !name.bytes().all(is_token) {
            return self.spoil(format!("{name:?} is no name for a header field"));
        }
        if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
            return self.spoil(format!("{name}: {value:?} is no value for a header field"));
        }
        self.put(name.to_owned().into(), value.to_owned().into())
    }

    /// Returns the status: for tests.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the value of the first header field with this name, case-insensitively: for tests.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Iterates over the header fields in the order they were added.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// Returns the whole body, and runs a stream to its end: for tests.
    ///
    /// # Panics
    /// The stream or reader fails.
    pub fn into_bytes(self) -> Vec<u8> {
        match self.content {
            Content::Bytes(bytes) => bytes,
            content => {
                let mut bytes = Vec::new();
                content.send(&mut bytes).expect("the body is written to its end");
                bytes
            }
        }
    }

    /// Returns the whole body as text: for tests.
    ///
    /// # Panics
    /// The stream or reader fails, or the body is not UTF-8.
    pub fn body_string(self) -> String {
        String::from_utf8(self.into_bytes()).expect("the body is UTF-8")
    }

    /// Returns the message about this response for the log.
    pub(crate) fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    pub(crate) fn into_content(self) -> Content {
        self.content
    }

    fn known(content_type: &'static str, bytes: Vec<u8>) -> Response {
        Response::ok().with_content(Content::Bytes(bytes)).put("Content-Type".into(), content_type.into())
    }

    fn with_content(mut self, content: Content) -> Response {
        self.content = content;
        self
    }

    fn put(mut self, name: Cow<'static, str>, value: Cow<'static, str>) -> Response {
        if self.spoilt {
            return self;
        }
        // The daemon refuses a document with two of one of these.
        let single = ["content-type", "content-length", "location"];
        if single.iter().any(|single| name.eq_ignore_ascii_case(single)) {
            self.fields.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
        }
        self.fields.push((name, value));
        self
    }

    /// Sets or removes a cookie, in addition to earlier ones.
    #[must_use]
    pub fn cookie(self, cookie: SetCookie) -> Response {
        match cookie.field() {
            Ok(field) => self.put("Set-Cookie".into(), field.into()),
            Err(why) => self.spoil(why),
        }
    }

    /// Turns the response into a 500. The first reason is kept.
    fn spoil(self, why: String) -> Response {
        if self.spoilt { self } else { Response { spoilt: true, ..Error::internal(why).into_response() } }
    }
}

/// Returns `true` if a byte is allowed in the name of a header field (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}", self.status)?;
        for (name, value) in self.fields() {
            write!(f, ", {name}: {value:?}")?;
        }
        match &self.content {
            Content::Bytes(bytes) => write!(f, ", {:?})", String::from_utf8_lossy(bytes)),
            Content::Stream(_) | Content::Reader(_) => f.write_str(", a stream)"),
        }
    }
}

/// The return types of handlers.
pub trait IntoResponse {
    /// Converts the value into a response.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

/// A 200 with this text.
impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

/// A 200 with this text.
impl IntoResponse for String {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

/// A 200 with these bytes.
impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        Response::known("application/octet-stream", self)
    }
}

/// A 204.
impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::no_content()
    }
}

/// `None` is a 404.
impl<T: IntoResponse> IntoResponse for Option<T> {
    fn into_response(self) -> Response {
        self.map_or_else(Response::not_found, T::into_response)
    }
}

/// The same response with another status.
impl<T: IntoResponse> IntoResponse for (u16, T) {
    fn into_response(self) -> Response {
        self.1.into_response().with_status(self.0)
    }
}

impl<T: IntoResponse, E: Into<Error>> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        self.map_or_else(|error| error.into().into_response(), T::into_response)
    }
}

/// The message with a line break.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, message, cause) = self.into_parts();
        Response { complaint: cause, ..Response::text(message + "\n").with_status(status) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cannot_be_injected() {
        for (name, value) in
            [("X", "a\r\nSet-Cookie: b"), ("X\n", "a"), ("", "a"), ("X Y", "a"), ("X", "a\0"), ("é", "a")]
        {
            let response = Response::text("fine").header(name, value).with_status(201).header("X-Late", "y");

            assert_eq!(response.status(), 500, "{name:?}: {value:?}");
            assert_eq!(response.fields().count(), 1);
            assert!(response.complaint().is_some());
            assert_eq!(response.into_bytes(), b"internal error\n");
        }
    }

    #[test]
    fn a_status_that_is_none_is_a_500() {
        for status in [0, 100, 199, 600] {
            assert_eq!(Response::new(status).with_status(200).status(), 500, "{status}");
        }
        assert_eq!(Response::ok().header("Status", "204").status(), 500);
        assert_eq!([200, 599].map(|status| Response::new(status).status()), [200, 599]);
    }

    #[test]
    fn a_field_stands_beside_another_but_a_type_stands_alone() {
        let response = Response::text("").header("X-A", "1").header("x-a", "2").header("content-type", "a/b");

        let fields: Vec<_> = response.fields().collect();
        assert_eq!(fields, [("X-A", "1"), ("x-a", "2"), ("content-type", "a/b")]);
    }

    #[test]
    fn what_a_handler_returns_becomes_a_response() {
        let made = |response: Response| (response.status(), response.body_string());
        assert_eq!(made("a".into_response()), (200, "a".to_owned()));
        assert_eq!(made(().into_response()), (204, String::new()));
        assert_eq!(made(None::<String>.into_response()), (404, "not found\n".to_owned()));
        assert_eq!(made((418, "teapot").into_response()), (418, "teapot".to_owned()));
        assert_eq!(made(vec![b'a'].into_response()), (200, "a".to_owned()));
        let failed: Result<(), std::num::ParseIntError> = "x".parse::<u8>().map(|_| ());
        assert_eq!(made(failed.into_response()), (500, "internal error\n".to_owned()));
        let refused: Result<(), Error> = Err(Error::conflict("no"));
        assert_eq!(made(refused.into_response()), (409, "no\n".to_owned()));
    }

    #[test]
    fn a_redirect_says_where_to() {
        assert_eq!(Response::redirect("/a").field("Location"), Some("/a"));
        assert_eq!(Response::see_other(String::from("/b")).status(), 303);
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_ends_with_a_line_break_and_what_has_none_is_a_500() {
        let map = std::collections::HashMap::from([(vec![1], 2)]);
        assert_eq!(Response::json(&[1, 2]).into_bytes(), b"[1,2]\n");
        assert_eq!(Response::json(&map).status(), 500);
    }
}
