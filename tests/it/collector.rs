//! Responses of a collector of traces, and whether each counts as delivery of the spans.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::origin::{read_body, read_head};
use crate::harness::{Origin, Program, Setup};

#[test]
fn spans_are_sent_once_if_the_status_is_200_whatever_follows() {
    const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (what, odd) in [
        ("broken off", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_owned()),
        ("too long", format!("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70_000))),
    ] {
        let requests = Arc::<AtomicUsize>::default();
        let counted = requests.clone();
        let collector = Origin::of("127.0.0.1", move |head, stream| {
            let mut next = Some(head.to_owned());
            while let Some(head) = next {
                read_body(&head, stream).unwrap();
                // The second response is plain and keeps its connection, on which the third one is sent.
                let is_odd = counted.fetch_add(1, Ordering::SeqCst) != 1;
                let _told = stream.write_all(if is_odd { odd.as_bytes() } else { PLAIN.as_bytes() });
                if is_odd {
                    return;
                }
                next = read_head(stream);
            }
        });
        let daemon = Setup::one("", &Program::text().say("ok").wasm())
            .prepend("admin = \"unix://admin.sock\"\n")
            .add(&format!("\n[traces]\nendpoint = \"http://127.0.0.1:{}\"\n", collector.port()))
            .env("OTEL_BSP_SCHEDULE_DELAY", "10")
            .start();

        for number in 1..=3_i32 {
            assert_eq!(daemon.get("/").status(), 200);

            daemon.counted("portcullis_trace_spans_sent_total", &[], f64::from(6 * number));
            let sent = requests.load(Ordering::SeqCst);
            assert_eq!(sent, usize::try_from(number).unwrap(), "{what}");
        }
        assert_eq!(daemon.metric("portcullis_trace_spans_dropped_total", &[]), 0.0, "{what}");
        assert_eq!(daemon.metric("portcullis_trace_exports_failed_total", &[]), 0.0, "{what}");
    }
}

#[test]
fn spans_behind_a_200_that_is_no_response_of_a_collector_do_not_count_as_sent() {
    for (kind, body, is_taken) in [
        ("text/html", &b"<html>It works!</html>"[..], false),
        ("application/x-protobuf", &b"taken\n"[..], false),
        ("application/x-protobuf", &b"\x0a\x09\x08"[..], false),
        ("application/x-protobuf", &b"\x0a\x00"[..], true),
        // Not in the encoding of the request, but a message of OTLP.
        ("application/json", &b"{}"[..], true),
    ] {
        let collector = Origin::of("127.0.0.1", move |head, stream| {
            read_body(head, stream).unwrap();
            let length = body.len();
            let fields = format!("Content-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close");
            let _told =
                stream.write_all(&[format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").as_bytes(), body].concat());
        });
        let daemon = Setup::one("", &Program::text().say("ok").wasm())
            .prepend("admin = \"unix://admin.sock\"\n")
            .add(&format!("\n[traces]\nendpoint = \"http://127.0.0.1:{}\"\n", collector.port()))
            .env("OTEL_BSP_SCHEDULE_DELAY", "10")
            .start();

        assert_eq!(daemon.get("/").status(), 200);

        let (sent, dropped) = if is_taken { (6.0, 0.0) } else { (0.0, 6.0) };
        daemon.counted("portcullis_trace_spans_sent_total", &[], sent);
        daemon.counted("portcullis_trace_spans_dropped_total", &["not_delivered"], dropped);
        let failed = daemon.metric("portcullis_trace_exports_failed_total", &[]);
        assert_eq!(failed, if is_taken { 0.0 } else { 1.0 }, "{kind}");
        assert_eq!(collector.hits(), 1, "{kind}: by OTLP a 200 is not repeated");
        if !is_taken {
            let line = daemon.log.line("that is no response of a collector: check the endpoint");
            assert!(line.contains(&format!("it answered 200 with a body ({kind})")), "{line}");
        }
    }
}
