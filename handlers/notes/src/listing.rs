//! A page of the list of notes.

use crate::store::{self, Note};
use portcullis_guest::sql::{Database, SqlError};
use serde::Serialize;

/// The most notes on a page.
pub(crate) const MOST: i64 = 100;

/// A page in the form in which it is sent.
#[derive(Serialize)]
pub(crate) struct Page {
    notes: Vec<Line>,
    /// The value of `after` for the next page. `None` on the last page.
    next: Option<i64>,
}

/// A note without its text.
#[derive(Serialize)]
struct Line {
    id: i64,
    title: String,
    etag: String,
    updated_ms: i64,
}

impl Page {
    /// Lists up to `limit` notes with ids above `after`, in the order they were made.
    pub(crate) fn read(notes: &Database, after: i64, limit: i64) -> Result<Page, SqlError> {
        // One more than the page holds tells whether there is a next page.
        let mut found = store::list(notes, after, limit + 1)?;
        let is_last = i64::try_from(found.len()).is_ok_and(|count| count <= limit);
        if !is_last {
            found.pop();
        }
        let next = if is_last { None } else { found.last().map(|note| note.id) };
        Ok(Page { notes: found.into_iter().map(Line::of).collect(), next })
    }
}

impl Line {
    fn of(note: Note) -> Line {
        Line { id: note.id, etag: note.etag(), title: note.title, updated_ms: note.updated_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(page: &Page) -> Vec<i64> {
        page.notes.iter().map(|line| line.id).collect()
    }

    #[test]
    fn pages_follow_each_other_without_the_deleted() {
        let notes = store::open().unwrap();
        for _ in 1..=5 {
            store::create(&notes, "t", "x", 0).unwrap().unwrap();
        }
        notes.transaction(|t| store::delete(t, 2)).unwrap();

        let first = Page::read(&notes, 0, 2).unwrap();
        let second = Page::read(&notes, first.next.unwrap(), 2).unwrap();
        let third = Page::read(&notes, i64::MAX, 2).unwrap();

        assert_eq!((ids(&first), first.next), (vec![1, 3], Some(3)));
        assert_eq!((ids(&second), second.next), (vec![4, 5], None));
        assert_eq!((ids(&third), third.next), (vec![], None));
    }
}
