//! The request that a process is for.

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

/// A request. What is asked of it is read then; the rest is never read.
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

    /// Returns the method; `GET` where there is no request, as when run from a terminal.
    pub fn method(&self) -> &str {
        self.var("REQUEST_METHOD").filter(|method| !method.is_empty()).unwrap_or("GET")
    }

    /// Returns the whole path, decoded; `/` where there is no request.
    pub fn path(&self) -> &str {
        self.path.get_or_init(|| {
            let part = |name| self.var(name).unwrap_or_default();
            match [part("SCRIPT_NAME"), part("PATH_INFO")].concat() {
                path if path.is_empty() => "/".to_owned(),
                path => path,
            }
        })
    }

    /// Returns path and query as the client sent them, still encoded; the path where there is no
    /// request.
    pub fn uri(&self) -> &str {
        self.var("REQUEST_URI").filter(|uri| !uri.is_empty()).unwrap_or_else(|| self.path())
    }

    /// Returns what the route captured under this name, decoded: `who` of `/hello/{who}`.
    pub fn capture(&self, name: &str) -> Option<&str> {
        self.var(&variable("ROUTE_", name))
    }

    /// Goes through all captures. Their names are in lower case, with `_` for `-`: what is left of
    /// them in a variable's name.
    pub fn captures(&self) -> impl Iterator<Item = (&str, &str)> {
        let captures = self.captures.get_or_init(|| self.prefixed("ROUTE_", "_"));
        captures.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the value of the first parameter of this name in the query, decoded; empty: it has
    /// none.
    pub fn query(&self, name: &str) -> Option<String> {
        query::find(self.var("QUERY_STRING")?, name)
    }

    /// Reads the query as a type: its parameters are the fields.
    ///
    /// A field that is a list takes all values of its name, any other the first. An `Option` is `None` where the value is
    /// empty as well.
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
    /// 400 with the name of the field that is missing or cannot be read, or where there are more than 1000 pairs.
    #[cfg(feature = "serde")]
    pub fn query_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        let pairs = query::pairs(self.var("QUERY_STRING").unwrap_or_default());
        crate::pairs::read(pairs).map_err(Error::bad_request)
    }

    /// Returns all parameters of the query, decoded and in order.
    pub fn queries(&self) -> Vec<(String, String)> {
        query::pairs(self.var("QUERY_STRING").unwrap_or_default()).collect()
    }

    /// Returns the value of a header field, whose name is in any case of letters. One that the
    /// client sent more than once has its values joined with `, ` (`Cookie` with `; `).
    pub fn header(&self, name: &str) -> Option<&str> {
        // `X_A` would find what the client sent as `X-A`, and no client can send it as `X_A`.
        if name.contains('_') {
            return None;
        }
        self.var(&field_variable(name))
    }

    /// Returns the value of the first cookie of this name.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Goes through all cookies, in the order in which the client sent them.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        cookie::pairs(self.header("cookie").unwrap_or_default())
    }

    /// Goes through all header fields that the daemon passes on. Their names are in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.headers.get_or_init(|| {
            let own = ["content-type", "content-length"];
            let own =
                own.into_iter().filter_map(|name| Some((name.to_owned(), self.header(name)?.to_owned())));
            own.chain(self.prefixed("HTTP_", "-")).collect()
        });
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the address of the client, or of the proxy before it; empty on a Unix socket.
    pub fn remote_addr(&self) -> &str {
        self.var("REMOTE_ADDR").unwrap_or_default()
    }

    /// Returns the id of this request, under which the daemon's log has it; empty where there is
    /// no request.
    pub fn id(&self) -> &str {
        self.var("REQUEST_ID").unwrap_or_default()
    }

    /// Returns the path of the route as it was configured, `/hello/{who}`; empty where there is no
    /// request.
    pub fn route(&self) -> &str {
        self.var("X_MATCHED_ROUTE").unwrap_or_default()
    }

    /// Returns a variable: one that was configured for the handler, or any of CGI's.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name)
    }

    /// Returns the arguments: those configured for the handler, then the route's captures.
    pub fn args(&self) -> &[String] {
        self.args.get_or_init(|| {
            // The first is the name of the module.
            std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect()
        })
    }

    /// Lends the body, to be read in parts as it arrives.
    pub fn body(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Gives away the body, to be read in parts as it arrives.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Reads the rest of the body. The daemon bounds it (`limits.body`).
    ///
    /// # Errors
    /// The body broke off.
    pub fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads the rest of the body as text.
    ///
    /// # Errors
    /// 400 if it is not UTF-8; 500 if it broke off, which the client is not there to read.
    pub fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?).map_err(|_| Error::bad_request("the body is not UTF-8"))
    }

    /// Reads the rest of the body as JSON.
    ///
    /// # Errors
    /// 415 if the body is said to be something else, 400 if it is no JSON or not what `T` takes.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Error> {
        self.expect_type("application/json", |kind| kind == "application/json" || kind.ends_with("+json"))?;
        let bytes = self.bytes()?;
        serde_json::from_slice(&bytes).map_err(|error| Error::bad_request(format!("the body: {error}")))
    }

    /// Reads the rest of the body as a form: pairs of names and values, decoded and in order.
    ///
    /// # Errors
    /// 415 if the body is said to be something else, 400 if it is not UTF-8.
    pub fn form(&mut self) -> Result<Vec<(String, String)>, Error> {
        let wanted = "application/x-www-form-urlencoded";
        self.expect_type(wanted, |kind| kind == wanted)?;
        Ok(query::pairs(&self.text()?).collect())
    }

    /// Reads the rest of the body as a form, and that as a type, as [`query_as`](Request::query_as) does.
    ///
    /// # Errors
    /// Those of [`form`](Request::form) and of [`query_as`](Request::query_as).
    #[cfg(feature = "serde")]
    pub fn form_as<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Error> {
        crate::pairs::read(self.form()?.into_iter()).map_err(Error::bad_request)
    }

    /// Reads the rest of the body part by part as it comes: a form with files.
    ///
    /// # Errors
    /// 415 if the body is something else; 400 if its type names no boundary.
    pub fn multipart(&mut self) -> Result<Multipart<'_>, Error> {
        let kind = self.header("content-type").unwrap_or_default().to_owned();
        Multipart::new(&mut self.body, &kind)
    }

    /// Refuses a body that is said to be something else. One that says nothing may be anything.
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

/// Names the variable that a header field is passed on in (RFC 3875 §4.1.18).
fn field_variable(name: &str) -> String {
    let own = ["Content-Type", "Content-Length"].into_iter().any(|own| name.eq_ignore_ascii_case(own));
    variable(if own { "" } else { "HTTP_" }, name)
}

/// Names the variable for what has this name elsewhere.
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
