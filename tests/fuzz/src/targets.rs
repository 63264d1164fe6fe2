//! Fuzz targets: properties that hold for any bytes, one function for each parser of untrusted input.
//!
//! cargo-fuzz looks for bytes that violate them. `tests/it/corpus.rs` replays the corpora it has collected, with some
//! thousand mutations.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::Method;
use portcullis::access::RateLimits;
use portcullis::catalog::{Catalog, Lookup};
use portcullis::cgi::{document, meta, path};
use portcullis::config::{self, ConfigError, HandlerConfig, HttpLimits};
use portcullis::engine::Engine;
use portcullis::files::FileRoot;
use portcullis::http::{HeadLimits, follow};
use portcullis::job::{Handler, HandlerVersion, Job, Kind, Limits, Run, Slots, Status};
use portcullis::jobs;
use portcullis::net::Endpoint;
use portcullis::store::StorePool;

/// The output of a handler: the pieces it arrives in make no difference, and a parsed head can be written and parsed
/// again.
pub fn document(bytes: &[u8]) {
    let Some((cut, text)) = bytes.split_first() else { return };
    let whole = read(text, text.len());
    assert_eq!(whole, read(text, usize::from(*cut).max(1)));
    if let Ok(Some((head, _))) = whole {
        let encoded = document::encode(&head);
        let again = read(&encoded, encoded.len());
        assert_eq!(again, Ok(Some((head, Vec::new()))));
    }
}

type Read = Result<Option<(document::CgiHead, Vec<u8>)>, document::DocumentError>;

/// Reads a document in pieces of this size.
fn read(text: &[u8], size: usize) -> Read {
    let mut parser = document::HeadParser::new();
    let mut chunks = text.chunks(size.max(1));
    while let Some(chunk) = chunks.next() {
        if let Some(document::Parsed { head, rest }) = parser.push(Bytes::copy_from_slice(chunk))? {
            return Ok(Some((head, chunks.fold(rest.to_vec(), |rest, chunk| [&rest, chunk].concat()))));
        }
    }
    Ok(None)
}

/// The bytes of an HTTP/1 client: the pieces they arrive in make no difference, and accepted bytes are accepted again.
pub fn framing(bytes: &[u8]) {
    let Some((cut, text)) = bytes.split_first() else { return };
    // The default limits.
    let HttpLimits { head_size: head, target_size: target, fields, .. } = HttpLimits::default();
    let bounds = HeadLimits { head, target, fields, is_local: false };
    let whole = follow(text, text.len(), bounds);
    let pieces = follow(text, usize::from(*cut), bounds);
    assert_eq!((whole.heads, whole.refused), (pieces.heads, pieces.refused), "{}", text.escape_ascii());
    assert!(pieces.passed.starts_with(&whole.passed), "{whole:?} {pieces:?}");
    // Percent-encoding a query triples its length at most.
    assert!(pieces.passed.len() <= 3 * text.len(), "{pieces:?}");
    let again = follow(&whole.passed, whole.passed.len(), bounds);
    assert_eq!((again.heads, again.refused), (whole.heads, None), "{}", text.escape_ascii());
}

/// The path and host of a request: an accepted path never leads upwards.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(decoded) = path::decode(text) {
        assert!(decoded.split('/').all(|segment| segment != "." && segment != ".."), "{decoded:?}");
        assert!(!decoded.chars().any(char::is_control), "{decoded:?}");
    }
    if meta::is_host(text) {
        assert!(!text.bytes().any(|byte| byte <= b' ' || byte == b'/' || byte == b'@'), "{text:?}");
    }
}

/// An address to listen on: a parsed address can be written and parsed again.
pub fn endpoint(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse::<Endpoint>().ok().as_ref(), Some(&endpoint), "{text:?}");
    }
}

/// A configuration is accepted, or refused with a line for each mistake.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(refusal) = config::parse(text, Path::new("/nowhere"), "portcullis.toml") {
        assert!(!refusal.errors.is_empty(), "{text:?}");
        assert!(refusal.to_string().lines().count() >= refusal.errors.len(), "{text:?}");
    }
}

/// A configuration up to the catalog: every accepted configuration can be served, whatever its values. A refusal names
/// the key.
pub fn catalog(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // `Cargo.toml` stands for a module and `src` for a directory: both exist for every caller.
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = match config::parse(text, base, "portcullis.toml") {
        Ok(config) => config,
        Err(refusal) => {
            let whole =
                |error: &ConfigError| !error.message.is_empty() && (error.line > 0 || !error.key.is_empty());
            assert!(refusal.errors.iter().all(whole), "{refusal}");
            return;
        }
    };
    let _either = config.check_whole(Path::new("portcullis.toml"));
    // A reload reads the same, and finds nothing changed.
    let again = config::parse_again(text, base, "portcullis.toml");
    assert_eq!(again.as_ref().ok(), Some(&config), "{text:?}");
    let unlike = [config.needs_restart(&config), config.settings_changed(&config)].concat();
    assert!(unlike.is_empty(), "{text:?}: {unlike:?}");
    let _settings = jobs::settings(&config);
    let handlers: BTreeMap<_, _> =
        config.handlers.iter().map(|handler| (handler.name.clone(), entry(handler))).collect();
    let stores = StorePool::default();
    let routes = config
        .routes(&handlers, RateLimits::default(), FileRoot::open_path, |store| Ok(stores.get(&store.options)))
        .unwrap_or_else(|errors| panic!("{text:?}: {errors:?}"));
    let catalog = Catalog { cors: config.cors.clone(), ..Catalog::default().next(handlers, routes) };
    for route in catalog.routes.iter() {
        let method = route.methods.first().unwrap_or(&Method::GET);
        if let Lookup::Found(found) = catalog.routes.lookup(route.host.as_deref(), method, &route.pattern) {
            assert_eq!(found.script_name.len() + found.path_info.len(), route.pattern.len(), "{text:?}");
            assert!(found.captures().all(|(_, value)| route.pattern.contains(value)), "{text:?}");
        }
    }
    let now = Instant::now();
    let HttpLimits { first_byte, handshake, head, body_idle, write_idle, keep_alive, .. } = config.http;
    let times = [first_byte, handshake, head, body_idle, write_idle, keep_alive, config.grace];
    // Twice any of them must not overflow a point in time.
    assert!(times.iter().all(|time| now.checked_add(*time * 2).is_some()), "{text:?}");
    for entry in catalog.handlers.values() {
        let Limits { time, cpu, queue_time, outbound, .. } = &entry.limits;
        let times = [
            *time,
            *cpu,
            Some(*queue_time),
            Some(outbound.connect),
            Some(outbound.first_byte),
            outbound.time,
        ];
        assert!(times.into_iter().flatten().all(|time| now.checked_add(time * 2).is_some()), "{text:?}");
        assert_eq!(entry.slots.taken(&entry.limits).running, 0);
        entry.schedule.as_ref().map(|schedule| schedule.after(SystemTime::now().into()));
    }
    for probe in config.handlers.iter().filter_map(|handler| handler.probe.as_ref()) {
        assert!(http::Request::get(&probe.path).body(()).is_ok(), "{text:?}");
    }
}

/// Makes a handler version from settings, without a module.
fn entry(config: &HandlerConfig) -> Arc<HandlerVersion> {
    struct Nothing;
    impl Handler for Nothing {
        fn run(self: Arc<Self>, _job: Box<Job>) -> Run {
            Box::pin(std::future::ready(Ok(Status::OK)))
        }
    }
    Arc::new(HandlerVersion {
        kind: Kind::Core,
        args: config.args.clone(),
        env: config.env.clone(),
        calls: config.calls.clone(),
        schedule: config.schedule.clone(),
        limits: config.limits.clone(),
        mapping: config.mapping.clone(),
        conduct: config.conduct,
        slots: Slots::new(&config.limits),
        ..HandlerVersion::native(config.name.clone(), Arc::new(Nothing))
    })
}

/// A job as a line of text: its name and arguments are words of the line.
pub fn line(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(job) = Engine::new(1).parse(text) {
        assert!(job.args.iter().all(|word| text.contains(word.as_str())), "{text:?}");
    }
}
