//! The verb `top`: asks the daemon every second, draws, and reads keys.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde::de::DeserializeOwned;

use super::ending_signal::EndingSignal;
use super::order::Order;
use super::samples::Samples;
use super::screen::{self, Screen};
use crate::cli::socket::{self, Reply, Socket};
use crate::jobs::api::{Command, HandlerReport, HandlersCommand, StatusCommand, StatusReply};

/// The time between two samples.
const SCREEN_PERIOD: Duration = Duration::from_secs(1);

/// How soon a key is noticed while nothing is drawn.
const KEY_CHECK: Duration = Duration::from_millis(50);

/// Show the handlers with their load, latency and failures, as they change.
///
/// A letter sorts the rows; the last line lists the letters. Arrow keys scroll, q ends. P50, P99 and MAX are of the last
/// ten seconds, from histograms: MAX is the bound of a bucket. FAILED counts the failures of the version that serves.
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    socket: Socket,
}

/// A sample: the status of the daemon, and its handlers.
struct Sample {
    at: Instant,
    daemon: StatusReply,
    handlers: Vec<HandlerReport>,
}

/// The samples so far, and how they are shown.
struct Top {
    samples: Samples,
    daemon: Option<StatusReply>,
    trouble: Option<String>,
    order: Order,
    first: usize,
}

/// The action of a key.
enum KeyAction {
    End,
    Shown,
    Nothing,
}

pub(in crate::cli) fn top(Args { socket }: Args) -> Result<ExitCode> {
    ensure!(
        !socket.json,
        "top draws on a terminal: `portcullis handlers --json` prints its figures for programs"
    );
    ensure!(
        io::stdout().is_terminal() && io::stdin().is_terminal(),
        "top needs a terminal for its input and output: `portcullis handlers` prints the figures once"
    );
    // Before the screen is taken over: a daemon that is not there is a plain error.
    let first = sample(&socket)?;
    let (sender, samples) = sync_channel(1);
    // Dropped at the end of this function, which ends the thread.
    let (_ends, ended) = channel();
    std::thread::Builder::new().name("samples".to_owned()).spawn(move || ask(&socket, &sender, &ended))?;
    let signals = EndingSignal::listen()?;
    let mut terminal = ratatui::try_init()?;
    let outcome = Top::new(first).run(&mut terminal, &samples, &signals);
    ratatui::restore();
    // As a shell tells of a program that a signal has ended.
    Ok(outcome?.map_or(ExitCode::SUCCESS, |signal| ExitCode::from(128 + signal)))
}

/// Takes a sample every second, until the other end of `ended` or the reader of the samples is dropped.
fn ask(socket: &Socket, sender: &SyncSender<Result<Sample>>, ended: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(SCREEN_PERIOD) {
        if sender.send(sample(socket)).is_err() {
            return;
        }
    }
}

fn sample(socket: &Socket) -> Result<Sample> {
    let handlers = replied(socket, &HandlersCommand)?;
    let at = Instant::now();
    Ok(Sample { at, handlers, daemon: replied(socket, &StatusCommand)? })
}

fn replied<C: Command>(socket: &Socket, command: &C) -> Result<C::Reply>
where
    C::Reply: DeserializeOwned,
{
    let Reply { stdout, outcome } = socket.ask(command, "")?;
    ensure!(outcome.status.is_ok(), "{}", outcome.error);
    socket::read::<C>(&String::from_utf8_lossy(&stdout))
}

impl Top {
    fn new(first: Sample) -> Top {
        let (samples, order) = (Samples::default(), Order::Rate);
        let mut top = Top { samples, daemon: None, trouble: None, order, first: 0 };
        top.take(Ok(first));
        top
    }

    fn take(&mut self, sample: Result<Sample>) {
        match sample {
            Ok(Sample { at, daemon, handlers }) => {
                self.samples.push(at, handlers);
                (self.daemon, self.trouble) = (Some(daemon), None);
            }
            Err(error) => self.trouble = Some(format!("{error:#}")),
        }
    }

    /// Runs until a key or a signal ends it. Returns the number of the signal.
    fn run(
        &mut self,
        terminal: &mut DefaultTerminal,
        samples: &Receiver<Result<Sample>>,
        signals: &EndingSignal,
    ) -> Result<Option<u8>> {
        loop {
            let rows = self.samples.rows(self.order);
            self.first = self.first.min(rows.len().saturating_sub(1));
            let Top { daemon, trouble, order, first, .. } = self;
            let (daemon, trouble) = (daemon.as_ref(), trouble.as_deref());
            let shown = Screen { daemon, trouble, rows: &rows, first: *first, order: *order };
            terminal.draw(|frame| screen::draw(frame, &shown))?;
            loop {
                match samples.recv_timeout(KEY_CHECK) {
                    Ok(sample) => {
                        self.take(sample);
                        break;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    // Its thread has panicked, and has said why.
                    Err(RecvTimeoutError::Disconnected) => return Ok(None),
                }
                if let Some(signal) = signals.caught() {
                    return Ok(Some(signal));
                }
                match self.pressed()? {
                    KeyAction::End => return Ok(None),
                    KeyAction::Shown => break,
                    KeyAction::Nothing => {}
                }
            }
        }
    }

    /// Handles the keys that were pressed.
    fn pressed(&mut self) -> Result<KeyAction> {
        let mut pressed = KeyAction::Nothing;
        while event::poll(Duration::ZERO)? {
            pressed = KeyAction::Shown;
            let Event::Key(key) = event::read()? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match key.code {
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                    return Ok(KeyAction::End);
                }
                KeyCode::Char('q') | KeyCode::Esc => return Ok(KeyAction::End),
                KeyCode::Down => self.first += 1,
                KeyCode::Up => self.first = self.first.saturating_sub(1),
                KeyCode::Char(letter) => self.order = Order::of(letter).unwrap_or(self.order),
                _ => {}
            }
        }
        Ok(pressed)
    }
}
