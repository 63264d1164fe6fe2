//! The place of a database: `sqlite:PATH` or `postgres://...`.

#[cfg(not(feature = "postgres"))]
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;

#[cfg(feature = "postgres")]
use super::postgres;
use crate::file_place::names_file;

/// A back end and its address. `Display` and `Debug` show no credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum DatabaseUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server, `postgres://` or `postgresql://`. A daemon without the back end has none.
    Postgres(#[cfg(feature = "postgres")] String, #[cfg(not(feature = "postgres"))] Infallible),
}

/// A text that names no back end.
#[derive(Debug, PartialEq, Eq)]
pub struct DatabaseUrlError(String);

impl std::str::FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        match text.split_once(':') {
            Some(("sqlite", ":memory:")) => {
                Err(DatabaseUrlError("a database in memory is not kept: write sqlite:PATH".to_owned()))
            }
            Some(("sqlite", path)) if names_file(path) && !path.starts_with("//") && !path.contains('?') => {
                Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
            }
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => postgres::config(text)
                .map(|_| DatabaseUrl::Postgres(text.to_owned()))
                .map_err(DatabaseUrlError),
            #[cfg(not(feature = "postgres"))]
            Some(("postgres" | "postgresql", _)) => Err(DatabaseUrlError(
                "this daemon was built without postgres: write sqlite:PATH, or build with --features postgres"
                    .to_owned(),
            )),
            _ => Err(DatabaseUrlError("write sqlite:PATH or postgres://USER@HOST/DATABASE".to_owned())),
        }
    }
}

impl DatabaseUrl {
    /// Whether there may be a password: a file has none.
    pub fn has_password(&self) -> bool {
        match self {
            DatabaseUrl::Sqlite(_) => false,
            DatabaseUrl::Postgres(_) => true,
        }
    }

    /// Whether the URL holds a password.
    pub fn holds_password(&self) -> bool {
        match self {
            DatabaseUrl::Sqlite(_) => false,
            #[cfg(not(feature = "postgres"))]
            DatabaseUrl::Postgres(none) => match *none {},
            #[cfg(feature = "postgres")]
            DatabaseUrl::Postgres(url) => {
                postgres::config(url).is_ok_and(|config| config.get_password().is_some())
            }
        }
    }

    /// Returns the URL with a password.
    #[must_use]
    pub fn with_password(
        &self,
        #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "a file has none"))] password: &str,
    ) -> DatabaseUrl {
        match self {
            DatabaseUrl::Sqlite(path) => DatabaseUrl::Sqlite(path.clone()),
            #[cfg(not(feature = "postgres"))]
            DatabaseUrl::Postgres(none) => match *none {},
            #[cfg(feature = "postgres")]
            DatabaseUrl::Postgres(url) => DatabaseUrl::Postgres(postgres::with_password(url, password)),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatabaseUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            #[cfg(not(feature = "postgres"))]
            DatabaseUrl::Postgres(none) => match *none {},
            #[cfg(feature = "postgres")]
            DatabaseUrl::Postgres(url) => f.write_str(&postgres::shown(url)),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DatabaseUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DatabaseUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_database_is_refused() {
        for url in [
            "",
            "sqlite:",
            "sqlite://x",
            "sqlite::memory:",
            "sqlite:a?mode=memory",
            "sqlite:data/",
            "sqlite:.",
            "sqlite:data/.",
            "mysql://x",
            "data.sqlite",
            "postgres://a/b?nonsense=1",
            // What is behind an `@` would be taken for the host, and shown.
            "postgres://h/db?user=u&password=a@b",
            "postgres://ada:s3c@ret@db/app",
        ] {
            assert!(url.parse::<DatabaseUrl>().is_err(), "{url}");
        }
        #[cfg(feature = "postgres")]
        for url in ["postgres://ada:s3c%40ret@db/app?password=x", "postgresql://db:5432/app?user=ada"] {
            assert_eq!(url.parse::<DatabaseUrl>().unwrap().to_string(), "postgres://db/app");
        }
        #[cfg(feature = "postgres")]
        for (url, shown, holds_password) in [
            ("postgres://a:7,[::1]:8/app?password=s3cret", "postgres://a:7,[::1]:8/app", true),
            ("postgres://ada@%2Frun%2Fpg/app", "postgres:///run/pg/app", false),
        ] {
            let url: DatabaseUrl = url.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.holds_password()), (shown, holds_password));
        }
        let url: DatabaseUrl = "sqlite:data/a.sqlite".parse().unwrap();
        assert_eq!(url.to_string(), "sqlite:data/a.sqlite");
    }
}
