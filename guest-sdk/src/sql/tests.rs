//! Tests over databases in memory.

use super::*;

fn notes() -> Database {
    let notes = open("default").expect("a database in memory");
    notes
        .execute("create table notes (id bigint primary key, title text not null, done bigint)", ())
        .expect("a database in memory");
    notes
}

#[test]
fn rows_have_types() {
    let notes = notes();
    assert_eq!(notes.execute("insert into notes values ($2, $1, null)", ("milk", 7)).unwrap(), 1);
    assert_eq!(notes.execute("insert into notes values (?, ?, ?)", (8, "tea", Some(true))).unwrap(), 1);

    let rows: Vec<(u64, String, Option<bool>)> =
        notes.query("select * from notes order by id", ()).unwrap().all().unwrap();

    assert_eq!(rows, [(7, "milk".to_owned(), None), (8, "tea".to_owned(), Some(true))]);
    let titles: Vec<String> = notes.query("select title from notes", ()).unwrap().all().unwrap();
    assert_eq!(titles, ["milk", "tea"]);
    let row = notes.query("select * from notes where id = $1", (7,)).unwrap().first().unwrap();
    assert_eq!(row.get::<String>("title").unwrap(), "milk");
    assert_eq!(
        row.get::<u8>("title").unwrap_err().to_string(),
        "column \"title\": wanted an integer, found a text"
    );
    assert_eq!(row.get::<u8>("x").unwrap_err().kind(), SqlErrorKind::Row);
}

#[test]
fn a_transaction_is_kept_whole_or_not_at_all() {
    let notes = notes();
    let add = |id: i64| {
        notes.transaction(|t| {
            t.execute("insert into notes values ($1, 'a', 0)", (id,))?;
            t.execute("insert into notes values (2, 'b', 0)", ())
        })
    };

    assert_eq!(add(1).unwrap(), 1);
    assert_eq!(add(3).unwrap_err().kind(), SqlErrorKind::Constraint);

    let ids: Vec<i64> = notes.query("select id from notes order by id", ()).unwrap().all().unwrap();
    assert_eq!(ids, [1, 2]);
    assert_eq!(notes.query("select $1", ()).unwrap_err().kind(), SqlErrorKind::Invalid);
}
