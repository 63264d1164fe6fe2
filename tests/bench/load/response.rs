//! Parses just enough of HTTP/1.1 to recognize a complete, expected response.

use anyhow::{Context as _, Result, bail, ensure};

/// Reports whether `bytes` are a whole response. Without `body`, any will do.
///
/// # Errors
/// The bytes are no response with status 200 and this body, or continue after its end.
pub(crate) fn is_whole(bytes: &[u8], body: Option<&[u8]>) -> Result<bool> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(false) };
    let (head, rest) = (&bytes[..end], &bytes[end + 4..]);
    ensure!(head.starts_with(b"HTTP/1.1 200 "), "wanted status 200, found {}", shown(bytes));
    match framing(head)? {
        Framing::Length(length) => {
            let wanted = body.map_or(length, <[u8]>::len);
            ensure!(length == wanted, "wanted {wanted} bytes, found {}", shown(bytes));
            if rest.len() < length {
                return Ok(false);
            }
            ensure!(rest.len() == length, "more after the body: {}", shown(rest));
            ensure!(body.is_none_or(|body| rest == body), "wanted another body, found {}", shown(rest));
            Ok(true)
        }
        Framing::Chunked => {
            let mut compared = 0;
            let whole = chunks(rest, |_| Ok(()))?;
            if let Some(body) = body.filter(|_| whole) {
                chunks(rest, |chunk| {
                    let wanted = body.get(compared..compared + chunk.len());
                    ensure!(wanted == Some(chunk), "wanted another body, found {}", shown(chunk));
                    compared += chunk.len();
                    Ok(())
                })?;
                ensure!(compared == body.len(), "the body ends after {compared} of {} bytes", body.len());
            }
            Ok(whole)
        }
    }
}

/// How a body is delimited.
enum Framing {
    Length(usize),
    Chunked,
}

fn framing(head: &[u8]) -> Result<Framing> {
    for line in memchr::memchr_iter(b'\n', head).map(|newline| &head[newline + 1..]) {
        if let Some(value) = field(line, b"content-length:") {
            return Ok(Framing::Length(value.parse().context("a Content-Length that is no number")?));
        }
        if let Some(value) = field(line, b"transfer-encoding:") {
            ensure!(value == "chunked", "Transfer-Encoding: {value}");
            return Ok(Framing::Chunked);
        }
    }
    bail!("neither Content-Length nor Transfer-Encoding: {}", shown(head))
}

/// Returns the value of the first line, if it is this field.
fn field<'a>(lines: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let (start, rest) = lines.split_at_checked(name.len())?;
    let end = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
    start.eq_ignore_ascii_case(name).then(|| std::str::from_utf8(&rest[..end]).unwrap_or_default().trim())
}

/// Iterates over the complete chunks. Returns `true` if the last chunk is among them.
fn chunks(mut bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<bool> {
    while let Some(end) = memchr::memmem::find(bytes, b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("a chunk's size: {size:?}"))?;
        let Some((chunk, rest)) = bytes[end + 2..].split_at_checked(size) else { return Ok(false) };
        let Some((line_end, rest)) = rest.split_at_checked(2) else { return Ok(false) };
        ensure!(line_end == b"\r\n", "a chunk that does not end where it should");
        each(chunk)?;
        if size == 0 {
            ensure!(rest.is_empty(), "more after the last chunk: {}", shown(rest));
            return Ok(true);
        }
        bytes = rest;
    }
    Ok(false)
}

fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes[..bytes.len().min(300)].escape_ascii())
}
