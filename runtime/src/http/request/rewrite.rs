//! Rewrites the target of a request before it is routed.

use http::Uri;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::direct_response::parts;
use crate::catalog::{Match, NoHost, Template};
use crate::http::refusal::Refusal;

/// Makes the head of the request that is routed instead. The query stays, unless the template has one.
///
/// # Errors
/// The template needs a host, and the request names none; or the target is longer than `max` bytes.
pub(in crate::http) fn apply(
    to: &Template,
    found: &Match<'_, '_>,
    head: &Parts,
    max: usize,
) -> Result<Parts, Refusal> {
    let filled = found.fill(to, parts(head));
    let mut target =
        filled.map_err(|NoHost| Refusal::Malformed("no Host, which this route needs".to_owned()))?;
    // A fragment is for the client alone.
    target.truncate(target.find('#').unwrap_or(target.len()));
    if let Some(query) = head.uri.query().filter(|_| !target.contains('?')) {
        target.push('?');
        target.push_str(query);
    }
    routed(&target, head, max)
}

/// Makes the same head with a version prefix, such as `/v1.14`, in front of its path.
///
/// # Errors
/// The target is longer than `max` bytes.
pub(in crate::http) fn versioned(prefix: &str, head: &Parts, max: usize) -> Result<Parts, Refusal> {
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    routed(&format!("{prefix}{target}"), head, max)
}

/// Makes the same head with another target.
fn routed(target: &str, head: &Parts, max: usize) -> Result<Parts, Refusal> {
    if target.len() > max {
        return Err(Refusal::TargetTooLong(max));
    }
    let mut uri = head.uri.clone().into_parts();
    uri.path_and_query = Some(target.parse().map_err(|_| Refusal::TargetTooLong(max))?);
    let mut head = head.clone();
    head.uri = Uri::from_parts(uri).map_err(|_| Refusal::Internal)?;
    Ok(head)
}
