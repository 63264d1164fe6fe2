//! The fixed time limits of connections. Those that an operator may set are in the configuration.
//!
//! The waits for a socket that cannot be bound, accepted from or connected stand in `net`, beside what retries.

use std::time::Duration;

/// Shutdown: how long connections are still accepted from the kernel's queue, which new ones may go on filling.
pub(super) const ACCEPT_DRAIN: Duration = Duration::from_millis(200);

/// Shutdown: how long a TLS handshake may go on, so that a nearly complete one is still served.
pub(super) const HANDSHAKE_DRAIN: Duration = Duration::from_secs(2);

/// Shutdown: how long connections may take to tell their clients that their jobs were stopped.
pub const LAST_RESPONSES: Duration = Duration::from_millis(500);

/// The same for the admin socket and the addresses of `observe`, which close last.
pub const ADMIN_LAST_RESPONSES: Duration = Duration::from_secs(1);

/// HTTP/1, shutdown: how long a connection waits for a request that may be on its way; less if `grace` is short.
pub const H1_DRAIN_GRACE: Duration = Duration::from_millis(500);

/// HTTP/2, after GOAWAY: how long a request may be on its way.
pub(super) const H2_DRAIN_GRACE: Duration = Duration::from_millis(500);

/// HTTP/2, after GOAWAY: how long a client that reads nothing of its responses may keep the connection.
pub(super) const H2_FLUSH_GRACE: Duration = Duration::from_secs(2);

/// How long a client may go on sending after our end is shut, such as the rest of a large upload that was
/// refused. A close with unread bytes is a reset, and the client may then lose the response (RFC 9112 §9.6).
pub(super) const LINGERING_CLOSE: Duration = Duration::from_secs(10);

/// The same during a shutdown.
pub(super) const LINGERING_CLOSE_DRAIN: Duration = Duration::from_secs(2);

/// How long the rest of a request body is drained if no job reads it. nginx gives 5 s.
pub(super) const DRAIN_BODY: Duration = Duration::from_secs(5);

/// How long a request body may pause that is read ahead of its job. A client that announced no length may be waiting
/// for a response to what it sent.
pub(super) const READ_AHEAD_PAUSE: Duration = Duration::from_secs(1);

/// How often the daemon checks whether a client has left while nothing is read from it. A job whose client has
/// left ends within this time.
pub(super) const CLIENT_GONE_CHECK: Duration = Duration::from_millis(100);

/// How often the bytes that a client has taken are reported while a write waits for it: several times in the
/// wait after which others get the slot of its job.
pub(super) const UPTAKE_REPORT: Duration = Duration::from_millis(500);

/// How often a free permit is looked for while the connection limit is reached and every connection is busy.
pub(super) const PERMIT_RETRY: Duration = Duration::from_millis(100);

/// How long an idle HTTP/2 client that was sent GOAWAY may take to close, to make room for another.
pub(super) const H2_MAKE_ROOM: Duration = Duration::from_secs(1);

/// The shortest time between two warnings about the connection limit.
pub(super) const LIMIT_WARNING: Duration = Duration::from_secs(60);

/// How long a head is held back while its body has no byte. Until the head is sent, a failure can still be
/// reported by a status. A client hardly notices the delay.
pub(super) const HEAD_HOLD: Duration = Duration::from_millis(50);

/// The same for a head with status 5xx. A handler that fails often leaves its body unfinished, as JavaScript
/// does at an exception, and needs a while to end.
pub(super) const HEAD_HOLD_FAILING: Duration = Duration::from_secs(1);

/// How long a small piece of a response is held back for more, while many small ones come.
pub(super) const COALESCE_HOLD: Duration = Duration::from_millis(5);

/// A pause this long ends a row of small pieces.
pub(super) const COALESCE_PAUSE: Duration = Duration::from_millis(50);

/// `upgrade = "tcp"`: how long a client may take to see that the job has ended. A close while the client sends
/// is a reset, and the client may then lose bytes that it has not read.
pub(super) const TUNNEL_CLOSE: Duration = Duration::from_secs(2);

/// How long a WebSocket client may take to answer the close.
pub(super) const WEBSOCKET_CLOSE: Duration = Duration::from_secs(2);

/// How long the job of a WebSocket may take to end once its input has ended.
pub(super) const WEBSOCKET_JOB_END: Duration = Duration::from_secs(5);

/// Outbound: how long a connection stays in the pool unused. Most servers wait longer; the others close it.
pub(super) const POOL_IDLE: Duration = Duration::from_secs(30);

/// Outbound: the age at which a connection is replaced, so that a changed address of its host is seen.
pub(super) const POOL_MAX_AGE: Duration = Duration::from_secs(300);

/// Outbound: how long a connection may take to be ready again after a call. It needs a few polls of its task.
pub(super) const POOL_READY: Duration = Duration::from_millis(50);

/// Traces: how long the body of a collector's response is awaited behind its head.
pub(super) const COLLECTOR_BODY: Duration = Duration::from_secs(1);

/// `probe`: how long a body is read. A response that goes on for longer, such as a stream of events, counts as good.
pub(super) const PROBE_BODY: Duration = Duration::from_secs(1);

/// `portcullis dashboard`: how long a connection may wait for the rest of a request head, or for the next request.
pub(super) const DASHBOARD_HEAD: Duration = Duration::from_secs(30);
