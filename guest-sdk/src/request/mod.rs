//! The request that a process answers.
//!
//! Floors, lowest first: `route`; the request in this file; `test`, which makes requests for tests.

mod route;
mod test;
#[cfg(test)]
mod tests;

pub use test::TestRequest;

use std::cell::OnceCell;
use std::fmt;
use std::io::{self, Read as _};

use crate::vars::{Known, Vars};
use crate::{Body, Error, Multipart, cookie, query};

/// A request. Its parts are read when they are asked for, and not before.
///
/// ```
/// use portcullis_guest::Request;
///
/// let request = Request::test("GET", "/search?q=two+words").header("Accept", "text/html");
/// assert_eq!((request.method(), request.path()), ("GET", "/search"));
/// assert_eq!(request.query("q").as_deref(), Some("two words"));
/// assert_eq!(Request::header(&request, "accept"), Some("text/html"));
/// ```
pub struct Request {
    vars: Vars,
    body: Body,
    args: OnceCell<Vec<String>>,
    path: OnceCell<String>,
    headers: OnceCell<Vec<(String, String)>>,
    captures: OnceCell<Vec<(String, String)>>,
}

impl Request {
    pub(crate) fn of_this_process() -> Request {
        Request::of(Vars::Process(Known::default()), Body::of_this_process())
    }

    fn of(vars: Vars, body: Body) -> Request {
        let (args, path) = (OnceCell::new(), OnceCell::new());
        Request { vars, body, args, path, headers: OnceCell::new(), captures: OnceCell::new() }
    }

    /// Returns the method. `GET` without a request, as when run from a terminal.
    pub fn method(&self) -> &str {
        self.var("REQUEST_METHOD").filter(|method| !method.is_empty()).unwrap_or("GET")
    }

    /// Returns the whole path, decoded. `/` without a request.
    pub fn path(&self) -> &str {
        self.path.get_or_init(|| {
            let part = |name| self.var(name).unwrap_or_default();
            match [part("SCRIPT_NAME"), part("PATH_INFO")].concat() {
                path if path.is_empty() => "/".to_owned(),
                path => path,
            }
        })
    }

    /// Returns path and query as the client sent them, still encoded. Returns the path without a request.
    pub fn uri(&self) -> &str {
        self.var("REQUEST_URI").filter(|uri| !uri.is_empty()).unwrap_or_else(|| self.path())
    }

    /// Returns what the route captured with this name, decoded: `who` of `/hello/{who}`.
    pub fn capture(&self, name: &str) -> Option<&str> {
        self.var(&variable("ROUTE_", name))
    }

    /// Iterates over all captures. Their names are in lower case, with `_` for `-`, because they come from names of
    /// variables.
    pub fn captures(&self) -> impl Iterator<Item = (&str, &str)> {
        let captures = self.captures.get_or_init(|| self.prefixed("ROUTE_", "_"));
        captures.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the value of the first query parameter with this name, decoded. Empty if it has no value.
    pub fn query(&self, name: &str) -> Option<String> {
        query::find(self.var("QUERY_STRING")?, name)
    }

    /// Deserializes the query into a type whose fields are the parameters.
    ///
    /// A list takes all values of its name, any other field the first value. An `Option` is `None` also if the value
    /// is empty.
    ///
    /// ```
    /// use portcullis_guest::Request;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Search {
    ///     q: String,
    ///     page: Option<u32>,
    /// }
    ///
    /// let search: Search = Request::test("GET", "/?q=two+words&page=3").query_as().unwrap();
    /// assert_eq!((search.q.as_str(), search.page), ("two words", Some(3)));
    /// let refused = Request::test("GET", "/?q=&page=x").query_as::<Search>().err().unwrap();
    /// assert_eq!(refused.status(), 400);
    /// assert_eq!(refused.to_string(), "page: wanted a whole number that is not negative, found \"x\"");
    /// ```
    ///
    /// # Errors
    /// 400 with the name of the field that is missing or invalid, or if there are more than 1000 pairs.
    #[cfg(feature = "serde")]
    pub fn query_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        let pairs = query::pairs(self.var("QUERY_STRING").unwrap_or_default());
        crate::pairs::read(pairs).map_err(Error::bad_request)
    }

    /// Returns all parameters of the query, decoded and in order.
    pub fn queries(&self) -> Vec<(String, String)> {
        query::pairs(self.var("QUERY_STRING").unwrap_or_default()).collect()
    }

    /// Returns the value of a header field. The name is case-insensitive. If the client sent the field more than
    /// once, the values are joined with `, ` (`Cookie` with `; `).
    pub fn header(&self, name: &str) -> Option<&str> {
        // `X_A` would find the field `X-A`, and no client can send a field `X_A`.
        if name.contains('_') {
            return None;
        }
        self.var(&field_variable(name))
    }

    /// Returns the value of the first cookie with this name.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Iterates over all cookies, in the order in which the client sent them.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        cookie::pairs(self.header("cookie").unwrap_or_default())
    }

    /// Iterates over all header fields that the daemon passes on. Their names are in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.headers.get_or_init(|| {
            let own = ["content-type", "content-length"];
            let own =
                own.into_iter().filter_map(|name| Some((name.to_owned(), self.header(name)?.to_owned())));
            own.chain(self.prefixed("HTTP_", "-")).collect()
        });
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the address of the client, or of the proxy in front of it. Empty on a Unix socket.
    pub fn remote_addr(&self) -> &str {
        self.var("REMOTE_ADDR").unwrap_or_default()
    }

    /// Returns the id of this request in the daemon's log. Empty without a request.
    pub fn id(&self) -> &str {
        self.var("REQUEST_ID").unwrap_or_default()
    }

    /// Returns the path of the route as it is configured, such as `/hello/{who}`. Empty without a request.
    pub fn route(&self) -> &str {
        self.var("X_MATCHED_ROUTE").unwrap_or_default()
    }

    /// Returns an environment variable: one configured for the handler, or one of CGI.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name)
    }

    /// Returns the arguments: those configured for the handler, then the route's captures.
    pub fn args(&self) -> &[String] {
        self.args.get_or_init(|| {
            // The first argument is the name of the module.
            std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect()
        })
    }

    /// Borrows the body, to read it as it arrives.
    pub fn body(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Returns the body, to read it as it arrives.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Reads the rest of the body. The daemon limits its size (`limits.body`).
    ///
    /// # Errors
    /// The body breaks off.
    pub fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads the rest of the body as text.
    ///
    /// # Errors
    /// 400 if it is not UTF-8; 500 if it broke off, when the client has gone anyway.
    pub fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?).map_err(|_| Error::bad_request("the body is not UTF-8"))
    }

    /// Reads the rest of the body as JSON.
    ///
    /// # Errors
    /// 415 if the body has another type; 400 if it is not JSON, or does not match `T`.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Error> {
        self.expect_type("application/json", |kind| kind == "application/json" || kind.ends_with("+json"))?;
        let bytes = self.bytes()?;
        serde_json::from_slice(&bytes).map_err(|error| Error::bad_request(format!("the body: {error}")))
    }

    /// Reads the rest of the body as a form: pairs of names and values, decoded and in order.
    ///
    /// # Errors
    /// 415 if the body has another type; 400 if it is not UTF-8.
    pub fn form(&mut self) -> Result<Vec<(String, String)>, Error> {
        let wanted = "application/x-www-form-urlencoded";
        self.expect_type(wanted, |kind| kind == wanted)?;
        Ok(query::pairs(&self.text()?).collect())
    }

    /// Reads the rest of the body as a form and deserializes it into a type, as [`query_as`](Request::query_as) does.
    ///
    /// # Errors
    /// Those of [`form`](Request::form) and of [`query_as`](Request::query_as).
    #[cfg(feature = "serde")]
    pub fn form_as<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Error> {
        crate::pairs::read(self.form()?.into_iter()).map_err(Error::bad_request)
    }

    /// Reads the rest of the body part by part as it arrives: a form with files.
    ///
    /// # Errors
    /// 415 if the body has another type; 400 if the type has no boundary.
    pub fn multipart(&mut self) -> Result<Multipart<'_>, Error> {
        let kind = self.header("content-type").unwrap_or_default().to_owned();
        Multipart::new(&mut self.body, &kind)
    }

    /// Refuses a body of another type. A body without a type is accepted.
    fn expect_type(&self, wanted: &str, is_it: impl Fn(&str) -> bool) -> Result<(), Error> {
        let Some(found) = self.header("content-type").filter(|found| !found.is_empty()) else {
            return Ok(());
        };
        let kind = found.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if is_it(&kind) {
            return Ok(());
        }
        Err(Error::unsupported_media_type(format!("the body is {found:?}, and {wanted} is wanted")))
    }

    fn prefixed(&self, prefix: &str, dash: &str) -> Vec<(String, String)> {
        let of = |(name, value): (String, String)| {
            Some((name.strip_prefix(prefix)?.to_ascii_lowercase().replace('_', dash), value))
        };
        self.vars.all().into_iter().filter_map(of).collect()
    }
}

/// Returns the name of the variable for a header field (RFC 3875 §4.1.18).
fn field_variable(name: &str) -> String {
    let own = ["Content-Type", "Content-Length"].into_iter().any(|own| name.eq_ignore_ascii_case(own));
    variable(if own { "" } else { "HTTP_" }, name)
}

/// Converts a name into the name of a variable.
fn variable(prefix: &str, name: &str) -> String {
    let mut variable = String::with_capacity(prefix.len() + name.len());
    variable.push_str(prefix);
    variable.extend(name.chars().map(|char| if char == '-' { '_' } else { char.to_ascii_uppercase() }));
    variable
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.method(), self.uri())
    }
}
