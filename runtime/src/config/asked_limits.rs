//! The limits set in a configuration that cost file descriptors.

use super::reader::Keyed;
use super::schema;

/// Whether a limit that costs file descriptors is set, for one handler or for all. A default asks for none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AskedLimits {
    /// Whether `limits.handles` is set.
    pub handles: bool,
    /// Whether `limits.concurrency` is set.
    pub concurrency: bool,
    /// Whether `limits.outbound.at_once` is set.
    pub calls: bool,
}

impl AskedLimits {
    /// Adds what `[limits]` or the limits of a handler set.
    pub(super) fn with(self, written: Option<&Keyed<schema::Limits>>) -> AskedLimits {
        let Some(Keyed { value: limits, .. }) = written else { return self };
        let calls = limits.outbound.as_ref().is_some_and(|outbound| outbound.value.at_once.is_some());
        AskedLimits {
            handles: self.handles || limits.handles.is_some(),
            concurrency: self.concurrency || limits.concurrency.is_some(),
            calls: self.calls || calls,
        }
    }
}
