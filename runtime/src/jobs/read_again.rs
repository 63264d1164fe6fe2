//! Files that two configurations name by the same path, and whose content differs, for the replies of `plan` and `reload`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::catalog::ErrorPages;
use crate::config::{Ca, Config};

/// Lists the error pages, the files of gates and the certificates of `outbound.ca` with another content, a line each. The
/// files of `[tls]`, modules and secrets are compared elsewhere.
pub(super) fn changed(old: &Config, new: &Config) -> Vec<String> {
    let before = contents(old);
    let differs = |(file, content): &(String, &[u8])| before.get(file).is_some_and(|old| old != content);
    let changed = contents(new).into_iter().filter(differs);
    changed.map(|(file, _)| format!("{file}: other content")).collect()
}

/// Returns the content of each file, or its digest, by what is to be said of the file.
fn contents(config: &Config) -> BTreeMap<String, &[u8]> {
    let of_routes = config.routes.iter().flat_map(|route| {
        let group = route.group.iter().map(|group| &group.rules.errors);
        std::iter::once(&route.rules.errors).chain(group)
    });
    let all = std::iter::once(&config.response_rules.errors).chain(of_routes);
    // Most routes share the pages of their group, or those of all routes.
    let mut seen = HashSet::new();
    let pages = all.filter_map(|errors| match errors {
        ErrorPages::Pages(pages) => seen.insert(Arc::as_ptr(pages)).then_some(pages),
        ErrorPages::Negotiated | ErrorPages::Json | ErrorPages::Message => None,
    });
    let pages = pages.flat_map(|pages| pages.values());
    let pages = pages.map(|page| (format!("error page {}", page.path.display()), &*page.body));
    let gates = config.gates.iter().filter(|gate| !gate.files.is_empty()).map(|gate| {
        let files: Vec<String> = gate.files.iter().map(|file| file.display().to_string()).collect();
        (format!("gate {}, {}", gate.name, files.join(", ")), gate.content.as_bytes())
    });
    let ca = config.outbound_ca.iter();
    let ca = ca.map(|Ca { path, pem }| (format!("outbound.ca {}", path.display()), &**pem));
    pages.chain(gates).chain(ca).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::parse;

    #[test]
    fn a_file_with_another_content_is_named_wherever_the_configuration_has_it() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
        let text = "errors = { 404 = \"all.html\" }\n[outbound]\nca = \"ca.pem\"\n\
                    [gate.token]\nkind = \"jwt\"\nalgorithms = [\"HS256\"]\nsecret = \"key\"\n\
                    [group.g]\nprefix = \"/g\"\nerrors = { 404 = \"group.html\" }\n\
                    [[route]]\npath = \"/\"\nrespond = {}\nbefore = [\"token\"]\nerrors = { 404 = \"route.html\" }\n\
                    [[route]]\npath = \"/x\"\ngroup = \"g\"\nrespond = {}\n";
        let files = ["all.html", "ca.pem", "key", "group.html", "route.html"];
        let read = || parse(text, place.path(), "p.toml").unwrap();
        files.iter().for_each(|name| write(name, &"0123456789abcdef".repeat(4)));
        let before = read();
        assert_eq!(changed(&before, &read()), [""; 0]);

        files.iter().for_each(|name| write(name, &"fedcba9876543210".repeat(4)));

        let at = |name: &str| place.path().join(name).display().to_string();
        let wanted = [
            format!("error page {}: other content", at("all.html")),
            format!("error page {}: other content", at("group.html")),
            format!("error page {}: other content", at("route.html")),
            format!("gate token, {}: other content", at("key")),
            format!("outbound.ca {}: other content", at("ca.pem")),
        ];
        assert_eq!(changed(&before, &read()), wanted);
        let other_settings = text.replace("[\"HS256\"]", "[\"HS384\"]");
        let other_settings = parse(&other_settings, place.path(), "p.toml").unwrap();
        assert_eq!(changed(&read(), &other_settings), [""; 0], "no file of the gate has changed");
    }
}
