//! Checks that the files of a room use only lower floors of it, as the room's `mod.rs` lists them.
//!
//! A `mod.rs` lists the floors in a sentence (`Floors, lowest first: ...`), or in a table of floors or files. A module
//! may have a floor of its own beside the rest of its room: `listen::listeners`.

use std::collections::BTreeSet;

use super::circles::{Crate, RECURSIVE, daemon, module_path};
use super::report;

/// The beginning of the sentence that lists the floors.
const LIST: &str = "Floors, lowest first:";

/// The modules of a room by their paths below it, each with the number of its floor.
struct Floors(Vec<(String, usize)>);

/// Returns the modules that a text names.
fn modules(text: &str) -> Vec<String> {
    let is_path = |word: &&str| {
        !word.is_empty()
            && word.chars().all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_' || letter == ':'
            })
    };
    text.split('`').skip(1).step_by(2).filter(is_path).map(str::to_owned).collect()
}

/// Returns the first part of a path of modules.
fn child(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

impl Floors {
    /// Reads the head of a `mod.rs`. Empty if it lists no floors.
    fn read(text: &str) -> Floors {
        let head: Vec<&str> =
            text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
        let on = |(floor, modules): (usize, Vec<String>)| modules.into_iter().map(move |path| (path, floor));
        let Some(at) = head.iter().position(|line| line.starts_with(LIST)) else {
            return Floors(
                head.iter().enumerate().filter_map(|(at, line)| row(at, line)).flat_map(on).collect(),
            );
        };
        let paragraph: Vec<&str> = head[at..].iter().take_while(|line| !line.is_empty()).copied().collect();
        let paragraph = paragraph.join(" ");
        let sentence = paragraph.split(". ").next().unwrap_or_default();
        Floors(sentence.split(';').map(modules).enumerate().flat_map(on).collect())
    }

    /// Returns the floor of a module: that of the longest listed path which leads to it or to a room around it.
    fn of(&self, module: &str) -> Option<usize> {
        let leads = |path: &str| {
            module.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let listed = self.0.iter().filter(|(path, _)| leads(path));
        listed.max_by_key(|(path, _)| path.len()).map(|(_, floor)| *floor)
    }
}

/// Reads a row of a table: of floors, which have numbers, or of files, each on a floor of its own.
fn row(at: usize, line: &str) -> Option<(usize, Vec<String>)> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let first = cells.next()?;
    match first.parse() {
        Ok(floor) => Some((floor, modules(cells.next()?))),
        Err(_) if first.starts_with('`') => Some((at, modules(first))),
        Err(_) => None,
    }
}

/// Returns what contradicts the floors that each `mod.rs` lists.
fn breaches(files: &[(impl AsRef<str>, impl AsRef<str>)]) -> Vec<String> {
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_ref(), text.as_ref())).collect();
    let whole = Crate::of(files.iter().copied());
    let edges = whole.edges();
    let mut found = Vec::new();
    for (list, text) in &files {
        let Some(room) = list.strip_suffix("mod.rs").filter(|room| !room.ends_with("tests/")) else {
            continue;
        };
        let floors = Floors::read(text);
        let below = |file: &str| -> Option<String> {
            Some(module_path(file.strip_prefix(room)?).join("::")).filter(|path| !path.is_empty())
        };
        let paths: BTreeSet<String> = files.iter().filter_map(|(file, _)| below(file)).collect();
        let is_test = |name: &str| name == "tests" || text.contains(&format!("#[cfg(test)]\nmod {name};"));
        let children: BTreeSet<&str> =
            paths.iter().map(|path| child(path)).filter(|name| !is_test(name)).collect();
        if children.len() > 1 {
            let missing = children.iter().filter(|name| floors.of(name).is_none());
            found.extend(missing.map(|name| format!("{list}: `{name}` is on no floor")));
        }
        let unknown = floors.0.iter().filter(|(path, _)| !paths.contains(path));
        found.extend(unknown.map(|(path, _)| format!("{list}: there is no module `{path}`")));

        for (from, targets) in &edges {
            let Some((user, own)) = below(from).and_then(|user| floors.of(&user).map(|floor| (user, floor)))
            else {
                continue;
            };
            let upward = targets.iter().filter(|to| {
                let is_higher = |used: String| {
                    child(&used) != child(&user) && floors.of(&used).is_some_and(|floor| floor >= own)
                };
                below(to).is_some_and(is_higher) && !is_recursive(from, to)
            });
            found.extend(upward.map(|to| format!("{list}: {from} uses {to}, which is on no lower floor")));
        }
    }
    found
}

fn is_recursive(from: &str, to: &str) -> bool {
    RECURSIVE.iter().any(|(files, _)| files.contains(&from) && files.contains(&to))
}

#[test]
fn a_room_is_built_as_its_floors_say() {
    report(breaches(&daemon()));
}

#[test]
fn a_use_of_a_floor_that_is_not_lower_is_found() {
    let one = ("room/one.rs", "pub struct One;");
    let two = ("room/two/mod.rs", "mod below;\nuse super::one::One;\npub struct Two(One);");
    let below = ("room/two/below.rs", "pub struct Below;");
    let heads = [
        ("//! Floors, lowest first: `one`; `two`.", ""),
        ("//! Floors, lowest first: `one`, which is small;\n//! `two`. Not `three`.", ""),
        ("//! Floors, lowest first: `two::below`; `one`; `two`.", ""),
        ("//! | floor | module |\n//! | 0 | `one` | this |\n//! | 1 | `two` | that |", ""),
        ("//! | file | holds |\n//! | `one` | this |\n//! | `two` | that |", ""),
        ("//! Floors, lowest first: `one`, `two`.", "uses room/one.rs"),
        ("//! Floors, lowest first: `two`; `one`.", "uses room/one.rs"),
        ("//! | 1 | `one` | this |\n//! | 1 | `two` | that |", "uses room/one.rs"),
        ("//! | `two` | that |\n//! | `one` | this |", "uses room/one.rs"),
        ("//! Floors, lowest first: `one`.", "`two` is on no floor"),
        ("//! Floors, lowest first: `one`; `two`; `three`.", "no module `three`"),
    ];
    for (head, expected) in heads {
        let room = format!("//! A room.\n//!\n{head}\n\nmod one;\nmod two;\n");

        let found = breaches(&[("room/mod.rs", room.as_str()), one, two, below]);

        assert_eq!(found.len(), usize::from(!expected.is_empty()), "{head}: {found:?}");
        assert!(found.iter().all(|breach| breach.contains(expected)), "{head}: {found:?}");
    }
    // The same check finds a use that is added to the daemon's files.
    let mut files = daemon();
    let low = files.iter_mut().find(|(file, _)| file == "http/request/h2_rules.rs").unwrap();
    low.1.push_str("\nuse crate::http::context::Settings;\n");
    assert_eq!(
        breaches(&files),
        ["http/mod.rs: http/request/h2_rules.rs uses http/context.rs, which is on no lower floor"]
    );
}
