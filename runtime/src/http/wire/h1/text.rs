//! Classifies and parses the bytes of a head.

/// Splits a line at its first colon into the name and the value of a field, without the space around the
/// value.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    // RFC 9112 §5.2: a field that continues in the next line is obsolete.
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err("a header field that begins with a space");
    }
    let colon = memchr::memchr(b':', line).ok_or("a header field without a colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    // RFC 9112 §5.1: a space before the colon is invalid, too.
    if is_token(name) {
        Ok((name, value.trim_ascii()))
    } else {
        Err("a header field whose name is not a token")
    }
}

/// Parses digits of this base, and nothing else.
///
/// # Errors
/// The text has other bytes than digits, or the number exceeds 64 bits.
pub(super) fn number(text: &[u8], base: u32) -> Result<u64, NoNumber> {
    let digits = str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    u64::from_str_radix(digits.ok_or(NoNumber::Text)?, base).map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow => NoNumber::TooLarge,
        _ => NoNumber::Text,
    })
}

/// Why a text is not a valid number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoNumber {
    Text,
    TooLarge,
}

/// Parses the size of a chunk. Chunk extensions are ignored (RFC 9112 §7.1.1).
pub(super) fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|byte| *byte == b';').next()?;
    number(size, 16).ok()
}

/// Reports whether a line holds a control character other than a tab. The loop has no branch, so that
/// the compiler can vectorise it.
pub(super) fn has_control(line: &[u8]) -> bool {
    line.iter().fold(false, |found, &byte| found | (((byte < b' ') & (byte != b'\t')) | (byte == 0x7f)))
}

/// Reports whether a text is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, TOKEN)
}

/// Reports whether a path, with its query, holds only bytes that hyper accepts. That is more than a URI
/// may hold (RFC 3986 §3.3), because clients send more. A fragment is not accepted: it is for the client
/// only (RFC 9112 §3.2).
pub(super) fn is_path_and_query(text: &[u8]) -> bool {
    // Nearly every target holds only bytes that both a path and a query may hold.
    if all(text, PATH | QUERY) {
        return true;
    }
    let (path, query) = match memchr::memchr(b'?', text) {
        Some(mark) => text.split_at(mark),
        None => (text, &b""[..]),
    };
    let may = |part: &[u8], kind| part.iter().all(|byte| !byte.is_ascii() || all(&[*byte], kind));
    may(path, PATH) && may(query, QUERY) && str::from_utf8(text).is_ok()
}

/// Reports whether every byte is of this kind.
fn all(text: &[u8], kind: u8) -> bool {
    text.iter().fold(kind, |all, &byte| all & KINDS[usize::from(byte)]) == kind
}

const TOKEN: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;

const KINDS: [u8; 256] = {
    let mut table = [0; 256];
    let mut number = 0;
    while number < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "every byte once")]
        let byte = number as u8;
        let special = matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        let is_shown = byte > b' ' && byte < 0x7f;
        if byte.is_ascii_alphanumeric() || special {
            table[number] |= TOKEN;
        }
        if is_shown && !matches!(byte, b'#' | b'<' | b'>' | b'`') {
            table[number] |= PATH;
        }
        if is_shown && !matches!(byte, b'#' | b'<' | b'>' | b'"') {
            table[number] |= QUERY;
        }
        number += 1;
    }
    table
};
