//! The checked routes.

use std::path::Path;
use std::sync::Arc;

use http::Method;

use super::rate_limit::RateLimitConfig;
use crate::catalog::{
    FixedResponse, Redirect, ResponseRules, RouteGroup, StaticOptions, Template, Upgrade, VersionRange,
};
use crate::job::Name;

/// A route.
#[derive(Clone, PartialEq, Debug)]
pub struct RouteConfig {
    /// The path: `/hello/{who}`.
    pub path: String,
    /// The methods. An empty list means all of them.
    pub methods: Vec<Method>,
    /// The host. `None` matches every host.
    pub host: Option<String>,
    /// Its target, which answers.
    pub target: TargetConfig,
    /// The protocol that its clients upgrade to. `None` keeps HTTP.
    pub upgrade: Option<Upgrade>,
    /// Its group. `None` if it belongs to none.
    pub group: Option<Arc<RouteGroup>>,
    /// The API versions of its group. `None` without any.
    pub versions: Option<Arc<VersionRange>>,
    /// The rules for its responses.
    pub rules: ResponseRules,
    /// How many requests pass in which time. `None` means all of them.
    pub limit: Option<RateLimitConfig>,
    /// The gates and handlers that a request must pass, in their order. All of them exist.
    pub before: Vec<String>,
    /// The line of the file on which the route starts.
    pub line: usize,
}

/// The target of a route, as configured.
#[derive(Clone, PartialEq, Debug)]
pub enum TargetConfig {
    /// This handler.
    Handler(Name),
    /// A redirect.
    Redirect(Arc<Redirect>),
    /// The same response to every request.
    Respond(Arc<FixedResponse>),
    /// The files of a directory.
    Files(StaticOptions),
    /// The route of another path.
    Rewrite(Arc<Template>),
}

impl RouteConfig {
    /// Returns the directory that it serves. `None` if it serves none.
    pub fn dir(&self) -> Option<&Path> {
        match &self.target {
            TargetConfig::Files(files) => Some(&files.dir),
            TargetConfig::Handler(_)
            | TargetConfig::Redirect(_)
            | TargetConfig::Respond(_)
            | TargetConfig::Rewrite(_) => None,
        }
    }

    /// Returns the handler that answers. `None` if the daemon answers.
    pub fn handler(&self) -> Option<&Name> {
        match &self.target {
            TargetConfig::Handler(name) => Some(name),
            TargetConfig::Redirect(_)
            | TargetConfig::Respond(_)
            | TargetConfig::Files(_)
            | TargetConfig::Rewrite(_) => None,
        }
    }
}
