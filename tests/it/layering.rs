//! The rules of the source: which module may import which, and the form of a file.

mod circles;
mod floors;
mod methods;
mod time_limits;
mod tokens;
mod type_names;
mod wording;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates that only one module may name, with that module.
const DOORS: &[(&str, &str)] = &[
    ("wasmtime", "wasm"),
    ("wasmtime_wasi", "wasm"),
    ("wasmparser", "wasm"),
    ("wiggle", "wasm"),
    ("wasmtime_wasi_http", "wasm"),
    ("hyper", "http"),
    ("hyper_util", "http"),
    ("matchit", "catalog"),
    ("toml", "config"),
    ("clap", "cli"),
    ("ratatui", "cli"),
    ("inferno", "observe"),
    ("fxprof_processed_profile", "observe"),
    ("indicatif", "cli"),
    ("notify", "cli"),
    ("tokio::net", "net"),
    ("socket2", "net"),
    ("rustls", "net"),
    ("tokio_rustls", "net"),
    ("x509_parser", "net"),
    ("landlock", "confine"),
    ("prometheus_client", "observe"),
    ("prost", "observe"),
    ("opentelemetry", "observe"),
    ("opentelemetry_sdk", "observe"),
    ("opentelemetry_otlp", "observe"),
    ("opentelemetry_http", "observe"),
    ("seccompiler", "confine"),
    ("tokio_tungstenite", "http"),
    ("libc", "confine"),
    ("rustls_native_certs", "net"),
    ("redb", "store"),
    ("rusqlite", "database"),
    ("tokio_postgres", "database"),
    ("deadpool_postgres", "database"),
    ("tokio_postgres_rustls", "database"),
    ("redis", "store"),
    ("async_nats", "store"),
    ("async_compression", "http"),
    ("ipnet", "access"),
    ("ppp", "net"),
    ("governor", "access"),
    ("jsonwebtoken", "access"),
    ("argon2", "access"),
    ("bcrypt", "access"),
    ("ring", "access"),
    ("instant_acme", "acme"),
    ("rcgen", "acme"),
];

/// Files that may name a crate although its door is elsewhere: their layer is below that of the door.
const SIDE_DOORS: &[(&str, &str)] = &[
    ("rustls", "database/postgres/tls.rs"),
    ("rustls_native_certs", "database/postgres/tls.rs"),
    ("tokio::net", "database/postgres/connect.rs"),
    ("rcgen", "database/tests/server_tls.rs"),
    ("rcgen", "net/tls/acme/certificates.rs"),
    ("rcgen", "net/tls/acme/challenges.rs"),
    ("rcgen", "net/tls/acme/kept.rs"),
];

/// The most lines of a file.
const LONGEST: usize = 400;

/// A file of Rust.
struct Source {
    path: PathBuf,
    text: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Returns the Rust files below a directory of the repository.
fn sources(dir: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut dirs = vec![repository().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = entry.unwrap().path();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() && !path.ends_with("target") => dirs.push(path),
                Some("rs") => found.push(Source { text: fs::read_to_string(&path).unwrap(), path }),
                _ => {}
            }
        }
    }
    assert!(!found.is_empty(), "{dir} has no sources");
    found
}

fn everything() -> Vec<Source> {
    ["runtime/src", "guest-sdk/src", "handlers", "tests"].into_iter().flat_map(sources).collect()
}

impl Source {
    /// Returns the path below `runtime/src`.
    fn name(&self) -> String {
        let path = self.path.strip_prefix(repository().join("runtime/src")).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Returns the top-level module of the crate to which the file belongs.
    fn module(&self) -> String {
        let name = self.name();
        name.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned()
    }

    /// Iterates over the lines with their numbers, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().map(|line| line.split("//").next().unwrap_or_default());
        (1..).zip(lines)
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.strip_prefix(repository()).unwrap().display())
    }
}

/// Reads the table of layers in `lib.rs`.
fn layers() -> BTreeMap<String, u8> {
    let map = fs::read_to_string(repository().join("runtime/src/lib.rs")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("//! |")?.split('|').map(str::trim);
        let layer = cells.next()?.parse().ok()?;
        let module = cells.next()?.trim_matches(['[', '`', ']']);
        Some((module.to_owned(), layer))
    };
    map.lines().filter_map(row).collect()
}

/// Returns the names after `prefix` in a line: one name, or those of a list in braces.
fn named<'l>(line: &'l str, prefix: &str) -> Vec<&'l str> {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut names = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(prefix) {
        rest = after;
        if before.ends_with(is_name) {
            continue;
        }
        let list = after.strip_prefix('{').and_then(|list| list.split('}').next());
        let listed = list.into_iter().flat_map(|list| list.split(',')).map(str::trim);
        let single = (list.is_none()).then_some(after);
        names.extend(
            listed.chain(single).map(|name| name.split(|letter| !is_name(letter)).next().unwrap_or_default()),
        );
    }
    names
}

fn report(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn every_module_has_its_layer() {
    let layers = layers();

    let mut modules: Vec<String> = sources("runtime/src").iter().map(Source::module).collect();
    modules.sort();
    modules.dedup();
    modules.retain(|module| module != "lib" && module != "main");

    assert_eq!(modules, layers.into_keys().collect::<Vec<_>>());
}

#[test]
fn the_map_names_only_files_that_exist() {
    let source = repository().join("runtime/src");
    let map = fs::read_to_string(source.join("lib.rs")).unwrap();
    let is_path = |word: &&str| {
        word.contains("::")
            && word.chars().all(|char| char.is_ascii_lowercase() || "_:0123456789".contains(char))
    };
    let named: Vec<&str> = map.split('`').skip(1).step_by(2).filter(is_path).collect();
    let exists = |path: &str| {
        let path = path.replace("::", "/");
        [format!("{path}.rs"), format!("{path}/mod.rs")].iter().any(|file| source.join(file).is_file())
    };

    assert!(named.len() > 40);
    report(named.iter().filter(|path| !exists(path)).map(|path| format!("lib.rs names {path}")).collect());
}

#[test]
fn a_module_uses_what_is_below_it_and_nothing_else() {
    let layers = layers();
    let mut breaches = Vec::new();
    for source in sources("runtime/src") {
        let module = source.module();
        let Some(own) = layers.get(&module) else { continue };
        for (number, line) in source.code() {
            for used in named(line, "crate::") {
                let allowed = used == module || layers.get(used).is_some_and(|layer| layer < own);
                if !allowed {
                    breaches.push(format!("{}: {module} uses {used}", source.at(number)));
                }
            }
        }
    }

    report(breaches);
}

#[test]
fn each_outside_crate_has_one_door() {
    let mut breaches = Vec::new();
    for source in sources("runtime/src") {
        let module = source.module();
        for (number, line) in source.code() {
            let is_side_door = |name: &str| SIDE_DOORS.contains(&(name, source.name().as_str()));
            let closed = DOORS.iter().filter(|(name, door)| *door != module && !is_side_door(name));
            for (name, door) in closed {
                let names = line.match_indices(name).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    let after = &line[at + name.len()..];
                    let begins =
                        !before.is_some_and(|letter| letter.is_alphanumeric() || "_:.\"/".contains(letter));
                    begins && after.starts_with("::")
                });
                if names {
                    breaches.push(format!("{}: {name} is for {door} alone", source.at(number)));
                }
            }
        }
    }

    report(breaches);
}

#[test]
fn names_behind_a_prefix_and_in_lists_are_found() {
    // A rule that finds nothing may be broken: these cases must be found.
    assert_eq!(named("use crate::{net, job::Job};", "crate::"), ["net", "job"]);
    assert_eq!(named("let x = crate::wasm::y(crate::net::z);", "crate::"), ["wasm", "net"]);
    assert!(named("my_crate::x", "crate::").is_empty());
    assert_eq!(layers().get("cli"), Some(&8));
}

#[test]
fn every_file_says_in_its_first_line_what_it_is() {
    let silent = |source: &Source| !source.text.starts_with("//! ");

    report(everything().iter().filter(|source| silent(source)).map(|source| source.at(1)).collect());
}

#[test]
fn no_file_is_too_long() {
    let breaches = everything()
        .into_iter()
        .filter(|source| source.text.lines().count() > LONGEST)
        .map(|source| source.at(source.text.lines().count()));

    report(breaches.collect());
}

#[test]
fn whatever_is_unsafe_says_why_it_is_sound() {
    let mut breaches = Vec::new();
    for source in everything() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in source.code() {
            let unsafe_here =
                ["unsafe {", "unsafe impl", "unsafe extern"].iter().any(|what| line.contains(what));
            let quoted = line.contains('"');
            let above = &lines[number.saturating_sub(8)..number];
            if unsafe_here && !quoted && !above.iter().any(|line| line.contains("SAFETY:")) {
                breaches.push(source.at(number));
            }
        }
    }

    report(breaches);
}

#[test]
fn every_guest_and_handler_has_a_test() {
    let tests: String = sources("tests/it").iter().map(|source| source.text.as_str()).collect();
    let names = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(repository().join(dir)).unwrap().map(|entry| entry.unwrap().path());
        entries
            .filter(|path| {
                path.join("Cargo.toml").is_file()
                    || path.extension().is_some_and(|kind| kind == "rs" || kind == "wat")
            })
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };

    for guest in names("tests/guests/src/bin") {
        assert!(tests.contains(&format!("\"{guest}\"")), "no test runs the guest {guest}");
    }
    for handler in names("handlers") {
        assert!(tests.contains(&format!("fn {handler}_")), "no test is named for the handler {handler}");
    }
}
