//! The admin API: for each built-in job, the command that it takes and the reply that it writes, as types.
//!
//! The verb encodes a command and reads the reply; the job decodes the command and writes the reply. A key of the
//! JSON is the name of a field, so that both ends change together. An absent value is `null`, unless its field says
//! that the key is left out. A reader ignores keys that it does not know, and refuses a reply that lacks one. In the
//! reply of a job that changes something, keys that the verb does without may be absent: the change is made, whatever
//! the reply of an older daemon lacks.
//!
//! Floors, lowest first: `arguments`, `command`, `handler`, `pairs`, `stored`; `loaded`, `store`; `changes`, `explain`,
//! `history`, `listing`, `logging`, `logs`, `process`, `sql`, `status`, `swap`, `tap`.

mod arguments;
mod changes;
mod command;
mod explain;
mod handler;
mod history;
mod listing;
mod loaded;
mod logging;
mod logs;
mod pairs;
mod process;
mod sql;
mod status;
mod store;
mod stored;
mod swap;
mod tap;

pub use changes::{
    ChangedHandler, ChangedListener, ChangedRoute, ChangedStore, ChangesReport, Difference, EndedTrial,
    PlanCommand, PlanReply, RefreshReply, ReloadCommand, ReloadReply,
};
pub use command::Command;
pub use explain::{ExplainCommand, ExplainReply, ExplainedHandler, ExplainedRoute, NearMiss};
pub use handler::{CallLimitsReport, GrantsReport, LimitsReport, ScheduleReport, TrialReport};
pub use history::{
    EndedJobReport, HistoryCommand, NestedJobReport, OutboundCallReport, RequestReport, RunReport,
};
pub use listing::{
    CommandsCommand, DurationBucket, HandlerReport, HandlersCommand, JobReport, JobsCommand, RouteReport,
    RoutesCommand,
};
pub use loaded::LoadedEntry;
pub use logging::{LogLevelCommand, LogLevelReply, LogReopenCommand, LogReopenReply};
pub use logs::{DroppedLines, LoggedLine, LogsCommand};
pub use pairs::Pairs;
pub use process::{KillCommand, KillReply, ShutdownCommand, UpgradeCommand, UpgradeReply};
pub use sql::{QueryCommand, QueryReply};
pub use status::{AcmeReport, ServingProcess, StatusCommand, StatusReply, VersionCommand, VersionReply};
pub use store::{
    SetCondition, StoreDeleteCommand, StoreDeleteReply, StoreDumpCommand, StoreGetCommand, StoreGetReply,
    StoreListCommand, StoreListReply, StoreLoadCommand, StoreLoadReply, StoreReport, StoreSetCommand,
    StoreSetReply, StoresCommand,
};
pub use stored::{DumpedEntry, StoredValue, expiry};
pub use swap::{
    BegunTrial, PromoteCommand, PromoteReply, RollbackCommand, RollbackReply, Slower, SwapCommand, SwapReply,
    TrialCommand, TrialEnd, TrialRequest,
};
pub use tap::TapCommand;
