//! Name look-ups while a name server stays silent.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{GUEST, asker};
use crate::harness::{Daemon, Origin, Setup, figure, found, guests, soon, until};

/// The address of the name server: a loopback address that nothing else uses.
const SERVER: &str = "127.0.53.77";

/// Starts a server that resolves `good.test` to 127.0.0.1 and ignores all other names. Returns `None`, with a message,
/// if this host does not allow it.
fn name_server() -> Option<Arc<AtomicUsize>> {
    if !found(&["unshare"], "util-linux") {
        return None;
    }
    let socket = match UdpSocket::bind((SERVER, 53)) {
        Ok(socket) if rustix::process::geteuid().is_root() => socket,
        _ => {
            let advice = "a name server cannot be had: run as root, with a free port 53";
            assert!(std::env::var_os("CI").is_none(), "{advice}");
            figure(&format!("skipped: {advice}"));
            return None;
        }
    };
    let ignored = Arc::new(AtomicUsize::new(0));
    let count = ignored.clone();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            match answer(&query[..length]) {
                Some(answer) => drop(socket.send_to(&answer, client)),
                None => drop(count.fetch_add(1, Ordering::Relaxed)),
            }
        }
    });
    Some(ignored)
}

/// Answers a query (RFC 1035 §4.1). `None` if it is not for this name.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name = b"\x04good\x04test\0";
    let question = query.get(12..12 + name.len() + 4)?;
    if !question.starts_with(name) {
        return None;
    }
    let is_a = question[name.len()..].starts_with(&[0, 1]);
    let mut answer = query[..2].to_vec();
    // A response, recursion available, one question, and one answer to a question of type A.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(question);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

/// Sends a request on a connection of its own without waiting for the response.
fn ask(daemon: &Daemon, target: &str, url: &str) -> crate::harness::Client {
    let mut client = daemon.client();
    let call = format!("GET {url}");
    let length = call.len();
    client.send(format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{call}"));
    client
}

#[test]
fn a_handler_that_asks_for_silent_names_does_not_keep_another_from_asking_servers() {
    let Some(ignored) = name_server() else { return };
    let origin = Origin::text("127.0.0.1", "hello");
    let good = format!("http://good.test:{}", origin.port());
    let module = std::fs::read(guests().join(format!("{GUEST}-wasip2.wasm"))).unwrap();
    let setup: Setup = asker("allow = [\"http://*.silent.test\"]\nlimits.outbound.connect = \"60s\"")
        .handler("other", &format!("allow = [\"{good}\"]\nallow_addresses = [\"127.0.0.1\"]"), &module)
        .file("resolv.conf", format!("nameserver {SERVER}\n").as_bytes());
    let resolv = setup.path("resolv.conf");
    let mount = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let daemon = setup.under(&["unshare", "-m", "sh", "-c", mount, resolv.to_str().unwrap()]).start();

    let _silent: Vec<_> =
        (0..40).map(|number| ask(&daemon, "/", &format!("http://n{number}.silent.test/"))).collect();
    // Two queries for each name, one for each kind of address.
    until("silent names are looked up", || (ignored.load(Ordering::Relaxed) >= 8).then_some(()));

    soon(Duration::from_secs(4), || {
        assert_eq!(ask(&daemon, "/other", &good).response().text().trim_end(), "200 hello");
    });
}
