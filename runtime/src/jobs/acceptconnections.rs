//! `acceptconnections`: opens the gate, then tells systemd that we are ready.

use std::sync::Arc;

use sd_notify::NotifyState;
use tracing::warn;

use crate::job::{Handler, Job, Run, Status};
use crate::net::{Gate, Opened};

/// Opens this gate. Running it again changes nothing and says so.
pub struct AcceptConnections {
    /// The gate of the daemon.
    pub gate: Gate,
}

impl Handler for AcceptConnections {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let (status, said) = match self.gate.open() {
                Opened::Now => {
                    notify_ready();
                    (Status::OK, "open\n")
                }
                Opened::Already => (Status::OK, "already open\n"),
                Opened::TooLate => (Status::ERROR, "the daemon is draining: the gate stays shut\n"),
            };
            let to = if status.is_ok() { &job.stdout } else { &job.stderr };
            // Nobody may be listening, and the gate is what matters.
            let _told = to.write_all(said).await;
            Ok(status)
        })
    }
}

/// Tells the service manager, if there is one. After the gate and not before it: whoever waits for
/// this message may connect at once.
fn notify_ready() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("accepting connections")])
    {
        warn!("cannot tell the service manager that we are ready: {error}");
    }
}
