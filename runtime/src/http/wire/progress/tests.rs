//! The state of a connection, on a paused clock.

use super::*;

#[test]
fn a_body_that_is_read_after_the_next_request_has_come_leaves_that_one_owed() {
    let progress = Progress::new();
    let first = progress.body_started(true);
    let second = progress.body_started(true);

    progress.body_consumed(first);

    assert!(progress.has_unread_body() && progress.is_mid_request());
    progress.body_consumed(second);
    assert!(!progress.has_unread_body());
    progress.body_started(false);
    progress.body_consumed(second);
    assert!(!progress.has_unread_body());
}

#[tokio::test(start_paused = true)]
async fn what_is_written_does_not_make_a_connection_of_http2_less_idle() {
    let progress = Progress::new();
    progress.multiplexed();
    drop(progress.stream());
    let since = progress.idle_since();
    tokio::time::advance(Duration::from_secs(3)).await;

    progress.wrote();

    assert_eq!((progress.idle_since(), progress.over()), (since, Duration::from_secs(3)));
    assert_eq!(progress.quiet(), Duration::ZERO);
}
