//! `AnswerProgress`: how far the answer of a job has come, for the text of its failure.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// How far the answer of a job has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerStage {
    /// No client waits for an answer: another job, a schedule or an operator started the job.
    Unasked,
    /// A client waits, and its head is not sent. A failure is answered with an error.
    Awaited,
    /// The head is sent, or about to be. A failure breaks the answer off.
    Begun,
}

/// How far the answer of one job has come, and the last line of its stderr if it failed.
///
/// The request log records that a client waits, and that it hands the head over. A response whose job goes on behind the
/// head records that too, and a gate that its answer is awaited. Anyone may read the stage at any time.
#[derive(Debug, Default)]
pub struct AnswerProgress {
    /// The stage as a number. It only grows.
    stage: AtomicU8,
    /// Set by the engine when the job has failed.
    last_line: OnceLock<String>,
}

const AWAITED: u8 = 1;
const BEGUN: u8 = 2;

impl AnswerProgress {
    /// Records that a client waits for the answer.
    pub fn awaited(&self) {
        self.stage.fetch_max(AWAITED, Ordering::Relaxed);
    }

    /// Records that the head of the answer is sent, or about to be.
    pub fn begun(&self) {
        self.stage.fetch_max(BEGUN, Ordering::Relaxed);
    }

    /// Keeps the last line of a failed job's stderr. Only the first call has an effect.
    pub fn failed(&self, last_line: String) {
        let _first = self.last_line.set(last_line);
    }

    /// Returns how far the answer has come.
    pub fn stage(&self) -> AnswerStage {
        match self.stage.load(Ordering::Relaxed) {
            0 => AnswerStage::Unasked,
            AWAITED => AnswerStage::Awaited,
            _ => AnswerStage::Begun,
        }
    }

    /// Returns the last line of a failed job's stderr. Empty if the job has not failed or wrote nothing.
    pub fn last_line(&self) -> &str {
        self.last_line.get().map_or("", String::as_str)
    }
}
