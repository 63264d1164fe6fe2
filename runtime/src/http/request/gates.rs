//! The gates of a route: each lets a request pass, or answers it.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response};

use super::cgi_job::{RoutedRequest, harmless};
use super::gate_pass::GatePass;
use super::logged_job::LoggedJob;
use super::request_log::RequestLog;
use super::response_body::Body;
use crate::access::{AccessCheck, AccessGate, BasicCredentials, CredentialDigest, Passwords, TokenError};
use crate::catalog::RouteGate;
use crate::engine::Engine;
use crate::http::refusal::Refusal;
use crate::job::{Fault, HandlerVersion, Label};
use crate::observe::history::VersionHistory;

/// The scheme of user names and passwords (RFC 7617), and the word for it in `AUTH_TYPE`.
const BASIC: &str = "Basic";

/// The most bytes of the body that a gate answers with.
const LARGEST_ANSWER: usize = 64 << 10;

/// What the gates have decided.
pub(in crate::http) enum GateDecision<'g> {
    /// The request goes on to its handler.
    Pass,
    /// The request goes on to a middleware, which passes it on to the gates behind it.
    PassOn { entry: &'g Arc<HandlerVersion>, behind: &'g [RouteGate] },
    /// A gate answers.
    Answer(Box<Response<Body>>),
}

/// What a built-in gate has decided, unless it refuses the request.
enum BuiltInDecision<'g> {
    Pass,
    /// The password has to be verified, which takes long.
    Verify(&'g Arc<Passwords>, BasicCredentials),
}

impl RoutedRequest<'_> {
    /// Asks gates that are all built in, if none has to verify a password. Returns what they tell, and `None` if the gates
    /// have to be asked by [`ask_gates`](RoutedRequest::ask_gates).
    ///
    /// # Errors
    /// A gate refuses the request.
    pub(in crate::http) fn pass_at_once(
        self,
        gates: &[RouteGate],
        log: &mut RequestLog,
    ) -> Result<Option<GatePass>, Refusal> {
        // Else the built-in gates in front of a handler would be asked twice.
        if !gates.iter().all(|gate| matches!(gate, RouteGate::BuiltIn(_))) {
            return Ok(None);
        }
        let mut pass = GatePass::default();
        let all_passed = self.all_pass_at_once(gates, &mut pass);
        log.user_named(pass.user());
        Ok(all_passed?.then_some(pass))
    }

    /// Asks gates up to the first that does not let the request pass at once, as a handler never does. Reports whether all
    /// gates let it pass.
    fn all_pass_at_once(self, gates: &[RouteGate], pass: &mut GatePass) -> Result<bool, Refusal> {
        for gate in gates {
            let RouteGate::BuiltIn(gate) = gate else { return Ok(false) };
            if let BuiltInDecision::Verify(..) = self.check_gate(gate, pass)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks the gates in their order, up to the first that does not let the request pass, or that is a middleware. What
    /// they tell is added to `pass`.
    ///
    /// # Errors
    /// A gate refuses the request, or a handler that is a gate has failed. That is never a pass.
    pub(in crate::http) async fn ask_gates<'g>(
        self,
        engine: &Arc<Engine>,
        gates: &'g [RouteGate],
        pass: &mut GatePass,
        log: &mut RequestLog,
    ) -> Result<GateDecision<'g>, Refusal> {
        for (number, gate) in gates.iter().enumerate() {
            match gate {
                RouteGate::BuiltIn(gate) => match self.check_gate(gate, pass)? {
                    BuiltInDecision::Pass => {}
                    BuiltInDecision::Verify(passwords, credentials) => {
                        let user = verified(passwords, credentials, &gate.name, self.peer.origin()).await?;
                        pass.name_user(user, BASIC);
                    }
                },
                RouteGate::Handler(entry) if entry.grants.passes_on => {
                    return Ok(GateDecision::PassOn { entry, behind: &gates[number + 1..] });
                }
                RouteGate::Handler(entry) => {
                    if let Some(answer) = self.run_gate(engine, entry, pass, log).await? {
                        return Ok(GateDecision::Answer(Box::new(answer)));
                    }
                }
            }
        }
        Ok(GateDecision::Pass)
    }

    /// Asks a built-in gate. Does not wait.
    fn check_gate<'g>(
        self,
        gate: &'g AccessGate,
        pass: &mut GatePass,
    ) -> Result<BuiltInDecision<'g>, Refusal> {
        let fields = &self.head.headers;
        match &gate.check {
            AccessCheck::Addresses(rules) => {
                // The address of a hidden client is that of a proxy.
                let passes = !self.peer.is_hidden() && rules.admit(self.peer.address());
                passes.then_some(BuiltInDecision::Pass).ok_or(Refusal::AccessDenied)
            }
            AccessCheck::ClientCertificate(names) => {
                let certificate = self.peer.client_certificate().ok_or(Refusal::AccessDenied)?;
                let name = names.find(certificate.names()).ok_or(Refusal::AccessDenied)?;
                pass.name_user(name, "ClientCertificate");
                Ok(BuiltInDecision::Pass)
            }
            AccessCheck::Basic(passwords) => {
                let refusal = || basic_challenge(&gate.name);
                let sent = credentials(fields, BASIC).ok_or_else(refusal)?;
                // Credentials that were verified lately are known by their text, so that it need not be decoded.
                let digest = passwords.digest(sent);
                if let Some(user) = passwords.remembered(&digest) {
                    pass.name_user(user, BASIC);
                    return Ok(BuiltInDecision::Pass);
                }
                let decoded = basic_credentials(sent, digest).ok_or_else(refusal)?;
                Ok(BuiltInDecision::Verify(passwords, decoded))
            }
            AccessCheck::Token(rules) => {
                let Some(token) = credentials(fields, "Bearer") else {
                    return Err(challenge(format!("Bearer realm={:?}", gate.name)));
                };
                match rules.verify(token) {
                    Ok(subject) => {
                        subject.iter().for_each(|subject| pass.name_user(subject.as_str(), "Bearer"));
                        Ok(BuiltInDecision::Pass)
                    }
                    Err(TokenError::NoKeys) => Err(Refusal::Occupied(
                        "the keys for this token could not be fetched yet: try again later".to_owned(),
                    )),
                    Err(why) => {
                        tracing::debug!("gate {}: {} is refused: {why}", gate.name, self.peer.remote());
                        // RFC 6750 §3.1.
                        Err(challenge(format!("Bearer realm={:?}, error=\"invalid_token\"", gate.name)))
                    }
                }
            }
        }
    }

    /// Runs a handler as a gate. Returns its answer, or `None` if it lets the request pass.
    async fn run_gate(
        self,
        engine: &Arc<Engine>,
        entry: &Arc<HandlerVersion>,
        pass: &mut GatePass,
        log: &mut RequestLog,
    ) -> Result<Option<Response<Body>>, Refusal> {
        harmless(self.found, entry)?;
        // The body stays for the handler, so the gate must not expect one.
        let mut head = self.head.clone();
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(TRANSFER_ENCODING);
        let request = RoutedRequest { head: &head, pass, ..self };
        // As for GET: a gate answers HEAD in the same way, and must end well before the request passes.
        let job = request.bodiless_job(engine, entry);
        let mut gate = GateJob::begin(LoggedJob::of(&job));
        let answered = request.get(engine, job).await;
        let outcome = answered.map_err(|error| Refusal::Malformed(format!("its host: {error}")))?;
        let whole = match outcome {
            Ok(response) => whole(response).await,
            Err(fault) => Err(fault),
        };
        match whole {
            Ok(response) if response.status().is_success() => {
                pass.take(entry.name.as_str(), response.headers());
                Ok(None)
            }
            Ok(response) => {
                gate.answers = true;
                log.handler_chosen(gate.job.clone(), self, None);
                Ok(Some(response))
            }
            Err(fault) => {
                gate.job.complain(&fault);
                Err(Refusal::Failed(gate.job.id, fault))
            }
        }
    }
}

/// The job of a gate. The history gets its end together with the request if the gate answers, else alone when this is
/// dropped.
struct GateJob {
    job: LoggedJob,
    answers: bool,
}

impl GateJob {
    /// Keeps the end of a job that is about to begin.
    fn begin(job: LoggedJob) -> GateJob {
        job.usage.answer.awaited();
        if job.entry.history.as_ref().is_some_and(VersionHistory::is_wanted) {
            job.usage.ends.answers_request();
        }
        GateJob { job, answers: false }
    }
}

impl Drop for GateJob {
    fn drop(&mut self) {
        let LoggedJob { id, entry, usage } = &self.job;
        if let Some(history) = entry.history.as_ref().filter(|_| !self.answers) {
            let label = Label { id: *id, parent: None };
            usage.ends.answers_nothing(history, (label, usage.spans.trace_id()));
        }
    }
}

/// Reads a response to its end, so that a failure after its head is seen.
async fn whole(response: Response<Body>) -> Result<Response<Body>, Fault> {
    let (parts, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = poll_fn(|context| body.poll_next(context)).await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > LARGEST_ANSWER {
            body.abandon().await;
            return Err(Fault::BadAnswer(format!("a gate answers with more than {LARGEST_ANSWER} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Response::from_parts(parts, Body::full(bytes.freeze())))
}

/// Reads a user name and a password as a client sends them (RFC 7617 §2). Returns `None` if they are not valid.
fn basic_credentials(sent: &str, digest: CredentialDigest) -> Option<BasicCredentials> {
    let decoded = STANDARD.decode(sent).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let user = std::str::from_utf8(&decoded[..colon]).ok()?;
    let password = &decoded[colon + 1..];
    let is_valid = !user.contains(char::is_control);
    is_valid.then(|| BasicCredentials { user: user.into(), password: password.to_vec(), digest })
}

/// Verifies a user name and a password, and returns the user.
async fn verified(
    passwords: &Arc<Passwords>,
    credentials: BasicCredentials,
    realm: &str,
    origin: Option<IpAddr>,
) -> Result<Arc<str>, Refusal> {
    let user = credentials.user.clone();
    match passwords.verify(credentials, origin).await {
        Ok(true) => Ok(user),
        Ok(false) => Err(basic_challenge(realm)),
        Err(_) => {
            Err(Refusal::Occupied("too many passwords wait to be verified: try again later".to_owned()))
        }
    }
}

/// Refuses a request without the user name and the password of a user.
fn basic_challenge(realm: &str) -> Refusal {
    challenge(format!("Basic realm={realm:?}, charset=\"UTF-8\""))
}

/// Returns the credentials of a scheme. Returns `None` if there are several `Authorization` fields, because servers differ
/// in which field they take.
fn credentials<'f>(fields: &'f HeaderMap, scheme: &str) -> Option<&'f str> {
    let mut sent = fields.get_all(AUTHORIZATION).iter();
    let (first, second) = (sent.next()?, sent.next());
    let text = first.to_str().ok().filter(|_| second.is_none())?;
    let (named, rest) = text.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(' ')?;
    named.eq_ignore_ascii_case(scheme).then(|| rest.trim_ascii())
}

/// Refuses a request that lacks credentials, or has wrong ones. `text` is the `WWW-Authenticate` field.
fn challenge(text: String) -> Refusal {
    // Names of gates are words, so the text is a field value.
    HeaderValue::try_from(text).map_or(Refusal::AccessDenied, Refusal::Unauthorized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_of_one_field_and_of_the_scheme() {
        let fields = |values: &[&'static str]| {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            fields
        };

        for value in ["basic  eDp5 ", "BASIC eDp5\t"] {
            assert_eq!(credentials(&fields(&[value]), "Basic"), Some("eDp5"), "{value:?}");
        }
        for values in [
            &[][..],
            &["Bearer x"],
            &["Basic"],
            &["Bas"],
            &["Basics eDp5"],
            &["Basic\teDp5"],
            &["Basic eDp5", "Basic eDp5"],
        ] {
            assert_eq!(credentials(&fields(values), "Basic"), None, "{values:?}");
        }
    }

    #[test]
    fn a_user_name_is_text_before_the_first_colon_without_control_characters() {
        let read = |decoded: &[u8]| {
            let read = basic_credentials(&STANDARD.encode(decoded), [7; 32])?;
            Some((read.user.to_string(), read.password, read.digest))
        };

        assert_eq!(read(b"ada:x:y"), Some(("ada".to_owned(), b"x:y".to_vec(), [7; 32])));
        assert_eq!(read(b":\xff"), Some((String::new(), b"\xff".to_vec(), [7; 32])));
        for wrong in [&b"ada"[..], b"", b"a\nda:x", b"\xff:x"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert!(basic_credentials("!!!", [7; 32]).is_none());
    }
}
