//! The request fields that only the daemon may set.

use http::HeaderMap;

/// The prefix of every field that the daemon adds. Fields of the client with this prefix are dropped, however its words
/// are joined: many frameworks make one variable of `Portcullis-Remote-User` and `Portcullis_Remote_User`.
pub(super) const PREFIX: &str = "portcullis-";

/// Removes the reserved fields from those of a client.
pub(in crate::http) fn unforged(mut fields: HeaderMap) -> HeaderMap {
    let forged: Vec<_> = fields.keys().filter(|name| is_reserved(name.as_str())).cloned().collect();
    for name in forged {
        fields.remove(name);
    }
    fields
}

/// Reports whether a name in lower case has the prefix, with anything but a letter or a digit in place of `-`.
fn is_reserved(name: &str) -> bool {
    joined(name).take(PREFIX.len()).eq(PREFIX.bytes())
}

/// Reports whether two names in lower case differ at most in how their words are joined.
pub(super) fn are_twins(one: &str, other: &str) -> bool {
    joined(one).eq(joined(other))
}

/// Iterates over a name, with `-` in place of anything but a letter or a digit.
fn joined(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte } else { b'-' })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn reserved_fields_are_removed_however_their_words_are_joined() {
        let mut fields = HeaderMap::new();
        for name in [
            "portcullis-remote-user",
            "portcullis_remote_user",
            "portcullis.gate-role",
            "x-portcullis-a",
            "portcullis",
            "portcullisx-a",
        ] {
            fields.append(name, HeaderValue::from_static("root"));
        }

        let mut left: Vec<_> = unforged(fields).keys().map(|name| name.as_str().to_owned()).collect();

        left.sort();
        assert_eq!(left, ["portcullis", "portcullisx-a", "x-portcullis-a"]);
    }
}
