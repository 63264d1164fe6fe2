//! Ports for servers of tests that have to be told theirs.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first of the ports. The kernel chooses among those from 32768 on for a socket without one (ip(7),
/// `ip_local_port_range`).
const FIRST: u16 = 20_000;

/// The number of the ports.
const PORTS: u16 = 12_000;

/// Returns a free port of 127.0.0.1. Neither the kernel nor another test takes it before its server binds it, nor while
/// the server is down.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two runs of the tests at once begin at different ports.
    let own = std::process::id().wrapping_mul(97);
    let next = |_| {
        let number = own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % u32::from(PORTS);
        FIRST + u16::try_from(number).expect("less than PORTS")
    };
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (0..PORTS).map(next).find(is_free).expect("one of the ports is free")
}
