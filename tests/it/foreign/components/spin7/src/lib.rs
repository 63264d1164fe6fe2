//! A component of Spin's SDK 7: keeps text in a store, and rows in tables of a PostgreSQL server and of SQLite.

use spin_sdk::http::{IntoResponse, Request, StatusCode};
use spin_sdk::http_service;
use spin_sdk::key_value::{Error, Store};
use spin_sdk::pg::{self, ParameterValue};
use spin_sdk::sqlite::{self, Value};

/// Writes, reads, lists and deletes, and returns what it has seen, a line each.
async fn act() -> Result<String, Error> {
    let store = Store::open_default().await?;
    store.set("spin/a", b"one").await?;
    store.set("spin/b", b"two").await?;
    let found = store.get("spin/a").await?.map(String::from_utf8);
    let keys = store.get_keys().await.collect().await?;
    store.delete("spin/b").await?;
    let there = store.exists("spin/b").await?;
    let other = Store::open("other").await.err();
    let greeting = spin_sdk::variables::get("greeting").await;
    let none = spin_sdk::variables::get("none").await;
    Ok(format!("{found:?}\n{keys:?}\n{there}\n{other:?}\n{greeting:?} {none:?}\n"))
}

/// Writes and reads rows on a server, and returns what it has seen, a line each.
async fn tables() -> Result<String, pg::PgError> {
    let whole = |error: pg::Error| match error {
        pg::Error::PgError(error) => error,
        pg::Error::Decode(why) => pg::PgError::Other(why),
    };
    let none = Vec::<ParameterValue>::new;
    let main = pg::Connection::open("main").await.map_err(whole)?;
    main.execute("drop table if exists people", none()).await.map_err(whole)?;
    let columns = "id serial primary key, name text not null unique, born date, tags text[]";
    main.execute(format!("create table people ({columns})"), none()).await.map_err(whole)?;
    let ada = vec![
        ParameterValue::Str("ada".to_owned()),
        ParameterValue::Date((1815, 12, 10)),
        ParameterValue::ArrayStr(vec![Some("a b".to_owned()), None]),
    ];
    let insert = "insert into people (name, born, tags) values ($1, $2, $3)";
    let added = main.execute(insert, ada.clone()).await.map_err(whole)?;
    let twice = main.execute(insert, ada).await.map_err(whole).err();
    let values = "id, name, born, tags, 1.50::numeric, 7::bigint, true, null::uuid, int4range(1, 5), \
                  timestamptz '2024-02-29 12:00:00+01', interval '1 day'";
    let mut found = main.query(format!("select {values} from people"), none()).await.map_err(whole)?;
    let kinds: Vec<_> = found.columns().iter().map(|column| column.data_type.clone()).collect();
    let mut rows = Vec::new();
    while let Some(row) = found.rows().next().await {
        rows.push(row);
    }
    found.result().await.map_err(whole)?;
    let other = pg::Connection::open("host=localhost user=ada").await.map_err(whole).err();
    Ok(format!("{added} {twice:?}\n{kinds:?}\n{rows:?}\n{other:?}\n"))
}

/// Writes and reads rows in a file, and returns what it has seen, a line each.
async fn words() -> Result<String, sqlite::Error> {
    let kept = sqlite::Connection::open("kept").await?;
    kept.execute("drop table if exists words", []).await?.result().await?;
    kept.execute("create table words (id integer primary key, word text)", []).await?.result().await?;
    let words = [Value::Text("a".to_owned()), Value::Null];
    kept.execute("insert into words (word) values (?), (?)", words).await?.result().await?;
    let (id, changes) = (kept.last_insert_rowid().await, kept.changes().await);
    let found = kept.execute("select word, id, 0.5 from words order by id", []).await?;
    let columns = found.columns().to_vec();
    let rows = found.collect().await?;
    // Results that are not read are held by the host, so that there is a bound on them.
    let mut held = Vec::new();
    let refused = loop {
        match kept.execute("select id from words", []).await {
            Ok(result) => held.push(result),
            Err(error) => break error,
        }
    };
    let bound = held.len();
    drop(held);
    let again = kept.execute("select id from words", []).await?.collect().await?.len();
    let other = sqlite::Connection::open("other").await.err();
    Ok(format!("{id} {changes}\n{columns:?} {rows:?}\n{bound} {refused:?} {again}\n{other:?}\n"))
}

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let seen = match request.uri().path() {
        "/tables" => tables().await.map_err(|error| format!("{error:?}")),
        "/words" => words().await.map_err(|error| format!("{error:?}")),
        _ => act().await.map_err(|error| format!("{error:?}")),
    };
    match seen {
        Ok(seen) => (StatusCode::OK, seen),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}
