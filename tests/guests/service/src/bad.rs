//! Misbehaviour of a wasi:http 0.3 handler: forbidden calls, and calls that exceed a limit.

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Fields};
use wasip3::wit_stream;

use crate::{Answer, answer, text};

/// Misbehaves in the way that `how` names.
pub async fn handle(how: &str) -> Answer {
    match how {
        "never" => {
            wait_for(u64::MAX).await;
            text("for ever\n")
        }
        "stuck" => {
            // No byte arrives, because this guest holds the writer.
            let (_writer, mut reader) = wit_stream::new::<u8>();
            let _never = reader.next().await;
            text("unstuck\n")
        }
        "spin" => spin(),
        "trap" => panic!("out of cheese"),
        "exit" => std::process::exit(3),
        "grow" => grow(),
        "hoard" => {
            let held: Vec<Fields> = (0..100_000).map(|_| Fields::new()).collect();
            text(&format!("{}\n", held.len()))
        }
        // Keeps one end of a stream as long as the instance lives.
        "keep" => {
            std::mem::forget(wit_stream::new::<u8>());
            text("kept\n")
        }
        "streams" => {
            let held: Vec<_> = (0..1_000_000).map(|_| wit_stream::new::<u8>()).collect();
            text(&format!("{}\n", held.len()))
        }
        // A head and a piece of the body, then:
        "late" => answer(&[], |mut body| async move {
            body.write_all(b"a piece".to_vec()).await;
            panic!("behind the head");
        }),
        "later" => answer(&[], |mut body| async move {
            body.write_all(b"a whole".to_vec()).await;
            drop(body);
            panic!("behind the body");
        }),
        "stall" => answer(&[], |mut body| async move {
            body.write_all(b"a piece".to_vec()).await;
            wait_for(u64::MAX).await;
            Ok(None)
        }),
        "leave" => answer(&[], |mut body| async move {
            body.write_all(b"a piece".to_vec()).await;
            std::mem::forget(body);
            Ok(None)
        }),
        "abort" => answer(&[], |mut body| async move {
            body.write_all(b"a piece".to_vec()).await;
            Err(ErrorCode::InternalError(None))
        }),
        "short" => lie("10", b"abc"),
        "long" => lie("3", b"abcdef"),
        _ => text("unknown\n"),
    }
}

fn spin() -> ! {
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number).wrapping_mul(3);
    }
}

/// Announces another length than the body has.
fn lie(length: &str, bytes: &'static [u8]) -> Answer {
    answer(&[("content-length", length)], move |mut body| async move {
        body.write_all(bytes.to_vec()).await;
        Ok(None)
    })
}

/// Grows memory until that fails.
fn grow() -> Answer {
    let mut held = Vec::new();
    while held.len() < 4096 {
        held.push(vec![1_u8; 1 << 20]);
    }
    text("no limit\n")
}
