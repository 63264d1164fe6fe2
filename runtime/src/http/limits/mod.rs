//! How many connections, handshakes and long admin requests there may be, and what was refused.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `activity` | how many there are, and when the last one ended |
//! | `refusal_counts` | refusals by their code |
//! | `handshakes` | TLS handshakes at once |
//! | `admin_slots` | long requests to the admin socket at once |
//! | `connections` | connections at once, in all and of one address |

pub(in crate::http) mod activity;
pub(in crate::http) mod admin_slots;
pub(in crate::http) mod connections;
pub(in crate::http) mod handshakes;
pub(in crate::http) mod refusal_counts;
