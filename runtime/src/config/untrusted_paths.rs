//! Checks that no path the daemon looks up lies where a handler may write.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::granted_stores::StoreFile;
use super::model::{Config, HandlerConfig, MountConfig};
use super::own_places::credentials;
use super::report::ConfigError;
use crate::confine::{DEVICES, Granting, LIBRARIES, SYSTEM, Untrusted, Writable};
use crate::net::Endpoint;
use crate::wasm::cache::CacheLocation;

/// A file or directory, and the key that names it.
struct NamedPath {
    line: usize,
    key: String,
    path: PathBuf,
}

/// Collects the directories that handlers may write to.
///
/// # Errors
/// Those of [`Untrusted::of`].
pub fn untrusted(handlers: &[HandlerConfig]) -> Result<Untrusted> {
    Untrusted::of(handlers.iter().flat_map(|handler| mounted(handler, |mount| mount.write)))
}

/// Lists those mounts of a handler for which `is_wanted` holds.
fn mounted(
    handler: &HandlerConfig,
    is_wanted: impl Fn(&MountConfig) -> bool,
) -> impl Iterator<Item = Writable> {
    let mounts = handler.mounts.iter().filter(move |mount| is_wanted(mount));
    mounts.map(move |mount| Writable {
        handler: handler.name.to_string(),
        dir: mount.host.clone(),
        by: Granting::Wanted,
    })
}

impl Config {
    /// Lists the paths that a handler could replace, because they lie where it may write. `file` is the
    /// configuration itself.
    pub(super) fn exchangeable(&self, file: &Path) -> Vec<ConfigError> {
        match untrusted(&self.handlers) {
            Ok(untrusted) => {
                let mut errors = self.exchangeable_in(file, &untrusted);
                let reach = self.hardening.reach.iter().filter_map(|dir| untrusted.open(dir).err());
                errors.extend(reach.map(|refusal| error(0, "hardening.reach", format!("{refusal:#}"))));
                errors.extend(self.readable_files());
                errors
            }
            Err(failure) => vec![error(0, "", format!("{failure:#}"))],
        }
    }

    /// Lists the paths that could be replaced through the directories of `untrusted`. `file` is the
    /// configuration itself. `hardening.reach` is left out: only a start looks it up.
    pub fn exchangeable_in(&self, file: &Path, untrusted: &Untrusted) -> Vec<ConfigError> {
        let granted = self.refused_grants(untrusted);
        if !granted.is_empty() {
            // Other errors would only follow from these: such a link may lead anywhere.
            return granted;
        }
        let mut known = HashMap::new();
        let named = self.named(file).into_iter().filter_map(|NamedPath { line, key, path }| {
            let found = known.entry(path.clone()).or_insert_with(|| match untrusted.find(&path) {
                Ok(writable) => writable.map(|writable| {
                    format!(
                        "{} is looked up in {writable}: the handler could replace it; move it, or mount a \
                         directory that does not hold it",
                        path.display()
                    )
                }),
                Err(failure) => Some(format!("{}: {failure:#}", path.display())),
            });
            found.clone().map(|message| error(line, &key, message))
        });
        named.chain(self.served(file, untrusted)).collect()
    }

    /// Lists the files of stores, databases and `[tls.acme]` that lie in a mount without `write`: a handler could read
    /// all that is in them.
    pub(super) fn readable_files(&self) -> Vec<ConfigError> {
        let readable = self.handlers.iter().flat_map(|handler| mounted(handler, |mount| !mount.write));
        let databases = self.handlers.iter().flat_map(|handler| {
            let files = handler.databases.iter().filter_map(|grant| grant.database.options.file());
            let key = format!("handler.{}.databases", handler.name);
            files.map(move |path| StoreFile { line: handler.line, key: key.clone(), path })
        });
        let acme = self.acme_dir().map(|path| StoreFile { line: 0, key: "tls.acme".to_owned(), path });
        let kept = self.store_files().into_iter().chain(databases).chain(acme);
        let readable = match Untrusted::following(readable) {
            Ok(readable) => readable,
            Err(failure) => return vec![error(0, "", format!("{failure:#}"))],
        };
        let shown = kept.filter_map(|StoreFile { line, key, path: file }| {
            let message = match readable.find(file) {
                Ok(mount) => mount.map(|mount| {
                    format!(
                        "{} is in {}, a mount of handler {:?}, which could read every entry: move it, or mount a \
                         directory that does not hold it",
                        file.display(),
                        mount.dir.display(),
                        mount.handler
                    )
                }),
                Err(failure) => Some(format!("{}: {failure:#}", file.display())),
            };
            message.map(|message| error(line, &key, message))
        });
        shown.collect()
    }

    /// Lists the directories that must not be granted: those below a handler's writable directory that are
    /// reached through links in it, and those that show the processes of this host.
    fn refused_grants(&self, untrusted: &Untrusted) -> Vec<ConfigError> {
        let refused = |handler: &HandlerConfig| {
            let key = format!("handler.{}.mounts", handler.name);
            let refusals = handler.mounts.iter().filter_map(|mount| untrusted.grant(&mount.host).err());
            refusals.map(|refusal| error(handler.line, &key, format!("{refusal:#}"))).collect::<Vec<_>>()
        };
        let routes =
            self.routes.iter().filter_map(|route| Some((route.line, untrusted.grant(route.dir()?).err()?)));
        let served = routes.map(|(line, refusal)| error(line, "route.static.dir", format!("{refusal:#}")));
        self.handlers.iter().flat_map(refused).chain(served).collect()
    }

    /// Lists all paths that the daemon looks up, except mounts.
    fn named(&self, file: &Path) -> Vec<NamedPath> {
        let mut named = Vec::new();
        let mut add = |line, key: &str, path: &Path| {
            named.push(NamedPath { line, key: key.to_owned(), path: path.to_owned() });
        };
        add(0, "", file);
        for handler in &self.handlers {
            add(handler.line, &format!("handler.{}.module", handler.name), &handler.module);
            for file in handler.databases.iter().filter_map(|grant| grant.database.options.file()) {
                add(handler.line, &format!("handler.{}.databases", handler.name), file);
            }
            for dir in
                handler.databases.iter().filter_map(|grant| grant.database.options.migrations.as_deref())
            {
                add(handler.line, &format!("handler.{}.databases", handler.name), dir);
            }
        }
        self.outbound_ca.iter().for_each(|ca| add(0, "outbound.ca", &ca.path));
        for handler in &self.handlers {
            for secret in &handler.secrets {
                let key = || format!("handler.{}.secrets.{}", handler.name, secret.variable);
                secret
                    .source
                    .file(credentials().as_deref())
                    .iter()
                    .for_each(|path| add(handler.line, &key(), path));
            }
        }
        for (key, password) in self.passwords() {
            password.file(credentials().as_deref()).iter().for_each(|path| add(0, &key, path));
        }
        self.database_authorities().for_each(|(key, file)| add(0, &key, file));
        self.store_files().iter().for_each(|file| add(file.line, &file.key, file.path));
        for (key, endpoints) in [("listen", &self.listen), ("observe", &self.observe)] {
            for endpoint in endpoints {
                if let Endpoint::Unix(path) = endpoint {
                    add(0, key, path);
                }
            }
        }
        for (line, page) in self.error_pages() {
            add(line, "errors", page);
        }
        self.admin.iter().for_each(|path| add(0, "admin", path));
        self.tls.iter().flat_map(|tls| tls.files()).for_each(|path| add(0, "tls", path));
        self.acme_dir().into_iter().for_each(|path| add(0, "tls.acme", path));
        self.logging.access_log_file.iter().for_each(|path| add(0, "access_log_file", path));
        self.gates.iter().flat_map(|gate| &gate.files).for_each(|path| add(0, "gate", path));
        self.record_dir.iter().for_each(|path| add(0, "record_dir", path));
        if let Some(Ok(CacheLocation { dir, key })) = self.cache_place() {
            add(0, "cache", &dir);
            add(0, "cache", &key);
        }
        self.scratch_place().iter().for_each(|path| add(0, "scratch", path));
        if let Ok(program) = std::env::current_exe() {
            add(0, "mounts", &program);
        }
        [&SYSTEM[..], &LIBRARIES, &DEVICES]
            .concat()
            .iter()
            .for_each(|path| add(0, "mounts", Path::new(path)));
        named
    }
}

fn error(line: usize, key: &str, message: String) -> ConfigError {
    ConfigError { line, key: key.to_owned(), message }
}
