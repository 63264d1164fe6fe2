//! Migrations: the statements that bring a database to the schema that its handlers expect.

use std::time::{SystemTime, UNIX_EPOCH};

use super::error::SqlError;
use super::limits::MIGRATION;

/// The table of applied migrations.
pub(super) const TABLE: &str = "_portcullis_migrations";

/// Makes the table. The same on every back end.
pub(super) const CREATE: &str = "CREATE TABLE IF NOT EXISTS _portcullis_migrations (number bigint PRIMARY KEY, \
     name text NOT NULL, digest text NOT NULL, applied_ms bigint NOT NULL)";

/// Lists the applied migrations.
pub(super) const LIST: &str = "SELECT number, name, digest FROM _portcullis_migrations ORDER BY number";

/// Records a migration.
pub(super) const RECORD: &str =
    "INSERT INTO _portcullis_migrations (number, name, digest, applied_ms) VALUES ($1, $2, $3, $4)";

/// A migration in a file `NNNN_name.sql`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The number in front of the name. Migrations are applied in its order.
    pub number: i64,
    /// The name of the file.
    pub file: String,
    /// The statements.
    pub sql: String,
    /// The digest of its text.
    pub digest: String,
}

/// A migration that has been applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AppliedMigration {
    pub(super) number: i64,
    pub(super) file: String,
    pub(super) digest: String,
}

impl Migration {
    /// Reads the number in the name of a file.
    ///
    /// # Errors
    /// The name is not `NNNN_name.sql`.
    pub fn number(file: &str) -> Result<i64, String> {
        let number = file.split_once('_').filter(|(digits, name)| {
            !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && name.len() > ".sql".len()
        });
        let number = number.and_then(|(digits, _)| digits.parse().ok());
        number.ok_or_else(|| format!("{file}: a migration has a name such as 0001_users.sql"))
    }
}

/// Returns the time for the record of a migration: milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Compares the files, in the order of their numbers, with the applied migrations. Returns those that are to be applied.
///
/// # Errors
/// An applied migration is missing or has changed, or a new one has a lower number than an applied one or holds a NUL.
pub(super) fn pending<'m>(
    files: &'m [Migration],
    applied: &[AppliedMigration],
) -> Result<Vec<&'m Migration>, SqlError> {
    let refused = |message: String| Err(SqlError::Migration(message));
    for old in applied {
        let AppliedMigration { number, file, digest } = old;
        match files.iter().find(|new| new.number == *number) {
            None => {
                return refused(format!(
                    "the migration {file} is applied, and its file is missing: restore it; to undo a migration, add \
                     another one"
                ));
            }
            Some(new) if new.digest != *digest => {
                return refused(format!(
                    "the migration {} is applied, and its file has changed since: restore it; to change the schema \
                     again, add another migration",
                    new.file
                ));
            }
            Some(_) => {}
        }
    }
    let last = applied.last().map_or(i64::MIN, |last| last.number);
    let pending: Vec<&Migration> =
        files.iter().filter(|new| applied.iter().all(|old| old.number != new.number)).collect();
    // SQLite would run what stands before it, and record the whole.
    if let Some(cut) = pending.iter().find(|new| new.sql.contains('\0')) {
        return refused(format!(
            "the migration {} holds a NUL, so it may have been cut short: write its text again",
            cut.file
        ));
    }
    match pending.first() {
        Some(early) if early.number < last => refused(format!(
            "the migration {} comes before one that is applied already: give it a number above {last}",
            early.file
        )),
        _ => Ok(pending),
    }
}

/// Makes the error of a migration that failed.
pub(super) fn failed(file: &str, error: &SqlError) -> SqlError {
    let why = match error {
        SqlError::Timeout(_) => format!(
            "it took longer than {} s, the time that each migration has: split it into several files",
            MIGRATION.as_secs()
        ),
        error => error.to_string(),
    };
    SqlError::Migration(format!("the migration {file} is not applied: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: i64, digest: &str) -> Migration {
        Migration {
            number,
            file: format!("{number:04}_x.sql"),
            sql: String::new(),
            digest: digest.to_owned(),
        }
    }

    fn applied(number: i64, digest: &str) -> AppliedMigration {
        AppliedMigration { number, file: format!("{number:04}_x.sql"), digest: digest.to_owned() }
    }

    #[test]
    fn only_the_next_migrations_are_pending() {
        let files = [file(1, "a"), file(2, "b"), file(10, "c")];
        let numbers = |applied: &[AppliedMigration]| {
            pending(&files, applied).map(|pending| pending.iter().map(|one| one.number).collect::<Vec<_>>())
        };

        assert_eq!(numbers(&[]), Ok(vec![1, 2, 10]));
        assert_eq!(numbers(&[applied(1, "a"), applied(2, "b")]), Ok(vec![10]));
        for (wrong, why) in [
            (vec![applied(1, "x")], "has changed since"),
            (vec![applied(3, "d")], "its file is missing"),
            (vec![applied(1, "a"), applied(10, "c")], "give it a number above 10"),
        ] {
            let error = numbers(&wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_migration_that_is_padded_with_nul_is_refused_until_it_is_whole() {
        let cut = Migration { sql: "create table a (x bigint);\0\0".to_owned(), ..file(1, "a") };

        let error = pending(std::slice::from_ref(&cut), &[]).unwrap_err().to_string();

        assert!(error.contains("the migration 0001_x.sql holds a NUL"), "{error}");
        assert_eq!(pending(&[cut], &[applied(1, "a")]), Ok(vec![]));
    }

    #[test]
    fn a_file_has_a_number_in_its_name() {
        assert_eq!(Migration::number("0012_add_users.sql"), Ok(12));
        for wrong in
            ["users.sql", "_users.sql", "1.sql", "1_.sql", "a1_users.sql", "99999999999999999999_x.sql"]
        {
            assert!(Migration::number(wrong).is_err(), "{wrong}");
        }
    }
}
