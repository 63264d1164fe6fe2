//! Rate limits in a Redis server: bursts, clients apart, a flood of clients, and an outage.

use std::sync::Arc;
use std::time::Duration;

use super::{options, servers};
use crate::store::{RateCount, SharedRate, StorePool};

/// A limit of one request an hour beyond the burst.
fn limit(url: &str, burst: u32) -> Arc<SharedRate> {
    // As in another daemon: the pool is not shared.
    let store = StorePool::default().get(&options(url));
    Arc::new(SharedRate::new(store, "route * /", Duration::from_secs(3600), burst))
}

fn is_admitted(count: Option<RateCount>) -> bool {
    matches!(count, Some(RateCount::Admitted { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_two_daemons_count_together() {
    let Some(server) = servers::redis_in_memory() else { return };
    let (one, other) = (limit(&server.url, 3), limit(&server.url, 3));

    let counts = [one.count(b"a").await, other.count(b"a").await, one.count(b"a").await];
    let refused = other.count(b"a").await;

    assert_eq!(counts, [2, 1, 0].map(|requests| Some(RateCount::Admitted { requests })));
    let Some(RateCount::Refused { retry_after }) = refused else { panic!("{refused:?}") };
    assert!(
        (Duration::from_secs(3590)..=Duration::from_secs(3600)).contains(&retry_after),
        "{retry_after:?}"
    );
    assert!(is_admitted(one.count(b"b").await), "another client");
    assert!(
        is_admitted(limit(&server.url, 4).count(b"b").await),
        "another limit, if its description differs"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_at_once_as_many_pass_as_the_burst_has() {
    let Some(server) = servers::redis_in_memory() else { return };
    let daemons = [limit(&server.url, 40), limit(&server.url, 40)];

    let count = |number: usize| {
        let limit = daemons[number % 2].clone();
        tokio::spawn(async move { limit.count(b"a").await })
    };
    let counts: Vec<_> = (0..100).map(count).collect();
    let mut admitted = 0;
    for count in counts {
        admitted += usize::from(is_admitted(count.await.unwrap()));
    }

    assert_eq!(admitted, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_clients_takes_eight_slots_of_each_set_at_most() {
    let Some(server) = servers::redis_in_memory() else { return };
    let limit = limit(&server.url, 1);
    assert!(is_admitted(limit.count(b"first").await));

    let mut passed = 0;
    for number in 0..2_000_u32 {
        passed += usize::from(is_admitted(limit.count(&number.to_be_bytes()).await));
    }

    assert_eq!(passed, 2_000, "a new client has a burst of its own");
    assert!(!is_admitted(limit.count(b"first").await), "far fewer than 65,536 clients displace no other");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_server_nothing_is_counted_there_and_the_next_second_asks_again() {
    let Some(mut server) = servers::redis_in_memory() else { return };
    let limit = limit(&server.url, 100);
    assert!(is_admitted(limit.count(b"a").await));
    server.stop();

    let counts = [limit.count(b"a").await, limit.count(b"a").await];

    assert_eq!(counts, [None, None]);
    assert_eq!(limit.store().uncounted_requests(), 2);
    server.start();
    let again = async { while !is_admitted(limit.count(b"a").await) {} };
    tokio::time::timeout(Duration::from_secs(20), again).await.unwrap();
}
