//! Load on a daemon: clients that ask again and again, and how long each answer took.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Client, Response};

/// How long answers took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

/// Clients that ask until it is dropped, each again as soon as it is answered.
pub(crate) struct Crowd {
    over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Latencies {
    /// Asks `requests` times over one connection, and checks each answer.
    pub(crate) fn of(
        client: &mut Client,
        target: &str,
        requests: usize,
        check: impl Fn(&Response),
    ) -> Latencies {
        let mut latencies: Vec<Duration> = (0..requests)
            .map(|_| {
                let start = Instant::now();
                let response = client.get(target);
                let time = start.elapsed();
                check(&response);
                time
            })
            .collect();
        latencies.sort_unstable();
        Latencies(latencies)
    }

    /// Returns the latency that this share of the answers, in percent, did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

impl Crowd {
    /// Starts this many clients on a target. Answers may be failures; connections that the daemon
    /// closes are made anew.
    pub(crate) fn on(port: u16, target: &str, clients: usize) -> Crowd {
        let (over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..clients).map(|_| {
            let (over, answers, target) = (over.clone(), answers.clone(), target.to_owned());
            std::thread::spawn(move || {
                let mut client = Client::tcp(port);
                while !over.load(Ordering::Relaxed) {
                    match client.get_or_closed(&target) {
                        Some(_) => drop(answers.fetch_add(1, Ordering::Relaxed)),
                        None => client = Client::tcp(port),
                    }
                }
            })
        });
        let threads = threads.collect();
        Crowd { over, answers, threads }
    }

    /// Returns how many answers there were so far.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that has panicked was cut off by the end of the daemon.
            let _ended = thread.join();
        }
    }
}

/// Shows what was measured.
pub(crate) fn figure(line: &str) {
    // To the terminal itself: what a test prints is shown only when it fails.
    let _told = writeln!(std::io::stderr(), "{line}");
}
