//! Adds a handler and its route to the text of `portcullis.toml`.

use anyhow::{Result, bail};

/// The start of a new configuration.
const HEAD: &str = "listen = [\"tcp://127.0.0.1:8080\"]\n";

/// Returns `before` with a handler and a route appended, otherwise unchanged. Without `before`, a whole configuration.
/// `setting` is a line of the handler's table.
///
/// # Errors
/// The handler or the path exists already, or the routes are not written as tables, which can be appended to.
pub(super) fn added(before: Option<&str>, name: &str, setting: &str) -> Result<String> {
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
        // Only above the first table: below it, such a key belongs to the table.
        if before.lines().take_while(|line| !line.trim_start().starts_with('[')).any(inline) {
            bail!("{key}: written as one value, which cannot be added to: write {wanted} tables");
        }
    }
    let mut after = before.to_owned();
    if !after.is_empty() && !after.ends_with('\n') {
        after.push('\n');
    }
    after.push('\n');
    let table = include_str!("template/route.toml.txt").replace("{name}", name);
    after.push_str(&table.replace("{setting}", setting));
    Ok(after)
}

/// Returns `true` if a line opens the table of a handler, or sets one of its keys from outside.
fn names_handler(line: &str, name: &str) -> bool {
    let line: String =
        code(line).chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'' | '[')).collect();
    let rest = line.strip_prefix("handler.").and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with([']', '.', '=']))
}

/// Returns a line without its comment. A `#` in a string cuts it too, which does not hide anything that is looked for.
fn code(line: &str) -> &str {
    line.split('#').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(before: Option<&str>, name: &str) -> Result<String> {
        super::added(before, name, "stores = [\"default\"]")
    }

    #[test]
    fn a_new_configuration_listens_and_routes() {
        let text = added(None, "hi").unwrap();

        assert!(
            text.starts_with(
                "listen = [\"tcp://127.0.0.1:8080\"]\n\n[handler.hi]\nmodule = \"build/hi.wasm\""
            ),
            "{text}"
        );
        assert!(text.contains("\nstores = [\"default\"]\n"), "{text}");
        assert!(text.contains("\n\n[[route]]\npath = \"/hi/{who}\"\n"), "{text}");
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
