//! `upgrade = "websocket"`: a job reads and writes messages (RFC 6455).
//!
//! Floors, lowest first: `flood`, `handshake`, `messages`; `close`; `session`.

mod close;
mod flood;
pub(in crate::http) mod handshake;
mod messages;
mod session;

use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::job_streams::{JobStreams, TunnelEnd};
use crate::catalog::WebSocket;
use crate::http::request::body_source::BodySource;
use crate::http::request::job_task::mark_invalid;
use crate::http::request::request_log::RequestLog;
use crate::http::request::running_job::RunningJob;
use crate::http::timeouts::{WEBSOCKET_CLOSE, WEBSOCKET_JOB_END};
use crate::job::PipeReader;
use crate::net::DrainSignal;
use flood::CountedIo;
use session::{CloseReason, Session};

/// The size of the read buffer, in bytes, beside the message that its frames make.
const BUFFER: usize = 4 << 10;

/// Carries messages both ways until the job has ended or the client has left. Then closes the
/// connection with a code that names the reason.
pub(super) async fn carry<S>(
    connection: S,
    websocket: &WebSocket,
    streams: JobStreams,
    log: &mut RequestLog,
    leaving: &DrainSignal,
) -> TunnelEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let size = websocket.message_size;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        // A message is sent as soon as it is written. Only one message and pongs can wait.
        .write_buffer_size(0)
        .max_write_buffer_size(size.saturating_add(BUFFER))
        .max_message_size(Some(size))
        .max_frame_size(Some(size));
    let connection = CountedIo::new(connection);
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
    let session = Session::new(&mut socket, websocket, streams, log);
    let (over, job) = session.run(leaving).await;
    match over {
        CloseReason::Job { outcome, frame } => {
            if let Err(fault) = &outcome {
                mark_invalid(&job.log.stop, fault);
            }
            drop(job);
            say_goodbye(socket, Some(frame)).await;
            TunnelEnd::Job(outcome)
        }
        CloseReason::Said(frame) => tokio::join!(say_goodbye(socket, Some(frame)), tidy(job)).1,
        // The reply to the client's close is already being sent.
        CloseReason::Farewell => tokio::join!(say_goodbye(socket, None), tidy(job)).1,
        CloseReason::Wrong { frame, error } => {
            drop(job);
            if frame.is_some() {
                say_goodbye(socket, frame).await;
            }
            if flood::is_flood(&error) { TunnelEnd::Flood } else { TunnelEnd::Client(error) }
        }
    }
}

/// Closes a connection so that the client can read to its end, whatever it still sends.
async fn say_goodbye<S>(mut socket: WebSocketStream<S>, frame: Option<CloseFrame>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let goodbye = async {
        if let Some(frame) = frame {
            socket.close(Some(frame)).await.ok()?;
        }
        while let Some(Ok(_)) = socket.next().await {}
        let mut connection = socket.into_inner();
        connection.shutdown().await.ok()?;
        let mut dropped = [0; 1 << 10];
        while connection.read(&mut dropped).await.ok()? > 0 {}
        Some(())
    };
    // A client that does not take the close in time counts as gone.
    let _taken = timeout(WEBSOCKET_CLOSE, goodbye).await;
}

/// Lets a job end after its client has left cleanly. Its input has ended, and its output is
/// dropped.
async fn tidy(job: RunningJob<PipeReader>) -> TunnelEnd {
    match timeout(WEBSOCKET_JOB_END, job.with(BodySource::Pipe).unread()).await {
        Ok(outcome) => TunnelEnd::Job(outcome),
        Err(_) => TunnelEnd::Client(std::io::Error::other("the client has left, and the job does not end")),
    }
}
