//! Tests of the store's guarantees, with threads in place of instances.

use super::*;
use std::sync::Barrier;
use std::thread;
use tempfile::TempDir;

fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::at(directory.path());
    (directory, store)
}

fn note(text: &str) -> Note {
    Note { title: "t".into(), text: text.into(), created_ms: 1, updated_ms: 2 }
}

fn files(store: &Store, id: u64) -> usize {
    names(&store.directory(id)).unwrap().len()
}

#[test]
fn a_note_is_created_read_replaced_and_deleted() {
    let (_directory, store) = store();

    let (id, first) = store.create(&note("a")).unwrap().unwrap();
    assert_eq!((id, store.read(1).unwrap()), (1, Found::Note(first, note("a"))));
    let (second, change) = store.replace(id, first, &note("b")).unwrap();
    assert_eq!((change, store.read(1).unwrap()), (Change::Made, Found::Note(second, note("b"))));
    assert_eq!(store.delete(id, second).unwrap(), Change::Made);

    assert_eq!(store.read(1).unwrap(), Found::Gone);
    assert_eq!(store.read(2).unwrap(), Found::Never);
    assert_eq!(files(&store, 1), 1, "nothing but the mark is left");
}

#[test]
fn a_state_that_was_left_cannot_be_changed_however_late() {
    let (_directory, store) = store();
    let (id, first) = store.create(&note("a")).unwrap().unwrap();
    let mut latest = first;
    for _ in 0..5 {
        latest = store.replace(id, latest, &note("b")).unwrap().0;
    }

    assert_eq!(store.replace(id, first, &note("late")).unwrap().1, Change::Late);
    assert_eq!(store.delete(id, first).unwrap(), Change::Late);

    assert_eq!(store.read(id).unwrap(), Found::Note(latest, note("b")));
    assert_eq!(files(&store, id), 2, "a head and its state");
}

#[test]
fn an_id_is_given_once_to_creators_at_once_and_never_again() {
    let (_directory, store) = store();
    let barrier = Barrier::new(8);
    let create = || {
        barrier.wait();
        (0..20).map(|_| store.create(&note("x")).unwrap().unwrap().0).collect::<Vec<u64>>()
    };

    let mut ids: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });

    ids.sort();
    assert_eq!(ids, (1..=160).collect::<Vec<u64>>());
    let Found::Note(version, _) = store.read(160).unwrap() else { panic!("the last note") };
    store.delete(160, version).unwrap();
    assert_eq!(store.create(&note("y")).unwrap().unwrap().0, 161);
}

/// Eight writers add one to the same number; a lost update would show in the sum.
#[test]
fn no_update_is_lost_between_writers_at_once() {
    let (_directory, store) = store();
    let (id, _) = store.create(&note("0")).unwrap().unwrap();
    let add_one = || loop {
        let Found::Note(version, mut note) = store.read(id).unwrap() else { panic!("the note is there") };
        note.text = (note.text.parse::<u64>().unwrap() + 1).to_string();
        if store.replace(id, version, &note).unwrap().1 == Change::Made {
            return;
        }
    };

    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| add_one()));
        }
    });

    let Found::Note(version, note) = store.read(id).unwrap() else { panic!("the note is there") };
    assert_eq!((note.text.as_str(), version.number), ("400", 401));
    assert_eq!(files(&store, id), 2, "a head and its state");
}

#[test]
fn what_a_killed_writer_left_is_no_state_and_the_next_winner_removes_it() {
    let (_directory, store) = store();
    let (id, first) = store.create(&note("a")).unwrap().unwrap();
    let directory = store.directory(id);
    // A writer was killed in the middle of its state file, and another one after it.
    fs::write(state_path(&directory, first.next()), "{\"tit").unwrap();
    write_state(&directory, first.next(), &note("never said")).unwrap();

    assert_eq!(store.read(id).unwrap(), Found::Note(first, note("a")));
    let (second, _) = store.replace(id, first, &note("b")).unwrap();

    assert_eq!(store.read(id).unwrap(), Found::Note(second, note("b")));
    assert_eq!(files(&store, id), 2, "a head and its state");
}

#[test]
fn a_winner_leaves_alone_what_a_writer_after_it_may_be_making() {
    let (_directory, store) = store();
    let (id, first) = store.create(&note("a")).unwrap().unwrap();
    let ahead = first.next().next();
    write_state(&store.directory(id), ahead, &note("in the making")).unwrap();

    store.replace(id, first, &note("b")).unwrap();

    assert!(state_path(&store.directory(id), ahead).exists());
}

#[test]
fn what_a_killed_creator_left_is_no_note_and_goes_with_age() {
    let (_directory, store) = store();
    store.create(&note("a")).unwrap();
    let left = store.root.join("staging/0123");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("x.json"), "{").unwrap();

    assert_eq!(store.end().unwrap(), 2);
    store.clean_staging(ABANDONED);
    assert!(left.exists(), "young enough to be at work");
    store.clean_staging(Duration::ZERO);

    assert!(!left.exists());
}

#[test]
fn the_end_is_found_whatever_the_count() {
    let (_directory, store) = store();
    for count in 0..40 {
        assert_eq!(store.end().unwrap(), count + 1);
        store.create(&note("x")).unwrap();
    }
}

#[test]
fn a_full_store_takes_no_note_and_keeps_no_leftover() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store { root: directory.path().into(), most: 3 };

    let ids: Vec<_> = (0..4).map(|_| store.create(&note("x")).unwrap().map(|(id, _)| id)).collect();

    assert_eq!(ids, [Some(1), Some(2), Some(3), None]);
    assert_eq!(names(&store.root.join("staging")).unwrap().len(), 0);
}
