//! What a daemon is started with.

use std::path::PathBuf;

use super::begin::EarlyDaemon;
use super::hardening::Hardened;
use crate::jobs::{ConfigSource, Launch, OnProgress, Overlay};

/// What a daemon is started with.
pub struct Options {
    /// Reads the configuration, flags applied. Called at the start and for every reload.
    pub source: ConfigSource,
    /// Where the configuration lies.
    pub file: PathBuf,
    /// Puts the flags over a configuration that was read elsewhere.
    pub overlay: Overlay,
    /// Is told of every module that is compiled.
    pub progress: OnProgress,
    /// How the next process is started, by an upgrade.
    pub launch: Launch,
    /// A daemon that was begun already; none: it begins with the start.
    pub begun: Option<EarlyDaemon>,
    /// What the process has taken from itself.
    pub hardened: Hardened,
}
