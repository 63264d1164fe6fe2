//! The names of the built-in jobs, which no handler may have.

/// Defines a constant for each name, and [`BUILTIN`] with all of them.
macro_rules! names {
    ($($constant:ident = $name:literal,)*) => {
        $(
            #[doc = concat!("The name of the job `", $name, "`.")]
            pub const $constant: &str = $name;
        )*

        /// All names, sorted.
        pub const BUILTIN: [&str; [$($name),*].len()] = [$($name),*];
    };
}

names! {
    ACCEPT_CONNECTIONS = "acceptconnections",
    CANARY = "canary",
    COMMANDS = "commands",
    EXPLAIN = "explain",
    HANDLERS = "handlers",
    HISTORY = "history",
    JOBS = "jobs",
    KILL = "kill",
    LOG_LEVEL = "log-level",
    LOG_REOPEN = "log-reopen",
    LOGS = "logs",
    PLAN = "plan",
    RELOAD = "reload",
    ROLLBACK = "rollback",
    ROUTES = "routes",
    RUN_SCHEDULES = "runschedules",
    SERVE_ADMIN = "serveadmin",
    SERVE_API = "serveapi",
    SERVE_OBSERVE = "serveobserve",
    SHUTDOWN = "shutdown",
    SQL = "sql",
    STATUS = "status",
    STORE_DELETE = "storedelete",
    STORE_DUMP = "storedump",
    STORE_GET = "storeget",
    STORE_LIST = "storelist",
    STORE_LOAD = "storeload",
    STORES = "stores",
    STORE_SET = "storeset",
    SWAP = "swap",
    TAP = "tap",
    UPGRADE = "upgrade",
    VERSION = "version",
}
