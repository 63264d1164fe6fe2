//! A page of the list of notes.

use crate::store::{self, Found, Note, Store};
use crate::version::Version;
use serde::Serialize;
use std::io;

/// The most notes on a page.
pub(crate) const MOST: u64 = 100;

/// The most ids that one page looks at. A page is short where many notes were deleted, and `next`
/// goes on.
const LOOKS: u64 = 1000;

/// A page in the form in which it is sent.
#[derive(Serialize)]
pub(crate) struct Page {
    notes: Vec<Line>,
    /// The value of `after` for the next page. `None` on the last page.
    next: Option<u64>,
}

/// A note without its text.
#[derive(Serialize)]
struct Line {
    id: u64,
    title: String,
    etag: String,
    updated_ms: u64,
}

impl Page {
    /// Lists up to `limit` notes with ids above `after`, in the order they were made.
    pub(crate) fn read(store: &Store, after: u64, limit: u64) -> io::Result<Page> {
        let mut page = Page { notes: Vec::new(), next: None };
        for id in after.saturating_add(1)..=store::MOST {
            let found = store.read(id)?;
            if found == Found::Never {
                break;
            }
            if page.notes.len() as u64 == limit || id - after > LOOKS {
                page.next = Some(id - 1);
                break;
            }
            if let Found::Note(version, note) = found {
                page.notes.push(Line::of(id, version, note));
            }
        }
        Ok(page)
    }
}

impl Line {
    fn of(id: u64, version: Version, note: Note) -> Line {
        Line { id, title: note.title, etag: version.etag(), updated_ms: note.updated_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(page: &Page) -> Vec<u64> {
        page.notes.iter().map(|line| line.id).collect()
    }

    #[test]
    fn pages_follow_each_other_without_the_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::at(directory.path());
        let note = Note { title: "t".into(), text: "x".into(), created_ms: 0, updated_ms: 0 };
        for id in 1..=5 {
            let (_, version) = store.create(&note).unwrap().unwrap();
            if id == 2 {
                store.delete(id, version).unwrap();
            }
        }

        let first = Page::read(&store, 0, 2).unwrap();
        let second = Page::read(&store, first.next.unwrap(), 2).unwrap();
        let third = Page::read(&store, u64::MAX, 2).unwrap();

        assert_eq!((ids(&first), first.next), (vec![1, 3], Some(3)));
        assert_eq!((ids(&second), second.next), (vec![4, 5], None));
        assert_eq!((ids(&third), third.next), (vec![], None));
    }
}
