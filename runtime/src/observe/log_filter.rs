//! Parses and checks the log filter in `PORTCULLIS_LOG`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The name of the variable.
pub(super) const VARIABLE: &str = "PORTCULLIS_LOG";

/// The prefix of the target of every line of this crate.
const OURS: &str = "portcullis";

/// The modules of this crate, which may follow the prefix.
const MODULES: [&str; 27] = [
    "access",
    "acme",
    "budget",
    "catalog",
    "cgi",
    "cli",
    "coarse_clock",
    "config",
    "confine",
    "daemon",
    "dashboard",
    "database",
    "engine",
    "file_place",
    "files",
    "http",
    "in_place",
    "job",
    "jobs",
    "net",
    "observe",
    "operator_file",
    "record",
    "runtime_context",
    "scratch",
    "store",
    "wasm",
];

/// Parses the variable; an unset or empty one gives the default.
///
/// # Errors
/// A word is neither a level nor a module of this crate, or no word concerns this crate: its log would silently be
/// off.
pub(super) fn read(written: Option<&str>, default: &str) -> Result<EnvFilter, String> {
    let words: Vec<&str> = written.unwrap_or_default().split(',').map(str::trim).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Ok(EnvFilter::new(default));
    }
    for word in &words {
        check(word)?;
    }
    if !words.iter().any(|word| is_level(word) || target(word).starts_with(OURS)) {
        return Err(format!(
            "has no level for {OURS}, so its log would be off: add a level, as in \"{},info\"",
            words.join(",")
        ));
    }
    EnvFilter::try_new(words.join(",")).map_err(|error| format!("{error}; write LEVEL or MODULE=LEVEL"))
}

/// Checks one word: a level, a module of this crate, or `MODULE=LEVEL`.
fn check(word: &str) -> Result<(), String> {
    if is_level(word) {
        return Ok(());
    }
    // The parser takes no level for the most detailed one.
    if word.ends_with('=') {
        return Err(format!("{word:?} has no level: write MODULE=LEVEL, such as \"{word}debug\""));
    }
    let target = target(word);
    let module = match target.strip_prefix(OURS) {
        Some("") => return Ok(()),
        Some(rest) => rest.strip_prefix("::").map(|path| path.split("::").next().unwrap_or_default()),
        None => None,
    };
    match module {
        Some(module) if MODULES.contains(&module) => Ok(()),
        // The target of another crate, whose modules are not known here.
        None if word.contains('=') && !target.starts_with(OURS) => Ok(()),
        Some(_) => Err(format!("there is no module {target:?}: {OURS}:: has {}", MODULES.join(", "))),
        None => Err(format!(
            "{word:?} is neither a level nor a module of {OURS}: write off, error, warn, info, debug or trace, \
             or {OURS}::MODULE=LEVEL"
        )),
    }
}

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

/// Returns the target of a word, without its level, spans and fields.
fn target(word: &str) -> &str {
    word.split(['=', '[']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(written: &str) -> String {
        read(Some(written), "info").map(drop).unwrap_err()
    }

    #[test]
    fn levels_and_modules_are_taken_and_nothing_is_the_default() {
        for written in ["debug", "WARN", "off", "portcullis", "portcullis::net=debug,warn", "h2=trace, info"]
        {
            assert!(read(Some(written), "info").is_ok(), "{written:?}");
        }
        for nothing in [None, Some(""), Some(" , ")] {
            assert_eq!(read(nothing, "portcullis=info").unwrap().to_string(), "portcullis=info");
        }
    }

    #[test]
    fn a_word_that_would_switch_the_log_off_is_refused() {
        for typo in ["warning", "inf", "nonsense", "info,warning"] {
            assert!(refusal(typo).contains("is neither a level nor a module of portcullis"), "{typo}");
        }
        assert!(refusal("portcullis::nett=debug").contains("there is no module \"portcullis::nett\""));
        assert!(refusal("portculis=debug").contains("has no level for portcullis"));
        assert!(refusal("portcullis=inf").contains("write LEVEL or MODULE=LEVEL"));
        assert!(refusal("portcullisx=info").contains("is neither"));
    }

    #[test]
    fn a_module_without_its_level_does_not_get_the_most_detailed_one() {
        for written in ["portcullis=", "info,portcullis::net="] {
            assert!(refusal(written).contains("has no level: write MODULE=LEVEL, such as \"portcullis"));
        }
    }

    #[test]
    fn the_modules_are_those_of_this_crate() {
        let lines = include_str!("../lib.rs").lines();
        let mut modules: Vec<&str> =
            lines.filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
        modules.sort_unstable();
        assert_eq!(modules, MODULES);
    }
}
