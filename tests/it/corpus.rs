//! The fuzz targets without a fuzzer: their kept corpora, and mutations of them.

#[path = "../fuzz/src/targets.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets are crates of their own")]
mod targets;

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

/// The number of mutations of each file.
const CHANGES: usize = 400;

/// Bytes that are special to one of the parsers.
const TELLING: &[u8] = b"\0\t\n\r \"#%&'*+,-./0129:;=?@AZ[\\]_az{|}~\x7f\x80\xc3\xff";

/// Runs a target on every file of its corpus, as it is and mutated.
fn replay(name: &str, target: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(name);
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 3, "{} has a corpus", dir.display());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        target(&bytes);
        let mut random = 0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64;
        for _ in 0..CHANGES {
            target(&changed(&bytes, &mut random));
        }
    }
}

/// Changes a few bytes. The numbers look random but are the same in every run (xorshift64).
fn changed(bytes: &[u8], random: &mut u64) -> Vec<u8> {
    let mut next = |bound: usize| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        usize::try_from(*random % bound.max(1) as u64).unwrap()
    };
    let mut bytes = bytes.to_vec();
    for _ in 0..=next(4) {
        let (at, byte) = (next(bytes.len() + 1), TELLING[next(TELLING.len())]);
        match next(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            2 if at < bytes.len() => bytes[at] = byte,
            _ => {
                let piece = bytes[at..].iter().take(next(16)).copied().collect::<Vec<_>>();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

#[test]
fn any_document_of_a_handler() {
    replay("document", targets::document);
}

#[test]
fn any_bytes_of_a_client() {
    replay("framing", targets::framing);
}

#[test]
fn any_path_and_host_of_a_request() {
    replay("path", targets::path);
}

#[test]
fn any_endpoint() {
    replay("endpoint", targets::endpoint);
}

#[test]
fn any_configuration() {
    replay("config", targets::config);
}

#[test]
fn any_configuration_that_is_read_can_be_served() {
    replay("catalog", targets::catalog);
}

/// A segment of a path, valid or not.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,3}",
        "\\{[a-d]\\}",
        "[a-b]?\\{[a-d]{1,2}\\}[.é-]?[a-b]?",
        "\\{\\*[a-d]\\}",
        "\\{\\{[a-b]\\}\\}",
        "[{}*é.]{0,3}"
    ]
}

/// A field of a schedule, valid or not.
fn field() -> impl Strategy<Value = String> {
    prop_oneof!["\\*(/[0-9]{1,3})?", "[0-9]{1,5}(-[0-9]{1,5})?(/[0-9]{1,5})?", "[0-9,L#W-]{1,6}", "[A-Z]{3}"]
}

/// A value of a key, of whatever type.
fn value() -> impl Strategy<Value = String> {
    let quoted = |text: String| format!("\"{text}\"");
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "[0-9]{1,20}(ns|us|ms|s|m|h|d|B|KiB|MiB|GiB|TiB|%|)".prop_map(quoted),
        "(tcp|unix|fd|http|https|redis|nats)://[a-z0-9.:*/@?#-]{0,20}".prop_map(quoted),
        "/?[a-z{}*./]{0,12}".prop_map(quoted),
        "[!-&(-~ é]{0,12}".prop_map(|text| format!("'{text}'")),
        vec("[A-Za-z0-9*./:-]{0,12}".prop_map(quoted), 0..4)
            .prop_map(|list| format!("[{}]", list.join(", "))),
        prop::sample::select(&["true", "false", "{}", "[]", "[[]]", "{ a = 1 }", "2026-11-29", "\"\""][..])
            .prop_map(str::to_owned),
    ]
}

/// The lines of the examples on the page of the configuration, which hold every key.
fn page() -> Vec<String> {
    let page = include_str!("../../runtime/docs/configuration.md");
    let examples = page.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let lines = examples.flat_map(|(example, _)| example.lines());
    // A file and a directory that exist for every caller of the target.
    let there =
        |line: &str| line.replace("\"build/hello.wasm\"", "\"Cargo.toml\"").replace("\"build\"", "\"src\"");
    lines.map(there).collect()
}

/// The page with some of its optional keys, and other values at some of its keys.
fn configuration(shown: &[prop::sample::Index], changes: &[(prop::sample::Index, String)]) -> String {
    let mut lines = page();
    let is_optional = |line: &String| line.strip_prefix("# ").is_some_and(|rest| !rest.starts_with(' '));
    let optional: Vec<usize> = (0..lines.len()).filter(|number| is_optional(&lines[*number])).collect();
    for index in shown {
        let number = optional[index.index(optional.len())];
        lines[number] = lines[number].trim_start_matches("# ").to_owned();
    }
    let has_value = |line: &String| !line.starts_with('#') && line.contains(" = ");
    let keys: Vec<usize> = (0..lines.len()).filter(|number| has_value(&lines[*number])).collect();
    for (index, value) in changes {
        let number = keys[index.index(keys.len())];
        let key = lines[number].split(" = ").next().unwrap_or_default();
        lines[number] = format!("{key} = {value}");
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_page_of_the_configuration_is_read_whole() {
    let text = configuration(&[], &[]);

    assert!(text.lines().count() > 100, "{text}");
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    portcullis::config::parse(&text, base, "portcullis.toml").unwrap_or_else(|errors| panic!("{errors}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_key_with_any_value_is_served_or_refused_by_a_line(
        shown in vec(any::<prop::sample::Index>(), 0..4),
        changes in vec((any::<prop::sample::Index>(), value()), 0..4),
    ) {
        targets::catalog(configuration(&shown, &changes).as_bytes());
    }

    #[test]
    fn any_routes_are_served_or_refused_by_a_line_each(
        paths in vec(vec(segment(), 1..30), 1..8),
        prefix: bool,
    ) {
        let route = |path: &Vec<String>| format!("[[route]]\nhandler = \"a\"\npath = {:?}\n", format!("/{}", path.join("/")));
        let routes: String = paths.iter().map(route).collect();
        let text = format!("version_prefix = {prefix}\n[handler.a]\nmodule = \"Cargo.toml\"\n{routes}");

        targets::catalog(text.as_bytes());
    }

    #[test]
    fn any_schedule_and_limit_is_kept_or_refused_by_a_line(
        fields in vec(field(), 1..8),
        number: u128,
        key in "(time|cpu|memory|body|output|concurrency|queue|queue_time|stderr|stderr_rate|handles)",
        unit in "(ns|us|ms|s|m|h|KiB|TiB|)",
    ) {
        let cron = fields.join(" ");
        for limit in [format!("\"{number}{unit}\""), (number as u64 >> 1).to_string()] {
            let text = format!(
                "[handler.a]\nmodule = \"Cargo.toml\"\nschedule = {cron:?}\nlimits.{key} = {limit}\n"
            );
            targets::catalog(text.as_bytes());
        }
    }
}

#[test]
fn any_line_of_a_job() {
    replay("line", targets::line);
}
