//! The documentation: every link has a target, the README links every page, and every metric stands in a page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::metrics::named;

/// A page of the documentation.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn of(path: PathBuf) -> Page {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Page { path, text }
    }

    /// Iterates over the lines outside code blocks.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut is_code = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
    }

    /// Returns the anchors of the headings, as GitHub forms them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        let titles = headings.map(|line| line.trim_start_matches('#').trim());
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        titles
            .map(|title| title.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-"))
            .collect()
    }

    /// Returns the targets of `[text](target)`.
    fn links(&self) -> Vec<&str> {
        let behind = self.prose().flat_map(|line| line.split("](").skip(1));
        behind.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Returns the pages of the reference.
fn reference() -> Vec<Page> {
    let paths = fs::read_dir(root().join("runtime/docs")).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "md")).map(Page::of).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut pages = reference();
    pages.extend(["README.md", "SECURITY.md"].map(|name| Page::of(root().join(name))));
    let mut broken = Vec::new();

    for page in &pages {
        for link in page.links().into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.path.clone(),
                file => page.path.with_file_name(file),
            };
            let leads = target.exists() && (anchor.is_empty() || Page::of(target).anchors().contains(anchor));
            if !leads {
                broken.push(format!("{}: {link}", page.path.display()));
            }
        }
    }

    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_page_says_what_it_holds_and_stands_in_the_readme() {
    let readme = Page::of(root().join("README.md"));
    let linked: BTreeSet<&str> = readme.links().into_iter().collect();

    for page in reference() {
        let name = page.path.file_name().unwrap().to_str().unwrap();
        let first: String = page.text.split("\n\n").nth(1).unwrap().replace('\n', " ");
        assert!(page.text.starts_with("# "), "{name} begins with its title");
        assert!(
            first.ends_with('.') && first.matches(". ").count() == 0,
            "{name}: one sentence, not {first:?}"
        );
        assert!(
            linked.contains(format!("runtime/docs/{name}").as_str()),
            "README.md does not lead to {name}"
        );
    }
}

#[test]
fn the_first_handler_in_the_readme_is_what_new_writes() {
    let template = fs::read_to_string(root().join("runtime/src/cli/new/template/main.rs.txt")).unwrap();
    let (code, _test) = template.split_once("\n#[cfg(test)]").unwrap();

    let readme = Page::of(root().join("README.md"));

    assert!(readme.text.contains(&format!("```rust\n{code}```\n")), "README.md does not show\n{code}");
}

#[test]
fn every_metric_stands_in_a_page_and_no_page_names_another() {
    /// How the names of metrics end. Other names with their prefix are modules that guests import.
    const ENDS: [&str; 4] = ["_total", "_seconds", "_bytes", "_limit"];
    /// The prefix that one function puts before the names of a table.
    const CACHE: &str = "portcullis_compile_cache_";
    let files =
        fs::read_dir(root().join("runtime/src/http/admin")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    let source: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let strings: BTreeSet<&str> = source.split('"').filter(is_name).collect();
    let exposed: BTreeSet<&str> = strings.iter().copied().filter(|text| named(text).contains(text)).collect();
    let pages: String = reference().into_iter().map(|page| page.text).collect();
    let in_pages = named(&pages);

    let missing: Vec<&&str> = exposed.iter().filter(|name| !in_pages.contains(**name)).collect();
    let unknown = in_pages.iter().filter(|name| {
        let suffix = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
        let name = suffix.unwrap_or(name);
        let is_known =
            exposed.contains(name) || name.strip_prefix(CACHE).is_some_and(|rest| strings.contains(rest));
        ENDS.iter().any(|end| name.ends_with(end)) && !is_known
    });
    let unknown: Vec<&&str> = unknown.collect();

    assert!(exposed.len() > 60, "{exposed:?}");
    assert!(missing.is_empty() && unknown.is_empty(), "not in a page: {missing:?}; no metric: {unknown:?}");
}

/// Bounds of queues: the file below `runtime/src`, the constant, the beginning of its row in the page, and the bound in
/// that row.
const QUEUES: [(&str, &str, &str, &str); 30] = [
    (
        "job/pipe.rs",
        "PIPE_CAPACITY: usize = 64 << 10",
        "stdout, or the body",
        "128 KiB (64 KiB, and their buffers)",
    ),
    (
        "job/pipe.rs",
        "PIPE_CAPACITY: usize = 64 << 10",
        "bodies buffered before a slot",
        "of one request 128 KiB",
    ),
    (
        "http/request/spool_file.rs",
        "BATCH: usize = 256 << 10",
        "rest of a body of unknown length",
        "256 KiB that are gathered",
    ),
    (
        "http/server/h2.rs",
        "SEND_BUFFER: usize = 64 << 10",
        "response that waits for a window",
        "64 KiB, and some",
    ),
    (
        "http/server/h2.rs",
        "CONNECTION_WINDOW: u32 = 1 << 20",
        "bodies that wait for their jobs",
        "1 MiB; h2 closes",
    ),
    ("http/static_files/file_body.rs", "CHUNK: usize = 64 << 10", "static file ahead", "64 KiB"),
    ("files/kept_files.rs", "MOST: usize = 4 << 20", "static files that are kept", "4 MiB"),
    (
        "files/kept_files.rs",
        "LARGEST: usize = 64 << 10",
        "static files that are kept",
        "files of up to 64 KiB",
    ),
    ("http/outbound/pool.rs", "HEAD: usize = 64 << 10", "response of another server", "64 KiB"),
    (
        "wasm/host/calls/mod.rs",
        "LONGEST: usize = 128 << 10",
        "arguments and variables of a called job",
        "128 KiB and",
    ),
    (
        "wasm/host/stores/grants.rs",
        "MAX_UNDER_WAY: usize = 16",
        "an operation on a store or a database",
        "16 operations",
    ),
    (
        "wasm/host/databases/grants.rs",
        "MAX_UNDER_WAY: usize = 16",
        "an operation on a store or a database",
        "16 operations",
    ),
    ("store/limits.rs", "MAX_BATCH_BYTES: usize = 8 << 20", "an operation on a store or a database", "8 MiB"),
    (
        "database/limits.rs",
        "MAX_RESULT_BYTES: usize = 8 << 20",
        "an operation on a store or a database",
        "8 MiB",
    ),
    ("database/limits.rs", "MAX_PARAMETER_BYTES: usize = 8 << 20", "a statement and its parameters", "8 MiB"),
    ("store/room.rs", "QUEUE: usize = 28 << 20", "writes that wait for a commit", "28 MiB"),
    (
        "store/room.rs",
        "SMALL_QUEUE: usize = 4 << 20",
        "writes that wait for a commit",
        "4 MiB in writes of up to 64 KiB",
    ),
    (
        "store/redis/mod.rs",
        "AHEAD: usize = 8",
        "requests of jobs that have ended",
        "8 requests of up to 8 MiB",
    ),
    (
        "store/nats/bucket.rs",
        "AHEAD: usize = 64",
        "requests of jobs that have ended",
        "64 messages of up to 1 MB",
    ),
    (
        "store/redb/reader.rs",
        "BATCH_BYTES: usize = 1 << 20",
        "entries for `store dump`",
        "3 batches of up to 2 MiB",
    ),
    ("job/capture.rs", "STDIN: usize = 1 << 20", "stdin kept for `record`", "1 MiB"),
    ("record/store.rs", "KEPT: usize = 32 << 20", "stdin kept for `record`", "32 MiB"),
    ("record/store.rs", "WAITING: usize = 16", "failed jobs to be written", "16 times"),
    ("engine/journal.rs", "BYTES: usize = 1 << 20", "journal, which", "1 MiB of text and 1000 lines"),
    ("observe/queue.rs", "BYTES: usize = 16 << 20", "lines of the log", "16 MiB of text"),
    ("observe/queue.rs", "LINES: usize = 64 << 10", "lines of the log", "65536 lines"),
    (
        "observe/history/tap.rs",
        "BYTES: usize = 1 << 20",
        "ended jobs for a client",
        "2 MiB: 1 MiB that waits",
    ),
    (
        "observe/traces/trace.rs",
        "BYTES: usize = 1 << 20",
        "spans of a request in progress",
        "2 MiB: 1 MiB of calls",
    ),
    ("observe/traces/exporter.rs", "EACH: usize = 4 << 10", "spans for the collector", "4 KiB for each"),
    ("http/limits/admin_slots.rs", "CHANGES: usize = 12", "modules that are swapped in", "12 at once"),
];

#[test]
fn a_queue_that_grows_in_the_source_grows_in_the_page_of_limits() {
    let page = Page::of(root().join("runtime/docs/limits.md")).text;
    let table = page.split("## What each queue may hold").nth(1).unwrap().split("\n## ").next().unwrap();

    for (file, constant, row, bound) in QUEUES {
        let source = fs::read_to_string(root().join("runtime/src").join(file)).unwrap();
        assert!(source.contains(&format!("const {constant};")), "{file}: no {constant}: change the page too");
        let mut rows = table.lines().filter(|line| line.starts_with(&format!("| {row}")));
        assert!(rows.any(|line| line.contains(bound)), "{row}: no {bound:?}, as {constant} in {file} says");
    }
}
