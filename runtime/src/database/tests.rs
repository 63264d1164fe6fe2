//! Tests of the back end, with sessions as jobs have them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

/// The quota of a database under test.
const QUOTA: u64 = 1 << 20;

fn options(path: &Path, connections: usize) -> DatabaseOptions {
    let url = DatabaseUrl::Sqlite(path.to_owned());
    DatabaseOptions { name: "suite".to_owned(), url, quota: QUOTA, connections, migrations: None }
}

/// A database in a new directory, with a table.
async fn notes(connections: usize) -> (tempfile::TempDir, Arc<SharedDatabase>) {
    let place = tempfile::tempdir().unwrap();
    let database = DatabasePool::default().get(&options(&place.path().join("data/a.sqlite"), connections));
    run(&database, "create table notes (id integer primary key, title text unique)").await.unwrap();
    (place, database)
}

fn statement(sql: &str, parameters: &[SqlValue]) -> SqlCommand {
    SqlCommand::Statement { sql: sql.to_owned(), parameters: parameters.to_vec() }
}

async fn run(database: &SharedDatabase, sql: &str) -> Result<SqlResult, SqlError> {
    DatabaseSession::default().run(database, statement(sql, &[])).await
}

async fn count(database: &SharedDatabase) -> i64 {
    match run(database, "select count(*) from notes").await.unwrap().rows[0][0] {
        SqlValue::Integer(count) => count,
        ref other => panic!("{other:?}"),
    }
}

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
async fn a_statement_says_how_many_rows_it_changed() {
    let (_place, database) = notes(1).await;

    let inserted =
        run(&database, "insert into notes (title) values ('a'), ('b') returning id").await.unwrap();

    assert_eq!((inserted.columns, inserted.changed), (vec!["id".to_owned()], 2));
    assert_eq!(inserted.rows, [[SqlValue::Integer(1)], [SqlValue::Integer(2)]]);
    assert_eq!(run(&database, "update notes set title = title || 'x'").await.unwrap().changed, 2);
    assert_eq!(run(&database, "select * from notes").await.unwrap().changed, 0);
    assert_eq!(run(&database, "create table more (id integer)").await.unwrap().changed, 0);
}

#[tokio::test]
async fn what_reaches_beyond_the_tables_is_refused() {
    let (place, database) = notes(1).await;
    let outside = place.path().join("outside.sqlite").display().to_string();
    for sql in [
        format!("attach '{outside}' as other"),
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
async fn a_statement_that_returns_too_much_changes_nothing() {
    let (_place, database) = notes(1).await;
    let sql = "with recursive n(i) as (select 1 union all select i + 1 from n limit 20000) \
               insert into notes (id) select i from n returning id";

    assert_eq!(run(&database, sql).await.unwrap_err().code(), "too_large");

    assert_eq!(count(&database).await, 0);
}

#[tokio::test]
async fn a_transaction_of_a_job_that_ends_is_rolled_back() {
    let (_place, database) = notes(1).await;
    let mut session = DatabaseSession::default();
    session.run(&database, SqlCommand::Begin).await.unwrap();
    session.run(&database, statement("insert into notes (title) values ('a')", &[])).await.unwrap();

    drop(session);

    // The only connection comes back clean.
    assert_eq!(count(&database).await, 0);
    let mut session = DatabaseSession::default();
    session.run(&database, statement("begin", &[])).await.unwrap();
    session.run(&database, statement("insert into notes (title) values ('b')", &[])).await.unwrap();
    session.run(&database, SqlCommand::Commit).await.unwrap();
    assert_eq!(count(&database).await, 1);
    assert_eq!(session.run(&database, SqlCommand::Rollback).await.unwrap_err().code(), "invalid");
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
async fn a_job_never_sees_the_transaction_of_another() {
    let (_place, database) = notes(2).await;
    let (mut one, mut other) = (DatabaseSession::default(), DatabaseSession::default());
    one.run(&database, SqlCommand::Begin).await.unwrap();
    one.run(&database, statement("insert into notes (title) values ('a')", &[])).await.unwrap();

    let seen = other.run(&database, statement("select count(*) from notes", &[])).await.unwrap();
    assert_eq!(seen.rows, [[SqlValue::Integer(0)]]);
    one.run(&database, SqlCommand::Commit).await.unwrap();

    let seen = other.run(&database, statement("select count(*) from notes", &[])).await.unwrap();
    assert_eq!(seen.rows, [[SqlValue::Integer(1)]]);
}

#[tokio::test]
async fn transactions_at_once_lose_no_increment() {
    let (_place, database) = notes(4).await;
    run(&database, "create table counter (n integer)").await.unwrap();
    run(&database, "insert into counter values (0)").await.unwrap();
    let add = |database: Arc<SharedDatabase>| async move {
        for _ in 0..25 {
            let mut session = DatabaseSession::default();
            session.run(&database, SqlCommand::Begin).await.unwrap();
            let now = session.run(&database, statement("select n from counter", &[])).await.unwrap();
            let SqlValue::Integer(now) = now.rows[0][0] else { panic!("{now:?}") };
            let next = [SqlValue::Integer(now + 1)];
            session.run(&database, statement("update counter set n = $1", &next)).await.unwrap();
            session.run(&database, SqlCommand::Commit).await.unwrap();
        }
    };

    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(add(database.clone()))).collect();
    for task in tasks {
        task.await.unwrap();
    }

    let sum = run(&database, "select n from counter").await.unwrap();
    assert_eq!(sum.rows, [[SqlValue::Integer(200)]]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.sqlite");
    std::fs::write(&path, vec![b'x'; 10_000]).unwrap();
    let database = DatabasePool::default().get(&options(&path, 1));

    let error = database.open().await.unwrap_err();

    assert!(error.code() == "corrupt" && error.to_string().contains("move it away"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 10_000]);
}

fn migration(number: i64, sql: &str) -> Migration {
    let file = format!("{number:04}_test.sql");
    Migration { number, file, sql: sql.to_owned(), digest: format!("digest of {sql}") }
}

#[tokio::test]
async fn migrations_are_applied_once_and_in_order() {
    let (_place, database) = notes(1).await;
    let first = migration(1, "alter table notes add column size bigint; create index sizes on notes (size);");
    let second = migration(2, "update notes set size = 1");

    assert_eq!(database.pending(vec![first.clone()]).await.unwrap(), ["0001_test.sql"]);
    assert_eq!(database.migrate(vec![first.clone()]).await.unwrap(), ["0001_test.sql"]);
    let both = vec![first, second];
    assert_eq!(database.pending(both.clone()).await.unwrap(), ["0002_test.sql"]);
    assert_eq!(database.migrate(both.clone()).await.unwrap(), ["0002_test.sql"]);

    assert_eq!(database.migrate(both).await.unwrap(), [""; 0]);
    run(&database, "select size from notes").await.unwrap();
    let error = run(&database, "delete from _portcullis_migrations").await.unwrap_err();
    assert_eq!(error.code(), "not_allowed");
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

#[tokio::test]
async fn of_two_that_apply_at_once_one_does() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.sqlite");
    let files: Vec<Migration> =
        (1..=5).map(|number| migration(number, &format!("create table t{number} (x);"))).collect();
    // Two pools, as two daemons have them.
    let apply = |files: Vec<Migration>| {
        let database = DatabasePool::default().get(&options(&path, 1));
        tokio::spawn(async move { database.migrate(files).await.unwrap() })
    };

    let (one, other) = (apply(files.clone()), apply(files));

    assert_eq!(one.await.unwrap().len() + other.await.unwrap().len(), 5);
}
