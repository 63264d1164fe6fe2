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
/// The request log writes the stage where it learns of the job and where it hands the head over. So does the response of a
/// job that goes on behind its head. Readable by anyone at any time.
#[derive(Debug, Default)]
pub struct AnswerProgress {
    /// A stage as a number, which only grows.
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

    /// Keeps the last line of a failed job's stderr.
    pub fn failed(&self, last_line: String) {
        // The first failure is the one that is told.
        let _kept = self.last_line.set(last_line);
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
