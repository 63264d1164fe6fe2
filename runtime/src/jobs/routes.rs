//! `routes`: the routes of the live catalog, in the order of the file, as a JSON array.

use std::sync::Arc;

use super::api::RouteReport;
use super::reply::reply;
use crate::catalog::Route;
use crate::engine::{Engine, NativeJob};
use crate::job::{Job, Run};

/// Lists the routes of this engine.
pub struct ListRoutes;

impl NativeJob for ListRoutes {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let routes: Vec<_> = engine.live().pin().routes.iter().map(report).collect();
            reply(&job, Ok(routes)).await
        })
    }
}

fn report(route: &Route) -> RouteReport {
    RouteReport {
        methods: route.methods.iter().map(ToString::to_string).collect(),
        host: route.host.clone(),
        path: route.pattern.clone(),
        upgrade: route.upgrade.as_ref().map(|upgrade| upgrade.protocol().to_owned()),
        handler: route.handler.name.to_string(),
        version: route.handler.version.clone(),
    }
}
