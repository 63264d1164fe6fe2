//! The profiler of the admin socket: shows operators, in debug mode only, where the daemon spends its CPU time.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::engine::{Engine, JobSnapshot};
use crate::http::refusal::Refusal;
use crate::http::request::response_body::Body;
use crate::job::{HandlerVersion, Kind};
use crate::observe::profile::ProfileRun;
use crate::observe::{plain, threads};

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
}

/// The pages and their paths. Docker served its own at `/debug/`, and its profiles below
/// `/debug/pprof/`.
const PAGES: [(Page, &str, &str); 4] = [
    (Page::Index, "/debug/", "this list"),
    (
        Page::Profile,
        "/debug/profile",
        "?seconds=10: stacks of handlers and how often they were seen, for flame graphs",
    ),
    (Page::Jobs, "/debug/jobs", "the jobs that run, and where they are"),
    (Page::Vars, "/debug/vars", "counters of the process, its threads and its handlers, as JSON"),
];

/// The longest profile, in seconds. Its client waits for it.
const LONGEST: u64 = 300;

/// The length of a profile if the query names none, in seconds.
const USUAL: u64 = 10;

/// How long jobs are sampled to see where they are: some ticks of 10 ms.
const GLANCE: Duration = Duration::from_millis(60);

impl Page {
    /// Finds the page at a path.
    pub(in crate::http) fn at(path: &str) -> Option<Page> {
        PAGES.iter().find(|(_, at, _)| *at == path).map(|(page, ..)| *page)
    }

    /// Reports whether the page takes long to make.
    pub(in crate::http) fn lasts(self) -> bool {
        self == Page::Profile
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
        let (kind, text) = match self {
            Page::Index => ("text/plain; charset=utf-8", index()),
            Page::Profile => ("text/plain; charset=utf-8", profile(seconds(query)?).await),
            Page::Jobs => ("text/plain; charset=utf-8", jobs(engine).await),
            Page::Vars => ("application/json", vars(engine)),
        };
        let mut response = Response::new(Body::full(text.into()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(response)
    }
}

/// Parses `seconds=10`.
fn seconds(query: &str) -> Result<Duration, Refusal> {
    let malformed = || Refusal::Malformed(format!("wanted ?seconds=N, N from 1 to {LONGEST}"));
    let seconds = match query {
        "" => USUAL,
        query => query.strip_prefix("seconds=").and_then(|text| text.parse().ok()).ok_or_else(malformed)?,
    };
    if !(1..=LONGEST).contains(&seconds) {
        return Err(malformed());
    }
    Ok(Duration::from_secs(seconds))
}

fn index() -> String {
    PAGES.iter().fold(String::new(), |text, (_, path, what)| text + &format!("{path:<16}{what}\n"))
}

/// Writes the stacks, the most frequent first, in the format of flame graph tools.
async fn profile(time: Duration) -> String {
    let look = ProfileRun::begin();
    sleep(time).await;
    let mut stacks: Vec<(String, u64)> = look.stacks().into_iter().collect();
    stacks.sort_by(|(one, count), (other, more)| more.cmp(count).then_with(|| one.cmp(other)));
    stacks.iter().fold(String::new(), |text, (stack, count)| text + &format!("{stack} {count}\n"))
}

/// Writes a line for each job: its name, its usage, and where it is.
async fn jobs(engine: &Engine) -> String {
    let before = engine.sightings();
    let look = ProfileRun::begin();
    sleep(GLANCE).await;
    let mut text = String::new();
    for JobSnapshot { id, entry, age, cpu, memory, written, parent } in engine.sightings() {
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
    let sightings = engine.sightings();
    let handlers: Map<String, Value> =
        catalog.handlers.values().map(|entry| (entry.name.to_string(), handler(entry, &sightings))).collect();
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
fn handler(entry: &HandlerVersion, sightings: &[JobSnapshot]) -> Value {
    let own = sightings.iter().filter(|sighting| std::ptr::eq(&*sighting.entry, entry));
    let (mut running, mut memory) = (Duration::ZERO, 0);
    for sighting in own {
        running += sighting.cpu;
        memory += sighting.memory;
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
    fn a_time_is_whole_seconds_within_bounds() {
        let read = |query| seconds(query).map(|time| time.as_secs()).ok();

        assert_eq!((read(""), read("seconds=1"), read("seconds=300")), (Some(10), Some(1), Some(300)));
        for query in ["seconds=0", "seconds=301", "seconds=1.5", "seconds=", "time=1", "seconds=-1"] {
            assert_eq!(read(query), None, "{query}");
        }
    }

    #[test]
    fn every_page_is_in_the_list_and_no_other_path_is_one() {
        let list = index();

        assert!(PAGES.iter().all(|(page, path, _)| Page::at(path) == Some(*page) && list.contains(path)));
        assert_eq!((Page::at("/debug"), Page::at("/debug/pprof/")), (None, None));
    }
}
