//! Compresses responses for clients that accept it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use anyhow::anyhow;
use async_compression::Level;
use async_compression::brotli::EncoderParams;
use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use async_compression::zstd::CParameter;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use super::frame_source::FrameSource;
use super::response_body::Body;
use crate::access::{OriginPlace, OriginPlaces};
use crate::catalog::Coding;
use crate::job::{Fault, StopReason};
use crate::net::Peer;

/// A shorter body, in bytes, gains less than the fields and the work cost.
const LEAST: u64 = 512;

/// The longest body of known length that is compressed, in bytes. It costs a tenth of a second of computing; a longer file
/// should lie compressed beside itself.
const LARGEST: u64 = 16 << 20;

/// How many bodies are compressed while they are sent, and how many of them for one address. Others are sent as they are.
const AT_ONCE: usize = 256;
const AT_ONCE_OF_ONE: usize = 32;

/// The places of the bodies that are compressed while they are sent.
static PLACES: LazyLock<Arc<OriginPlaces>> = LazyLock::new(|| OriginPlaces::new(AT_ONCE, AT_ONCE_OF_ONE));

/// The longest body that is compressed whole, with a known length.
const WHOLE: usize = 16 << 10;

/// How much is compressed before other tasks get their turn, in bytes: about half a millisecond.
const SLICE: usize = 16 << 10;

/// The levels, where another step costs more than it saves for text that is compressed once and sent once.
const ZSTD_LEVEL: i32 = 3;
const BROTLI_LEVEL: i32 = 4;
const GZIP_LEVEL: i32 = 5;

/// The windows of zstd and brotli, as powers of two: 128 KiB. That of gzip is always 32 KiB (RFC 1951).
const WINDOW: u32 = 17;

/// Types besides `text/` that gain. Images, audio, video and archives are compressed already.
const TYPES: [&str; 21] = [
    "application/atom+xml",
    "application/geo+json",
    "application/graphql-response+json",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/rss+xml",
    "application/rtf",
    "application/toml",
    "application/vnd.api+json",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-ndjson",
    "application/xhtml+xml",
    "application/xml",
    "application/yaml",
    "font/otf",
    "font/ttf",
    "image/svg+xml",
];

/// Fields with a digest of the content as it is sent.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// Compresses a response with the coding that the client prefers, if it gains.
///
/// A response that could be compressed for another client varies on `Accept-Encoding`.
pub(in crate::http) fn apply(
    (head, peer): (&Parts, &Peer),
    offered: &[Coding],
    response: &mut Response<Body>,
) {
    if response.status() == StatusCode::NOT_MODIFIED && !offered.is_empty() {
        // A 304 has the `Vary` of the 200 that it stands for, whose type is unknown (RFC 9110 §15.4.5).
        return vary(response.headers_mut());
    }
    if offered.is_empty() || !may_gain(&head.method, response) {
        return;
    }
    vary(response.headers_mut());
    let Some(coding) = Coding::accepted(&head.headers, offered).next() else { return };
    if head.method == Method::HEAD {
        // Only GET finds out whether the body becomes smaller, and its length then (RFC 9110 §8.6, §9.3.2). hyper would
        // announce the length of a body that it is given.
        *response.body_mut() = Body::empty();
        return unsettle(response.headers_mut());
    }
    let body = response.body();
    let encoded = if body.has_length() && (1..=WHOLE).contains(&body.here().len()) {
        let Some(encoded) = whole_body(coding, body.here()) else { return };
        Body::full(encoded)
    } else {
        let Some(place) = PLACES.take(peer.origin()) else { return };
        let last = if head.version == Version::HTTP_2 { LastFrame::OfBody } else { LastFrame::OfLength };
        let body = std::mem::replace(response.body_mut(), Body::empty());
        Body::from_source(Compressed::new(coding, body, last, place))
    };
    *response.body_mut() = encoded;
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, coding.value());
    unsettle(headers);
}

/// Removes or weakens the fields that describe the exact bytes of a body.
fn unsettle(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    // The ranges of a client would be those of the compressed body, which is another one each time.
    headers.remove(ACCEPT_RANGES);
    weaken(headers);
}

/// Reports whether a response gains from compression, for a client that accepts it.
fn may_gain(method: &Method, response: &Response<Body>) -> bool {
    let headers = response.headers();
    // Every line of the field counts: a body with `identity` and `gzip` is compressed.
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let is_plain = codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let has_body = !matches!(
        response.status(),
        StatusCode::SWITCHING_PROTOCOLS
            | StatusCode::NO_CONTENT
            | StatusCode::RESET_CONTENT
            | StatusCode::PARTIAL_CONTENT
            | StatusCode::NOT_MODIFIED
    );
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // The body of a handler's response to HEAD is empty, whatever that to GET would be.
    let known = response.body().size_hint().exact().filter(|&length| method != Method::HEAD || length > 0);
    let length = announced.or(known);
    is_plain
        && has_body
        && length.is_none_or(|length| (LEAST..=LARGEST).contains(&length))
        && !headers.contains_key(CONTENT_RANGE)
        && !DIGESTS.iter().any(|digest| headers.contains_key(digest))
        && is_of_gaining_type(headers)
        && !forbids(headers)
}

fn is_of_gaining_type(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_text = kind.get(..5).is_some_and(|family| family.eq_ignore_ascii_case("text/"));
    is_text || TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind))
}

/// Reports whether a response forbids to change its content (RFC 9111 §5.2.2.6).
fn forbids(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("no-transform"))
}

/// Adds `Accept-Encoding` to `Vary`.
fn vary(headers: &mut HeaderMap) {
    let values = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(str::trim);
    if !names.into_iter().any(|name| name == "*" || name.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str())) {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Makes a strong entity tag weak: the bytes differ between codings, and the content does not (RFC 9110 §8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let weak = headers.get(ETAG).map(HeaderValue::as_bytes).filter(|tag| tag.starts_with(b"\""));
    if let Some(weak) = weak.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag].concat()).ok()) {
        headers.insert(ETAG, weak);
    }
}

/// Compresses a whole body. Returns `None` if it does not become smaller.
fn whole_body(coding: Coding, body: &[u8]) -> Option<Bytes> {
    let mut encoder = BodyEncoder::new(coding);
    encoder.write(body).and_then(|()| encoder.finish()).ok()?;
    let encoded = encoder.take();
    (encoded.len() < body.len()).then_some(encoded)
}

/// A body that is compressed while it is sent.
///
/// What the body has given so far is passed on as soon as it pauses, so events arrive at once. A body that breaks off
/// breaks off here too, without the end mark of its coding.
struct Compressed {
    body: Body,
    encoder: BodyEncoder,
    coding: Coding,
    /// The rest of a frame, not compressed yet.
    rest: Bytes,
    /// Whether the encoder holds bytes that were not flushed.
    is_pending: bool,
    /// How much may be compressed before other tasks get their turn.
    turn: usize,
    last: LastFrame,
    state: CompressedState,
    _place: OriginPlace,
}

/// The frame of a body behind which its compressed form ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastFrame {
    /// The last frame: trailers may come after the announced length.
    OfBody,
    /// The frame with the last byte of the announced length. Over HTTP/1, a body with a length has no trailers, and its
    /// client does not wait for the job to end.
    OfLength,
}

/// How far a compressed body is.
enum CompressedState {
    Going,
    /// The end mark is passed on, and these trailers follow.
    Ended(Option<Frame<Bytes>>),
}

impl Compressed {
    fn new(coding: Coding, body: Body, last: LastFrame, place: OriginPlace) -> Compressed {
        let (encoder, state, rest) = (BodyEncoder::new(coding), CompressedState::Going, Bytes::new());
        Compressed { body, encoder, coding, rest, is_pending: false, turn: SLICE, last, state, _place: place }
    }

    /// Compresses until there is output, and returns it.
    fn poll_encoded(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        loop {
            if let CompressedState::Ended(trailers) = &mut self.state {
                return Poll::Ready(trailers.take().map(Ok));
            }
            if self.rest.is_empty() {
                match self.body.poll_next(context) {
                    Poll::Pending if !self.is_pending => return Poll::Pending,
                    Poll::Pending => {
                        self.is_pending = false;
                        self.encoder.flush().map_err(failed)?;
                    }
                    Poll::Ready(Some(Err(fault))) => return Poll::Ready(Some(Err(fault))),
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(bytes) => self.rest = bytes,
                        Err(trailers) => self.end(Some(trailers))?,
                    },
                    Poll::Ready(None) => self.end(None)?,
                }
            }
            if !self.rest.is_empty() {
                if self.turn == 0 {
                    self.turn = SLICE;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let piece = self.rest.split_to(self.rest.len().min(self.turn));
                self.turn -= piece.len();
                self.encoder.write(&piece).map_err(failed)?;
                self.is_pending = true;
                if self.last == LastFrame::OfLength && self.rest.is_empty() && self.body.is_whole() {
                    self.end(None)?;
                }
            }
            let encoded = self.encoder.take();
            if !encoded.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(encoded))));
            }
        }
    }

    fn end(&mut self, trailers: Option<Frame<Bytes>>) -> Result<(), Fault> {
        self.encoder.finish().map_err(failed)?;
        self.state = CompressedState::Ended(trailers);
        Ok(())
    }
}

fn failed(error: io::Error) -> Fault {
    Fault::Host(anyhow!("the response could not be compressed: {error}"))
}

impl FrameSource for Compressed {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.poll_encoded(context)
    }

    fn left(&self) -> Option<u64> {
        None
    }

    /// The memory of an encoder with these windows and levels, rounded up, and that of the body.
    fn held(&self) -> usize {
        let encoder = match self.coding {
            Coding::Zstd => 1536 << 10,
            Coding::Br => 2048 << 10,
            Coding::Gzip => 320 << 10,
        };
        encoder + self.body.held()
    }

    fn stop(&self, reason: StopReason) {
        self.body.stop(reason);
    }
}

/// An encoder that writes into memory.
enum BodyEncoder {
    Zstd(ZstdEncoder<Vec<u8>>),
    /// Boxed, because it is much larger than the others.
    Br(Box<BrotliEncoder<Vec<u8>>>),
    Gzip(GzipEncoder<Vec<u8>>),
}

impl BodyEncoder {
    fn new(coding: Coding) -> BodyEncoder {
        match coding {
            Coding::Zstd => BodyEncoder::Zstd(ZstdEncoder::with_quality_and_params(
                Vec::new(),
                Level::Precise(ZSTD_LEVEL),
                &[CParameter::window_log(WINDOW)],
            )),
            Coding::Br => {
                let params = EncoderParams::default().quality(Level::Precise(BROTLI_LEVEL));
                let params = params.window_size(WINDOW.cast_signed());
                BodyEncoder::Br(Box::new(BrotliEncoder::with_params(Vec::new(), params)))
            }
            Coding::Gzip => {
                BodyEncoder::Gzip(GzipEncoder::with_quality(Vec::new(), Level::Precise(GZIP_LEVEL)))
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = at_once(|encoder, context| encoder.poll_write(context, bytes), self)?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        at_once(|encoder, context| encoder.poll_flush(context), self)
    }

    /// Writes the end mark.
    fn finish(&mut self) -> io::Result<()> {
        at_once(|encoder, context| encoder.poll_shutdown(context), self)
    }

    /// Takes the output so far.
    fn take(&mut self) -> Bytes {
        let output = match self {
            BodyEncoder::Zstd(encoder) => encoder.get_mut(),
            BodyEncoder::Br(encoder) => encoder.get_mut(),
            BodyEncoder::Gzip(encoder) => encoder.get_mut(),
        };
        Bytes::from(std::mem::take(output))
    }

    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        match self {
            BodyEncoder::Zstd(encoder) => Pin::new(encoder),
            BodyEncoder::Br(encoder) => Pin::new(&mut **encoder),
            BodyEncoder::Gzip(encoder) => Pin::new(encoder),
        }
    }
}

/// Makes a call on an encoder, which never waits, since it writes into memory.
fn at_once<T>(
    call: impl FnOnce(Pin<&mut (dyn AsyncWrite + Unpin)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    encoder: &mut BodyEncoder,
) -> io::Result<T> {
    match call(encoder.writer(), &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
