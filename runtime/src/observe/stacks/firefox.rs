//! A profile as the Firefox Profiler reads it: its processed profile format, in JSON, with a thread for each handler.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use fxprof_processed_profile::{
    CategoryHandle, CpuDelta, Frame, FrameFlags, FrameInfo, Profile, SamplingInterval, ThreadHandle,
    Timestamp,
};

use crate::observe::profile::StackCounts;

/// Writes a profile that was taken from `began`, with a sample every `period`.
///
/// The samples of a stack are one sample with their number as its weight: when each of them was taken is not known.
///
/// # Errors
/// The profile cannot be JSON; every profile can.
pub fn firefox(stacks: &StackCounts, began: SystemTime, period: Duration) -> anyhow::Result<Vec<u8>> {
    let start = Timestamp::from_millis_since_reference(0.0);
    let mut profile = Profile::new("portcullis", began.into(), SamplingInterval::from(period));
    let process = profile.add_process("portcullis", std::process::id(), start);
    let mut threads: HashMap<&str, (ThreadHandle, Duration)> = HashMap::new();
    for (stack, count) in stacks {
        let (handler, _) = stack.split_once(';').unwrap_or((stack, ""));
        let number = u32::try_from(threads.len()).unwrap_or(u32::MAX);
        let (thread, at) = threads.entry(handler).or_insert_with(|| {
            let thread = profile.add_thread(process, number, start, false);
            profile.set_thread_name(thread, handler);
            (thread, Duration::ZERO)
        });
        let frames: Vec<FrameInfo> = stack
            .split(';')
            .map(|name| FrameInfo {
                frame: Frame::Label(profile.intern_string(name)),
                category_pair: CategoryHandle::OTHER.into(),
                flags: FrameFlags::empty(),
            })
            .collect();
        let node = profile.intern_stack_frames(*thread, frames.into_iter());
        let time = Timestamp::from_millis_since_reference(at.as_secs_f64() * 1000.0);
        let weight = i32::try_from(*count).unwrap_or(i32::MAX);
        profile.add_sample(*thread, time, node, CpuDelta::ZERO, weight);
        *at += period * u32::try_from(*count).unwrap_or(u32::MAX);
    }
    Ok(serde_json::to_vec(&profile)?)
}
