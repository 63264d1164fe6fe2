//! What is told of SQLite alone: its file, and what a handler may not do with it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn values_come_back_as_they_went_in() {
    let (_place, database) = notes(1).await;
    let values = [
        SqlValue::Null,
        SqlValue::Integer(i64::MIN),
        SqlValue::Real(0.1),
        SqlValue::Text("é\0".to_owned()),
        SqlValue::Blob(vec![0, 255]),
    ];
    let mut session = DatabaseSession::default();

    for (sql, order) in
        [("select ?, ?, ?, ?, ?", [0, 1, 2, 3, 4]), ("select $5, $4, $3, $2, $1", [4, 3, 2, 1, 0])]
    {
        let result = session.run(&database, statement(sql, &values)).await.unwrap();
        let wanted: Vec<SqlValue> = order.iter().map(|place| values[*place].clone()).collect();
        assert_eq!(result.rows, [wanted], "{sql}");
    }
    for (sql, given) in
        [("select $2", 1), ("select ?", 0), ("select 1", 1), ("select :name", 1), ("select $0", 1)]
    {
        let error = session.run(&database, statement(sql, &values[..given])).await.unwrap_err();
        assert_eq!(error.code(), "invalid", "{sql}: {error}");
    }
}

#[tokio::test]
async fn what_reaches_beyond_the_tables_is_refused() {
    let (place, database) = notes(1).await;
    let outside = place.path().join("outside.sqlite").display().to_string();
    for sql in [
        format!("attach '{outside}' as other"),
        format!("attach '{outside}' || '' as other"),
        format!("vacuum into '{outside}'"),
        "vacuum".to_owned(),
        "detach main".to_owned(),
        "pragma journal_mode = delete".to_owned(),
        "pragma synchronous = off".to_owned(),
        "pragma max_page_count = 1000000".to_owned(),
        "pragma user_version = 3".to_owned(),
        "pragma writable_schema = on".to_owned(),
        "pragma temp_store_directory = '/tmp'".to_owned(),
        "pragma hard_heap_limit = 0".to_owned(),
        "create temp table t (a)".to_owned(),
        "create table temp.t (a)".to_owned(),
        "create virtual table t using dbstat".to_owned(),
        "select load_extension('x')".to_owned(),
        "create table _portcullis_migrations (a)".to_owned(),
    ] {
        let error = run(&database, &sql).await.unwrap_err();
        assert!(matches!(error.code(), "not_allowed" | "invalid"), "{sql}: {error:?}");
    }
    assert!(!Path::new(&outside).exists());
    for sql in ["pragma table_info(notes)", "select * from pragma_table_info('notes')", "pragma user_version"]
    {
        run(&database, sql).await.unwrap();
    }
    run(&database, "create virtual table texts using fts5(body)").await.unwrap();
    run(&database, "insert into texts values ('a word')").await.unwrap();
    assert_eq!(run(&database, "select * from texts where texts match 'word'").await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn errors_have_their_words() {
    let (_place, database) = notes(1).await;
    run(&database, "insert into notes (title) values ('a')").await.unwrap();
    for (sql, code) in [
        ("insert into notes (title) values ('a')", "constraint"),
        ("selec 1", "invalid"),
        ("select 1; select 2", "invalid"),
        ("", "invalid"),
        ("select * from nowhere", "invalid"),
        ("select \"nothing\"", "invalid"),
        ("commit", "invalid"),
        ("with recursive n(i) as (select 1 union all select i + 1 from n) select i from n", "too_large"),
        ("select hex(zeroblob(2000000))", "invalid"),
        (
            "create table big as with recursive n(i) as (select 1 union all select i + 1 from n limit 100) \
          select zeroblob(100000) from n",
            "quota_exceeded",
        ),
    ] {
        let error = run(&database, sql).await.unwrap_err();
        assert_eq!(error.code(), code, "{sql}: {error}");
    }
    let long = format!("select '{}'", "x".repeat(MAX_SQL));
    assert_eq!(run(&database, &long).await.unwrap_err().code(), "invalid");
}

#[tokio::test]
async fn what_is_written_after_a_failed_statement_is_kept() {
    let (_place, database) = notes(1).await;
    let referring =
        "create table k (p integer primary key, q integer references k (p) deferrable initially deferred)";
    run(&database, referring).await.unwrap();
    let mut session = DatabaseSession::default();

    let failed = session.run(&database, statement("insert into k values (1, 9) returning p", &[])).await;
    session.run(&database, statement("insert into notes values (1, 'a')", &[])).await.unwrap();
    drop(session);

    assert_eq!(failed.unwrap_err().code(), "constraint");
    assert_eq!(count(&database).await, 1);
    assert_eq!(run(&database, "select * from k").await.unwrap().rows.len(), 0);
}

async fn row_id(database: &SharedDatabase, session: &mut DatabaseSession, sql: &str) -> i64 {
    session.run(database, statement(sql, &[])).await.unwrap().row_id
}

#[tokio::test]
async fn the_id_of_the_last_row_is_that_of_the_job() {
    let (_place, database) = notes(1).await;
    let id = "select last_insert_rowid()";
    let (mut one, mut other) = (DatabaseSession::default(), DatabaseSession::default());

    assert_eq!(row_id(&database, &mut one, "insert into notes values (5, 'a')").await, 5);
    assert_eq!(row_id(&database, &mut other, "insert into notes values (99, 'b') returning id").await, 99);

    assert_eq!(row_id(&database, &mut one, "update notes set title = 'c' where id = 5").await, 0);
    assert_eq!(run(&database, id).await.unwrap().rows, [[SqlValue::Integer(0)]]);
    // In a transaction the connection is the job's alone.
    one.run(&database, SqlCommand::Begin).await.unwrap();
    assert_eq!(row_id(&database, &mut one, "insert into notes values (7, 'd')").await, 7);
    let known = one.run(&database, statement(id, &[])).await.unwrap();
    one.run(&database, SqlCommand::Rollback).await.unwrap();
    assert_eq!(known.rows, [[SqlValue::Integer(7)]]);
    assert_eq!(row_id(&database, &mut other, "select 1").await, 0);
}

#[tokio::test]
async fn a_statement_of_a_job_that_ends_is_stopped() {
    let (_place, database) = notes(1).await;
    let endless = "insert into notes (id) with recursive n(i) as (select 1 union all select i + 1 from n) \
                   select i from n where i < 0";
    let mut session = DatabaseSession::default();
    let ended =
        tokio::time::timeout(Duration::from_millis(100), session.run(&database, statement(endless, &[])));
    assert!(ended.await.is_err());

    let begun = Instant::now();
    drop(session);

    assert_eq!(count(&database).await, 0);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.sqlite");
    std::fs::write(&path, vec![b'x'; 10_000]).unwrap();
    let database = file(&path, 1);

    let error = database.open().await.unwrap_err();

    assert!(error.code() == "corrupt" && error.to_string().contains("move it away"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 10_000]);
}

#[tokio::test]
async fn a_migration_is_applied_whole_or_not_at_all() {
    let (_place, database) = notes(1).await;
    for (sql, why) in [
        ("create table a (x); create table notes (y);", "already exists"),
        ("create table a (x); commit; create table b (y);", "leave BEGIN, COMMIT and ROLLBACK out"),
        ("create table a (x); attach 'y' as z;", "ATTACH"),
    ] {
        let error = database.migrate(vec![migration(1, sql)]).await.unwrap_err().to_string();

        assert!(error.contains("0001_test.sql is not applied") && error.contains(why), "{error}");
        assert_eq!(run(&database, "select * from a").await.unwrap_err().code(), "invalid");
    }
}
