//! The arguments of a start: where the configuration comes from, and what happened before.

use std::path::PathBuf;

use super::begin::EarlyDaemon;
use super::hardening::Hardened;
use crate::jobs::{ConfigSource, Launch, OnProgress, Overlay};

/// The arguments of [`Daemon::start`](super::Daemon::start).
pub struct Options {
    /// Reads the configuration and applies the flags. Called at the start and for every reload.
    pub source: ConfigSource,
    /// The path of the configuration file.
    pub file: PathBuf,
    /// Applies the flags to a configuration that was read from elsewhere.
    pub overlay: Overlay,
    /// Called for every module that is compiled.
    pub progress: OnProgress,
    /// How an upgrade starts the next process.
    pub launch: Launch,
    /// The result of [`begin`](super::begin()), or `None` if `start` is to read the configuration itself.
    pub begun: Option<EarlyDaemon>,
    /// The restrictions that the process has applied to itself.
    pub hardened: Hardened,
}
