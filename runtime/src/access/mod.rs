//! Decides who a client is, and whether it may pass; pure, without sockets and without jobs.
//!
//! Floors, lowest first: `networks`, `operator_rights`, `rate_rule`, `rate_slots`, `ring_provider`, `verified_lately`;
//! `passwords`, `address_set`, `rate_limit`, `tokens`;
//! `forwarded`, `gate`.

mod address_set;
mod forwarded;
mod gate;
mod networks;
mod operator_rights;
mod passwords;
mod rate_limit;
mod rate_rule;
mod rate_slots;
mod ring_provider;
mod tokens;
mod verified_lately;

pub use address_set::{AddressSet, UnixClients};
pub use forwarded::{ForwardedScheme, Forwarding, HOPS, UnclearForwarding};
pub use gate::{AccessCheck, AccessGate, AddressRules, CertificateNames};
pub use networks::Networks;
pub use operator_rights::OperatorRights;
pub use passwords::{BasicCredentials, PasswordCrowd, PasswordHash, Passwords};
pub use rate_limit::{RateExceeded, RateLimit, RateLimits, Remaining};
pub use rate_rule::{MOST_REQUESTS, Rate, RateKey, RateRule, RateUnit};
pub use tokens::{TokenClaims, TokenKeySource, TokenRules, algorithm};
