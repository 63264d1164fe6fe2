//! What a job may leave on a connection to a PostgreSQL server, and the next job must not meet.

use tokio::runtime::{Builder, Runtime};

use super::server::postgres;
use super::*;

#[tokio::test]
async fn what_functions_prepare_or_drop_reaches_no_other_job() {
    let Some(server) = postgres().await else { return };
    let database = server.open("postgres", 1);
    run(
        &database,
        "create function does(t text) returns int language plpgsql as $$ begin execute t; return 1; end $$",
    )
    .await
    .unwrap();

    taken_names(&database).await;
    left_statement(&database).await;
    dropped_look_ups(&database).await;
    dropped_in_the_job_that_made_them(&database).await;
    replaced_look_ups(&database).await;
    dropped_after_a_failed_look_up(&database).await;
}

#[tokio::test]
async fn a_connection_is_kept_after_a_statement_that_the_server_refuses() {
    let Some(server) = postgres().await else { return };
    let database = server.open("postgres", 1);
    run(&database, "create type mood as enum ('calm')").await.unwrap();
    let own = async || run(&database, "select pg_backend_pid()").await.unwrap().rows;
    let first = own().await;
    let refused = || statement("select * from nowhere", &[]);

    for sql in
        ["selekt 1", "select * from nowhere", "select cast('ä' as nowhere)", "commit nonsense", "prepare"]
    {
        assert_eq!(run(&database, sql).await.unwrap_err().code(), "invalid", "{sql}");
        assert_eq!(own().await, first, "after {sql}");
    }
    // With statements of the look-ups on the connection.
    run(&database, "select cast('calm' as mood)").await.unwrap();
    DatabaseSession::default().run(&database, refused()).await.unwrap_err();
    assert_eq!(own().await, first);
    run(&database, "select cast('calm' as mood)").await.unwrap();
    // In a transaction that the job leaves open.
    let mut session = DatabaseSession::default();
    session.run(&database, SqlCommand::Begin).await.unwrap();
    session.run(&database, statement("create table undone (a bigint)", &[])).await.unwrap();
    session.run(&database, refused()).await.unwrap_err();
    // The server no longer reads the text.
    session.run(&database, statement("select 1", &[])).await.unwrap_err();
    drop(session);
    assert_eq!(own().await, first);
    assert_eq!(run(&database, "select * from undone").await.unwrap_err().code(), "invalid");
    // In a transaction that goes on behind a savepoint, and in one whose commit is refused.
    let mut session = DatabaseSession::default();
    session.run(&database, SqlCommand::Begin).await.unwrap();
    session.run(&database, statement("savepoint before", &[])).await.unwrap();
    session.run(&database, refused()).await.unwrap_err();
    session.run(&database, statement("rollback to savepoint before", &[])).await.unwrap();
    session.run(&database, statement("create table done (a bigint)", &[])).await.unwrap();
    session.run(&database, refused()).await.unwrap_err();
    session.run(&database, statement("rollback to savepoint before", &[])).await.unwrap();
    session.run(&database, SqlCommand::Commit).await.unwrap();
    session.run(&database, SqlCommand::Begin).await.unwrap();
    session.run(&database, refused()).await.unwrap_err();
    session.run(&database, SqlCommand::Commit).await.unwrap_err();
    drop(session);
    assert_eq!(own().await, first);
}

/// The threads of the slow lane, and those for the files of a job, poll and drop jobs.
#[test]
fn a_connection_returns_to_its_pool_whatever_thread_ends_its_job() {
    let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (home, elsewhere): (Runtime, Runtime) = (runtime(), runtime());
    let Some(server) = home.block_on(postgres()) else { return };
    let url = format!("postgres://tests@127.0.0.1:{}/postgres", server.port);
    let database = DatabasePool::within(Some(home.handle().clone())).get(&options(url.parse().unwrap(), 1));
    let own = || home.block_on(run(&database, "select pg_backend_pid()")).unwrap().rows;
    let begun = |runtime: &Runtime| {
        let mut session = DatabaseSession::default();
        runtime.block_on(session.run(&database, SqlCommand::Begin)).unwrap();
        runtime.block_on(session.run(&database, statement("create table undone (a bigint)", &[]))).unwrap();
        session
    };
    let first = own();

    let session = begun(&elsewhere);
    std::thread::spawn(move || drop(session)).join().unwrap();
    assert_eq!(own(), first, "dropped outside of any runtime");
    let session = begun(&elsewhere);
    let entered = elsewhere.enter();
    drop(session);
    drop(entered);
    elsewhere.shutdown_background();
    assert_eq!(own(), first, "dropped in a runtime that ends");

    let left = home.block_on(run(&database, "select * from undone"));
    assert_eq!(left.unwrap_err().code(), "invalid");
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_replaced() {
    let Some(server) = postgres().await else { return };
    let database = server.open("postgres", 1);
    let own = async || run(&database, "select pg_backend_pid()").await.unwrap().rows;
    let first = own().await;

    run(&database, "select pg_terminate_backend(pg_backend_pid())").await.unwrap_err();

    assert_ne!(own().await, first);
}

#[tokio::test]
async fn a_connection_that_looked_up_types_is_kept() {
    let Some(server) = postgres().await else { return };
    let database = server.open("postgres", 1);
    for sql in [
        "create type mood as enum ('calm')",
        "create type pair as (a mood, b bigint)",
        "create domain title as text",
    ] {
        run(&database, sql).await.unwrap();
    }
    let own = async || run(&database, "select pg_backend_pid()").await.unwrap().rows;
    let first = own().await;

    for sql in [
        "select cast($1 as title) is null",
        "select cast($1 as pair[]) is null",
        "select cast($1 as mood) is null",
    ] {
        let found = DatabaseSession::default().run(&database, statement(sql, &[SqlValue::Null])).await;
        assert_eq!(found.unwrap().rows, [[SqlValue::Integer(1)]], "{sql}");
        assert_eq!(own().await, first, "after {sql}");
    }
}

#[tokio::test]
async fn the_seed_of_random_numbers_ends_with_its_job() {
    let Some(server) = postgres().await else { return };
    let database = server.open("postgres", 1);
    let drawn = async || {
        run(&database, "select setseed(0.5)").await.unwrap();
        run(&database, "select pg_backend_pid(), random()").await.unwrap().rows
    };

    let (first, second) = (drawn().await, drawn().await);

    assert_eq!(first[0][0], second[0][0], "on the same connection");
    assert_ne!(first[0][1], second[0][1]);
}

/// tokio-postgres names its statements `s0`, `s1` and so on.
async fn taken_names(database: &SharedDatabase) {
    let taking = "create function takes(n int) returns int language plpgsql as $$ declare i int; begin \
                  for i in 0..n loop begin execute format('prepare s%s as select 1', i); \
                  exception when others then null; end; end loop; return n; end $$";
    run(database, taking).await.unwrap();
    run(database, "select takes(5000)").await.unwrap();

    for _ in 0..3 {
        run(database, "select 1").await.unwrap();
    }
}

async fn left_statement(database: &SharedDatabase) {
    run(database, "select does('prepare leak as select ''secret''')").await.unwrap();

    let found = run(database, "select count(*) from pg_prepared_statements where name = 'leak'").await;

    assert_eq!(found.unwrap().rows, [[SqlValue::Integer(0)]]);
}

/// The next job needs the statements that look up types.
async fn dropped_look_ups(database: &SharedDatabase) {
    run(database, "create type early as enum ('a')").await.unwrap();
    run(database, "create type late as enum ('a')").await.unwrap();
    run(database, "select cast('a' as early)").await.unwrap();

    run(database, "select does('deallocate all')").await.unwrap();

    let found = run(database, "select cast('a' as late)").await.unwrap();
    assert_eq!(found.rows, [[SqlValue::Text("a".to_owned())]]);
}

/// Before and after the job, the server has the same number of statements: none.
async fn dropped_in_the_job_that_made_them(database: &SharedDatabase) {
    // The connection that follows has looked up nothing.
    run(database, "prepare gone as select 1").await.unwrap();
    let mut session = DatabaseSession::default();
    session.run(database, SqlCommand::Begin).await.unwrap();
    for sql in ["select cast('a' as early)", "select does('deallocate all')"] {
        session.run(database, statement(sql, &[])).await.unwrap();
    }
    session.run(database, SqlCommand::Commit).await.unwrap();

    let found = run(database, "select cast('a' as late)").await.unwrap();

    assert_eq!(found.rows, [[SqlValue::Text("a".to_owned())]]);
}

/// A statement whose types cannot be looked up stays with the server: as many as were dropped make up the number.
async fn replaced_look_ups(database: &SharedDatabase) {
    run(database, "create type first as enum ('a')").await.unwrap();
    run(database, "create type second as enum ('a')").await.unwrap();
    run(database, "select cast('a' as early)").await.unwrap();
    let mut session = DatabaseSession::default();
    session.run(database, SqlCommand::Begin).await.unwrap();
    session.run(database, statement("select does('deallocate all')", &[])).await.unwrap();
    session.run(database, statement("savepoint before", &[])).await.unwrap();
    for sql in ["select cast('a' as first)", "select cast('a' as second)"] {
        session.run(database, statement(sql, &[])).await.unwrap_err();
        session.run(database, statement("rollback to savepoint before", &[])).await.unwrap();
    }
    session.run(database, SqlCommand::Commit).await.unwrap();

    let found = run(database, "select cast('a' as first)").await.unwrap();

    assert_eq!(found.rows, [[SqlValue::Text("a".to_owned())]]);
}

/// A look-up that fails leaves its statement with tokio-postgres. If the server drops all of them, none seems to be left:
/// after the failure, or in the look-up itself.
async fn dropped_after_a_failed_look_up(database: &SharedDatabase) {
    for sql in ["create schema other", "create schema worse"] {
        run(database, sql).await.unwrap();
    }
    for (schema, body) in [("other", "raise 'no';"), ("worse", "execute 'deallocate all'; raise 'no';")] {
        for sql in [
            format!(
                "create function {schema}.raises(a oid, b oid) returns boolean language plpgsql as \
                 $$ begin {body} end $$"
            ),
            format!("create operator {schema}.= (leftarg = oid, rightarg = oid, function = {schema}.raises)"),
            // The connection that follows has looked up nothing.
            "prepare gone as select 1".to_owned(),
        ] {
            run(database, &sql).await.unwrap();
        }
        let mut session = DatabaseSession::default();
        session.run(database, SqlCommand::Begin).await.unwrap();
        let path = format!("set local search_path = {schema}, pg_catalog");
        for sql in [path.as_str(), "savepoint before"] {
            session.run(database, statement(sql, &[])).await.unwrap();
        }
        session.run(database, statement("select cast('a' as public.early)", &[])).await.unwrap_err();
        for sql in [
            "rollback to savepoint before",
            "set local search_path = public",
            "select does('deallocate all')",
        ] {
            session.run(database, statement(sql, &[])).await.unwrap();
        }
        session.run(database, SqlCommand::Commit).await.unwrap();

        let found = run(database, "select cast('a' as late)").await.unwrap();

        assert_eq!(found.rows, [[SqlValue::Text("a".to_owned())]], "{schema}");
    }
}
