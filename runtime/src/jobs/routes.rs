//! `routes`: the routes of the live catalog, in the order of the file, as a JSON array.

use std::sync::Arc;

use anyhow::Result;

use super::api::{RouteReport, RoutesCommand};
use super::reply::ReplyJob;
use crate::catalog::Route;
use crate::engine::Engine;
use crate::job::Job;

/// Lists the routes of this engine.
pub struct ListRoutes;

impl ReplyJob for ListRoutes {
    type Command = RoutesCommand;

    async fn answer(&self, engine: &Arc<Engine>, _job: &Job) -> Result<Vec<RouteReport>> {
        Ok(engine.live().pin().routes.iter().map(report).collect())
    }
}

fn report(route: &Route) -> RouteReport {
    let handler = route.target.handler();
    RouteReport {
        methods: route.methods.iter().map(ToString::to_string).collect(),
        host: route.host.clone(),
        path: route.pattern.clone(),
        upgrade: route.upgrade.as_ref().map(|upgrade| upgrade.protocol().to_owned()),
        target: route.target.to_string(),
        handler: handler.map(|handler| handler.name.to_string()),
        version: handler.map(|handler| handler.version.clone()),
    }
}
