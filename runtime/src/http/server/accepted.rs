//! An accepted connection, and the settings it is served with.

use std::sync::Arc;

use crate::http::context::Settings;
use crate::net::{DrainSignal, Peer};

/// An accepted connection, and the settings it is served with.
pub(in crate::http) struct Accepted<S> {
    pub(in crate::http) service: Arc<S>,
    /// Pinned, so that a reload changes nothing for an open connection.
    pub(in crate::http) settings: Arc<Settings>,
    pub(in crate::http) peer: Peer,
    /// Signals when the connection should drain.
    pub(in crate::http) leaving: DrainSignal,
}
