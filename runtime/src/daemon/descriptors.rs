//! Divides the file descriptors of the process among connections, jobs and a reserve.

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use super::resource_demand;
use crate::config::{AskedLimits, Config, HandlerConfig, HttpLimits};
use crate::wasm::Files;

/// The highest limit that we ask for: the default of fs.nr_open on Linux. The kernel's table grows with its use.
const MAX: u64 = 1 << 20;

/// Descriptors for neither clients nor jobs: 64 for operators, 32 for observers, 32 for stored request bodies, and 64
/// for listening sockets, the log, loading and compiling modules, records and name look-ups. At most a quarter of all
/// descriptors.
const RESERVE: usize = 192;

/// The default for the most connections: a connection is cheap, but not free.
const DEFAULT_MOST: usize = 32 << 10;

/// The shares of the descriptors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DescriptorShares {
    /// The limit of the process.
    descriptors: usize,
    pub(super) connections: usize,
    /// The connections of one address, as a part of `connections`.
    pub(super) per_ip: usize,
    /// The descriptors that jobs may hold: mounts, files and connections to other servers.
    pub(super) jobs: usize,
}

/// Raises the soft limit to the hard limit, at most to [`MAX`]. The usual soft limit, 1024, is for programs that use
/// select(2); the daemon does not.
pub(super) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(MAX, |max| max.min(MAX));
    if current.is_some_and(|current| current < wanted)
        && let Err(refusal) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        warn!("the limit of open files stays at {}: {refusal}", current.unwrap_or_default());
    }
}

/// Computes the shares. By default half of the descriptors are for connections.
///
/// # Errors
/// The configuration asks for more connections than there are descriptors for.
pub(super) fn shares(config: &Config) -> Result<DescriptorShares> {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let idle = config.handlers.iter().map(idle).sum();
    let wanted = resource_demand::max(config, of_job).sum;
    max(&config.http, usize::try_from(descriptors).unwrap_or(usize::MAX), idle, wanted)
}

/// Computes the share of jobs once `next` replaces `now`, beside the connections that are allowed already.
///
/// # Errors
/// The mounts that `next` adds leave jobs too little.
pub(super) fn shares_beside(connections: usize, now: &Config, next: &Config) -> Result<usize> {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let [before, idle] = [now, next].map(|config| config.handlers.iter().map(idle).sum());
    beside(connections, descriptors, (before, idle), resource_demand::max(next, of_job).sum)
}

fn beside(
    connections: usize,
    descriptors: usize,
    (before, idle): (usize, usize),
    wanted: usize,
) -> Result<usize> {
    let reserve = RESERVE.min(descriptors / 4);
    let free = (descriptors - reserve).saturating_sub(idle);
    let least = least(free, descriptors, wanted);
    let jobs = free.saturating_sub(connections);
    // A lack that exists since the start is no reason to refuse a change.
    if jobs < least && idle > before {
        bail!(
            "needs restart: jobs need {least} file descriptors and {jobs} are left: the process may have {descriptors}, the \
             mounts of all handlers hold {idle} while nothing runs, {connections} are for connections, and {reserve} are kept in reserve; lower \
             http.connections, or allow the process more (LimitNOFILE= in its unit, `ulimit -n` in a shell)"
        );
    }
    Ok(jobs.max(least))
}

/// Returns the number of descriptors that a handler holds even while none of its jobs runs.
fn idle(handler: &HandlerConfig) -> usize {
    let (mounts, jobs) = (handler.mounts.len(), handler.limits.concurrency);
    if has_files(handler) { Files::held_idle(mounts, handler.tmp.is_some(), jobs) } else { 0 }
}

fn has_files(handler: &HandlerConfig) -> bool {
    !handler.mounts.is_empty() || handler.tmp.is_some()
}

/// Divides `descriptors`. Idle handlers hold `idle` of them, and jobs may ask for `wanted` at most.
fn max(http: &HttpLimits, descriptors: usize, idle: usize, wanted: usize) -> Result<DescriptorShares> {
    let reserve = RESERVE.min(descriptors / 4);
    let free = (descriptors - reserve).saturating_sub(idle);
    let least = least(free, descriptors, wanted);
    let limit = free.saturating_sub(least);
    let connections = match http.connections {
        Some(wanted) if wanted > limit => bail!(
            "http.connections: {wanted} connections need {} file descriptors, and this process may have \
             {descriptors}: allow it more (LimitNOFILE= in its unit, `ulimit -n` in a shell), or ask for {limit} at most",
            wanted.saturating_add(descriptors - limit),
        ),
        Some(wanted) => wanted,
        None => (descriptors / 2).min(limit).clamp(1, DEFAULT_MOST),
    };
    let jobs = free.saturating_sub(connections).max(least);
    let per_ip = http.connections_per_peer.unwrap_or(connections.div_ceil(2));
    Ok(DescriptorShares { descriptors, connections, per_ip, jobs })
}

/// Returns the minimum share of jobs: with less, a job with a mount could not run.
fn least(free: usize, descriptors: usize, wanted: usize) -> usize {
    (free / 4).max(descriptors / 8).min(wanted)
}

impl DescriptorShares {
    /// Describes what the configuration asks for beyond the share of jobs, and what to do. `None` if all limits
    /// are defaults: they bound a job, and ask for nothing.
    pub(super) fn lack(&self, config: &Config) -> Option<String> {
        let wanted = resource_demand::max(config, asked_for_job);
        (wanted.sum > self.jobs).then(|| {
            format!(
                "limits.handles: jobs may hold {} file descriptors at once ({wanted}), and {} of {} are for them: beyond \
                 them opening is refused (EMFILE), and the next job waits; allow the process more (LimitNOFILE= in its \
                 unit, `ulimit -n` in a shell), or lower limits.handles or limits.concurrency",
                wanted.sum, self.jobs, self.descriptors
            )
        })
    }
}

/// Returns the number of descriptors that a job of a handler may hold.
fn of_job(handler: &HandlerConfig) -> usize {
    let files = if has_files(handler) { given(handler) + handler.limits.handles } else { 0 };
    let calls = if handler.outbound.allow.is_empty() { 0 } else { handler.limits.outbound.at_once };
    files + calls
}

/// Returns the part of [`of_job`] that the configuration asks for. With `limits.concurrency` it asks for what jobs need
/// to run at once.
fn asked_for_job(handler: &HandlerConfig) -> usize {
    let files = match handler.asked {
        _ if !has_files(handler) => 0,
        AskedLimits { handles: true, .. } => given(handler) + handler.limits.handles,
        AskedLimits { concurrency: true, .. } => given(handler),
        AskedLimits { .. } => 0,
    };
    let has_calls = handler.asked.calls && !handler.outbound.allow.is_empty();
    files + if has_calls { handler.limits.outbound.at_once } else { 0 }
}

/// Returns the number of descriptors that a job needs before it opens a file.
fn given(handler: &HandlerConfig) -> usize {
    Files::held_by_job(handler.mounts.len(), handler.tmp.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(connections: Option<usize>, connections_per_peer: Option<usize>) -> HttpLimits {
        HttpLimits { connections, connections_per_peer, ..HttpLimits::default() }
    }

    #[test]
    fn half_of_the_descriptors_are_for_connections_and_half_of_those_for_one_address() {
        let found = |descriptors| {
            let DescriptorShares { connections, per_ip, jobs, .. } =
                max(&asked(None, None), descriptors, 0, 1000).unwrap();
            (connections, per_ip, jobs)
        };

        assert_eq!(found(1024), (512, 256, 320));
        assert_eq!(found(1 << 20), (DEFAULT_MOST, DEFAULT_MOST / 2, (1 << 20) - RESERVE - DEFAULT_MOST));
        assert_eq!(found(64), (32, 16, 16));
        assert_eq!(found(3), (1, 1, 2));
    }

    #[test]
    fn handlers_that_hold_descriptors_while_idle_leave_fewer_to_connections_and_jobs() {
        let DescriptorShares { connections, jobs, .. } = max(&asked(None, None), 1024, 400, 1000).unwrap();

        assert_eq!((connections, jobs), (304, 128));
    }

    #[test]
    fn mounts_that_come_with_a_reload_leave_fewer_to_jobs_and_are_refused_one_beyond() {
        let shared = |before, idle| beside(512, 1024, (before, idle), 1000);

        assert_eq!(shared(0, 0).unwrap(), 320);
        assert_eq!(shared(0, 70).unwrap(), 250);
        assert_eq!(shared(0, 150).unwrap(), 170);
        let refusal = shared(0, 151).unwrap_err().to_string();
        assert!(
            refusal.contains("jobs need 170 file descriptors and 169 are left")
                && refusal.contains("hold 151"),
            "{refusal}"
        );
        assert_eq!(shared(151, 151).unwrap(), 170);
    }

    #[test]
    fn connections_are_allowed_up_to_the_reserve_and_refused_one_beyond() {
        let at = max(&asked(Some(624), Some(7)), 1024, 0, 1000);
        let beyond = max(&asked(Some(625), Some(7)), 1024, 0, 1000);

        assert_eq!(
            at.unwrap(),
            DescriptorShares { descriptors: 1024, connections: 624, per_ip: 7, jobs: 208 }
        );
        let refusal = beyond.unwrap_err().to_string();
        assert!(
            refusal.starts_with("http.connections: 625 connections need 1025 file descriptors"),
            "{refusal}"
        );
        assert!(refusal.ends_with("or ask for 624 at most"), "{refusal}");
        // Jobs that open no files need no share.
        assert!(max(&asked(Some(832), None), 1024, 0, 0).is_ok());
    }
}
