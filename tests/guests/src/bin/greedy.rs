//! Takes as much as it can of the resource that its last argument names.

#[path = "../marks.rs"]
mod marks;

use std::fs::File;
use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

fn main() {
    match std::env::args().next_back().as_deref() {
        Some("grow") => {
            let mut held = Vec::new();
            while held.len() < 4096 {
                held.push(vec![1_u8; 1 << 20]);
            }
            say("no limit");
        }
        Some("hoard") => {
            let mut held = Vec::new();
            let refusal = loop {
                match File::open("/data/mine") {
                    Ok(file) => held.push(file),
                    Err(error) => break error,
                }
            };
            say(&format!("{} and then {:?}", held.len(), refusal.raw_os_error()));
        }
        Some("spin") => spin(),
        Some("never") => thread::sleep(Duration::from_secs(1 << 30)),
        Some("pour") => {
            say("");
            let piece = [b'x'; 1 << 16];
            while io::stdout().write_all(&piece).is_ok() {}
        }
        Some("say") => {
            eprintln!("one line!\ntwo lines");
            say("said");
        }
        // Sends back its input after the mark.
        Some("mark") => {
            marks::make();
            say("");
            let _gone = io::copy(&mut io::stdin(), &mut io::stdout());
        }
        Some("marks") => say(&marks::count().to_string()),
        _ => say("unknown"),
    }
}

fn say(text: &str) {
    println!("Content-Type: text/plain\n\n{text}");
}

fn spin() -> ! {
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number).wrapping_mul(3);
    }
}
