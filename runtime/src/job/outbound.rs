//! The seam between a job that asks a server for something and what carries its request out.

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

/// Carries out the requests of one handler, as far as it is granted.
///
/// A trait, because the sandbox that asks lies below the HTTP that answers.
pub trait Outbound: Send + Sync + 'static {
    /// Sends a request and waits for the head of its response. Dropping the future, or the body of
    /// the response, ends the exchange and closes what it used.
    ///
    /// # Errors
    /// [`CallError`]; of the body as well.
    fn send(self: Arc<Self>, account: Arc<Account>, call: Call) -> Calling;

    /// Lists what is granted, as it is written: origins, then blocks of addresses.
    fn grants(&self) -> (Vec<String>, Vec<String>);

    /// Returns how calls have ended so far.
    fn tally(&self) -> &Arc<Tally>;
}

/// What becomes of a call.
pub type Calling = BoxFuture<'static, Result<Response<CallBody>, CallError>>;

/// The body of a request or of a response.
pub type CallBody = UnsyncBoxBody<Bytes, CallError>;

/// A request that a job wants sent.
pub struct Call {
    /// With an absolute URI. Fields about the connection are the carrier's, whatever they say here.
    pub request: Request<CallBody>,
    /// What the job itself would wait, if it says so; the handler's limits hold besides.
    pub patience: Patience,
}

/// How long a job is willing to wait; none: as long as it may.
#[derive(Clone, Copy, Default, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Option<Duration>,
    /// From the request to the head of the response.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the response.
    pub between_bytes: Option<Duration>,
}

/// The bounds of a job's calls. Sizes are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallLimits {
    /// Calls of one job, also those that are denied.
    pub calls: usize,
    /// Of them at once; one more waits for up to [`CallLimits::connect`].
    pub at_once: usize,
    /// For a connection: look-up and TLS included.
    pub connect: Duration,
    /// From the connection to the head of the response.
    pub first_byte: Duration,
    /// From the call to the last byte of the response; none: as long as the job may run.
    pub time: Option<Duration>,
    /// The body of a request, and that of a response.
    pub body: u64,
}

/// The account of one job: what it may still ask for.
pub struct Account {
    /// The job.
    pub job: JobId,
    /// What pays for what its calls compute.
    pub usage: Arc<Usage>,
    /// Its bounds.
    pub limits: CallLimits,
    /// The field `CDN-Loop` of the request that it answers: who has passed it on so far (RFC 8586).
    pub trail: Option<HeaderValue>,
    /// A permit a call.
    pub places: Arc<Semaphore>,
    made: AtomicUsize,
}

/// Why a call got no answer, or no whole one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallError {
    /// The origin is not among those that the handler may ask.
    Denied,
    /// The host stands for an address that the handler has no grant for.
    AddressDenied,
    /// The URL names no server, or does so in an odd spelling.
    BadUrl,
    /// A method that asks for a tunnel.
    BadMethod,
    /// The job has made as many calls as it may.
    TooMany(usize),
    /// The job has as many calls under way as it may, and none of them ends.
    Crowded(usize),
    /// The file descriptors that all jobs share are in use.
    Exhausted,
    /// The host has no address.
    NotFound(String),
    /// Nobody takes the connection.
    Refused,
    /// The host cannot be reached.
    Unreachable(String),
    /// There is no connection in time.
    ConnectTimeout,
    /// The server's certificate is not to be believed.
    Certificate(String),
    /// The server does not speak TLS as we do.
    Tls(String),
    /// The head of the response does not come in time.
    FirstByteTimeout,
    /// The next piece of the response does not come in time.
    BetweenBytesTimeout,
    /// The whole response does not come in time.
    TimedOut,
    /// The job itself breaks off its request.
    Abandoned,
    /// The body of the request is larger than this many bytes.
    RequestTooLarge(u64),
    /// The body of the response is larger than this many bytes.
    ResponseTooLarge(u64),
    /// The head of the response is too large.
    HeadTooLarge,
    /// The response breaks off.
    Incomplete,
    /// The server does not speak HTTP as we do.
    Protocol(String),
    /// A failure of the daemon or its configuration.
    Ours(String),
}

/// How a call has ended, as a metric tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With a response.
    Answered,
    /// It was not allowed.
    Denied,
    /// It ran into a limit of number or size.
    Limited,
    /// There was no connection that could be trusted.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// Anything else.
    Failed,
}

/// Counts calls by their outcomes.
#[derive(Default, Debug)]
pub struct Tally([AtomicU64; Outcome::ALL.len()]);

impl CallLimits {
    /// Returns the bounds of a handler that says nothing: no more connections at once than a browser
    /// opens to one host.
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

    /// Takes one call off the account.
    ///
    /// # Errors
    /// [`CallError::TooMany`].
    pub fn charge(&self) -> Result<(), CallError> {
        match self.made.fetch_add(1, Ordering::Relaxed) {
            made if made < self.limits.calls => Ok(()),
            _ => Err(CallError::TooMany(self.limits.calls)),
        }
    }
}

impl CallError {
    /// Says what a metric calls it.
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
    /// Every outcome there is, in the order of their declaration.
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

    /// Returns how many calls have ended so.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }
}

/// One word, as a label.
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
            CallError::Refused => f.write_str("nobody listens there"),
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
