//! What the gates of a route tell the handler behind them, and the response.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::reserved_fields::are_twins;
use crate::catalog::FieldChanges;
use crate::cgi::document;
use crate::job::Env;

/// The prefix of the fields by which a gate tells the handler something, and with `_` that of the variables.
const PREFIX: &str = "gate-";

/// The prefix of the fields by which a gate sets those of the response.
const RESPONSE_PREFIX: &str = "response-";

/// Lists the fields of the client that the handler does not see.
const REMOVE: HeaderName = HeaderName::from_static("remove-fields");

/// Lists the fields of the handler that the client does not see.
const REMOVE_FROM_RESPONSE: HeaderName = HeaderName::from_static("remove-response-fields");

/// What gates have told. Clients cannot forge any of it: their fields become variables with `HTTP_`, and their fields
/// that begin with `Portcullis-` are dropped.
#[derive(Default)]
pub(in crate::http) struct GatePass {
    /// The user that the last gate with a user has named.
    user: Option<Arc<str>>,
    /// How it knows: the kind of a built-in gate in the words of RFC 3875 §4.1.1, or the name of a handler.
    auth_type: Option<Cow<'static, str>>,
    /// Facts by their name in lower case, such as `role`. A later gate replaces those of an earlier one.
    facts: Vec<(String, String)>,
    /// The fields of the client that the handler does not see.
    removed: Vec<HeaderName>,
    /// The fields of the response, cookies among them. `None` if there are none. Boxed, because few gates have any.
    response: Option<Box<FieldChanges>>,
}

/// The pass of a request before any gate, and of a route without gates.
pub(in crate::http) static UNASKED: GatePass =
    GatePass { user: None, auth_type: None, facts: Vec::new(), removed: Vec::new(), response: None };

impl GatePass {
    /// Notes a user and how it was authenticated.
    pub(in crate::http) fn name_user(
        &mut self,
        user: impl Into<Arc<str>>,
        auth_type: impl Into<Cow<'static, str>>,
    ) {
        self.user = Some(user.into());
        self.auth_type = Some(auth_type.into());
    }

    /// Takes what a handler tells that lets the request pass: `Remote-User`, `Gate-NAME` and `Remove-Fields` for the
    /// handler, `Set-Cookie`, `Response-NAME` and `Remove-Response-Fields` for the response. Values for the handler that
    /// are not UTF-8 are left out, and so are fields that only the daemon may send.
    pub(in crate::http) fn take(&mut self, gate: &str, told: &HeaderMap) {
        if let Some(user) = told.get("remote-user").and_then(text).filter(|user| !user.is_empty()) {
            self.name_user(user, gate.to_owned());
        }
        // What a route is found by stays.
        self.removed.extend(listed(told, &REMOVE).filter(|name| *name != HOST));
        let mut changes =
            FieldChanges { remove: listed(told, &REMOVE_FROM_RESPONSE).collect(), ..FieldChanges::default() };
        for (name, value) in told {
            if let Some((name, value)) = name.as_str().strip_prefix(PREFIX).zip(text(value)) {
                self.facts.retain(|(known, _)| known != name);
                self.facts.push((name.to_owned(), value.to_owned()));
            } else if let Some(name) = name.as_str().strip_prefix(RESPONSE_PREFIX).and_then(changeable) {
                // A response has one of each (RFC 9110 §8.3, §10.2.2).
                if matches!(name, CONTENT_TYPE | LOCATION) {
                    changes.set.remove(&name);
                }
                changes.set.append(name, value.clone());
            } else if *name == SET_COOKIE {
                changes.add.append(SET_COOKIE, value.clone());
            }
        }
        if changes != FieldChanges::default() {
            let before = self.response.take().map(|before| *before).unwrap_or_default();
            self.response = Some(Box::new(before.and(changes)));
        }
    }

    /// Adds the variables of a program: `REMOTE_USER`, `AUTH_TYPE` and `GATE_NAME`.
    pub(super) fn variables(&self, env: &mut Env) {
        for (name, value) in [("REMOTE_USER", self.user.as_deref()), ("AUTH_TYPE", self.auth_type.as_deref())]
        {
            if let Some(value) = value {
                // A field value holds no NUL.
                let _set = env.set(name, value);
            }
        }
        for (name, value) in &self.facts {
            let _set = env.set(format!("GATE_{}", variable(name)), value.clone());
        }
    }

    /// Lists the fields of a component, without their prefix: `remote-user`, `auth-type` and `gate-NAME`.
    pub(super) fn fields(&self) -> impl Iterator<Item = (String, &str)> {
        let known = [("remote-user", self.user.as_deref()), ("auth-type", self.auth_type.as_deref())];
        let known = known.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)));
        known.chain(self.facts.iter().map(|(name, value)| (format!("{PREFIX}{name}"), value.as_str())))
    }

    /// Returns the fields of a client that the handler sees. A field goes with its twins: the client must not get past a
    /// gate with `X_Role` in place of `X-Role`.
    pub(super) fn shown<'f>(&self, fields: &'f HeaderMap) -> Cow<'f, HeaderMap> {
        let mut shown = Cow::Borrowed(fields);
        if self.removed.is_empty() {
            return shown;
        }
        for name in fields.keys() {
            if self.removed.iter().any(|removed| are_twins(removed.as_str(), name.as_str())) {
                shown.to_mut().remove(name);
            }
        }
        shown
    }

    /// Returns the user.
    pub(in crate::http) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the user and the facts, for what stands behind a middleware. The middleware has received the request without
    /// the removed fields, and its own response gets the fields of the response.
    pub(in crate::http) fn facts(&self) -> GatePass {
        let GatePass { user, auth_type, facts, .. } = self;
        GatePass {
            user: user.clone(),
            auth_type: auth_type.clone(),
            facts: facts.clone(),
            ..GatePass::default()
        }
    }

    /// Returns what the client is told, whatever the response is: a session that a gate has renewed must not be lost with
    /// a failure of the handler.
    pub(in crate::http) fn into_response(self) -> Option<Box<FieldChanges>> {
        self.response
    }
}

/// Changes the fields of a response as gates have told. With a field of theirs it is for one client, so shared caches must
/// not keep it unless the response says what they may do (RFC 9111 §5.2.2.7).
pub(in crate::http) fn tell(told: Option<&FieldChanges>, response: &mut HeaderMap) {
    let Some(told) = told else { return };
    told.apply(response);
    let is_personal = !told.set.is_empty() || !told.add.is_empty();
    if is_personal && !response.contains_key(CACHE_CONTROL) {
        response.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// Iterates over the names in a list of fields. Invalid names, and fields that a gate may not change, are left out.
fn listed(told: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = HeaderName> {
    let values = told.get_all(name).iter().filter_map(text);
    values.flat_map(|value| value.split(',')).filter_map(|name| changeable(name.trim()))
}

/// Reads the name of a field that a gate may change. Like every handler, a gate must not speak for the daemon.
fn changeable(name: &str) -> Option<HeaderName> {
    let name = HeaderName::try_from(name).ok()?;
    (FieldChanges::may_change(&name) && !document::is_ours(&name)).then_some(name)
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
    use http::header::LINK;

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

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
        let told = pass.into_response();
        for (says, wanted) in [(None, "private"), (Some("no-store"), "no-store")] {
            let said = says.map(|says| (CACHE_CONTROL, HeaderValue::from_static(says)));
            let mut response = HeaderMap::from_iter(said);
            tell(told.as_deref(), &mut response);
            assert_eq!((&response[SET_COOKIE], &response[CACHE_CONTROL]), (&value("s=1"), &value(wanted)));
        }
    }

    #[test]
    fn a_gate_removes_and_sets_fields_but_not_those_of_the_message() {
        let fields = |all: &[(&'static str, &'static str)]| {
            let mut fields = HeaderMap::new();
            for &(name, text) in all {
                fields.append(name, value(text));
            }
            fields
        };
        let mut pass = GatePass::default();
        pass.take(
            "first",
            &fields(&[
                ("remove-fields", "Authorization, cookie,"),
                ("remove-fields", "host, content-length, no name"),
                ("response-x-user", "ada"),
                ("response-content-length", "7"),
                ("response-x-portcullis-version", "other@1"),
                ("remove-response-fields", "Server, Date, X-Portcullis-Reason"),
            ]),
        );
        pass.take("second", &fields(&[("response-x-user", "bob")]));
        let sent =
            fields(&[("authorization", "x"), ("cookie", "a=1"), ("host", "h"), ("content-length", "3")]);
        let reason = ("x-portcullis-reason", "exited");
        let mut response = fields(&[("server", "guest"), ("date", "now"), ("x-user", "me"), reason]);

        let shown = pass.shown(&sent);
        assert_eq!(*shown, fields(&[("host", "h"), ("content-length", "3")]));
        assert_eq!(*pass.facts().shown(&sent), sent, "a middleware has got them removed already");
        tell(pass.into_response().as_deref(), &mut response);
        let cache = ("cache-control", "private");
        assert_eq!(response, fields(&[("date", "now"), ("x-user", "bob"), cache, reason]));
    }

    #[test]
    fn a_response_field_that_a_gate_sets_twice_reaches_the_client_twice() {
        let says = |values: &[&'static str]| {
            let mut told = HeaderMap::new();
            for &text in values {
                told.append("response-link", value(text));
            }
            told
        };
        let mut pass = GatePass::default();
        pass.take("first", &says(&["<a>"]));
        let mut told = says(&["<b>", "<c>"]);
        for kind in ["text/a", "text/b"] {
            told.append("response-content-type", value(kind));
        }
        pass.take("second", &told);
        let mut response = HeaderMap::from_iter([(LINK, value("<handler>"))]);

        tell(pass.into_response().as_deref(), &mut response);

        assert_eq!(response.get_all(LINK).iter().collect::<Vec<_>>(), ["<b>", "<c>"]);
        let kinds: Vec<_> = response.get_all(CONTENT_TYPE).iter().collect();
        assert_eq!(kinds, ["text/b"], "a response has one type");
    }

    #[test]
    fn a_field_that_a_gate_removes_does_not_reach_the_handler_with_another_sign_in_its_name() {
        let mut pass = GatePass::default();
        pass.take("first", &HeaderMap::from_iter([(REMOVE, value("X-Role"))]));
        let names = ["x-role", "x_role", "x.role", "x-role-a"].map(HeaderName::from_static);
        let sent: HeaderMap = names.into_iter().map(|name| (name, value("root"))).collect();

        let shown = pass.shown(&sent);

        assert_eq!(shown.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-role-a"]);
    }
}
