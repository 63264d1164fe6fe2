//! All stores of a configuration: the stores with a table, and the embedded store `default`, which needs none.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::model::Config;
use super::secret::SecretSource;
use super::store::{StoreConfig, StoreGrantConfig};

/// The file of a store.
pub struct StoreFile<'c> {
    /// The line of the key, or 0.
    pub line: usize,
    /// The key that grants or names the store.
    pub key: String,
    /// The file.
    pub path: &'c Path,
}

impl Config {
    /// Lists the stores, each once, those with a table first.
    pub fn all_stores(&self) -> Vec<&StoreConfig> {
        let granted = self.handlers.iter().flat_map(|handler| &handler.stores).map(|grant| &grant.store);
        let mut names = HashSet::new();
        self.stores.iter().chain(granted).filter(|store| names.insert(&store.options.name)).collect()
    }

    /// Lists the files of stores, with the key of each: the handler that is granted it, or the table if none is.
    pub fn store_files(&self) -> Vec<StoreFile<'_>> {
        let mut granted = HashSet::new();
        let mut files = Vec::new();
        for handler in &self.handlers {
            for StoreGrantConfig { store: StoreConfig { options, .. }, .. } in &handler.stores {
                granted.insert(&options.name);
                let key = format!("handler.{}.stores", handler.name);
                files.extend(options.file().map(|path| StoreFile { line: handler.line, key, path }));
            }
        }
        // Operators use it, though no handler does.
        let tables = self.stores.iter().map(|store| &store.options);
        for options in tables.filter(|options| !granted.contains(&options.name)) {
            let key = format!("store.{}.url", options.name);
            files.extend(options.file().map(|path| StoreFile { line: 0, key, path }));
        }
        files
    }

    /// Lists the passwords of stores and databases that are not in the configuration, with their keys.
    pub fn passwords(&self) -> impl Iterator<Item = (String, &SecretSource)> {
        let of_stores = self.stores.iter().map(|store| ("store", &store.options.name, &store.password));
        let databases = self.databases.iter();
        let of_databases = databases.map(|one| ("database", &one.options.name, &one.password));
        let all = of_stores.chain(of_databases);
        all.filter_map(|(table, name, source)| Some((format!("{table}.{name}.password"), source.as_ref()?)))
    }

    /// Lists the files of certificates for databases, with their keys: they are read whether a handler has the database or
    /// not.
    pub(super) fn database_authorities(&self) -> impl Iterator<Item = (String, &Path)> {
        self.databases.iter().filter_map(|database| {
            let ca = database.options.ca.as_ref()?;
            Some((format!("database.{}.ca", database.options.name), ca.path.as_path()))
        })
    }

    /// Lists the stores of rate limits, with what is limited: `route /a` or `handler a`.
    pub fn limit_stores(&self) -> impl Iterator<Item = (String, &StoreConfig)> {
        let routes = self.routes.iter().map(|route| (format!("route {}", route.path), &route.limit));
        let handlers =
            self.handlers.iter().map(|handler| (format!("handler {}", handler.name), &handler.limit));
        let limits = routes.chain(handlers);
        limits.filter_map(|(subject, limit)| Some((subject, limit.as_ref()?.store.as_ref()?)))
    }

    /// Lists the users of each store, in the order of the file. A handler that is granted the store is `carts`, or
    /// `carts as default` if it has another name for the store. Rate limits follow, as `limit of route /a`.
    pub fn store_users(&self) -> HashMap<&str, Vec<String>> {
        let mut users: HashMap<&str, Vec<String>> = HashMap::new();
        for handler in &self.handlers {
            for grant in &handler.stores {
                let store = &grant.store.options.name;
                let user = match grant.name == *store {
                    true => handler.name.to_string(),
                    false => format!("{} as {}", handler.name, grant.name),
                };
                users.entry(store).or_default().push(user);
            }
        }
        for (subject, store) in self.limit_stores() {
            users.entry(&store.options.name).or_default().push(format!("limit of {subject}"));
        }
        users
    }
}
