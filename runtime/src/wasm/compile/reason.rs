//! Describes in one line why a compiler process failed.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::Signal;

use super::CompileLimits;
use crate::observe::plain;

/// Describes the end of a compiler process; `complaint` is its stderr.
pub(super) fn of(status: ExitStatus, complaint: &str, limits: &CompileLimits) -> String {
    let said = line(complaint);
    let Some(signal) = status.signal() else {
        return if said.is_empty() {
            format!("the compiler failed without a message: {status}")
        } else {
            said
        };
    };
    let quoted = if said.is_empty() { said } else { format!(" ({said})") };
    match Signal::from_named_raw(signal) {
        Some(Signal::XCPU) => {
            format!(
                "compiling it takes more than {} s of CPU time: raise compile.cpu, or make its functions smaller",
                limits.cpu.as_secs()
            )
        }
        // Rust aborts when memory allocation fails and when the stack overflows.
        Some(Signal::ABORT) => format!(
            "compiling it takes more than {} MiB of memory or nests too deep: raise compile.memory, or make its functions smaller{quoted}",
            limits.memory >> 20
        ),
        Some(Signal::KILL) => {
            format!("the compiler was killed: the host is out of memory, or a user killed it{quoted}")
        }
        // Signals by which the kernel ends a faulty program, signal(7).
        Some(Signal::SEGV | Signal::BUS | Signal::ILL | Signal::FPE | Signal::TRAP | Signal::SYS) => {
            format!("the compiler was ended by signal {signal}: a bug in the compiler{quoted}")
        }
        _ => format!("the compiler was ended by signal {signal}, which another process sent{quoted}"),
    }
}

/// Joins a complaint into one printable line, without the `note:` lines of Rust's runtime.
fn line(complaint: &str) -> String {
    let lines = complaint.lines().filter(|line| !line.starts_with("note: "));
    let words = lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
    plain(&words).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An exit status as wait(2) encodes it.
    fn exit(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    fn signal(number: i32) -> ExitStatus {
        ExitStatus::from_raw(number)
    }

    fn told(status: ExitStatus, complaint: &str) -> String {
        of(status, complaint, &CompileLimits::default())
    }

    #[test]
    fn an_own_complaint_is_the_reason_in_one_printable_line() {
        assert_eq!(
            told(exit(1), "not a valid module: at\n offset\t8\x1b[31m\n"),
            "not a valid module: at offset 8\\u{1b}[31m"
        );
        assert!(told(exit(1), "").contains("exit status: 1"));
    }

    #[test]
    fn every_limit_has_its_words() {
        assert!(told(signal(24), "").contains("more than 60 s of CPU time: raise compile.cpu"));
        assert!(told(signal(9), "").contains("killed"));
        let memory = told(signal(6), "memory allocation of 99 bytes failed\nnote: run with x\n");
        assert!(
            memory.contains("2048 MiB")
                && memory.contains("compile.memory")
                && memory.ends_with("(memory allocation of 99 bytes failed)")
        );
        assert!(told(signal(11), "").contains("signal 11: a bug"));
        assert!(told(signal(3), "").contains("signal 3, which another process sent"));
    }
}
