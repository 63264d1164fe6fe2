//! Follows messages to their ends, in pieces of any size.

use super::follow::{follow, pass};
use super::*;
use proptest::prelude::*;

const BOUNDS: HeadLimits = HeadLimits { head: 16 << 10, target: 1024, fields: 20, is_local: false };

/// Pushes bytes in pieces. Returns how many were let through, and whether the rest was refused.
fn push(bytes: &[u8], piece: usize) -> (usize, Option<Refusal>) {
    let (mut guard, mut passed) = (H1Guard::new(BOUNDS), Vec::new());
    let refusal = bytes.chunks(piece).find_map(|piece| pass(&mut guard, piece, &mut passed).err());
    (passed.len(), refusal.flatten())
}

#[test]
fn messages_are_followed_to_their_ends() {
    let all = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\n\n\n\n\n\
        \r\nPOST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
        3;x=\"y\"\r\n\n\n\n\r\n00a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n\
        GET http://a/ HTTP/1.0\r\n\r\n\
        GET http://a:80/ HTTP/1.1\r\nHost: A\r\nExpect: 100-Continue\r\n\r\n\
        OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    for piece in 1..all.len() {
        let (good, refusal) = push(all, piece);
        assert!(refusal.is_none(), "{refusal:?} at {good} in pieces of {piece}");
        assert_eq!(good, all.len());
    }
}

#[test]
fn what_came_before_a_bad_message_is_good() {
    let first = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let both = [&first[..], b"GET / HTTP/1.1\nHost: a\r\n\r\n"].concat();

    let (good, refusal) = push(&both, both.len());

    assert_eq!(good, first.len());
    assert!(matches!(refusal, Some(Refusal::Malformed(_))), "{refusal:?}");
}

#[test]
fn nothing_is_passed_on_behind_a_request_that_may_end_http() {
    let first = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n";
    let both = [&first[..], b"\n\0"].concat();

    let (good, refusal) = push(&both, both.len());

    assert_eq!(good, first.len());
    assert!(refusal.is_none(), "{refusal:?}");
}

#[test]
fn a_line_without_an_end_is_not_kept_for_ever() {
    let long = [b"GET /".to_vec(), vec![b'a'; 2048]].concat();
    assert!(matches!(push(&long, 7).1, Some(Refusal::TargetTooLong(1024))));
    let long = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 20 << 10]].concat();
    assert!(matches!(push(&long, 1000).1, Some(Refusal::HeadTooLarge(_))));
    let chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;".to_vec();
    let long = [chunked, vec![b'a'; 2 << 10]].concat();
    assert!(matches!(push(&long, 9).1, Some(Refusal::Malformed(_))));
}

#[test]
fn a_request_line_in_one_piece_is_judged_as_one_in_many() {
    let long = format!("GET /{} HTTP/1.1", "a".repeat(BOUNDS.target));
    let longest = format!("GET /{} HTTP/1.1", "a".repeat(BOUNDS.target - 1));
    for (line, refused) in [
        ("GET / HTTP/1.1", false),
        ("X-Y!# /a?b=\\ HTTP/1.1", false),
        ("GET /\u{20ac}\"?\u{20ac}` HTTP/1.1", false),
        ("GET /?\"<a> HTTP/1.1", false),
        ("GET http://a/?b HTTP/1.1", false),
        ("OPTIONS * HTTP/1.1", false),
        (longest.as_str(), false),
        (long.as_str(), true),
        ("GET HTTP/1.1", true),
        ("GET  / HTTP/1.1", true),
        ("GET /  HTTP/1.1", true),
        ("GET / a HTTP/1.1", true),
        ("GET /\ta HTTP/1.1", true),
        (" / HTTP/1.1", true),
        (" HTTP/1.1", true),
        ("G(T / HTTP/1.1", true),
        ("GET a HTTP/1.1", true),
        ("GET /#a HTTP/1.1", true),
        ("GET /<a> HTTP/1.1", true),
        ("GET / HTTP/1.2", true),
        ("GET / http/1.1", true),
        ("TRACE / HTTP/1.1", true),
        ("CONNECT /a HTTP/1.1", true),
        ("GET /\x7f HTTP/1.1", true),
    ] {
        let text = format!("{line}\r\nHost: a\r\n\r\n");

        let whole = follow(text.as_bytes(), text.len(), BOUNDS);
        let pieces = follow(text.as_bytes(), 1, BOUNDS);

        assert_eq!((whole.heads, whole.refused), (pieces.heads, pieces.refused), "{line}");
        assert_eq!((whole.heads, whole.refused.is_some()), (u64::from(!refused), refused), "{line}");
    }
}

#[test]
fn what_is_refused_is_named_in_whatever_pieces_it_comes() {
    let asked = |bytes: &[u8], piece: usize| {
        let mut guard = H1Guard::new(BOUNDS);
        bytes.chunks(piece).find_map(|piece| guard.push(piece).err()).map(|breach| breach.asked)
    };
    let good = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
    for (bad, shown) in [
        (&b"POST /a?\xe2\x80\xae HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n"[..], "POST /a?\\u{202e}"),
        (b"\r\nGET /b HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "GET /b"),
        (b"nonsense\r\n", "\"nonsense\""),
        (b"\r\n\r\n", "-"),
        (b"\x16\x03\x01\x02\0\x01\nGET / HTTP/1.1\r\n", "-"),
    ] {
        for piece in 1..bad.len() + good.len() {
            assert_eq!(asked(&[good, bad].concat(), piece).as_deref(), Some(shown), "in pieces of {piece}");
        }
    }
}

/// Refused heads, each with its code.
const BAD_HEADS: &[(&[u8], &str)] = &[
    (b"GET /r/x HTTP/1.1\r\nHost: a\r\nX\x7fY: 1\r\n\r\n", "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n", "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n X: a\r\n\r\n", "malformed_request"),
    (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "malformed_request"),
    (b"GET / HTTP/1.1\r\nX: a\r\n\r\n", "malformed_request"),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request"),
    (b"GET / HTTq/1.1\r\nHost: a\r\n\r\n", "malformed_request"),
    (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request"),
    (b"GET /?\"\xff HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request"),
    (b"G\x80T / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request"),
    (b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request"),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request"),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request"),
    (b"\r\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request"),
    (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "http_version"),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "http_version"),
    (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "not_implemented"),
];

#[test]
fn no_part_of_a_bad_head_that_hyper_would_refuse_is_passed_on_wherever_the_head_is_cut() {
    let good = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (bad, code) in BAD_HEADS {
        for cut in 0..=bad.len() {
            let (mut guard, mut passed) = (H1Guard::new(BOUNDS), Vec::new());

            let first = pass(&mut guard, &[good, &bad[..cut]].concat(), &mut passed);
            let refusal = first.and_then(|()| pass(&mut guard, &bad[cut..], &mut passed)).err().flatten();

            let shown = format!("{} cut at {cut}", bad.escape_ascii());
            assert_eq!(refusal.map(|refusal| refusal.code()), Some(*code), "{shown}");
            assert!(passed.ends_with(b"\r\n"), "{shown}: {}", passed.escape_ascii());
            let (requests, answers) = served(&passed);
            assert!(requests == 1 && !answers.contains("HTTP/1.1 4"), "{shown}: {answers}");
        }
    }
}

#[test]
fn a_line_that_came_in_pieces_is_passed_on_as_a_whole_and_in_its_place() {
    let text = b"\r\nPOST /?\"a\" HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab\
        GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let whole = follow(text, text.len(), BOUNDS);
    assert_eq!((whole.heads, whole.refused), (2, None));

    for piece in 1..text.len() {
        assert_eq!(follow(text, piece, BOUNDS), whole, "in pieces of {piece}");
    }
    let begun = follow(&text[..text.len() - 1], 7, BOUNDS);
    assert!(begun.passed.ends_with(b"Host: a\r\n"), "{}", begun.passed.escape_ascii());
}

#[test]
fn a_head_has_begun_with_its_first_byte_until_it_is_complete() {
    for (bytes, has_begun) in [
        (&b""[..], false),
        (b"G", true),
        (b"\r\n", true),
        (b"GET / HTTP/1.1\r\n", true),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nG", true),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na", false),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", false),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a", false),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r", true),
    ] {
        for piece in [1, 1000] {
            let (mut guard, mut passed) = (H1Guard::new(BOUNDS), Vec::new());
            assert!(bytes.chunks(piece).all(|piece| pass(&mut guard, piece, &mut passed).is_ok()));

            assert_eq!(guard.has_begun_head(), has_begun, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn a_tls_client_is_refused_as_such_without_waiting_for_a_line_end() {
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    for (bytes, good) in [
        (hello.to_vec(), 0),
        ([&hello[..], b"\n"].concat(), 0),
        ([&hello[..], b"\r\n"].concat(), 0),
        ([&hello[..], &[b'a'; 2048], b"\n"].concat(), 0),
        ([&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], hello].concat(), 27),
    ] {
        for piece in [1, 5, bytes.len()] {
            let (passed, refusal) = push(&bytes, piece);
            assert!(matches!(refusal, Some(Refusal::UnexpectedTls)), "{refusal:?} in pieces of {piece}");
            assert_eq!(passed, good, "in pieces of {piece}");
        }
    }
    let body =
        [&b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"[..], hello, b"\n"].concat();
    assert!(
        matches!(push(&body, body.len() - hello.len() - 1).1, Some(Refusal::Malformed(_))),
        "not in a body"
    );
}

#[test]
fn a_length_that_no_body_has_is_too_large_and_not_nonsense() {
    let length = |length: &str| {
        push(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").as_bytes(), 500).1
    };
    for too_large in
        ["18446744073709551614", "18446744073709551615", "18446744073709551616", "9".repeat(40).as_str()]
    {
        assert!(matches!(length(too_large), Some(Refusal::BodyTooLarge)), "{too_large}");
    }
    assert!(length("18446744073709551613").is_none());
    assert!(matches!(length("1a"), Some(Refusal::Malformed(_))));
}

/// Has hyper serve some bytes. Returns how many requests it took, and what it answered.
fn served(bytes: &[u8]) -> (u64, String) {
    use http_body_util::{BodyExt as _, Empty};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let requests = std::cell::Cell::new(0);
    let answer = |request: http::Request<hyper::body::Incoming>| {
        requests.set(requests.get() + 1);
        async {
            let _read = request.into_body().collect().await;
            Ok::<_, std::convert::Infallible>(http::Response::new(Empty::<bytes::Bytes>::new()))
        }
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(hyper_util::rt::TokioIo::new(server), hyper::service::service_fn(answer));
    let mut answers = Vec::new();
    let exchange = async {
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        client.read_to_end(&mut answers).await.unwrap();
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // A body that is cut off is an error of the connection.
    let _cut = runtime.block_on(async { tokio::join!(connection, exchange) }).0;
    (requests.get(), String::from_utf8_lossy(&answers).into_owned())
}

proptest! {
    #[test]
    fn a_target_that_is_taken_is_one_for_hyper_too(target in "[/h*][ -~\u{80}\u{20ac}tp:/?#\\[\\]@]{0,20}", bytes in prop::collection::vec(any::<u8>(), 0..8)) {
        let target = [target.as_bytes(), &bytes].concat();
        let line = [b"OPTIONS ", &target[..], b" HTTP/1.0\r\n\r\n"].concat();
        let followed = follow(&line, line.len(), BOUNDS);
        if followed.refused.is_none() {
            let target = followed.passed.split(|byte| *byte == b' ').nth(1).unwrap();
            let uri = http::Uri::try_from(target);
            prop_assert!(uri.is_ok(), "{}: {uri:?}", target.escape_ascii());
        }
    }

    #[test]
    fn pieces_make_no_difference(
        text in "((GET|POST) /[a ]? HTTP/1.[01](\r\n|\n)(Host: a\r\n)((Content-Length|Transfer-Encoding|x ?): ?(1|2|chunked)(\r\n|\r)){0,2}\r\n(1\r\na\r\n0\r\n\r\n|ab?)?){1,3}",
        piece in 1usize..40,
    ) {
        let whole = follow(text.as_bytes(), text.len(), BOUNDS);
        let pieces = follow(text.as_bytes(), piece, BOUNDS);
        // A message that came in pieces is passed on up to its first bad line.
        prop_assert!(pieces.passed.len() >= whole.passed.len());
        prop_assert_eq!((whole.heads, whole.refused), (pieces.heads, pieces.refused));
    }

    #[test]
    fn hyper_ends_requests_where_we_do_and_refuses_none_that_we_let_through(
        text in "((GET|POST|X-Y) (/|http://a/)[a?%\"b]{0,3} HTTP/1.1\r\nHost: ?A?\r\n(Content-Length: [0-4]\r\n|Transfer-Encoding: ?(C|c)hunked\r\n|x:[\t ]?[y\u{80}]?\r\n|Expect: 100-continue\r\n){0,2}\r\n(0?1(;x|)\r\na\r\n0\r\n(t: u\r\n|)\r\n|0\r\n\r\n|\r\n|a|b\r\n){0,2}){1,4}",
    ) {
        let followed = follow(text.as_bytes(), text.len(), BOUNDS);
        let (requests, answers) = served(&followed.passed);
        prop_assert_eq!(requests, followed.heads, "{:?} {}", &followed, text.escape_debug());
        prop_assert!(!answers.contains("HTTP/1.1 4"), "{}", answers);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..512), piece in 1usize..64) {
        push(&bytes, piece);
    }
}
