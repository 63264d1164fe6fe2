//! Counts the notes and logs their number: run by a schedule.
#![allow(clippy::print_stdout, reason = "what a scheduled job prints is in the log")]

use portcullis_guest::sql::{self, SqlError, SqlErrorKind};

fn main() -> Result<(), SqlError> {
    println!("{} notes", notes()?);
    Ok(())
}

/// Counts the notes that are not deleted.
fn notes() -> Result<i64, SqlError> {
    let counted = sql::open("default")?.query("select count(*) from notes where deleted = 0", ());
    match counted {
        Ok(rows) => Ok(rows.all()?.pop().unwrap_or(0)),
        // The handler that keeps them makes the table for its first request.
        Err(error) if error.kind() == SqlErrorKind::Invalid => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_counted_without_the_deleted() {
        assert_eq!(notes().unwrap(), 0);
        let database = sql::open("default").unwrap();
        database.execute("create table notes (id bigint, deleted bigint)", ()).unwrap();
        database.execute("insert into notes values (1, 0), (2, 1), (3, 0)", ()).unwrap();

        assert_eq!(notes().unwrap(), 2);
    }
}
