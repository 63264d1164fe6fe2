//! `portcullis history` and `portcullis show`: prints ended jobs in a table, and one of them in full.

use std::process::ExitCode;

use anyhow::Result;

use super::say;
use super::socket::Socket;
use super::table::{self, or_dash, size, text, text_or_dash};
use crate::jobs::api::{
    EndedJobReport, HistoryCommand, NestedJobReport, OutboundCallReport, Pairs, RequestReport, RunReport,
};

/// List the last ended jobs, the latest last.
///
/// The daemon keeps the last jobs of each handler, and the failed ones apart, within the memory of `history`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// List only jobs that failed, answered with a status of 5xx, were refused or were cancelled.
    #[arg(long)]
    failed: bool,
    /// List the last N jobs.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
    /// List only jobs of this handler.
    #[arg(value_name = "HANDLER")]
    handler: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

/// Show one ended job: its timeline, its use of the limits, its calls, its stderr and its failure.
#[derive(clap::Args)]
pub(super) struct ShowArgs {
    /// The id of the job, as `history` and the log show it.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn history(Args { failed, lines, handler, socket }: Args) -> Result<ExitCode> {
    let command = HistoryCommand { handler, failed, lines: Some(lines), job: None };
    socket.show(&command, "", |jobs| {
        let row = |job: &EndedJobReport| {
            let request = job.request.as_ref();
            let run = job.run.as_ref();
            let started = run.and_then(|run| run.started_ms);
            vec![
                text(&job.began),
                text_or_dash(job.id.as_ref()),
                version(job),
                or_dash(request, |request| text(&format!("{} {}", request.method, request.path))),
                or_dash(request.and_then(|request| request.status), |status| status.to_string()),
                ms(job.total_ms),
                or_dash(started, ms),
                or_dash(run, |run| ms(run.cpu_ms)),
                or_dash(run, |run| size(run.memory as u64)),
                text(&job.outcome),
            ]
        };
        let titles =
            ["BEGAN", "ID", "HANDLER", "REQUEST", "STATUS", "TIME", "STARTED", "CPU", "MEMORY", "OUTCOME"];
        table::print(&titles, &jobs.iter().map(row).collect::<Vec<_>>());
    })
}

pub(super) fn show(ShowArgs { id, socket }: ShowArgs) -> Result<ExitCode> {
    let command = HistoryCommand { job: Some(id), ..HistoryCommand::default() };
    socket.show(&command, "", |jobs| jobs.iter().flat_map(lines).for_each(|line| say(&line)))
}

/// Describes a job in lines.
fn lines(job: &EndedJobReport) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |label: &str, shown: String| lines.push(format!("{label:12}{shown}"));
    add("job", text_or_dash(job.id.as_ref()));
    if let Some(parent) = &job.parent {
        add("called by", text(parent));
    }
    if let Some(trace) = &job.trace_id {
        add("trace", text(trace));
    }
    add("handler", version(job) + &or_dash(job.kind.as_ref(), |kind| format!(" ({})", text(kind))));
    if let Some(RequestReport { method, path, route, client, status, sent, complete, .. }) = &job.request {
        let route = or_dash(route.as_ref(), |route| format!("route {}", text(route)));
        let client = or_dash(client.as_ref(), |client| text(client));
        add("request", format!("{} {} ({route}) from {client}", text(method), text(path)));
        let status = or_dash(*status, |status| status.to_string());
        let end = if *complete { "" } else { ", broken off" };
        add("response", format!("{status}, {}{end}", size(*sent)));
    }
    add("outcome", outcome(job));
    if let Some(RunReport { cpu_ms, memory, read, written, status, limits, .. }) = &job.run {
        add("exit status", status.to_string());
        add(
            "used",
            format!(
                "cpu {}, memory {}, read {}, written {}",
                ms(*cpu_ms),
                size(*memory as u64),
                size(*read),
                size(*written)
            ),
        );
        let Pairs(limits) = limits;
        let used = limits.iter().map(|(name, percent)| format!("{} {percent}%", text(name)));
        add("of limits", used.collect::<Vec<_>>().join(", "));
    }
    add("began", text(&job.began));
    for (at, event) in timeline(job) {
        add(&format!("+{}", ms(at)), event);
    }
    block(&mut lines, "stack", &job.stack);
    block(&mut lines, "stderr", job.run.as_ref().map_or("", |run| &run.stderr));
    if let Some(file) = &job.replay {
        lines.push(format!("{:12}portcullis replay {}", "run again", text(file)));
    }
    lines
}

/// Lists the events of a job by the time from its beginning.
fn timeline(job: &EndedJobReport) -> Vec<(f64, String)> {
    let mut events = Vec::new();
    if let Some(RunReport { started_ms, ended_ms, queue_ms, instantiate_ms, guest_ms, calls, .. }) = &job.run
    {
        events.extend(started_ms.map(|at| (at, format!("got its slot after {}", ms(*queue_ms)))));
        let entered = started_ms.zip(*instantiate_ms).filter(|_| guest_ms.is_some());
        events.extend(entered.map(|(at, time)| (at + time, "the guest started".to_owned())));
        let end = if started_ms.is_some() { "its run ended" } else { "was refused a slot" };
        events.push((*ended_ms, end.to_owned()));
        for OutboundCallReport { started_ms, time_ms, origin, outcome } in calls {
            events.push((
                *started_ms,
                format!("call to {}: {} after {}", text(origin), text(outcome), ms(*time_ms)),
            ));
        }
    }
    for NestedJobReport { id, handler, started_ms, time_ms, outcome } in &job.jobs {
        events.push((
            *started_ms,
            format!("job {} of {}: {} after {}", text(id), text(handler), text(outcome), ms(*time_ms)),
        ));
    }
    if let Some(RequestReport { first_byte_ms, ended_ms, .. }) = &job.request {
        events.extend(first_byte_ms.map(|at| (at, "head of the response".to_owned())));
        events.push((*ended_ms, "end of the response".to_owned()));
    }
    events.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    events
}

/// Adds a text of several lines under a label.
fn block(lines: &mut Vec<String>, label: &str, block: &str) {
    for (position, line) in block.lines().enumerate() {
        let label = if position == 0 { label } else { "" };
        lines.push(format!("{label:12}{}", text(line)));
    }
}

fn version(job: &EndedJobReport) -> String {
    match (&job.handler, &job.version) {
        (Some(handler), Some(version)) => format!("{}@{}", text(handler), text(version)),
        _ => "-".to_owned(),
    }
}

/// Describes the outcome as the log does: the message, then the code.
pub(super) fn outcome(EndedJobReport { outcome, message, .. }: &EndedJobReport) -> String {
    message.as_ref().map_or_else(|| text(outcome), |message| format!("{} ({})", text(message), text(outcome)))
}

/// Formats milliseconds, which are often few: `0.12ms`, `12.3ms`, `3.2s`.
pub(super) fn ms(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2}ms"),
        ms if ms < 1000.0 => format!("{ms:.1}ms"),
        ms => format!("{:.2}s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_a_job_stand_in_their_order() {
        let job: EndedJobReport = serde_json::from_str(
            r#"{"id":"1f","parent":null,"trace_id":"2a","handler":"one","version":"v","kind":"wasip1","began":"2026-01-01T00:00:00Z",
                "total_ms":5.0,"outcome":"trapped","message":"trapped: \u001b[2J","stack":"0: main\n1: start",
                "request":{"method":"GET","path":"/x","route":"/{any}","client":null,"status":502,"first_byte_ms":4.5,
                    "ended_ms":5.0,"sent":12,"complete":true},
                "run":{"started_ms":0.25,"ended_ms":4.0,"queue_ms":0.2,
                    "instantiate_ms":0.25,"guest_ms":3.5,"cpu_ms":1.0,"memory":65536,"read":0,"written":3,"status":134,
                    "limits":{"memory":0.1},"stderr":"said\nmore",
                    "calls":[{"started_ms":1.0,"time_ms":2.0,"origin":"https://a.example","outcome":"answered"}]},
                "jobs":[{"id":"2f","handler":"two","started_ms":3.0,"time_ms":0.5,"outcome":"ok"}],
                "replay":"/f/1f.failure.json"}"#,
        )
        .unwrap();

        let shown = lines(&job);

        assert_eq!(
            shown[10..],
            [
                "+0.25ms     got its slot after 0.20ms",
                "+0.50ms     the guest started",
                "+1.00ms     call to https://a.example: answered after 2.00ms",
                "+3.00ms     job 2f of two: ok after 0.50ms",
                "+4.00ms     its run ended",
                "+4.50ms     head of the response",
                "+5.00ms     end of the response",
                "stack       0: main",
                "            1: start",
                "stderr      said",
                "            more",
                "run again   portcullis replay /f/1f.failure.json",
            ]
        );
        assert_eq!(shown[1], "trace       2a");
        assert_eq!(shown[5], "outcome     trapped: \\u{1b}[2J (trapped)");
        assert_eq!([0.126, 12.34, 3200.0].map(ms), ["0.13ms", "12.3ms", "3.20s"]);
    }
}
