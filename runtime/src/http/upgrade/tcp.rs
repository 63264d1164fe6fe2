//! `upgrade = "tcp"`: the bytes of a connection are a job's stdin and stdout.

use std::future::{pending, poll_fn};
use std::io;
use std::mem;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::timeout;

use super::job_streams::{JobStreams, TunnelEnd};
use crate::http::request::request_log::RequestLog;
use crate::http::request::running_job::RunningJob;
use crate::http::timeouts::TUNNEL_CLOSE;
use crate::http::wire::progress::Progress;
use crate::job::{Destination as _, PipeReader, PipeWriter};

/// The most bytes read at once.
const PIECE: usize = 16 << 10;

/// Carries bytes both ways until the job has ended or the client has left. Either direction may be
/// shut while the other goes on. If a fault ends the job, the connection is reset, so that its output
/// does not look complete.
pub(super) async fn carry<S>(
    connection: S,
    streams: JobStreams,
    progress: &Progress,
    log: &mut RequestLog,
) -> TunnelEnd
where
    S: AsyncRead + AsyncWrite,
{
    let (mut from, mut to) = split(connection);
    let JobStreams { job: RunningJob { run, output: stdout, .. }, stdin } = streams;
    let work = async {
        let run = async { Ok(run.end().await) };
        tokio::try_join!(run, outward(&mut to, stdout, log))
    };
    let ended = tokio::select! {
        biased;
        done = work => match done {
            Ok((outcome, ())) => TunnelEnd::Job(outcome),
            Err(error) => TunnelEnd::Client(error),
        },
        error = inward(&mut from, stdin) => TunnelEnd::Client(error),
    };
    if let TunnelEnd::Job(Err(_)) = ended {
        progress.close_delimited.writer().failed();
    }
    if let TunnelEnd::Job(_) = ended
        && let Err(error) = to.shutdown().await
    {
        return TunnelEnd::Client(error);
    }
    if let TunnelEnd::Job(Ok(_)) = ended {
        let mut dropped = [0; PIECE >> 4];
        let gone = async { while from.read(&mut dropped).await.is_ok_and(|read| read > 0) {} };
        let _gone = timeout(TUNNEL_CLOSE, gone).await;
    }
    ended
}

/// Feeds the job. Its input ends when the client shuts its end. Returns when the client breaks off.
async fn inward(from: &mut (impl AsyncRead + Unpin), stdin: PipeWriter) -> io::Error {
    let mut buffer = BytesMut::new();
    let broken = loop {
        // The job has ended or reads no more. Dropping this future is up to the caller.
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

/// Takes the bytes out of the buffer. Copies them if they fill less than half of it.
fn taken(buffer: &mut BytesMut) -> Bytes {
    if buffer.len() >= PIECE / 2 {
        return mem::take(buffer).freeze();
    }
    let piece = Bytes::copy_from_slice(buffer);
    buffer.clear();
    piece
}

/// Sends what the job writes. Shuts our end if the job closes its stdout and goes on. Otherwise the
/// end of the job decides.
async fn outward(
    to: &mut (impl AsyncWrite + Unpin),
    mut stdout: PipeReader,
    log: &mut RequestLog,
) -> io::Result<()> {
    while let Some(bytes) = stdout.next().await {
        to.write_all(&bytes).await?;
        // TLS holds bytes back until a flush.
        to.flush().await?;
        log.sent(bytes.len());
    }
    if stdout.is_closed() { to.shutdown().await } else { Ok(()) }
}
