//! The cost of idle connections.

use std::time::Duration;

use crate::cases::{Figure, Outcome};
use crate::load;

/// Connections that send one request and then stay idle.
const CONNECTIONS_AT_ONCE: usize = 10_000;

/// The limit on the memory of a connection, in bytes. A bare hyper server takes about 24 KiB, most of it in its read
/// buffer.
const MOST: u64 = 32 << 10;

pub(crate) static CONNECTIONS: Figure = Figure {
    name: "idle",
    measure: |ground| {
        let settings =
            "http.connections = 12000\nhttp.connections_per_peer = 12000\nhttp.keep_alive = \"10m\"\n";
        let daemon = ground.daemon(settings)?;
        let (before, files) = (daemon.memory()?, daemon.descriptors()?);
        let held = load::idle(daemon.address, CONNECTIONS_AT_ONCE)?;
        let with = daemon.memory()?;
        drop(held);
        let each = with.saturating_sub(before) / CONNECTIONS_AT_ONCE as u64;
        let recovery = daemon.recovered()?;
        daemon.emptied(files)?;
        // The allocator returns memory at its next use.
        daemon.good(Duration::from_secs(1))?;
        Ok(Outcome {
            holds: each <= MOST,
            text: format!(
                "{CONNECTIONS_AT_ONCE} idle connections: {each} bytes each, {} MiB in all, {} MiB when they have left",
                with >> 20,
                daemon.memory()? >> 20
            ),
            recovery,
        })
    },
};
