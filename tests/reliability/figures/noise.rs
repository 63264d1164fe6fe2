//! The figure of a million malformed requests.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, ensure};

use crate::cases::{Figure, Outcome};
use crate::ground::{Ground, PATIENCE};
use crate::random::Random;

/// The number of malformed requests.
const COUNT: u64 = 1_000_000;

/// The number of clients that send them.
const CLIENTS: u64 = 4;

pub(crate) static REQUESTS: Figure = Figure { name: "noise", measure: million };

/// The templates of the requests: valid ones, and some that tempt a parser.
const SEEDS: [&str; 12] = [
    "GET /good HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody",
    "POST /read HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
    "GET /good HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "GET /good HTTP/1.1\nHost: localhost\n\n",
    "GET http://localhost/good HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
    "GET /%2e%2e/good?%00 HTTP/1.1\r\nHost: localhost\r\nProxy: x\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    "GET /good HTTP/1.0\r\nConnection: keep-alive, upgrade\r\nUpgrade: h2c\r\n\r\n",
];

fn million(ground: &Ground) -> Result<Outcome> {
    let mut daemon =
        ground.daemon("http.first_byte = \"2s\"\nhttp.head = \"2s\"\nhttp.body_idle = \"2s\"\n")?;
    let socket = ground.path("p.sock");
    let answered = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let socket = &socket;
                scope.spawn(move || send(socket, 0x9e37_79b9_7f4a_7c15 ^ (client + 1), COUNT / CLIENTS))
            })
            .collect();
        let joined = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?);
        joined.sum::<Result<u64>>()
    })?;
    daemon.alive()?;
    let recovery = daemon.recovered()?;
    Ok(Outcome {
        holds: true,
        text: format!(
            "{COUNT} random or malformed requests: no crash, no connection out of step; {answered} were answered, the rest \
             closed"
        ),
        recovery,
    })
}

/// Sends `count` requests, each on a new connection and followed by a valid request, and checks the responses. Returns
/// how many got a response.
fn send(socket: &Path, seed: u64, count: u64) -> Result<u64> {
    let mut random = Random(seed);
    let mut answered = 0;
    let mut received = Vec::new();
    for _ in 0..count {
        let request = request(&mut random);
        received.clear();
        // Blocks while the listener's queue is full.
        let mut stream = UnixStream::connect(socket).context("connect")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let sent = stream.write_all(&request).and_then(|()| stream.write_all(BEHIND));
        let _half = stream.shutdown(std::net::Shutdown::Write);
        // The server may close the connection before it has read everything.
        let _reset = sent.and_then(|()| stream.read_to_end(&mut received).map(drop));
        in_step(&received).with_context(|| {
            format!("to \"{}\" came \"{}\"", request.escape_ascii(), received.escape_ascii())
        })?;
        answered += u64::from(!received.is_empty());
    }
    Ok(answered)
}

/// A valid request, the last on its connection.
const BEHIND: &[u8] = b"GET /good HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Makes a request from a template: with bytes changed, cut or doubled, or pure noise.
fn request(random: &mut Random) -> Vec<u8> {
    let mut bytes = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes.truncate(at.max(1)),
            2 => bytes.insert(at, b"\r\n\0 :;\t,"[random.below(8)]),
            3 => drop(bytes.remove(at)),
            4 => bytes.extend_from_within(at..),
            _ => bytes = (0..random.below(64) + 1).map(|_| random.next() as u8).collect(),
        }
        if bytes.is_empty() {
            bytes.push(b'\0');
        }
    }
    bytes
}

/// Checks that only whole responses arrived, one after the other. Only the last may be cut off.
fn in_step(mut bytes: &[u8]) -> Result<()> {
    // The server's HTTP/2 preface; its frames are not checked.
    if bytes.starts_with(b"\0\0") {
        return Ok(());
    }
    let mut responses = 0;
    while !bytes.is_empty() {
        ensure!(
            bytes.starts_with(b"HTTP/1.1 ") || bytes.starts_with(b"HTTP/1.0 "),
            "no response begins here"
        );
        let end = memchr::memmem::find(bytes, b"\r\n\r\n").context("a head without an end")?;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        bytes = &bytes[end + 4..];
        responses += 1;
        // Doubled templates are several requests.
        ensure!(responses <= 64, "more responses than requests");
        let is_interim = head.split(' ').nth(1).is_some_and(|status| status.starts_with('1'));
        match (field("content-length:"), field("transfer-encoding:")) {
            (Some(length), _) => {
                let length: usize = length.parse().context("Content-Length")?;
                // The client has closed its sending side, so the server may treat it as gone.
                let Some(rest) = bytes.get(length..) else { return Ok(()) };
                bytes = rest;
            }
            (None, Some(_)) => {
                let Some(end) = memchr::memmem::find(bytes, b"0\r\n\r\n") else { return Ok(()) };
                bytes = &bytes[end + 5..];
            }
            (None, None) if is_interim || head.contains(" 204 ") => {}
            (None, None) => return Ok(()),
        }
    }
    Ok(())
}
