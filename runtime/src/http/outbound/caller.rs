//! Makes the calls of a handler to other servers. Most checks precede the first packet.

use std::sync::Arc;

use http::{Method, Uri, uri};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Duration, Instant, timeout_at};

use super::bounds::{CallBounds, FOR_EVER};
use super::call_outcome::CallOutcome;
use super::cpu_charge::{ChargedCall, Payer};
use super::denials::Denials;
use super::exchange::{HomeTask, HttpCall};
use super::pool::ConnectionPool;
use crate::budget::Portion;
use crate::job::outbound::{
    CallTimeouts, OutboundAccount, OutboundCall, OutboundError, OutboundFuture, Tally,
};
use crate::job::{Name, Outbound};
use crate::net::outbound::{Block, Channel, DialError, Dialer, Origin, Pattern, Resolve, Scheme, Trust};

/// What a handler may request from other servers.
pub struct Grant {
    /// The name of the handler.
    pub name: Name,
    /// The origins it may call. An empty list allows none.
    pub allow: Vec<Pattern>,
    /// The non-public addresses it may reach.
    pub addresses: Vec<Block>,
    /// The certificates it trusts.
    pub trust: Trust,
    /// The handler's share of the file descriptors that all jobs have in common. Each connection takes
    /// one.
    pub descriptors: Portion,
}

/// Makes the calls of one handler version.
pub struct OutboundCaller {
    allow: Vec<Pattern>,
    dialer: Dialer,
    tally: Arc<Tally>,
    notices: Denials,
    kept: ConnectionPool,
    descriptors: Portion,
    home: Option<Handle>,
}

impl OutboundCaller {
    /// Makes a caller that resolves names with `resolver` and does all its work in the runtime `home`.
    /// A job may be polled by a thread that is not even allowed to read /etc/resolv.conf. With `home`
    /// at `None`, the work is done where the job is polled.
    pub fn new(grant: Grant, resolver: Arc<dyn Resolve>, home: Option<Handle>) -> OutboundCaller {
        let Grant { name, allow, addresses, trust, descriptors } = grant;
        let dialer = Dialer { resolver, addresses, trust };
        let kept = ConnectionPool::new(home.clone());
        let (tally, notices) = (Arc::default(), Denials::new(name));
        OutboundCaller { allow, dialer, tally, notices, kept, descriptors, home }
    }

    /// Makes the checks that precede a connection. Returns the origin, and the permit for the call.
    async fn admit(
        &self,
        account: &OutboundAccount,
        wanted: WantedCall<'_>,
        whole: Instant,
    ) -> Result<Admitted, OutboundError> {
        account.charge()?;
        let origin = self.origin(account, wanted.url)?;
        // RFC 9110 §9.3.6: a tunnel through the server could lead anywhere.
        if *wanted.method == Method::CONNECT {
            return Err(OutboundError::BadMethod);
        }
        let patience = account.limits.connect.min(wanted.patience.connect.unwrap_or(account.limits.connect));
        let deadline = (Instant::now() + patience).min(whole);
        match timeout_at(deadline, account.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(Admitted { origin, place, patience, deadline }),
            Ok(Err(_)) | Err(_) => Err(OutboundError::Crowded(account.limits.at_once)),
        }
    }

    async fn dial(
        &self,
        account: &OutboundAccount,
        origin: &Origin,
        patience: Duration,
        deadline: Instant,
    ) -> Result<(Channel, Portion), OutboundError> {
        // With no descriptor left, an idle connection is closed to make room for this call.
        let free = || self.descriptors.another(1);
        let descriptor = free()
            .or_else(|| self.kept.close_oldest().then(free).flatten())
            .ok_or(OutboundError::Exhausted)?;
        match timeout_at(deadline, self.dialer.dial(origin, patience)).await {
            Ok(Ok(channel)) => Ok((channel, descriptor)),
            Ok(Err(error)) => Err(self.tell(account, origin, error)),
            Err(_) => Err(OutboundError::ConnectTimeout),
        }
    }

    /// Reads the origin of a URL and checks that it is allowed.
    fn origin(&self, account: &OutboundAccount, url: &Uri) -> Result<Origin, OutboundError> {
        let scheme = match url.scheme() {
            Some(scheme) if *scheme == uri::Scheme::HTTP => Some(Scheme::Http),
            Some(scheme) if *scheme == uri::Scheme::HTTPS => Some(Scheme::Https),
            Some(_) | None => None,
        };
        let authority = url.authority().map(uri::Authority::as_str).unwrap_or_default();
        let Some(origin) = scheme.and_then(|scheme| Origin::new(scheme, authority).ok()) else {
            // The URL is not quoted: if it is refused for its user information, it contains a password.
            self.notices.say(account.job, format_args!("a URL that cannot be parsed is refused: write http://HOST:PORT/ with a name or an address, and no user name"));
            return Err(OutboundError::BadUrl);
        };
        if self.allow.iter().any(|pattern| pattern.allows(&origin)) {
            return Ok(origin);
        }
        self.notices.origin(account.job, &origin);
        Err(OutboundError::Denied)
    }

    /// Converts a dial error into the error for the job, and logs the causes that an operator can fix.
    fn tell(&self, account: &OutboundAccount, origin: &Origin, error: DialError) -> OutboundError {
        match error {
            DialError::Prohibited(prohibited) => {
                let block = Block::of(prohibited.address);
                self.notices.address(account.job, origin, &prohibited.to_string(), &block);
                OutboundError::AddressDenied
            }
            DialError::Roots(why) => {
                self.notices.say(account.job, format_args!("{origin} fails: {why:#}"));
                OutboundError::Ours("no certificate is trusted: see the daemon's log".to_owned())
            }
            DialError::Certificate(why) => {
                self.notices
                    .say(account.job, format_args!("{origin} fails: the certificate is refused: {why}"));
                OutboundError::Certificate(why)
            }
            DialError::Lookup(why) => OutboundError::NotFound(format!("the host has no address: {why}")),
            DialError::Connect(why) if why.kind() == std::io::ErrorKind::ConnectionRefused => {
                OutboundError::Refused
            }
            DialError::Connect(why) if why.kind() == std::io::ErrorKind::TimedOut => {
                OutboundError::ConnectTimeout
            }
            DialError::Connect(why) => OutboundError::Unreachable(why.to_string()),
            DialError::Tls(why) => OutboundError::Tls(why.to_string()),
        }
    }
}

/// A call without its body, which cannot be shared between threads.
#[derive(Clone, Copy)]
struct WantedCall<'a> {
    method: &'a Method,
    url: &'a Uri,
    patience: CallTimeouts,
}

/// A call that has passed the checks.
struct Admitted {
    origin: Origin,
    place: OwnedSemaphorePermit,
    /// The connect timeout, if a connection is to be made.
    patience: Duration,
    deadline: Instant,
}

impl Outbound for OutboundCaller {
    fn send(self: Arc<Self>, account: Arc<OutboundAccount>, mut call: OutboundCall) -> OutboundFuture {
        let home = self.home.clone();
        let payer = Payer::default();
        payer.becomes(Some(account.usage.clone()));
        let work = async move {
            // Made first, so that a call that is dropped early is counted as well.
            let mut counted = CallOutcome::new(self.tally.clone(), &account.usage, &mut call.request);
            let limits = account.limits;
            let whole = Instant::now() + limits.time.unwrap_or(FOR_EVER);
            let answer = async {
                let Admitted { origin, place, patience, deadline } = {
                    let OutboundCall { request, patience } = &call;
                    let wanted =
                        WantedCall { method: request.method(), url: request.uri(), patience: *patience };
                    self.admit(&account, wanted, whole)
                }
                .await?;
                let bounds = CallBounds {
                    first_byte: limits.first_byte.min(call.patience.first_byte.unwrap_or(limits.first_byte)),
                    between_bytes: call.patience.between_bytes,
                    whole,
                    body: limits.body,
                };
                let trail = account.trail.as_ref();
                let exchange =
                    HttpCall { origin: &origin, kept: &self.kept, trail, usage: &account.usage, bounds };
                let dial = self.dial(&account, &origin, patience, deadline);
                exchange.run(dial, call.request, place).await
            };
            match answer.await {
                Ok(response) => {
                    counted.answered(response.status());
                    Ok(response.map(|body| body.counted(counted)))
                }
                Err(error) => {
                    counted.end(error.outcome());
                    Err(error)
                }
            }
        };
        match home {
            Some(home) => Box::pin(HomeTask::new(home.spawn(ChargedCall::new(payer, work)))),
            // The job polls this and pays for its own polls.
            None => Box::pin(work),
        }
    }

    fn grants(&self) -> (Vec<String>, Vec<String>) {
        let origins = self.allow.iter().map(ToString::to_string).collect();
        (origins, self.dialer.addresses.iter().map(ToString::to_string).collect())
    }

    fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }
}
