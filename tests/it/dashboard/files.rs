//! The files of the dashboard: served whole, with their policy, and without a request to anywhere else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Dashboard;
use crate::harness::{Client, Program, Setup};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashboard");

/// Returns the files of the page with their texts.
fn files() -> Vec<(String, String)> {
    let names = fs::read_dir(FILES).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let named = names.filter(|name| !name.ends_with(".rs"));
    named.map(|name| (name.clone(), fs::read_to_string(Path::new(FILES).join(&name)).unwrap())).collect()
}

/// Returns what stands between two marks, wherever it does.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Vec<&'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split_once(after)).map(|(found, _)| found).collect()
}

#[test]
fn every_file_is_served_with_its_type_and_its_policy() {
    let daemon = Setup::one("", &Program::text().wasm()).prepend("admin = \"unix://admin.sock\"\n").start();
    let dashboard = Dashboard::of(&daemon);
    let files = files();
    assert!(files.len() > 10, "{}", files.len());

    for (name, text) in &files {
        let target = format!("/dashboard/{name}");
        let mut client = Client::unix(&daemon.path("admin.sock"));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        for response in [client.response(), dashboard.ask("GET", &target, "")] {
            assert_eq!((response.status(), response.text()), (200, text.as_str()), "{name}");
            let kind = match name.rsplit_once('.').unwrap().1 {
                "html" => "text/html; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                "js" => "text/javascript; charset=utf-8",
                "svg" => "image/svg+xml",
                other => panic!("{other}"),
            };
            assert_eq!(response.field("content-type"), Some(kind), "{name}");
            let policy = response.field("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
            assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
            assert_eq!(response.field("x-content-type-options"), Some("nosniff"));
            assert_eq!(response.field("referrer-policy"), Some("no-referrer"));
            assert_eq!(response.field("cache-control"), Some("no-store"));
        }
    }

    let page = dashboard.ask("GET", "/dashboard/", "");
    assert!(page.text().starts_with("<!doctype html>"));
    assert_eq!(dashboard.ask("GET", "/dashboard/mod.rs", "").status(), 404);
    assert!(dashboard.ask("GET", "/dashboard/%2e%2e/jobs/status", "").status() >= 400);
}

#[test]
fn no_file_leads_to_another_server_or_makes_markup_of_a_text() {
    for (name, text) in files() {
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for leak in ["http://", "https://", "//cdn", "@import", "url("] {
            assert!(!text.contains(leak), "{name}: {leak}");
        }
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "cookie =",
        ] {
            assert!(!text.contains(sink), "{name}: {sink}");
        }
        if name.ends_with(".html") {
            // The policy would refuse these.
            for inline in [" style=", " onclick=", " onload=", "<style", "<script>", "javascript:"] {
                assert!(!text.contains(inline), "{name}: {inline}");
            }
        }
    }
}

#[test]
fn the_script_and_the_page_name_the_same_elements() {
    let files = files();
    let text = |name: &str| &files.iter().find(|(found, _)| found == name).unwrap().1;
    let page = text("index.html");
    let listed: Vec<&str> = between(page, "id=\"", "\"");
    let ids: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(ids.len(), listed.len(), "an id stands twice: {listed:?}");

    for (name, text) in &files {
        for id in between(text, "byId(\"", "\")") {
            assert!(ids.contains(id), "{name} looks for {id:?}");
        }
    }
    for view in between(text("main.js"), "const VIEWS = {", "};")[0].lines() {
        if let Some((view, _)) = view.trim().split_once(':') {
            assert!(ids.contains(format!("view-{view}").as_str()), "{view}");
        }
    }
    // What an attribute refers to is there.
    for attribute in ["aria-labelledby=\"", "for=\""] {
        between(page, attribute, "\"").iter().for_each(|id| assert!(ids.contains(id), "{attribute}{id}"));
    }
    for (name, text) in &files {
        for module in between(text, "from \"./", "\"") {
            assert!(files.iter().any(|(found, _)| found == module), "{name} imports {module}");
        }
    }
}

/// Names that the script gives to replies of the daemon, and to parts of them.
const REPLIES: [&str; 13] = [
    "access", "call", "handler", "job", "line", "one", "process", "report", "request", "route", "row",
    "status", "trial",
];

/// Names that the script reads in the same way, and that are no fields of the admin API: figures and options of its own,
/// properties of elements, and the replies of the paths below `/dashboard`.
const OTHERS: &str = "all at children cpu days done end errors event failing file left limits_hit max number of own p50 p99 place
    profiler rare rate rates signal sort stdout textContent times title token took total until";

/// Returns the code of a script without its comments and its strings.
fn code(text: &str) -> String {
    let is_comment = |line: &&str| ["//", "/**", "*"].iter().any(|mark| line.trim_start().starts_with(*mark));
    let lines: Vec<&str> = text.lines().filter(|line| !is_comment(line)).collect();
    lines.join("\n").split('"').step_by(2).collect::<Vec<_>>().join(" ").replace("?.", ".")
}

/// Returns the fields of replies that a script reads: `job.version`, `({ version }) =>`, and each word with an
/// underscore.
fn fields_read(code: &str) -> BTreeSet<&str> {
    let is_within = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
    let is_lower = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let is_snake = |word: &&str| {
        word.contains('_')
            && word.chars().all(is_lower)
            && word.starts_with(|first: char| first.is_ascii_lowercase())
    };
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for piece in code.split_inclusive(|letter: char| !is_within(letter)) {
        let words: Vec<&str> = piece.trim_end_matches(|letter: char| !is_within(letter)).split('.').collect();
        found.extend(words.iter().copied().filter(is_snake));
        // The last word may be a function of the language.
        let count = words.len() - usize::from(piece.ends_with('('));
        let pairs =
            words[..count].windows(2).filter(|pair| REPLIES.contains(&pair[0]) && !pair[1].is_empty());
        found.extend(pairs.map(|pair| pair[1]));
    }
    for piece in code.split('{').skip(1) {
        let Some((names, behind)) = piece.split_once('}') else { continue };
        if [") =>", ") {", " = "].iter().any(|end| behind.starts_with(*end)) {
            let names = names.split(',').map(|name| name.split([':', '=']).next().unwrap_or_default().trim());
            found.extend(names.filter(|name| !name.is_empty()));
        }
    }
    found
}

#[test]
fn every_field_that_the_script_reads_is_one_of_the_admin_api() {
    let api = concat!(env!("CARGO_MANIFEST_DIR"), "/src/jobs/api");
    let paths = fs::read_dir(api).unwrap().map(|entry| entry.unwrap().path());
    let source: String = paths.map(|path| fs::read_to_string(path).unwrap()).collect();
    let is_name = |name: &&str| {
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
    };
    let public = source.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'));
    let fields: BTreeSet<&str> = public.map(|(name, _)| name).filter(is_name).collect();

    let others: BTreeSet<&str> = OTHERS.split_whitespace().collect();
    let mut read = 0;
    for (name, text) in files().iter().filter(|(name, _)| name.ends_with(".js")) {
        let code = code(text);
        let found = fields_read(&code);
        read += found.len();
        for field in found {
            assert!(
                fields.contains(field) || others.contains(field),
                "{name} reads {field:?}, which is no field of runtime/src/jobs/api: the page would show nothing there"
            );
        }
    }
    assert!(read > 130, "{read}");
}
