//! Tests of PostgreSQL: the suite, and what only this back end does.

use std::time::{Duration, Instant};

use super::server::postgres;
use super::*;

#[tokio::test]
async fn postgres_keeps_to_the_suite() {
    let Some(server) = postgres().await else { return };
    let admin = server.open("postgres", 1);
    for number in 0..13 {
        run(&admin, &format!("create database d{number}")).await.unwrap();
    }
    let number = std::cell::Cell::new(0);

    suite::keeps(&|connections| {
        number.set(number.get() + 1);
        server.open(&format!("d{}", number.get() - 1), connections)
    })
    .await;
}

#[tokio::test]
async fn a_connection_to_a_server_comes_back_as_it_was_and_is_made_again() {
    let Some(mut server) = postgres().await else { return };
    let database = server.open("postgres", 1);

    stopped(&database).await;
    given_up(&database).await;
    clean(&database).await;
    clean_at_once(&database, &server.open("postgres", 1)).await;
    types(&database).await;
    own_types(&database).await;
    discarded(&database).await;
    too_large(&database).await;
    refused(&database).await;
    failed(&database).await;
    chained(&database).await;
    no_savepoint(&database).await;
    not_ended(&database).await;
    chain_broken(&database).await;

    server.stop();
    let error = run(&database, "select 1").await.unwrap_err();
    assert!(matches!(error.code(), "unavailable" | "interrupted"), "{error:?}");
    server.start().await;
    run(&database, "select 1").await.unwrap();
}

/// A statement of a job that ends is stopped, and its connection replaced.
pub(super) async fn stopped(database: &SharedDatabase) {
    let mut session = DatabaseSession::default();
    let sleeping = session.run(database, statement("select pg_sleep(60)", &[]));
    assert!(tokio::time::timeout(Duration::from_millis(200), sleeping).await.is_err());
    let begun = Instant::now();
    drop(session);

    let waiting = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";
    while run(database, waiting).await.unwrap().rows != [[SqlValue::Integer(0)]] {
        assert!(begun.elapsed() < Duration::from_secs(10), "it still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A command that is given up while its job goes on takes its transaction along.
async fn given_up(database: &SharedDatabase) {
    let mut session = DatabaseSession::default();
    let sleeping = || statement("select pg_sleep(60)", &[]);
    let brief = Duration::from_millis(200);
    assert!(tokio::time::timeout(brief, session.run(database, sleeping())).await.is_err());
    session.run(database, statement("select 1", &[])).await.unwrap();
    session.run(database, SqlCommand::Begin).await.unwrap();

    assert!(tokio::time::timeout(brief, session.run(database, sleeping())).await.is_err());

    let error = session.run(database, statement("commit", &[])).await.unwrap_err();
    assert!(error.to_string().contains("the transaction was rolled back"), "{error}");
    session.run(database, statement("rollback", &[])).await.unwrap();
    session.run(database, statement("select 1", &[])).await.unwrap();
}

/// Nothing of a job stays with the connection.
async fn clean(database: &SharedDatabase) {
    for sql in [
        "set search_path = pg_catalog",
        "set statement_timeout = 0",
        "create temp table leftover (a bigint)",
        "select pg_advisory_lock(7)",
        "prepare leftover as select 1",
    ] {
        run(database, sql).await.unwrap();
    }

    for (sql, wanted) in [
        ("show search_path", "\"$user\", public"),
        ("show statement_timeout", "30s"),
        ("select cast(to_regclass('leftover') is null as text)", "true"),
        ("select cast(count(*) as text) from pg_locks where locktype = 'advisory'", "0"),
    ] {
        let found = run(database, sql).await.unwrap();
        assert_eq!(found.rows, [[SqlValue::Text(wanted.to_owned())]], "{sql}");
    }
    run(database, "prepare leftover as select 1").await.unwrap();
}

/// What a job has set ends with it, and not with the next use of its connection.
async fn clean_at_once(database: &SharedDatabase, other: &SharedDatabase) {
    run(database, "select pg_advisory_lock(8)").await.unwrap();

    let begun = Instant::now();
    let locks = "select count(*) from pg_locks where locktype = 'advisory'";
    while run(other, locks).await.unwrap().rows != [[SqlValue::Integer(0)]] {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is still held");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Types that a database has made are looked up by every job that needs them.
async fn own_types(database: &SharedDatabase) {
    run(database, "create type mood as enum ('calm')").await.unwrap();
    run(database, "create type size as enum ('small')").await.unwrap();
    for (sql, wanted) in [("select cast('calm' as mood)", "calm"), ("select cast('small' as size)", "small")]
    {
        let found = run(database, sql).await.unwrap();

        assert_eq!(found.rows, [[SqlValue::Text(wanted.to_owned())]]);
    }
}

/// A job that drops all prepared statements leaves no connection without those that look up types.
async fn discarded(database: &SharedDatabase) {
    for (number, sql) in ["select 1", "deallocate all", "discard all"].into_iter().enumerate() {
        run(database, &format!("create type kind{number} as enum ('a')")).await.unwrap();
        run(database, sql).await.unwrap();

        let found = run(database, &format!("select cast('a' as kind{number})")).await;

        assert_eq!(found.unwrap().rows, [[SqlValue::Text("a".to_owned())]], "after {sql}");
    }
}

async fn too_large(database: &SharedDatabase) {
    for sql in ["select repeat('x', 20000000)", "select repeat('x', 1000000) from generate_series(1, 20)"] {
        let error = run(database, sql).await.unwrap_err();
        assert_eq!(error.code(), "too_large", "{sql}: {error}");
    }
    run(database, "select 1").await.unwrap();
}

async fn refused(database: &SharedDatabase) {
    let mut session = DatabaseSession::default();
    session.run(database, SqlCommand::Begin).await.unwrap();

    for sql in ["prepare transaction 'x'", "copy pg_class from stdin", "/* x */ Copy (select 1) to stdout"] {
        let refused = session.run(database, statement(sql, &[])).await.unwrap_err();
        assert_eq!(refused.code(), "not_allowed", "{sql}: {refused}");
    }

    // The server has seen none of them.
    session.run(database, statement("select 1", &[])).await.unwrap();
    session.run(database, SqlCommand::Rollback).await.unwrap();
    let dumped = migration(1, "create table dumped (a bigint); copy dumped from stdin;\n1\n\\.\n");
    let error = database.migrate(vec![dumped]).await.unwrap_err().to_string();
    assert!(error.contains("0001_test.sql is not applied: COPY has no client"), "{error}");
}

#[tokio::test]
async fn migrations_have_a_connection_of_their_own() {
    let Some(server) = postgres().await else { return };
    let database = server.open("postgres", 1);
    let mut session = DatabaseSession::default();
    session.run(&database, SqlCommand::Begin).await.unwrap();
    let first = "create table one (x bigint); set role pg_read_all_data; \
                 select set_config('search_path', '', false);";
    let files = vec![migration(1, first), migration(2, "create table two (x bigint)")];

    // The handlers' only connection is taken.
    let applied = database.migrate(files.clone()).await.unwrap();

    assert_eq!(applied, ["0001_test.sql", "0002_test.sql"]);
    session.run(&database, SqlCommand::Rollback).await.unwrap();
    run(&database, "select * from one, two").await.unwrap();
    // Nobody needs the lock for nothing.
    session.run(&database, SqlCommand::Begin).await.unwrap();
    let lock = format!("select pg_advisory_lock({})", 0x706f_7274_6375_6c6c_i64);
    session.run(&database, statement(&lock, &[])).await.unwrap();
    assert_eq!(database.migrate(files).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_migration_that_makes_the_schema_of_its_user_is_not_applied_twice() {
    let Some(server) = postgres().await else { return };
    let database = server.open("postgres", 1);
    // It comes before `public` in the search path.
    let first = migration(1, "create schema tests; create table tests.one (x bigint)");
    assert_eq!(database.migrate(vec![first.clone()]).await.unwrap(), ["0001_test.sql"]);
    let files = vec![first, migration(2, "create table two (x bigint)")];

    let applied = database.migrate(files.clone()).await.unwrap();

    assert_eq!(applied, ["0002_test.sql"]);
    assert_eq!(database.pending(files).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn each_migration_has_its_time_and_the_one_that_runs_out_is_named() {
    let Some(server) = postgres().await else { return };
    let database = server.open("postgres", 1);
    // Together longer than one may take.
    let slow = "select pg_sleep(1.2); select pg_sleep(0.6);";
    database.migrate(vec![migration(1, slow), migration(2, slow)]).await.unwrap();
    // Each statement alone is in time.
    let slower = "create table late (a bigint); select pg_sleep(2); select pg_sleep(2);";
    let files = vec![migration(1, slow), migration(2, slow), migration(3, slower)];

    let error = database.migrate(files).await.unwrap_err().to_string();

    assert!(error.contains("0003_test.sql is not applied: it took longer than 3 s"), "{error}");
    assert_eq!(run(&database, "select * from late").await.unwrap_err().code(), "invalid");
}

#[tokio::test]
async fn a_server_logs_no_connection_that_broke_off() {
    let Some(server) = postgres().await else { return };
    let admin = server.open("postgres", 1);
    let named = |name: &str, connections| {
        let address = format!("127.0.0.1:{}/postgres?application_name={name}", server.port);
        server.at(&address, None, connections)
    };
    let migrating = named("migrating", 1);
    migrating.migrate(vec![migration(1, "create table one (a bigint)")]).await.unwrap();
    migrating.pending(vec![migration(1, "create table one (a bigint)")]).await.unwrap();
    migrating.migrate(vec![migration(1, "select 1")]).await.unwrap_err();
    let leaving = named("leaving", 1);
    for _ in 0..2 {
        let mut session = DatabaseSession::default();
        session.run(&leaving, SqlCommand::Begin).await.unwrap();
        session.run(&leaving, statement("prepare kept as select 1", &[])).await.unwrap();
    }

    let begun = Instant::now();
    let connections =
        "select count(*) from pg_stat_activity where application_name in ('migrating', 'leaving')";
    while run(&admin, connections).await.unwrap().rows != [[SqlValue::Integer(0)]] {
        assert!(begun.elapsed() < Duration::from_secs(10), "they are still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let log = server.log();
    let has = |name: &str, text: &str| log.lines().any(|line| line.starts_with(name) && line.contains(text));
    assert!(!has("migrating: ", "unexpected EOF") && !has("migrating: ", "could not receive"), "{log}");
    // Outside of a transaction only a log for developers has it.
    assert!(!has("leaving: ", "with an open transaction"), "{log}");
    assert!(has("migrating: ", "") && has("leaving: ", ""), "it would be in the log: {log}");
}

async fn types(database: &SharedDatabase) {
    let sql = "select true, 12.340::numeric, '{\"a\": 1}'::jsonb, '00112233-4455-6677-8899-aabbccddeeff'::uuid, \
               timestamptz '2024-02-29 12:00:00.5+01', date '1999-12-31'";
    let text = |text: &str| SqlValue::Text(text.to_owned());

    let found = run(database, sql).await.unwrap();

    let wanted = [
        SqlValue::Integer(1),
        text("12.340"),
        text("{\"a\": 1}"),
        text("00112233-4455-6677-8899-aabbccddeeff"),
        text("2024-02-29T11:00:00.500000Z"),
        text("1999-12-31"),
    ];
    assert_eq!(found.rows, [wanted]);
    let parameters = [text("2024-01-01"), SqlValue::Integer(1), SqlValue::Real(0.5)];
    let compared = "select cast($1 as date) < now(), cast($2 as boolean), cast($3 as numeric) * 2";
    let found = DatabaseSession::default().run(database, statement(compared, &parameters)).await.unwrap();
    assert_eq!(found.rows, [[SqlValue::Integer(1), SqlValue::Integer(1), text("1.0")]]);
    let error = run(database, "select date '5000000-01-01'").await.unwrap_err();
    assert!(error.code() == "invalid" && error.to_string().contains("too far away"), "{error}");
    let sql = "select array[1, null, -3], array['a', 'b\"c', '', null], '{}'::numeric[], int4range(1, 5), \
               '(,1.50]'::numrange, tstzrange('2024-01-01 00:00+00', null), interval '14 months -3.5 seconds'";
    let found = run(database, sql).await.unwrap();
    let wanted = [
        "{1,NULL,-3}",
        "{a,\"b\\\"c\",\"\",NULL}",
        "{}",
        "[1,5)",
        "(,1.50]",
        "[2024-01-01T00:00:00.000000Z,)",
        "P14M0DT-3.500000S",
    ];
    assert_eq!(found.rows, [wanted.map(text)]);
    assert_eq!(found.types, ["_int4", "_text", "_numeric", "int4range", "numrange", "tstzrange", "interval"]);
    // They are read again as they are written.
    let parameters = wanted.map(text);
    let same = "select $1 = array[1, null, -3], $2 = array['a', 'b\"c', '', null], $3 = '{}'::numeric[], \
                $4 = int4range(1, 5), $5 = '(,1.50]'::numrange, $6 = tstzrange('2024-01-01 00:00+00', null), \
                $7 = interval '14 months -3.5 seconds'";
    let found = DatabaseSession::default().run(database, statement(same, &parameters)).await.unwrap();
    assert_eq!(found.rows, [[const { SqlValue::Integer(1) }; 7]]);
    let error = run(database, "select point(1, 2)").await.unwrap_err();
    assert!(error.code() == "invalid" && error.to_string().contains("CAST(column AS text)"), "{error}");
}

/// After a commit, a transaction is open only if the next one was asked for.
async fn chained(database: &SharedDatabase) {
    for (sql, is_open) in
        [("commit and chain", true), ("commit and no chain", false), ("commit work and no chain", false)]
    {
        let mut session = DatabaseSession::default();
        session.run(database, SqlCommand::Begin).await.unwrap();

        session.run(database, statement(sql, &[])).await.unwrap();

        let ended = session.run(database, SqlCommand::Commit).await;
        assert_eq!(ended.is_ok(), is_open, "{sql}: {ended:?}");
    }
}

/// A savepoint that is not there does not end the transaction: what follows is not done outside of it.
async fn no_savepoint(database: &SharedDatabase) {
    run(database, "create table outside (a bigint)").await.unwrap();
    let mut session = DatabaseSession::default();
    session.run(database, SqlCommand::Begin).await.unwrap();
    session.run(database, statement("rollback to savepoint nowhere", &[])).await.unwrap_err();

    session.run(database, statement("insert into outside values (1)", &[])).await.unwrap_err();

    let error = session.run(database, SqlCommand::Commit).await.unwrap_err();
    assert!(error.to_string().contains("it was rolled back"), "{error}");
    assert_eq!(run(database, "select * from outside").await.unwrap().rows.len(), 0);
}

/// What the server does not take for the end of a transaction does not end it: what follows is not done outside of it.
async fn not_ended(database: &SharedDatabase) {
    run(database, "create table unended (a bigint)").await.unwrap();
    for sql in ["commit nonsense", "end nonsense", "rollback nonsense", "abort nonsense", "rollback to"] {
        let mut session = DatabaseSession::default();
        session.run(database, SqlCommand::Begin).await.unwrap();
        let refused = session.run(database, statement(sql, &[])).await.unwrap_err();
        assert_eq!(refused.code(), "invalid", "{sql}: {refused}");

        session.run(database, statement("insert into unended values (1)", &[])).await.unwrap_err();

        session.run(database, SqlCommand::Rollback).await.unwrap();
        assert_eq!(run(database, "select * from unended").await.unwrap().rows.len(), 0, "{sql}");
    }
    // Refused before the server has seen it: the transaction goes on.
    let mut session = DatabaseSession::default();
    session.run(database, SqlCommand::Begin).await.unwrap();
    session.run(database, statement("commit", &[SqlValue::Null])).await.unwrap_err();
    session.run(database, statement("insert into unended values (1)", &[])).await.unwrap();
    session.run(database, SqlCommand::Commit).await.unwrap();
    assert_eq!(run(database, "select * from unended").await.unwrap().rows.len(), 1);
    // For the server a carriage return ends the comment.
    session.run(database, SqlCommand::Begin).await.unwrap();
    session.run(database, statement("-- now\rcommit", &[])).await.unwrap();
    let error = session.run(database, SqlCommand::Commit).await.unwrap_err();
    assert!(error.to_string().contains("no transaction is open"), "{error}");
}

/// A commit that fails has ended the transaction, and no other one has begun.
async fn chain_broken(database: &SharedDatabase) {
    run(database, "create table parents (a bigint primary key)").await.unwrap();
    let children = "create table children (a bigint references parents deferrable initially deferred)";
    run(database, children).await.unwrap();
    for sql in ["commit and chain", "commit"] {
        let mut session = DatabaseSession::default();
        session.run(database, SqlCommand::Begin).await.unwrap();
        session.run(database, statement("insert into children values (1)", &[])).await.unwrap();

        let failed = session.run(database, statement(sql, &[])).await.unwrap_err();

        assert_eq!(failed.code(), "constraint", "{sql}: {failed}");
        let error = session.run(database, SqlCommand::Commit).await.unwrap_err();
        assert!(error.to_string().contains("no transaction is open"), "{sql}: {error}");
    }
}

/// A transaction with a failed statement is not kept, and the commit says so.
async fn failed(database: &SharedDatabase) {
    run(database, "create table t (a bigint primary key)").await.unwrap();
    let mut session = DatabaseSession::default();
    session.run(database, SqlCommand::Begin).await.unwrap();
    session.run(database, statement("insert into t values (1)", &[])).await.unwrap();
    session.run(database, statement("insert into t values (1)", &[])).await.unwrap_err();

    let error = session.run(database, statement("commit", &[])).await.unwrap_err();

    assert!(error.to_string().contains("it was rolled back"), "{error}");
    assert_eq!(run(database, "select * from t").await.unwrap().rows.len(), 0);
}
