//! `acceptconnections`: opens the gate, then reports to systemd that the daemon is ready.

use std::sync::Arc;

use super::daemon_state::DaemonState;
use crate::engine::{Engine, NativeJob};
use crate::job::{Job, Run, Status};
use crate::net::Opened;
use crate::observe::systemd;

/// Opens the gate. Running it again changes nothing and says so.
pub struct AcceptConnections {
    /// The daemon of the gate.
    pub state: Arc<DaemonState>,
}

impl NativeJob for AcceptConnections {
    fn run(self: Arc<Self>, _engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let (status, said) = match self.state.server.gate.open() {
                Opened::Now => {
                    // After the gate is open: a service that waits for this report may connect at once.
                    systemd::ready(&self.state.status());
                    (Status::OK, "open\n")
                }
                Opened::Already => (Status::OK, "already open\n"),
                Opened::TooLate => (Status::ERROR, "the daemon is draining: the gate stays shut\n"),
            };
            let to = if status.is_ok() { &job.stdout } else { &job.stderr };
            // The gate matters; the text may have no reader.
            let _told = to.write_all(said).await;
            Ok(status)
        })
    }
}
