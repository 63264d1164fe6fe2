//! Checks that a time limit has a name of its own, and that those of connections stand in one file.

use std::collections::BTreeMap;

use super::tokens::tokens;
use super::{report, sources};

/// The file with the time limits of connections.
const CONNECTIONS: &str = "http/timeouts.rs";

/// Durations in `http` that limit no connection, with what they are.
const OTHERS: &[(&str, &str)] = &[
    ("http/admin/profiler.rs", "the times of a profile"),
    ("http/outbound/bounds.rs", "no limit"),
    ("http/outbound/denials.rs", "the rate of log lines"),
    ("http/refusal.rs", "the field `Retry-After`"),
    ("http/static_files/condition.rs", "dates of files"),
    ("http/wire/h2/flood.rs", "the window in which frames are counted"),
];

/// Names that say only that something waits.
const VAGUE: [&str; 5] = ["FAREWELL", "LINGER", "LOOK", "PATIENCE", "QUIET"];

/// Returns the names of the durations that a file defines outside of its tests.
fn durations(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let found = tokens.windows(4).filter(|window| {
        let [keyword, _, colon, kind] = window else { return false };
        keyword.text == "const" && colon.text == ":" && kind.text == "Duration" && !keyword.tests
    });
    found.map(|window| window[1].text.clone()).collect()
}

/// Returns the files of the daemon with their durations. Leaves out files of tests.
fn defined() -> Vec<(String, Vec<String>)> {
    let files = sources("runtime/src").into_iter().map(|source| (source.name(), durations(&source.text)));
    let is_test = |file: &str| file.contains("tests") || file.ends_with("assumptions.rs");
    files.filter(|(file, _)| !is_test(file)).collect()
}

#[test]
fn the_name_of_a_time_limit_stands_for_one_thing() {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, names) in defined() {
        names.into_iter().for_each(|name| files.entry(name).or_default().push(file.clone()));
    }
    assert!(files.len() > 100, "{}", files.len());
    files.retain(|name, files| files.len() > 1 || VAGUE.contains(&name.as_str()));

    report(files.iter().map(|(name, files)| format!("{name}: {}", files.join(", "))).collect());
}

#[test]
fn the_time_limits_of_connections_stand_in_one_file() {
    let is_other = |file: &str| file == CONNECTIONS || OTHERS.iter().any(|(other, _)| *other == file);
    let elsewhere = defined()
        .into_iter()
        .filter(|(file, names)| file.starts_with("http/") && !is_other(file) && !names.is_empty());

    report(elsewhere.map(|(file, names)| format!("{file}: {}", names.join(", "))).collect());
}

#[test]
fn a_time_limit_is_found_wherever_it_is_defined() {
    let text = "pub(super) const A: Duration = Duration::ZERO;\nconst N: u32 = 4;\n// const NO: Duration\n
        fn f() { const B: Duration = A; }\n#[cfg(test)]\nmod tests { const C: Duration = A; }";

    assert_eq!(durations(text), ["A", "B"]);
}
