//! Checks that no files import one another in a circle.
//!
//! An edge leads from a file to the file that defines an imported item. A `mod.rs` that only declares and re-exports
//! defines nothing, so no edge leads to it. An edge also leads to a file whose methods for a type of another file are
//! called: see `methods`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::methods::calls;
use super::tokens::{Token, tokens};
use super::{Source, report, sources};

/// Files that may import one another, with the reason.
pub(super) const RECURSIVE: &[(&[&str], &str)] = &[(
    &["job/capture.rs", "job/handler.rs", "job/mod.rs"],
    "a job holds the handler that runs it, which takes the job by value; a recorder keeps a job that failed",
)];

/// A module of the crate with its imports.
#[derive(Default)]
struct Module {
    file: String,
    /// The items that it defines.
    defined: HashSet<String>,
    /// Its imports: the path, and the name in this module.
    imports: Vec<Import>,
    /// Other paths in its code.
    paths: Vec<Vec<String>>,
    /// All words of its code outside of imports.
    words: HashSet<String>,
}

struct Import {
    path: Vec<String>,
    name: String,
    is_public: bool,
}

/// Files that import one another, and the edges between them.
struct Circle {
    files: Vec<String>,
    arrows: Vec<String>,
}

/// Modules by their paths below the crate.
pub(super) struct Crate(HashMap<Vec<String>, Module>);

/// Returns the path of the module that a file below `runtime/src` holds.
pub(super) fn module_path(file: &str) -> Vec<String> {
    let mut path: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    path.pop_if(|last| last == "mod" || last == "lib");
    path
}

fn is_word(token: &Token) -> bool {
    token.text.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

impl Module {
    fn read(file: &str, text: &str) -> Module {
        const ITEMS: [&str; 9] =
            ["struct", "enum", "trait", "type", "fn", "const", "static", "union", "macro_rules"];
        let tokens: Vec<Token> = tokens(text).into_iter().filter(|token| !token.tests).collect();
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let mut at = 0;
        while at < tokens.len() {
            let token = &tokens[at];
            let next = tokens.get(at + 1);
            if token.text == "use" && next.is_some_and(|next| is_word(next) || next.text == "::") {
                let end = at + tokens[at..].iter().position(|token| token.text == ";").unwrap_or(0);
                // `pub use` and `pub(super) use`.
                let is_public = at > 0 && matches!(tokens[at - 1].text.as_str(), "pub" | ")");
                module.import(&tokens[at + 1..end], &[], is_public);
                at = end;
            } else if is_word(token) {
                let path = path_at(&tokens[at..]);
                if ITEMS.contains(&token.text.as_str()) && token.depth == 0 {
                    let name = tokens[at + 1..].iter().find(|token| token.text != "!" && token.text != "mut");
                    module.defined.extend(name.map(|name| name.text.clone()));
                }
                module.words.extend(path.iter().cloned());
                let is_visibility = at > 0 && tokens[at - 1].text == "in";
                at += 2 * path.len() - 2;
                if path.len() > 1 && !is_visibility {
                    module.paths.push(path);
                }
            }
            at += 1;
        }
        module
    }

    /// Adds the names of a tree of imports.
    fn import(&mut self, tree: &[Token], prefix: &[String], is_public: bool) {
        // After the last comma of a list.
        if tree.is_empty() {
            return;
        }
        let mut path = prefix.to_vec();
        let mut name = None;
        let mut at = 0;
        while at < tree.len() {
            match tree[at].text.as_str() {
                "::" => {}
                "as" => {
                    name = tree.get(at + 1).map(|token| token.text.clone());
                    break;
                }
                "{" => {
                    let depth = tree[at].depth;
                    let inner = &tree[at + 1..tree.len() - 1];
                    for part in inner.split(|token| token.text == "," && token.depth == depth + 1) {
                        self.import(part, &path, is_public);
                    }
                    return;
                }
                word => path.push(word.to_owned()),
            }
            at += 1;
        }
        path.pop_if(|last| last == "self" && !prefix.is_empty());
        if let Some(last) = path.last().cloned() {
            self.imports.push(Import { path, name: name.unwrap_or(last), is_public });
        }
    }
}

/// Returns the path that starts at the first token.
fn path_at(tokens: &[Token]) -> Vec<String> {
    let mut path = vec![tokens[0].text.clone()];
    let mut rest = &tokens[1..];
    while let [colons, word, ..] = rest
        && colons.text == "::"
        && is_word(word)
    {
        path.push(word.text.clone());
        rest = &rest[2..];
    }
    path
}

impl Crate {
    pub(super) fn of<'s>(files: impl Iterator<Item = (&'s str, &'s str)>) -> Crate {
        Crate(files.map(|(file, text)| (module_path(file), Module::read(file, text))).collect())
    }

    /// Finds the module that defines the item of a path. `None` if the path leads to a module or out of the crate.
    fn definition(
        &self,
        from: &[String],
        path: &[String],
        seen: &mut HashSet<Vec<String>>,
    ) -> Option<Vec<String>> {
        let (mut at, mut rest) = (from.to_vec(), path);
        match path.first().map(String::as_str) {
            Some("crate") => (at, rest) = (Vec::new(), &path[1..]),
            Some("self") => rest = &path[1..],
            Some("super") => {
                while rest.first().is_some_and(|first| first == "super") {
                    at.pop()?;
                    rest = &rest[1..];
                }
            }
            Some(_) => {}
            None => return None,
        }
        let is_bare = rest.len() == path.len();
        let (name, behind) = rest.split_first()?;
        let below = [at.as_slice(), std::slice::from_ref(name)].concat();
        if self.0.contains_key(&below) {
            let behind: Vec<String> =
                std::iter::once("self".to_owned()).chain(behind.iter().cloned()).collect();
            return self.definition(&below, &behind, seen);
        }
        let module = self.0.get(&at)?;
        if !is_bare && (module.defined.contains(name) || name == "*") {
            return Some(at);
        }
        // An import that starts with its own name, as `use log::log` does, would loop here.
        if !seen.insert([at.as_slice(), std::slice::from_ref(name)].concat()) {
            return None;
        }
        for import in module.imports.iter().filter(|import| import.name == *name && import.path != path) {
            let whole = [import.path.as_slice(), behind].concat();
            let found =
                self.definition(&at, &whole, seen).or_else(|| self.definition(&at, &import.path, seen));
            if found.is_some() {
                return found;
            }
        }
        // A macro may define the name, without a keyword before it.
        (!is_bare && !at.is_empty() && module.words.contains(name)).then_some(at)
    }

    /// Returns the edges of each file: the files that define its imports.
    pub(super) fn edges(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut edges = BTreeMap::new();
        for (path, module) in &self.0 {
            let imports = module.imports.iter();
            // A name that is only re-exported is not used here.
            let used = imports.filter(|import| !import.is_public || module.words.contains(&import.name));
            let paths = used.map(|import| &import.path).chain(&module.paths);
            let targets = paths.filter_map(|target| self.definition(path, target, &mut HashSet::new()));
            let files = targets.filter(|target| target != path).filter_map(|target| self.0.get(&target));
            edges.insert(module.file.as_str(), files.map(|module| module.file.as_str()).collect());
        }
        edges
    }

    /// Returns the circles of files. `calls` are further edges.
    fn circles<'c>(&'c self, calls: &BTreeMap<&'c str, BTreeSet<&'c str>>) -> Vec<Circle> {
        let mut edges = self.edges();
        for (file, called) in calls {
            edges.entry(*file).or_default().extend(called);
        }
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            edges.keys().map(|file| (*file, reached(file, &edges))).collect();
        let mut circles: Vec<BTreeSet<&str>> = Vec::new();
        for file in edges.keys().filter(|file| reach[*file].contains(*file)) {
            let back = reach[file].iter().filter(|other| reach[**other].contains(file));
            let circle = back.copied().collect();
            if !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        let arrows = |files: &BTreeSet<&str>| -> Vec<String> {
            let of =
                |file: &&str| edges[file].intersection(files).map(|to| format!("{file} -> {to}")).collect();
            files.iter().flat_map(|file| -> Vec<String> { of(file) }).collect()
        };
        let shown = |files: BTreeSet<&str>| Circle {
            arrows: arrows(&files),
            files: files.into_iter().map(str::to_owned).collect(),
        };
        circles.into_iter().map(shown).collect()
    }
}

fn reached<'f>(from: &'f str, edges: &BTreeMap<&'f str, BTreeSet<&'f str>>) -> BTreeSet<&'f str> {
    let (mut found, mut ahead) = (BTreeSet::new(), vec![from]);
    while let Some(file) = ahead.pop() {
        ahead.extend(edges[file].iter().copied().filter(|next| found.insert(*next)));
    }
    found
}

/// Returns the files of the daemon, by their paths below `runtime/src`.
pub(super) fn daemon() -> Vec<(String, String)> {
    let named = |source: Source| (source.name(), source.text);
    sources("runtime/src").into_iter().map(named).filter(|(file, _)| file != "main.rs").collect()
}

fn circles(files: &[(impl AsRef<str>, impl AsRef<str>)]) -> Vec<Circle> {
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_ref(), text.as_ref())).collect();
    Crate::of(files.iter().copied()).circles(&calls(&files))
}

#[test]
fn files_import_one_another_in_no_circle() {
    let (mut breaches, mut recursive) = (Vec::new(), RECURSIVE.to_vec());
    for Circle { files, arrows } in circles(&daemon()) {
        let known = recursive.len();
        recursive.retain(|(named, _)| files != *named);
        if recursive.len() == known {
            breaches.push(format!("a circle of {} files:\n    {}", files.len(), arrows.join("\n    ")));
        }
    }
    breaches.extend(recursive.iter().map(|(files, _)| format!("no circle any more: {}", files.join(", "))));

    report(breaches);
}

#[test]
fn a_circle_that_is_put_in_is_found() {
    let one = "use super::two::Two;\npub(super) struct One(Two);";
    let found = |files: &[(&str, &str)]| -> Vec<String> {
        circles(files).into_iter().map(|circle| circle.arrows.join(", ")).collect()
    };
    let both = ["room/one.rs -> room/two.rs, room/two.rs -> room/one.rs"];

    // Edges through a file, through a re-exporting `mod.rs`, by a path in the code, and by a macro.
    let list = "mod one;\nmod two;\nuse one::One;\npub use two::Two;";
    for two in [
        "use super::one::One;\npub struct Two(One);",
        "use super::One;\npub struct Two(One);",
        "use crate::room::{One as First};\npub struct Two(First);",
        "pub struct Two;\nfn f() { let a: super::one::One = g(); }",
        "make! { Two }\nfn f() { super::one::One::new() }",
    ] {
        assert_eq!(
            found(&[("room/mod.rs", list), ("room/one.rs", one), ("room/two.rs", two)]),
            both,
            "{two}"
        );
    }
    // An edge by a call of a method that stands beside its type.
    assert_eq!(
        found(&[
            ("room/mod.rs", list),
            ("room/one.rs", "use super::two::Two;\nimpl Two { pub(super) fn one(&self) {} }"),
            ("room/two.rs", "pub struct Two;\nfn f(two: &Two) { two.one() }"),
        ]),
        both
    );
    // Edges to a parent with code of its own, and over several files.
    let parent = "mod child;\npub struct Parent(child::Child);";
    let child = "use super::Parent;\npub struct Child;";
    assert_eq!(
        found(&[("room/mod.rs", parent), ("room/child.rs", child)]),
        ["room/child.rs -> room/mod.rs, room/mod.rs -> room/child.rs"]
    );
    let three = [("a.rs", "use crate::b::B;\npub struct A;"), ("b.rs", "use crate::c::C;\npub struct B;")];
    let last = ("c.rs", "use crate::a::A;\npub struct C;");
    assert_eq!(found(&[three[0], three[1], last]), ["a.rs -> b.rs, b.rs -> c.rs, c.rs -> a.rs"]);
    assert!(found(&three).is_empty());
    // Not edges: names that a `mod.rs` only re-exports, imports of tests, and words in comments and strings.
    for two in [
        "pub struct Two;",
        "pub struct Two; // use super::one::One;",
        "pub struct Two;\n#[cfg(test)]\nmod tests {\n    use super::super::one::One;\n}",
        "pub struct Two;\nconst A: &str = \"super::one::One\";",
    ] {
        assert!(
            found(&[("room/mod.rs", list), ("room/one.rs", one), ("room/two.rs", two)]).is_empty(),
            "{two}"
        );
    }
    // The same check finds a circle that is added to the daemon's files.
    let mut files = daemon();
    let low = files.iter_mut().find(|(file, _)| file == "wasm/engine/sealed.rs").unwrap();
    low.1.push_str("\nuse crate::wasm::Module;\n");
    let circle =
        circles(&files).into_iter().find(|circle| circle.files.iter().any(|file| file == "wasm/module.rs"));
    assert!(circle.unwrap().arrows.contains(&"wasm/engine/sealed.rs -> wasm/module.rs".to_owned()));
}

/// Returns the paths of a file in which `super` leaves the module at the top of the crate, or `super::super` the room of
/// the file, which is its directory. A `mod.rs` may name its neighbours, and tests are in a room of their own.
fn ways_out(file: &str, text: &str) -> Vec<String> {
    let (depth, room) = (module_path(file).len(), file.matches('/').count());
    let tokens = tokens(text);
    let starts = tokens
        .iter()
        .enumerate()
        .filter(|(at, token)| token.text == "super" && (*at == 0 || tokens[at - 1].text != "::"));
    let paths = starts.map(|(at, token)| (path_at(&tokens[at..]), depth + usize::from(token.tests)));
    let leaving = paths.filter(|(path, depth)| {
        let ups = path.iter().take_while(|word| *word == "super").count();
        ups >= *depth || ups > 1 && depth - ups < room && !file.contains("tests")
    });
    leaving.map(|(path, _)| format!("{file}: {}", path.join("::"))).collect()
}

#[test]
fn super_does_not_leave_a_room() {
    let test = "#[cfg(test)]\nmod tests { use super::super::x::Y; }";
    assert_eq!(
        ways_out("room/one.rs", "use super::super::net::Gate;"),
        ["room/one.rs: super::super::net::Gate"]
    );
    assert_eq!(ways_out("room/mod.rs", "use super::net::Gate;").len(), 1);
    assert_eq!(ways_out("one.rs", "fn f(x: super::net::Gate) {}").len(), 1);
    assert_eq!(ways_out("room/inner/one.rs", "use super::super::two::Two;").len(), 1);
    assert!(ways_out("room/inner/one.rs", "use super::two::Two;").is_empty());
    assert!(ways_out("room/inner/mod.rs", "use super::two::Two;").is_empty());
    assert!(ways_out("room/inner/tests/one.rs", "use super::super::two::Two;").is_empty());
    assert!(ways_out("room/inner/one.rs", test).is_empty());
    assert!(ways_out("room/one.rs", "use super::two::Two;").is_empty());
    assert!(ways_out("room/one.rs", test).is_empty() && ways_out("one.rs", test).len() == 1);

    report(daemon().iter().flat_map(|(file, text)| ways_out(file, text)).collect());
}
