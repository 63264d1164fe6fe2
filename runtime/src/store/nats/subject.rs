//! A key as the subject of a NATS message, and back.
//!
//! A `/` separates the tokens of a key as `.` does those of a subject, so that a listing by prefix asks the server for
//! one branch. Bytes that a token cannot have are written as `=` and two hexadecimal digits, and an empty token as `=`.

/// Appends a key to the root of a store's subjects, which ends with a dot.
pub(super) fn encode(root: &str, key: &str) -> String {
    let mut subject = root.to_owned();
    for (index, token) in key.split('/').enumerate() {
        if index > 0 {
            subject.push('.');
        }
        if token.is_empty() {
            subject.push('=');
        }
        for byte in token.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => subject.push(char::from(byte)),
                byte => subject.push_str(&format!("={byte:02X}")),
            }
        }
    }
    subject
}

/// Returns the key of a subject; `None` if it is no key of ours.
pub(super) fn decode(root: &str, subject: &str) -> Option<String> {
    let mut key = Vec::new();
    for (index, token) in subject.strip_prefix(root)?.split('.').enumerate() {
        if index > 0 {
            key.push(b'/');
        }
        if token == "=" {
            continue;
        }
        let mut bytes = token.bytes();
        while let Some(byte) = bytes.next() {
            key.push(match byte {
                b'=' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
                byte => byte,
            });
        }
    }
    String::from_utf8(key).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Returns the subjects among which the keys with a prefix are.
pub(super) fn branch(root: &str, prefix: &str) -> String {
    match prefix.rsplit_once('/') {
        Some((branch, _)) => format!("{}.>", encode(root, branch)),
        None => format!("{root}>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_subject() {
        for key in ["a", "a/b", "/", "//", "a//b", "a/", "*", ">", "a.b", "=", "=2F", "ключ", "\0 \n", "x/*"]
        {
            let subject = encode("$KV.s.", key);
            assert_eq!(decode("$KV.s.", &subject).as_deref(), Some(key), "{subject}");
            assert!(subject.split('.').all(|token| !token.is_empty() && !"*>".contains(token)), "{subject}");
        }
        assert_eq!(branch("r.", "a/b/c"), "r.a.b.>");
        assert_eq!(branch("r.", "a"), "r.>");
    }
}
