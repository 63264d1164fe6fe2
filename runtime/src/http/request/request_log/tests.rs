//! Tests of the log of a request.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::engine::idle;
use crate::http::request::logged_job::INTERNAL;
use crate::http::wire::client_memory::MemoryAccount;
use crate::job::HandlerVersion;

/// The log of a request with a job, and the handler of the job.
fn begun() -> (RequestLog, Arc<HandlerVersion>) {
    let job = idle::engine().job("idle").unwrap();
    let mut log = RequestLog::new(Progress::new(MemoryAccount::unlimited()));
    log.job_chosen(LoggedJob::of(&job), None);
    (log, job.entry)
}

#[test]
fn a_panic_behind_the_head_is_a_failure_and_no_success() {
    let (mut log, entry) = begun();
    log.head_sent(StatusCode::OK);

    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _exchange = log;
        panic!("as a bug would");
    }));

    assert!(unwound.is_err());
    assert_eq!((entry.record.requests.ended(), entry.record.requests.failed()), (1, 1));
    assert_eq!(entry.record.reasons(), BTreeMap::from([(INTERNAL, 1)]));
}

#[test]
fn a_panic_before_the_head_is_answered_and_a_failure() {
    let (mut log, entry) = begun();

    let refusal = log.panicked("as a bug would");
    log.refused(&refusal);
    log.head_sent(StatusCode::INTERNAL_SERVER_ERROR);
    log.complete();
    drop(log);

    assert_eq!(refusal.code(), INTERNAL);
    assert_eq!((entry.record.requests.ended(), entry.record.requests.failed()), (1, 1));
    assert_eq!(entry.record.reasons(), BTreeMap::from([(INTERNAL, 1)]));
}

#[test]
fn an_error_of_the_handler_is_counted_apart_from_one_of_the_daemon() {
    let end = |fault: Option<Fault>| {
        let (mut log, entry) = begun();
        let refusal = fault.map(|fault| log.job_failed(fault));
        refusal.iter().for_each(|refusal| log.refused(refusal));
        log.head_sent(refusal.map_or(StatusCode::SERVICE_UNAVAILABLE, |refusal| refusal.status()));
        log.complete();
        drop(log);
        (entry.record.requests.failed(), entry.record.answered_errors())
    };

    assert_eq!(end(None), (1, 1));
    assert_eq!(end(Some(Fault::BadAnswer("no head".to_owned()))), (1, 0));
}

#[test]
fn the_history_gets_a_path_without_the_query() {
    let (head, ()) = http::Request::get("/a?token=s3cret").body(()).unwrap().into_parts();

    let story = begun_story(Instant::now(), &head, &Peer::nobody());

    assert_eq!((&*story.path, story.client), ("/a", None));
}
