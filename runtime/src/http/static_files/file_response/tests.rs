//! Tests of the responses with files.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use http::Request;
use http::header::{
    ACCEPT_ENCODING, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};

use super::*;
use crate::catalog::Wildcard;
use crate::files::{FileRoot, is_local};

/// A file that was last changed when the source was checked out.
const OLD: &str = "Cargo.toml";

/// Serves the source.
fn source(precompressed: &[Coding]) -> StaticFiles {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = StaticOptions {
        dir: dir.to_owned(),
        index: Some(OLD.to_owned()),
        spa: None,
        immutable: None,
        precompressed: precompressed.to_vec(),
        listing: false,
    };
    StaticFiles { root: Arc::new(FileRoot::open_path(dir).unwrap()), options }
}

fn head(method: Method, fields: &[(HeaderName, &str)]) -> Parts {
    let mut request = Request::new(());
    *request.method_mut() = method;
    let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
    request.headers_mut().extend(fields);
    request.into_parts().0
}

fn request<'a>(
    files: &'a StaticFiles,
    head: &'a Parts,
    tail: &'a str,
    descriptors: &'a Arc<Budget>,
) -> FileRequest<'a> {
    FileRequest { files, head, sent: head, tail, is_gated: false, descriptors }
}

/// Reads a file until it is kept in memory. Returns `false` where no file is: its file system may ask a server.
async fn keep(request: FileRequest<'_>) -> bool {
    if !is_local(File::open(&request.files.options.dir).unwrap()).unwrap() {
        return false;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while request.answer_kept().is_none() {
        assert!(Instant::now() < deadline, "it is not found in the cache of the kernel");
        assert_eq!(shown(request.answer().await).0, 200);
    }
    true
}

/// Returns the response from memory. A mount anywhere on the machine lets a lookup in the kernel's cache fail.
fn kept(request: FileRequest<'_>) -> Option<(u16, HeaderMap, Vec<u8>)> {
    (0..100).find_map(|_| request.answer_kept()).map(shown)
}

/// Returns the status, the fields with the date that each response gets, and the body.
fn shown(answered: Result<Response<Body>, Refusal>) -> (u16, HeaderMap, Vec<u8>) {
    match answered {
        Ok(mut response) => {
            response.headers_mut().insert(DATE, HeaderValue::from_static("now"));
            (response.status().as_u16(), response.headers().clone(), response.body().here().to_vec())
        }
        Err(refusal) => (refusal.status().as_u16(), HeaderMap::new(), Vec::new()),
    }
}

#[test]
fn a_file_behind_gates_is_for_one_user() {
    assert_eq!(freshness(true, false), "public, max-age=31536000, immutable");
    assert_eq!(freshness(true, true), "private, max-age=31536000, immutable");
    assert_eq!(freshness(false, true), "no-cache");
}

#[test]
fn a_request_wants_a_whole_file_unless_it_names_a_part_or_a_state() {
    let wants_less = |fields: &[(HeaderName, &str)]| may_want_less(&head(Method::GET, fields).headers);

    assert!(!wants_less(&[]) && !wants_less(&[(ACCEPT_ENCODING, "gzip"), (ETAG, "\"x\"")]));
    for name in [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
        assert!(wants_less(&[(ACCEPT_ENCODING, "gzip"), (name.clone(), "x")]), "{name}");
    }
}

#[tokio::test]
async fn a_file_that_a_client_has_comes_without_the_fields_of_its_content_in_the_same_order() {
    let (mut files, descriptors) = (source(&[Coding::Br]), Budget::boundless());
    files.options.immutable = Some(Wildcard::new("x"));
    let get = head(Method::GET, &[(IF_NONE_MATCH, "*")]);

    let (status, fields, body) = shown(request(&files, &get, OLD, &descriptors).answer().await);

    let names: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
    assert_eq!((status, body.len()), (304, 0));
    assert_eq!(names, ["vary", "cache-control", "etag", "last-modified", "date"]);
}

#[tokio::test]
async fn a_small_file_is_answered_from_memory_as_from_the_disk() {
    let (files, descriptors) = (source(&[]), Budget::boundless());
    let content = fs::read(files.options.dir.join(OLD)).unwrap();
    let get = head(Method::GET, &[]);
    let whole = request(&files, &get, OLD, &descriptors);

    let first = shown(whole.answer().await);
    assert!(whole.answer_kept().is_none(), "it was read once");
    if !keep(whole).await {
        return;
    }

    assert_eq!(shown(whole.answer().await), first);
    assert_eq!(first.2, content);
    let etag = first.1[ETAG].to_str().unwrap().to_owned();
    for (method, fields, tail) in [
        (Method::GET, &[][..], OLD),
        (Method::GET, &[], ""),
        (Method::HEAD, &[], OLD),
        (Method::GET, &[(RANGE, "bytes=2-4")], OLD),
        (Method::GET, &[(RANGE, "bytes=-3"), (IF_RANGE, "\"x\"")], OLD),
        (Method::GET, &[(RANGE, "bytes=9999999-")], OLD),
        (Method::GET, &[(IF_NONE_MATCH, etag.as_str())], OLD),
        (Method::GET, &[(IF_MATCH, "\"x\"")], OLD),
        (Method::GET, &[(IF_UNMODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT")], OLD),
    ] {
        let head = head(method, fields);
        let request = request(&files, &head, tail, &descriptors);
        let (from_memory, from_disk) = (kept(request).unwrap(), shown(request.answer().await));
        assert_eq!(from_memory, from_disk, "{fields:?} {tail:?}");
        assert!(from_memory.1.keys().eq(from_disk.1.keys()), "in the same order: {fields:?} {tail:?}");
    }
}

#[tokio::test]
async fn a_file_in_memory_is_not_sent_where_a_compressed_one_may_lie_beside_it() {
    let (files, descriptors) = (source(&[Coding::Br]), Budget::boundless());
    let [plain, squeezed] = [&[][..], &[(ACCEPT_ENCODING, "br")]].map(|fields| head(Method::GET, fields));
    let whole = request(&files, &plain, OLD, &descriptors);
    if !keep(whole).await {
        return;
    }

    assert!(kept(whole).is_some());
    assert!(kept(request(&files, &squeezed, OLD, &descriptors)).is_none());
}

#[tokio::test]
async fn a_file_that_is_read_although_it_is_in_memory_is_not_kept_anew() {
    let (files, descriptors) = (source(&[Coding::Br]), Budget::boundless());
    let [plain, squeezed] = [&[][..], &[(ACCEPT_ENCODING, "br")]].map(|fields| head(Method::GET, fields));
    if !keep(request(&files, &plain, OLD, &descriptors)).await {
        return;
    }
    let in_memory = || (0..100).find_map(|_| files.root.kept(OLD)).unwrap();
    let before = in_memory();

    let read = shown(request(&files, &squeezed, OLD, &descriptors).answer().await);

    assert_eq!(read.2, before.content);
    assert!(Arc::ptr_eq(&before, &in_memory()));
}
