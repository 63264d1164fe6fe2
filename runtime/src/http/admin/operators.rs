//! Serves the sockets of operators: the admin socket, and the addresses of `observe`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Response;
use tracing::info;

use super::observe;
use super::run_job::{self, AdminRequest};
use crate::http::context::{Observed, Server, Settings};
use crate::http::limits::admin_slots::AdminSlots;
use crate::http::limits::party::Party;
use crate::http::refusal::{Details, Refusal};
use crate::http::request::drain_body::DrainBody;
use crate::http::request::request_log::RequestLog;
use crate::http::request::response_body::Body;
use crate::http::server::accept::AcceptLoop;
use crate::http::service::{RequestContext, Service};
use crate::net::Peer;

/// Serves operators.
struct OperatorService {
    server: Arc<Server>,
    observed: Observed,
    access: OperatorAccess,
}

/// What an operator may do.
enum OperatorAccess {
    /// Everything: the admin socket.
    Admin(AdminSlots),
    /// Look at metrics and health checks: the addresses of `observe`.
    Observe,
}

/// Makes the service of the admin socket.
pub fn admin(server: Arc<Server>, observed: Observed) -> Arc<dyn AcceptLoop> {
    Arc::new(OperatorService { server, observed, access: OperatorAccess::Admin(AdminSlots::default()) })
}

/// Makes the service of the addresses of `observe`.
pub fn observe(server: Arc<Server>, observed: Observed) -> Arc<dyn AcceptLoop> {
    Arc::new(OperatorService { server, observed, access: OperatorAccess::Observe })
}

impl Service for OperatorService {
    type Pinned = ();

    fn server(&self) -> &Arc<Server> {
        &self.server
    }

    fn takes_tls(&self) -> bool {
        match self.access {
            OperatorAccess::Admin(_) => true,
            // Observers, such as a kubelet, have no certificate, and they are shown no secret.
            OperatorAccess::Observe => false,
        }
    }

    fn party(&self, peer: &Peer, origin: Option<IpAddr>) -> Party {
        match self.access {
            // Whatever the group may do now: a reload may take rights from it while its connections stay open.
            OperatorAccess::Admin(_) if !run_job::is_owner(peer) => Party::OtherUsers,
            OperatorAccess::Admin(_) | OperatorAccess::Observe => Party::of(origin),
        }
    }

    fn pin(&self) {}

    async fn answer(
        &self,
        request: RequestContext<'_, ()>,
        body: &mut DrainBody,
        _log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let observed = &self.observed;
        match &self.access {
            OperatorAccess::Admin(slots) => AdminRequest { request, observed, slots }.answer(body).await,
            OperatorAccess::Observe => observe::show(request, observed),
        }
    }

    fn log_refusal(&self, asked: fmt::Arguments<'_>, peer: &Peer) {
        if let OperatorAccess::Admin(_) = self.access {
            info!("admin: {asked} by {}: refused", peer.remote());
        }
    }

    fn details(&self, _settings: &Settings) -> Details {
        match self.access {
            OperatorAccess::Admin(_) => Details::Told,
            OperatorAccess::Observe => Details::Withheld,
        }
    }
}
