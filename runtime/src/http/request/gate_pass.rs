//! What the gates of a route tell the handler behind them, and the response.

use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::job::Env;

/// The prefix of the fields by which a gate tells something, and with `_` that of the variables.
const PREFIX: &str = "gate-";

/// What gates have told. Clients cannot forge any of it: their fields become variables with `HTTP_`, and their fields
/// that begin with `Portcullis-` are dropped.
#[derive(Default)]
pub(in crate::http) struct GatePass {
    /// The user that the last gate with a user has named.
    user: Option<String>,
    /// How it knows: the kind of a built-in gate in the words of RFC 3875 §4.1.1, or the name of a handler.
    auth_type: Option<String>,
    /// Facts by their name in lower case, such as `role`. A later gate replaces those of an earlier one.
    facts: Vec<(String, String)>,
    /// Cookies for the client.
    cookies: Vec<HeaderValue>,
}

impl GatePass {
    /// Notes a user and how it was authenticated.
    pub(in crate::http) fn name_user(&mut self, user: &str, auth_type: &str) {
        self.user = Some(user.to_owned());
        self.auth_type = Some(auth_type.to_owned());
    }

    /// Takes what a handler tells that lets the request pass: `Remote-User`, `Gate-NAME` and `Set-Cookie`. Values that
    /// are not UTF-8 are left out.
    pub(in crate::http) fn take(&mut self, gate: &str, told: &HeaderMap) {
        if let Some(user) = told.get("remote-user").and_then(text).filter(|user| !user.is_empty()) {
            self.name_user(user, gate);
        }
        for (name, value) in told {
            let Some((name, value)) = name.as_str().strip_prefix(PREFIX).zip(text(value)) else { continue };
            self.facts.retain(|(known, _)| known != name);
            self.facts.push((name.to_owned(), value.to_owned()));
        }
        self.cookies.extend(told.get_all(SET_COOKIE).iter().cloned());
    }

    /// Adds the variables of a program: `REMOTE_USER`, `AUTH_TYPE` and `GATE_NAME`.
    pub(super) fn variables(&self, env: &mut Env) {
        for (name, value) in [("REMOTE_USER", &self.user), ("AUTH_TYPE", &self.auth_type)] {
            if let Some(value) = value {
                // A field value holds no NUL.
                let _set = env.set(name, value.clone());
            }
        }
        for (name, value) in &self.facts {
            let _set = env.set(format!("GATE_{}", variable(name)), value.clone());
        }
    }

    /// Lists the fields of a component, without their prefix: `remote-user`, `auth-type` and `gate-NAME`.
    pub(super) fn fields(&self) -> impl Iterator<Item = (String, &str)> {
        let known = [("remote-user", &self.user), ("auth-type", &self.auth_type)];
        let known = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?)));
        known.chain(self.facts.iter().map(|(name, value)| (format!("{PREFIX}{name}"), value.as_str())))
    }

    /// Returns the user.
    pub(in crate::http) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns what gates have told, but for the cookies.
    pub(in crate::http) fn without_cookies(&self) -> GatePass {
        let GatePass { user, auth_type, facts, cookies: _ } = self;
        GatePass {
            user: user.clone(),
            auth_type: auth_type.clone(),
            facts: facts.clone(),
            cookies: Vec::new(),
        }
    }

    /// Returns the cookies for the client, which the response has whatever it is: a session that a gate has renewed must
    /// not be lost with a failure of the handler.
    pub(in crate::http) fn into_cookies(self) -> Vec<HeaderValue> {
        self.cookies
    }
}

/// Adds the cookies of gates to a response. It is for one client then, so shared caches must not keep it unless the
/// handler says what they may do (RFC 9111 §5.2.2.7).
pub(in crate::http) fn tell(cookies: &[HeaderValue], response: &mut HeaderMap) {
    for cookie in cookies {
        response.append(SET_COOKIE, cookie.clone());
    }
    if !cookies.is_empty() && !response.contains_key(CACHE_CONTROL) {
        response.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

/// Makes a name that shells can read.
fn variable(name: &str) -> String {
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_gate_that_tells_something_is_believed() {
        let mut pass = GatePass::default();
        pass.name_user("ada", "Basic");
        let mut told = HeaderMap::new();
        for (name, value) in
            [("gate-role", "admin"), ("gate-x.y", "1"), ("set-cookie", "s=1"), ("x-other", "no")]
        {
            told.insert(name, HeaderValue::from_static(value));
        }
        pass.take("first", &told);
        told.clear();
        told.insert("remote-user", HeaderValue::from_static("bob"));
        told.insert("gate-role", HeaderValue::from_static("none"));
        pass.take("second", &told);

        let mut env = Env::new();
        pass.variables(&mut env);
        let found: Vec<_> = ["REMOTE_USER", "AUTH_TYPE", "GATE_ROLE", "GATE_X_Y", "GATE_OTHER"]
            .map(|name| env.get(name).map(str::to_owned).unwrap_or_default())
            .into();
        assert_eq!(found, ["bob", "second", "none", "1", ""]);
        assert_eq!(pass.user(), Some("bob"));
        let cookies = pass.into_cookies();
        for (says, wanted) in [(None, "private"), (Some("no-store"), "no-store")] {
            let said = says.map(|says| (CACHE_CONTROL, HeaderValue::from_static(says)));
            let mut response = HeaderMap::from_iter(said);
            tell(&cookies, &mut response);
            assert_eq!(response[SET_COOKIE], cookies[0]);
            assert_eq!(response[CACHE_CONTROL], wanted);
        }
    }
}
