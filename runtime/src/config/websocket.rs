//! Reads `route.upgrade` and `route.websocket`: the protocol that clients of a route upgrade to.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};

use super::reader::Keyed;
use super::report::Diagnostics;
use super::route_schema::{self, Route};
use super::values::{self, origin};
use crate::catalog::{Messages, Origins, Upgrade, WebSocket};

/// The default of `ping`: shorter than the minute after which proxies close an idle connection.
const PING: Duration = Duration::from_secs(30);

/// The default of `message_size`: the capacity of a pipe.
const MESSAGE: usize = 64 << 10;

/// The range of `message_size`: a control frame fits, and one connection cannot fill the memory.
const MESSAGES: RangeInclusive<u64> = 125..=64 << 20;

/// Reads the protocol that a route's clients upgrade to. Returns `None` if they stay with HTTP.
pub(super) fn read(
    Keyed { value: route, key, line }: &Keyed<Route>,
    report: &Diagnostics<'_>,
) -> Option<Upgrade> {
    let written = route.websocket.as_ref();
    let says_so = route.upgrade.as_ref().is_some_and(|at| at.value == "websocket");
    if let Some(at) = written.filter(|_| !says_so) {
        report.add(at.line, &at.key, "needs upgrade = \"websocket\"");
    }
    let gets = |methods: &[Keyed<String>]| methods.iter().all(|at| at.value == Method::GET.as_str());
    if says_so && route.methods.as_ref().is_some_and(|at| !gets(&at.value)) {
        // RFC 6455 §4.1.
        report.add(*line, key, "a WebSocket handshake is a GET request: leave `methods` out");
    }
    report.settle(route.upgrade.as_ref(), None, |text| match text.as_str() {
        "tcp" => Ok(Some(Upgrade::Tcp)),
        "websocket" => {
            let defaults = route_schema::WebSocket::default();
            let websocket = options(written.map_or(&defaults, |at| &at.value), report);
            Ok(Some(Upgrade::WebSocket(Arc::new(websocket))))
        }
        _ => Err(format!("wanted \"tcp\" or \"websocket\", found {text:?}")),
    })
}

fn options(written: &route_schema::WebSocket, report: &Diagnostics<'_>) -> WebSocket {
    WebSocket {
        messages: report.settle(written.messages.as_ref(), Messages::Lines, |word| match word.as_str() {
            "lines" => Ok(Messages::Lines),
            "frames" => Ok(Messages::Frames),
            _ => Err(format!("wanted \"lines\" or \"frames\", found {word:?}")),
        }),
        message_size: report.settle(written.message_size.as_ref(), MESSAGE, values::size_in_memory(MESSAGES)),
        protocols: list(written.protocols.as_ref(), report, protocol),
        origins: origins(written.origins.as_ref(), report),
        ping: report.settle(written.ping.as_ref(), Some(PING), values::deadline_or_none),
        idle: report.settle(written.idle.as_ref(), None, values::deadline_or_none),
    }
}

/// Reads which origins may connect. An empty list allows only the site itself.
fn origins(written: Option<&Keyed<Vec<Keyed<String>>>>, report: &Diagnostics<'_>) -> Origins {
    let Some(at) = written else { return Origins::OfCors };
    let all = at.value.iter().any(|origin| origin.value == "*");
    let listed = list(written, report, |text| origin(text, all && at.value.len() > 1));
    if all { Origins::All } else { Origins::Listed(listed.into_iter().collect()) }
}

fn list(
    written: Option<&Keyed<Vec<Keyed<String>>>>,
    report: &Diagnostics<'_>,
    read: impl Fn(&str) -> Result<HeaderValue, String>,
) -> Vec<HeaderValue> {
    let values = written.map_or(&[][..], |at| &at.value).iter();
    values.filter_map(|at| report.settle(Some(at), None, |text| read(text).map(Some))).collect()
}

/// Reads a subprotocol: a token (RFC 6455 §4.1), as the name of a method is.
fn protocol(text: &str) -> Result<HeaderValue, String> {
    let token = Method::from_bytes(text.as_bytes()).is_ok();
    let value = HeaderValue::from_str(text).ok().filter(|_| token);
    value.ok_or_else(|| format!("wanted a subprotocol such as \"chat.v1\", found {text:?}"))
}
