//! Tests of SQLite alone: its file, and what a handler may not do with it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::database::limits::MIGRATION;

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
        "create view _portcullis_migrations as select 1 as number".to_owned(),
        "create virtual table _portcullis_migrations using fts5(number)".to_owned(),
        "create index _portcullis_migrations on notes (title)".to_owned(),
        "alter table notes rename to \"_Portcullis_migrations\"".to_owned(),
        "pragma defer_foreign_keys = 1".to_owned(),
        "update temp.sqlite_master set sql = ''".to_owned(),
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
async fn a_begin_that_is_given_up_takes_no_later_statement_along() {
    let (place, database) = notes(1).await;
    let other = rusqlite::Connection::open(place.path().join("data/a.sqlite")).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    let mut session = DatabaseSession::default();
    other.execute_batch("begin immediate").unwrap();
    let mut beginning = Box::pin(session.run(&database, SqlCommand::Begin));
    let brief = Duration::from_millis(200);
    assert!(tokio::time::timeout(brief, beginning.as_mut()).await.is_err());
    other.execute_batch("rollback").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while other.execute_batch("begin immediate").is_ok() {
        assert!(Instant::now() < deadline, "it has not begun");
        other.execute_batch("rollback").unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // Nobody has read its answer.
    drop(beginning);

    session.run(&database, statement("insert into notes (title) values ('kept')", &[])).await.unwrap();
    drop(session);
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_statement_does_not_take_the_memory_of_all_others() {
    let (_place, database) = notes(2).await;
    // 180 MB, of the 192 MiB that all databases share.
    let large = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 200) \
                 select count(distinct randomblob(900000)) from n";

    let error = run(&database, large).await.unwrap_err();

    assert!(error.code() == "too_large" && error.to_string().contains("more than 64 MiB"), "{error}");
    // The connection goes on.
    assert_eq!(count(&database).await, 0);
}

#[tokio::test]
async fn statements_that_are_kept_prepared_leave_memory_for_others() {
    let (_place, database) = notes(1).await;
    run(&database, "create table numbers (a integer)").await.unwrap();
    run(&database, "create table others (a integer)").await.unwrap();
    let changes = "insert into others values (1); ".repeat(2900);
    for number in 0..8 {
        let trigger =
            format!("create trigger t{number} after insert on numbers when new.a < 0 begin {changes} end");
        run(&database, &trigger).await.unwrap();
    }

    // Each takes some 5 MB, for the programs of the triggers.
    for number in 0..20 {
        run(&database, &format!("insert into numbers values ({number})")).await.unwrap();
    }

    assert_eq!(count(&database).await, 0);
}

#[tokio::test]
async fn readers_do_not_let_the_log_of_changes_grow_without_end() {
    let (place, database) = notes(3).await;
    run(&database, "create table blobs (body blob)").await.unwrap();
    run(&database, "insert into blobs values (zeroblob(500000))").await.unwrap();
    let log = place.path().join("data/a.sqlite-wal");
    let mut reader = DatabaseSession::default();
    for sql in ["begin", "select count(*) from blobs"] {
        reader.run(&database, statement(sql, &[])).await.unwrap();
    }

    let mut longest = 0_u64;
    for _ in 0..40 {
        while let Err(error) = run(&database, "update blobs set body = randomblob(500000)").await {
            assert_eq!(error.code(), "conflict", "{error}");
        }
        longest = longest.max(std::fs::metadata(&log).unwrap().len());
    }

    // The bound, and one transaction more.
    assert!(longest > 8 << 20 && longest < 10 << 20, "{longest}");
    let ended = reader.run(&database, statement("select count(*) from blobs", &[])).await.unwrap_err();
    let why = "it was open while the log of changes was full";
    assert!(ended.code() == "timeout" && ended.to_string().contains(why), "{ended}");
}

/// Whether this process has a file open.
fn is_open(path: &Path) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|file| file == path)
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let (place, database) = notes(1).await;
    let path = place.path().canonicalize().unwrap().join("data/a.sqlite");
    let deadline = Instant::now() + Duration::from_secs(20);

    while is_open(&path) {
        assert!(Instant::now() < deadline, "it is still open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    assert_eq!(count(&database).await, 0);
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

#[tokio::test]
async fn the_migration_that_runs_out_of_time_is_named_and_a_wait_before_it_is_not_counted() {
    let (place, database) = notes(1).await;
    let endless = "create table three as with recursive n(i) as (select 1 union all select i + 1 from n) \
                   select count(*) as c from n";
    let files =
        [migration(1, "create table one (x)"), migration(2, "create table two (x)"), migration(3, endless)];
    database.migrate(files[..1].to_vec()).await.unwrap();
    let other = rusqlite::Connection::open(place.path().join("data/a.sqlite")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let (again, two) = (database.clone(), files[..2].to_vec());
    let migrating = tokio::spawn(async move { again.migrate(two).await });

    tokio::time::sleep(MIGRATION + Duration::from_millis(500)).await;
    other.execute_batch("rollback").unwrap();

    assert_eq!(migrating.await.unwrap().unwrap(), ["0002_test.sql"]);
    let error = database.migrate(files.to_vec()).await.unwrap_err().to_string();
    assert!(error.contains("0003_test.sql is not applied: it took longer than 3 s"), "{error}");
}

#[tokio::test]
async fn tables_and_columns_are_renamed_and_dropped() {
    let (_place, database) = notes(1).await;
    for sql in [
        "alter table notes rename to papers",
        "alter table papers rename column title to name",
        "alter table papers add column size integer",
        "alter table papers drop column size",
        "create table again (id integer primary key, body text)",
        "insert into again select id, '' from papers",
        "drop table papers",
        "alter table again rename to papers",
    ] {
        run(&database, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    let migrated = migration(1, "alter table papers rename to notes; alter table notes drop column body;");
    database.migrate(vec![migrated]).await.unwrap();

    assert_eq!(run(&database, "select * from notes").await.unwrap().columns, ["id"]);
}

#[tokio::test]
async fn a_job_does_not_see_how_many_rows_another_has_changed() {
    let (_place, database) = notes(1).await;
    run(&database, "insert into notes (title) values ('a'), ('b')").await.unwrap();
    let asked = "select changes(), total_changes()";
    let is = |changes, total| [[SqlValue::Integer(changes), SqlValue::Integer(total)]];

    assert_eq!(run(&database, asked).await.unwrap().rows, is(0, 0));

    let mut session = DatabaseSession::default();
    session.run(&database, SqlCommand::Begin).await.unwrap();
    assert_eq!(session.run(&database, statement(asked, &[])).await.unwrap().rows, is(0, 0));
    session.run(&database, statement("update notes set title = title || 'x'", &[])).await.unwrap();
    session.run(&database, statement("delete from notes where id = 1", &[])).await.unwrap();
    assert_eq!(session.run(&database, statement(asked, &[])).await.unwrap().rows, is(1, 3));
}

#[tokio::test]
async fn a_deferred_foreign_key_is_for_one_transaction() {
    let (_place, database) = notes(1).await;
    run(&database, "create table k (p integer references notes (id))").await.unwrap();
    let mut session = DatabaseSession::default();
    session.run(&database, SqlCommand::Begin).await.unwrap();
    for sql in
        ["pragma defer_foreign_keys = 1", "insert into k values (7)", "insert into notes (id) values (7)"]
    {
        session.run(&database, statement(sql, &[])).await.unwrap();
    }
    session.run(&database, SqlCommand::Commit).await.unwrap();

    assert_eq!(run(&database, "insert into k values (8)").await.unwrap_err().code(), "constraint");
    let again = run(&database, "pragma defer_foreign_keys = 1").await.unwrap_err();
    assert_eq!(again.code(), "not_allowed", "{again}");
}

#[tokio::test]
async fn a_database_whose_file_is_removed_is_unavailable_until_it_is_restored() {
    let (place, database) = notes(2).await;
    let (path, away) = (place.path().join("data/a.sqlite"), place.path().join("data/away.sqlite"));
    let insert = "insert into notes (title) values (null)";
    std::fs::rename(&path, &away).unwrap();

    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        match run(&database, insert).await {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline, "what it writes is lost"),
        }
    };
    assert!(error.code() == "unavailable" && error.to_string().contains("restore the file"), "{error}");
    assert!(run(&database, insert).await.is_err() && !path.exists(), "an empty file is in its place");

    // The same file is taken at once, and another one at a reload.
    std::fs::rename(&away, &path).unwrap();
    run(&database, insert).await.unwrap();
    let other = rusqlite::Connection::open(&away).unwrap();
    other.execute_batch("create table notes (id integer primary key, title text)").unwrap();
    drop(other);
    std::fs::rename(&away, &path).unwrap();
    while run(&database, insert).await.is_ok() {
        assert!(Instant::now() < deadline, "what it writes is lost");
    }
    for beside in ["data/a.sqlite-wal", "data/a.sqlite-shm"] {
        // It may be gone with the last connection.
        let _gone = std::fs::remove_file(place.path().join(beside));
    }
    database.apply();
    assert_eq!(count(&database).await, 0);
}
