//! Reads `[hardening]`: how the process restricts itself, and the places it still needs.

use std::path::{Path, PathBuf};

use super::directories::Directories;
use super::granted_stores::StoreFile;
use super::model::{Config, Hardening};
use super::reader::Keyed;
use super::report::Diagnostics;
use super::route_model::RouteConfig;
use super::schema;
use crate::confine::{PathGrant, Reach};
use crate::net::Endpoint;

/// Reads the table.
pub(super) fn read(
    written: Option<&Keyed<schema::Hardening>>,
    (base, directories): (&Path, Directories),
    report: &Diagnostics<'_>,
) -> Hardening {
    let Some(Keyed { value: table, .. }) = written else { return Hardening::default() };
    let on = |written: &Option<Keyed<bool>>| written.as_ref().is_none_or(|at| at.value);
    let dirs = table.reach.as_ref().map_or(&[][..], |list| &list.value);
    let dir = |at: &Keyed<String>| {
        let path = base.join(&at.value);
        if at.value.is_empty() {
            report.add(
                at.line,
                &at.key,
                "wanted a directory, found \"\": write \".\" for the one of this file",
            );
            return None;
        }
        if directories == Directories::Checked && !path.is_dir() {
            report.add(
                at.line,
                &at.key,
                format!("{:?} is not a directory: create it, or leave it out", at.value),
            );
            return None;
        }
        Some(path)
    };
    let reach: Vec<PathBuf> = dirs.iter().filter_map(dir).collect();
    if let Some(at) = table.reach.as_ref().filter(|_| !on(&table.files)) {
        report.add(at.line, &at.key, "needs files = true: without it every file is in reach");
    }
    Hardening {
        privileges: on(&table.privileges),
        files: on(&table.files),
        syscalls: on(&table.syscalls),
        reach,
    }
}

impl Config {
    /// Returns the directory of the account and certificates of `[tls.acme]`.
    pub fn acme_dir(&self) -> Option<&Path> {
        Some(self.tls.as_ref()?.acme.as_ref()?.dir.as_path())
    }

    /// Lists the places in the file system that the configuration names, each with its key. The cache and
    /// the directory of records are not listed: a reload does not change them, and the daemon runs without
    /// a cache that it cannot open.
    pub fn places(&self) -> Vec<(String, PathGrant)> {
        let mut places: Vec<(String, PathGrant)> = Vec::new();
        let mut add = |key: String, path: &Path, reach| places.push((key, PathGrant::new(path, reach)));
        for dir in &self.hardening.reach {
            add("hardening.reach".to_owned(), dir, Reach::Write);
        }
        for handler in &self.handlers {
            let key = |key: &str| format!("handler.{}.{key}", handler.name);
            add(key("module"), parent(&handler.module), Reach::Read);
            for mount in &handler.mounts {
                let reach = if mount.write { Reach::Write } else { Reach::Read };
                add(key("mounts"), &mount.host, reach);
            }
            for secret in &handler.secrets {
                // Credentials of the service are reachable in any case.
                if let Some(file) = secret.source.file(None) {
                    add(key(&format!("secrets.{}", secret.variable)), parent(&file), Reach::Read);
                }
            }
            for file in handler.databases.iter().filter_map(|grant| grant.database.options.file()) {
                add(key("databases"), parent(file), Reach::Write);
            }
            for dir in
                handler.databases.iter().filter_map(|grant| grant.database.options.migrations.as_deref())
            {
                add(key("databases"), dir, Reach::Read);
            }
        }
        if let Some(ca) = &self.outbound_ca {
            add("outbound.ca".to_owned(), parent(&ca.path), Reach::Read);
        }
        for (key, file) in self.database_authorities() {
            add(key, parent(file), Reach::Read);
        }
        for (_, page) in self.error_pages() {
            add("errors".to_owned(), parent(page), Reach::Read);
        }
        for dir in self.routes.iter().filter_map(RouteConfig::dir) {
            add("route.static.dir".to_owned(), dir, Reach::Read);
        }
        for (key, password) in self.passwords() {
            // Credentials of the service are reachable in any case.
            password.file(None).into_iter().for_each(|file| add(key.clone(), parent(&file), Reach::Read));
        }
        for StoreFile { key, path, .. } in self.store_files() {
            add(key, parent(path), Reach::Write);
        }
        for endpoint in &self.listen {
            if let Endpoint::Unix(path) = endpoint {
                add("listen".to_owned(), parent(path), Reach::Write);
            }
        }
        for endpoint in &self.observe {
            if let Endpoint::Unix(path) = endpoint {
                add("observe".to_owned(), parent(path), Reach::Write);
            }
        }
        if let Some(path) = &self.admin {
            add("admin".to_owned(), parent(path), Reach::Write);
        }
        if let Some(path) = &self.logging.access_log_file {
            // A rotation moves the file, and another one is made.
            add("access_log_file".to_owned(), parent(path), Reach::Write);
        }
        for file in self.gates.iter().flat_map(|gate| &gate.files) {
            add("gate".to_owned(), parent(file), Reach::Read);
        }
        for file in self.tls.iter().flat_map(|tls| tls.files()) {
            // A renewal replaces the file of a certificate.
            add("tls".to_owned(), parent(file), Reach::Read);
        }
        if let Some(dir) = self.acme_dir() {
            // The directory above, so that a reload may name another server.
            add("tls.acme".to_owned(), parent(dir), Reach::Write);
        }
        places
    }
}

/// Returns the directory of a file: the file may be replaced later, by another inode.
fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Hardening, parse};
    use std::path::Path;

    #[test]
    fn every_step_is_taken_unless_the_file_says_otherwise() {
        let read = |text: &str| parse(text, Path::new("/"), "p.toml").map(|config| config.hardening);

        assert_eq!(
            read("").unwrap(),
            Hardening { privileges: true, files: true, syscalls: true, reach: vec![] }
        );
        let some = read("hardening = { syscalls = false, reach = [\"proc\"] }\n").unwrap();
        assert_eq!(some, Hardening { syscalls: false, reach: vec!["/proc".into()], ..Hardening::default() });
        let refusal = read("hardening = { files = false, reach = [\"nowhere\"] }\n").unwrap_err().to_string();
        assert!(refusal.contains("is not a directory") && refusal.contains("files = true"), "{refusal}");
    }

    #[test]
    fn what_the_file_names_is_a_place_with_the_key_that_names_it() {
        let text =
            "listen = [\"unix:///run/a/b.sock\"]\nadmin = \"unix:///run/c.sock\"\ncache = \"/var/x\"\n";
        let config = parse(text, Path::new("/"), "p.toml").unwrap();

        let places: Vec<String> =
            config.places().iter().map(|(key, place)| format!("{key}: {place}")).collect();

        assert_eq!(places, ["listen: /run/a (write)", "admin: /run (write)"]);
    }

    #[test]
    fn a_reload_of_a_file_without_handlers_may_read_the_authorities_of_outbound() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("ca.pem"), "").unwrap();

        let config = parse("[outbound]\nca = \"ca.pem\"\n", base.path(), "p.toml").unwrap();

        assert!(config.places().iter().any(|(key, _)| key == "outbound.ca"));
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_reload_may_read_the_authority_of_a_database_that_no_handler_has() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("ca.pem"), "").unwrap();
        let text = "[database.app]\nurl = \"postgres://db/app\"\nca = \"ca.pem\"\n";

        let config = parse(text, base.path(), "p.toml").unwrap();

        assert!(config.places().iter().any(|(key, _)| key == "database.app.ca"));
    }
}
