//! The text of `portcullis.toml` with one more handler in it.

use anyhow::{Result, bail};

/// How a new configuration begins.
const HEAD: &str = "listen = [\"tcp://127.0.0.1:8080\"]\n";

/// Returns `before` with a handler and a route at its end, all else as it was; without `before`, a whole configuration.
///
/// # Errors
/// When the handler or the path is there, or the routes are written in a way that cannot be added to at the end.
pub(super) fn added(before: Option<&str>, name: &str) -> Result<String> {
    let before = before.unwrap_or(HEAD);
    if before.lines().any(|line| names_handler(line, name)) {
        bail!("handler.{name}: is there already: choose another name, or remove it");
    }
    let path = format!("\"/{name}/{{who}}\"");
    if before.lines().any(|line| code(line).contains(&path)) {
        bail!("route: {path} is there already: choose another name, or remove it");
    }
    for (key, wanted) in [("handler", "[handler.NAME]"), ("route", "[[route]]")] {
        let inline = |line: &str| code(line).split_once('=').is_some_and(|(left, _)| left.trim() == key);
        // Above the first table only: below it, a key of that name is the table's.
        if before.lines().take_while(|line| !line.trim_start().starts_with('[')).any(inline) {
            bail!("{key}: written as one value, which cannot be added to: write {wanted} tables");
        }
    }
    let mut after = before.to_owned();
    if !after.is_empty() && !after.ends_with('\n') {
        after.push('\n');
    }
    after.push('\n');
    after.push_str(&include_str!("template/route.toml.txt").replace("{name}", name));
    Ok(after)
}

/// Whether a line opens the table of a handler, or sets a key of it from outside.
fn names_handler(line: &str, name: &str) -> bool {
    let line: String =
        code(line).chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'' | '[')).collect();
    let rest = line.strip_prefix("handler.").and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with([']', '.', '=']))
}

/// Returns a line without its comment; a `#` in a string cuts it short, which hides nothing we look for.
fn code(line: &str) -> &str {
    line.split('#').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_configuration_listens_and_routes() {
        let text = added(None, "hi").unwrap();

        assert!(
            text.starts_with(
                "listen = [\"tcp://127.0.0.1:8080\"]\n\n[handler.hi]\nmodule = \"build/hi.wasm\""
            ),
            "{text}"
        );
        assert!(text.contains("\n[[route]]\npath = \"/hi/{who}\"\n"), "{text}");
    }

    #[test]
    fn what_was_there_stays_to_the_byte() {
        for before in
            ["# mine\nlisten = []  # none\r\n", "admin = \"x\"", "", "[handler.hit]\nmodule = \"x\"\n"]
        {
            let after = added(Some(before), "hi").unwrap();
            assert!(after.starts_with(before) && after.contains("\n[handler.hi]\n"), "{after:?}");
        }
    }

    #[test]
    fn a_handler_that_is_there_is_not_added_again() {
        for line in
            ["[handler.hi]", " [ handler . \"hi\" ] # x", "[handler.hi.limits]", "handler.hi.module = \"x\""]
        {
            assert!(added(Some(line), "hi").is_err(), "{line}");
        }
        assert!(added(Some("# [handler.hi]"), "hi").is_ok());
        assert!(added(Some("[[route]]\npath = \"/hi/{who}\""), "hi").is_err());
    }

    #[test]
    fn inline_routes_are_refused_where_tables_would_break_them() {
        assert!(added(Some("route = []\n"), "hi").is_err());
        assert!(added(Some("handler = { x = {} }\n"), "hi").is_err());
        assert!(added(Some("[[route]]\nhandler = \"x\"\n"), "hi").is_ok());
    }
}
