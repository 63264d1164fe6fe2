//! `version`: the version and build of this daemon, as a JSON object.

use std::sync::Arc;

use super::api::VersionReply;
use super::reply::reply;
use crate::engine::{Engine, NativeJob};
use crate::job::{Job, Run};
use crate::observe::build;

/// Reports the version.
pub struct TellVersion;

impl NativeJob for TellVersion {
    fn run(self: Arc<Self>, _engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let version = VersionReply {
                version: build::VERSION.to_owned(),
                commit: build::COMMIT.map(str::to_owned),
                wasmtime: build::WASMTIME.to_owned(),
                os: std::env::consts::OS.to_owned(),
                arch: std::env::consts::ARCH.to_owned(),
            };
            reply(&job, Ok(version)).await
        })
    }
}
