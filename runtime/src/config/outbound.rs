//! Reads `allow`, `allow_addresses` and `[outbound]`: the outbound requests that handlers may make.

use std::path::Path;

use super::model::{Ca, OutboundConfig};
use super::reader::Keyed;
use super::report::Diagnostics;
use super::{authorities, schema, values};
use crate::job::outbound::CallLimits;
use crate::net::outbound::{Block, Pattern};

/// The highest `calls` of one job.
const MOST_CALLS: usize = 10_000;

/// The highest `at_once`: each call has a connection, and descriptors are scarce.
const MOST_AT_ONCE: usize = 256;

/// Reads `limits.outbound`. A missing key takes its value from `defaults`.
pub(super) fn limits(
    written: Option<&Keyed<schema::OutboundLimits>>,
    defaults: CallLimits,
    report: &Diagnostics<'_>,
) -> CallLimits {
    let Some(Keyed { value: limits, .. }) = written else { return defaults };
    CallLimits {
        calls: report.settle(limits.calls.as_ref(), defaults.calls, values::count(0..=MOST_CALLS)),
        at_once: report.settle(limits.at_once.as_ref(), defaults.at_once, values::count(1..=MOST_AT_ONCE)),
        connect: report.settle(limits.connect.as_ref(), defaults.connect, values::deadline),
        first_byte: report.settle(limits.first_byte.as_ref(), defaults.first_byte, values::deadline),
        time: report.settle(limits.time.as_ref(), defaults.time, values::deadline_or_none),
        body: report.settle(limits.body.as_ref(), defaults.body, values::size(0..=u64::MAX)),
    }
}

/// Reads the file of certificates of `[outbound]`.
pub(super) fn ca(
    written: Option<&Keyed<schema::Outbound>>,
    base: &Path,
    report: &Diagnostics<'_>,
) -> Option<Ca> {
    let at = written?.value.ca.as_ref();
    report.settle(at, None, |path| {
        let path = base.join(path);
        Ok(Some(Ca { pem: authorities::read(&path, report)?, path }))
    })
}

/// Reads which origins and addresses a handler may reach.
pub(super) fn read(handler: &schema::Handler, ca: Option<&Ca>, report: &Diagnostics<'_>) -> OutboundConfig {
    let written =
        |list: &Option<Keyed<Vec<Keyed<String>>>>| list.as_ref().map_or(&[][..], |at| &at.value).to_vec();
    let mut addresses = Vec::new();
    for at in written(&handler.allow_addresses) {
        let read = |text: &String| text.parse::<Block>().map(Some).map_err(|error| error.to_string());
        addresses.extend(report.settle(Some(&at), None, read));
    }
    let mut allow = Vec::new();
    for at in written(&handler.allow) {
        let read = |text: &String| origin(text, &addresses, &handler.allow_addresses, report);
        allow.extend(report.settle(Some(&at), None, read));
    }
    if let (Some(at), true, None) = (&handler.allow_addresses, allow.is_empty(), &handler.allow) {
        report.add(at.line, &at.key, "allows nothing without allow = [\"http://HOST:PORT\"]");
    }
    OutboundConfig { allow, addresses, ca: ca.cloned() }
}

/// Reads an origin. An origin that names an address must be reachable under `allow_addresses`.
fn origin(
    text: &str,
    addresses: &[Block],
    written: &Option<Keyed<Vec<Keyed<String>>>>,
    report: &Diagnostics<'_>,
) -> Result<Option<Pattern>, String> {
    let pattern: Pattern = text.parse().map_err(|advice| format!("{text:?}: {advice}"))?;
    let blamed = written.as_ref().is_some_and(|at| report.blames(&at.key));
    match pattern.address().map(|address| Block::check(address, addresses)) {
        Some(Err(prohibited)) if !blamed => Err(format!(
            "{text:?}: {prohibited}, which needs a grant of its own: allow_addresses = [\"{}\"]",
            prohibited.address
        )),
        Some(_) | None => Ok(Some(pattern)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{HandlerConfig, parse};
    use super::*;

    /// Reads a handler with these settings. The mistakes are returned as one line each, without
    /// their position.
    fn read(settings: &str, rest: &str) -> Result<HandlerConfig, Vec<String>> {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.wasm"), "").unwrap();
        std::fs::write(place.path().join("ca.pem"), "").unwrap();
        let text = format!("[handler.a]\nmodule = \"a.wasm\"\n{settings}\n{rest}\n");
        let config = parse(&text, place.path(), "p.toml");
        let mut config = config
            .map_err(|errors| {
                errors.errors.into_iter().map(|error| format!("{}: {}", error.key, error.message))
            })
            .map_err(Iterator::collect::<Vec<_>>)?;
        Ok(config.handlers.remove(0))
    }

    #[test]
    fn what_is_written_is_what_is_granted() {
        let handler = read(
            "allow = [\"https://api.example.org\", \"http://10.0.0.5:8080\", \"https://*.example.org\"]
             allow_addresses = [\"10.0.0.0/24\", \"::1\"]
             limits.outbound = { calls = 3, at_once = 2, connect = \"1s\", first_byte = \"2s\", time = \"none\", body = \"4KiB\" }",
            "[outbound]\nca = \"ca.pem\"",
        )
        .unwrap();

        let OutboundConfig { allow, addresses, ca } = handler.outbound;
        let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(allow, ["https://api.example.org", "http://10.0.0.5:8080", "https://*.example.org"]);
        assert_eq!(addresses, ["10.0.0.0/24", "::1/128"]);
        assert!(ca.unwrap().path.ends_with("ca.pem"));
        let limits = CallLimits {
            calls: 3,
            at_once: 2,
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(2),
            time: None,
            body: 4096,
        };
        assert_eq!(handler.limits.outbound, limits);
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let handler = read("", "").unwrap();
        assert_eq!(
            (handler.outbound, handler.limits.outbound),
            (OutboundConfig::default(), CallLimits::DEFAULT)
        );
    }

    #[test]
    fn what_would_never_work_is_refused_with_what_would() {
        for (settings, rest, wanted) in [
            (
                "allow = [\"https://api.example.org/v1\"]",
                "",
                "handler.a.allow[0]: \"https://api.example.org/v1\": an origin is allowed as a whole: leave out the \
                 path and its slash",
            ),
            (
                "allow = [\"http://169.254.169.254\"]",
                "",
                "handler.a.allow[0]: \"http://169.254.169.254\": 169.254.169.254 is metadata, which needs a grant of \
                 its own: allow_addresses = [\"169.254.169.254\"]",
            ),
            (
                "allow_addresses = [\"10.0.0.0/8\"]",
                "",
                "handler.a.allow_addresses: allows nothing without allow = [\"http://HOST:PORT\"]",
            ),
            (
                "allow_addresses = [\"10.1.2.3/8\"]\nallow = [\"http://10.1.2.3\"]",
                "",
                "handler.a.allow_addresses[0]: \"10.1.2.3/8\" is an address within a block: write \"10.0.0.0/8\"",
            ),
            (
                "limits.outbound.at_once = 0",
                "",
                "handler.a.limits.outbound.at_once: wanted a whole number from 1 to 256, found 0",
            ),
        ] {
            assert_eq!(read(settings, rest).unwrap_err(), [wanted], "{settings}");
        }
        let missing = read("", "[outbound]\nca = \"none.pem\"").unwrap_err();
        assert!(missing[0].starts_with("outbound.ca: there is no PEM file at "), "{missing:?}");
    }
}
