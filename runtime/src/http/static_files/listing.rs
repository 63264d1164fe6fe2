//! The page that lists a directory.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::files::{DirListing, ListedEntry};

/// Characters of a name that are encoded in a link.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Makes the page of a directory, which is named by its decoded request path.
pub(super) fn page(path: &str, listed: &DirListing, has_parent: bool) -> String {
    let title = format!("Index of {}", escaped(path));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
    );
    if has_parent {
        page.push_str("<li><a href=\"../\">../</a>\n");
    }
    for ListedEntry { name, is_dir } in &listed.entries {
        let slash = if *is_dir { "/" } else { "" };
        // `./`, because a name may begin like a scheme.
        let link = utf8_percent_encode(name, ENCODED);
        let _infallible = writeln!(page, "<li><a href=\"./{link}{slash}\">{}{slash}</a>", escaped(name));
    }
    page.push_str("</ul>\n");
    if listed.is_cut {
        page.push_str("<p>There are more.\n");
    }
    page
}

/// Escapes a text for HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other if other.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_markup_nor_a_scheme() {
        let entries = vec![
            ListedEntry { name: "<script>\"&'.html".to_owned(), is_dir: false },
            ListedEntry { name: "javascript:alert(1)".to_owned(), is_dir: true },
        ];

        let page = page("/a<b>/", &DirListing { entries, is_cut: true }, true);

        assert!(page.contains("<title>Index of /a&lt;b&gt;/</title>"), "{page}");
        assert!(
            page.contains("href=\"./%3Cscript%3E%22%26%27.html\">&lt;script&gt;&quot;&amp;&#39;.html</a>"),
            "{page}"
        );
        assert!(page.contains("href=\"./javascript%3Aalert%281%29/\""), "{page}");
        assert!(page.contains("href=\"../\"") && page.contains("There are more."));
    }
}
