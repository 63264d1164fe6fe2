//! Stores under load while a daemon or a server is killed: what was acknowledged is there, and counted once.
//!
//! The sizes are those of a quick run. `PORTCULLIS_STORE_CRASHES=full` runs 50 kills and 100,000 hits.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;

use crate::harness::{Daemon, Ends, PATIENCE, Random, StoreServer, until, within};
use crate::stores::{add, hits, shortener};

/// Clients at once.
const CLIENTS: usize = 16;

/// Picks the size of a run.
fn size(quick: u64, full: u64) -> u64 {
    match std::env::var("PORTCULLIS_STORE_CRASHES") {
        Ok(word) if word == "full" => full,
        _ => quick,
    }
}

fn serving(url: &str) -> Daemon {
    shortener("stores = [\"default\"]", &format!("[store.default]\nurl = \"{url}\"\n")).start()
}

fn kept_in(file: &Path) -> Daemon {
    serving(&format!("redb:{}", file.display()))
}

/// A connection that may break at any moment.
struct Visitor(TcpStream);

impl Visitor {
    fn at(port: u16) -> io::Result<Visitor> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Visitor(stream))
    }

    /// Follows a link. Returns whether the hit was acknowledged, or an error if nobody knows.
    fn follow(&mut self, slug: &str) -> io::Result<bool> {
        write!(self.0, "GET /l/{slug} HTTP/1.1\r\nHost: test\r\n\r\n")?;
        let mut response = Vec::new();
        loop {
            let mut piece = [0; 2048];
            let length = self.0.read(&mut piece)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            response.extend_from_slice(&piece[..length]);
            let text = String::from_utf8_lossy(&response).to_ascii_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let wanted = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= wanted.map_or(0, |length| length.trim().parse().unwrap()) {
                return Ok(head.starts_with("http/1.1 302"));
            }
        }
    }
}

/// What the clients of a run know.
#[derive(Default)]
struct Account {
    acknowledged: AtomicU64,
    /// Hits that may be counted or not: their response did not arrive, or was an error.
    unknown: AtomicU64,
    ends: AtomicBool,
}

impl Account {
    /// Follows a link at one of these ports until the end or `most` hits, as a load balancer would: after a failure, the
    /// next port is taken.
    fn visit(&self, ports: &Mutex<Vec<u16>>, slug: &str, most: u64, client: usize) {
        let mut turn = client;
        let mut visitor = None;
        while !self.ends.load(Ordering::Relaxed) && self.acknowledged.load(Ordering::Relaxed) < most {
            let port = {
                let ports = ports.lock().unwrap();
                ports[turn % ports.len()]
            };
            let Some(mut open) = visitor.take().or_else(|| Visitor::at(port).ok()) else {
                turn += 1;
                std::thread::yield_now();
                continue;
            };
            match open.follow(slug) {
                Ok(true) => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    visitor = Some(open);
                }
                Ok(false) => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                    visitor = Some(open);
                }
                Err(_) => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
            }
        }
    }

    fn check(&self, counted: u64, what: &str) {
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let unknown = self.unknown.load(Ordering::Relaxed);
        assert!(
            (acknowledged..=acknowledged + unknown).contains(&counted),
            "{what}: {counted} counted, {acknowledged} acknowledged, {unknown} unknown"
        );
        // What a full run is made for.
        let _told = writeln!(
            io::stderr(),
            "{what}: {counted} counted, {acknowledged} acknowledged, {unknown} unknown"
        );
    }
}

#[test]
fn a_hit_that_was_acknowledged_before_a_kill_in_the_middle_is_there() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("links.redb");
    let mut daemon = kept_in(&file);
    let slug = add(&mut daemon.client());
    let account = Account::default();
    let mut random = Random(20261129);
    let kills = size(5, 50);

    for _ in 0..kills {
        let ports = Mutex::new(vec![daemon.port()]);
        let before = account.acknowledged.load(Ordering::Relaxed);
        account.ends.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let _ends = Ends(&account.ends);
            for client in 0..CLIENTS {
                let (account, ports, slug) = (&account, &ports, &slug);
                scope.spawn(move || account.visit(ports, slug, u64::MAX, client));
            }
            // In the middle: some hits after the first ones.
            let most = before + 20 + random.below(200) as u64;
            until("hits before the kill", || {
                (account.acknowledged.load(Ordering::Relaxed) >= most).then_some(())
            });
            daemon.signal(Signal::KILL);
        });
        drop(daemon);
        daemon = kept_in(&file);
        account.check(hits(&daemon, &slug), "after a kill");
    }
}

#[test]
fn two_daemons_with_one_server_lose_no_hit_when_one_is_killed() {
    for server in [StoreServer::redis(&[]), StoreServer::nats(&[])] {
        let Some(server) = server else { continue };
        let daemons = [serving(&server.url()), serving(&server.url())];
        let slug = add(&mut daemons[0].client());
        let ports = Mutex::new(daemons.iter().map(Daemon::port).collect::<Vec<_>>());
        let account = Account::default();
        let most = size(3000, 100_000);

        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (account, ports, slug) = (&account, &ports, &slug);
                scope.spawn(move || account.visit(ports, slug, most, client));
            }
            within(20 * PATIENCE, "half of the hits", || {
                (account.acknowledged.load(Ordering::Relaxed) >= most / 2).then_some(())
            });
            daemons[1].signal(Signal::KILL);
        });

        assert!(account.acknowledged.load(Ordering::Relaxed) >= most);
        account.check(hits(&daemons[0], &slug), server.scheme);
    }
}

#[test]
fn a_server_that_stops_and_starts_under_load_loses_nothing_that_was_acknowledged() {
    for server in [StoreServer::redis(&[]), StoreServer::nats(&[])] {
        let Some(mut server) = server else { continue };
        let daemon = serving(&server.url());
        let slug = add(&mut daemon.client());
        let ports = Mutex::new(vec![daemon.port()]);
        let account = Account::default();
        let reached = |count: u64| account.acknowledged.load(Ordering::Relaxed) >= count;

        std::thread::scope(|scope| {
            let _ends = Ends(&account.ends);
            for client in 0..CLIENTS {
                let (account, ports, slug) = (&account, &ports, &slug);
                scope.spawn(move || account.visit(ports, slug, u64::MAX, client));
            }
            for _ in 0..2 {
                let before = account.acknowledged.load(Ordering::Relaxed);
                until("hits before the stop", || reached(before + 100).then_some(()));
                server.stop();
                until("errors", || (account.unknown.load(Ordering::Relaxed) > 0).then_some(()));
                server.start();
                let before = account.acknowledged.load(Ordering::Relaxed);
                until("hits after the start", || reached(before + 100).then_some(()));
            }
        });

        account.check(hits(&daemon, &slug), server.scheme);
    }
}
