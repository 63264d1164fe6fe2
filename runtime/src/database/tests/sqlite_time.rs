//! Statements of SQLite whose time is over, also where SQLite itself does not look at the clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// Far longer than a stopped statement takes, even on a busy machine. A statement that is not stopped takes longer.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// A session whose statements may take 100 ms of processor time.
fn brief_session() -> DatabaseSession {
    let spent = AtomicU64::new(0);
    let caller = SqlCaller::new(1, move |time| {
        let time = u64::try_from(time.as_micros()).unwrap();
        spent.fetch_add(time, Ordering::Relaxed) + time <= 100_000
    });
    DatabaseSession::of(Arc::new(caller))
}

#[tokio::test]
async fn a_call_of_a_function_takes_no_minutes() {
    let (_place, database) = notes(1).await;
    let long = "hex(zeroblob(499000))";
    let names = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000), \
                 j(v) as (select json_group_object('k' || i, i) from n)";
    let begun = Instant::now();
    for (sql, code) in [
        (format!("select length(ltrim({long}, replace(hex(zeroblob(30000)), '0', 'b') || '0'))"), None),
        (format!("select length(trim({long} || 'a', {long} || 'a'))"), None),
        (format!("select instr({long}, hex(zeroblob(200000)) || 'a')"), None),
        (format!("select length(replace({long}, hex(zeroblob(200000)) || 'a', 'b'))"), None),
        (format!("select length(unhex(replace({long}, '0', '-'), replace({long}, '0', 'b') || '-'))"), None),
        (format!("{names} select length(json_patch(v, replace(v, 'k', 'l'))) from j"), Some("invalid")),
    ] {
        let outcome = run(&database, &sql).await;
        assert_eq!(outcome.as_ref().err().map(SqlError::code), code, "{sql}: {outcome:?}");
    }
    assert!(begun.elapsed() < STOPPED_WITHIN, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn calls_in_a_row_end_with_the_time_of_their_job() {
    let (_place, database) = notes(1).await;
    // Of three functions each, and no two alike: SQLite computes what is constant once.
    let calls = |count: i32| {
        let call = |size| format!("replace(hex(zeroblob({size})), '00000000', '1')");
        (1..=count).map(|less| call(499_000 - less)).collect::<Vec<_>>().join(", ")
    };
    let many = format!("select {}", calls(400));
    let refused = run(&database, &many).await.unwrap_err();
    assert!(
        refused.code() == "not_allowed" && refused.to_string().contains("calls of functions"),
        "{refused}"
    );
    let patterns = format!("select {}", vec!["'a' like '%b'"; 51].join(", "));
    assert_eq!(run(&database, &patterns).await.unwrap_err().code(), "not_allowed");
    // They may have 1000 calls.
    let fewer = format!("select {}", calls(300));

    let begun = Instant::now();
    let error = brief_session().run(&database, statement(&fewer, &[])).await.unwrap_err();

    assert!(error.code() == "timeout" && error.to_string().contains("limits.cpu"), "{error}");
    assert!(begun.elapsed() < STOPPED_WITHIN, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_statement_on_nested_views_is_stopped_while_it_is_prepared() {
    let (_place, database) = notes(1).await;
    run(&database, "create view v0 as select id as a from notes").await.unwrap();
    for number in 1..=30 {
        let below = number - 1;
        let sql = format!("create view v{number} as select x.a from v{below} x join v{below} y on x.a = y.a");
        run(&database, &sql).await.unwrap();
    }

    let begun = Instant::now();
    for number in [12, 14, 30] {
        let sql = format!("select count(*) from v{number}");
        // SQLite itself refuses some, for their size.
        let _refused = brief_session().run(&database, statement(&sql, &[])).await;
    }
    assert!(begun.elapsed() < STOPPED_WITHIN, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_wait_for_a_connection_is_counted() {
    let (_place, database) = notes(1).await;
    let mut holder = DatabaseSession::default();
    holder.run(&database, SqlCommand::Begin).await.unwrap();
    let (before, brief) = (database.waited(), Duration::from_millis(100));
    let mut waiting = Box::pin(run(&database, "select 1"));
    // The wait begins here, and the time below not before it.
    assert!(tokio::time::timeout(Duration::ZERO, waiting.as_mut()).await.is_err());

    assert!(tokio::time::timeout(brief, waiting.as_mut()).await.is_err());
    drop(holder);
    tokio::time::timeout(STOPPED_WITHIN, waiting).await.unwrap().unwrap();

    assert!(database.waited() >= before + brief, "{:?}", database.waited());
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
async fn a_statement_is_charged_to_its_job_and_ends_with_the_time_of_that() {
    const MOST: Duration = Duration::from_millis(100);
    let (_place, database) = notes(1).await;
    let spent = Arc::new(AtomicU64::new(0));
    let charged = spent.clone();
    let caller = SqlCaller::new(1, move |time| {
        let time = u64::try_from(time.as_micros()).unwrap();
        Duration::from_micros(charged.fetch_add(time, Ordering::Relaxed) + time) <= MOST
    });
    let mut session = DatabaseSession::of(Arc::new(caller));
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";

    let error = session.run(&database, statement(endless, &[])).await.unwrap_err();

    assert!(error.code() == "timeout" && error.to_string().contains("limits.cpu"), "{error}");
    let spent = Duration::from_micros(spent.load(Ordering::Relaxed));
    assert!(spent > MOST && spent < Duration::from_secs(5), "{spent:?}");
}
