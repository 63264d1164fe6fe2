//! Checks that no two types share a name, so that a search for a name finds one type.

use std::collections::BTreeMap;

use super::sources;
use super::tokens::tokens;

/// Names that every file may define for itself: the state of its subject, and the arguments of its verb.
const SHARED: [&str; 2] = ["State", "Args"];

/// The number of names that may stand for several types.
const AMBIGUOUS: usize = 0;

/// Returns the names of the types that a file defines, those of its tests included. Leaves out aliases within a block:
/// associated types, or names that are local to the block.
fn defined(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let pairs = tokens.windows(2).filter(|pair| match pair[0].text.as_str() {
        "struct" | "enum" | "trait" | "union" => true,
        "type" => pair[0].depth == 0,
        _ => false,
    });
    let names = pairs.map(|pair| pair[1].text.clone());
    names.filter(|name| name.starts_with(char::is_uppercase)).collect()
}

#[test]
fn a_type_name_stands_for_one_thing() {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in &sources("runtime/src") {
        for name in defined(&source.text) {
            files.entry(name).or_default().push(source.name());
        }
    }
    files.retain(|name, files| files.len() > 1 && !SHARED.contains(&name.as_str()));

    let list: Vec<String> =
        files.iter().map(|(name, files)| format!("{name}: {}", files.join(", "))).collect();
    assert_eq!(list.len(), AMBIGUOUS, "\n{}\n", list.join("\n"));
}

#[test]
fn types_are_found_whatever_they_are() {
    let text =
        "pub(super) struct A;\nenum B {}\nunsafe trait C { type Out; }\ntype D = A;\nfn f() { struct E; }
        // struct No;\nconst N: &str = \"struct No\";\n#[cfg(test)]\nmod tests { struct F; }";

    assert_eq!(defined(text), ["A", "B", "C", "D", "E", "F"]);
}
