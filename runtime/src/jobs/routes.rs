//! `routes`: the routes of the catalog that is live, in the order of the file, as a JSON array.

use std::sync::{Arc, Weak};

use serde_json::{Value, json};

use super::tell::tell;
use crate::catalog::{Route, Upgrade};
use crate::engine::Engine;
use crate::job::{Fault, Handler, Job, Run, Stay, Tenure};

/// Lists the routes of this engine.
pub struct ListRoutes {
    /// The engine, which holds this job.
    pub engine: Weak<Engine>,
}

impl Handler for ListRoutes {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let engine = self.engine.upgrade().ok_or(Fault::Draining)?;
            let routes: Vec<Value> = engine.live().pin().routes.iter().map(show).collect();
            tell(&job, Ok(Value::from(routes).to_string())).await
        })
    }

    fn tenure(&self) -> Tenure {
        Tenure::Attendance
    }

    fn stay(&self) -> Stay {
        Stay::Moment
    }
}

fn show(route: &Route) -> Value {
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    json!({
        "methods": methods,
        "host": route.host,
        "path": route.pattern,
        "upgrade": route.upgrade.as_ref().map(Upgrade::protocol),
        "handler": route.handler.name.as_str(),
        "version": route.handler.version,
    })
}
