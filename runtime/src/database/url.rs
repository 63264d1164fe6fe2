//! The place of a database: `sqlite:PATH`.

use std::fmt;
use std::path::PathBuf;

/// A back end and its address. `Display` and `Debug` show no credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum DatabaseUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
}

/// A text that names no back end.
#[derive(Debug, PartialEq, Eq)]
pub struct DatabaseUrlError(String);

impl std::str::FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() && !path.starts_with("//") && !path.contains('?') => {
                Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
            }
            _ => Err(DatabaseUrlError("write sqlite:PATH, as in sqlite:data/app.sqlite".to_owned())),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatabaseUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
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
        for url in ["", "sqlite:", "sqlite://x", "sqlite:a?mode=memory", "mysql://x", "data.sqlite"] {
            assert!(url.parse::<DatabaseUrl>().is_err(), "{url}");
        }
        let url: DatabaseUrl = "sqlite:data/a.sqlite".parse().unwrap();
        assert_eq!(url.to_string(), "sqlite:data/a.sqlite");
    }
}
