//! The table of abuse cases: every test that it names must exist.

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

#[test]
fn every_test_that_shows_a_case_is_there() {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(root().join("tests/reliability/cases")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
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
