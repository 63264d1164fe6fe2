//! Checks that comments and pages name their subjects.

use std::fs;
use std::path::PathBuf;

use super::{everything, report, repository};

/// Phrases that hide what a sentence is about, or that spell `None` as a word.
const HIDING: [&str; 5] = ["one that", "whoever", "what is told", "nobody wants", "none:"];

/// Spaces in a row that are no words' distance, but the indentation of a line whose literal goes on without a backslash.
const GAP: &str = "        ";

/// Reports whether a line of code has such a gap, and a literal that it may be in.
fn has_gap(line: &str) -> bool {
    line.contains('"') && line.trim().contains(GAP)
}

/// Finds such phrases in a text. A phrase begins where a word does.
fn hiding(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    let stands_in = |phrase: &&str| {
        text.match_indices(*phrase)
            .any(|(at, _)| !text[..at].ends_with(|letter: char| letter.is_alphanumeric()))
    };
    HIDING.into_iter().filter(stands_in).collect()
}

/// Returns the comments of a file, each with the number of its last line. The lines of a comment are joined.
fn comments(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some(words) = line.trim_start().strip_prefix("//") else { continue };
        let words = words.trim_start_matches(['/', '!']).trim();
        match found.last_mut() {
            Some((last, comment)) if *last + 1 == number => {
                comment.push(' ');
                comment.push_str(words);
                *last = number;
            }
            _ => found.push((number, words.to_owned())),
        }
    }
    found
}

/// Lists the pages of the documentation.
fn pages() -> Vec<PathBuf> {
    let reference =
        fs::read_dir(repository().join("runtime/docs")).unwrap().map(|entry| entry.unwrap().path());
    let others = ["README.md", "SECURITY.md"].map(|name| repository().join(name));
    reference.filter(|path| path.extension().is_some_and(|kind| kind == "md")).chain(others).collect()
}

#[test]
fn comments_and_pages_name_what_they_are_about() {
    let mut breaches = Vec::new();
    for source in everything() {
        for (line, comment) in comments(&source.text) {
            breaches.extend(hiding(&comment).iter().map(|phrase| format!("{}: {phrase:?}", source.at(line))));
        }
    }
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap().replace('\n', " ");
        breaches.extend(hiding(&text).iter().map(|phrase| format!("{}: {phrase:?}", page.display())));
    }

    report(breaches);
}

#[test]
fn no_message_has_a_gap_where_its_line_was_to_be_continued() {
    let mut breaches = Vec::new();
    for source in everything() {
        // The command line shows tables, and tests compare them.
        let path = source.path.strip_prefix(repository()).unwrap();
        if path.iter().any(|part| part == "cli" || part == "tests") {
            continue;
        }
        breaches.extend(
            source
                .code()
                .filter(|(_, line)| has_gap(line))
                .map(|(number, line)| format!("{}: {line}", source.at(number))),
        );
    }

    report(breaches);
    assert!(has_gap("    \"a program of            WASI\"") && !has_gap("            \"a program of WASI\""));
}

#[test]
fn a_phrase_over_two_lines_is_found() {
    let text = "let a = 1;\n    // The socket, and one\n    // that is closed.\nlet b = \"one that\";\n";

    assert_eq!(comments(text), [(3, "The socket, and one that is closed.".to_owned())]);
    assert_eq!(hiding(&comments(text)[0].1), ["one that"]);
    assert!(hiding("a phone that rings, `None`: so be it").is_empty());
}
