//! The line of a request in the access log, in each of its formats.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use http::header::{HeaderName, REFERER, USER_AGENT};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use serde::Serialize;
use tracing::{Level, info};

use crate::job::{HandlerVersion, JobId};
use crate::net::Remote;
use crate::observe::access_file::{self, AccessLogFormat};
use crate::observe::history::JobDurations;
use crate::observe::log_format::json_field;
use crate::observe::traces::TraceId;
use crate::observe::{QueryMask, log, plain};

/// The most bytes of a user's name in a line, before it is escaped.
const LONGEST_USER: usize = 128;

/// How requests are logged.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// The format of a line.
    pub format: AccessLogFormat,
    /// The query parameters whose values are not logged.
    pub mask: QueryMask,
}

/// What a line says of the request, noted before the request is answered.
pub(in crate::http) struct LoggedRequest {
    format: AccessLogFormat,
    method: Method,
    /// With masked values.
    target: String,
    version: Version,
    remote: Remote,
    user_agent: Option<String>,
    referer: Option<String>,
    /// The route that was found.
    pub(in crate::http) route: Option<Arc<str>>,
}

/// What a line says of the response.
pub(in crate::http) struct LoggedResponse<'a> {
    /// `None` if the client left before there was a response.
    pub(in crate::http) status: Option<StatusCode>,
    pub(in crate::http) bytes: u64,
    pub(in crate::http) time: Duration,
    /// The code of the reason, if the daemon answered, gave up the client, or broke the response off.
    pub(in crate::http) reason: Option<&'static str>,
    pub(in crate::http) is_complete: bool,
    /// The user that the gates of the route have named.
    pub(in crate::http) user: Option<&'a str>,
    /// The trace, if the request is traced.
    pub(in crate::http) trace: Option<TraceId>,
    pub(in crate::http) job: Option<LoggedRun<'a>>,
}

/// What a line says of the job.
pub(in crate::http) struct LoggedRun<'a> {
    pub(in crate::http) id: JobId,
    pub(in crate::http) entry: &'a HandlerVersion,
    pub(in crate::http) durations: JobDurations,
    /// From its end to the last byte of the response.
    pub(in crate::http) send: Option<Duration>,
    /// The bytes of the request body that have arrived.
    pub(in crate::http) received: u64,
}

/// A line in JSON. Times are in milliseconds. Absent values are left out.
#[derive(Serialize, Default)]
struct JsonLine<'a> {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handler: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    target: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    status: Option<u16>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instantiate_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<Cow<'a, str>>,
}

impl LoggedRequest {
    /// Notes what the format needs of a request.
    pub(in crate::http) fn of(
        head: &Parts,
        remote: Remote,
        AccessLog { format, mask }: &AccessLog,
    ) -> LoggedRequest {
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let field = |name: HeaderName| {
            let wanted = matches!(format, AccessLogFormat::Combined | AccessLogFormat::Json);
            let value = head.headers.get(name).filter(|_| wanted)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        LoggedRequest {
            format: *format,
            method: head.method.clone(),
            target: mask.mask(target).into_owned(),
            version: head.version,
            remote,
            user_agent: field(USER_AGENT),
            referer: field(REFERER).map(|referer| mask.mask(&referer).into_owned()),
            route: None,
        }
    }

    /// Writes the line.
    pub(in crate::http) fn write(&self, response: &LoggedResponse<'_>) {
        match self.format {
            AccessLogFormat::Text => {
                emit_text(format_args!("{}", TextLine { request: self, response }), response.trace);
            }
            AccessLogFormat::Common => emit(self.common(response)),
            AccessLogFormat::Combined => emit(self.combined(response)),
            AccessLogFormat::Json => emit(json(&self.json(response))),
        }
    }

    fn common(&self, LoggedResponse { status, bytes, user, .. }: &LoggedResponse<'_>) -> String {
        let LoggedRequest { method, target, version, remote, .. } = self;
        let request = format!("{method} {} {version:?}", target.escape_debug());
        common(*remote, *user, &request, status.map(|status| status.as_u16()), *bytes)
    }

    fn combined(&self, response: &LoggedResponse<'_>) -> String {
        let [referer, agent] = [&self.referer, &self.user_agent].map(|field| {
            field.as_ref().map_or_else(|| "-".to_owned(), |text| text.escape_debug().to_string())
        });
        format!("{} \"{referer}\" \"{agent}\"", self.common(response))
    }

    fn json<'a>(&'a self, response: &'a LoggedResponse<'_>) -> JsonLine<'a> {
        let LoggedResponse { status, bytes, time, reason, is_complete, user, trace, job } = response;
        let durations = job.as_ref().map(|job| job.durations);
        JsonLine {
            time: log::now(),
            job: job.as_ref().map(|job| job.id.to_string()),
            trace_id: trace.map(|trace| trace.to_string()),
            handler: job.as_ref().map(|job| job.entry.name.as_str()),
            version: job.as_ref().map(|job| job.entry.version.as_str()),
            route: self.route.as_deref(),
            client: self.remote.to_string(),
            user: user.map(plain),
            method: Some(self.method.as_str()),
            target: plain(&self.target),
            protocol: Some(format!("{:?}", self.version)),
            status: status.map(|status| status.as_u16()),
            bytes: *bytes,
            request_bytes: job.as_ref().map(|job| job.received),
            reason: *reason,
            complete: *is_complete,
            duration_ms: Some(millis(*time)),
            queue_ms: durations.map(|durations| millis(durations.queue)),
            instantiate_ms: durations.and_then(|durations| durations.instantiate).map(millis),
            guest_ms: durations.and_then(|durations| durations.guest).map(millis),
            send_ms: job.as_ref().and_then(|job| job.send).map(millis),
            user_agent: self.user_agent.as_deref().map(plain),
            referer: self.referer.as_deref().map(plain),
        }
    }
}

/// A line in the daemon's own text.
struct TextLine<'a> {
    request: &'a LoggedRequest,
    response: &'a LoggedResponse<'a>,
}

impl fmt::Display for TextLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoggedRequest { method, target, remote, .. } = self.request;
        let LoggedResponse { status, bytes, time, reason, is_complete, job, .. } = self.response;
        if let Some(LoggedRun { id, .. }) = job {
            write!(f, "[{id}] ")?;
        }
        write!(f, "{method} {} -> ", target.escape_debug())?;
        match status {
            Some(status) => write!(f, "{} ", status.as_u16())?,
            None => f.write_str("- ")?,
        }
        if let Some(LoggedRun { entry, .. }) = job {
            write!(f, "{}@{} ", entry.name, entry.version)?;
        }
        write!(f, "{bytes} bytes in {time:.1?}")?;
        if let Some(code) = reason {
            write!(f, " ({code})")?;
        }
        if !is_complete {
            f.write_str(" (broken off)")?;
        }
        write!(f, " for {remote}")
    }
}

/// Writes the line of a client that was refused before its request was read. `asked` is what is known of the request,
/// escaped, and `end` what it got: a response, or the reason why the connection was closed.
pub(in crate::http) fn refused(
    AccessLog { format, mask }: &AccessLog,
    asked: &str,
    (status, bytes, end): (Option<u16>, u64, fmt::Arguments<'_>),
    code: &str,
    remote: Remote,
) {
    // A request line that is not a method and a target comes in quotes, which must stay when a value at its end is masked.
    let (quote, line) = match asked.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(line) => ("\"", line),
        None => ("", asked),
    };
    let line = mask.mask(line);
    match format {
        AccessLogFormat::Text => {
            emit_text(format_args!("{quote}{line}{quote} -> {end} ({code}) for {remote}"), None);
        }
        // These formats have quotes of their own.
        AccessLogFormat::Common => emit(common(remote, None, &line, status, bytes)),
        AccessLogFormat::Combined => emit(common(remote, None, &line, status, bytes) + " \"-\" \"-\""),
        AccessLogFormat::Json => emit(json(&JsonLine {
            time: log::now(),
            client: remote.to_string(),
            target: Cow::Owned(plain(&format!("{quote}{line}{quote}")).into_owned()),
            status,
            bytes,
            reason: Some(code),
            complete: status.is_some(),
            ..JsonLine::default()
        })),
    }
}

/// Formats a line in the Common Log Format: `%h %l %u %t "%r" %>s %b`.
fn common(remote: Remote, user: Option<&str>, request: &str, status: Option<u16>, bytes: u64) -> String {
    let host = match remote {
        Remote::Tcp(address) => address.ip().to_string(),
        Remote::Forwarded(address, _) => address.to_string(),
        // The format has no place for the user of a Unix socket.
        Remote::Unix(_) => "unix".to_owned(),
    };
    let time = Utc::now().format("%d/%b/%Y:%H:%M:%S +0000");
    let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let bytes = if bytes == 0 { "-".to_owned() } else { bytes.to_string() };
    let user = user.map_or_else(|| "-".to_owned(), user_field);
    format!("{host} - {user} [{time}] \"{request}\" {status} {bytes}")
}

/// Cuts the name of a user to what a line may hold.
pub(in crate::http) fn cut_user(user: &str) -> String {
    if user.len() <= LONGEST_USER {
        return user.to_owned();
    }
    [&user[..user.floor_char_boundary(LONGEST_USER)], "…"].concat()
}

/// Escapes a user for the Common Log Format, so that it is one word. An empty name is `""`, as Apache writes it.
fn user_field(user: &str) -> String {
    if user.is_empty() { "\"\"".to_owned() } else { user.escape_debug().to_string().replace(' ', "\\u{20}") }
}

fn json(line: &JsonLine<'_>) -> String {
    serde_json::to_string(line).expect("texts and numbers are JSON")
}

/// Converts to milliseconds, with microseconds as fractions.
#[expect(
    clippy::cast_precision_loss,
    reason = "a time of 2^53 microseconds is as good without its last digits"
)]
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// Writes a line in a format of its own, to the file or to stderr.
fn emit(mut line: String) {
    line.push('\n');
    if access_file::is_open() {
        access_file::write(&line);
    } else {
        log::write_line(Level::INFO, &line);
    }
}

/// Writes a line of text, to the file with its time or to the log. The log has the trace as well if it is JSON.
fn emit_text(line: fmt::Arguments<'_>, trace: Option<TraceId>) {
    if access_file::is_open() {
        access_file::write(&format!("{} {line}\n", log::now()));
    } else {
        info!(trace_id = json_field(trace), "{line}");
    }
}

#[cfg(test)]
mod tests;
