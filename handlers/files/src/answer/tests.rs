//! Tests of requests for a small site.

use super::*;
use portcullis_guest::TestRequest;
use tempfile::TempDir;

fn site() -> TempDir {
    let site = tempfile::tempdir().unwrap();
    for directory in ["docs", "bare", ".git"] {
        std::fs::create_dir(site.path().join(directory)).unwrap();
    }
    let files = [
        ("index.html", "<h1>"),
        ("a b.txt", "0123456789"),
        ("empty", ""),
        ("docs/index.html", "<h2>"),
        (".git/config", "x"),
    ];
    for (name, text) in files {
        std::fs::write(site.path().join(name), text).unwrap();
    }
    site
}

/// Makes a request for `/files/REST` of a site.
fn request(site: &TempDir, method: &str, rest: &str) -> TestRequest {
    let path = format!("/files/{}", rest.replace(' ', "%20"));
    Request::test(method, &path).capture("rest", rest).var("ROOT", site.path().to_str().unwrap())
}

fn get(site: &TempDir, rest: &str) -> Response {
    answer(request(site, "GET", rest).into()).unwrap()
}

#[test]
fn a_file_comes_whole_with_its_fields() {
    let site = site();

    let response = get(&site, "a b.txt");

    assert_eq!(response.status(), 200);
    assert_eq!(response.field("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(response.field("Content-Length"), Some("10"));
    assert!(response.field("ETag").is_some() && response.field("Last-Modified").is_some());
    assert_eq!(response.into_bytes(), b"0123456789");
}

#[test]
fn a_range_comes_alone_and_one_past_the_end_is_refused() {
    let site = site();
    let range = |range: &str| answer(request(&site, "GET", "a b.txt").header("Range", range).into()).unwrap();

    let part = range("bytes=8-20");
    assert_eq!((part.status(), part.field("Content-Range")), (206, Some("bytes 8-9/10")));
    assert_eq!(part.field("Content-Length"), Some("2"));
    assert_eq!(part.into_bytes(), b"89");
    let past = range("bytes=10-");

    assert_eq!((past.status(), past.field("Content-Range")), (416, Some("bytes */10")));
}

#[test]
fn a_head_has_the_length_of_the_file_and_no_body_whatever_the_range() {
    let site = site();

    let response = answer(request(&site, "HEAD", "a b.txt").header("Range", "bytes=0-1").into()).unwrap();

    assert_eq!((response.status(), response.field("Content-Length")), (200, Some("10")));
    assert!(response.into_bytes().is_empty());
}

#[test]
fn a_client_that_has_the_file_gets_no_body() {
    let site = site();
    let tag = get(&site, "empty").field("ETag").unwrap().to_owned();

    let response = answer(request(&site, "GET", "empty").header("If-None-Match", &tag).into()).unwrap();

    assert_eq!((response.status(), response.field("ETag")), (304, Some(tag.as_str())));
    assert!(response.into_bytes().is_empty());
}

#[test]
fn a_directory_is_its_index_under_a_name_with_a_slash() {
    let site = site();

    assert_eq!(get(&site, "").into_bytes(), b"<h1>");
    assert_eq!(get(&site, "docs/").into_bytes(), b"<h2>");
    let moved = get(&site, "docs");

    assert_eq!((moved.status(), moved.field("Location")), (308, Some("/files/docs/")));
}

#[test]
fn the_mount_itself_has_a_slash_as_well() {
    let site = site();

    let moved =
        answer(Request::test("GET", "/files").var("ROOT", site.path().to_str().unwrap()).into()).unwrap();

    assert_eq!((moved.status(), moved.field("Location")), (308, Some("/files/")));
}

#[test]
fn what_is_not_for_show_is_not_found() {
    let site = site();

    for never in
        ["nothing", "bare", "bare/", "index.html/", "index.html/x", ".git/config", "..", "docs/../index.html"]
    {
        assert_eq!(get(&site, never).status(), 404, "{never}");
    }
}

#[test]
fn a_file_that_shrinks_fails_rather_than_end_early() {
    let site = site();
    let mut short = Exactly { file: File::open(site.path().join("a b.txt")).unwrap(), left: 11 };

    let error = short.read_to_end(&mut Vec::new()).unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn only_reading_is_allowed() {
    let response = answer(request(&site(), "POST", "").into()).unwrap();

    assert_eq!((response.status(), response.field("Allow")), (405, Some("GET, HEAD")));
}
