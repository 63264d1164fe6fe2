//! Tests of the memory that connections hold.

use futures_util::FutureExt as _;

use super::*;

const LIMIT: usize = 100 * estimate::CONNECTION;

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, last]))
}

fn is_shed(open: &OpenMemoryAccount) -> bool {
    open.account().shed().now_or_never().is_some()
}

#[test]
fn beyond_the_limit_the_largest_connections_of_the_address_that_holds_most_close() {
    let memory = ClientMemory::new(LIMIT);
    let modest = memory.open(address(1));
    let _one_large = modest.account().charge(30 * estimate::CONNECTION);
    let greedy: Vec<_> = (0..28).map(|_| memory.open(address(2))).collect();
    let mut charges: Vec<_> = greedy.iter().map(|open| open.account().charge(estimate::CONNECTION)).collect();
    assert!(!greedy.iter().any(is_shed), "{}", memory.held());

    charges.push(greedy[7].account().charge(20 * estimate::CONNECTION));

    assert!(is_shed(&greedy[7]) && !is_shed(&modest));
    assert_eq!(memory.shed(), 1);
    drop((greedy, charges));
    assert_eq!(memory.held(), 31 * estimate::CONNECTION);
    assert_eq!(memory.leaving.load(Ordering::Relaxed), 0);
}

#[test]
fn connections_that_leave_are_not_counted_twice() {
    let memory = ClientMemory::new(LIMIT);
    let all: Vec<_> = (0..101).map(|_| memory.open(address(1))).collect();
    let shed = memory.shed();
    assert!((13..=14).contains(&shed), "{shed}");

    // They are still there, and nothing more has to go.
    let _one_more = memory.open(address(2));
    let mut late = all.iter().find(|open| is_shed(open)).unwrap().account().charge(estimate::CONNECTION);
    late.grow(estimate::CONNECTION);

    assert_eq!(memory.shed(), shed);
    drop((all, late));
    assert_eq!(memory.held(), estimate::CONNECTION);
    assert_eq!(memory.leaving.load(Ordering::Relaxed), 0);
}

#[test]
fn what_outlives_its_connection_makes_no_other_close() {
    let memory = ClientMemory::new(LIMIT);
    let other = memory.open(address(1));
    let gone = memory.open(address(2));
    let left = gone.account().charge(90 * estimate::CONNECTION);
    drop(gone);

    let _more = other.account().charge(20 * estimate::CONNECTION);

    assert!(!is_shed(&other));
    drop(left);
    assert_eq!(memory.held(), 21 * estimate::CONNECTION);
    assert_eq!(memory.leaving.load(Ordering::Relaxed), 0);
}

#[test]
fn a_client_that_a_proxy_has_named_holds_what_its_address_holds() {
    let memory = ClientMemory::new(LIMIT);
    let others: Vec<_> = (0..60).map(|_| memory.open(None)).collect();
    let named: Vec<_> = (0..30).map(|_| memory.open(None)).collect();
    named.iter().for_each(|open| open.move_to(address(1)));

    let _more = others[0].account().charge(11 * estimate::CONNECTION);

    assert!(!others.iter().any(is_shed) && named.iter().any(is_shed));
}

#[test]
fn unix_clients_are_judged_one_by_one() {
    let memory = ClientMemory::new(LIMIT);
    let proxies: Vec<_> = (0..60).map(|_| memory.open(None)).collect();
    let flood: Vec<_> = (0..41).map(|_| memory.open(address(1))).collect();

    assert!(!proxies.iter().any(is_shed) && flood.iter().any(is_shed));
}
