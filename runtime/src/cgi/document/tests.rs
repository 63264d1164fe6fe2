//! Tests of the parser with the output of handlers.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, StatusCode};

use super::head::MAX;
use super::*;
use proptest::prelude::*;

/// Parses a document in chunks of these sizes, and the rest as one chunk.
fn read_in(document: &[u8], sizes: &[usize]) -> Result<(CgiHead, Vec<u8>), DocumentError> {
    let mut parser = HeadParser::new();
    let mut left = Bytes::copy_from_slice(document);
    let mut sizes = sizes.iter();
    while !left.is_empty() {
        let size = sizes.next().copied().unwrap_or(left.len());
        if let Some(parsed) = parser.push(left.split_to(size.min(left.len())))? {
            return Ok((parsed.head, [parsed.rest, left].concat()));
        }
    }
    Err(parser.finish())
}

fn read(document: impl AsRef<[u8]>) -> Result<(CgiHead, Vec<u8>), DocumentError> {
    read_in(document.as_ref(), &[])
}

fn status_of(document: &str) -> u16 {
    read(document).unwrap().0.status.as_u16()
}

#[test]
fn a_head_ends_at_the_blank_line_and_the_body_is_untouched() {
    for document in ["Content-Type: text/plain\n\n\r\nhi\n\n", "Content-Type:text/plain\r\n\r\n\r\nhi\n\n"] {
        let (head, rest) = read(document).unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers[CONTENT_TYPE], "text/plain");
        assert_eq!(head.content_length, None);
        assert_eq!(rest, b"\r\nhi\n\n");
    }
}

#[test]
fn a_second_set_cookie_survives() {
    let (head, _) = read("Status: 204\nSet-Cookie: a=1\nX: y\nset-cookie: b=2\n\n").unwrap();

    assert_eq!(head.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert!(!head.headers.contains_key("status"));
}

#[test]
fn a_status_wins_over_a_location() {
    assert_eq!(status_of("Location: https://example.org/\n\n"), 302);
    assert_eq!(status_of("Location: /here\n\n"), 302);
    assert_eq!(status_of("Location: /new\nStatus: 201 Created\n\n"), 201);
    assert_eq!(status_of("Location: /here\nContent-Type: a/b\n\n"), 302);
    assert_eq!(status_of("Content-Type: a/b\nLocation: /here\n\n"), 302);
    assert_eq!(status_of("Status: 404 Not Found\nContent-Type: text/plain\n\n"), 404);
    assert_eq!(status_of("status: 599\n\n"), 599);
    assert_eq!(status_of("Status: 200 \n\n"), 200);
}

#[test]
fn a_status_that_no_handler_may_have_is_refused() {
    for value in
        ["", "20", "2000", "200OK", "101", "100 Continue", "199", "600", "abc", "+20", "-1", "200, 404"]
    {
        let error = read(format!("Status: {value}\n\n")).unwrap_err();
        assert_eq!(error, DocumentError::Status(format!("{value:?}")), "{value}");
    }
}

#[test]
fn a_length_is_a_number() {
    for (value, length) in [("0", 0), ("12", 12), ("18446744073709551615", u64::MAX)] {
        let (head, _) = read(format!("Status: 200\nContent-Length: {value}\n\n")).unwrap();
        assert_eq!(head.content_length, Some(length));
        assert_eq!(head.headers[CONTENT_LENGTH], value);
    }
    for value in ["", "-1", "+1", "1, 1", "0x10", "18446744073709551616", "1\u{e9}"] {
        let error = read(format!("Status: 200\nContent-Length: {value}\n\n")).unwrap_err();
        assert!(matches!(error, DocumentError::Length(_)), "{value}: {error}");
    }
}

#[test]
fn what_may_stand_once_is_refused_twice() {
    for (line, name) in [
        ("Status: 200", "Status"),
        ("Content-Type: a/b", "Content-Type"),
        ("Content-Length: 1", "Content-Length"),
        ("Location: /", "Location"),
    ] {
        let document = format!("{line}\n{}\n\n", line.to_ascii_lowercase());
        assert_eq!(read(document), Err(DocumentError::Repeated(name)));
    }
    // Whatever the value of the second one.
    assert_eq!(
        read("Content-Length: 1\nContent-Length: x\n\n"),
        Err(DocumentError::Repeated("Content-Length"))
    );
}

#[test]
fn fields_about_the_connection_are_dropped() {
    let document = "Status: 200\nConnection: close\nTransfer-Encoding: chunked\nTE: x\nUpgrade: h2c\n\
                    Keep-Alive: 1\nTrailer: x\nProxy-Connection: x\nDate: now\nDate: never\n\nbody";

    let (head, rest) = read(document).unwrap();

    assert!(head.headers.is_empty());
    assert_eq!(rest, b"body");
}

#[test]
fn what_is_no_head_is_refused_at_its_first_line() {
    let mut parser = HeadParser::new();
    let error = parser.push(Bytes::from_static(b"Hello\nContent-")).unwrap_err();
    assert_eq!(error, DocumentError::NotAField("\"Hello\"".into()));

    assert_eq!(read("\nbody"), Err(DocumentError::Meaningless));
    assert_eq!(read("X-A: b\n\nbody"), Err(DocumentError::Meaningless));
    assert!(matches!(read("HTTP/1.1 200 OK\nContent-Type: a/b\n\n"), Err(DocumentError::StatusLine(_))));
    assert!(matches!(read("Status: 200\n folded\n\n"), Err(DocumentError::Folded(_))));
    assert!(matches!(read("Status: 200\nX: a\rX-Evil: b\n\n"), Err(DocumentError::Value(_))));
}

#[test]
fn an_output_that_ends_too_early_says_how() {
    assert_eq!(read(""), Err(DocumentError::Empty));
    assert_eq!(read("Hello"), Err(DocumentError::NotAField("\"Hello\"".into())));
    assert_eq!(read("Status: 200\n"), Err(DocumentError::Unfinished("its last header field".into())));
    assert_eq!(read("Status: 200\n\r"), Err(DocumentError::Unfinished("its last header field".into())));
    assert_eq!(read("Status: 200\nX: y"), Err(DocumentError::Unfinished("\"X: y\"".into())));
}

#[test]
fn a_head_of_32_kib_is_taken_and_one_byte_more_is_refused() {
    let document = |size: usize| format!("Status: 200\nX: {}\n\nbody", "x".repeat(size - 17));

    assert!(read(document(MAX)).is_ok());
    assert_eq!(read(document(MAX + 1)), Err(DocumentError::TooLarge(MAX)));
    assert_eq!(read("x".repeat(MAX + 1)), Err(DocumentError::TooLarge(MAX)));
    assert!(matches!(read("x".repeat(MAX)), Err(DocumentError::NotAField(_))));
}

/// A head that a handler could write.
fn head() -> impl Strategy<Value = CgiHead> {
    let value = "([!-~\u{e9}]([ -~\t]{0,12}[!-~])?)?";
    let names = prop::sample::select(vec!["set-cookie", "x-a", "etag", "vary", "server", "allow"]);
    let headers = prop::collection::vec((names, value), 0..8);
    (200..600_u16, headers, prop::option::of(any::<u64>()), prop::option::of("[a-z]{1,8}/[a-z]{1,8}"))
        .prop_map(|(status, fields, content_length, content_type)| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            if let Some(content_type) = content_type {
                headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            }
            if let Some(length) = content_length {
                headers.insert(CONTENT_LENGTH, length.into());
            }
            CgiHead { status: StatusCode::from_u16(status).unwrap(), headers, content_length }
        })
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_back(
        head in head(),
        body in prop::collection::vec(any::<u8>(), 0..64),
        sizes in prop::collection::vec(1..40_usize, 0..64),
    ) {
        let document = [encode(&head), body.clone()].concat();
        prop_assert_eq!(read_in(&document, &sizes), Ok((head, body)));
    }

    #[test]
    fn where_chunks_are_cut_makes_no_difference(
        lines in prop::collection::vec(
            "(Status: [1-6][0-9]{2}|Content-Type: a/b|Location: /|Content-Length: [0-9]|[A-Za-z :\t\r-]{0,8}|[ -~\r]{0,8})\r?\n", 0..6),
        tail in prop::collection::vec(any::<u8>(), 0..32),
        sizes in prop::collection::vec(0..6_usize, 0..64),
    ) {
        let document = [lines.concat().into_bytes(), tail].concat();
        prop_assert_eq!(read_in(&document, &sizes), read(&document));
    }

    #[test]
    fn no_bytes_make_it_panic(document in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok((head, _)) = read(&document) {
            prop_assert!((200..600).contains(&head.status.as_u16()));
        }
    }
}
