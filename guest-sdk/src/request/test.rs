//! Builds a request for tests.

use std::cell::OnceCell;
use std::ops::{Deref, DerefMut};

use super::{field_variable, route, variable};
use crate::vars::Vars;
use crate::{Body, Request, query};

/// A request that is being built: see [`Request::test`].
///
/// It can be used as a `&Request`. [`body`](TestRequest::body) or `.into()` converts it to a [`Request`].
#[derive(Debug)]
pub struct TestRequest(Request);

impl Request {
    /// Builds a request for tests. It does not use the environment and stdin of the process.
    ///
    /// ```
    /// use portcullis_guest::{Request, Response};
    ///
    /// fn shout(mut request: Request) -> Response {
    ///     Response::text(request.text().unwrap_or_default().to_uppercase())
    /// }
    ///
    /// let request = Request::test("POST", "/shout?loud").header("Content-Type", "text/plain").body("hey");
    /// assert_eq!(shout(request).body_string(), "HEY");
    /// assert_eq!(shout(Request::test("POST", "/shout").into()).body_string(), "");
    /// ```
    pub fn test(method: &str, target: &str) -> TestRequest {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let vars = [
            ("REQUEST_METHOD", method),
            ("SCRIPT_NAME", &query::decode_path(path)),
            ("PATH_INFO", ""),
            ("QUERY_STRING", query),
            ("REQUEST_URI", target),
            // RFC 5737: an address for examples.
            ("REMOTE_ADDR", "192.0.2.1"),
            ("REQUEST_ID", "0000000000000001"),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let request = Request::of(Vars::Given(vars), Body::from(Vec::new()));
        TestRequest(Request { args: OnceCell::from(Vec::new()), ..request })
    }
}

impl TestRequest {
    /// Adds a header field.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<str>) -> TestRequest {
        self.var(&field_variable(name), value)
    }

    /// Sets the route of the request, in the syntax of `path` in `[[route]]`. Its captures are set as well.
    ///
    /// ```
    /// use portcullis_guest::Request;
    ///
    /// let request = Request::test("GET", "/notes/7?raw").route("/notes/{id}").body("");
    /// assert_eq!((request.capture("id"), request.route()), (Some("7"), "/notes/{id}"));
    /// let request = Request::test("GET", "/files/a/b.txt").route("/files/{*rest}").body("");
    /// assert_eq!((request.capture("rest"), request.var("PATH_INFO")), (Some("a/b.txt"), Some("/a/b.txt")));
    /// ```
    ///
    /// # Panics
    /// The path of the request does not match the route, or the route is invalid.
    #[must_use]
    pub fn route(self, route: &str) -> TestRequest {
        let path = self.path().to_owned();
        let Some(found) = route::matched(route, &path) else {
            panic!("{path} does not go by the route {route}")
        };
        let (script, info) = found.tail.unwrap_or((&path, ""));
        let made = self.var("SCRIPT_NAME", script).var("PATH_INFO", info).var("X_MATCHED_ROUTE", route);
        found.captures.into_iter().fold(made, |made, (name, value)| made.capture(&name, value))
    }

    /// Adds a capture of the route, which is an argument as well.
    #[must_use]
    pub fn capture(self, name: &str, value: impl AsRef<str>) -> TestRequest {
        let with_arg = self.arg(value.as_ref());
        with_arg.var(&variable("ROUTE_", name), value)
    }

    /// Sets a variable, such as one of the handler's own or `REMOTE_ADDR`.
    #[must_use]
    pub fn var(mut self, name: &str, value: impl AsRef<str>) -> TestRequest {
        if let Vars::Given(vars) = &mut self.0.vars {
            vars.retain(|(known, _)| known != name);
            vars.push((name.to_owned(), value.as_ref().to_owned()));
        }
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> TestRequest {
        let mut args = self.0.args.take().unwrap_or_default();
        args.push(arg.to_owned());
        self.0.args = OnceCell::from(args);
        self
    }

    /// Sets the body and returns the request.
    pub fn body(self, bytes: impl Into<Vec<u8>>) -> Request {
        let bytes = bytes.into();
        let TestRequest(request) = self.var("CONTENT_LENGTH", bytes.len().to_string());
        Request { body: Body::from(bytes), ..request }
    }
}

impl From<TestRequest> for Request {
    fn from(made: TestRequest) -> Request {
        made.0
    }
}

impl Deref for TestRequest {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.0
    }
}

impl DerefMut for TestRequest {
    fn deref_mut(&mut self) -> &mut Request {
        &mut self.0
    }
}
