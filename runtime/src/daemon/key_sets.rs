//! Fetches the sets of keys that gates name by a URL, and refreshes them for as long as the daemon serves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::access::{FetchedKeySet, KeySetSource};
use crate::http::outbound::{DaemonClient, ExchangeLimits};
use crate::jobs::DaemonState;
use crate::net::outbound::Trust;

/// The limits of one fetch. A set of a hundred keys has less than 100 KiB.
const LIMITS: ExchangeLimits = ExchangeLimits { size: 1 << 20, time: Duration::from_secs(10) };

/// Keeps the sets of the configuration in force. Nothing waits for it: until its first keys are there, a gate answers 503.
///
/// # Cancel safety
/// Dropping the future ends all fetches.
pub(super) async fn keep(state: Arc<DaemonState>) {
    let mut adopted = state.adopted();
    loop {
        // The next configuration has the same sets as far as they have not changed, and they know when they are due.
        let mut fetching = JoinSet::new();
        for set in state.config.load_full().key_sets() {
            fetching.spawn(refresh(set.clone()));
        }
        if adopted.changed().await.is_err() {
            return;
        }
    }
}

async fn refresh(set: Arc<FetchedKeySet>) {
    let KeySetSource { gate, url, ca, .. } = &set.source;
    let trust = match Trust::with(ca.as_deref()) {
        Ok(trust) => trust,
        Err(refusal) => {
            warn!("gate {gate}: outbound.ca: {refusal:#}");
            set.fail(format!("outbound.ca: {refusal:#}"));
            return;
        }
    };
    let client = DaemonClient::new(trust, LIMITS);
    loop {
        set.due().await;
        let fetched = fetch(&client, url).await;
        match fetched.and_then(|json| set.take(&json)) {
            Ok(keys) if set.figures().successes == 1 => info!("gate {gate}: {keys} keys from {url}"),
            Ok(keys) => debug!("gate {gate}: {keys} keys from {url}"),
            Err(why) => {
                // Once for a row of failures: status and metrics show how it goes on.
                if set.fail(why.clone()) {
                    warn!(
                        "gate {gate}: the keys of {url} cannot be fetched, those that are there stay: {why}"
                    );
                }
            }
        }
    }
}

/// Fetches a set.
///
/// # Errors
/// Why there is no response with status 200 within the limits, for the log.
async fn fetch(client: &DaemonClient, url: &str) -> Result<Bytes, String> {
    let request = Request::get(url).header(ACCEPT, "application/json").body(Bytes::new());
    let response = client.send(request.map_err(|error| error.to_string())?).await?;
    match response.status() {
        StatusCode::OK => Ok(response.into_body()),
        other => Err(format!("the response has status {}", other.as_u16())),
    }
}
