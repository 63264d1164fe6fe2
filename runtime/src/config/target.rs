//! Reads what answers the requests of a route besides handlers: `redirect` and `respond`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::reader::{Keyed, NamedTable, Scalar};
use super::report::Diagnostics;
use super::route_schema::{Respond, Route};
use super::values;
use crate::catalog::{FieldChanges, FixedResponse, PathCapture, Redirect, Template};

/// The statuses of a redirect (RFC 9110 §15.4).
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// The type of a body without a `Content-Type`.
const TEXT: &str = "text/plain; charset=utf-8";

/// The most fields of one table or list: every response is changed by all of them, and `http::HeaderMap` panics beyond
/// 24,576.
const MOST_FIELDS: usize = 100;

/// Reports a route that has no target, or more than one, or keys of another target.
pub(super) fn exactly_one(Keyed { value: route, key, line }: &Keyed<Route>, report: &Diagnostics<'_>) {
    let written = [
        ("handler", route.handler.is_some()),
        ("redirect", route.redirect.is_some()),
        ("respond", route.respond.is_some()),
        ("static", route.r#static.is_some()),
        ("rewrite", route.rewrite.is_some()),
    ];
    let mut names = written.iter().filter(|(_, is_written)| *is_written).map(|(name, _)| *name);
    match (names.next(), names.next()) {
        (None, _) if written.iter().any(|(name, _)| report.blames(&format!("{key}.{name}"))) => {}
        (None, _) => report.missing(
            *line,
            key,
            "handler",
            "write the NAME of a [handler.NAME], or redirect, respond, static or rewrite for a route without a handler",
        ),
        (Some(_), None) => {}
        (Some(one), Some(other)) => {
            let message = format!("has both {one} and {other}: a route is answered by one of them, leave one out");
            report.add(*line, key, message);
        }
    }
    if let Some(at) = route.status.as_ref().filter(|_| route.redirect.is_none()) {
        report.add(at.line, &at.key, "needs redirect; the status of a response is respond.status");
    }
    if let Some(at) = route.upgrade.as_ref().filter(|_| route.handler.is_none()) {
        report.add(at.line, &at.key, "needs a handler: only a program takes over a connection");
    }
}

/// Reads the redirect of a route. Returns `None` if there is none, or if its URL is invalid; the error is reported.
pub(super) fn redirect(
    route: &Route,
    captures: &[PathCapture],
    report: &Diagnostics<'_>,
) -> Option<Arc<Redirect>> {
    let status = report.settle(route.status.as_ref(), StatusCode::FOUND, |scalar| {
        let wanted = || format!("wanted one of {REDIRECTS:?}, found {}", values::shown(scalar));
        let status = values::count(100..=999)(scalar).map_err(|_| wanted())?;
        let status = u16::try_from(status).ok().filter(|status| REDIRECTS.contains(status));
        status.and_then(|status| StatusCode::from_u16(status).ok()).ok_or_else(wanted)
    });
    let to = report.settle(route.redirect.as_ref(), None, |text| Template::url(text, captures).map(Some))?;
    Some(Arc::new(Redirect { to, status }))
}

/// Reads the path that is routed instead. Returns `None` if there is none, or if it is invalid; the error is reported.
pub(super) fn rewrite(
    route: &Route,
    captures: &[PathCapture],
    report: &Diagnostics<'_>,
) -> Option<Arc<Template>> {
    let places = [
        route.fields.as_ref().map(|at| (at.line, &at.key)),
        route.errors.as_ref().map(|at| (at.line, &at.key)),
        route.compress.as_ref().map(|at| (at.line, &at.key)),
        route.limit.as_ref().map(|at| (at.line, &at.key)),
        route.before.as_ref().map(|at| (at.line, &at.key)),
    ];
    for (line, key) in places.into_iter().flatten().filter(|_| route.rewrite.is_some()) {
        report.add(line, key, "belongs to the route that the rewritten path leads to: write it there");
    }
    report.settle(route.rewrite.as_ref(), None, |text| Template::path(text, captures).map(Some)).map(Arc::new)
}

/// Reads the response of a route.
pub(super) fn respond(written: &Respond, report: &Diagnostics<'_>) -> Arc<FixedResponse> {
    let status = report.settle(written.status.as_ref(), StatusCode::OK, status);
    let mut fields = written.fields.as_ref().map(|at| fields(&at.value, report)).unwrap_or_default();
    let body = written.body.as_ref().map(|at| at.value.clone()).unwrap_or_default();
    // RFC 9110 §6.4.1, §15.3.6.
    let is_bodiless = matches!(status.as_u16(), 204 | 205 | 304);
    if let Some(at) = written.body.as_ref().filter(|at| is_bodiless && !at.value.is_empty()) {
        report.add(
            at.line,
            &at.key,
            format!("a response with status {} has no body: leave it out", status.as_u16()),
        );
    }
    if !body.is_empty() && !fields.contains_key(CONTENT_TYPE) {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    }
    fields.insert(DATE, HeaderValue::from_static(""));
    Arc::new(FixedResponse { status, fields, body: Bytes::from(body) })
}

fn status(scalar: &Scalar) -> Result<StatusCode, String> {
    let status = values::count(200..=599)(scalar)?;
    StatusCode::from_u16(u16::try_from(status).unwrap_or_default()).map_err(|error| error.to_string())
}

/// Returns at most [`MOST_FIELDS`] fields, and reports the first one beyond them.
pub(super) fn bounded<'w, T>(
    written: &'w [T],
    at: impl Fn(&'w T) -> &'w Keyed<String>,
    report: &Diagnostics<'_>,
) -> &'w [T] {
    let Some(beyond) = written.get(MOST_FIELDS) else { return written };
    let (Keyed { line, key, .. }, found) = (at(beyond), written.len());
    report.add(*line, key, format!("wanted {MOST_FIELDS} fields at most, found {found}: leave some out"));
    &written[..MOST_FIELDS]
}

/// Reads fields with their values.
pub(super) fn fields(written: &NamedTable<String>, report: &Diagnostics<'_>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, at) in bounded(&written.0, |(_, at)| at, report) {
        let field = report.settle(Some(at), None, |value| field(name, value).map(Some));
        if let Some((name, value)) = field
            && fields.insert(name, value).is_some()
        {
            report.add(at.line, &at.key, "this field is in the table already, in other letters");
        }
    }
    fields
}

/// Reads a field of a response.
fn field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let value = HeaderValue::from_str(value).map_err(|_| {
        format!("wanted the value of a header field, printable and on one line, found {value:?}")
    })?;
    Ok((field_name(name)?, value))
}

/// Reads the name of a field that a route may change.
pub(super) fn field_name(name: &str) -> Result<HeaderName, String> {
    values::header(name)?;
    match HeaderName::try_from(name) {
        Ok(own) if !FieldChanges::may_change(&own) => {
            Err(format!("{name} is set by the daemon itself: leave it out"))
        }
        read => read.map_err(|error| error.to_string()),
    }
}
