//! Classifies and parses the bytes of a head.

/// Splits a line at its first colon into the name and the value of a field, without the space around the
/// value.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    match line.iter().position(|byte| KINDS[usize::from(*byte)] & TOKEN == 0) {
        // A token has no colon, so this colon is the first.
        Some(colon @ 1..) if line[colon] == b':' => Ok((&line[..colon], line[colon + 1..].trim_ascii())),
        // RFC 9112 §5.2: a field that continues in the next line is obsolete.
        _ if matches!(line, [b' ' | b'\t', ..]) => Err("a header field that begins with a space"),
        // RFC 9112 §5.1: a space before the colon is invalid, too.
        _ if line.contains(&b':') => Err("a header field whose name is not a token"),
        _ => Err("a header field without a colon"),
    }
}

/// Returns the first line without its end, if it ends with CR LF and holds no control character, not even a tab.
/// This is one pass over nearly every line. `None` says nothing about the line.
pub(super) fn plain_line(bytes: &[u8]) -> Option<&[u8]> {
    let (line, rest) = bytes.split_at(first_control(bytes)?);
    rest.starts_with(b"\r\n").then_some(line)
}

/// Finds the first ASCII control character, eight bytes at a time.
fn first_control(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A byte that is less than what is subtracted borrows, which sets its top bit. The byte after it may then be
        // taken for a control character, too, so only the first one counts.
        let low = word.wrapping_sub(ONES * 0x20) & !word;
        let delete = word ^ (ONES * 0x7f);
        let found = (low | (delete.wrapping_sub(ONES) & !delete)) & (ONES * 0x80);
        if found != 0 {
            return Some(number * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let control = rest.iter().position(u8::is_ascii_control)?;
    Some(bytes.len() - rest.len() + control)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_byte_at_each_place_of_a_line_is_judged_as_if_it_were_alone() {
        for length in 0..20 {
            for (at, byte) in (0..length).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                for beside in [b' ', b'~', 0x80, 0xff] {
                    let mut line = vec![beside; length];
                    line[at] = byte;

                    let is_plain = plain_line(&[&line[..], b"\r\nNext: \0"].concat()) == Some(&line[..]);

                    assert_eq!(is_plain, !byte.is_ascii_control(), "{byte:#x} at {at} beside {beside:#x}");
                }
            }
        }
    }

    #[test]
    fn only_cr_lf_ends_a_plain_line() {
        for (bytes, line) in [
            ("", None),
            ("a", None),
            ("12345678", None),
            ("a\r", None),
            ("a\n", None),
            ("a\r\r\n", None),
            ("a\ra\r\n", None),
            ("a\tb\r\n", None),
            ("\r\n", Some("")),
            ("\r\n\r\n", Some("")),
            ("1234567\r\n", Some("1234567")),
            ("12345678\r\n\n", Some("12345678")),
        ] {
            assert_eq!(plain_line(bytes.as_bytes()), line.map(str::as_bytes), "{bytes:?}");
        }
    }

    #[test]
    fn a_field_is_split_at_its_first_colon_behind_a_token() {
        for (line, wanted) in [
            ("a:b", Ok(("a", "b"))),
            ("a: b:c \t", Ok(("a", "b:c"))),
            ("a:", Ok(("a", ""))),
            (" a:b", Err("a header field that begins with a space")),
            ("\ta", Err("a header field that begins with a space")),
            (":b", Err("a header field whose name is not a token")),
            ("a :b", Err("a header field whose name is not a token")),
            ("\u{80}:b", Err("a header field whose name is not a token")),
            ("a b", Err("a header field without a colon")),
            ("a", Err("a header field without a colon")),
            ("", Err("a header field without a colon")),
        ] {
            let wanted = wanted.map(|(name, value)| (str::as_bytes(name), str::as_bytes(value)));
            assert_eq!(split(line.as_bytes()), wanted, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_line_is_one_that_the_checks_of_a_byte_find_valid(
            bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), any::<u8>()], 0..60),
        ) {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let line = end.and_then(|end| bytes[..=end].strip_suffix(b"\r\n"));
            let wanted = line.filter(|line| !has_control(line) && !line.contains(&b'\t'));

            prop_assert_eq!(plain_line(&bytes), wanted);
        }
    }
}
