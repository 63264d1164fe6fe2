//! The page that lists the links and adds one.

use super::Link;
use portcullis_guest::store::Store;
use portcullis_guest::{Error, Response};
use std::fmt::Write as _;

/// Links of one page.
const PAGE: usize = 50;

/// The page before the table and after it.
const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Links</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid #ccc; padding: .25rem .5rem; text-align: left; word-break: break-all }
td:last-child, th:last-child { text-align: right }
input { width: 70% }
</style>
<h1>Links</h1>
<form method=\"post\" action=\"/links\">
<input name=\"url\" type=\"url\" required placeholder=\"https://...\" aria-label=\"URL\"> <button>Shorten</button>
</form>
<table>
<tr><th>Short<th>URL<th>Hits
";

/// Shows one page of the links, behind the key `after`.
pub(super) fn list(links: &Store, after: Option<&str>) -> Result<Response, Error> {
    let listed = links.list("link/", after, PAGE)?;
    let slugs: Vec<&str> = listed.keys.iter().filter_map(|key| key.strip_prefix("link/")).collect();
    let counts: Vec<String> = slugs.iter().map(|slug| format!("hits/{slug}")).collect();
    let (found, counts) = (links.get_many(&listed.keys)?, links.get_many(&counts)?);
    let mut page = HEAD.to_owned();
    for ((slug, link), count) in slugs.iter().zip(found).zip(counts) {
        // A link may have been deleted since it was listed.
        let Some(link) = link else { continue };
        let Link { url } = serde_json::from_slice(&link.value)?;
        let hits = count.map(|count| String::from_utf8_lossy(&count.value).into_owned());
        let (url, hits) = (escape(&url), escape(hits.as_deref().unwrap_or("0")));
        writeln!(page, "<tr><td><a href=\"/l/{slug}\">/l/{slug}</a><td>{url}<td>{hits}")?;
    }
    page.push_str("</table>\n");
    if let Some(cursor) = listed.cursor {
        writeln!(page, "<p><a href=\"/links?after={}\">More</a>", escape(&cursor))?;
    }
    Ok(Response::html(page))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
