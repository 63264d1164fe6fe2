//! Misbehaviour of a wasi:http handler: forbidden calls, and calls that exceed a limit.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::types::{Fields, ResponseOutparam};

use crate::{begin, finish, text, write};

/// Misbehaves in the way that `how` names.
pub fn handle(how: &str, out: ResponseOutparam) {
    match how {
        "never" => subscribe_duration(u64::MAX).block(),
        "spin" => spin(),
        "trap" => panic!("out of cheese"),
        "silent" => drop(out),
        // Ends without a response, and the job goes on:
        "unset" => {
            drop(out);
            wait_twice();
        }
        "forget" => {
            std::mem::forget(out);
            wait_twice();
        }
        "exit" => std::process::exit(3),
        "grow" => grow(out),
        "hoard" => hoard(out),
        // A head and a piece of the body, then:
        "late" => {
            let body = begin(out, 200, &[]);
            write(&body, b"a piece");
            panic!("behind the head");
        }
        "later" => {
            let body = begin(out, 200, &[]);
            write(&body, b"a whole");
            finish(body, None);
            panic!("behind the body");
        }
        "stall" => {
            let body = begin(out, 200, &[]);
            write(&body, b"a piece");
            subscribe_duration(u64::MAX).block();
            finish(body, None);
        }
        "leave" => {
            let body = begin(out, 200, &[]);
            write(&body, b"a piece");
            std::mem::forget(body);
        }
        "abort" => {
            let body = begin(out, 200, &[]);
            write(&body, b"a piece");
            drop(body);
        }
        // A head that reports a failure, and 200 ms later the end without a body:
        "fail" => {
            let body = begin(out, 500, &[]);
            subscribe_duration(200_000_000).block();
            drop(body);
        }
        "short" => lie(out, "10", b"abc"),
        "long" => lie(out, "3", b"abcdef"),
        "odd" => lie(out, "+3", b"abc"),
        _ => text(out, "unknown\n"),
    }
}

/// Waits twice, so that an observer of the job sees it more than once meanwhile.
fn wait_twice() {
    for _ in 0..2 {
        subscribe_duration(50_000_000).block();
    }
}

fn spin() {
    let mut number = 1_u64;
    while std::hint::black_box(number) != 0 {
        number = number.wrapping_mul(3);
    }
}

/// Announces another length than the body has.
fn lie(out: ResponseOutparam, length: &str, bytes: &[u8]) {
    let body = begin(out, 200, &[("content-length", length)]);
    write(&body, bytes);
    finish(body, None);
}

/// Grows memory until that fails.
fn grow(out: ResponseOutparam) {
    let mut held = Vec::new();
    loop {
        held.push(vec![1_u8; 1 << 20]);
        if held.len() > 4096 {
            return text(out, "no limit\n");
        }
    }
}

/// Makes sets of fields until that fails.
fn hoard(out: ResponseOutparam) {
    let held: Vec<Fields> = (0..100_000).map(|_| Fields::new()).collect();
    text(out, &format!("{}\n", held.len()));
}
