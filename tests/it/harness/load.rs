//! Load on a daemon: clients that repeat a request, and the latencies of responses.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Client, Response};

/// The latencies of responses, sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

/// Clients that repeat a request as soon as it is answered, until this is dropped.
pub(crate) struct Crowd {
    over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Latencies {
    /// Sends `requests` requests over one connection, and checks each response.
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

    /// Returns the latency that `percent` of the responses did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

impl Crowd {
    /// Starts this many clients on a target. Responses may be errors. Clients reconnect if the daemon closes a
    /// connection.
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

    /// Returns the number of responses so far.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked lost its connection when the daemon ended.
            let _ended = thread.join();
        }
    }
}

/// Requests two targets at once, each from two threads. A thread sends `requests` requests, one after another. Returns
/// the statuses of the responses.
pub(crate) fn at_once(
    [one, other]: [&str; 2],
    requests: usize,
    ask: impl Fn(&str) -> Response + Sync,
) -> Vec<u16> {
    let asking = |target: &str| (0..requests).map(|_| ask(target).status()).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let threads = [one, other, one, other].map(|target| scope.spawn(move || asking(target)));
        threads.map(|thread| thread.join().unwrap()).concat()
    })
}

/// Prints a measured figure.
pub(crate) fn figure(line: &str) {
    // Written to the terminal directly, because the output of a passing test is not shown.
    let _told = writeln!(std::io::stderr(), "{line}");
}
