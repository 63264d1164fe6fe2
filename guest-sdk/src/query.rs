//! Parses names and values of a query or a form: `a=1&b=two+words`.

/// Iterates over the pairs in order. A part without `=` is a name with an empty value. Empty parts
/// are skipped.
pub(crate) fn pairs(encoded: &str) -> impl Iterator<Item = (String, String)> {
    parts(encoded).map(|(name, value)| (decode(name), decode(value)))
}

/// Returns the value of the first pair with this name.
pub(crate) fn find(encoded: &str, wanted: &str) -> Option<String> {
    parts(encoded).find(|(name, _)| decode(name) == wanted).map(|(_, value)| decode(value))
}

fn parts(encoded: &str) -> impl Iterator<Item = (&str, &str)> {
    encoded.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// Decodes form encoding: `+` is a space, `%XX` is a byte. A `%` without two digits is kept, and
/// invalid UTF-8 becomes U+FFFD. Source: the URL standard, "application/x-www-form-urlencoded
/// parsing".
pub(crate) fn decode(encoded: &str) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'%', high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(digit(*high) << 4 | digit(*low));
                behind
            }
            [b'+', behind @ ..] => {
                bytes.push(b' ');
                behind
            }
            [byte, behind @ ..] => {
                bytes.push(*byte);
                behind
            }
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Decodes the path of a test's target: like a query, but `+` is kept.
pub(crate) fn decode_path(encoded: &str) -> String {
    decode(&encoded.replace('+', "%2B"))
}

fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte.to_ascii_lowercase() - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_decoded_in_order() {
        let found: Vec<_> = pairs("a=1&&b=two+words&c&=d&a=%C3%A9%3D=x&%zz=%").collect();
        let wanted = [("a", "1"), ("b", "two words"), ("c", ""), ("", "d"), ("a", "é==x"), ("%zz", "%")];
        assert_eq!(found, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_first_of_a_name_is_found() {
        assert_eq!(find("a=1&%61=2", "a").as_deref(), Some("1"));
        assert_eq!(find("%61=2", "a").as_deref(), Some("2"));
        assert_eq!(find("ab=2", "a"), None);
        assert_eq!(find("", ""), None);
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(decode("%ff"), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(text in ".{0,16}", any in ".{0,16}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&encoded), text);
            decode(&any);
        }
    }
}
