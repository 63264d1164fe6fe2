//! Figures of slow clients with a good one among them.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground, Latencies, PATIENCE};
use crate::load::Exchange;

/// The number of slow clients of a crowd.
const MANY: u32 = 4000;

/// A few more slow clients than a handler has slots.
const FEW: u32 = 70;

/// How long the good client is measured.
const TIME: Duration = Duration::from_secs(5);

/// The limit on a response for which a slow client has to make room: its patience of a second, and two checks.
const ROOM: Duration = Duration::from_millis(1500);

/// Short deadlines, so that the slow clients are closed within the measurement.
const SETTINGS: &str = "http.connections = 8000\nhttp.connections_per_peer = 8000\nhttp.head = \"8s\"\nhttp.first_byte = \"8s\"\n\
     http.body_idle = \"8s\"\nhttp.write_idle = \"8s\"\nhttp.keep_alive = \"8s\"\nlimits.queue = 16\n";

/// The address of clients, and another one.
const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The head of a request whose body does not come.
const BODY: &[u8] = b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";

/// A request for an endless response.
const POUR: &[u8] = b"GET /pour HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Slow clients, and the good one beside them.
struct Attack {
    clients: u32,
    from: Ipv4Addr,
    /// What they do, as a clause.
    what: &'static str,
    /// What each of them sends at first.
    begin: &'static [u8],
    /// What each of them does then, once in `every`.
    step: fn(&TcpStream) -> io::Result<usize>,
    every: Duration,
    /// The good client.
    good: fn(&Daemon, Duration) -> Result<Latencies>,
}

pub(crate) static HEADS: Figure = Figure {
    name: "slow-heads",
    measure: |ground| {
        beside(
            ground,
            &Attack {
                clients: MANY,
                from: ONE,
                what: "that send a byte of a head now and then",
                begin: b"GET /good HTTP/1.1\r\nX-Slow: ",
                step: send,
                every: Duration::from_secs(5),
                good: |daemon, time| daemon.good(time),
            },
        )
    },
};

pub(crate) static BODIES: Figure = Figure {
    name: "slow-bodies",
    measure: |ground| {
        beside(
            ground,
            &Attack {
                clients: MANY,
                from: ONE,
                what: "that send a byte of a body now and then",
                begin: BODY,
                step: send,
                every: Duration::from_secs(5),
                // The same handler, from the same address.
                good: |daemon, time| daemon.ask(&Exchange::get("/read", "ok"), time),
            },
        )
    },
};

pub(crate) static READERS: Figure = Figure {
    name: "slow-readers",
    measure: |ground| {
        beside(
            ground,
            &Attack {
                clients: MANY,
                from: ONE,
                what: "that do not read an endless response",
                begin: POUR,
                step: send,
                every: Duration::from_secs(5),
                good: heads_of_pour,
            },
        )
    },
};

pub(crate) static BODIES_OF_ONE: Figure = Figure {
    name: "one-address-bodies",
    measure: |ground| {
        beside(
            ground,
            &Attack {
                clients: FEW,
                from: OTHER,
                what: "of one address that send a byte of a body a second",
                begin: BODY,
                step: send,
                every: Duration::from_secs(1),
                // The same handler, with a body as well.
                good: |daemon, time| {
                    let sends = b"body".to_vec();
                    daemon.ask(&Exchange { method: "POST", sends, ..Exchange::get("/read", "ok") }, time)
                },
            },
        )
    },
};

pub(crate) static READERS_OF_ONE: Figure = Figure {
    name: "one-address-readers",
    measure: |ground| {
        beside(
            ground,
            &Attack {
                clients: FEW,
                from: ONE,
                what: "of one address that take a byte of an endless response a second",
                begin: POUR,
                step: take,
                every: Duration::from_secs(1),
                good: heads_of_pour,
            },
        )
    },
};

/// Compares the good client alone and beside slow clients, and waits until the slow ones are closed.
fn beside(ground: &Ground, attack: &Attack) -> Result<Outcome> {
    let Attack { clients, what, good, .. } = attack;
    let mut daemon = ground.daemon(SETTINGS)?;
    daemon.good(Duration::from_secs(1))?;
    let files = daemon.descriptors()?;
    let alone = good(&daemon, TIME)?.percentile(99);
    let connections: Vec<TcpStream> = (0..*clients).map(|_| slow(&daemon, attack)).collect::<Result<_>>()?;
    let stepping = AtomicBool::new(true);
    let beside = thread::scope(|scope| {
        scope.spawn(|| go_on(&connections, attack, &stepping));
        let beside = good(&daemon, TIME);
        stepping.store(false, Ordering::Relaxed);
        beside
    })?
    .percentile(99);
    let recovery = daemon.recovered()?;
    let gone = daemon.emptied(files)?;
    daemon.alive()?;
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    Ok(Outcome {
        recovery,
        holds: ratio <= 2.0 || beside <= ROOM,
        text: format!(
            "{clients} clients {what}: a good client's p99 {beside:.1?} beside them, {alone:.1?} alone ({ratio:.1} times), all gone {gone:.1?} later"
        ),
    })
}

/// Sends HEAD requests to the pouring handler, one after the other, from another address than the slow clients'.
fn heads_of_pour(daemon: &Daemon, time: Duration) -> Result<Latencies> {
    let mut stream = connected(daemon, OTHER)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (start, mut latencies) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        let asked = Instant::now();
        stream.write_all(b"HEAD /pour HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).context("read a head")?;
            head.extend(byte);
        }
        ensure!(head.starts_with(b"HTTP/1.1 200 "), "{}", head.escape_ascii());
        latencies.push(asked.elapsed());
    }
    Ok(Latencies::of(latencies))
}

/// Connects from an address.
fn connected(daemon: &Daemon, from: Ipv4Addr) -> Result<TcpStream> {
    if from == ONE {
        // The kernel's choice. It also finds a port more easily than bind(2) does.
        return TcpStream::connect(daemon.address).context("connect");
    }
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&daemon.address.into()).context("connect")?;
    Ok(socket.into())
}

fn slow(daemon: &Daemon, attack: &Attack) -> Result<TcpStream> {
    let mut stream = connected(daemon, attack.from)?;
    stream.write_all(attack.begin)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

fn send(mut stream: &TcpStream) -> io::Result<usize> {
    stream.write(b"x")
}

fn take(mut stream: &TcpStream) -> io::Result<usize> {
    stream.read(&mut [0])
}

/// Takes the step of each connection in turn.
fn go_on(connections: &[TcpStream], attack: &Attack, on: &AtomicBool) {
    let pause = attack.every / attack.clients;
    for stream in connections.iter().cycle() {
        if !on.load(Ordering::Relaxed) {
            return;
        }
        // The daemon may have closed the connection, which is the goal.
        let _closed = (attack.step)(stream);
        thread::park_timeout(pause);
    }
}
