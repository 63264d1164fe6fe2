//! Tests of the lines of the access log.

use super::*;
use crate::engine::idle;
use http::Request;
use serde_json::Value;

const ADDRESS: &str = "192.0.2.7:4711";

fn request(format: AccessLogFormat) -> LoggedRequest {
    let request = Request::get("/a?token=s3cret&x=%221%22")
        .header(USER_AGENT, "curl/8 \"quoted\"")
        .header(REFERER, "https://x.example/?token=s3cret")
        .body(());
    let (head, ()) = request.unwrap().into_parts();
    let mask = QueryMask::new(["token".to_owned()]);
    LoggedRequest::of(&head, Remote::Tcp(ADDRESS.parse().unwrap()), &AccessLog { format, mask })
}

fn response<'a>(job: Option<LoggedRun<'a>>) -> LoggedResponse<'a> {
    LoggedResponse {
        status: Some(StatusCode::OK),
        bytes: 12,
        time: Duration::from_micros(1500),
        reason: None,
        is_complete: true,
        user: None,
        trace: None,
        job,
    }
}

#[test]
fn the_common_format_has_the_request_without_the_masked_value() {
    let line = request(AccessLogFormat::Common).common(&response(None));

    let (head, tail) = line.split_once('[').unwrap();
    assert_eq!(head, "192.0.2.7 - - ");
    let (time, tail) = tail.split_once("] ").unwrap();
    assert!(time.ends_with(" +0000") && time.len() == "29/Nov/2026:10:00:00 +0000".len(), "{time}");
    assert_eq!(tail, "\"GET /a?token=***&x=%221%22 HTTP/1.1\" 200 12");
}

#[test]
fn the_common_format_has_hyphens_for_what_there_is_not() {
    let none = LoggedResponse { status: None, bytes: 0, ..response(None) };

    let line = request(AccessLogFormat::Common).common(&none);

    assert!(line.ends_with("\" - -"), "{line}");
}

#[test]
fn a_user_is_one_word_of_the_common_format_and_cannot_forge_another() {
    for (user, wanted) in [
        ("ada", "ada"),
        ("Größe", "Größe"),
        ("", "\"\""),
        ("ada [x] \"GET / HTTP/1.1\"", "ada\\u{20}[x]\\u{20}\\\"GET\\u{20}/\\u{20}HTTP/1.1\\\""),
        ("a\nb\u{a0}c", "a\\nb\\u{a0}c"),
    ] {
        let named = LoggedResponse { user: Some(user), ..response(None) };

        let line = request(AccessLogFormat::Common).common(&named);

        assert!(line.starts_with(&format!("192.0.2.7 - {wanted} [")), "{line}");
    }
}

#[test]
fn a_long_user_is_cut_between_letters() {
    for (length, wanted) in [(LONGEST_USER, ""), (LONGEST_USER + 1, "…")] {
        let user = "x".repeat(length);

        assert_eq!(cut_user(&user), "x".repeat(LONGEST_USER) + wanted);
    }
    assert_eq!(cut_user(&"ö".repeat(65)), "ö".repeat(64) + "…");
    let odd = format!("x{}", "ö".repeat(64));
    assert_eq!(cut_user(&odd), format!("x{}…", "ö".repeat(63)));
}

#[test]
fn json_has_the_job_the_parts_of_the_time_and_no_masked_value() {
    let job = idle::engine().job("idle").unwrap();
    let durations = JobDurations {
        queue: Duration::ZERO,
        instantiate: Some(Duration::from_micros(20)),
        guest: Some(Duration::from_micros(1200)),
    };
    let run = LoggedRun { id: JobId(0xe5), entry: &job.entry, durations, send: None, received: 3 };
    let mut request = request(AccessLogFormat::Json);
    request.route = Some("/a".into());

    let line: Value = serde_json::from_str(&json(&request.json(&response(Some(run))))).unwrap();

    for (key, wanted) in [
        ("job", Value::from("00000000000000e5")),
        ("handler", "idle".into()),
        ("route", "/a".into()),
        ("client", ADDRESS.into()),
        ("target", "/a?token=***&x=%221%22".into()),
        ("referer", "https://x.example/?token=***".into()),
        ("user_agent", "curl/8 \"quoted\"".into()),
        ("status", 200.into()),
        ("bytes", 12.into()),
        ("request_bytes", 3.into()),
        ("complete", true.into()),
        ("duration_ms", 1.5.into()),
        ("queue_ms", 0.0.into()),
        ("instantiate_ms", 0.02.into()),
        ("guest_ms", 1.2.into()),
    ] {
        assert_eq!(line[key], wanted, "{key}");
    }
    assert_eq!((line.get("reason"), line.get("send_ms")), (None, None));
}

#[test]
fn text_of_a_client_cannot_end_a_line_or_a_quotation() {
    let head = Request::get("/").header(USER_AGENT, "a\"\tb").body(()).unwrap().into_parts().0;
    let log = AccessLog { format: AccessLogFormat::Combined, mask: QueryMask::default() };
    let request = LoggedRequest::of(&head, Remote::Tcp(ADDRESS.parse().unwrap()), &log);

    let line = request.combined(&response(None));

    assert!(line.ends_with(" \"-\" \"a\\\"\\tb\""), "{line}");
}
