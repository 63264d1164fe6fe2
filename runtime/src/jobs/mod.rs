//! The built-in jobs, one a file, and the loading that they share: what the daemon does to itself is a job like any other.

mod acceptconnections;
mod canary;
mod commands;
mod credential;
mod generations;
mod load;
mod reload;
mod rollback;
mod serveapi;
mod shutdown;
mod standing;
mod swap;
mod tell;
mod version;

pub use acceptconnections::AcceptConnections;
pub use canary::WatchCanary;
pub use commands::Commands;
pub use generations::Generations;
pub use load::{BUILTIN, Compiled, Loader, Progress};
pub use reload::{Reload, Source};
pub use rollback::Rollback;
pub use serveapi::ServeApi;
pub use shutdown::Shutdown;
pub use standing::{Standing, settings};
pub use swap::Swap;
pub use version::Version;
