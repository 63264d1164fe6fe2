//! Cuts a source file into tokens, without comments and literals.

/// A token of a source file.
pub(super) struct Token {
    pub(super) text: String,
    /// The number of brackets of any kind around it.
    pub(super) depth: usize,
    /// Whether it belongs to a test module within the file.
    pub(super) tests: bool,
}

/// Returns the tokens of a file. `::` is one token; literals and lifetimes are left out.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let rest = &chars[at..];
        at += match rest {
            ['/', '/', ..] => length(rest, |letter| letter != '\n'),
            ['"', ..] | ['b', '"', ..] => string(rest),
            ['r', '"' | '#', ..] | ['b', 'r', '"' | '#', ..] => raw(rest),
            ['\'', '\\', ..] => 4 + length(&rest[3..], |letter| letter != '\''),
            ['\'', _, '\'', ..] => 3,
            [':', ':', ..] => {
                found.push("::".to_owned());
                2
            }
            [letter, ..] if is_word(*letter) => {
                let long = length(rest, is_word);
                found.push(rest[..long].iter().collect());
                long
            }
            [letter, ..] => {
                if !letter.is_whitespace() && *letter != '\'' {
                    found.push(letter.to_string());
                }
                1
            }
            [] => break,
        }
        .max(1);
    }
    nested(found)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn length(chars: &[char], fits: impl Fn(char) -> bool) -> usize {
    chars.iter().take_while(|letter| fits(**letter)).count()
}

/// Returns the length of a string literal.
fn string(chars: &[char]) -> usize {
    let mut at = 1 + length(chars, |letter| letter != '"');
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Returns the length of a raw string literal, or of the first letter of a raw identifier.
fn raw(chars: &[char]) -> usize {
    let start = length(chars, |letter| letter == 'b' || letter == 'r');
    let marks = length(&chars[start..], |letter| letter == '#');
    if chars.get(start + marks) != Some(&'"') {
        return start;
    }
    let ending = |at: usize| chars[at] == '"' && length(&chars[at + 1..], |letter| letter == '#') >= marks;
    (start + marks + 1..chars.len()).find(|at| ending(*at)).map_or(chars.len(), |at| at + 1 + marks)
}

/// Sets the depth of each token, and whether it belongs to tests.
fn nested(texts: Vec<String>) -> Vec<Token> {
    let (mut depth, mut tests, mut found) = (0, None, Vec::<Token>::new());
    for text in texts {
        if matches!(text.as_str(), "}" | ")" | "]") {
            depth -= 1;
        }
        if text == "{" && tests.is_none() && opens_tests(&found) {
            tests = Some(depth);
        }
        let is_test = tests.is_some();
        if text == "}" && tests == Some(depth) {
            tests = None;
        }
        let opens = matches!(text.as_str(), "{" | "(" | "[");
        found.push(Token { text, depth, tests: is_test });
        depth += usize::from(opens);
    }
    found
}

/// Returns `true` after `#[cfg(test)] mod NAME`, with or without another attribute in between.
fn opens_tests(found: &[Token]) -> bool {
    const HEAD: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let is_mod = found.len() > 1 && found[found.len() - 2].text == "mod";
    let item = found.iter().rposition(|token| matches!(token.text.as_str(), ";" | "}") && token.depth == 0);
    let before: Vec<&str> =
        found[item.map_or(0, |at| at + 1)..].iter().map(|token| token.text.as_str()).collect();
    is_mod && before.windows(HEAD.len()).any(|window| window == HEAD)
}
