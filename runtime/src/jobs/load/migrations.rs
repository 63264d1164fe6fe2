//! Reads the migrations of databases, and applies them before the handlers of a configuration serve.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;

use anyhow::{Context as _, Error, Result, anyhow, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tokio::runtime::{Builder, Handle};

use super::handler::HandlerResources;
use super::loader::Loader;
use crate::config::Config;
use crate::database::{DatabaseOptions, MAX_MIGRATION, Migration};
use crate::jobs::credential;
use crate::operator_file;

/// The most files of a directory.
const MOST: usize = 10_000;

/// How a load treats the migrations of a database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Migrating {
    /// They are applied.
    Apply,
    /// They are listed; nothing is changed.
    List,
}

impl Loader {
    /// Applies, or lists, the migrations of a configuration, a line for each. Blocks.
    ///
    /// # Errors
    /// One error for each database whose migrations cannot be applied. Those that were applied stay so.
    pub fn migrate(&self, config: &Config, how: Migrating) -> Result<Vec<String>, Vec<Error>> {
        run(&self.ground, config, how)
    }
}

/// Applies or lists what is not applied yet, for the databases that handlers are granted. Returns a line for each
/// migration. Blocks.
///
/// # Errors
/// A migration cannot be applied, or an applied one has changed or is missing; one error for each database.
fn run(ground: &HandlerResources, config: &Config, how: Migrating) -> Result<Vec<String>, Vec<Error>> {
    let granted = config.handlers.iter().flat_map(|handler| &handler.databases).map(|grant| &grant.database);
    // A password that is missing is an error of each handler with the database.
    let granted = granted.filter_map(|database| credential::database(database).ok());
    let granted: BTreeMap<String, DatabaseOptions> =
        granted.map(|options| (options.name.clone(), options)).collect();
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    for (name, options) in granted {
        let Some(dir) = &options.migrations else { continue };
        let outcome = read(dir).and_then(|files| {
            let database = ground.databases.get(&options);
            let work = async {
                match how {
                    Migrating::Apply => database.migrate(files).await,
                    Migrating::List => database.pending(files).await,
                }
            };
            wait(ground.home.as_ref(), work)?.map_err(|error| anyhow!("{error}"))
        });
        match outcome {
            Ok(files) => lines.extend(files.iter().map(|file| format!("{name}: {file}"))),
            Err(error) => errors.push(error.context(format!("database {name:?}"))),
        }
    }
    if errors.is_empty() { Ok(lines) } else { Err(errors) }
}

/// Waits for work on the runtime that serves, or on one of its own.
fn wait<T>(home: Option<&Handle>, work: impl Future<Output = T>) -> Result<T> {
    Ok(match home {
        Some(home) => home.block_on(work),
        None => Builder::new_current_thread().enable_all().build()?.block_on(work),
    })
}

/// Reads a directory, in the order of the numbers. Files that do not end with `.sql` are left alone.
fn read(dir: &Path) -> Result<Vec<Migration>> {
    let shown = dir.display().to_string();
    let mut files: BTreeMap<i64, Migration> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).with_context(|| shown.clone())? {
        let path = entry.with_context(|| shown.clone())?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !file.ends_with(".sql") || file.starts_with('.') {
            continue;
        }
        let number = Migration::number(&file).map_err(|wrong| anyhow!("{shown}: {wrong}"))?;
        let sql = operator_file::text(&path, MAX_MIGRATION as u64)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let digest = HEXLOWER.encode(&Sha256::digest(sql.as_bytes()));
        if let Some(other) = files.insert(number, Migration { number, file: file.clone(), sql, digest }) {
            bail!("{shown}: {} and {file} have the same number: give one of them another", other.file);
        }
        if files.len() > MOST {
            bail!("{shown}: more than {MOST} migrations: put old ones together in a new database");
        }
    }
    Ok(files.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_read_in_the_order_of_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str| std::fs::write(dir.path().join(file), "select 1;").unwrap();
        ["0010_c.sql", "0002_b.sql", "1_a.sql", "README.md"].into_iter().for_each(write);

        let files: Vec<String> = read(dir.path()).unwrap().into_iter().map(|one| one.file).collect();
        assert_eq!(files, ["1_a.sql", "0002_b.sql", "0010_c.sql"]);

        write("2_d.sql");
        assert!(read(dir.path()).unwrap_err().to_string().contains("have the same number"));
        write("users.sql");
        std::fs::remove_file(dir.path().join("2_d.sql")).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("a name such as 0001_users.sql"));
    }
}
