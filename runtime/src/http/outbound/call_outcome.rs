//! A guard that counts a call once, however the call ends, and tells it to the history of its job.

use std::sync::Arc;
use std::time::Instant;

use http::Uri;

use crate::job::Usage;
use crate::job::outbound::{OutboundOutcome, Tally};
use crate::observe::brief;
use crate::observe::history::CallSummary;

/// The most bytes of an origin that the history keeps.
const ORIGIN: usize = 128;

/// Counts its call when dropped.
pub(super) struct CallOutcome {
    tally: Arc<Tally>,
    outcome: OutboundOutcome,
    /// `None` if the history does not want the call.
    told: Option<HistoryCall>,
}

/// A call for the history of its job.
struct HistoryCall {
    usage: Arc<Usage>,
    started: Instant,
    origin: String,
}

impl CallOutcome {
    pub(super) fn new(tally: Arc<Tally>, usage: &Arc<Usage>, url: &Uri) -> CallOutcome {
        let told = usage.ends.keeps_calls().then(|| HistoryCall {
            usage: usage.clone(),
            started: Instant::now(),
            origin: origin(url),
        });
        CallOutcome { tally, outcome: OutboundOutcome::Failed, told }
    }

    pub(super) fn end(mut self, outcome: OutboundOutcome) {
        self.outcome = outcome;
    }

    pub(super) fn becomes(&mut self, outcome: OutboundOutcome) {
        self.outcome = outcome;
    }
}

/// Returns the origin of a URL, without the user information, which may hold a password.
fn origin(url: &Uri) -> String {
    let (scheme, host) = (url.scheme_str().unwrap_or("-"), url.host().unwrap_or("-"));
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    brief(format_args!("{scheme}://{host}{port}"), ORIGIN)
}

impl Drop for CallOutcome {
    fn drop(&mut self) {
        self.tally.count(self.outcome);
        if let Some(HistoryCall { usage, started, origin }) = self.told.take() {
            let (time, outcome) = (started.elapsed(), self.outcome.label());
            usage.ends.called(CallSummary { started, time, origin, outcome });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_password_and_no_path() {
        let shown = |url: &str| origin(&url.parse().unwrap());

        assert_eq!(shown("https://ada:s3cret@api.example:8443/a?b=c"), "https://api.example:8443");
        assert_eq!((shown("http://[::1]/"), shown("/a")), ("http://[::1]".to_owned(), "-://-".to_owned()));
    }
}
