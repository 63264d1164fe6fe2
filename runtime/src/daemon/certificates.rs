//! Keeps the certificates of `[tls.acme]` valid while the daemon serves.

use std::future::pending;
use std::sync::Arc;

use crate::acme;
use crate::jobs::DaemonState;
use crate::net::AcmeCertificates;

/// Obtains and renews the certificates of the configuration in force, from the opening of the gate until it drains: the
/// server validates through it, and after an upgrade the next process goes on. The gate does not wait for a certificate.
pub(super) async fn keep(state: Arc<DaemonState>) {
    let gate = &state.server.gate;
    if gate.opened().await.is_err() {
        return;
    }
    let mut adopted = state.adopted();
    loop {
        let current = certificates(&state);
        let keeping = async {
            match &current {
                // Boxed, because most daemons have no such certificates.
                Some(certificates) => Box::pin(acme::keep(certificates.clone())).await,
                None => pending().await,
            }
        };
        let changed = async {
            while same(current.as_ref(), certificates(&state).as_ref()) {
                if adopted.changed().await.is_err() {
                    pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = keeping => return,
            () = changed => {}
            () = gate.draining() => return,
        }
    }
}

fn certificates(state: &DaemonState) -> Option<Arc<AcmeCertificates>> {
    state.tls().and_then(|tls| tls.acme().cloned())
}

/// Returns whether a reload has kept the certificates as they are.
fn same(before: Option<&Arc<AcmeCertificates>>, now: Option<&Arc<AcmeCertificates>>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
