//! What must hold for any bytes at all: a function for each parser that reads what others wrote.
//!
//! cargo-fuzz looks for bytes that break them; `tests/it/corpus.rs` replays those it has found worth
//! keeping, and some thousand of its own.

use std::path::Path;

use bytes::Bytes;
use portcullis::cgi::{document, meta, path};
use portcullis::config::{self, HttpLimits};
use portcullis::engine::Engine;
use portcullis::http::{Bounds, follow};
use portcullis::net::Endpoint;

/// A handler's output: where it is cut makes no difference, and a head that was read can be written
/// and read again.
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

type Read = Result<Option<(document::Head, Vec<u8>)>, document::DocumentError>;

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

/// What a client of HTTP/1 sends: where it is cut makes no difference, and what is let through stands by
/// itself.
pub fn framing(bytes: &[u8]) {
    let Some((cut, text)) = bytes.split_first() else { return };
    // Those that hold without a configuration.
    let HttpLimits { head_size: head, target_size: target, fields, .. } = HttpLimits::default();
    let bounds = Bounds { head, target, fields };
    let whole = follow(text, text.len(), bounds);
    let pieces = follow(text, usize::from(*cut), bounds);
    assert_eq!((whole.heads, whole.refused), (pieces.heads, pieces.refused), "{}", text.escape_ascii());
    assert!(whole.good <= pieces.good && pieces.good <= text.len(), "{whole:?} {pieces:?}");
    let again = follow(&text[..whole.good], text.len(), bounds);
    assert_eq!((again.heads, again.refused), (whole.heads, None), "{}", text.escape_ascii());
}

/// A request's path and host: what is let through leads nowhere but down.
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

/// An address to listen at: what was read can be written and read again.
pub fn endpoint(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse::<Endpoint>().ok().as_ref(), Some(&endpoint), "{text:?}");
    }
}

/// A configuration: is read, or refused with a line for each mistake.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(refusal) = config::parse(text, Path::new("/nowhere"), "portcullis.toml") {
        assert!(!refusal.errors.is_empty(), "{text:?}");
        assert!(refusal.to_string().lines().count() >= refusal.errors.len(), "{text:?}");
    }
}

/// A job as a line of text: its name and arguments are words of the line.
pub fn line(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(job) = Engine::new(1).parse(text) {
        assert!(job.args.iter().all(|word| text.contains(word.as_str())), "{text:?}");
    }
}
