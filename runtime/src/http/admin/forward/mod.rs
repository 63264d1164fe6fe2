//! The dashboard on a loopback port: lets a browser with a token through to the admin socket.
//!
//! A browser is not a program that opened the socket itself: any page that it shows can make it send requests to a
//! loopback port. So each request must name this host, come from this page, and, unless it is for a file of the page,
//! bear a token. The token is in no cookie, so no other page can make the browser send it.
//!
//! Floors, lowest first: `event_framer`, `rejection`, `visits`; `site_check`, `dashboard_tokens`, `relayed_body`; `forwarder`.

mod dashboard_tokens;
mod event_framer;
mod forwarder;
mod rejection;
mod relayed_body;
mod site_check;
mod visits;

pub use forwarder::{FindRecord, Forwarder, Replay, ReplayOutput};
