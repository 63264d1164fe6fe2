//! A login page with sessions, and the gate that asks for one.
//!
//! ```text
//! GET  /login?return=/x   the page, with status 401
//! POST /login             user, password, return -> 303 with the session as a cookie
//! POST /logout            303, and the cookie is removed
//! elsewhere               as a gate, `before = ["login"]`: passes a session on, sends a browser to /login
//! ```
//!
//! Only a valid session is answered with a status of 2xx, which a gate takes for a pass. So the page cannot let anybody
//! through, whatever the route that it guards is called.
//!
//! Variables: `SESSION_KEY`, a secret of 32 characters at least; `USERS`, pairs `NAME:$argon2id$...` with blanks between
//! them; `SESSION_SECONDS`, how long a session lasts. Sessions are kept nowhere: the cookie is signed. A new key ends all
//! of them, and a new password those of its user.

mod origin;
mod page;
mod return_path;
mod session;
mod users;

use portcullis_guest::{Error, Request, Response, SameSite, SetCookie, serve};
use session::Sessions;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use users::Users;

/// How long a session lasts if `SESSION_SECONDS` is not set.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// The longest body of a form, in bytes.
const FORM: usize = 8 << 10;

/// The settings of this handler.
struct Login {
    users: Users,
    sessions: Sessions,
}

fn main() -> ExitCode {
    serve(|request| answer(request, SystemTime::now()))
}

fn answer(request: Request, now: SystemTime) -> Result<Response, Error> {
    let login = Login::of(&request)?;
    let answered = match (request.method(), request.route()) {
        ("GET" | "HEAD", "/login") => login.show(&request, now),
        ("POST", "/login") => login.enter(request, now)?,
        ("POST", "/logout") => leave(&request)?,
        (_, "/login") => {
            Response::text("method not allowed\n").with_status(405).header("Allow", "GET, HEAD, POST")
        }
        (_, "/logout") => Response::text("method not allowed\n").with_status(405).header("Allow", "POST"),
        _ => login.guard(&request, now),
    };
    Ok(answered.header("Cache-Control", "no-store"))
}

impl Login {
    /// Reads the variables.
    fn of(request: &Request) -> Result<Login, Error> {
        let unset = |what: &str| {
            Error::new(503, format!("nobody can log in: {what}; see [handler.login] in portcullis.toml"))
        };
        let key = request.var("SESSION_KEY").unwrap_or_default().trim();
        let lifetime = match request.var("SESSION_SECONDS") {
            None => LIFETIME,
            Some(seconds) => Duration::from_secs(
                seconds.parse().map_err(|_| unset("SESSION_SECONDS is not a number of seconds"))?,
            ),
        };
        let sessions =
            Sessions::new(key, lifetime).ok_or_else(|| unset("SESSION_KEY needs 32 characters at least"))?;
        let users = Users::read(request.var("USERS").unwrap_or_default()).map_err(|why| unset(&why))?;
        Ok(Login { users, sessions })
    }

    /// Passes a request with a session on. Others are sent to the page, or refused if they are no pages themselves.
    fn guard(&self, request: &Request, now: SystemTime) -> Response {
        if let Some(user) = self.user(request, now) {
            return Response::no_content().header("Remote-User", user);
        }
        let wants_page = request.header("accept").is_some_and(|accept| accept.contains("text/html"));
        if wants_page && matches!(request.method(), "GET" | "HEAD") {
            let query = return_path::encode(return_path::safe(request.uri()));
            return Response::see_other(format!("/login?return={query}"));
        }
        refused("log in at /login\n")
    }

    /// Shows the page, or goes on if there is a session already.
    fn show(&self, request: &Request, now: SystemTime) -> Response {
        let to = request.query("return").unwrap_or_default();
        let to = return_path::safe(&to);
        match self.user(request, now) {
            Some(_) => Response::see_other(to),
            None => page::login(to, page::Notice::None),
        }
    }

    /// Checks user and password, and begins a session.
    fn enter(&self, mut request: Request, now: SystemTime) -> Result<Response, Error> {
        origin::check(&request)?;
        let length = request.header("content-length").and_then(|length| length.parse::<usize>().ok());
        if length.is_none_or(|length| length > FORM) {
            return Err(Error::new(413, "the form is too large"));
        }
        let form = request.form()?;
        let field =
            |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let to = return_path::safe(field("return").unwrap_or_default());
        let (user, password) = (field("user").unwrap_or_default(), field("password").unwrap_or_default());
        let Some(hash) = self.users.verify(user, password) else {
            // The same for an unknown user.
            return Ok(page::login(to, page::Notice::WrongPassword));
        };
        let value = self.sessions.begin(user, hash, now);
        let cookie = cookie(SetCookie::new(cookie_name(&request), value), &request);
        Ok(Response::see_other(to).cookie(cookie.max_age(self.sessions.lifetime())))
    }

    /// Returns the user of the session, if there is one.
    fn user(&self, request: &Request, now: SystemTime) -> Option<String> {
        let value = request.cookie(cookie_name(request))?;
        self.sessions.user(value, &self.users, now)
    }
}

/// Ends the session of this browser.
fn leave(request: &Request) -> Result<Response, Error> {
    origin::check(request)?;
    let removed = cookie(SetCookie::removed(cookie_name(request)), request);
    Ok(Response::see_other("/login").cookie(removed))
}

/// Makes a 401, which never passes a gate.
fn refused(text: &str) -> Response {
    Response::text(text).with_status(401).header("WWW-Authenticate", "Session")
}

/// Returns the name of the cookie. Over TLS, browsers take a cookie of this name from this host alone, and over TLS alone
/// (RFC 6265bis §4.1.3.2).
fn cookie_name(request: &Request) -> &'static str {
    if is_secure(request) { "__Host-session" } else { "session" }
}

fn cookie(cookie: SetCookie, request: &Request) -> SetCookie {
    let cookie = cookie.same_site(SameSite::Lax);
    if is_secure(request) { cookie.secure() } else { cookie }
}

fn is_secure(request: &Request) -> bool {
    request.var("HTTPS") == Some("on")
}

#[cfg(test)]
mod tests;
