//! One open WebSocket: carries its messages until there is a reason to close.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::close;
use super::messages::{self, Decoder};
use crate::catalog::WebSocket;
use crate::http::request::job_run::{JobEvent, JobRun};
use crate::http::request::request_log::RequestLog;
use crate::http::request::running_job::RunningJob;
use crate::http::timeouts::WEBSOCKET_JOB_END;
use crate::http::upgrade::job_streams::JobStreams;
use crate::job::{Destination as _, Fault, PipeReader, PipeWriter, Status};
use crate::net::DrainSignal;

/// Why a connection is closed.
pub(super) enum CloseReason {
    /// The job has ended and all its output is sent, or its output is invalid.
    Job { outcome: Result<Status, Fault>, frame: CloseFrame },
    /// The job sends a close.
    Said(CloseFrame),
    /// The client sends a close, or ends the connection cleanly.
    Farewell,
    /// The client breaks the protocol, or does nothing for too long.
    Wrong { frame: Option<CloseFrame>, error: io::Error },
}

/// A connection and its job.
pub(super) struct Session<'a, S> {
    socket: &'a mut WebSocketStream<S>,
    websocket: &'a WebSocket,
    log: &'a mut RequestLog,
    job: RunningJob<PipeReader>,
    /// `None` until the job has ended.
    outcome: Option<Result<Status, Fault>>,
    /// `None` once the job's input has ended. Later messages are dropped.
    stdin: Option<PipeWriter>,
    decoder: Decoder,
    /// A message that the socket had no room for.
    waiting: Option<Message>,
    unflushed: bool,
    /// When the connection closes regardless of the job. `None` until the listener drains.
    leaves: Option<Instant>,
    /// When the client last sent anything, and when the last message passed.
    heard: Instant,
    passed: Instant,
    pinged: bool,
    alarm: Pin<Box<Sleep>>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Session<'a, S> {
    pub(super) fn new(
        socket: &'a mut WebSocketStream<S>,
        websocket: &'a WebSocket,
        JobStreams { job, stdin }: JobStreams,
        log: &'a mut RequestLog,
    ) -> Session<'a, S> {
        let now = Instant::now();
        Session {
            socket,
            websocket,
            log,
            job,
            outcome: None,
            stdin: Some(stdin),
            decoder: Decoder::new(websocket),
            waiting: None,
            unflushed: false,
            leaves: None,
            heard: now,
            passed: now,
            pinged: false,
            alarm: Box::pin(sleep_until(now)),
        }
    }

    /// Runs until there is a reason to close. Returns the job as well, which may not have ended.
    pub(super) async fn run(mut self, leaving: &DrainSignal) -> (CloseReason, RunningJob<PipeReader>) {
        let mut leaving = pin!(leaving.over());
        let over = poll_fn(|context| {
            if self.leaves.is_none() && leaving.as_mut().poll(context).is_ready() {
                // The end of its input tells the job. Its remaining output is still sent.
                self.leaves = Some(Instant::now() + WEBSOCKET_JOB_END);
                self.end_input();
            }
            self.poll(context)
        })
        .await;
        if let CloseReason::Said(_) | CloseReason::Farewell = over {
            self.end_input();
        }
        if let Some(outcome) = self.outcome {
            self.job.run = JobRun::Exited(Some(outcome));
        }
        (over, self.job)
    }

    fn end_input(&mut self) {
        if let Some(stdin) = self.stdin.take() {
            stdin.close();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            // Also while a message waits for the client.
            self.job.run.advance(context);
            let arrived = self.arriving(context);
            if let Poll::Ready(Err(over)) = arrived {
                return Poll::Ready(over);
            }
            let gone_out = self.going_out(context);
            if let Poll::Ready(Err(over)) = gone_out {
                return Poll::Ready(over);
            }
            if arrived.is_pending() && gone_out.is_pending() {
                return self.clocks(context);
            }
        }
    }

    /// Takes a message from the client, if there is room for it.
    fn arriving(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        if let Some(stdin) = &self.stdin {
            match stdin.poll_room(context) {
                Poll::Ready(Ok(_)) => {}
                // The job has ended, or reads no more.
                Poll::Ready(Err(_)) => self.stdin = None,
                Poll::Pending => {
                    // We do not read now, so the client's silence does not count.
                    self.heard = Instant::now();
                    return Poll::Pending;
                }
            }
        }
        let message = match Pin::new(&mut *self.socket).poll_next(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(Err(CloseReason::Farewell)),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(wrong(error))),
            Poll::Ready(Some(Ok(message))) => message,
        };
        self.heard = Instant::now();
        self.pinged = false;
        if let Message::Close(_) = message {
            return Poll::Ready(Err(CloseReason::Farewell));
        }
        Poll::Ready(match messages::encode(self.websocket.messages, message) {
            Ok(None) => Ok(()),
            Ok(Some(bytes)) => {
                self.passed = self.heard;
                if self.stdin.as_ref().is_some_and(|stdin| stdin.write(&bytes).is_err()) {
                    self.stdin = None;
                }
                Ok(())
            }
            Err(unfit) => Err(CloseReason::Wrong {
                frame: Some(close::unfit(unfit)),
                error: io::Error::other("a message that is not a line of text (websocket.messages)"),
            }),
        })
    }

    /// Sends the job's next message, or the rest of one. Returns an error when the job has ended.
    fn going_out(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        if self.unflushed || self.waiting.is_some() {
            match Pin::new(&mut *self.socket).poll_flush(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(wrong(error))),
                Poll::Ready(Ok(())) => self.unflushed = false,
            }
        }
        let message = match self.waiting.take() {
            Some(message) => message,
            None => match self.next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Some(message))) => message,
                Poll::Ready(Ok(None)) => return self.ended(),
                Poll::Ready(Err(fault)) => {
                    let outcome = Err(fault);
                    let frame = close::frame(&outcome);
                    return Poll::Ready(Err(CloseReason::Job { outcome, frame }));
                }
            },
        };
        if let Message::Close(frame) = message {
            let frame = frame.unwrap_or_else(|| close::frame(&Ok(Status::OK)));
            return Poll::Ready(Err(CloseReason::Said(frame)));
        }
        let length = message.len();
        match Pin::new(&mut *self.socket).start_send(message) {
            Ok(()) => {
                self.log.sent(length);
                self.passed = Instant::now();
                self.unflushed = true;
                Poll::Ready(Ok(()))
            }
            // Queued pongs fill the buffer.
            Err(Error::WriteBufferFull(message)) => {
                self.waiting = Some(*message);
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(wrong(error))),
        }
    }

    /// Reads the job's next message. Returns `None` when the job has ended.
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Message>, Fault>> {
        loop {
            if let Some(message) = self.decoder.next()? {
                return Poll::Ready(Ok(Some(message)));
            }
            let RunningJob { run, output: stdout, .. } = &mut self.job;
            match ready!(run.poll_written(stdout, context)) {
                Some(JobEvent::Output(())) => self.decoder.push(&stdout.take().unwrap_or_default()),
                Some(JobEvent::Exited(outcome)) => self.outcome = Some(outcome),
                // After a fault, an incomplete message is dropped.
                None if matches!(self.outcome, Some(Err(_))) => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(self.decoder.finish()),
            }
        }
    }

    fn ended(&mut self) -> Poll<Result<(), CloseReason>> {
        let outcome = self.outcome.take().unwrap_or(Ok(Status::OK));
        let frame = match &outcome {
            Ok(Status::OK) if self.leaves.is_some() => close::draining(),
            outcome => close::frame(outcome),
        };
        Poll::Ready(Err(CloseReason::Job { outcome, frame }))
    }

    /// Pings a silent client, and ends an idle connection.
    fn clocks(&mut self, context: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            let now = Instant::now();
            let WebSocket { ping, idle, .. } = *self.websocket;
            let silence = ping.map(|ping| self.heard + if self.pinged { ping * 2 } else { ping });
            let idleness = idle.map(|idle| self.passed + idle);
            if idleness.is_some_and(|due| now >= due) {
                let error = io::Error::other("no message for too long (websocket.idle)");
                return Poll::Ready(CloseReason::Wrong { frame: Some(close::idle()), error });
            }
            if silence.is_some_and(|due| now >= due) {
                if self.pinged {
                    let error = io::Error::other("no answer to a ping (websocket.ping)");
                    return Poll::Ready(CloseReason::Wrong { frame: None, error });
                }
                self.pinged = true;
                if let Err(error) = self.ask(context) {
                    return Poll::Ready(wrong(error));
                }
                continue;
            }
            if self.leaves.is_some_and(|due| now >= due) {
                let error = io::Error::other("the daemon shuts down, and the job does not end");
                return Poll::Ready(CloseReason::Wrong { frame: Some(close::draining()), error });
            }
            let dues = silence.into_iter().chain(idleness).chain(self.leaves);
            let Some(due) = dues.min() else { return Poll::Pending };
            if self.alarm.deadline() != due {
                self.alarm.as_mut().reset(due);
            }
            if self.alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Sends a ping, unless earlier bytes still wait: then the client is known to be slow.
    fn ask(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        if self.unflushed || self.waiting.is_some() {
            return Ok(());
        }
        match Pin::new(&mut *self.socket).start_send(Message::Ping(Bytes::new())) {
            Ok(()) => {}
            Err(Error::WriteBufferFull(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        match Pin::new(&mut *self.socket).poll_flush(context) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                self.unflushed = true;
                Ok(())
            }
        }
    }
}

fn wrong(error: Error) -> CloseReason {
    CloseReason::Wrong { frame: close::of_client(&error), error: close::told(error) }
}
