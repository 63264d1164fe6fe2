//! Reads `[database.NAME]` and `handler.NAME.databases`: the databases, and the handlers that may open them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::reader::{Keyed, NamedTable};
use super::real_path::real_path;
use super::report::Diagnostics;
use super::secret::SecretSource;
use super::store::state_dir;
use super::store_names::{DEFAULT, SoundTables, WrittenStores};
use super::{authorities, schema, secret, store_names, values};
use crate::database::{DatabaseCa, DatabaseOptions, DatabaseUrl};
use crate::file_place::FileIdentity;

/// The default of `quota`.
const QUOTA: u64 = 256 << 20;

/// The default of `connections`: SQLite has one writer at a time, so that more of them would wait.
const CONNECTIONS: usize = 8;

/// A database that a handler may open, under the handler's name for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseGrantConfig {
    /// The name that the handler uses.
    pub name: String,
    /// The database.
    pub database: DatabaseConfig,
}

/// A database as the configuration has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseConfig {
    /// How it is opened, but for the password.
    pub options: DatabaseOptions,
    /// The source of the password for its server.
    pub password: Option<SecretSource>,
}

/// The databases of a file.
pub(super) struct Databases<'f> {
    tables: SoundTables<'f, DatabaseConfig>,
    base: &'f Path,
}

impl<'f> Databases<'f> {
    /// Reads the tables. One with a mistake is reported and left out.
    pub(super) fn read(
        written: Option<&'f Keyed<NamedTable<schema::Database>>>,
        base: &'f Path,
        report: &Diagnostics<'_>,
    ) -> Databases<'f> {
        let written = written.map_or(&[][..], |table| &table.value.0);
        let mut tables = SoundTables::of("database", written);
        let mut urls: HashMap<DatabaseUrl, &str> = HashMap::new();
        let mut files: HashMap<FileIdentity, &str> = HashMap::new();
        for (name, at) in written {
            let Some(database) = database(name, at, base, report) else { continue };
            let url = identity(&database.options.url);
            // By two hard links, SQLite would keep two logs of changes for one file, and damage it.
            let file = database.options.file().and_then(FileIdentity::at);
            let other = urls.get(&url).or_else(|| files.get(&file?));
            if let Some(other) = other {
                let message = format!("{} is database {other:?} already", database.options.url);
                report.add(at.line, &format!("{}.url", at.key), message);
                continue;
            }
            urls.insert(url, name);
            files.extend(file.map(|file| (file, name.as_str())));
            tables.add(name, database);
        }
        Databases { tables, base }
    }

    /// Returns the databases without mistakes.
    pub(super) fn into_sound(self) -> Vec<DatabaseConfig> {
        self.tables.into_sound()
    }

    /// Reads the databases of a handler. An entry with a mistake is reported and left out.
    pub(super) fn granted(
        &self,
        written: Option<&Keyed<WrittenStores>>,
        report: &Diagnostics<'_>,
    ) -> Vec<DatabaseGrantConfig> {
        let granted = store_names::granted(written, report, |name| self.find(name));
        granted.into_iter().map(|(name, database)| DatabaseGrantConfig { name, database }).collect()
    }

    /// Finds a database by its name; `default` exists without a table too.
    fn find(&self, name: &str) -> Result<DatabaseConfig, String> {
        self.tables.find(name, || {
            let options = DatabaseOptions {
                name: DEFAULT.to_owned(),
                url: embedded(self.base)?,
                quota: QUOTA,
                connections: CONNECTIONS,
                ca: None,
                migrations: None,
            };
            Ok(DatabaseConfig { options, password: None })
        })
    }
}

/// Reads a table. Returns `None` if it has a mistake, which is reported.
fn database(
    name: &str,
    Keyed { value: table, key, line }: &Keyed<schema::Database>,
    base: &Path,
    report: &Diagnostics<'_>,
) -> Option<DatabaseConfig> {
    let is_name = store_names::is_name(name, *line, key, report);
    let url = match &table.url {
        None if name == DEFAULT => embedded(base).map_err(|message| report.add(*line, key, message)).ok(),
        None => {
            report.missing(*line, key, "url", "write url = \"sqlite:data/app.sqlite\"");
            None
        }
        Some(at) => report.settle(Some(at), None, |text| url(text, base).map(Some)),
    };
    let quota = report.settle(table.quota.as_ref(), QUOTA, values::size(64 << 10..=1 << 40));
    let connections = report.settle(table.connections.as_ref(), CONNECTIONS, values::count(1..=256));
    let migrations = report.settle(table.migrations.as_ref(), None, |path| {
        report.depends_on(&base.join(path));
        directory(path, base).map(Some)
    });
    let is_server = matches!(url, Some(DatabaseUrl::Postgres(_)));
    let ca = report.settle(table.ca.as_ref(), None, |path| match base.join(path) {
        _ if !is_server => Err("is for postgres: leave the key out".to_owned()),
        path => Ok(Some(DatabaseCa { pem: authorities::read(&path, report)?, path })),
    });
    let password = report.settle(table.password.as_ref(), None, |written| {
        let source = secret::source(written, base)?;
        match &url {
            Some(url) if !url.has_password() => Err("is for postgres: leave the key out".to_owned()),
            Some(url) if url.holds_password() => {
                Err("there is a password in url already: leave one of them out".to_owned())
            }
            _ => Ok(Some(source)),
        }
    });
    if let Some(at) = table.quota.as_ref().filter(|_| is_server) {
        report.add(at.line, &at.key, "is for sqlite: a server has quotas of its own; leave the key out");
    }
    is_name.then_some(())?;
    let options = DatabaseOptions { name: name.to_owned(), url: url?, quota, connections, ca, migrations };
    Some(DatabaseConfig { options, password })
}

/// Reads a URL. A relative path starts at the directory of the file.
fn url(text: &str, base: &Path) -> Result<DatabaseUrl, String> {
    if text.contains('\0') {
        return Err("wanted a URL, found a NUL in it".to_owned());
    }
    match text.parse().map_err(|error| format!("{error}"))? {
        DatabaseUrl::Sqlite(path) => Ok(DatabaseUrl::Sqlite(base.join(path))),
        url @ DatabaseUrl::Postgres(_) => Ok(url),
    }
}

/// Returns a URL that two databases share only if they are one, also if a symbolic link leads to its file.
fn identity(url: &DatabaseUrl) -> DatabaseUrl {
    match url {
        DatabaseUrl::Sqlite(path) => DatabaseUrl::Sqlite(real_path(path)),
        DatabaseUrl::Postgres(_) => url.clone(),
    }
}

/// Reads a directory. A relative path starts at the directory of the file.
fn directory(path: &str, base: &Path) -> Result<PathBuf, String> {
    let dir = base.join(path);
    match path {
        "" => Err("wanted a directory, found \"\"".to_owned()),
        _ if dir.is_dir() => Ok(dir),
        _ => Err(format!("there is no directory {path:?}: make it, with files such as 0001_users.sql")),
    }
}

/// Returns the place of the database `default` where none is written: a file in the state directory.
///
/// # Errors
/// There is no such directory, not even a home directory.
fn embedded(base: &Path) -> Result<DatabaseUrl, String> {
    let dir = state_dir(base, |name| std::env::var_os(name)).ok_or(
        "there is no place for this database: set HOME or STATE_DIRECTORY, or write a url in [database.default]",
    )?;
    Ok(DatabaseUrl::Sqlite(dir.join("default.sqlite")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn read(databases: &str, grants: &str) -> Result<Vec<String>, String> {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.wasm"), "").unwrap();
        let text = format!("{databases}\n[handler.a]\nmodule = \"a.wasm\"\n{grants}\n");
        let config = parse(&text, place.path(), "p.toml").map_err(|errors| errors.to_string())?;
        let base = place.path().display().to_string();
        let shown = |grant: &DatabaseGrantConfig| {
            let DatabaseOptions { name, url, quota, connections, .. } = &grant.database.options;
            format!("{} = {name} {url} {quota} {connections}", grant.name).replace(&base, "BASE")
        };
        Ok(config.handlers[0].databases.iter().map(shown).collect())
    }

    #[test]
    fn a_handler_has_the_databases_that_it_is_granted() {
        let databases =
            "[database.app]\nurl = \"sqlite:data/app.sqlite\"\nquota = \"1MiB\"\nconnections = 2\n";

        assert_eq!(read(databases, "").unwrap(), [""; 0]);
        assert_eq!(
            read(databases, "databases = { main = \"app\" }").unwrap(),
            ["main = app sqlite:BASE/data/app.sqlite 1048576 2"]
        );
        let embedded = read("", "databases = [\"default\"]").unwrap().concat();
        assert!(embedded.ends_with("/default.sqlite 268435456 8"), "{embedded}");
        let embedded =
            read("[database.default]\nquota = \"1MiB\"", "databases = [\"default\"]").unwrap().concat();
        assert!(embedded.ends_with("/default.sqlite 1048576 8"), "{embedded}");
    }

    #[test]
    fn what_cannot_be_kept_to_is_refused() {
        for (databases, grants, wanted) in [
            ("[database.a]\nurl = \"x\"", "", "database.a.url: write sqlite:PATH or postgres://"),
            ("[database.a]\n", "", "the key url is missing"),
            ("[database.a]\nurl = \"sqlite:x\"\nsize = 1", "", "unknown key"),
            ("[database.a]\nurl = \"sqlite:x\"\nconnections = 0", "", "1 to 256"),
            ("[database.a]\nurl = \"sqlite:x\"\nmigrations = \"no\"", "", "there is no directory \"no\""),
            #[cfg(not(feature = "postgres"))]
            ("[database.a]\nurl = \"postgres://h/d\"", "", "this daemon was built without postgres"),
            #[cfg(feature = "postgres")]
            (
                "[database.a]\nurl = \"postgres://h/d\"\nquota = 1000000",
                "",
                "database.a.quota: is for sqlite",
            ),
            ("[database.a]\nurl = \"sqlite:x\"\nca = \"ca.pem\"", "", "database.a.ca: is for postgres"),
            #[cfg(feature = "postgres")]
            ("[database.a]\nurl = \"postgres://u:secret@h/d?x=1\"", "", "not a URL of a PostgreSQL server"),
            #[cfg(feature = "postgres")]
            ("[database.a]\nurl = \"postgres://h/d?user=u&password=s@t\"", "", "write @ as %40"),
            #[cfg(feature = "postgres")]
            ("[database.a]\nurl = \"postgres://h/d\"\nca = \"no.pem\"", "", "there is no PEM file at"),
            (
                "[database.a]\nurl = \"sqlite:x\"\npassword = \"p\"",
                "",
                "database.a.password: is for postgres",
            ),
            #[cfg(feature = "postgres")]
            (
                "[database.a]\nurl = \"postgres://u:s3cret@h/d\"\npassword = { env = \"P\" }",
                "",
                "there is a password in url already",
            ),
            ("[database.'a b']\nurl = \"sqlite:x\"", "", "wanted a name of letters"),
            (
                "[database.a]\nurl = \"sqlite:x\"\n[database.b]\nurl = \"sqlite:x\"",
                "",
                "is database \"a\" already",
            ),
            ("[database.app]\nurl = \"sqlite:x\"", "databases = [\"ap\"]", "did you mean \"app\"?"),
            ("", "databases = [\"defualt\"]", "did you mean \"default\"?"),
            ("", "databases = [\"app\"]", "add [database.app] with a url"),
            ("", "databases = true", "wanted a list of databases"),
        ] {
            let error = read(databases, grants).unwrap_err();
            assert!(error.contains(wanted) && error.contains("p.toml:"), "{error}");
        }
    }

    #[test]
    fn a_link_makes_no_second_database_of_a_file() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.sqlite"), "").unwrap();
        std::os::unix::fs::symlink("a.sqlite", place.path().join("b.sqlite")).unwrap();
        std::os::unix::fs::symlink(".", place.path().join("here")).unwrap();
        std::fs::hard_link(place.path().join("a.sqlite"), place.path().join("c.sqlite")).unwrap();
        for other in ["b.sqlite", "c.sqlite", "here/a.sqlite"] {
            let text =
                format!("[database.a]\nurl = \"sqlite:a.sqlite\"\n[database.b]\nurl = \"sqlite:{other}\"\n");
            let refused = parse(&text, place.path(), "p.toml").unwrap_err().to_string();
            assert!(refused.contains("is database \"a\" already"), "{other}: {refused}");
        }
    }

    #[test]
    fn the_file_of_a_database_lies_in_no_mount() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.wasm"), "").unwrap();
        std::fs::create_dir(place.path().join("data")).unwrap();
        for (mount, is_refused) in [("", true), (", write = true", true)] {
            let text = format!(
                "[database.a]\nurl = \"sqlite:data/a.sqlite\"\n[handler.a]\nmodule = \"a.wasm\"\ndatabases = [\"a\"]\n\
                 [handler.b]\nmodule = \"a.wasm\"\nmounts = [{{ host = \"data\", guest = \"/data\"{mount} }}]\n"
            );
            let config = parse(&text, place.path(), "p.toml").unwrap();

            let refused = config.check_whole(&place.path().join("p.toml")).err();

            let refused = refused.map(|errors| errors.to_string()).unwrap_or_default();
            assert_eq!(refused.contains("handler.a.databases"), is_refused, "{refused}");
        }
    }
}
