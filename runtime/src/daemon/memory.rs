//! The memory limit that the jobs of all handlers share.

use std::collections::BTreeMap;
use std::fmt;

use rustix::process::{Resource, getrlimit};

use super::resource_demand;
use crate::budget::{Budget, max_per_job};
use crate::config::{Config, MemoryBound, Size};
use crate::job::Needs;
use crate::observe::{cgroup, machine};
use crate::store::StoreUrl;

/// Memory of the daemon itself, whatever it serves: its program, the code of modules, its buffers.
const OWN: usize = 48 << 20;

/// The minimum for jobs on a small host: with less, hardly any job would start.
const LEAST: usize = 16 << 20;

/// The memory limit of all jobs together.
pub(super) struct Total {
    /// `None` if there is no limit.
    bytes: Option<usize>,
    /// The source of the limit.
    source: MemorySource,
    /// The quotas of all stores in memory.
    stores: usize,
}

/// The source of the limit.
enum MemorySource {
    Configured,
    /// The memory of the host, with the name of what bounds it.
    Found(usize, String),
}

impl Total {
    /// Finds the limit. With `"auto"` it is the least of the control group, the machine and RLIMIT_DATA, minus the
    /// quotas of stores in memory and the daemon's own needs. These are 48 MiB, an eighth for connections, pipes and
    /// stacks, and another eighth for memory that stays warm between two jobs.
    pub(super) fn of(config: &Config) -> Total {
        let stores = in_stores(config);
        let (bytes, source) = match config.total_memory {
            MemoryBound::Bytes(bytes) => (Some(bytes), MemorySource::Configured),
            MemoryBound::Unlimited => (None, MemorySource::Configured),
            MemoryBound::Auto => match found() {
                Some((there, told)) => {
                    (Some(left(beside_stores(there, stores))), MemorySource::Found(there, told))
                }
                None => (None, MemorySource::Configured),
            },
        };
        Total { bytes, source, stores }
    }

    /// Returns how many bytes may stay warm between two jobs: an eighth of the memory.
    pub(super) fn warm(&self) -> usize {
        match (&self.source, self.bytes) {
            (MemorySource::Found(there, _), _) => there / 8,
            (MemorySource::Configured, Some(bytes)) => bytes / 8,
            (MemorySource::Configured, None) => usize::MAX,
        }
    }

    /// Makes the budget that jobs draw from.
    pub(super) fn budget(&self) -> std::sync::Arc<Budget> {
        self.bytes.map_or_else(Budget::boundless, |bytes| Budget::new(bytes / Needs::PAGE))
    }

    /// Describes that stores in memory may take what is meant for something else, and what to do.
    pub(super) fn stores_lack(&self) -> Option<String> {
        let (there, told) = match &self.source {
            MemorySource::Found(there, told) => (*there, told.clone()),
            MemorySource::Configured => found()?,
        };
        let room = match (&self.source, self.bytes) {
            (MemorySource::Found(..), _) => there / 2,
            (MemorySource::Configured, Some(bytes)) => there.saturating_sub(bytes),
            (MemorySource::Configured, None) => return None,
        };
        (self.stores > room).then(|| {
            format!(
                "store.NAME.quota: stores with url = \"memory:\" may hold {}, and there is room for {} beside jobs, of {} of \
                 {told}: lower their quotas, or keep them in files",
                mebibytes(self.stores),
                mebibytes(room),
                mebibytes(there),
            )
        })
    }

    /// Describes what the configuration asks for beyond the limit, and what to do.
    pub(super) fn lack(&self, config: &Config) -> Option<String> {
        let bytes = self.bytes?;
        let wanted = resource_demand::max(config, |handler| handler.limits.memory);
        let largest = config.handlers.iter().max_by_key(|handler| handler.limits.memory)?;
        let per_job = max_per_job(bytes);
        if largest.limits.memory > per_job {
            return Some(format!(
                "handler.{}.limits.memory: a job may have {}, and one handler gets {} at most of {self}: beyond it \
                 memory is refused; lower limits.memory, or raise limits.total_memory",
                largest.name,
                Size(largest.limits.memory as u64),
                mebibytes(per_job),
            ));
        }
        (wanted.sum > bytes).then(|| {
            format!(
                "limits.memory: jobs may have {} at once ({wanted}), and there is {self}: beyond it a job is refused \
                 memory, and the next one waits; lower limits.memory, limits.concurrency or jobs, or raise \
                 limits.total_memory",
                mebibytes(wanted.sum),
            )
        })
    }
}

/// Returns how much memory the connections may hold for their clients, in bytes: an eighth of what there is, unless the
/// configuration says otherwise.
pub(super) fn of_clients(config: &Config) -> usize {
    match config.http.client_memory {
        MemoryBound::Bytes(bytes) => bytes,
        MemoryBound::Unlimited => usize::MAX,
        MemoryBound::Auto => found().map_or(usize::MAX, |(there, _)| there / 8),
    }
}

/// The limit with its source.
impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bytes, &self.source) {
            (None, _) => f.write_str("no bound on the memory of all jobs"),
            (Some(bytes), MemorySource::Configured) => {
                write!(f, "{} for all jobs (limits.total_memory)", mebibytes(bytes))
            }
            (Some(bytes), MemorySource::Found(there, told)) => {
                let kept = if self.stores > 0 { " and that of stores in memory" } else { "" };
                write!(
                    f,
                    "{} for all jobs (limits.total_memory = \"auto\": {} of {told}, less the daemon's own{kept})",
                    mebibytes(bytes),
                    mebibytes(*there)
                )
            }
        }
    }
}

fn left(there: usize) -> usize {
    (there - there / 4).saturating_sub(OWN).max(LEAST.min(there / 2))
}

/// Returns what is there for the daemon and its jobs beside stores in memory: half of it at least.
fn beside_stores(there: usize, stores: usize) -> usize {
    there - stores.min(there / 2)
}

/// Adds up the quotas of all stores in memory. Handlers that have the same store share its quota.
fn in_stores(config: &Config) -> usize {
    let granted = config.handlers.iter().flat_map(|handler| &handler.stores).map(|grant| &grant.store);
    let stores = config.stores.iter().chain(granted).map(|store| &store.options);
    let stores = stores.filter(|options| options.url == StoreUrl::Memory);
    let quotas: BTreeMap<&str, u64> = stores.map(|options| (options.name.as_str(), options.quota)).collect();
    quotas
        .into_values()
        .fold(0_usize, |sum, quota| sum.saturating_add(usize::try_from(quota).unwrap_or(usize::MAX)))
}

/// Finds the tightest bound on the memory of this process, and its name.
fn found() -> Option<(usize, String)> {
    let machine = machine().and_then(|bytes| usize::try_from(bytes).ok());
    let group = cgroup::memory()
        .and_then(|bound| Some((usize::try_from(bound.max).ok()?, format!("{}", bound.file.display()))));
    let data = getrlimit(Resource::Data).current.and_then(|max| usize::try_from(max).ok());
    let data = data.map(|max| (max, "RLIMIT_DATA".to_owned()));
    let machine = machine.map(|bytes| (bytes, "this machine".to_owned()));
    [machine, group, data].into_iter().flatten().min_by_key(|(max, _)| *max)
}

fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_there_is_the_daemon_keeps_what_it_needs_itself() {
        let mib = |bytes: usize| bytes >> 20;

        assert_eq!(mib(left(256 << 20)), 144);
        assert_eq!(mib(left(8 << 30)), 6096);
        // On a very small host, a job still starts.
        assert_eq!(mib(left(64 << 20)), 16);
        assert_eq!(mib(left(24 << 20)), 12);
    }

    #[test]
    fn a_store_in_memory_takes_from_jobs_what_it_may_hold() {
        let mib = |there: usize, stores: usize| left(beside_stores(there << 20, stores << 20)) >> 20;

        assert_eq!(mib(512, 256), 144);
        // Jobs keep half of what there is, and the operator is told.
        assert_eq!(mib(512, 100_000), 144);
        let total = |stores: usize| {
            let source = MemorySource::Found(512 << 20, "this machine".to_owned());
            Total { bytes: Some(144 << 20), source, stores: stores << 20 }
        };
        assert_eq!(total(256).stores_lack(), None);
        let told = total(257).stores_lack().unwrap();
        assert!(told.contains("may hold 257 MiB, and there is room for 256 MiB"), "{told}");
        assert!(total(1).to_string().ends_with("less the daemon's own and that of stores in memory)"));
    }
}
