//! The policy of a handler's jobs: during a drain, in the quotas of the admin socket, for `kill`, and in the log.

/// The policy of a handler, fixed when it is registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How a shutdown treats its jobs.
    pub on_drain: OnDrain,
    /// The quota of the admin socket that its jobs use.
    pub admin_quota: AdminQuota,
    /// Whether the daemon is incomplete without its job: an operator ends the daemon, and not that job.
    pub is_essential: bool,
    /// Whether an operator gives it URLs, in which the values of some query parameters are masked, as in the log.
    pub has_urls: bool,
    /// Whether its job listens to events: the list of running jobs has it once it misses none, see
    /// [`Usage::listen`](super::Usage::listen).
    pub is_listener: bool,
}

impl Policy {
    /// The policy of a handler of the configuration, and of a job that does something.
    pub const WORK: Policy = Policy {
        on_drain: OnDrain::Wait,
        admin_quota: AdminQuota::LongLived,
        is_essential: false,
        has_urls: false,
        is_listener: false,
    };

    /// The policy of a job that changes what the daemon serves.
    pub const CHANGE: Policy = Policy { admin_quota: AdminQuota::Change, ..Policy::WORK };

    /// The policy of a job that shows something, or ends something, at once.
    pub const LOOK: Policy = Policy {
        on_drain: OnDrain::Ignore,
        admin_quota: AdminQuota::None,
        is_essential: false,
        has_urls: false,
        is_listener: false,
    };

    /// The policy of a job that shows events as they happen, for as long as its reader stays.
    pub const LISTEN: Policy =
        Policy { admin_quota: AdminQuota::LongLived, is_listener: true, ..Policy::LOOK };
}

/// How a shutdown treats a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDrain {
    /// A running job is waited for, and a new one is refused.
    Wait,
    /// A running job is not waited for, and a new one is taken: an operator looks at the daemon, or ends it, while it
    /// drains, too.
    Ignore,
}

/// The quota of the admin socket that a job uses, which keeps connections free for other requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminQuota {
    /// Nothing: the job answers at once.
    None,
    /// A place among the changes: the job lasts as long as a module takes to arrive and to be compiled, and those
    /// before it.
    Change,
    /// A place among the long-lived: the job lasts as long as it likes, or as its reader does.
    LongLived,
}

impl AdminQuota {
    /// Lists the jobs that use the quota, as the text of a full quota names them. The list is empty for
    /// [`None`](AdminQuota::None).
    pub fn jobs(self) -> &'static str {
        match self {
            AdminQuota::None => "",
            AdminQuota::Change => "swap, reload, promote, rollback, upgrade, plan",
            AdminQuota::LongLived => "logs, tap, sql, store dump, store load, jobs of handlers",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page about the admin socket.
    const PAGE: &str = include_str!("../../docs/operating.md");

    #[test]
    fn the_jobs_of_a_full_quota_are_those_of_the_documentation() {
        let page = PAGE.replace('`', "").replace('\n', " ");

        for (quota, what) in [(AdminQuota::Change, "changes"), (AdminQuota::LongLived, "jobs that may last")]
        {
            let wanted = format!(" for {what} ({})", quota.jobs());
            assert!(page.contains(&wanted), "{wanted} in operating.md");
        }
    }
}
