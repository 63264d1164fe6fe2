//! The HTTP servers and clients of the daemon, and the only code that uses hyper.
//!
//! Modules, lowest floor first. Each uses only those above it in this list:
//!
//! | floor | module | holds |
//! |---|---|---|
//! | 0 | `refusal` | every reason to refuse a request, with its status, code and text |
//! | 0 | `poll_on_wake` | a future that is polled only once it was woken |
//! | 0 | `timeouts` | the fixed time limits of connections |
//! | 1 | `outbound` | requests of handlers to other servers |
//! | 1 | `wire` | a connection below hyper: its deadlines, and the checks on every byte |
//! | 2 | `collector` | the connection to the collector of traces |
//! | 2 | `limits` | the limits of connections, handshakes and long admin requests |
//! | 3 | `request` | turns a request into a job, and the job into the response |
//! | 4 | `context` | the state that the listeners of a server share |
//! | 5 | `static_files` | the files of a directory as responses |
//! | 5 | `upgrade` | connections that leave HTTP |
//! | 6 | `service` | what answers requests, as a trait, and what every response gets |
//! | 7 | `server` | the accept loop, and connections of HTTP/1, HTTP/2 and TLS |
//! | 7 | `middleware` | what middlewares pass on, and the answers to it |
//! | 7 | `route_target` | the answer of a route's target |
//! | 8 | `gate_chain` | the limits, gates and middlewares of a route, in front of its target |
//! | 9 | `handlers`, `admin` | the services: the routes of the catalog; the daemon itself |
//!
//! A request and its response are carried by these types, in this order: `Accepted` (the connection), `RequestContext`
//! (the head), `DrainBody` (the body), `RequestLog` (log line and counters, until the last byte), `RoutedRequest`
//! (the head with its route), [`Job`](crate::job::Job), `RunningJob` (until the head of the response is known), `JobBody`
//! (the rest of its output), `Body` (what hyper reads).

mod admin;
#[cfg(test)]
mod assumptions;
mod collector;
mod context;
mod gate_chain;
mod handlers;
mod limits;
mod middleware;
pub mod outbound;
mod poll_on_wake;
mod refusal;
mod request;
mod route_target;
mod server;
mod service;
mod static_files;
mod timeouts;
mod upgrade;
mod wire;

pub use admin::client;
pub use admin::forward;
pub use admin::operators::{admin, observe};
pub use collector::Collector;
pub use context::{Observed, Server, Settings};
pub use handlers::handlers;
pub use limits::activity::Activity;
pub use limits::admin_slots::AdminSlots;
pub use limits::connections::ConnectionLimit;
pub use limits::direct_counts::DirectCounts;
pub use limits::handshakes::Handshakes;
pub use limits::refusal_counts::RefusalCounts;
pub use refusal::Details;
pub use request::access_line::AccessLog;
pub use request::probe::probe;
pub use server::accept::AcceptLoop;
pub use timeouts::{ADMIN_LAST_RESPONSES, H1_DRAIN_GRACE, LAST_RESPONSES};
pub use wire::h1::follow::{Followed, follow};
pub use wire::h1::head::HeadLimits;
pub use wire::progress::Deadlines;
pub use wire::rate::MinRate;
