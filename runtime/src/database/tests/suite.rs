//! What both back ends keep to.

use super::*;

/// Makes a new database, with as many connections.
type Make<'m> = &'m dyn Fn(usize) -> Arc<SharedDatabase>;

#[tokio::test]
async fn sqlite_keeps_to_the_suite() {
    let place = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    keeps(&|connections| {
        count.set(count.get() + 1);
        file(&place.path().join(format!("{}.sqlite", count.get())), connections)
    })
    .await;
}

/// Runs the suite, each part on a database of its own.
pub(super) async fn keeps(make: Make<'_>) {
    values(&made(make, 1).await).await;
    changed_rows(&made(make, 1).await).await;
    too_much(&made(make, 1).await).await;
    rolled_back(&made(make, 1).await).await;
    begun_once(&made(make, 1).await).await;
    isolated(&made(make, 2).await).await;
    increments(&made(make, 4).await).await;
    errors(&made(make, 1).await).await;
    migrated(&made(make, 1).await).await;
    migrated_long(&made(make, 1).await).await;
    migrated_whole(&made(make, 1).await).await;
    migrated_in_part(&made(make, 1).await).await;
    migrated_by_two(&made(make, 2).await).await;
}

async fn made(make: Make<'_>, connections: usize) -> Arc<SharedDatabase> {
    let database = make(connections);
    run(&database, "create table notes (id bigint primary key, title text unique)").await.unwrap();
    database
}

async fn values(database: &Arc<SharedDatabase>) {
    let values = [
        SqlValue::Null,
        SqlValue::Integer(i64::MIN),
        SqlValue::Real(0.1),
        SqlValue::Text("é'?$1".to_owned()),
        SqlValue::Blob(vec![0, 255]),
    ];
    let blob = match database.options().url {
        DatabaseUrl::Sqlite(_) => "blob",
        DatabaseUrl::Postgres(_) => "bytea",
    };
    run(database, &format!("create table kinds (a text, b bigint, c double precision, d text, e {blob})"))
        .await
        .unwrap();
    let mut session = DatabaseSession::default();
    for sql in ["insert into kinds values (?, ?, ?, ?, ?)", "insert into kinds values ($1, $2, $3, $4, $5)"] {
        session.run(database, statement(sql, &values)).await.unwrap();
    }
    let reversed: Vec<SqlValue> = values.iter().rev().cloned().collect();
    session
        .run(database, statement("insert into kinds values ($5, $4, $3, $2, $1)", &reversed))
        .await
        .unwrap();

    let rows = run(database, "select * from kinds").await.unwrap();

    assert_eq!(rows.columns, ["a", "b", "c", "d", "e"]);
    assert_eq!(rows.rows, [&values, &values, &values]);
    for given in [0, 2] {
        let wrong = session.run(database, statement("select cast($1 as bigint)", &values[1..=given]));
        assert_eq!(wrong.await.unwrap_err().code(), "invalid");
    }
}

async fn changed_rows(database: &Arc<SharedDatabase>) {
    let inserted = run(database, "insert into notes values (1, 'a'), (2, 'b') returning id").await.unwrap();

    assert_eq!((inserted.columns, inserted.changed), (vec!["id".to_owned()], 2));
    assert_eq!(inserted.rows, [[SqlValue::Integer(1)], [SqlValue::Integer(2)]]);
    assert_eq!(run(database, "update notes set title = title || 'x'").await.unwrap().changed, 2);
    assert_eq!(run(database, "select * from notes").await.unwrap().changed, 0);
    assert_eq!(run(database, "with n as (select 1 as one) select * from n").await.unwrap().changed, 0);
    assert_eq!(run(database, "create table more (id integer)").await.unwrap().changed, 0);
}

async fn too_much(database: &Arc<SharedDatabase>) {
    let sql = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) \
               insert into notes (id) select i from n returning id";

    assert_eq!(run(database, sql).await.unwrap_err().code(), "too_large");

    assert_eq!(count(database).await, 0);
}

async fn rolled_back(database: &Arc<SharedDatabase>) {
    let insert = |id: i64| statement("insert into notes (id) values ($1)", &[SqlValue::Integer(id)]);
    let mut session = DatabaseSession::default();
    session.run(database, SqlCommand::Begin).await.unwrap();
    session.run(database, insert(1)).await.unwrap();

    drop(session);

    // The only connection comes back clean.
    assert_eq!(count(database).await, 0);
    let mut session = DatabaseSession::default();
    session.run(database, statement("begin", &[])).await.unwrap();
    session.run(database, insert(2)).await.unwrap();
    session.run(database, SqlCommand::Commit).await.unwrap();
    session.run(database, SqlCommand::Begin).await.unwrap();
    session.run(database, insert(3)).await.unwrap();
    session.run(database, statement("rollback", &[])).await.unwrap();
    assert_eq!(count(database).await, 1);
    assert_eq!(session.run(database, SqlCommand::Rollback).await.unwrap_err().code(), "invalid");
}

async fn begun_once(database: &Arc<SharedDatabase>) {
    let mut session = DatabaseSession::default();
    session.run(database, SqlCommand::Begin).await.unwrap();
    session.run(database, statement("insert into notes values (1, 'a')", &[])).await.unwrap();

    for again in [SqlCommand::Begin, statement("begin", &[])] {
        assert_eq!(session.run(database, again).await.unwrap_err().code(), "invalid");
    }

    session.run(database, SqlCommand::Commit).await.unwrap();
    assert_eq!(count(database).await, 1);
}

async fn isolated(database: &Arc<SharedDatabase>) {
    let (mut one, mut other) = (DatabaseSession::default(), DatabaseSession::default());
    one.run(database, SqlCommand::Begin).await.unwrap();
    one.run(database, statement("insert into notes values (1, 'a')", &[])).await.unwrap();

    let seen = other.run(database, statement("select count(*) from notes", &[])).await.unwrap();
    assert_eq!(seen.rows, [[SqlValue::Integer(0)]]);
    one.run(database, SqlCommand::Commit).await.unwrap();

    let seen = other.run(database, statement("select count(*) from notes", &[])).await.unwrap();
    assert_eq!(seen.rows, [[SqlValue::Integer(1)]]);
}

/// Adds one in a transaction that reads and writes.
async fn add(database: &SharedDatabase) -> Result<(), SqlError> {
    let mut session = DatabaseSession::default();
    session.run(database, SqlCommand::Begin).await?;
    let now = session.run(database, statement("select n from counter", &[])).await?;
    let SqlValue::Integer(now) = now.rows[0][0] else { panic!("{now:?}") };
    let next = [SqlValue::Integer(now + 1)];
    session.run(database, statement("update counter set n = $1", &next)).await?;
    session.run(database, SqlCommand::Commit).await.map(drop)
}

async fn increments(database: &Arc<SharedDatabase>) {
    run(database, "create table counter (n bigint)").await.unwrap();
    run(database, "insert into counter values (0)").await.unwrap();
    let adding = |database: Arc<SharedDatabase>| async move {
        for _ in 0..10 {
            while let Err(error) = add(&database).await {
                assert!(matches!(error.code(), "conflict" | "timeout"), "{error}");
            }
        }
    };

    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(adding(database.clone()))).collect();
    for task in tasks {
        // A statement that loses to another one is tried again.
        tokio::time::timeout(std::time::Duration::from_secs(120), task).await.unwrap().unwrap();
    }

    let sum = run(database, "select n from counter").await.unwrap();
    assert_eq!(sum.rows, [[SqlValue::Integer(80)]]);
}

async fn errors(database: &Arc<SharedDatabase>) {
    run(database, "insert into notes values (1, 'a')").await.unwrap();
    for (sql, code) in [
        ("insert into notes values (2, 'a')", "constraint"),
        ("selec 1", "invalid"),
        ("select 1; select 2", "invalid"),
        ("select 1\0, 2", "invalid"),
        ("select * from nowhere", "invalid"),
        ("select \"nothing\"", "invalid"),
        ("with recursive n(i) as (select 1 union all select i + 1 from n) select i from n", "too_large"),
    ] {
        let error = run(database, sql).await.unwrap_err();
        assert_eq!(error.code(), code, "{sql}: {error}");
    }
    let long = format!("select '{}'", "x".repeat(MAX_SQL));
    assert_eq!(run(database, &long).await.unwrap_err().code(), "invalid");
    let many = statement("select 1", &vec![SqlValue::Null; MAX_PARAMETERS + 1]);
    let error = DatabaseSession::default().run(database, many).await.unwrap_err();
    assert!(error.code() == "invalid" && error.to_string().contains("has more"), "{error}");
    let large = SqlValue::Text("x".repeat(1_000_001));
    let error =
        DatabaseSession::default().run(database, statement("select cast($1 as text)", &[large])).await;
    assert_eq!(error.unwrap_err().code(), "invalid");
}

async fn migrated(database: &Arc<SharedDatabase>) {
    let first = migration(1, "alter table notes add column size bigint; create index sizes on notes (size);");
    let second = migration(2, "\u{feff}update notes set size = 1");

    assert_eq!(database.pending(vec![first.clone()]).await.unwrap(), ["0001_test.sql"]);
    assert_eq!(database.migrate(vec![first.clone()]).await.unwrap(), ["0001_test.sql"]);
    let both = vec![first, second];
    assert_eq!(database.pending(both.clone()).await.unwrap(), ["0002_test.sql"]);
    assert_eq!(database.migrate(both.clone()).await.unwrap(), ["0002_test.sql"]);

    assert_eq!(database.migrate(both).await.unwrap(), [""; 0]);
    run(database, "select size from notes").await.unwrap();
    let changed =
        database.migrate(vec![migration(1, "select 1"), migration(2, "select 1")]).await.unwrap_err();
    assert!(changed.to_string().contains("has changed since"), "{changed}");
}

async fn migrated_long(database: &Arc<SharedDatabase>) {
    let insert = |id: usize| format!("insert into long values ({id}, '{}');\n", "x".repeat(900));
    let inserts: String = (0..222).map(insert).collect();
    let sql = format!("create table long (id bigint, body text);\n{inserts}");
    assert!(sql.len() > 2 * MAX_SQL);

    database.migrate(vec![migration(1, &sql)]).await.unwrap();

    let count = run(database, "select count(*) from long").await.unwrap();
    assert_eq!(count.rows, [[SqlValue::Integer(222)]]);
}

async fn migrated_whole(database: &Arc<SharedDatabase>) {
    for (sql, why) in [
        ("create table a (x bigint); create table notes (y bigint);", "already exists"),
        ("create table a (x bigint); commit; create table b (y bigint);", "leave"),
    ] {
        let error = database.migrate(vec![migration(1, sql)]).await.unwrap_err().to_string();

        assert!(error.contains("0001_test.sql is not applied") && error.contains(why), "{error}");
        assert_eq!(run(database, "select * from a").await.unwrap_err().code(), "invalid");
    }
}

/// What comes before a migration that fails stays applied, and the mended one follows it.
async fn migrated_in_part(database: &Arc<SharedDatabase>) {
    let create = |name: &str| format!("create table {name} (x bigint);");
    let failing = format!("{} insert into nowhere values (1);", create("late"));
    let files = |second: &str| vec![migration(1, &create("early")), migration(2, second)];

    let error = database.migrate(files(&failing)).await.unwrap_err().to_string();

    assert!(error.contains("0002_test.sql is not applied") && error.contains("nowhere"), "{error}");
    run(database, "select * from early").await.unwrap();
    assert_eq!(run(database, "select * from late").await.unwrap_err().code(), "invalid");
    assert_eq!(database.pending(files(&create("late"))).await.unwrap(), ["0002_test.sql"]);
    assert_eq!(database.migrate(files(&create("late"))).await.unwrap(), ["0002_test.sql"]);
    run(database, "select * from late").await.unwrap();
}

async fn migrated_by_two(database: &Arc<SharedDatabase>) {
    let create = |number| migration(number, &format!("create table t{number} (x bigint);"));
    let files: Vec<Migration> = (1..=5).map(create).collect();
    // Of pools of their own, as two daemons have them.
    let again = || DatabasePool::default().get(database.options());
    let apply = |files: Vec<Migration>| {
        let database = again();
        tokio::spawn(async move { database.migrate(files).await.unwrap() })
    };

    let (one, other) = (apply(files.clone()), apply(files));

    assert_eq!(one.await.unwrap().len() + other.await.unwrap().len(), 5);
}
