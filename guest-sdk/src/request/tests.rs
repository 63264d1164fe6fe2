//! Tests of reading a request.

use super::*;

#[test]
fn a_request_says_what_it_was_made_with() {
    let request = Request::test("PUT", "/a%20b+c/d?x=1&y=%20&x=2")
        .header("Content-Type", "a/b")
        .header("X-Odd", "1")
        .capture("user-id", "7")
        .var("GREETING", "hi")
        .body("body");

    assert_eq!((request.method(), request.path()), ("PUT", "/a b+c/d"));
    assert_eq!(request.uri(), "/a%20b+c/d?x=1&y=%20&x=2");
    assert_eq!((request.query("x").as_deref(), request.query("z")), (Some("1"), None));
    assert_eq!(request.queries().len(), 3);
    assert_eq!((request.header("X-ODD"), request.header("x_odd")), (Some("1"), None));
    assert_eq!(request.capture("user-id"), Some("7"));
    assert_eq!(request.captures().collect::<Vec<_>>(), [("user_id", "7")]);
    assert_eq!(
        request.headers().collect::<Vec<_>>(),
        [("content-type", "a/b"), ("content-length", "4"), ("x-odd", "1")]
    );
    assert_eq!((request.var("GREETING"), request.args()), (Some("hi"), &["7".to_owned()][..]));
    assert_eq!((request.remote_addr(), request.route()), ("192.0.2.1", ""));
}

#[test]
fn a_script_name_and_a_path_info_are_one_path() {
    let request = Request::test("GET", "/files").var("PATH_INFO", "/a/b");
    assert_eq!(request.path(), "/files/a/b");
}

#[test]
fn a_process_without_a_request_has_one_all_the_same() {
    let request = Request::of(Vars::Given(Vec::new()), Body::from(Vec::new()));

    assert_eq!((request.method(), request.path(), request.uri()), ("GET", "/", "/"));
    assert_eq!((request.id(), request.query("a"), request.header("host")), ("", None, None));
}

#[cfg(feature = "json")]
#[test]
fn a_body_in_json_is_read_or_refused_with_the_reason() {
    let read = |kind: &str, body: &str| {
        let mut request = Request::test("POST", "/").header("Content-Type", kind).body(body);
        request.json::<Vec<u8>>().map_err(|error| error.status())
    };

    for kind in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", ""] {
        assert_eq!(read(kind, "[1, 2]"), Ok(vec![1, 2]), "{kind}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        assert_eq!(read(kind, "[1, 2]"), Err(415), "{kind}");
    }
    for body in ["", "[1", "{}", "[256]", "[1] x"] {
        assert_eq!(read("application/json", body), Err(400), "{body}");
    }
}

#[test]
fn a_form_is_read() {
    let form = |kind: &str, body: &[u8]| {
        let mut request = Request::test("POST", "/").header("Content-Type", kind).body(body);
        request.form().map_err(|error| error.status())
    };
    let kind = "application/x-www-form-urlencoded";

    assert_eq!(form(kind, b"a=1+2"), Ok(vec![("a".to_owned(), "1 2".to_owned())]));
    assert_eq!(form(kind, b"\xff"), Err(400));
    assert_eq!(form("text/plain", b"a=1"), Err(415));
}

#[cfg(feature = "serde")]
#[test]
fn a_form_becomes_a_type_or_is_refused_with_the_name_of_its_field() {
    #[derive(serde::Deserialize, PartialEq, Debug)]
    struct Note {
        title: String,
        stars: Vec<u8>,
    }
    let form = |kind: &str, body: &str| {
        let mut request = Request::test("POST", "/").header("Content-Type", kind).body(body);
        request.form_as::<Note>().map_err(|error| (error.status(), error.to_string()))
    };
    let kind = "application/x-www-form-urlencoded; charset=utf-8";

    let note = Note { title: "a day".to_owned(), stars: vec![3, 5] };
    assert_eq!(form(kind, "title=a+day&stars=3&stars=5"), Ok(note));
    let (status, message) = form(kind, "title=a+day&stars=many").unwrap_err();
    assert_eq!(status, 400);
    assert!(message.contains("stars"), "{message}");
    assert_eq!(form("text/plain", "title=a&stars=1").unwrap_err().0, 415);
}
