//! A component of Spin's SDK 5: keeps text in a store, and rows in a table of a PostgreSQL server.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;
use spin_sdk::key_value::{Error, Store};
use spin_sdk::pg4::{self, ParameterValue, PgError};

/// Writes, reads, lists and deletes, and returns what it has seen, a line each.
fn act() -> Result<String, Error> {
    let store = Store::open_default()?;
    store.set("spin/a", b"one")?;
    store.set("spin/b", b"two")?;
    let found = store.get("spin/a")?.map(String::from_utf8);
    let keys = store.get_keys()?;
    store.delete("spin/b")?;
    let there = store.exists("spin/b")?;
    let other = Store::open("other").err();
    let greeting = spin_sdk::variables::get("greeting");
    let none = spin_sdk::variables::get("none");
    Ok(format!("{found:?}\n{keys:?}\n{there}\n{other:?}\n{greeting:?} {none:?}\n"))
}

/// Writes and reads rows, and returns what it has seen, a line each.
fn tables() -> Result<String, PgError> {
    let main = pg4::Connection::open("main")?;
    main.execute("drop table if exists people", &[])?;
    let columns = "id serial primary key, name text not null unique, born date, tags text[]";
    main.execute(&format!("create table people ({columns})"), &[])?;
    let ada = [
        ParameterValue::Str("ada".to_owned()),
        ParameterValue::Date((1815, 12, 10)),
        ParameterValue::ArrayStr(vec![Some("a b".to_owned()), None]),
    ];
    let insert = "insert into people (name, born, tags) values ($1, $2, $3)";
    let added = main.execute(insert, &ada)?;
    let twice = main.execute(insert, &ada).err();
    let values = "id, name, born, tags, 1.50::numeric, 7::bigint, true, null::uuid, int4range(1, 5), \
                  timestamptz '2024-02-29 12:00:00+01', interval '1 day'";
    let found = main.query(&format!("select {values} from people"), &[])?;
    let kinds: Vec<_> = found.columns.iter().map(|column| &column.data_type).collect();
    let other = pg4::Connection::open("host=localhost user=ada").err();
    Ok(format!("{added} {twice:?}\n{kinds:?}\n{:?}\n{other:?}\n", found.rows))
}

#[http_component]
fn handle(request: Request) -> impl IntoResponse {
    let seen = match request.path() {
        "/tables" => tables().map_err(|error| format!("{error:?}")),
        _ => act().map_err(|error| format!("{error:?}")),
    };
    match seen {
        Ok(seen) => Response::new(200, seen),
        Err(error) => Response::new(500, error),
    }
}
