//! The table of abuse cases: every test and figure that it names exists, and its rows are numbered without a gap.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Returns the quoted names of tests: `file::name`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let letters =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte));
    text.split('"')
        .skip(1)
        .step_by(2)
        .filter(move |quoted| quoted.contains("::") && quoted.split("::").all(letters))
}

/// Returns the files where a test may be: here, or beside the code, in the file of its module or its
/// parent.
fn places(name: &str) -> Vec<PathBuf> {
    let around = name.rsplit_once("::").map_or("", |(module, _)| module);
    let around = around.replace("::", "/");
    let above = around.strip_suffix("/tests").unwrap_or(&around);
    [format!("tests/it/{around}.rs"), format!("tests/it/{around}/mod.rs")]
        .into_iter()
        .chain(
            [&around, above].into_iter().flat_map(|module| {
                [format!("runtime/src/{module}.rs"), format!("runtime/src/{module}/mod.rs")]
            }),
        )
        .map(|place| root().join(place))
        .collect()
}

/// Returns the texts of the files in a directory of the reliability report.
fn texts(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join("tests/reliability").join(dir)).unwrap();
    entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
}

/// Returns what stands between each of these marks and the next end mark.
fn between(texts: &[String], mark: &str, end: char) -> Vec<String> {
    let parts = texts.iter().flat_map(|text| text.split(mark).skip(1));
    parts.map(|part| part.split(end).next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_test_that_shows_a_case_is_there() {
    let mut names = BTreeSet::new();
    for text in texts("cases") {
        names.extend(named(&text).map(str::to_owned));
    }

    let missing: Vec<_> = names
        .iter()
        .filter(|name| {
            let claim = format!("fn {}(", name.rsplit("::").next().unwrap());
            let texts = places(name).into_iter().filter_map(|place| fs::read_to_string(place).ok());
            !texts.into_iter().any(|text| text.contains(&claim))
        })
        .collect();

    assert!(names.len() > 100, "only {} tests are named", names.len());
    assert!(missing.is_empty(), "tests/reliability/cases names tests that are not there: {missing:#?}");
}

#[test]
fn every_figure_shows_a_case_and_no_other_is_named() {
    let measured: BTreeSet<String> = between(&texts("figures"), "name: \"", '"').into_iter().collect();

    let lists = between(&texts("cases"), "figures: &[", ']');
    let names = lists.iter().flat_map(|list| list.split(',')).map(|name| name.trim().trim_matches('"'));
    let shown: BTreeSet<String> = names.map(str::to_owned).collect();

    assert!(measured.len() > 10, "only {} figures are found", measured.len());
    assert_eq!(shown, measured);
}

#[test]
fn rows_are_numbered_from_one_on_without_a_gap() {
    let numbers = between(&texts("cases"), "case(", ',').into_iter();
    let mut numbers: Vec<usize> = numbers.map(|number| number.parse().unwrap()).collect();
    numbers.sort_unstable();

    assert!(numbers.len() > 100, "only {} rows are found", numbers.len());
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}
