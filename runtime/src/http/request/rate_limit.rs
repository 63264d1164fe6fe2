//! The rate limits of a route, and the fields that tell clients of them.

use std::borrow::Cow;

use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::h2_rules;
use crate::access::{RateExceeded, RateKey, RateLimit, Remaining};
use crate::catalog::{RouteLimit, asked_host};
use crate::http::refusal::Refusal;
use crate::net::Peer;
use crate::store::RateCount;

/// The quotas of a client.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of them.
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What is left of the quotas of a client, to be told with the response.
#[derive(Default)]
pub(in crate::http) struct RemainingQuota<'a>(Vec<(&'a RateLimit, Remaining)>);

/// Counts a request. Waits for the store of a limit that daemons share, if there is any; without the store, the limit
/// counts in this daemon alone. `user` is the name that a gate told.
///
/// # Errors
/// It is beyond a limit. The limits before that one have counted it.
pub(in crate::http) async fn admit<'a>(
    limits: &'a [RouteLimit],
    peer: &Peer,
    head: &Parts,
    user: Option<&str>,
) -> Result<RemainingQuota<'a>, Refusal> {
    let (address, fields) = (peer.origin(), counted_fields(limits, head));
    let mut left = Vec::with_capacity(limits.len());
    for RouteLimit { limit, shared } in limits {
        let count = match shared {
            Some(shared) => shared.count(&limit.client(address, &fields, user)).await,
            None => None,
        };
        let counted = match count {
            None => limit.admit(address, &fields, user),
            Some(RateCount::Admitted { requests }) => Ok(limit.remaining(requests)),
            Some(RateCount::Refused { retry_after }) => Err(limit.exceeded(retry_after)),
        };
        let counted = counted.map_err(|exceeded| Refusal::RateLimited(Box::new(exceeded)))?;
        left.push((&**limit, counted));
    }
    Ok(RemainingQuota(left))
}

/// Returns the fields by which limits count. One host has many spellings, and counts as routes find it. In HTTP/2 it is in
/// `:authority`, and each cookie may be a field (RFC 9113 §8.3.1, §8.2.3).
fn counted_fields<'h>(limits: &[RouteLimit], head: &'h Parts) -> Cow<'h, HeaderMap> {
    let counts_by = |name: &HeaderName| {
        limits.iter().any(|limit| matches!(&limit.limit.rule.by, RateKey::Header(key) if key == name))
    };
    let mut fields = Cow::Borrowed(&head.headers);
    if counts_by(&HOST)
        && let Some(asked) = h2_rules::host(head).map(asked_host)
        && !head.headers.get_all(HOST).iter().eq([&*asked])
        && let Ok(host) = HeaderValue::try_from(&*asked)
    {
        fields.to_mut().insert(HOST, host);
    }
    if head.version == Version::HTTP_2 && counts_by(&COOKIE) {
        h2_rules::join_crumbs(fields.to_mut());
    }
    fields
}

impl<'a> RemainingQuota<'a> {
    /// Adds the quotas of the limits behind the gates.
    pub(in crate::http) fn and(mut self, behind: RemainingQuota<'a>) -> RemainingQuota<'a> {
        self.0.extend(behind.0);
        self
    }

    /// Adds the fields. Those of the handler are replaced: they could not know what is left.
    pub(in crate::http) fn tell(self, response: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        response.remove(POLICY);
        response.remove(LIMIT);
        for (limit, left) in self.0 {
            response.append(POLICY, limit.policy().clone());
            response.append(LIMIT, limit.field(left));
        }
    }
}

/// Returns the fields of a refusal.
pub(in crate::http) fn fields(exceeded: &RateExceeded) -> [(HeaderName, HeaderValue); 2] {
    [(POLICY, exceeded.policy.clone()), (LIMIT, exceeded.limit.clone())]
}
