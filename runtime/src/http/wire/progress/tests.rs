//! Where a connection stands, on a paused clock.

use super::*;

#[test]
fn a_body_that_is_read_after_the_next_request_has_come_leaves_that_one_owed() {
    let progress = Progress::new();
    let first = progress.owes(true);
    let second = progress.owes(true);

    progress.paid(first);

    assert!(progress.is_owed() && progress.is_mid_request());
    progress.paid(second);
    assert!(!progress.is_owed());
    progress.owes(false);
    progress.paid(second);
    assert!(!progress.is_owed());
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
