//! The interface between a job that makes an outbound request and the client that carries it out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::Semaphore;

use super::{JobId, Usage};

/// Carries out the outbound requests of one handler, within its grants.
///
/// This is a trait because the sandbox that makes requests lies below the HTTP client.
pub trait Outbound: Send + Sync + 'static {
    /// Sends a request and waits for the head of its response. Dropping the future, or the body of
    /// the response, ends the exchange and closes its connection.
    ///
    /// # Errors
    /// [`OutboundError`]. The body of the response may end with one as well.
    fn send(self: Arc<Self>, account: Arc<OutboundAccount>, call: OutboundCall) -> OutboundFuture;

    /// Lists the grants as they are written: origins, then blocks of addresses.
    fn grants(&self) -> (Vec<String>, Vec<String>);

    /// Returns the counters of finished calls.
    fn tally(&self) -> &Arc<Tally>;
}

/// The future of a call.
pub type OutboundFuture = BoxFuture<'static, Result<Response<CallBody>, OutboundError>>;

/// The body of a request or of a response.
pub type CallBody = UnsyncBoxBody<Bytes, OutboundError>;

/// An outbound request of a job.
pub struct OutboundCall {
    /// The request, with an absolute URI. Its fields about the connection are ignored: the client
    /// sets its own.
    pub request: Request<CallBody>,
    /// The timeouts that the job itself sets. The handler's limits apply as well.
    pub patience: CallTimeouts,
}

/// The timeouts of a job for one call. `None` means that only the handler's limits apply.
#[derive(Clone, Copy, Default, Debug)]
pub struct CallTimeouts {
    /// Until there is a connection.
    pub connect: Option<Duration>,
    /// From the request to the head of the response.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the response.
    pub between_bytes: Option<Duration>,
}

/// The limits of a job's calls. Sizes are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallLimits {
    /// Calls of one job, including denied ones.
    pub calls: usize,
    /// Concurrent calls. One more waits for up to [`CallLimits::connect`].
    pub at_once: usize,
    /// Until there is a connection, including look-up and TLS.
    pub connect: Duration,
    /// From the connection to the head of the response.
    pub first_byte: Duration,
    /// From the call to the last byte of the response. `None` means as long as the job may run.
    pub time: Option<Duration>,
    /// The size of a request body, and of a response body.
    pub body: u64,
}

/// The account of one job: its usage and its remaining calls.
pub struct OutboundAccount {
    /// The job.
    pub job: JobId,
    /// The usage to which the CPU time of its calls is charged.
    pub usage: Arc<Usage>,
    /// Its limits.
    pub limits: CallLimits,
    /// The field `CDN-Loop` of the request that the job answers (RFC 8586).
    pub trail: Option<HeaderValue>,
    /// One permit for each concurrent call.
    pub places: Arc<Semaphore>,
    made: AtomicUsize,
}

/// Why a call got no response, or only a part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OutboundError {
    /// The handler has no grant for the origin.
    Denied,
    /// The host resolves to an address for which the handler has no grant.
    AddressDenied,
    /// The URL names no server, or is written in an unusual way.
    BadUrl,
    /// The method asks for a tunnel.
    BadMethod,
    /// The job has made as many calls as allowed.
    TooMany(usize),
    /// The job has as many concurrent calls as allowed, and none of them ended in time.
    Crowded(usize),
    /// The file descriptors that all jobs share are in use.
    Exhausted,
    /// The host has no address.
    NotFound(String),
    /// Nothing listens at the address.
    Refused,
    /// The host cannot be reached.
    Unreachable(String),
    /// There was no connection in time.
    ConnectTimeout,
    /// The server's certificate is not trusted.
    Certificate(String),
    /// TLS with the server failed.
    Tls(String),
    /// The head of the response did not arrive in time.
    FirstByteTimeout,
    /// The next piece of the response did not arrive in time.
    BetweenBytesTimeout,
    /// The response was not complete in time.
    TimedOut,
    /// The job aborted its request.
    Abandoned,
    /// The body of the request is larger than this many bytes.
    RequestTooLarge(u64),
    /// The body of the response is larger than this many bytes.
    ResponseTooLarge(u64),
    /// The head of the response exceeds its limit.
    HeadTooLarge,
    /// The response broke off.
    Incomplete,
    /// The server violated HTTP, or speaks a version that we do not.
    Protocol(String),
    /// A failure of the daemon or its configuration.
    Ours(String),
}

/// The outcome of a call, as metrics label it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutboundOutcome {
    /// There was a response.
    Answered,
    /// The call was not allowed.
    Denied,
    /// The call exceeded a limit on number or size.
    Limited,
    /// There was no trusted connection.
    Unreachable,
    /// The call timed out.
    TimedOut,
    /// Any other failure.
    Failed,
}

/// Counts calls by their outcomes.
#[derive(Default, Debug)]
pub struct Tally([AtomicU64; OutboundOutcome::ALL.len()]);

impl CallLimits {
    /// The limits of a handler that sets none. No more concurrent connections than a browser opens
    /// to one host.
    pub const DEFAULT: CallLimits = CallLimits {
        calls: 32,
        at_once: 6,
        connect: Duration::from_secs(5),
        first_byte: Duration::from_secs(15),
        time: Some(Duration::from_secs(30)),
        body: 16 << 20,
    };
}

impl OutboundAccount {
    /// Opens the account of a job.
    pub fn new(
        job: JobId,
        usage: Arc<Usage>,
        limits: CallLimits,
        trail: Option<HeaderValue>,
    ) -> OutboundAccount {
        let places = Arc::new(Semaphore::new(limits.at_once));
        OutboundAccount { job, usage, limits, trail, places, made: AtomicUsize::new(0) }
    }

    /// Charges one call to the account.
    ///
    /// # Errors
    /// [`OutboundError::TooMany`]: the job has made all its calls.
    pub fn charge(&self) -> Result<(), OutboundError> {
        match self.made.fetch_add(1, Ordering::Relaxed) {
            made if made < self.limits.calls => Ok(()),
            _ => Err(OutboundError::TooMany(self.limits.calls)),
        }
    }
}

impl OutboundError {
    /// Returns the outcome for metrics.
    pub fn outcome(&self) -> OutboundOutcome {
        match self {
            OutboundError::Denied
            | OutboundError::AddressDenied
            | OutboundError::BadUrl
            | OutboundError::BadMethod => OutboundOutcome::Denied,
            OutboundError::TooMany(_)
            | OutboundError::Crowded(_)
            | OutboundError::Exhausted
            | OutboundError::RequestTooLarge(_)
            | OutboundError::ResponseTooLarge(_)
            | OutboundError::HeadTooLarge => OutboundOutcome::Limited,
            OutboundError::NotFound(_)
            | OutboundError::Refused
            | OutboundError::Unreachable(_)
            | OutboundError::Certificate(_)
            | OutboundError::Tls(_) => OutboundOutcome::Unreachable,
            OutboundError::ConnectTimeout
            | OutboundError::FirstByteTimeout
            | OutboundError::BetweenBytesTimeout
            | OutboundError::TimedOut => OutboundOutcome::TimedOut,
            OutboundError::Abandoned
            | OutboundError::Incomplete
            | OutboundError::Protocol(_)
            | OutboundError::Ours(_) => OutboundOutcome::Failed,
        }
    }
}

impl OutboundOutcome {
    /// Every outcome, in the order of their declaration.
    pub const ALL: [OutboundOutcome; 6] = [
        OutboundOutcome::Answered,
        OutboundOutcome::Denied,
        OutboundOutcome::Limited,
        OutboundOutcome::Unreachable,
        OutboundOutcome::TimedOut,
        OutboundOutcome::Failed,
    ];

    /// Returns the label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            OutboundOutcome::Answered => "answered",
            OutboundOutcome::Denied => "denied",
            OutboundOutcome::Limited => "limited",
            OutboundOutcome::Unreachable => "unreachable",
            OutboundOutcome::TimedOut => "timed_out",
            OutboundOutcome::Failed => "failed",
        }
    }
}

impl Tally {
    /// Counts a call.
    pub fn count(&self, outcome: OutboundOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of calls with this outcome.
    pub fn of(&self, outcome: OutboundOutcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }
}

/// The label in metrics.
impl fmt::Display for OutboundOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl fmt::Display for OutboundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutboundError::Denied => f.write_str("the origin is not allowed (allow)"),
            OutboundError::AddressDenied => f.write_str("the address is not allowed (allow_addresses)"),
            OutboundError::BadUrl => f.write_str("the URL names no server"),
            OutboundError::BadMethod => f.write_str("there are no tunnels"),
            OutboundError::TooMany(max) => {
                write!(f, "the job has made its {max} calls (limits.outbound.calls)")
            }
            OutboundError::Crowded(max) => {
                write!(f, "{max} calls are under way and none ends (limits.outbound.at_once)")
            }
            OutboundError::Exhausted => f.write_str("the file descriptors that all jobs share are in use"),
            OutboundError::NotFound(why) | OutboundError::Unreachable(why) => f.write_str(why),
            OutboundError::Refused => f.write_str("connection refused"),
            OutboundError::ConnectTimeout => f.write_str("no connection in time (limits.outbound.connect)"),
            OutboundError::Certificate(why) => write!(f, "the certificate is refused: {why}"),
            OutboundError::Tls(why) => write!(f, "TLS fails: {why}"),
            OutboundError::FirstByteTimeout => f.write_str("no answer in time (limits.outbound.first_byte)"),
            OutboundError::BetweenBytesTimeout => f.write_str("the answer stalls"),
            OutboundError::TimedOut => f.write_str("the call takes too long (limits.outbound.time)"),
            OutboundError::RequestTooLarge(max) => {
                write!(f, "the request is larger than {max} bytes (limits.outbound.body)")
            }
            OutboundError::ResponseTooLarge(max) => {
                write!(f, "the response is larger than {max} bytes (limits.outbound.body)")
            }
            OutboundError::Abandoned => f.write_str("the body of the request breaks off"),
            OutboundError::HeadTooLarge => f.write_str("the head of the response is too large"),
            OutboundError::Incomplete => f.write_str("the response breaks off"),
            OutboundError::Protocol(why) | OutboundError::Ours(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for OutboundError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_place_of_its_own() {
        let tally = Tally::default();

        for (position, outcome) in OutboundOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, position);
            (0..=position).for_each(|_| tally.count(outcome));
        }

        assert_eq!(OutboundOutcome::ALL.map(|outcome| tally.of(outcome)), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_last_call_that_is_allowed_is_made_and_no_more() {
        let account = OutboundAccount::new(
            JobId(1),
            Arc::default(),
            CallLimits { calls: 2, ..CallLimits::DEFAULT },
            None,
        );

        let outcomes = [account.charge(), account.charge(), account.charge()];

        assert_eq!(outcomes, [Ok(()), Ok(()), Err(OutboundError::TooMany(2))]);
    }
}
