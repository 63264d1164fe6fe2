//! The file of a failed job, in JSON: the inputs that made it fail, and the failure.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use serde::{Deserialize, Serialize};

use super::mask::{self, Masked};
use crate::confine::{Granting, Writable};
use crate::job::{Access, Env, FailedJob, JobFailure, Limits, Mount, OutputFormat};

/// The format that a file declares.
const FORMAT: &str = "portcullis-failure-1";

/// The characters that are percent-encoded in bytes that are not text.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// A failed job, as its file records it.
///
/// A key that is not known is refused: a replay without that input would be another job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with the keys of a failed job")]
pub struct Bundle {
    format: String,
    /// When the job failed, in RFC 3339.
    pub time: String,
    /// The job's id.
    pub job: String,
    /// The name of the handler.
    pub handler: String,
    /// The file of the module, as configured.
    pub module: PathBuf,
    /// The SHA-256 of the module that ran.
    pub digest: String,
    /// The arguments, without the program's name.
    pub args: Vec<String>,
    /// The variables, in order. Masked values are empty.
    pub env: Vec<(String, String)>,
    /// The names of the variables whose values are left out.
    pub masked: Vec<String>,
    /// The names of the variables in which only credentials in a query are masked.
    #[serde(default)]
    pub masked_in_part: Vec<String>,
    stdin: RecordedStdin,
    /// Whether the job has read more than `stdin` contains.
    pub stdin_truncated: bool,
    /// Whether the configuration forbids recording what the job read.
    #[serde(default)]
    pub stdin_withheld: bool,
    mounts: Vec<RecordedMount>,
    /// The size limit of the job's own `/tmp`, in bytes. `None` if it had no `/tmp`.
    #[serde(default)]
    pub tmp: Option<u64>,
    /// The names by which the handler had stores. Their entries are not recorded.
    #[serde(default)]
    pub stores: Vec<String>,
    /// The same for its databases.
    #[serde(default)]
    pub databases: Vec<String>,
    limits: RecordedLimits,
    /// The content type of raw stdout. `None` if stdout is a CGI document.
    raw: Option<String>,
    /// How the job ended.
    pub outcome: RecordedOutcome,
    /// The end of its stderr.
    pub stderr: String,
    /// How long it ran, in milliseconds.
    pub time_ms: u64,
    /// How much CPU time it used, in milliseconds.
    pub cpu_ms: u64,
}

/// How a job ended. A replay compares this with the recorded run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `code`, `status`, `message` and `stack`")]
pub struct RecordedOutcome {
    /// The code of the fault, as in the log, the metrics and the reason header; `ok` if there was none.
    pub code: String,
    /// The exit status.
    pub status: u8,
    /// One line for a person.
    pub message: String,
    /// The guest's stack, one frame per line.
    pub stack: String,
}

/// Stdin as text, or percent-encoded if it is not UTF-8.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", expecting = "an object with `text` or `percent`")]
enum RecordedStdin {
    Text(String),
    Percent(String),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `host`, `guest` and `write`")]
struct RecordedMount {
    host: PathBuf,
    guest: String,
    write: bool,
    /// The outermost directory above it that a handler could write to.
    #[serde(default)]
    within: Option<Within>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `handler` and `dir`")]
struct Within {
    handler: String,
    dir: PathBuf,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with `memory`, `time_ms`, `cpu_ms`, `body`, `output` and `handles`"
)]
struct RecordedLimits {
    memory: usize,
    time_ms: Option<u64>,
    cpu_ms: Option<u64>,
    body: u64,
    output: u64,
    handles: usize,
}

impl Bundle {
    /// Makes the record of a failed job.
    pub fn of(
        incident: &FailedJob,
        module: &std::path::Path,
        digest: &str,
        masked: &Masked,
        time: String,
    ) -> Bundle {
        let FailedJob { id, entry, args, env, stdin, end, stderr, time: ran, cpu } = incident;
        let hidden: Vec<String> =
            env.iter().filter(|(name, _)| masked.holds(name)).map(|(name, _)| name.to_owned()).collect();
        let shown = |(name, value): (&str, &str)| {
            let value = if masked.holds(name) { "".into() } else { mask::queries(name, value) };
            (name.to_owned(), value.into_owned())
        };
        let in_part = |(name, value): (&str, &str)| {
            let part = !masked.holds(name) && mask::queries(name, value) != value;
            part.then(|| name.to_owned())
        };
        let mount = |mount: &Mount| {
            let Mount { host, guest, access, within } = mount.clone();
            let within = within.map(|Writable { handler, dir, .. }| Within { handler, dir });
            RecordedMount { host, guest, write: access == Access::Write, within }
        };
        let Limits { memory, time: wall, cpu: processor, body, output, handles, .. } = entry.limits;
        Bundle {
            format: FORMAT.to_owned(),
            time,
            job: id.to_string(),
            handler: entry.name.to_string(),
            module: module.to_owned(),
            digest: digest.to_owned(),
            args: args.clone(),
            env: env.iter().map(shown).collect(),
            masked: hidden,
            masked_in_part: env.iter().filter_map(in_part).collect(),
            stdin: RecordedStdin::of(stdin.as_ref().map_or(&[][..], |read| &read.bytes)),
            stdin_truncated: stdin.as_ref().is_some_and(|read| read.truncated),
            stdin_withheld: stdin.is_none(),
            mounts: entry.grants.mounts.iter().map(mount).collect(),
            tmp: entry.grants.tmp,
            stores: entry.grants.stores.iter().map(|grant| grant.name.clone()).collect(),
            databases: entry.grants.databases.iter().map(|grant| grant.name.clone()).collect(),
            limits: RecordedLimits {
                memory,
                time_ms: wall.map(millis),
                cpu_ms: processor.map(millis),
                body,
                output,
                handles,
            },
            raw: match &entry.mapping {
                OutputFormat::Cgi => None,
                OutputFormat::Raw(content_type) => Some(content_type.clone()),
            },
            outcome: RecordedOutcome::from(end.clone()),
            stderr: stderr.clone(),
            time_ms: millis(*ran),
            cpu_ms: millis(*cpu),
        }
    }

    /// Parses a file.
    ///
    /// # Errors
    /// The file is not a failed job in this format.
    pub fn read(bytes: &[u8]) -> Result<Bundle> {
        #[derive(Deserialize)]
        struct BundleFormat {
            format: String,
        }
        // Before the other keys: those of another release may differ.
        if let Ok(BundleFormat { format }) = serde_json::from_slice(bytes) {
            ensure!(format == FORMAT, "this is {format:?}: wanted {FORMAT:?}");
        }
        serde_json::from_slice(bytes).context("this is not the record of a failed job")
    }

    /// Returns what the job read from stdin.
    pub fn stdin(&self) -> Vec<u8> {
        match &self.stdin {
            RecordedStdin::Text(text) => text.clone().into_bytes(),
            RecordedStdin::Percent(encoded) => percent_decode_str(encoded).collect(),
        }
    }

    /// Returns the environment; masked values are empty.
    ///
    /// # Errors
    /// A variable that a process cannot have.
    pub fn env(&self) -> Result<Env> {
        let mut env = Env::with_capacity(self.env.len());
        for (name, value) in &self.env {
            env.set(name, value)?;
        }
        Ok(env)
    }

    /// Returns the limits of the job. The concurrency is 1, because a replayed job runs alone.
    pub fn limits(&self) -> Limits {
        let RecordedLimits { memory, time_ms, cpu_ms, body, output, handles } = self.limits;
        let (time, cpu) = (time_ms.map(Duration::from_millis), cpu_ms.map(Duration::from_millis));
        Limits { memory, time, cpu, body, output, handles, concurrency: 1, ..Limits::default() }
    }

    /// Iterates over the mounts: the host's directory, its name in the guest, and whether it was writable.
    pub fn mounts(&self) -> impl Iterator<Item = (&std::path::Path, &str, bool)> {
        self.mounts.iter().map(|mount| (mount.host.as_path(), mount.guest.as_str(), mount.write))
    }

    /// Lists the directories that handlers could write to and that contain mounts.
    pub fn writable(&self) -> impl Iterator<Item = Writable> {
        let writable = |(handler, dir): (&String, &PathBuf)| Writable {
            handler: handler.clone(),
            dir: dir.clone(),
            by: Granting::Wanted,
        };
        self.mounts.iter().flat_map(move |mount| {
            let own = mount.write.then_some((&self.handler, &mount.host));
            let outer = mount.within.as_ref().map(|within| (&within.handler, &within.dir));
            outer.into_iter().chain(own).map(writable)
        })
    }

    /// Returns how stdout is read.
    pub fn mapping(&self) -> OutputFormat {
        self.raw.clone().map_or(OutputFormat::Cgi, OutputFormat::Raw)
    }
}

impl RecordedStdin {
    fn of(bytes: &[u8]) -> RecordedStdin {
        match std::str::from_utf8(bytes) {
            Ok(text) => RecordedStdin::Text(text.to_owned()),
            Err(_) => RecordedStdin::Percent(percent_encode(bytes, ENCODED).to_string()),
        }
    }
}

impl RecordedOutcome {
    /// The outcome of a job that did not fail.
    pub fn ok() -> RecordedOutcome {
        let nothing = String::new;
        RecordedOutcome { code: "ok".to_owned(), status: 0, message: nothing(), stack: nothing() }
    }

    /// Reports whether two runs failed in the same way. The stack may differ, because another module has other
    /// functions.
    pub fn is_same(&self, other: &RecordedOutcome) -> bool {
        (&self.code, self.status, &self.message) == (&other.code, other.status, &other.message)
    }
}

impl From<JobFailure> for RecordedOutcome {
    fn from(JobFailure { code, status, message, stack }: JobFailure) -> RecordedOutcome {
        RecordedOutcome { code: code.to_owned(), status: status.0, message, stack }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_survives_as_text_and_as_bytes() {
        for bytes in [&b"plain \xc3\xa9\0"[..], b"\xff\x00%41 raw"] {
            let stdin = RecordedStdin::of(bytes);
            let written = serde_json::to_string(&stdin).unwrap();
            let read: RecordedStdin = serde_json::from_str(&written).unwrap();
            let back = match read {
                RecordedStdin::Text(text) => text.into_bytes(),
                RecordedStdin::Percent(encoded) => percent_decode_str(&encoded).collect(),
            };
            assert_eq!(back, bytes, "{written}");
        }
    }

    #[test]
    fn what_is_no_failed_job_says_so() {
        assert!(format!("{:#}", Bundle::read(b"{}").unwrap_err()).contains("not the record of a failed job"));
        assert!(Bundle::read(b"\xff").is_err());
    }

    #[test]
    fn a_record_of_another_format_is_named_whatever_its_keys() {
        let record = b"{\"job\": 7, \"cause\": \"new\", \"format\": \"portcullis-failure-2\"}";

        let error = Bundle::read(record).unwrap_err();

        let wanted = "this is \"portcullis-failure-2\": wanted \"portcullis-failure-1\"";
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn a_key_that_no_record_has_is_refused_and_a_wrong_type_named_in_plain_words() {
        for (text, why) in [
            ("{\n\"stdin_witheld\": true}", "unknown field `stdin_witheld`, expected one of `format`, "),
            ("{\"limits\": {\"memroy\": 1}}", "unknown field `memroy`, expected one of `memory`, "),
            ("{\"limits\": 3}", "integer `3`, expected an object with `memory`, "),
            ("{\"mounts\": [\"/x\"]}", "string \"/x\", expected an object with `host`, `guest` and `write`"),
            ("3", "expected an object with the keys of a failed job"),
        ] {
            let error = format!("{:#}", Bundle::read(text.as_bytes()).unwrap_err());
            assert!(error.contains(why) && !error.contains("struct "), "{text}: {error}");
        }
    }
}
