//! Peers that keep a stream waiting, on a paused clock.

use super::*;
use crate::http::MinRate;
use crate::http::wire::client_memory::MemoryAccount;
use crate::job::StopReason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

const DEADLINES: Deadlines = Deadlines {
    first_byte: Duration::from_secs(5),
    head: Duration::from_secs(10),
    keep_alive: Duration::from_secs(60),
    write_idle: Duration::from_secs(30),
    rate: MinRate { bytes: 0, window: Duration::from_secs(5) },
};

fn seconds(start: Instant) -> u64 {
    start.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_the_first_byte_deadline() {
    let (_peer, stream) = duplex(64);
    let mut io = DeadlineIo::new(stream, Progress::new(MemoryAccount::unlimited()), DEADLINES, |_| false);
    let start = Instant::now();

    let outcome = io.read_u8().await;

    assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    assert_eq!(seconds(start), 5);
}

#[tokio::test(start_paused = true)]
async fn a_head_is_given_its_deadline_in_all_and_not_per_byte() {
    let (mut peer, stream) = duplex(64);
    let mut io = DeadlineIo::new(stream, Progress::new(MemoryAccount::unlimited()), DEADLINES, |_| false);
    let start = Instant::now();
    let drip = async {
        for _ in 0..20 {
            let _sent = peer.write_all(b"x").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let read = async { while io.read_u8().await.is_ok() {} };

    tokio::select! { () = drip => {}, () = read => {} }

    assert_eq!(seconds(start), 10);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_late_with_its_head_is_not_waited_for_at_the_end() {
    for (wait, closed) in [(DEADLINES.head, 10), (DEADLINES.head / 2, 15)] {
        let (mut peer, stream) = duplex(64);
        let mut io = DeadlineIo::new(stream, Progress::new(MemoryAccount::unlimited()), DEADLINES, |_| false);
        let start = Instant::now();
        peer.write_all(b"x").await.unwrap();
        assert_eq!(io.read_u8().await.ok(), Some(b'x'));
        let rest = tokio::time::timeout(wait, io.read_u8()).await;
        assert!(rest.is_err() || wait == DEADLINES.head, "{rest:?}");

        io.shutdown().await.unwrap();

        assert_eq!(seconds(start), closed, "what an earlier end leaves unread is dropped for a while");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shorter_wait_after_a_longer_one_is_kept() {
    let (mut peer, stream) = duplex(64);
    let mut io = DeadlineIo::new(stream, Progress::new(MemoryAccount::unlimited()), DEADLINES, |_| false);
    let progress = io.progress();
    progress.answered();
    io.flush().await.unwrap();
    let start = Instant::now();
    let sent = async {
        tokio::time::sleep(Duration::from_secs(59)).await;
        peer.write_all(b"x").await
    };
    let (first, _sent) = tokio::join!(io.read_u8(), sent);

    let second = io.read_u8().await;

    assert_eq!(first.ok(), Some(b'x'));
    assert!(second.is_err());
    assert_eq!(seconds(start), 69);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_given_the_write_deadline() {
    let (_peer, stream) = duplex(4);
    let mut io = DeadlineIo::new(stream, Progress::new(MemoryAccount::unlimited()), DEADLINES, |_| false);
    let progress = io.progress();
    progress.answering();
    let start = Instant::now();

    let outcome = io.write_all(b"12345").await;

    assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    assert_eq!(seconds(start), 30);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_too_little_is_given_up_as_that_and_one_that_takes_enough_is_not() {
    for (bytes, given_up) in [(100, Some(StopReason::TooSlow)), (300, None)] {
        let (mut peer, stream) = duplex(64);
        let rate = MinRate { bytes: 240, window: Duration::from_secs(5) };
        let mut io = DeadlineIo::new(
            stream,
            Progress::new(MemoryAccount::unlimited()),
            Deadlines { rate, ..DEADLINES },
            |_| false,
        );
        let progress = io.progress();
        let start = Instant::now();
        let sipping = async {
            let mut sip = vec![0; bytes];
            while start.elapsed() < Duration::from_secs(60) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                peer.read_exact(&mut sip).await.unwrap();
            }
        };

        tokio::select! {
            outcome = io.write_all(&[0; 100_000]) => assert!(outcome.is_err()),
            () = sipping => {}
        }

        assert_eq!(progress.given_up(), given_up, "{bytes} bytes a second");
        assert_eq!(seconds(start), if given_up.is_some() { 5 } else { 60 });
    }
}

/// A stream with a full kernel buffer. Its peer acknowledges a thousand bytes a second.
struct Buffered(Instant);

impl AsyncRead for Buffered {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        _buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() == 1 { Poll::Pending } else { Poll::Ready(Ok(bytes.len())) }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_is_not_a_stalled_one_though_the_kernel_has_room_for_nothing() {
    const HELD: u64 = 100_000;
    let rate = MinRate { bytes: 240, window: Duration::from_secs(5) };
    let stream = Buffered(Instant::now());
    let mut io = DeadlineIo::new(
        stream,
        Progress::new(MemoryAccount::unlimited()),
        Deadlines { rate, ..DEADLINES },
        |_| false,
    )
    .measuring(|stream| HELD.saturating_sub(stream.0.elapsed().as_secs() * 1000));
    let start = Instant::now();
    io.write_all(&vec![0; 100_000]).await.unwrap();

    let outcome = io.write_all(b"1").await;

    assert!(outcome.is_err());
    assert!((100..=110).contains(&seconds(start)), "{}", seconds(start));
}

/// Accepts every write and holds it back, as TLS does, until the peer has room.
#[derive(Default)]
struct Withheld {
    has_room: bool,
}

impl AsyncRead for Withheld {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        _buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Withheld {
    fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_room { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

/// A connection whose response is written and not flushed. Its client may be idle for one second only.
async fn unsent() -> DeadlineIo<Withheld> {
    let deadlines = Deadlines { keep_alive: Duration::from_secs(1), ..DEADLINES };
    let mut io =
        DeadlineIo::new(Withheld::default(), Progress::new(MemoryAccount::unlimited()), deadlines, |_| false);
    io.progress().answering();
    io.write_all(b"an answer").await.unwrap();
    io.progress().answered();
    io
}

#[tokio::test(start_paused = true)]
async fn what_is_written_and_not_sent_has_the_write_deadline() {
    for is_last in [false, true] {
        let mut io = unsent().await;
        let start = Instant::now();

        let outcome = if is_last { io.shutdown().await } else { io.flush().await };

        assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(seconds(start), 30);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_is_done_is_not_held_against_a_later_one() {
    let mut io = unsent().await;
    let late = tokio::time::timeout(Duration::from_secs(20), io.flush()).await;
    assert!(late.is_err(), "it waits");
    io.stream.has_room = true;
    io.flush().await.unwrap();
    io.progress().answering();
    io.stream.has_room = false;
    let start = Instant::now();

    assert!(io.flush().await.is_err());

    assert_eq!(seconds(start), 30);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_idle_once_its_answer_is_sent_and_no_sooner() {
    let mut io = unsent().await;
    let progress = io.progress();
    let late = tokio::time::timeout(Duration::from_secs(20), io.flush()).await;
    assert!(late.is_err() && progress.idle_since().is_none() && !progress.is_idle());
    io.stream.has_room = true;

    io.flush().await.unwrap();

    // To the millisecond.
    let ago = progress.idle_since().map(|since| since.elapsed());
    assert!(ago.is_some_and(|ago| ago < Duration::from_secs(1)), "{ago:?}");
    let start = Instant::now();
    assert!(io.read_u8().await.is_err());
    assert_eq!(seconds(start), 1);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_has_begun_with_the_request_before_it_is_due_after_the_answer_is_sent() {
    let mut io = unsent().await;
    let progress = io.progress();
    progress.reading.writer().next_head(Some(DEADLINES.head));
    let late = tokio::time::timeout(Duration::from_secs(20), io.flush()).await;
    assert!(late.is_err() && progress.given_up().is_none(), "the response has its own deadline");
    io.stream.has_room = true;

    io.flush().await.unwrap();

    assert!(progress.idle_since().is_none() && progress.is_mid_request());
    let start = Instant::now();
    assert!(io.read_u8().await.is_err());
    assert_eq!(seconds(start), 10);
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_an_unsent_answer_keeps_the_connection_busy() {
    let mut io = unsent().await;
    let progress = io.progress();
    progress.begun(DEADLINES.head);
    io.stream.has_room = true;

    io.flush().await.unwrap();

    assert!(progress.idle_since().is_none() && progress.is_mid_request());
}
