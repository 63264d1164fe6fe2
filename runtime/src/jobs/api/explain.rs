//! `explain METHOD URL`: the command, and the reply with the route and the reason.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::command::{Command, call};
use super::handler::{GrantsReport, TrialReport};
use super::pairs::Pairs;
use crate::http::client::JobCall;
use crate::job::{Policy, builtin};

/// Explains the routing of one request.
pub struct ExplainCommand {
    /// The method, in capitals.
    pub method: String,
    /// A path, or a URL with a host.
    pub url: String,
}

impl Command for ExplainCommand {
    const NAME: &'static str = builtin::EXPLAIN;
    const POLICY: Policy = Policy { has_urls: true, ..Policy::LOOK };
    type Reply = ExplainReply;

    fn encode(&self) -> JobCall {
        call::<Self>([&self.method, &self.url].map(Clone::clone))
    }
}

impl ExplainCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<ExplainCommand> {
        let [method, url] = args else { bail!("usage: explain METHOD URL") };
        Ok(ExplainCommand { method: method.clone(), url: url.clone() })
    }
}

/// How a request would be routed.
#[derive(Serialize, Deserialize)]
pub struct ExplainReply {
    /// The method of the request.
    pub method: String,
    /// Its host; `null` if the URL names none.
    pub host: Option<String>,
    /// Its path, decoded.
    pub path: String,
    /// The generation of the catalog.
    pub generation: u64,
    /// Which address counts as the client.
    pub client: String,
    /// Where the trace of the request goes, and whose parent is believed; left out if traces are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces: Option<String>,
    /// The route that was found; left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<ExplainedRoute>,
    /// The trial of that route's handler; `null` without one.
    pub trial: Option<TrialReport>,
    /// The methods that the path takes; left out if the method is one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// The status of the response if the daemon answers; `null` if the handler does.
    pub status: Option<u16>,
    /// The reason, as text.
    pub why: String,
    /// Other routes, which would match a slightly different request.
    pub near: Vec<NearMiss>,
}

/// The route that matches.
#[derive(Serialize, Deserialize)]
pub struct ExplainedRoute {
    /// The route, on one line.
    pub route: String,
    /// The pattern of its path.
    pub pattern: String,
    /// The hosts that it takes.
    pub host: String,
    /// Why it takes the method.
    pub method: String,
    /// The protocol that it upgrades to; `null` for none.
    pub upgrade: Option<String>,
    /// The group that it belongs to; `null` for none.
    pub group: Option<String>,
    /// The version prefix that was taken off the path; `null` for none.
    pub api_version: Option<String>,
    /// The rate limits that count the request. Behind a rewrite, those of the route that the new path leads to.
    pub limits: Vec<String>,
    /// The gates that the request must pass, in their order. Behind a rewrite, those of the route that the new path leads to.
    pub before: Vec<String>,
    /// The captures of the path.
    pub captures: Pairs<String>,
    /// The part of the path that matched the route.
    pub script_name: String,
    /// The rest of the path.
    pub path_info: String,
    /// What answers: the name of a handler, or `redirect`, `respond`, `static` or `rewrite` with its settings.
    pub target: String,
    /// The URL that it redirects to, or the path that is routed instead; `null` for neither.
    pub location: Option<String>,
    /// What happens to its responses: error pages, changed fields and compression; `null` for nothing.
    pub responses: Option<String>,
    /// The handler that it leads to; `null` if the daemon answers.
    pub handler: Option<ExplainedHandler>,
}

/// The handler of the route.
#[derive(Serialize, Deserialize)]
pub struct ExplainedHandler {
    /// Its name.
    pub name: String,
    /// The kind of its module.
    pub kind: String,
    /// The version that serves.
    pub version: String,
    /// Its grants and limits.
    pub grants: GrantsReport,
}

/// A route that does not match.
#[derive(Serialize, Deserialize)]
pub struct NearMiss {
    /// The route, on one line.
    pub route: String,
    /// What answers it.
    pub handler: String,
    /// Why it does not match.
    pub miss: String,
}
