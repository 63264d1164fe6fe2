//! Uses a database: its argument selects what it does.

use std::process::ExitCode;

#[cfg(not(target_env = "p2"))]
fn act(verb: &str) -> Result<(), portcullis_guest::sql::SqlError> {
    use portcullis_guest::sql::{self, SqlError};
    let main = sql::open("main")?;
    if verb == "down" {
        println!("{:?}", main.query("select 1", ()).err());
        return Ok(());
    }
    if verb == "users" {
        let names: Vec<String> = main.query("select name from users order by name", ())?.all()?;
        println!("{names:?}");
        return Ok(());
    }
    main.execute("create table if not exists notes (id bigint primary key, title text unique, size float)", ())?;
    match verb {
        "sdk" => {
            let added = main.execute("insert into notes values ($1, $2, $3)", (1, "milk", 0.5))?;
            println!("added {added}");
            main.execute("insert into notes values ($1, $2, null)", (2, "é".repeat(100_000)))?;
            let rows: Vec<(u64, String, Option<f64>)> =
                main.query("select id, title, size from notes order by id", ())?.all()?;
            let lengths: Vec<_> = rows.iter().map(|(id, title, size)| (id, title.len(), size)).collect();
            println!("rows {lengths:?}");
            let moved = main.transaction(|t| {
                t.execute("update notes set id = id + 10", ())?;
                t.query("select max(id) from notes", ())?.all::<i64>()
            })?;
            println!("moved {moved:?}");
            let failed = main.transaction(|t| {
                t.execute("delete from notes", ())?;
                t.execute("insert into notes values (1, 'a', null), (2, 'a', null)", ())
            });
            println!("failed {:?}", failed.map_err(|error| error.kind()));
            let count: Vec<i64> = main.query("select count(*) from notes", ())?.all()?;
            println!("kept {count:?}");
            println!("{:?}", main.execute("attach 'x' as y", ()));
            println!("{:?}", sql::open("other").err());
        }
        // Ends in the middle of a transaction, in one of several ways.
        "exit" | "trap" | "spin" => {
            let _outcome = main.transaction(|t| -> Result<(), SqlError> {
                t.execute("insert into notes values (99, 'never', null)", ())?;
                match verb {
                    "exit" => std::process::exit(3),
                    "trap" => std::process::abort(),
                    _ => loop {
                        std::hint::black_box(());
                    },
                }
            });
        }
        "query" => {
            let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n where i < 0";
            main.query(endless, ())?;
        }
        "queries" => loop {
            let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n where i < 0";
            std::hint::black_box(main.query(endless, ()).is_ok());
        },
        "large" => {
            let large = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 6) select zeroblob(900000) from n";
            println!("{:?}", main.query(large, ()).err());
            println!("{:?}", main.query("select 1", ())?.all::<i64>()?);
        }
        _ => {
            main.execute("insert into notes values (1, 'one', null)", ())?;
            let titles: Vec<String> = main.query("select title from notes", ())?.all()?;
            println!("{titles:?}");
            main.execute("delete from notes", ())?;
        }
    }
    Ok(())
}

#[cfg(target_env = "p2")]
mod spin3 {
    wit_bindgen::generate!({
        inline: "
            package spin:sqlite@3.0.0;
            interface sqlite {
                resource connection {
                    open: static func(database: string) -> result<connection, error>;
                    execute: func(statement: string, parameters: list<value>) -> result<query-result, error>;
                    last-insert-rowid: func() -> s64;
                    changes: func() -> u64;
                }
                variant error { no-such-database, access-denied, invalid-connection, database-full, io(string) }
                record query-result { columns: list<string>, rows: list<row-result> }
                record row-result { values: list<value> }
                variant value { integer(s64), real(f64), text(string), blob(list<u8>), null }
            }
            world imports { import sqlite; }
        ",
    });
}

#[cfg(target_env = "p2")]
mod spin2 {
    wit_bindgen::generate!({
        inline: "
            package fermyon:spin@2.0.0;
            interface sqlite {
                resource connection {
                    open: static func(database: string) -> result<connection, error>;
                    execute: func(statement: string, parameters: list<value>) -> result<query-result, error>;
                }
                variant error { no-such-database, access-denied, invalid-connection, database-full, io(string) }
                record query-result { columns: list<string>, rows: list<row-result> }
                record row-result { values: list<value> }
                variant value { integer(s64), real(f64), text(string), blob(list<u8>), null }
            }
            world imports { import sqlite; }
        ",
    });
}

#[cfg(target_env = "p2")]
fn act(_: &str) -> Result<(), String> {
    let newest = || -> Result<(), spin3::spin::sqlite::sqlite::Error> {
        use spin3::spin::sqlite::sqlite::{Connection, Value};
        let main = Connection::open("main")?;
        main.execute("create table if not exists words (id integer primary key, word text)", &[])?;
        main.execute("insert into words (word) values (?), (?)", &[Value::Text("a".to_owned()), Value::Null])?;
        println!("id {} changes {}", main.last_insert_rowid(), main.changes());
        let found = main.execute("select word, id, 0.5 from words order by id", &[])?;
        println!("{:?} {:?}", found.columns, found.rows);
        println!("{:?}", Connection::open("other").err());
        println!("{:?}", main.execute("attach 'x' as y", &[]).err());
        // Left open: it is rolled back when the job ends.
        main.execute("begin", &[])?;
        main.execute("delete from words", &[])?;
        Ok(())
    };
    let older = || -> Result<(), spin2::fermyon::spin::sqlite::Error> {
        use spin2::fermyon::spin::sqlite::{Connection, Value};
        let main = Connection::open("main")?;
        let found = main.execute("select count(*) from sqlite_schema where name = ?", &[Value::Text("words".to_owned())])?;
        println!("{:?}", found.rows);
        Ok(())
    };
    newest().map_err(|error| format!("{error:?}"))?;
    older().map_err(|error| format!("{error:?}"))
}

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    match act(&verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}
