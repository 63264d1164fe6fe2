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

/// The jobs that only show something. A client that may only read runs no others: `plan` reads files as the daemon, and
/// the contents of stores and databases belong to handlers.
pub const READING: [&str; 11] =
    [COMMANDS, EXPLAIN, HANDLERS, HISTORY, JOBS, LOGS, ROUTES, STATUS, STORES, TAP, VERSION];

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
    PROMOTE = "promote",
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
