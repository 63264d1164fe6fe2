//! The built-in jobs, one a file, and the loading that they share: what the daemon does to itself is a job like any other.

mod acceptconnections;
mod commands;
mod load;
mod reload;
mod serveapi;
mod shutdown;
mod version;

pub use acceptconnections::AcceptConnections;
pub use commands::Commands;
pub use load::{BUILTIN, Compiled, Loader, Progress};
pub use reload::{Reload, Source};
pub use serveapi::ServeApi;
pub use shutdown::Shutdown;
pub use version::Version;
