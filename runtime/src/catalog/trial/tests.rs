//! Tests of trials, driven by the outcomes of requests.

use super::*;
use crate::job::FromClient;

const MS: Duration = Duration::from_millis(1);

fn rules() -> Rules {
    Rules { time: Duration::from_secs(60), requests: 20, slower: Some(4) }
}

/// A trial whose serving version has answered this many requests in one millisecond each.
fn beside(answered: usize) -> Arc<Trial> {
    let trial = Arc::new(Trial::new(rules()));
    (0..answered).for_each(|_| trial.serving.answered.note(MS));
    trial
}

fn ballot(trial: &Arc<Trial>) -> Ballot {
    let mut ballot = Ballot::new(trial.clone(), AssignedVersion::Tried);
    ballot.awaits();
    ballot
}

/// A request whose client has already waited this long.
fn after(trial: &Arc<Trial>, waited: Duration) -> Ballot {
    let mut ballot = ballot(trial);
    ballot.waited = Some(waited);
    ballot
}

/// A client that has waited half a minute for a head.
fn hangs(trial: &Arc<Trial>, which: AssignedVersion) {
    let since = tokio::time::Instant::now().checked_sub(Duration::from_secs(30)).unwrap();
    let mut wait = ClientWait::begin(None);
    wait.since = since;
    trial.arm(which).heads.begin(wait);
}

fn reason(trial: &Trial) -> &str {
    match trial.verdict() {
        Some(Judgement::GoBack(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_fourth_failure_itself_ends_the_trial() {
    let trial = beside(100);

    (0..3).for_each(|_| ballot(&trial).failed());
    assert_eq!(trial.verdict(), None);
    ballot(&trial).failed();

    assert!(reason(&trial).starts_with("4 of 4 requests (100.0 %) failed"), "{}", reason(&trial));
}

#[test]
fn the_fourth_slow_answer_ends_the_trial() {
    let trial = beside(100);
    trial.look();

    (0..3).for_each(|_| after(&trial, MS * 400).answered());
    assert_eq!(trial.verdict(), None);
    after(&trial, MS * 400).answered();

    assert!(reason(&trial).starts_with("4 of 4 answers took longer than"), "{}", reason(&trial));
}

#[test]
fn clients_that_gave_up_are_no_answers_and_if_they_waited_long_they_are_failures() {
    let (patient, hasty) = (beside(100), beside(100));

    (0..100).for_each(|_| drop(after(&hasty, MS)));
    (0..4).for_each(|_| drop(after(&patient, MS * 200)));

    assert!(reason(&patient).starts_with("4 of 4 requests (100.0 %) failed"), "{}", reason(&patient));
    assert_eq!(hasty.verdict(), None);
    hasty.close();
    assert!(reason(&hasty).starts_with("it has answered 0 of at least 20 requests"), "{}", reason(&hasty));
}

#[test]
fn a_client_that_leaves_when_it_is_its_own_turn_says_nothing() {
    let trial = beside(100);
    let mut reading = after(&trial, MS * 400);
    reading.handed();

    drop(reading);
    after(&trial, MS * 400).withdrawn();

    assert_eq!((trial.tried.left.count(), trial.results().answered), (0, 0));
}

#[test]
fn what_hangs_at_the_end_is_no_vote_for_a_version() {
    let trial = beside(100);
    (0..30).for_each(|_| after(&trial, MS).answered());
    hangs(&trial, AssignedVersion::Tried);

    trial.look();
    assert_eq!(trial.verdict(), None);
    trial.close();

    assert!(reason(&trial).starts_with("1 of 31 requests"), "{}", reason(&trial));
}

#[test]
fn streams_of_events_and_long_polls_of_the_same_handler_do_not_end_its_trial() {
    let trial = beside(180);
    (0..20).for_each(|_| after(&trial, MS).answered());
    (0..4).for_each(|_| hangs(&trial, AssignedVersion::Tried));
    (0..36).for_each(|_| hangs(&trial, AssignedVersion::Serving));
    let streams = (0..8).map(|_| {
        let mut stream = after(&trial, MS);
        stream.handed();
        stream.awaits();
        stream.waited = Some(MS * 10_000);
        stream
    });
    let mut streams: Vec<Ballot> = streams.collect();

    trial.look();
    streams.truncate(4);
    trial.look();

    assert_eq!(trial.verdict(), None);
    assert_eq!(trial.close(), &Judgement::Promote);
}

#[test]
fn a_version_that_hangs_beside_one_that_answers_goes_back() {
    let trial = beside(100);
    (0..4).for_each(|_| hangs(&trial, AssignedVersion::Tried));

    trial.look();

    assert!(reason(&trial).starts_with("4 of 4 answers took longer than"), "{}", reason(&trial));
}

#[tokio::test(start_paused = true)]
async fn slow_uploads_do_not_end_a_trial() {
    let trial = beside(100);
    let uploads: Vec<Ballot> = (0..8)
        .map(|_| {
            let usage = Arc::new(Usage::default());
            let mut ballot = Ballot::new(trial.clone(), AssignedVersion::Tried);
            ballot.begins(&usage);
            usage.waits.begin(FromClient::Input);
            ballot
        })
        .collect();
    tokio::time::advance(MS * 100).await;

    trial.look();
    assert_eq!((trial.verdict(), trial.evidence().tried.hung), (None, 0));
    uploads.into_iter().for_each(Ballot::answered);

    assert_eq!((trial.verdict(), trial.evidence().tried.slow), (None, 0));
}

#[test]
fn a_version_that_answers_as_the_old_one_does_is_promoted() {
    let trial = beside(100);
    (0..20).for_each(|_| after(&trial, MS).answered());
    trial.look();

    assert_eq!(trial.verdict(), None);
    assert_eq!(trial.close(), &Judgement::Promote);
}

#[test]
fn a_run_that_nobody_waits_for_counts_without_a_time() {
    let trial = beside(100);

    (0..20).for_each(|_| Ballot::new(trial.clone(), AssignedVersion::Tried).answered());

    assert_eq!((trial.results().answered, trial.results().p99), (20, None));
    assert_eq!(trial.close(), &Judgement::Promote);
}

#[tokio::test]
async fn a_verdict_wakes_who_waits_for_it_and_the_first_one_stays() {
    let trial = beside(0);
    let waiting = tokio::spawn({
        let trial = trial.clone();
        async move { trial.judged().await.clone() }
    });

    trial.go_back("one");
    trial.go_back("two");

    assert_eq!(waiting.await.unwrap(), Judgement::GoBack("one".to_owned()));
}
