//! Checks that no file of the daemon itself lies in a directory that a route serves.

use std::path::Path;

use super::model::Config;
use super::own_places::credentials;
use super::report::ConfigError;
use crate::confine::{Granting, Untrusted, Writable};
use crate::wasm::cache::CacheLocation;

impl Config {
    /// Lists the files of the daemon that clients could read: the configuration, keys, secrets, files of gates,
    /// stores, databases, the access log, records and stored bodies. `file` is the configuration itself. `untrusted`
    /// grants the directories of routes.
    pub(super) fn served(&self, file: &Path, untrusted: &Untrusted) -> Vec<ConfigError> {
        let granted = self.routes.iter().filter_map(|route| {
            let dir = route.dir()?.to_owned();
            // A directory that is refused is an error of its own.
            let granted = untrusted.grant(&dir).ok()?.dir;
            Some((Writable { handler: route.path.clone(), dir, by: Granting::Wanted }, granted))
        });
        let granted: Vec<_> = granted.collect();
        let error = |message: String| ConfigError { line: 0, key: "route.static".to_owned(), message };
        let mut served = Untrusted::default();
        // The granted directories are compared, not their paths: a handler may have displaced one.
        if let Err(failure) = served.add(granted.iter().map(|(route, dir)| (route.clone(), &**dir))) {
            return vec![error(format!("{failure:#}"))];
        }
        if served.is_empty() {
            return Vec::new();
        }
        let mut own = vec![file.to_owned()];
        own.extend(self.tls.iter().flat_map(|tls| tls.files()).map(ToOwned::to_owned));
        own.extend(self.acme_dir().map(ToOwned::to_owned));
        for handler in &self.handlers {
            let secrets = handler.secrets.iter().map(|secret| &secret.source);
            own.extend(secrets.filter_map(|source| source.file(credentials().as_deref())));
            let databases = handler.databases.iter().filter_map(|grant| grant.database.options.file());
            own.extend(databases.map(Path::to_owned));
        }
        own.extend(self.store_files().into_iter().map(|file| file.path.to_owned()));
        own.extend(self.passwords().filter_map(|(_, source)| source.file(credentials().as_deref())));
        own.extend(self.gates.iter().flat_map(|gate| gate.files.iter().cloned()));
        own.extend(self.record_dir.clone());
        // It has the addresses of clients, and their queries.
        own.extend(self.logging.access_log_file.clone());
        if let Some(Ok(CacheLocation { key, .. })) = self.cache_place() {
            own.push(key);
        }
        own.extend(self.scratch_place().ok());
        let shown = own.iter().filter_map(|path| {
            // A path that leads nowhere is reported by the code that needs it.
            let dir = served.find(path).ok()??;
            let (route, dir, path) = (&dir.handler, dir.dir.display(), path.display());
            Some(error(format!(
                "the route {route:?} serves {dir}, and {path} is in it, where every client could read it: serve a \
                 directory of its own, such as \"public\""
            )))
        });
        shown.collect()
    }
}
