//! `upgrade = "tcp"`: the bytes of a connection are a job's stdin and stdout.

use std::future::{pending, poll_fn};
use std::io;
use std::mem;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::timeout;

use super::job_ends::{Ended, Ends};
use crate::http::request::access_log::Exchange;
use crate::http::wire::progress::Progress;
use crate::job::{Destination as _, PipeReader, PipeWriter};

/// The most that is read at once.
const PIECE: usize = 16 << 10;

/// How long a client may take to see that the job has ended: a connection that is closed while it
/// sends is reset, which takes from it what it has not read.
const LINGER: Duration = Duration::from_secs(2);

/// Carries bytes both ways until the job has ended or the client has left. Either end of the
/// connection may be shut while the other goes on. One whose job did not choose its end is reset, so
/// that what came of it does not pass for the whole.
pub(super) async fn carry<S>(connection: S, job: Ends, progress: &Progress, exchange: &mut Exchange) -> Ended
where
    S: AsyncRead + AsyncWrite,
{
    let (mut from, mut to) = split(connection);
    let Ends { run, stdin, stdout, .. } = job;
    let work = async {
        let run = async { Ok(run.await) };
        tokio::try_join!(run, outward(&mut to, stdout, exchange))
    };
    let ended = tokio::select! {
        biased;
        done = work => match done {
            Ok((outcome, ())) => Ended::Job(outcome),
            Err(error) => Ended::Client(error),
        },
        error = inward(&mut from, stdin) => Ended::Client(error),
    };
    if let Ended::Job(Err(_)) = ended {
        progress.ending().goes_wrong();
    }
    if let Ended::Job(_) = ended
        && let Err(error) = to.shutdown().await
    {
        return Ended::Client(error);
    }
    if let Ended::Job(Ok(_)) = ended {
        let mut dropped = [0; PIECE >> 4];
        let gone = async { while from.read(&mut dropped).await.is_ok_and(|read| read > 0) {} };
        let _gone = timeout(LINGER, gone).await;
    }
    ended
}

/// Feeds the job; its input ends where the client shuts its end. Returns when the client breaks off.
async fn inward(from: &mut (impl AsyncRead + Unpin), stdin: PipeWriter) -> io::Error {
    let mut buffer = BytesMut::new();
    let broken = loop {
        // A job that has ended reads nothing: whoever drops us looks after that.
        let Ok(room) = poll_fn(|context| stdin.poll_room(context)).await else { break None };
        buffer.reserve(room.min(PIECE));
        match (&mut *from).take(room.min(PIECE) as u64).read_buf(&mut buffer).await {
            Ok(0) => {
                stdin.close();
                break None;
            }
            Ok(_) if stdin.write(&taken(&mut buffer)).is_err() => break None,
            Ok(_) => {}
            Err(error) => break Some(error),
        }
    };
    drop(stdin);
    match broken {
        Some(error) => error,
        None => pending().await,
    }
}

/// Takes what was read out of the buffer: the buffer itself, unless most of it would be empty.
fn taken(buffer: &mut BytesMut) -> Bytes {
    if buffer.len() >= PIECE / 2 {
        return mem::take(buffer).freeze();
    }
    let piece = Bytes::copy_from_slice(buffer);
    buffer.clear();
    piece
}

/// Sends what the job writes. Shuts our end if the job closes its own and goes on; how it ends decides
/// otherwise.
async fn outward(
    to: &mut (impl AsyncWrite + Unpin),
    mut stdout: PipeReader,
    exchange: &mut Exchange,
) -> io::Result<()> {
    while let Some(bytes) = stdout.next().await {
        to.write_all(&bytes).await?;
        // TLS holds back what is not flushed.
        to.flush().await?;
        exchange.sent(bytes.len());
    }
    if stdout.is_closed() { to.shutdown().await } else { Ok(()) }
}
