//! The table of notes, and the statements on it.
//!
//! They run on SQLite and on PostgreSQL alike. Ids are used in order and never again: a deleted note leaves its row.

use portcullis_guest::sql::{self, Database, Row, SqlError, SqlErrorKind, Transaction};

/// The most notes, deleted ones included.
pub(crate) const MOST: i64 = 100_000;

/// How often a note is added again if another request took its id.
const TRIES: usize = 8;

/// A note in one of its states.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    pub(crate) id: i64,
    /// 1 for the first state, and one more for each later state.
    pub(crate) version: i64,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
}

impl Note {
    /// Returns the entity tag of this state. The time tells it from a state of another database.
    pub(crate) fn etag(&self) -> String {
        format!("\"{}-{}\"", self.version, self.updated_ms)
    }

    /// Returns whether a list of entity tags (RFC 9110 §13.1) contains this state; `*` matches any.
    pub(crate) fn is_named_by(&self, tags: &str) -> bool {
        let ours = self.etag();
        tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == ours)
    }

    fn read(row: &Row) -> Result<Note, SqlError> {
        Ok(Note {
            id: row.get("id")?,
            version: row.get("version")?,
            title: row.get("title")?,
            text: row.get("text")?,
            created_ms: row.get("created_ms")?,
            updated_ms: row.get("updated_ms")?,
        })
    }
}

/// Opens the database, and makes the table if it is not there.
pub(crate) fn open() -> Result<Database, SqlError> {
    let notes = sql::open("default")?;
    notes.execute(
        "create table if not exists notes (id bigint primary key, version bigint not null, title text not null, \
         text text not null, created_ms bigint not null, updated_ms bigint not null, deleted bigint not null)",
        (),
    )?;
    Ok(notes)
}

/// Adds a note. Returns `None` if there are too many.
pub(crate) fn create(
    notes: &Database,
    title: &str,
    text: &str,
    now_ms: i64,
) -> Result<Option<Note>, SqlError> {
    let insert = |t: &Transaction<'_>| -> Result<Option<Note>, SqlError> {
        let last: Option<i64> = t.query("select max(id) from notes", ())?.all()?.pop().flatten();
        let id = last.unwrap_or(0) + 1;
        if id > MOST {
            return Ok(None);
        }
        let values = (id, title, text, now_ms);
        t.execute("insert into notes values ($1, 1, $2, $3, $4, $4, 0)", values)?;
        let (title, text) = (title.to_owned(), text.to_owned());
        Ok(Some(Note { id, version: 1, title, text, created_ms: now_ms, updated_ms: now_ms }))
    };
    let mut tries = 1;
    loop {
        match notes.transaction(insert) {
            // On PostgreSQL another request may have inserted the same id meanwhile.
            Err(error) if error.kind() == SqlErrorKind::Constraint && tries < TRIES => tries += 1,
            outcome => return outcome,
        }
    }
}

/// Finds a note that is not deleted.
pub(crate) fn find(notes: &Database, id: i64) -> Result<Option<Note>, SqlError> {
    let rows = notes.query("select * from notes where id = $1 and deleted = 0", (id,))?;
    rows.first().as_ref().map(Note::read).transpose()
}

/// Finds a note that is about to be changed.
pub(crate) fn find_in(t: &Transaction<'_>, id: i64) -> Result<Option<Note>, SqlError> {
    let rows = t.query("select * from notes where id = $1 and deleted = 0", (id,))?;
    rows.first().as_ref().map(Note::read).transpose()
}

/// Writes the new state of a note.
pub(crate) fn replace(t: &Transaction<'_>, note: &Note) -> Result<(), SqlError> {
    let sql = "update notes set version = $2, title = $3, text = $4, updated_ms = $5 where id = $1";
    t.execute(sql, (note.id, note.version, &note.title, &note.text, note.updated_ms)).map(drop)
}

/// Deletes a note.
pub(crate) fn delete(t: &Transaction<'_>, id: i64) -> Result<(), SqlError> {
    t.execute("update notes set deleted = 1, title = '', text = '' where id = $1", (id,)).map(drop)
}

/// Lists up to `limit` notes with ids above `after`, in the order they were made.
pub(crate) fn list(notes: &Database, after: i64, limit: i64) -> Result<Vec<Note>, SqlError> {
    let sql = "select id, version, title, '' as text, created_ms, updated_ms from notes \
               where id > $1 and deleted = 0 order by id limit $2";
    notes.query(sql, (after, limit))?.map(|row| Note::read(&row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_never_used_again() {
        let notes = open().unwrap();
        let first = create(&notes, "a", "", 1).unwrap().unwrap();
        notes.transaction(|t| delete(t, first.id)).unwrap();

        let second = create(&notes, "b", "", 2).unwrap().unwrap();

        assert_eq!((first.id, second.id, find(&notes, 1).unwrap()), (1, 2, None));
        notes.execute("insert into notes values ($1, 1, '', '', 0, 0, 1)", (MOST,)).unwrap();
        assert_eq!(create(&notes, "c", "", 3).unwrap(), None);
    }

    #[test]
    fn a_list_of_tags_names_a_state_exactly() {
        let note = Note {
            id: 1,
            version: 2,
            title: String::new(),
            text: String::new(),
            created_ms: 0,
            updated_ms: 3,
        };

        assert!(note.is_named_by("\"x\", \"2-3\"") && note.is_named_by("*"));
        assert!(!note.is_named_by("W/\"2-3\"") && !note.is_named_by("2-3"));
    }
}
