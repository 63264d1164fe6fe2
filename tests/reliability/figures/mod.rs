//! Figures: the properties that are measured and not proved by a test.
//!
//! Floors, lowest first: the helpers in this file; `appetite`, `bomb`, `directories`, `fairness`, `idle`, `links`,
//! `modules`, `noise`, `recovery`, `slow`, `untaken`, which do not use one another.

mod appetite;
mod bomb;
mod directories;
mod fairness;
mod idle;
mod links;
mod modules;
mod noise;
mod recovery;
mod slow;
mod untaken;

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::cases::Figure;
use crate::ground::{Daemon, PATIENCE};

/// All figures, in the order in which they are measured.
pub(crate) const ALL: [&Figure; 24] = [
    &slow::HEADS,
    &slow::BODIES,
    &slow::READERS,
    &slow::BODIES_OF_ONE,
    &slow::READERS_OF_ONE,
    &links::UPLOAD,
    &links::DOWNLOAD,
    &untaken::RESPONSES,
    &noise::REQUESTS,
    &idle::CONNECTIONS,
    &bomb::SWAP,
    &fairness::SPINNERS,
    &fairness::QUEUE,
    &fairness::ADMIN,
    &appetite::FILLS,
    &appetite::CALLS,
    &appetite::SHORTAGE,
    &directories::LISTING,
    &directories::AGAIN,
    &recovery::KILLED,
    &recovery::CRASHED,
    &recovery::TRAPS,
    &recovery::GROWTH,
    &modules::STARTS,
];

/// Finds figures by their names.
pub(crate) fn chosen(names: &[String]) -> Vec<&'static Figure> {
    ALL.into_iter().filter(|figure| names.iter().any(|name| name == figure.name)).collect()
}

/// Lists the names.
pub(crate) fn names() -> String {
    ALL.map(|figure| figure.name).join(", ")
}

/// Sends a GET request on a new connection, and returns the whole response.
fn ask_once(daemon: &Daemon, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(daemon.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

/// Keeps `at_once` requests to a path in progress while `work` runs.
fn beside<T>(daemon: &Daemon, path: &str, at_once: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // The outcome does not matter: the neighbor is measured.
                    let _failed = ask_once(daemon, path);
                }
            });
        }
        let outcome = work();
        done.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Returns how many times longer `one` takes than `other`.
fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
