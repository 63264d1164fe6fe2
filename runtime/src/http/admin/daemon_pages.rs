//! The pages of the profiler about the daemon itself: its heap and its threads.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use tokio::time::sleep;

use super::profile_request::{HeapMeasure, ProfileFormat, ProfileRequest, write_profile};
use crate::http::refusal::Refusal;
use crate::observe::heap::{HeapCount, HeapCounts, HeapRun, PERIOD};
use crate::observe::profile::StackCounts;
use crate::observe::stacks::{self, PprofHead, ValueType};
use crate::observe::threads::{self, Thread};

/// The values of each stack in pprof, as Go's heap profiles have them.
const TYPES: [ValueType; 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];

/// The advice for a format that has no place for memory.
const NOT_FIREFOX: &str = "a heap profile is not for the Firefox Profiler: ask for format=pprof";

/// Takes a profile of the heap.
///
/// # Errors
/// It cannot be written in this format.
pub(super) async fn heap(request: ProfileRequest) -> Result<Vec<u8>, Refusal> {
    if request.format == ProfileFormat::Firefox {
        return Err(Refusal::Malformed(NOT_FIREFOX.to_owned()));
    }
    let (run, began) = (HeapRun::begin(), SystemTime::now());
    sleep(request.time).await;
    // The names of functions are read from the program's file.
    write_profile(move || {
        let counts = run.counts();
        drop(run);
        write_heap(&counts, request, began)
    })
    .await
}

fn write_heap(counts: &HeapCounts, request: ProfileRequest, began: SystemTime) -> anyhow::Result<Vec<u8>> {
    let ProfileRequest { time, format, of } = request;
    let of = of.unwrap_or(HeapMeasure::Held);
    let bytes = |count: &HeapCount| match of {
        HeapMeasure::Held => count.held,
        HeapMeasure::Allocated => count.allocated,
    };
    let bytes = counts.iter().map(|(stack, count)| (stack.clone(), bytes(count)));
    let bytes: StackCounts = bytes.filter(|(_, bytes)| *bytes > 0).collect();
    match format {
        ProfileFormat::Collapsed => Ok(stacks::collapsed(&bytes).into_bytes()),
        ProfileFormat::Svg if bytes.is_empty() => match of {
            HeapMeasure::Held => {
                bail!(
                    "nothing of what was allocated is left, so there is nothing to draw: ask for of=allocated"
                )
            }
            HeapMeasure::Allocated => {
                bail!("no allocation was sampled, so there is nothing to draw: ask for more seconds")
            }
        },
        ProfileFormat::Svg => {
            let what = match of {
                HeapMeasure::Held => "not freed",
                HeapMeasure::Allocated => "allocated",
            };
            stacks::flame_graph(&bytes, &format!("The daemon's heap, {} s, {what}", time.as_secs()), "bytes")
        }
        ProfileFormat::Pprof => {
            let samples = counts.iter().map(|(stack, count)| {
                let HeapCount { allocations, allocated, holdings, held } = *count;
                (stack.as_str(), vec![allocations, allocated, holdings, held])
            });
            let head = PprofHead { types: &TYPES, period: (("space", "bytes"), PERIOD.into()), began, time };
            Ok(stacks::pprof(&head, samples))
        }
        ProfileFormat::Firefox => {
            bail!(NOT_FIREFOX)
        }
    }
}

/// Lists the threads, those that computed most during `time` first.
pub(super) async fn threads(time: Duration) -> String {
    let before: HashMap<u32, Duration> =
        threads::all().into_iter().map(|thread| (thread.id, thread.cpu)).collect();
    sleep(time).await;
    let use_of = |thread: &Thread| {
        let before = before.get(&thread.id).copied().unwrap_or_default();
        thread.cpu.saturating_sub(before)
    };
    let mut threads = threads::all();
    threads.sort_by_key(|thread| (std::cmp::Reverse(use_of(thread)), thread.id));
    let mut text = format!("{:>9} {:<16} state {:>10} {:>7}  in the kernel\n", "id", "name", "cpu", "now");
    for thread in &threads {
        let Thread { id, name, state, cpu } = thread;
        let now = 100.0 * use_of(thread).as_secs_f64() / time.as_secs_f64();
        let wait = threads::wait(*id).unwrap_or_default();
        // Writing to a string cannot fail.
        let _infallible =
            writeln!(text, "{id:>9} {name:<16} {state:<5} {:>8.2} s {now:>5.1} %  {wait}", cpu.as_secs_f64());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_profile_of_nothing_is_told_what_else_to_ask_for() {
        let told = |of| {
            let request = ProfileRequest { time: Duration::from_secs(1), format: ProfileFormat::Svg, of };
            write_heap(&HeapCounts::default(), request, SystemTime::now()).unwrap_err().to_string()
        };

        assert!(told(None).ends_with(": ask for of=allocated"));
        assert!(told(Some(HeapMeasure::Allocated)).ends_with(": ask for more seconds"));
    }
}
