//! The fixed time limits of connections. Those that an operator may set stand in the configuration.

use std::time::Duration;

/// Shutdown: how long connections are still taken out of the kernel's queue. New ones may join it as fast.
pub(super) const ACCEPT_DRAIN: Duration = Duration::from_millis(200);

/// Shutdown: how long a TLS handshake may go on. One that is nearly complete is answered.
pub(super) const HANDSHAKE_DRAIN: Duration = Duration::from_secs(2);

/// HTTP/2, after GOAWAY: how long a request may be on its way.
pub(super) const H2_DRAIN_GRACE: Duration = Duration::from_millis(500);

/// HTTP/2, after GOAWAY: how long a client that reads nothing of its responses may keep the connection.
pub(super) const H2_FLUSH_GRACE: Duration = Duration::from_secs(2);

/// How long a client that still sends may take to see that our end is shut: the rest of a large upload that was
/// refused. A close with unread bytes is a reset, which takes the response from the client (RFC 9112 §9.6).
pub(super) const LINGERING_CLOSE: Duration = Duration::from_secs(10);

/// The same during a shutdown.
pub(super) const LINGERING_CLOSE_DRAIN: Duration = Duration::from_secs(2);

/// How long the rest of a request body is read that no job reads. nginx gives 5 s.
pub(super) const DRAIN_BODY: Duration = Duration::from_secs(5);

/// How often the daemon looks whether a client has left from which nobody reads. A job without a client ends in
/// this time.
pub(super) const CLIENT_GONE_CHECK: Duration = Duration::from_millis(100);

/// How often the bytes that a client has taken are reported while a write waits for it: several times in the
/// wait after which others get the slot of its job.
pub(super) const UPTAKE_REPORT: Duration = Duration::from_millis(500);

/// The connection limit is reached and every connection is busy: how often a free permit is looked for.
pub(super) const PERMIT_RETRY: Duration = Duration::from_millis(100);

/// How long an idle client of HTTP/2 that was sent GOAWAY may take to close, to make room for another.
pub(super) const H2_MAKE_ROOM: Duration = Duration::from_secs(1);

/// How long a warning about the connection limit is not repeated.
pub(super) const LIMIT_WARNING: Duration = Duration::from_secs(60);

/// How long a head is held back while its body has no byte: until it is sent, a failure has a status. Far less
/// than anybody waits for.
pub(super) const HEAD_HOLD: Duration = Duration::from_millis(50);

/// The same for a head of status 5xx. A handler that fails often leaves its body unfinished, as JavaScript does at
/// an exception, and needs a while to end.
pub(super) const HEAD_HOLD_FAILING: Duration = Duration::from_secs(1);

/// `upgrade = "tcp"`: how long a client may take to see that the job has ended. A close while it sends is a reset,
/// which takes from it what it has not read.
pub(super) const TUNNEL_CLOSE: Duration = Duration::from_secs(2);

/// How long a WebSocket's client may take to answer the close.
pub(super) const WEBSOCKET_CLOSE: Duration = Duration::from_secs(2);

/// How long the job of a WebSocket may take to end once its input has ended.
pub(super) const WEBSOCKET_JOB_END: Duration = Duration::from_secs(5);

/// Outbound: how long a connection stays in the pool unused. Most servers wait longer; the others close it.
pub(super) const POOL_IDLE: Duration = Duration::from_secs(30);

/// Outbound: the age at which a connection is replaced, so that a changed address of its host is seen.
pub(super) const POOL_MAX_AGE: Duration = Duration::from_secs(300);

/// Outbound: how long a connection may take to be ready again after a call. It needs a few polls of its task.
pub(super) const POOL_READY: Duration = Duration::from_millis(50);
