//! The profiler of the admin socket: shows operators, in debug mode only, what handlers and the daemon spend.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::daemon_pages;
use super::profile_request::{ProfileFormat, ProfileRequest, TEXT, write_profile};
use crate::engine::{Engine, JobSnapshot};
use crate::http::refusal::Refusal;
use crate::http::request::response_body::Body;
use crate::job::{HandlerVersion, Kind};
use crate::observe::profile::ProfileRun;
use crate::observe::stacks::{PprofHead, ValueType};
use crate::observe::{plain, stacks, threads};

/// A page of the profiler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum Page {
    /// The list of the pages.
    Index,
    /// The sampled stacks of handlers, over some seconds.
    Profile,
    /// The running jobs, and where they are.
    Jobs,
    /// Counters of the process, its threads and its handlers.
    Vars,
    /// What the daemon itself has allocated, over some seconds.
    Heap,
    /// The threads of the daemon.
    Threads,
}

/// The pages and their paths. Docker served its own at `/debug/`, and its profiles below
/// `/debug/pprof/`.
const PAGES: [(Page, &str, &str); 6] = [
    (Page::Index, "/debug/", "this list"),
    (
        Page::Profile,
        "/debug/profile",
        "?seconds=10&format=collapsed: stacks of handlers and how often they were seen; or svg, pprof, firefox",
    ),
    (Page::Jobs, "/debug/jobs", "the jobs that run, and where they are"),
    (Page::Vars, "/debug/vars", "counters of the process, its threads and its handlers, as JSON"),
    (
        Page::Heap,
        "/debug/heap",
        "?seconds=10&of=held&format=collapsed: what the daemon allocates; of=allocated; format=svg, pprof",
    ),
    (Page::Threads, "/debug/threads", "the threads of the daemon, what they compute and where they wait"),
];

/// The time between two samples: a tick.
const SAMPLE_PERIOD: Duration = Duration::from_millis(10);

/// The values of each stack in pprof.
const TYPES: [ValueType; 2] = [("samples", "count"), ("cpu", "nanoseconds")];

/// How long threads are watched to see what they compute.
const WATCH_SPAN: Duration = Duration::from_millis(500);

/// How long jobs are sampled to see where they are: some ticks of 10 ms.
const GLANCE: Duration = Duration::from_millis(60);

impl Page {
    /// Finds the page at a path.
    pub(in crate::http) fn at(path: &str) -> Option<Page> {
        PAGES.iter().find(|(_, at, _)| *at == path).map(|(page, ..)| *page)
    }

    /// Reports whether the page takes long to make.
    pub(in crate::http) fn lasts(self) -> bool {
        matches!(self, Page::Profile | Page::Heap)
    }

    /// Makes the page.
    ///
    /// # Errors
    /// The time is not a number of seconds within the bounds.
    pub(in crate::http) async fn show(
        self,
        engine: &Arc<Engine>,
        query: &str,
    ) -> Result<Response<Body>, Refusal> {
        let (kind, text): (_, Bytes) = match self {
            Page::Index => (TEXT, index().into()),
            Page::Profile => {
                let request = ProfileRequest::parse(query)?;
                (request.format.content_type(), profile(request).await?.into())
            }
            Page::Heap => {
                let request = ProfileRequest::parse(query)?;
                (request.format.content_type(), daemon_pages::heap(request).await?.into())
            }
            Page::Jobs => (TEXT, jobs(engine).await.into()),
            Page::Vars => ("application/json", vars(engine).into()),
            Page::Threads => (TEXT, daemon_pages::threads(WATCH_SPAN).await.into()),
        };
        let mut response = Response::new(Body::full(text));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(response)
    }
}

fn index() -> String {
    PAGES.iter().fold(String::new(), |text, (_, path, what)| text + &format!("{path:<16}{what}\n"))
}

/// Takes a profile.
///
/// # Errors
/// It cannot be written in this format: a flame graph of nothing.
async fn profile(ProfileRequest { time, format, of }: ProfileRequest) -> Result<Vec<u8>, Refusal> {
    if of.is_some() {
        return Err(Refusal::Malformed(
            "of=held and of=allocated are for /debug/heap: leave it out".to_owned(),
        ));
    }
    let (look, began) = (ProfileRun::begin(), SystemTime::now());
    sleep(time).await;
    let stacks = look.stacks();
    drop(look);
    // Thousands of stacks take a while to draw.
    write_profile(move || match format {
        ProfileFormat::Collapsed => Ok(stacks::collapsed(&stacks).into_bytes()),
        ProfileFormat::Svg if stacks.is_empty() => {
            bail!("no handler has computed, so there is nothing to draw")
        }
        ProfileFormat::Svg => {
            stacks::flame_graph(&stacks, &format!("Handlers, {} s", time.as_secs()), "samples")
        }
        ProfileFormat::Pprof => {
            let period = u64::try_from(SAMPLE_PERIOD.as_nanos()).unwrap_or(u64::MAX);
            let values = |count: u64| vec![count, count.saturating_mul(period)];
            let samples = stacks.iter().map(|(stack, count)| (stack.as_str(), values(*count)));
            let head = PprofHead { types: &TYPES, period: (TYPES[1], period), began, time };
            Ok(stacks::pprof(&head, samples))
        }
        ProfileFormat::Firefox => stacks::firefox(&stacks, began, SAMPLE_PERIOD),
    })
    .await
}

/// Writes a line for each job: its name, its usage, and where it is.
async fn jobs(engine: &Engine) -> String {
    let before = engine.snapshots();
    let look = ProfileRun::begin();
    sleep(GLANCE).await;
    let mut text = String::new();
    for JobSnapshot { id, entry, age, cpu, memory, written, parent } in engine.snapshots() {
        let Some(earlier) = before.iter().find(|earlier| earlier.id == id) else { continue };
        let place = match look.place(id.0) {
            Some(stack) => format!("computes in {stack}"),
            None if entry.kind == Kind::Native => "of the daemon's own".to_owned(),
            None if cpu > earlier.cpu => "computes now and then".to_owned(),
            None => "waits".to_owned(),
        };
        let parent = parent.map_or_else(String::new, |parent| format!(" of {parent}"));
        let HandlerVersion { name, version, kind, .. } = &*entry;
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            text,
            "{id}{parent} {name}@{version} {kind}: {age:.1?} old, {cpu:.1?} on a processor, {memory} bytes of memory, {written} written: {place}"
        );
    }
    text
}

fn vars(engine: &Engine) -> String {
    let catalog = engine.live().pin();
    let snapshots = engine.snapshots();
    let handlers: Map<String, Value> =
        catalog.handlers.values().map(|entry| (entry.name.to_string(), handler(entry, &snapshots))).collect();
    let command: Vec<String> =
        std::env::args_os().map(|arg| plain(&arg.to_string_lossy()).into_owned()).collect();
    let threads: Vec<Value> = threads::all()
        .iter()
        .map(|thread| json!({ "name": thread.name, "state": thread.state.to_string(), "cpu_ms": millis(thread.cpu) }))
        .collect();
    let runtime = Handle::current().metrics();
    let busy: Vec<u64> =
        (0..runtime.num_workers()).map(|worker| millis(runtime.worker_total_busy_duration(worker))).collect();
    let vars = json!({
        "cmdline": command,
        "generation": catalog.generation,
        "handlers": handlers,
        "threads": threads,
        "workers": {
            "busy_ms": busy,
            "tasks": runtime.num_alive_tasks(),
            "tasks_in_line": runtime.global_queue_depth(),
        },
    });
    format!("{vars:#}\n")
}

/// Describes the usage of a handler, including its running jobs.
fn handler(entry: &HandlerVersion, snapshots: &[JobSnapshot]) -> Value {
    let own = snapshots.iter().filter(|snapshot| std::ptr::eq(&*snapshot.entry, entry));
    let (mut running, mut memory) = (Duration::ZERO, 0);
    for snapshot in own {
        running += snapshot.cpu;
        memory += snapshot.memory;
    }
    let taken = entry.slots.taken(&entry.limits);
    json!({
        "version": entry.version,
        "cpu_ms": millis(entry.record.cpu() + running),
        "memory": memory,
        "running": taken.running,
        "waiting": taken.waiting,
        "requests": entry.record.requests.ended(),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_in_the_list_and_no_other_path_is_one() {
        let list = index();

        assert!(PAGES.iter().all(|(page, path, _)| Page::at(path) == Some(*page) && list.contains(path)));
        assert_eq!((Page::at("/debug"), Page::at("/debug/pprof/")), (None, None));
    }
}
