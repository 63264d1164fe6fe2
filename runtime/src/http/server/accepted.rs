//! A connection that was accepted, and what it is served with.

use std::sync::Arc;

use crate::http::context::{Server, Settings};
use crate::net::{Leaving, Peer};

/// A connection that was accepted, and what it is served with.
pub(in crate::http) struct Accepted {
    pub(in crate::http) server: Arc<Server>,
    /// Pinned: a reload changes nothing for a connection that is open.
    pub(in crate::http) settings: Arc<Settings>,
    pub(in crate::http) peer: Peer,
    /// Begins when the connection is to leave.
    pub(in crate::http) leaving: Leaving,
}
