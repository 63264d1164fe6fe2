//! Tests of the API, as a client sees it.

use super::*;
use portcullis_guest::TestRequest;
use serde_json::{Value, json};

fn post(body: &str) -> Result<Response, Error> {
    answer(Request::test("POST", "/notes").body(body))
}

fn at(method: &str, id: &str) -> TestRequest {
    Request::test(method, &format!("/notes/{id}")).capture("id", id)
}

fn etag(response: &Response) -> String {
    response.field("ETag").unwrap().to_owned()
}

fn value(response: Response) -> Value {
    serde_json::from_slice(&response.into_bytes()).unwrap()
}

#[test]
fn a_note_lives_and_dies_over_http() {
    let created = post(r#"{"title": "milk", "text": "two"}"#).unwrap();
    assert_eq!((created.status(), created.field("Location")), (201, Some("/notes/1")));
    let read = answer(at("GET", "1").into()).unwrap();
    assert_eq!(etag(&read), etag(&created));
    assert_eq!(value(read)["text"], json!("two"));
    let known = answer(at("GET", "1").header("If-None-Match", etag(&created)).into()).unwrap();
    assert_eq!(known.status(), 304);
    let update =
        at("PUT", "1").header("If-Match", etag(&created)).body(r#"{"title": "milk", "text": "three"}"#);
    let updated = answer(update).unwrap();
    assert_eq!(
        value(answer(Request::test("GET", "/notes").into()).unwrap())["notes"][0]["etag"],
        json!(etag(&updated))
    );
    assert_eq!(answer(at("DELETE", "1").header("If-Match", etag(&updated)).into()).unwrap().status(), 204);

    assert_eq!(answer(at("GET", "1").into()).unwrap().status(), 404);
    assert_eq!(answer(at("DELETE", "1").into()).unwrap().status(), 404);
}

#[test]
fn a_change_to_another_state_than_wanted_is_refused() {
    let first = etag(&post(r#"{"title": "a"}"#).unwrap());
    let update = |tag: &str| answer(at("PUT", "1").header("If-Match", tag).body(r#"{"title": "b"}"#));
    update(&first).unwrap();

    assert_eq!(update(&first).unwrap_err().status(), 412);
    assert_eq!(answer(at("DELETE", "1").header("If-Match", &first).into()).unwrap_err().status(), 412);

    assert_eq!(update("*").unwrap().status(), 200);
}

#[test]
fn what_is_no_note_is_refused_with_the_reason() {
    let status = |body: &str| post(body).unwrap_err().status();
    let note =
        |title: usize, text: usize| json!({"title": "é".repeat(title), "text": "x".repeat(text)}).to_string();

    assert_eq!(status("milk"), 400);
    assert_eq!(status(r#"{"title": "a", "colour": "red"}"#), 400);
    assert_eq!(status(r#"{"text": "no title"}"#), 400);
    assert_eq!(status(&note(0, 0)), 422);
    assert_eq!(status(&note(TITLE + 1, 0)), 422);
    assert_eq!(status(&note(1, TEXT + 1)), 422);
    assert_eq!(status(r#"{"title": "a", "text": "b\u0000"}"#), 422);
    assert_eq!(status(&" ".repeat(BODY as usize + 1)), 413);
    assert_eq!(post(&note(TITLE, TEXT)).unwrap().status(), 201);
}

#[test]
fn an_id_has_one_name() {
    post(r#"{"title": "a"}"#).unwrap();

    for id in ["01", "+1", "0", "-1", "1.0", "", "..", "staging", "100001", "99999999999999999999"] {
        assert_eq!(answer(at("GET", id).into()).unwrap().status(), 404, "{id:?}");
    }
}

#[test]
fn a_page_has_its_bounds() {
    let status = |query: &str| match answer(Request::test("GET", &format!("/notes?{query}")).into()) {
        Ok(response) => response.status(),
        Err(error) => error.status(),
    };

    for good in ["", "limit=1", "limit=100", "after=18446744073709551615"] {
        assert_eq!(status(good), 200, "{good}");
    }
    for bad in ["limit=0", "limit=101", "limit=x", "after=-1"] {
        assert_eq!(status(bad), 400, "{bad}");
    }
}

#[test]
fn a_method_without_meaning_here_is_refused_with_those_that_have_one() {
    let response = answer(at("PATCH", "1").into()).unwrap();

    assert_eq!((response.status(), response.field("Allow")), (405, Some("DELETE, GET, HEAD, PUT")));
}
