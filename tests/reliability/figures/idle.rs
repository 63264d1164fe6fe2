//! What idle connections cost.

use anyhow::Result;

use crate::cases::{Figure, Outcome};
use crate::load;

/// Connections that have asked once and keep still.
const CONNECTIONS_AT_ONCE: usize = 10_000;

/// What one may cost, in bytes.
const MOST: u64 = 16 << 10;

pub(crate) static CONNECTIONS: Figure = Figure {
    name: "idle",
    measure: |ground| {
        let settings =
            "http.connections = 12000\nhttp.connections_per_peer = 12000\nhttp.keep_alive = \"10m\"\n";
        let daemon = ground.daemon(settings)?;
        let before = daemon.memory()?;
        let held = load::idle(daemon.address, CONNECTIONS_AT_ONCE)?;
        let with = daemon.memory()?;
        drop(held);
        outcome(with.saturating_sub(before), with)
    },
};

fn outcome(cost: u64, all: u64) -> Result<Outcome> {
    let each = cost / CONNECTIONS_AT_ONCE as u64;
    Ok(Outcome {
        holds: each <= MOST,
        text: format!(
            "{CONNECTIONS_AT_ONCE} idle connections: {} bytes each, {} MiB in all",
            each,
            all >> 20
        ),
    })
}
