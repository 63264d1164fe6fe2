//! Decides who a client is, and whether it may pass; pure, without sockets and without jobs.
//!
//! Floors, lowest first: `networks`, `operator_rights`, `origin_places`, `rate_rule`, `rate_slots`, `ring_provider`,
//! `verified_lately`; `address_set`, `rate_limit`, `token_keys`, `verifications`; `forwarded`, `key_set`, `passwords`; `tokens`;
//! `gate`.

mod address_set;
mod forwarded;
mod gate;
mod key_set;
mod networks;
mod operator_rights;
mod origin_places;
mod passwords;
mod rate_limit;
mod rate_rule;
mod rate_slots;
mod ring_provider;
mod token_keys;
mod tokens;
mod verifications;
mod verified_lately;

pub use address_set::{AddressSet, UnixClients};
pub use forwarded::{ForwardedScheme, Forwarding, HOPS, UnclearForwarding};
pub use gate::{AccessCheck, AccessGate, AddressRules, CertificateNameKind, CertificateNames};
pub use key_set::{FetchedKeySet, KeySetFigures, KeySetSource};
pub use networks::Networks;
pub use operator_rights::OperatorRights;
pub use origin_places::{OriginPlace, OriginPlaces};
pub use passwords::{BasicCredentials, PasswordCrowd, PasswordHash, Passwords};
pub use rate_limit::{RateExceeded, RateLimit, RateLimits, Remaining};
pub use rate_rule::{MOST_REQUESTS, Rate, RateKey, RateRule, RateUnit};
pub use token_keys::{TokenClaims, TokenKeySource, algorithm};
pub use tokens::{TokenError, TokenRules};
pub use verified_lately::CredentialDigest;
