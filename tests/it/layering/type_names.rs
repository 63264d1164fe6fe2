//! A type has a name of its own: who greps for it finds one thing.

use std::collections::BTreeMap;

use super::sources;
use super::tokens::tokens;

/// Names that stand for one thing in each of the files that have them: what the file's subject has, and the arguments
/// of the file's verb.
const SHARED: [&str; 2] = ["State", "Args"];

/// How many names stand for more than one type.
const AMBIGUOUS: usize = 0;

/// Returns the names of the types that a file defines. Types of tests are left out: nobody looks for them elsewhere. So
/// are aliases within a block, which are associated types or have no reader beyond it.
fn defined(text: &str) -> Vec<String> {
    let tokens: Vec<_> = tokens(text).into_iter().filter(|token| !token.tests).collect();
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
    for source in sources("runtime/src").iter().filter(|source| !source.name().contains("tests")) {
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
        // struct No;\nconst N: &str = \"struct No\";\n#[cfg(test)]\nmod tests { struct No; }";

    assert_eq!(defined(text), ["A", "B", "C", "D", "E"]);
}
