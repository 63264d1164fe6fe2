//! The error type of handlers, with a message for the client or a cause for the log.

use std::fmt::{self, Write as _};
use std::panic::Location;

/// A failure: a status and a message for the client, or a cause for the log.
///
/// Any error can be converted with `?` and becomes a 500. The client learns only that. The cause goes to stderr,
/// which is the daemon's log, with the file and line of the `?`. A message for the client is given explicitly:
///
/// ```
/// use portcullis_guest::{Error, Request};
///
/// fn page(request: &Request) -> Result<u32, Error> {
///     let page = request.query("page").unwrap_or_default();
///     page.parse().map_err(|_| Error::bad_request(format!("page: {page:?} is not a number")))
/// }
///
/// let error = page(&Request::test("GET", "/?page=x")).unwrap_err();
/// assert_eq!((error.status(), error.to_string().as_str()), (400, "page: \"x\" is not a number"));
/// ```
// `Error` itself is no `std::error::Error`: `From<E: std::error::Error>` would then conflict with `From<T> for T`.
pub struct Error {
    status: u16,
    message: String,
    cause: Option<String>,
    /// The place in the handler where it was made, if it has a cause.
    place: Option<&'static Location<'static>>,
}

impl Error {
    /// Makes an error with a message for the client. A status outside 400 to 599 becomes 500.
    pub fn new(status: u16, message: impl Into<String>) -> Error {
        let status = if (400..600).contains(&status) { status } else { 500 };
        Error { status, message: message.into(), cause: None, place: None }
    }

    /// Makes a 500 whose cause appears only in the log, with the file and line of this call.
    #[track_caller]
    pub fn internal(cause: impl Into<String>) -> Error {
        let (message, place) = ("internal error".to_owned(), Some(Location::caller()));
        Error { status: 500, message, cause: Some(cause.into()), place }
    }

    /// Makes a 400: the request is invalid.
    pub fn bad_request(message: impl Into<String>) -> Error {
        Error::new(400, message)
    }

    /// Makes a 401: the client must authenticate. (A 401 should have a `WWW-Authenticate` field: see
    /// [`IntoResponse`](crate::IntoResponse) and [`Response::header`](crate::Response::header).)
    pub fn unauthorized(message: impl Into<String>) -> Error {
        Error::new(401, message)
    }

    /// Makes a 403: this client may not do that.
    pub fn forbidden(message: impl Into<String>) -> Error {
        Error::new(403, message)
    }

    /// Makes a 404: the resource does not exist.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(404, message)
    }

    /// Makes a 409: the request conflicts with the current state.
    pub fn conflict(message: impl Into<String>) -> Error {
        Error::new(409, message)
    }

    /// Makes a 415: the body has an unsupported type.
    pub fn unsupported_media_type(message: impl Into<String>) -> Error {
        Error::new(415, message)
    }

    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the message for the client, and the cause for the log.
    pub(crate) fn into_parts(self) -> (u16, String, Option<String>) {
        let told = self.cause.map(|cause| match self.place {
            Some(place) => format!("{cause}, at {}:{}", place.file(), place.line()),
            None => cause,
        });
        (self.status, self.message, told)
    }
}

/// Makes a 500. Its cause is the error with all its sources and the place of the `?` in the handler.
impl<E: std::error::Error> From<E> for Error {
    #[track_caller]
    fn from(error: E) -> Error {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(deeper) = source {
            // Writing to a string cannot fail.
            let _written = write!(cause, ": {deeper}");
            source = deeper.source();
        }
        Error::internal(cause)
    }
}

/// Shows the cause if there is one, since this text is for the log.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause.as_deref().unwrap_or(&self.message))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IntoResponse as _;

    #[test]
    fn a_foreign_error_is_told_to_the_log_alone() {
        fn fail() -> Result<(), Error> {
            Err(std::io::Error::other("secret"))?;
            Ok(())
        }
        let line = line!() - 3;
        let error = fail().unwrap_err();
        assert_eq!(format!("{error:?}"), "500: secret");

        let response = error.into_response();

        assert_eq!(response.complaint(), Some(format!("secret, at {}:{line}", file!()).as_str()));
        assert_eq!(response.status(), 500);
        assert_eq!(response.into_bytes(), b"internal error\n");
    }

    #[test]
    fn an_error_of_ours_is_told_to_the_client() {
        let response = Error::not_found("no such note").into_response();

        assert_eq!((response.status(), response.complaint()), (404, None));
        assert_eq!(response.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(response.into_bytes(), b"no such note\n");
    }

    #[test]
    fn an_error_is_never_a_success() {
        assert_eq!(
            [399, 400, 599, 600, 200].map(|status| Error::new(status, "").status()),
            [500, 400, 599, 500, 500]
        );
    }
}
