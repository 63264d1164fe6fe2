//! Shortens URLs and counts how often each is followed.
//!
//! ```text
//! GET  /links          a page that lists the links and adds one
//! POST /links          {"url": "https://..."} -> 201, {"slug": "..."}
//! GET  /links/{slug}   {"url": "...", "hits": N}
//! GET  /l/{slug}       302 to the URL, and counts
//! ```
//!
//! A link is an entry `link/SLUG` of the store `default`, its count an entry `hits/SLUG`. Any number of instances run at
//! once: a slug is created by one of them, and no hit is lost.

mod page;

use portcullis_guest::store::{self, Store, StoreErrorKind};
use portcullis_guest::{Error, Request, Response, serve};
use serde::{Deserialize, Serialize};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io::Read as _;
use std::process::ExitCode;

/// The longest URL, in bytes: longer ones fail in some browsers.
const LONGEST: usize = 2048;

/// The largest request body, in bytes: more than a URL of maximum length with every character escaped.
const BODY: u64 = 16 * 1024;

/// The characters of a slug. Without vowels and look-alikes, so that no word comes of it.
const LETTERS: &[u8; 32] = b"23456789bcdfghjkmnpqrstvwxzBCDFG";

/// The length of a slug: 40 bits, so that slugs are hard to guess.
const LENGTH: usize = 8;

/// Slugs that are tried. With a billion links, the chance that the first one is taken is one in a thousand.
const TRIES: usize = 8;

/// A link as a client sends it and as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    url: String,
}

fn main() -> ExitCode {
    serve(answer)
}

fn answer(request: Request) -> Result<Response, Error> {
    let links = store::open("default")?;
    match (request.method(), request.capture("slug")) {
        ("GET" | "HEAD", Some(slug)) if request.route().starts_with("/l/") => follow(&request, &links, slug),
        ("GET" | "HEAD", Some(slug)) => show(&links, slug),
        ("GET" | "HEAD", None) => {
            let after = request.query("after").filter(|after| !after.is_empty());
            match after.as_deref().map(|after| after.strip_prefix("link/").is_some_and(is_slug)) {
                Some(false) => Err(Error::new(400, "after: wanted the key of a link")),
                Some(true) | None => page::list(&links, after.as_deref()),
            }
        }
        ("POST", None) => create(request, &links),
        _ => Err(Error::new(405, "method not allowed")),
    }
}

/// Adds a link, from JSON or from the form of the page.
fn create(mut request: Request, links: &Store) -> Result<Response, Error> {
    let kind = request.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let is_form = kind.starts_with("application/x-www-form");
    let mut body = Vec::new();
    request.body().take(BODY + 1).read_to_end(&mut body)?;
    if body.len() as u64 > BODY {
        return Err(Error::new(413, format!("a body of more than {BODY} bytes")));
    }
    // `curl -d` calls everything a form.
    let from_page = is_form && !body.trim_ascii_start().starts_with(b"{");
    let link: Link = if is_form && !from_page {
        serde_json::from_slice(&body).map_err(|error| Error::bad_request(error.to_string()))?
    } else {
        *request.body() = body.into();
        if from_page { request.form_as()? } else { request.json()? }
    };
    check(&link.url)?;
    for _ in 0..TRIES {
        let slug = slug();
        match links.create_json(&format!("link/{slug}"), &link) {
            Ok(true) if from_page => return Ok(Response::see_other("/links")),
            Ok(true) => {
                let response = Response::json(&serde_json::json!({ "slug": slug })).with_status(201);
                return Ok(response.header("Location", format!("/links/{slug}")));
            }
            Ok(false) => {}
            Err(error) if error.kind() == StoreErrorKind::QuotaExceeded => {
                return Err(Error::new(507, "no room for more links"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::internal("no slug is free"))
}

/// Redirects to a link and counts it.
#[expect(clippy::print_stderr, reason = "stderr is the handler's log")]
fn follow(request: &Request, links: &Store, slug: &str) -> Result<Response, Error> {
    let Some(Link { url }) = find(links, slug)? else { return Ok(Response::not_found()) };
    // HEAD looks, GET follows.
    if request.method() == "GET" {
        match links.increment(&format!("hits/{slug}"), 1) {
            // A full store has no room to count, and the client gets there all the same.
            Err(error) if error.kind() == StoreErrorKind::QuotaExceeded => {
                eprintln!("/l/{slug} is not counted: {error}");
            }
            counted => counted.map(drop)?,
        }
    }
    // The client must come back each time, or it would not be counted.
    Ok(Response::redirect(url).header("Cache-Control", "no-store"))
}

/// Shows a link with its count.
fn show(links: &Store, slug: &str) -> Result<Response, Error> {
    let Some(Link { url }) = find(links, slug)? else { return Ok(Response::not_found()) };
    let hits: u64 = links.get_json(&format!("hits/{slug}"))?.unwrap_or(0);
    Ok(Response::json(&serde_json::json!({ "url": url, "hits": hits })))
}

fn find(links: &Store, slug: &str) -> Result<Option<Link>, Error> {
    if !is_slug(slug) {
        return Ok(None);
    }
    Ok(links.get_json(&format!("link/{slug}"))?)
}

fn is_slug(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|letter| LETTERS.contains(&letter))
}

/// Checks that a URL leads to a server: `javascript:` would run in the page that lists it.
fn check(url: &str) -> Result<(), Error> {
    // RFC 3986 §3.1: a scheme is the same in capital letters.
    let is_web = |scheme: &str| ["https", "http"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    let rest = url.split_once("://").filter(|(scheme, _)| is_web(scheme)).map(|(_, rest)| rest);
    let is_sound = url.len() <= LONGEST && url.bytes().all(|byte| byte.is_ascii_graphic());
    match rest {
        Some(rest)
            if is_sound && rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[') =>
        {
            Ok(())
        }
        _ => Err(Error::new(422, "url: wanted http://... or https://..., of 2048 characters at most")),
    }
}

/// Makes a slug. The hasher is seeded by the host's random numbers, anew for each request.
fn slug() -> String {
    let random = RandomState::new().hash_one(0);
    (0..LENGTH).map(|place| char::from(LETTERS[(random >> (5 * place) & 31) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, path: &str, route: &str) -> Response {
        answer(Request::test(method, path).route(route).into()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn add(url: &str) -> Result<Response, Error> {
        answer(Request::test("POST", "/links").body(format!("{{\"url\": {url:?}}}")))
    }

    #[test]
    fn a_link_is_made_followed_and_counted() {
        let made = add("https://example.org/a?b=c#d").unwrap();
        assert_eq!(made.status(), 201);
        let slug = made.field("location").unwrap().strip_prefix("/links/").unwrap().to_owned();
        assert_eq!(made.body_string(), format!("{{\"slug\":\"{slug}\"}}\n"));

        let followed = ask("GET", &format!("/l/{slug}"), "/l/{slug}");
        assert_eq!(
            (followed.status(), followed.field("location")),
            (302, Some("https://example.org/a?b=c#d"))
        );
        ask("HEAD", &format!("/l/{slug}"), "/l/{slug}");
        ask("GET", &format!("/l/{slug}"), "/l/{slug}");

        let shown = ask("GET", &format!("/links/{slug}"), "/links/{slug}");
        assert_eq!(shown.body_string(), "{\"url\":\"https://example.org/a?b=c#d\",\"hits\":2}\n");
        let page = ask("GET", "/links", "/links").body_string();
        assert!(page.contains(&slug) && page.contains("https://example.org/a?b=c#d"), "{page}");
    }

    #[test]
    fn json_that_curl_calls_a_form_is_a_link() {
        for body in ["{\"url\": \"https://example.org/\"}", "  {\"url\": \"HTTPS://example.org/\"}"] {
            let request = Request::test("POST", "/links")
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(body);

            assert_eq!(answer(request).unwrap().status(), 201, "{body}");
        }
    }

    #[test]
    fn the_type_of_a_form_may_be_in_capital_letters() {
        let request = Request::test("POST", "/links")
            .header("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")
            .body("url=https%3A%2F%2Fexample.org%2F");

        assert_eq!(answer(request).unwrap().status(), 303);
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for url in ["javascript:alert(1)", "http://", "https:// x", "/links", "", "https://<script>"] {
            assert_eq!(add(url).err().map(|error| error.status()), Some(422), "{url}");
        }
        let large = format!("https://a/{}", "x".repeat(20_000));
        assert_eq!(add(&large).err().map(|error| error.status()), Some(413));
        assert_eq!(ask("GET", "/l/nothing1", "/l/{slug}").status(), 404);
        assert_eq!(ask("GET", "/links/hits", "/links/{slug}").status(), 404);
    }
}
