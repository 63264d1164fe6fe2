//! The rate limits of a route, and the fields that tell clients of them.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::access::{RateExceeded, RateLimit, Remaining};
use crate::catalog::EntryChecks;
use crate::http::refusal::Refusal;
use crate::net::Peer;

/// The quotas of a client.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of them.
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What is left of the quotas of a client, to be told with the response.
pub(in crate::http) struct RemainingQuota<'a>(Vec<(&'a RateLimit, Remaining)>);

/// Counts a request.
///
/// # Errors
/// It is beyond a limit. The limits before that one have counted it.
pub(in crate::http) fn admit<'a>(
    checks: &'a EntryChecks,
    peer: &Peer,
    fields: &HeaderMap,
) -> Result<RemainingQuota<'a>, Refusal> {
    let address = peer.origin();
    let count = |limit: &'a std::sync::Arc<RateLimit>| Ok((&**limit, limit.admit(address, fields)?));
    let left = checks.limits.iter().map(count).collect::<Result<Vec<_>, RateExceeded>>();
    left.map(RemainingQuota).map_err(|exceeded| Refusal::RateLimited(Box::new(exceeded)))
}

impl RemainingQuota<'_> {
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
