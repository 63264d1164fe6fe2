//! Files of gates, as editors and generators write them.

use super::{parse, place};

/// A hash of bcrypt.
const HASH: &str = "$2b$04$8YFZtW0E9Sl3oeTXPMuOceZD3YxDAW7Yegue8PtSjYfliYfiIpXC.";

/// Reads a configuration with this gate, and with a file `given` of this content. Returns what is wrong with it.
fn wrong_with(gate: &str, content: &[u8]) -> String {
    let place = place();
    std::fs::write(place.path().join("given"), content).unwrap();
    let read = parse(&format!("[gate.g]\n{gate}\n"), place.path(), "p.toml");
    read.err().map(|errors| errors.to_string()).unwrap_or_default()
}

#[test]
fn a_user_in_a_file_with_a_byte_order_mark_has_a_name_without_it() {
    let twice = format!("\u{feff}ada:{HASH}\nada:{HASH}\n");

    let wrong = wrong_with("kind = \"basic\"\nusers_file = \"given\"", twice.as_bytes());

    assert!(wrong.contains("given:2: the user \"ada\" is listed already"), "{wrong}");
}

#[test]
fn a_user_whose_name_is_no_utf_8_is_refused_with_the_line() {
    let users = |name: &[u8]| {
        let content =
            [&b"# caf\xe9\n\nbob:"[..], HASH.as_bytes(), b"\r\n", name, b":", HASH.as_bytes()].concat();
        wrong_with("kind = \"basic\"\nusers_file = \"given\"", &content)
    };

    let wrong = users(b"zo\xeb");
    assert!(wrong.contains("given:4: is no UTF-8: save the file as UTF-8"), "{wrong}");
    assert_eq!(users("zo\u{eb}".as_bytes()), "");
}

#[test]
fn a_secret_of_random_bytes_keeps_a_last_byte_that_is_white_space() {
    let secret =
        |content: &[u8]| wrong_with("kind = \"jwt\"\nalgorithms = [\"HS256\"]\nsecret = \"given\"", content);
    let random = |last: u8| [&[0xe7; 31][..], &[last]].concat();

    for last in [b'\t', b'\n', 0x0c, b'\r', b' '] {
        assert_eq!(secret(&random(last)), "", "{last}");
    }
    let text = secret(b"0123456789abcdef0123456789abcde\r\n");
    assert!(text.contains("a secret of 31 bytes: wanted 32 at least"), "{text}");
    assert_eq!(secret(b"0123456789abcdef0123456789abcdef\n"), "");
}

#[test]
fn an_empty_issuer_or_audience_is_refused() {
    for key in ["issuer", "audience"] {
        let gate = format!("kind = \"jwt\"\nalgorithms = [\"HS256\"]\nsecret = \"given\"\n{key} = \"\"");

        let wrong = wrong_with(&gate, b"0123456789abcdef0123456789abcdef");

        assert!(wrong.contains(&format!("gate.g.{key}: an empty text, which is in no token")), "{wrong}");
    }
}

#[test]
fn a_leeway_of_less_than_a_second_is_refused_and_not_taken_for_none() {
    for (leeway, is_refused) in [("500ms", true), ("1500ms", true), ("0s", false), ("2000ms", false)] {
        let gate =
            format!("kind = \"jwt\"\nalgorithms = [\"HS256\"]\nsecret = \"given\"\nleeway = \"{leeway}\"");

        let wrong = wrong_with(&gate, b"0123456789abcdef0123456789abcdef");

        assert_eq!(wrong.contains("gate.g.leeway: wanted whole seconds"), is_refused, "{leeway}: {wrong}");
    }
}
