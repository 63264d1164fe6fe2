//! `version`: the version and build of this daemon, as a JSON object.

use std::sync::Arc;

use anyhow::Result;

use super::api::{VersionCommand, VersionReply};
use super::reply::ReplyJob;
use crate::engine::Engine;
use crate::job::Job;
use crate::observe::build_versions;

/// Reports the version.
pub struct TellVersion;

impl ReplyJob for TellVersion {
    type Command = VersionCommand;

    async fn answer(&self, _engine: &Arc<Engine>, _job: &Job) -> Result<VersionReply> {
        Ok(VersionReply {
            version: build_versions::VERSION.to_owned(),
            commit: build_versions::COMMIT.map(str::to_owned),
            wasmtime: build_versions::WASMTIME.to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
        })
    }
}
