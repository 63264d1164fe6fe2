//! The limits of connections, handshakes and long admin requests, and the counts of refusals.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `activity` | the count of connections or requests, and how long it has been zero |
//! | `direct_counts` | the counts of responses of routes without a handler |
//! | `refusal_counts` | the counts of refusals by code |
//! | `handshakes` | concurrent TLS handshakes |
//! | `admin_slots` | concurrent long requests to the admin socket |
//! | `party` | the party whose limit a connection counts against |
//! | `connections` | concurrent connections, in all and per party |

pub(in crate::http) mod activity;
pub(in crate::http) mod admin_slots;
pub(in crate::http) mod connections;
pub(in crate::http) mod direct_counts;
pub(in crate::http) mod handshakes;
pub(in crate::http) mod party;
pub(in crate::http) mod refusal_counts;
