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
    /// [`CallError`]. The body of the response may end with one as well.
    fn send(self: Arc<Self>, account: Arc<Account>, call: Call) -> Calling;

    /// Lists the grants as they are written: origins, then blocks of addresses.
    fn grants(&self) -> (Vec<String>, Vec<String>);

    /// Returns the counters of finished calls.
    fn tally(&self) -> &Arc<Tally>;
}

/// The future of a call.
pub type Calling = BoxFuture<'static, Result<Response<CallBody>, CallError>>;

/// The body of a request or of a response.
pub type CallBody = UnsyncBoxBody<Bytes, CallError>;

/// An outbound request of a job.
pub struct Call {
    /// The request, with an absolute URI. Its fields about the connection are ignored: the client
    /// sets its own.
    pub request: Request<CallBody>,
    /// The timeouts that the job itself sets. The handler's limits apply as well.
    pub patience: Patience,
}

/// The timeouts of a job for one call. `None` means that only the handler's limits apply.
#[derive(Clone, Copy, Default, Debug)]
pub struct Patience {
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
pub struct Account {
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
pub enum CallError {
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
pub enum Outcome {
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
pub struct Tally([AtomicU64; Outcome::ALL.len()]);

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

impl Account {
    /// Opens the account of a job.
    pub fn new(job: JobId, usage: Arc<Usage>, limits: CallLimits, trail: Option<HeaderValue>) -> Account {
        let places = Arc::new(Semaphore::new(limits.at_once));
        Account { job, usage, limits, trail, places, made: AtomicUsize::new(0) }
    }

    /// Charges one call to the account.
    ///
    /// # Errors
    /// [`CallError::TooMany`]: the job has made all its calls.
    pub fn charge(&self) -> Result<(), CallError> {
        match self.made.fetch_add(1, Ordering::Relaxed) {
            made if made < self.limits.calls => Ok(()),
            _ => Err(CallError::TooMany(self.limits.calls)),
        }
    }
}

impl CallError {
    /// Returns the outcome for metrics.
    pub fn outcome(&self) -> Outcome {
        match self {
            CallError::Denied | CallError::AddressDenied | CallError::BadUrl | CallError::BadMethod => {
                Outcome::Denied
            }
            CallError::TooMany(_)
            | CallError::Crowded(_)
            | CallError::Exhausted
            | CallError::RequestTooLarge(_)
            | CallError::ResponseTooLarge(_)
            | CallError::HeadTooLarge => Outcome::Limited,
            CallError::NotFound(_)
            | CallError::Refused
            | CallError::Unreachable(_)
            | CallError::Certificate(_)
            | CallError::Tls(_) => Outcome::Unreachable,
            CallError::ConnectTimeout
            | CallError::FirstByteTimeout
            | CallError::BetweenBytesTimeout
            | CallError::TimedOut => Outcome::TimedOut,
            CallError::Abandoned | CallError::Incomplete | CallError::Protocol(_) | CallError::Ours(_) => {
                Outcome::Failed
            }
        }
    }
}

impl Outcome {
    /// Every outcome, in the order of their declaration.
    pub const ALL: [Outcome; 6] = [
        Outcome::Answered,
        Outcome::Denied,
        Outcome::Limited,
        Outcome::Unreachable,
        Outcome::TimedOut,
        Outcome::Failed,
    ];
}

impl Tally {
    /// Counts a call.
    pub fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of calls with this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }
}

/// The label in metrics.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Answered => "answered",
            Outcome::Denied => "denied",
            Outcome::Limited => "limited",
            Outcome::Unreachable => "unreachable",
            Outcome::TimedOut => "timed_out",
            Outcome::Failed => "failed",
        })
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Denied => f.write_str("the origin is not allowed (allow)"),
            CallError::AddressDenied => f.write_str("the address is not allowed (allow_addresses)"),
            CallError::BadUrl => f.write_str("the URL names no server"),
            CallError::BadMethod => f.write_str("there are no tunnels"),
            CallError::TooMany(most) => {
                write!(f, "the job has made its {most} calls (limits.outbound.calls)")
            }
            CallError::Crowded(most) => {
                write!(f, "{most} calls are under way and none ends (limits.outbound.at_once)")
            }
            CallError::Exhausted => f.write_str("the file descriptors that all jobs share are in use"),
            CallError::NotFound(why) | CallError::Unreachable(why) => f.write_str(why),
            CallError::Refused => f.write_str("connection refused"),
            CallError::ConnectTimeout => f.write_str("no connection in time (limits.outbound.connect)"),
            CallError::Certificate(why) => write!(f, "the certificate is refused: {why}"),
            CallError::Tls(why) => write!(f, "TLS fails: {why}"),
            CallError::FirstByteTimeout => f.write_str("no answer in time (limits.outbound.first_byte)"),
            CallError::BetweenBytesTimeout => f.write_str("the answer stalls"),
            CallError::TimedOut => f.write_str("the call takes too long (limits.outbound.time)"),
            CallError::RequestTooLarge(most) => {
                write!(f, "the request is larger than {most} bytes (limits.outbound.body)")
            }
            CallError::ResponseTooLarge(most) => {
                write!(f, "the response is larger than {most} bytes (limits.outbound.body)")
            }
            CallError::Abandoned => f.write_str("the body of the request breaks off"),
            CallError::HeadTooLarge => f.write_str("the head of the response is too large"),
            CallError::Incomplete => f.write_str("the response breaks off"),
            CallError::Protocol(why) | CallError::Ours(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_place_of_its_own() {
        let tally = Tally::default();

        for (position, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, position);
            (0..=position).for_each(|_| tally.count(outcome));
        }

        assert_eq!(Outcome::ALL.map(|outcome| tally.of(outcome)), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_last_call_that_is_allowed_is_made_and_no_more() {
        let account =
            Account::new(JobId(1), Arc::default(), CallLimits { calls: 2, ..CallLimits::DEFAULT }, None);

        let outcomes = [account.charge(), account.charge(), account.charge()];

        assert_eq!(outcomes, [Ok(()), Ok(()), Err(CallError::TooMany(2))]);
    }
}
