//! A rate limit in service: which requests pass, and what clients are told of their quota.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::rate_rule::{RateKey, RateRule};
use super::rate_slots::RateSlots;

/// A limit with its state. It takes memory for 65,536 clients at most, whatever comes.
pub struct RateLimit {
    /// What is limited: `route * /a` or `handler a`.
    pub subject: String,
    /// The limit.
    pub rule: RateRule,
    limiter: RateLimiter<u64, RateSlots, MonotonicClock, StateInformationMiddleware>,
    hash: RandomState,
    policy: HeaderValue,
}

/// The quota that a client has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remaining {
    /// How many requests pass at once.
    pub requests: u32,
    /// How long until that changes: until the quota is whole again, or until the next request passes.
    pub time: Duration,
}

/// A request beyond the limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateExceeded {
    /// When the next request passes.
    pub retry_after: Duration,
    /// The `RateLimit-Policy` field.
    pub policy: HeaderValue,
    /// The `RateLimit` field.
    pub limit: HeaderValue,
}

/// The limits of a generation by their subject and rule, for the next one.
#[derive(Default)]
pub struct RateLimits(HashMap<(String, RateRule), Arc<RateLimit>>);

impl RateLimit {
    fn new(subject: String, rule: RateRule) -> RateLimit {
        // Neither an interval of 0 nor a burst of 0 can be written in a rule.
        let quota = Quota::with_period(rule.rate.interval()).expect("a rate is less than one a nanosecond");
        let slots = if rule.by == RateKey::All { RateSlots::one() } else { RateSlots::many() };
        let kind = subject.split(' ').next().unwrap_or_default();
        let window = seconds(rule.rate.interval() * rule.burst.get());
        let policy = HeaderValue::try_from(format!("{kind:?};q={};w={window}", rule.burst));
        RateLimit {
            limiter: RateLimiter::new(quota.allow_burst(rule.burst), slots, MonotonicClock),
            hash: RandomState::new(),
            policy: policy.expect("a word and two numbers are a field value"),
            subject,
            rule,
        }
    }

    /// Counts a request. `address` is that of the client; see [`Peer::origin`](crate::net::Peer::origin). `user` is the
    /// name that a gate told, or `None` before the gates.
    ///
    /// # Errors
    /// The request is beyond the limit. It does not count.
    pub fn admit(
        &self,
        address: Option<IpAddr>,
        fields: &HeaderMap,
        user: Option<&str>,
    ) -> Result<Remaining, RateExceeded> {
        match self.limiter.check_key(&self.key(address, fields, user)) {
            Ok(state) => Ok(self.remaining(state.remaining_burst_capacity())),
            Err(until) => Err(self.exceeded(until.wait_time_from(self.limiter.clock().now()))),
        }
    }

    /// Returns what is left to a client that may send this many requests at once.
    pub fn remaining(&self, requests: u32) -> Remaining {
        let used = self.rule.burst.get().saturating_sub(requests);
        Remaining { requests, time: self.rule.rate.interval() * used }
    }

    /// Makes the refusal of a client whose next request passes after this time.
    pub fn exceeded(&self, retry_after: Duration) -> RateExceeded {
        let limit = self.field(Remaining { requests: 0, time: retry_after });
        RateExceeded { retry_after, policy: self.policy.clone(), limit }
    }

    /// Returns a digest that stands for the client in every daemon. The value of a field may be a credential, which
    /// must not leave the daemon.
    pub fn client(&self, address: Option<IpAddr>, fields: &HeaderMap, user: Option<&str>) -> [u8; 32] {
        let mut digest = Sha256::new();
        self.identify(address, fields, user, |bytes| digest.update(bytes));
        digest.finalize().into()
    }

    /// Returns the `RateLimit-Policy` field: the burst as the quota, and the time in which it is whole again as the
    /// window. `draft-ietf-httpapi-ratelimit-headers-09`, section 3.
    pub fn policy(&self) -> &HeaderValue {
        &self.policy
    }

    /// Returns the `RateLimit` field. `draft-ietf-httpapi-ratelimit-headers-09`, section 4.
    pub fn field(&self, Remaining { requests, time }: Remaining) -> HeaderValue {
        let kind = self.subject.split(' ').next().unwrap_or_default();
        let text = format!("{kind:?};r={requests};t={}", seconds(time));
        HeaderValue::try_from(text).expect("a word and two numbers are a field value")
    }

    fn key(&self, address: Option<IpAddr>, fields: &HeaderMap, user: Option<&str>) -> u64 {
        let mut hasher = self.hash.build_hasher();
        self.identify(address, fields, user, |bytes| hasher.write(bytes));
        hasher.finish()
    }

    /// Puts the bytes that tell a client from others.
    fn identify(
        &self,
        address: Option<IpAddr>,
        fields: &HeaderMap,
        user: Option<&str>,
        mut put: impl FnMut(&[u8]),
    ) {
        match &self.rule.by {
            RateKey::Address => match address {
                Some(IpAddr::V4(address)) => put(&address.octets()),
                Some(IpAddr::V6(address)) => put(&address.octets()),
                // Clients of Unix sockets count as one.
                None => {}
            },
            RateKey::User => {
                put(&[u8::from(user.is_some())]);
                put(user.unwrap_or_default().as_bytes());
            }
            RateKey::Header(name) => put_field(name, fields, put),
            RateKey::All => {}
        }
    }
}

impl RateLimits {
    /// Returns the limit of a subject, with its state if it had the same rule before.
    pub fn get(&mut self, subject: &str, rule: &RateRule) -> Arc<RateLimit> {
        let made = || Arc::new(RateLimit::new(subject.to_owned(), rule.clone()));
        self.0.entry((subject.to_owned(), rule.clone())).or_insert_with(made).clone()
    }

    /// Adds a limit that is in service.
    pub fn keep(&mut self, limit: &Arc<RateLimit>) {
        self.0.insert((limit.subject.clone(), limit.rule.clone()), limit.clone());
    }
}

/// Puts the value of a field. Several values are one key, whatever they are, since a client could add one to each
/// request.
fn put_field(name: &HeaderName, fields: &HeaderMap, mut put: impl FnMut(&[u8])) {
    let mut values = fields.get_all(name).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return put(&[0]),
        (Some(_), Some(_)) => return put(&[1]),
        (Some(value), None) => value.as_bytes(),
    };
    put(&[2]);
    if *name != AUTHORIZATION {
        return put(value);
    }
    // One credential has many spellings: the case of its scheme, and the spaces behind it (RFC 9110 §11.4).
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, credentials) = value.split_at(end);
    put(&scheme.to_ascii_lowercase());
    put(b" ");
    put(credentials.trim_ascii());
}

/// Rounds up to whole seconds, as fields of HTTP have them.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(rate: &str, burst: u32, by: &str) -> RateLimit {
        let rule = RateRule {
            rate: rate.parse().unwrap(),
            burst: burst.try_into().unwrap(),
            by: by.parse().unwrap(),
        };
        RateLimit::new("route * /".to_owned(), rule)
    }

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn a_burst_passes_and_one_more_waits_and_others_are_not_touched() {
        let (limit, none) = (limit("1/h", 3, "address"), HeaderMap::new());

        let left: Vec<_> = (0..3).map(|_| limit.admit(address(1), &none, None).unwrap().requests).collect();
        let refused = limit.admit(address(1), &none, None).unwrap_err();

        assert_eq!(left, [2, 1, 0]);
        assert!(refused.retry_after > Duration::from_secs(3590), "{refused:?}");
        assert_eq!(
            (&refused.policy, &refused.limit),
            (&"\"route\";q=3;w=10800".parse().unwrap(), &"\"route\";r=0;t=3600".parse().unwrap())
        );
        assert!(limit.admit(address(2), &none, None).is_ok() && limit.admit(None, &none, None).is_ok());
    }

    #[test]
    fn a_field_is_a_key_and_its_absence_is_one_too() {
        let limit = limit("1/h", 1, "header:x-api-key");
        let with = |key: &'static str| {
            HeaderMap::from_iter([("x-api-key".parse().unwrap(), HeaderValue::from_static(key))])
        };

        assert!(
            limit.admit(address(1), &with("a"), None).is_ok()
                && limit.admit(address(1), &with("b"), None).is_ok()
        );
        assert!(limit.admit(address(2), &with("a"), None).is_err());
        assert!(
            limit.admit(address(1), &HeaderMap::new(), None).is_ok()
                && limit.admit(address(2), &HeaderMap::new(), None).is_err()
        );
    }

    #[test]
    fn a_client_gains_nothing_by_another_spelling_or_by_a_second_field() {
        let limit = limit("1/h", 1, "header:authorization");
        let with = |values: &[&'static str]| {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            fields
        };
        let passes = |values: &[&'static str]| limit.admit(None, &with(values), None).is_ok();

        assert!(passes(&["Bearer abc"]) && !passes(&["bEARER   abc"]) && !passes(&["bearer abc  "]));
        assert!(passes(&["Bearer ABC"]) && passes(&["Basic abc"]));
        assert!(passes(&["Bearer abc", "1"]) && !passes(&["Bearer abc", "2"]) && !passes(&["x", "y", "z"]));
    }

    #[test]
    fn a_user_is_a_key_wherever_the_client_is() {
        let (limit, none) = (limit("1/h", 1, "user"), HeaderMap::new());

        assert!(limit.admit(address(1), &none, Some("ada")).is_ok());
        assert!(limit.admit(address(2), &none, Some("ada")).is_err());
        assert!(limit.admit(address(1), &none, Some("bob")).is_ok());
        let shared =
            [Some("ada"), Some("ada"), Some("bob"), None].map(|user| limit.client(None, &none, user));
        assert!(shared[0] == shared[1] && shared[1] != shared[2] && shared[2] != shared[3]);
    }

    #[test]
    fn a_limit_for_all_has_one_key() {
        let (limit, none) = (limit("1/h", 2, "all"), HeaderMap::new());

        let passed: Vec<_> = (0..3).map(|number| limit.admit(address(number), &none, None).is_ok()).collect();

        assert_eq!(passed, [true, true, false]);
    }

    #[test]
    fn a_flood_of_keys_makes_no_slots_and_spares_most_of_those_that_wait() {
        let (limit, none) = (limit("1/h", 1, "address"), HeaderMap::new());
        assert!((0..10_000).all(|number| limit.admit(address(number), &none, None).is_ok()));

        // Fewer keys than slots: those that wait go on waiting.
        let refused =
            (0..10_000).filter(|number| limit.admit(address(*number), &none, None).is_err()).count();

        assert!(refused > 9_990, "{refused}");
        for number in 10_000..1_000_000 {
            // Beyond the slots, a new key takes the place of another.
            assert!(limit.admit(address(number), &none, None).is_ok());
        }
    }

    #[test]
    fn a_limit_keeps_its_state_as_long_as_its_rule_stays() {
        let (mut limits, none) = (RateLimits::default(), HeaderMap::new());
        let rule = limit("1/h", 1, "all").rule;
        let first = limits.get("route * /", &rule);
        assert!(first.admit(None, &none, None).is_ok());

        let mut next = RateLimits::default();
        next.keep(&first);

        assert!(next.get("route * /", &rule).admit(None, &none, None).is_err());
        assert!(next.get("route * /b", &rule).admit(None, &none, None).is_ok());
        let other = RateRule { burst: 2.try_into().unwrap(), ..rule };
        assert!(next.get("route * /", &other).admit(None, &none, None).is_ok());
    }
}
