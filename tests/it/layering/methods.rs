//! Finds calls of methods that stand in another file than their type: an import does not show them.
//!
//! Names tell which method is called, so that only a name counts that one method has. Private methods and calls from
//! another room are left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::tokens::{Token, tokens};

/// An `impl` block.
struct MethodBlock {
    /// The type, or the trait that it implements.
    of: String,
    is_of_trait: bool,
    /// The methods, and whether each is visible beyond its file.
    methods: Vec<(String, bool)>,
}

/// Returns the calls of such methods: of each file, the files that define what it calls.
pub(super) fn calls<'s>(files: &[(&'s str, &'s str)]) -> BTreeMap<&'s str, BTreeSet<&'s str>> {
    let code = |text: &str| tokens(text).into_iter().filter(|token| !token.tests).collect::<Vec<Token>>();
    let files: Vec<(&str, Vec<Token>)> = files.iter().map(|(file, text)| (*file, code(text))).collect();
    let mut types: HashMap<String, Vec<&str>> = HashMap::new();
    for (file, tokens) in &files {
        defined(tokens).into_iter().for_each(|name| types.entry(name).or_default().push(*file));
    }
    // The places of each method, and whether its type stands elsewhere.
    let mut places: HashMap<String, Vec<(&str, bool)>> = HashMap::new();
    for (file, tokens) in &files {
        for MethodBlock { of, is_of_trait, methods } in blocks(tokens) {
            let is_far = !is_of_trait && types.get(&of).is_some_and(|homes| !homes.contains(file));
            for (name, is_visible) in methods {
                places.entry(name).or_default().push((*file, is_far && is_visible));
            }
        }
    }
    let room = |file: &str| file.split('/').next().map(str::to_owned);
    let called = |file: &str, name: &str| match places.get(name).map(Vec::as_slice) {
        Some([(place, true)]) if *place != file && room(place) == room(file) => Some(*place),
        _ => None,
    };
    let mut calls: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, tokens) in &files {
        let names = tokens
            .windows(3)
            .filter(|window| matches!(window[0].text.as_str(), "." | "::") && window[2].text == "(");
        let targets: BTreeSet<&str> = names.filter_map(|window| called(file, &window[1].text)).collect();
        calls.insert(*file, targets);
    }
    calls
}

/// Returns the types that a file defines.
fn defined(tokens: &[Token]) -> Vec<String> {
    let is_keyword = |token: &Token| matches!(token.text.as_str(), "struct" | "enum" | "union");
    let pairs = tokens.windows(2).filter(|pair| pair[0].depth == 0 && is_keyword(&pair[0]));
    pairs.map(|pair| pair[1].text.clone()).collect()
}

/// Returns the `impl` blocks of a file.
fn blocks(tokens: &[Token]) -> Vec<MethodBlock> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let find = |from: usize, text: &str| {
            tokens[from..].iter().position(|token| token.text == text && token.depth == 0).map(|to| from + to)
        };
        if tokens[at].text == "impl"
            && tokens[at].depth == 0
            && let Some(open) = find(at, "{")
            && let Some(close) = find(open, "}")
        {
            let head = &tokens[at + 1..open];
            found.extend(type_name(head).map(|of| MethodBlock {
                of,
                is_of_trait: head.iter().any(|token| token.text == "for"),
                methods: methods(&tokens[open + 1..close]),
            }));
            at = close;
        }
        at += 1;
    }
    found
}

/// Returns the first type of the head of an `impl` block, behind its parameters.
fn type_name(head: &[Token]) -> Option<String> {
    let mut nested = 0_usize;
    for (at, token) in head.iter().enumerate() {
        match token.text.as_str() {
            "<" => nested += 1,
            ">" if at > 0 && head[at - 1].text != "-" => nested = nested.saturating_sub(1),
            name if nested == 0 && name.starts_with(char::is_uppercase) => return Some(name.to_owned()),
            _ => {}
        }
    }
    None
}

/// Returns the methods in the body of an `impl` block, and whether each is visible beyond its file.
fn methods(body: &[Token]) -> Vec<(String, bool)> {
    let (mut found, mut start) = (Vec::new(), 0);
    for (at, token) in body.iter().enumerate().filter(|(_, token)| token.depth == 1) {
        match token.text.as_str() {
            "}" | ";" => start = at,
            "fn" => {
                let is_visible = body[start..at].iter().any(|token| token.text == "pub");
                found.extend(body.get(at + 1).map(|name| (name.text.clone(), is_visible)));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn a_call_of_a_method_that_stands_elsewhere_is_found() {
    let home = ("room/home.rs", "pub struct Home<T>(T);\nimpl<T> Home<T> { pub fn near(&self) {} }");
    let far = (
        "room/far.rs",
        "use super::home::Home;\nimpl<T: Copy> Home<T> {\n    pub(super) fn far(&self) {}\n}",
    );
    let caller = ("room/caller.rs", "fn f(home: &Home<u8>) { home.near(); home.far(); }");
    let found = |files: &[(&'static str, &'static str)]| -> Vec<&'static str> {
        calls(files).into_iter().filter(|(file, _)| *file != "room/home.rs").flat_map(|(_, to)| to).collect()
    };
    assert_eq!(found(&[home, far, caller]), ["room/far.rs"]);

    // Not calls of it: a private method, one of a trait, a name with two methods, another room, and tests.
    for (file, text) in [
        ("room/far.rs", "impl<T> Home<T> { fn far(&self) {} }"),
        ("room/far.rs", "impl<T> Far for Home<T> { fn far(&self) {} }"),
        (
            "room/far.rs",
            "struct Own;\nimpl<T> Home<T> { pub fn far(&self) {} }\nimpl Own { pub fn far(&self) {} }",
        ),
        ("other/far.rs", "impl<T> Home<T> { pub fn far(&self) {} }"),
    ] {
        assert!(found(&[home, (file, text), caller]).is_empty(), "{text}");
    }
    let tests = ("room/caller.rs", "#[cfg(test)]\nmod tests { fn f() { home.far(); } }");
    assert!(found(&[home, far, tests]).is_empty());
}
