//! The built-in jobs, one a file: status, reload, swap, upgrade and all else that the daemon does for operators.
//!
//! What the daemon does to itself is a job like any other. `load` makes the catalogs; `api` types the commands and
//! replies.
//!
//! Floors, lowest first: `api`, `commands`, `credential`, `successor`, `scheduler`, `serve`, `shutdown`, `tap_filter`;
//! `ended_job`, `read_again`, `reply`; `describe`, `kill`, `load`, `log_level`, `log_reopen`, `logs`, `routes`, `tap`,
//! `version`; `store_changes`; `changes`, `daemon_state`, `generations`, `handlers`, `list_jobs`, `sql`; `explain`,
//! `history`, `open_gate`, `promote`, `reload_refusals`, `rollback`, `stores`, `swap`, `canary`; `status`; `reload`;
//! `plan`, `upgrade`.

pub mod api;
mod canary;
mod changes;
mod commands;
mod credential;
mod daemon_state;
mod describe;
mod ended_job;
mod explain;
mod generations;
mod handlers;
mod history;
mod kill;
mod list_jobs;
mod load;
mod log_level;
mod log_reopen;
mod logs;
mod open_gate;
mod plan;
mod promote;
mod read_again;
mod reload;
mod reload_refusals;
mod reply;
mod rollback;
mod routes;
mod scheduler;
mod serve;
mod shutdown;
mod sql;
mod status;
mod store_changes;
mod stores;
mod successor;
mod swap;
mod tap;
mod tap_filter;
mod upgrade;
mod version;

pub use canary::WatchTrial;
pub use commands::Commands;
pub use credential::unreadable_secrets;
pub use daemon_state::{DaemonState, DescriptorShare, settings, traces};
pub use explain::Explain;
pub use generations::Generations;
pub use handlers::ListHandlers;
pub use history::TellHistory;
pub use kill::Kill;
pub use list_jobs::ListJobs;
pub use load::{LoadNumber, Loader, Migrating, OnProgress, Step, StepTurn, lines};
pub use log_level::SetLogLevel;
pub use log_reopen::ReopenLog;
pub use logs::TellLogs;
pub use open_gate::AcceptConnections;
pub use plan::{Overlay, Plan};
pub use promote::Promote;
pub use reload::{ConfigReading, ConfigSource, Granted, Reload};
pub use reply::ReplyJob;
pub use rollback::Rollback;
pub use routes::ListRoutes;
pub use scheduler::RunSchedules;
pub use serve::ServeApi;
pub use shutdown::Shutdown;
pub use sql::QueryDatabase;
pub use status::TellStatus;
pub use stores::{
    DeleteEntries, DumpStore, GetEntry, ListKeys, ListStores, LoadStore, OperatorStores, SetEntry,
};
pub use successor::SuccessorProcess;
pub use swap::Swap;
pub use tap::Tap;
pub use upgrade::{Launch, UpgradeJob};
pub use version::TellVersion;
