//! The text of a fault: for the log, for operators and for clients.

use std::fmt;

use super::{AnswerProgress, AnswerStage, Fault, Owner, WORDS};
use crate::observe::{ByteCount, brief};

/// The text of a fault. It says whether the answer of the job had begun, if a client waited for one.
#[derive(Clone, Copy, Debug)]
pub struct FaultText<'a> {
    fault: &'a Fault,
    stage: AnswerStage,
    /// The last line of the guest's stderr; may be empty.
    last_line: &'a str,
    words: FaultWords,
}

/// What the text of a fault contains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FaultWords {
    /// Everything, with the guest's own words.
    All,
    /// The text for operators without the guest's own words.
    OfDaemon,
    /// The text for clients, without the guest's own words and without details of the daemon.
    Public,
}

impl Fault {
    /// Describes the fault of a job whose answer has come this far.
    pub fn told<'a>(&'a self, answer: &'a AnswerProgress) -> FaultText<'a> {
        FaultText { last_line: answer.last_line(), ..self.at(answer.stage()) }
    }

    /// Describes the fault at this stage of the answer.
    pub fn at(&self, stage: AnswerStage) -> FaultText<'_> {
        FaultText { fault: self, stage, last_line: "", words: FaultWords::All }
    }
}

impl<'a> FaultText<'a> {
    /// Leaves out the guest's own words.
    pub fn without_words(self) -> FaultText<'a> {
        FaultText { words: FaultWords::OfDaemon, ..self }
    }

    /// Leaves out the guest's own words and details of the daemon. Both are for the operator.
    pub fn in_public(self) -> FaultText<'a> {
        FaultText { words: FaultWords::Public, ..self }
    }

    fn has_words(&self) -> bool {
        self.words == FaultWords::All
    }

    /// Returns the text for clients of a fault with details of the daemon. `None` for other faults.
    fn public(&self) -> Option<&'static str> {
        match self.fault {
            Fault::Host(_) => Some("internal error: see the daemon's log"),
            Fault::NoScratch(_) => {
                Some("there is no room for the request body: send its Content-Length, or try again")
            }
            Fault::LengthRequired => Some("a request body of this size needs a Content-Length"),
            Fault::NoMemory(_) => Some("the host has no memory left for this job: try again"),
            _ => None,
        }
    }

    /// Returns how far the answer had come, in the words that follow what the guest did.
    fn when(&self) -> &'static str {
        match (self.stage, self.fault) {
            (AnswerStage::Begun, _) => " after it had begun to answer",
            (AnswerStage::Awaited, Fault::Exited { .. }) => " before it had answered",
            (AnswerStage::Awaited | AnswerStage::Unasked, _) => "",
        }
    }

    /// Writes a line of the guest behind what happened, if there is one.
    fn write_line(&self, line: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_words() || line.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", brief(line, WORDS))
    }

    /// Completes the text for an answer that has begun: says so unless [`when`](FaultText::when) has, and adds the last
    /// line of the guest's stderr.
    fn write_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stage != AnswerStage::Begun {
            return Ok(());
        }
        if let Fault::BadAnswer(_) | Fault::Host(_) | Fault::NoMemory(_) = self.fault {
            f.write_str("; the answer had begun")?;
        }
        let said: &str = match self.fault {
            Fault::Trapped { said: line, .. }
            | Fault::Exited { last_line: line, .. }
            | Fault::OutOfMemory { last_line: line, .. } => line,
            _ => "",
        };
        let is_untold = said.is_empty() && self.fault.owner() == Owner::Handler;
        if is_untold && self.has_words() && !self.last_line.is_empty() {
            write!(f, "; its last line: {}", brief(self.last_line, WORDS))?;
        }
        Ok(())
    }

    /// Writes what happened.
    fn write_fault(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = self.when();
        match self.fault {
            Fault::NotFound(name) => write!(f, "{}: command not found", name.escape_debug()),
            Fault::NoScript(path) => write!(f, "there is no script at {:?}", brief(path, WORDS)),
            Fault::Busy { name, retry_after } => {
                write!(
                    f,
                    "{name}: every slot is taken and the queue is full (limits.concurrency, limits.queue); try again in {retry_after:?}"
                )
            }
            Fault::QueuedTooLong { name, limit, retry_after } => {
                write!(
                    f,
                    "{name}: no slot within {limit:?} (limits.queue_time); try again in {retry_after:?}"
                )
            }
            Fault::Deadlock { name, retry_after } => write!(
                f,
                "{name}: every slot is held by a job that would wait for this one, as where handlers call one another, or where routes have the same middlewares in another order (limits.concurrency); try again in {retry_after:?}"
            ),
            Fault::MemoryTotal { retry_after } => write!(
                f,
                "the memory that all jobs share is in use (limits.total_memory); try again in {retry_after:?}"
            ),
            Fault::DescriptorsTotal { retry_after } => write!(
                f,
                "the file descriptors that all jobs share are in use (limits.handles); try again in {retry_after:?}"
            ),
            Fault::NoScratch(why) => write!(
                f,
                "no room to store the request body, which has no Content-Length: {why}; free some space, set another directory (scratch), or let the handler read the body as it arrives (body = \"stream\")"
            ),
            Fault::LengthRequired => f.write_str(
                "a request body without Content-Length is too large to keep in memory, and there is no directory for it: set one (scratch), or let the handler read the body as it arrives (body = \"stream\")"
            ),
            Fault::Draining => f.write_str("the daemon is draining and starts no new jobs"),
            Fault::Stopped(reason) => write!(f, "stopped{when}: {reason}"),
            Fault::TimedOut(limit) => write!(f, "stopped at its time limit of {limit:?} (limits.time){when}"),
            Fault::CpuExceeded(limit) => {
                write!(f, "stopped at its processor limit of {limit:?} (limits.cpu){when}")
            }
            Fault::OutOfMemory { limit, last_line } => {
                let limit = ByteCount(*limit as u64);
                write!(f, "stopped at its memory limit of {limit} (limits.memory){when}")?;
                self.write_line(last_line, f)
            }
            Fault::NoMemory(said) => {
                write!(
                    f,
                    "the host gave no more memory: {said}; allow the daemon more (LimitAS= in its unit, `ulimit -v` in a shell, vm.overcommit_memory) or lower `jobs`"
                )
            }
            Fault::InputTooLarge(limit) => {
                write!(f, "the request body is larger than the limit of {} (limits.body)", ByteCount(*limit))
            }
            Fault::InputBroken(what) => write!(f, "the request body broke off: {what}"),
            Fault::InputIdle(limit) => write!(f, "no byte of the request body came for {limit:?}"),
            Fault::InputSlow(rate) => {
                write!(f, "the request body came at less than {rate} bytes a second (http.min_rate)")
            }
            Fault::TooManyHandles(limit) => {
                write!(f, "stopped at its limit of {limit} handles (limits.handles){when}")
            }
            Fault::OutputTooLarge(limit) => {
                write!(f, "stopped at its output limit of {} (limits.output){when}", ByteCount(*limit))
            }
            Fault::Trapped { message, said, .. } => {
                let why = if self.has_words() && !said.is_empty() { said } else { message };
                write!(f, "trapped{when}: {}", brief(why, WORDS))
            }
            Fault::Exited { status, last_line } => {
                write!(f, "ended with exit status {}{when}", status.0)?;
                self.write_line(last_line, f)
            }
            Fault::BadAnswer(what) => {
                f.write_str("not a valid answer")?;
                self.write_line(what, f)
            }
            Fault::ReaderGone => f.write_str("the client has gone"),
            // The error may contain names from a module.
            Fault::Host(error) => f.write_str(&brief(format_args!("{error:#}"), 4 * WORDS)),
        }
    }
}

impl fmt::Display for FaultText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.public() {
            Some(text) if self.words == FaultWords::Public => f.write_str(text),
            Some(_) | None => {
                self.write_fault(f)?;
                self.write_rest(f)
            }
        }
    }
}

/// Describes the fault without the stage of an answer.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at(AnswerStage::Unasked).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Status;
    use std::time::Duration;

    /// The texts of a fault: with the guest's words, and without.
    fn texts(fault: &Fault, answer: &AnswerProgress) -> (String, String) {
        (fault.told(answer).to_string(), fault.told(answer).without_words().to_string())
    }

    #[test]
    fn every_failure_of_a_guest_says_whether_the_answer_had_begun() {
        let (stack, said) = (String::new(), String::new());
        let line = || "no disk left".to_owned();
        let faults = [
            (
                Fault::Exited { status: Status(3), last_line: line() },
                "ended with exit status 3",
                " before it had answered",
                ": no disk left",
            ),
            (
                Fault::OutOfMemory { limit: 1 << 20, last_line: line() },
                "stopped at its memory limit of 1MiB (limits.memory)",
                "",
                ": no disk left",
            ),
            (
                Fault::TimedOut(Duration::from_secs(3)),
                "stopped at its time limit of 3s (limits.time)",
                "",
                "; its last line: no disk left",
            ),
            (
                Fault::CpuExceeded(Duration::from_secs(1)),
                "stopped at its processor limit of 1s (limits.cpu)",
                "",
                "; its last line: no disk left",
            ),
            (
                Fault::OutputTooLarge(1 << 20),
                "stopped at its output limit of 1MiB (limits.output)",
                "",
                "; its last line: no disk left",
            ),
            (
                Fault::TooManyHandles(256),
                "stopped at its limit of 256 handles (limits.handles)",
                "",
                "; its last line: no disk left",
            ),
        ];
        let [unasked, awaited, begun] = [(); 3].map(|()| AnswerProgress::default());
        for answer in [&awaited, &begun] {
            answer.awaited();
            answer.failed(line());
        }
        begun.begun();
        // It does not go back.
        begun.awaited();
        for (fault, what, before, words) in faults {
            let own = if words.starts_with(':') { words } else { "" };
            assert_eq!(texts(&fault, &unasked), (format!("{what}{own}"), what.to_owned()));
            let short = format!("{what}{before}");
            assert_eq!(texts(&fault, &awaited), (format!("{short}{own}"), short));
            let short = format!("{what} after it had begun to answer");
            assert_eq!(texts(&fault, &begun), (format!("{short}{words}"), short));
        }
        let trap = Fault::Trapped { message: "call stack exhausted".to_owned(), said, stack };
        let short = "trapped after it had begun to answer: call stack exhausted";
        assert_eq!(texts(&trap, &begun), (format!("{short}; its last line: no disk left"), short.to_owned()));
    }

    #[test]
    fn a_fault_of_others_and_a_panic_have_no_last_line_of_the_guest() {
        let begun = AnswerProgress::default();
        begun.begun();
        begun.failed("ready".to_owned());
        let panic =
            Fault::Trapped { message: String::new(), said: "out of cheese".to_owned(), stack: String::new() };

        assert_eq!(panic.told(&begun).to_string(), "trapped after it had begun to answer: out of cheese");
        assert_eq!(Fault::ReaderGone.told(&begun).to_string(), "the client has gone");
        let short = Fault::BadAnswer("3 bytes less".to_owned());
        assert_eq!(
            short.told(&begun).to_string(),
            "not a valid answer: 3 bytes less; the answer had begun; its last line: ready"
        );
        assert_eq!(short.told(&begun).in_public().to_string(), "not a valid answer; the answer had begun");
    }
}
