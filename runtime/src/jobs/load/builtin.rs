//! The names of the built-in jobs.

/// The names that no handler may have, sorted: those of the built-in jobs.
pub const BUILTIN: [&str; 21] = [
    "acceptconnections",
    "canary",
    "commands",
    "explain",
    "handlers",
    "jobs",
    "kill",
    "logs",
    "plan",
    "reload",
    "rollback",
    "routes",
    "runschedules",
    "serveadmin",
    "serveapi",
    "serveobserve",
    "shutdown",
    "status",
    "swap",
    "upgrade",
    "version",
];
