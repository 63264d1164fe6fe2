//! Finds the paths whose file or directory was replaced since the last load: of mounts, routes and databases.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::draft::{Candidate, Draft, MadeHandler, ServedDirs};
use super::loader::Loader;
use crate::job::{HandlerVersion, Name};

/// The replaced files and directories whose paths are the same, as the replies of `plan` and `reload` name them.
#[derive(Default)]
pub struct ReopenedPaths {
    /// The handlers with such mounts, a line for each mount.
    pub handlers: BTreeMap<Name, Vec<String>>,
    /// The directories that routes serve, and the files of databases, a line each.
    pub others: Vec<String>,
}

impl Loader {
    /// Lists what a candidate finds replaced. Call it before the candidate is adopted. Blocks.
    pub fn reopened_by(&self, next: &Candidate) -> ReopenedPaths {
        self.reopened(&next.loaded.made, &next.loaded.served)
    }

    /// Lists what a draft finds replaced. Blocks.
    pub fn reopened_in(&self, draft: &Draft) -> ReopenedPaths {
        self.reopened(&draft.made, &draft.served)
    }

    fn reopened(&self, made: &HashMap<Name, MadeHandler>, served: &ServedDirs) -> ReopenedPaths {
        // A look at a file may block, so it comes before the lock.
        let files = made.values().flat_map(|made| replaced_files(&made.entry));
        let files: BTreeSet<String> = files.collect();
        let last = self.last();
        let mounts = made.iter().filter_map(|(name, now)| {
            let reopened = now.mounted.reopened(&last.made.get(name)?.mounted);
            let lines = reopened.iter().map(|host| format!("mount {}: another directory", host.display()));
            (!reopened.is_empty()).then(|| (name.clone(), lines.collect::<Vec<_>>()))
        });
        let is_other = |path: &Path| {
            let (now, before) = (served.0.get(path), last.served.0.get(path));
            now.zip(before).is_some_and(|(now, before)| !now.is_same(before))
        };
        let dirs = served.0.keys().filter(|path| is_other(path));
        let dirs = dirs.map(|path| format!("static directory {}: another directory", path.display()));
        ReopenedPaths { handlers: mounts.collect(), others: dirs.chain(files).collect() }
    }
}

/// Lists the databases of a handler whose file was replaced, a line each.
fn replaced_files(entry: &HandlerVersion) -> Vec<String> {
    let databases = entry.grants.databases.iter().map(|grant| &grant.database);
    let replaced = databases.filter(|database| database.is_replaced());
    let line = |name: &str, file: &Path| format!("database {name}: another file at {}", file.display());
    replaced.filter_map(|one| Some(line(&one.options().name, one.options().file()?))).collect()
}
