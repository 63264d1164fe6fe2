//! Which spans go where: the settings of the configuration, and the variables `OTEL_*` of the environment.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::collector_fields::CollectorFields;
use super::resource;

/// What the configuration says of traces.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct TraceOptions {
    /// Whether it has the table `[traces]`.
    pub is_set: bool,
    /// The URL of the collector, to which `/v1/traces` is appended. `None` leaves it to the environment.
    pub endpoint: Option<String>,
    /// The share of new traces that are sampled, 0 to 1. `None` leaves it to the environment.
    pub ratio: Option<f64>,
    /// Whose `traceparent` is believed.
    pub trust: TraceTrust,
    /// Certificates that are trusted besides those of the system, in PEM.
    pub ca: Option<Arc<[u8]>>,
}

/// Whose `traceparent` is believed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum TraceTrust {
    /// The `traceparent` of trusted proxies.
    #[default]
    TrustedProxies,
    /// The `traceparent` of every client.
    Everybody,
    /// No `traceparent`: every request begins a trace.
    Nobody,
}

/// Where spans go and which are sampled: the options, completed from the environment.
#[derive(Clone, PartialEq, Debug)]
pub struct TraceSettings {
    /// The URL that spans are posted to.
    pub endpoint: String,
    /// The share of new traces that are sampled.
    pub ratio: f64,
    /// Whose `traceparent` is believed.
    pub trust: TraceTrust,
    /// Certificates that are trusted besides those of the system, in PEM.
    pub ca: Option<Arc<[u8]>>,
    /// Further fields of requests to the collector.
    pub(super) fields: CollectorFields,
    /// How long one request to the collector may take.
    pub timeout: Duration,
    /// How long spans wait for others, to be sent together.
    pub delay: Duration,
    /// The most spans that wait to be sent.
    pub queue: usize,
    /// The most spans of one request.
    pub batch: usize,
    /// The attributes of the resource: what spans say of the daemon.
    pub(super) resource: Vec<(String, String)>,
}

/// The path of traces, which is appended to the URL of a collector (OTLP §OTLP/HTTP Request).
const PATH: &str = "/v1/traces";

/// The default collector of OTLP over HTTP.
const COLLECTOR: &str = "http://localhost:4318";

/// Variables that have an effect elsewhere and none here, with the advice.
const REFUSED: [(&str, &str); 15] = [
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "set outbound.ca in the configuration instead"),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "set outbound.ca in the configuration instead"),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", NO_CERTIFICATE),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", NO_CERTIFICATE),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", NO_CERTIFICATE),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", NO_CERTIFICATE),
    ("OTEL_CONFIG_FILE", "the file is not read: set [traces] in the configuration instead"),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", FIXED),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", FIXED),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", FIXED),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", FIXED),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", FIXED),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", FIXED),
    ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", FIXED),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", FIXED),
];

const NO_CERTIFICATE: &str =
    "the collector gets no certificate of the daemon: unset it, or use a collector on this host";
const FIXED: &str = "the limits of spans are fixed: unset it";

impl TraceOptions {
    /// Completes the options from the environment, which `variable` reads. What the configuration sets takes
    /// precedence. `None` if traces are off: neither the configuration nor the environment names a collector.
    ///
    /// # Errors
    /// A variable has a value that cannot be honoured, or the endpoint is no URL of a collector.
    pub fn complete(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<TraceSettings>, String> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let named = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let base = set("OTEL_EXPORTER_OTLP_ENDPOINT");
        if !self.is_set && named.is_none() && base.is_none() || is_off(&set)? {
            return Ok(None);
        }
        refuse(&set)?;
        let (name, endpoint) = match (&self.endpoint, named, base) {
            (Some(endpoint), _, _) => ("endpoint", TraceSettings::url(endpoint)),
            // The URL of one signal is used as it is.
            (None, Some(whole), _) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", checked(&whole)),
            (None, None, Some(base)) => ("OTEL_EXPORTER_OTLP_ENDPOINT", TraceSettings::url(&base)),
            (None, None, None) => ("endpoint", TraceSettings::url(COLLECTOR)),
        };
        let endpoint = endpoint.map_err(|message| format!("{name}: {message}"))?;
        let millis = |name: &'static str, default| Ok::<_, String>(number(&set, name)?.unwrap_or(default));
        let timeout = match number(&set, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")? {
            Some(timeout) => timeout,
            None => millis("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000)?,
        };
        let queue = size(&set, "OTEL_BSP_MAX_QUEUE_SIZE", 2048)?;
        Ok(Some(TraceSettings {
            endpoint,
            ratio: self.ratio.map_or_else(|| sampled(&set), Ok)?,
            trust: self.trust,
            ca: self.ca.clone(),
            fields: CollectorFields::read(&set)?,
            timeout: Duration::from_millis(timeout.min(millis("OTEL_BSP_EXPORT_TIMEOUT", 30_000)?).max(1)),
            delay: Duration::from_millis(millis("OTEL_BSP_SCHEDULE_DELAY", 5000)?),
            queue,
            batch: size(&set, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.min(queue),
            resource: resource::attributes(&set),
        }))
    }
}

impl TraceSettings {
    /// Makes the URL of traces from that of a collector.
    ///
    /// # Errors
    /// It is no URL of a collector.
    pub fn url(base: &str) -> Result<String, String> {
        let base = checked(base)?;
        let base = base.trim_end_matches('/');
        Ok(if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") })
    }
}

/// Checks the URL of a collector.
fn checked(url: &str) -> Result<String, String> {
    let wanted = "wanted http://HOST:PORT or https://HOST:PORT";
    let bare = format!(
        "{wanted} without a user, a query or a fragment; credentials go into OTEL_EXPORTER_OTLP_HEADERS"
    );
    // First: the other messages show the URL, as `status` does, and a password must not be shown.
    if names_user(url) {
        return Err(bare);
    }
    if url.starts_with("grpc") || url.ends_with(":4317") || url.ends_with(":4317/") {
        return Err(format!(
            "{url:?} is an endpoint for gRPC, which is not spoken: {wanted}, mostly with port 4318"
        ));
    }
    let uri = Uri::from_str(url).map_err(|error| format!("{wanted}, found {url:?}: {error}"))?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    // The parser drops a fragment.
    let is_bare = is_http && uri.query().is_none() && !url.contains('#');
    let authority = uri.authority().filter(|_| is_bare).ok_or(bare)?;
    let has_port = authority.as_str().len() > authority.host().len();
    if authority.host().is_empty() || has_port && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(format!("{wanted} with a port from 1 to 65535, found {url:?}"));
    }
    Ok(url.to_owned())
}

/// Reports whether a text has a user where a URL has one, valid or not.
fn names_user(url: &str) -> bool {
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

/// Reports whether the environment switches traces off.
fn is_off(set: &impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    let is_disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    match set("OTEL_TRACES_EXPORTER").as_deref() {
        _ if is_disabled => Ok(true),
        None | Some("otlp") => Ok(false),
        Some("none") => Ok(true),
        Some(other) => Err(format!("OTEL_TRACES_EXPORTER: wanted \"otlp\" or \"none\", found {other:?}")),
    }
}

/// Refuses what cannot be honoured.
fn refuse(set: &impl Fn(&str) -> Option<String>) -> Result<(), String> {
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        if let Some(value) = set(name).filter(|value| value != "http/protobuf") {
            return Err(format!(
                "{name}: {value:?} is not spoken: wanted \"http/protobuf\", to port 4318 of most collectors"
            ));
        }
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"] {
        if let Some(value) = set(name).filter(|value| value != "none") {
            return Err(format!("{name}: spans are not compressed: wanted \"none\", found {value:?}"));
        }
    }
    if let Some(value) = set("OTEL_PROPAGATORS")
        && let Some(other) = value.split(',').map(str::trim).find(|one| *one != "tracecontext")
    {
        return Err(format!("OTEL_PROPAGATORS: wanted \"tracecontext\" alone, found {other:?}"));
    }
    match REFUSED.iter().find(|(name, _)| set(name).is_some()) {
        Some((name, advice)) => Err(format!("{name}: {advice}")),
        None => Ok(()),
    }
}

/// Reads the share of new traces that are sampled.
fn sampled(set: &impl Fn(&str) -> Option<String>) -> Result<f64, String> {
    let argument = "OTEL_TRACES_SAMPLER_ARG";
    match set("OTEL_TRACES_SAMPLER").as_deref() {
        None | Some("parentbased_always_on") => Ok(1.0),
        Some("parentbased_always_off") => Ok(0.0),
        Some("parentbased_traceidratio") => match set(argument) {
            None => Ok(1.0),
            Some(text) => text
                .parse::<f64>()
                .ok()
                .filter(|ratio| (0.0..=1.0).contains(ratio))
                .ok_or_else(|| format!("{argument}: wanted a number from 0 to 1, found {text:?}")),
        },
        Some(other) => Err(format!(
            "OTEL_TRACES_SAMPLER: wanted \"parentbased_always_on\", \"parentbased_always_off\" or \
             \"parentbased_traceidratio\", found {other:?}: the parent of a request decides here"
        )),
    }
}

fn number(set: &impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<u64>, String> {
    let read = |text: String| {
        // A day in milliseconds, so that no timer overflows.
        let number = text.parse::<u64>().ok().filter(|number| *number <= 86_400_000);
        number.ok_or_else(|| format!("{name}: wanted a whole number up to 86400000, found {text:?}"))
    };
    set(name).map(read).transpose()
}

/// Reads a number of spans.
fn size(set: &impl Fn(&str) -> Option<String>, name: &str, default: usize) -> Result<usize, String> {
    /// A queue of as many spans takes 256 MiB at most.
    const MOST: usize = 1 << 16;
    let Some(text) = set(name) else { return Ok(default) };
    let size = text.parse::<usize>().ok().filter(|size| (1..=MOST).contains(size));
    size.ok_or_else(|| format!("{name}: wanted a number from 1 to {MOST}, found {text:?}"))
}

/// `to http://127.0.0.1:4318/v1/traces, 10% of new traces, parents of trusted proxies`.
impl fmt::Display for TraceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceSettings { endpoint, ratio, trust, .. } = self;
        // Rounded, because 7 % is not a binary fraction.
        let percent = (ratio * 1e6).round() / 1e4;
        write!(f, "to {endpoint}, {percent}% of new traces, {trust}")
    }
}

/// Whose parents are believed, for people.
impl fmt::Display for TraceTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TraceTrust::TrustedProxies => "parents from trusted proxies",
            TraceTrust::Everybody => "parents from everybody",
            TraceTrust::Nobody => "parents from nobody",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(options: &TraceOptions, variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, String> {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        options.complete(|name| value(name).map(str::to_owned))
    }

    fn on() -> TraceOptions {
        TraceOptions { is_set: true, ..TraceOptions::default() }
    }

    #[test]
    fn traces_are_off_until_a_collector_is_named_and_the_environment_can_switch_them_off() {
        let none = TraceOptions::default();
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");

        assert_eq!(complete(&none, &[("OTEL_SERVICE_NAME", "x")]), Ok(None));
        assert!(complete(&none, &[endpoint]).unwrap().is_some());
        assert_eq!(complete(&none, &[endpoint, ("OTEL_SDK_DISABLED", "true")]), Ok(None));
        assert_eq!(complete(&on(), &[("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        // What does not concern traces that are off is not refused.
        assert_eq!(complete(&none, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), Ok(None));
    }

    #[test]
    fn what_the_configuration_sets_takes_precedence() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://base:4318/"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://whole:4318/spans"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "700"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ];

        let settings = complete(&on(), &variables).unwrap().unwrap();
        assert_eq!((settings.endpoint.as_str(), settings.ratio), ("http://whole:4318/spans", 0.25));
        let times = [settings.delay, settings.timeout].map(|time| time.as_millis());
        assert_eq!((times, settings.queue, settings.batch), ([50, 700], 100, 100));
        let base = complete(&on(), &variables[..1]).unwrap().unwrap();
        assert_eq!((base.endpoint.as_str(), base.ratio), ("http://base:4318/v1/traces", 1.0));

        let own = TraceOptions { endpoint: Some("https://own".to_owned()), ratio: Some(0.5), ..on() };
        let settings = complete(&own, &variables).unwrap().unwrap();
        assert_eq!((settings.endpoint.as_str(), settings.ratio), ("https://own/v1/traces", 0.5));
        let shown = "to https://own/v1/traces, 50% of new traces, parents from trusted proxies";
        assert_eq!(settings.to_string(), shown);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_with_advice() {
        for (name, value, told) in [
            ("OTEL_TRACES_EXPORTER", "zipkin", "wanted \"otlp\" or \"none\""),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "wanted \"http/protobuf\""),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip", "not compressed"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem", "set outbound.ca"),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "5", "fixed"),
            ("OTEL_PROPAGATORS", "tracecontext,baggage", "found \"baggage\""),
            ("OTEL_TRACES_SAMPLER", "always_on", "the parent of a request decides"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317", "gRPC, which is not spoken"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318", "wanted http://HOST:PORT"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:65536", "with a port from 1 to 65535"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]:0/", "with a port from 1 to 65535"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://:4318", "wanted http://HOST:PORT"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318#x", "without a user, a query or a fragment"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret", "wanted NAME=VALUE,..."),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://u:s3cret@c/v1/traces",
                "OTEL_EXPORTER_OTLP_HEADERS",
            ),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:s3cret@c:4317", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:s3cret@[c", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "from 1 to"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999", "wanted a number from 1 to 65536, found"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon", "wanted a whole number"),
        ] {
            let refusal = complete(&on(), &[(name, value)]).unwrap_err();
            assert!(refusal.starts_with(name) && refusal.contains(told), "{refusal}");
            assert!(!refusal.contains("s3cret"), "{refusal}");
        }
        let ratio = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert!(complete(&on(), &ratio).unwrap_err().contains("from 0 to 1"));
    }
}
