//! Handlers that share a budget.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

fn holder() -> Arc<Holder> {
    Arc::default()
}

#[test]
fn one_handler_takes_seven_eighths_and_another_gets_some_of_the_rest() {
    let (budget, greedy, modest) = (Budget::new(320), holder(), holder());
    let mut taken = budget.try_take(&greedy, 280).unwrap();

    assert!(!taken.grow(1));
    assert_eq!((taken.units(), budget.used()), (280, 280));
    // Three quarters of the 40 reserved units.
    let mut some = budget.try_take(&modest, 20).unwrap();
    assert!(some.grow(10) && !some.grow(1));
    // A quarter stays for handlers that hold no more than a quarter.
    let late = holder();
    let mut few = budget.try_take(&late, 9).unwrap();
    assert!(few.grow(1) && !few.grow(1) && budget.try_take(&holder(), 1).is_none());
    drop((some, few));
    drop(taken);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let (budget, holder) = (Budget::new(80), holder());
    let mut portion = budget.try_take(&holder, 70).unwrap();

    portion.shrink_to(30);

    assert_eq!((portion.units(), budget.used()), (30, 30));
    assert!(portion.grow(40) && !portion.grow(1));
}

#[test]
fn what_is_split_off_is_held_until_it_is_given_back_by_itself() {
    let (budget, holder) = (Budget::new(80), holder());
    let mut portion = budget.try_take(&holder, 30).unwrap();

    let part = portion.split(10);

    assert_eq!((portion.units(), part.units(), budget.used()), (20, 10, 30));
    drop(portion);
    assert_eq!((budget.used(), holder.held.load(Ordering::SeqCst)), (10, 10));
    drop(part);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_budget_that_shrinks_takes_what_is_given_back_and_one_that_grows_settles_first() {
    let (budget, holder) = (Budget::new(800), holder());
    let mut portion = budget.try_take(&holder, 600).unwrap();

    budget.resize(400);
    assert!(budget.all() == Some(400) && budget.used() == 600 && !portion.grow(1));
    portion.shrink_to(345);
    assert!(budget.used() == 345 && portion.grow(5) && !portion.grow(1), "{}", budget.used());

    budget.resize(800);
    assert!(portion.grow(350) && !portion.grow(1), "{portion:?}");
    budget.resize(0);
    drop(portion);
    assert_eq!((budget.used(), budget.all()), (0, Some(0)));
    budget.resize(80);
    assert!(budget.try_take(&holder, 70).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_turn_before_those_that_come_later() {
    let (budget, first, second) = (Budget::new(80), holder(), holder());
    let all = budget.try_take(&first, 70).unwrap();
    let mut waiting = pin!(budget.take(&second, 40));
    assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err());

    drop(all);

    assert!(budget.try_take(&first, 70).is_none());
    assert_eq!(waiting.await.unwrap().units(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_comes_to_hold_little_is_served_from_what_is_kept() {
    let (budget, greedy, waiter) = (Budget::new(320), holder(), holder());
    let own = budget.try_take(&waiter, 26).unwrap();
    let _rest = budget.try_take(&greedy, 254).unwrap();
    let mut waiting = pin!(budget.take(&waiter, 5));
    assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err());

    // They return to the common pool, where another handler takes them first.
    drop(own);

    assert_eq!(waiting.await.unwrap().units(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_large_job_that_waits_for_the_reserve_does_not_hold_up_a_small_one() {
    let (budget, greedy, some, large, small) = (Budget::new(320), holder(), holder(), holder(), holder());
    let _rest = budget.try_take(&greedy, 280).unwrap();
    let held = budget.try_take(&some, 5).unwrap();
    let mut waiting = pin!(budget.take(&large, 30));
    assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err());

    assert_eq!(budget.take(&small, 1).await.unwrap().units(), 1);
    drop(held);

    assert_eq!(timeout(Duration::from_secs(1), waiting).await.unwrap().unwrap().units(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_large_job_gets_the_reserved_units_that_a_small_one_no_longer_waits_for() {
    let (budget, greedy, some, large, small) = (Budget::new(320), holder(), holder(), holder(), holder());
    let _rest = budget.try_take(&greedy, 280).unwrap();
    let (held, _few) = (budget.try_take(&some, 30).unwrap(), budget.try_take(&holder(), 10).unwrap());
    let mut waiting = pin!(budget.take(&large, 20));
    assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err());
    let mut leaving = Box::pin(budget.take(&small, 10));
    assert!(timeout(Duration::from_secs(1), &mut leaving).await.is_err());

    // 10 of the 30 units are for the small job, which is ahead. A large one needs 20, and 10 beside them.
    drop(held);
    assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err());
    drop(leaving);

    assert_eq!(timeout(Duration::from_secs(1), waiting).await.unwrap().unwrap().units(), 20);
}

#[tokio::test]
async fn more_than_any_handler_may_have_is_not_waited_for() {
    let budget = Budget::new(80);

    assert!(budget.take(&holder(), 71).await.is_none());
    assert!(budget.all() == Some(80) && Budget::boundless().all().is_none());
}
