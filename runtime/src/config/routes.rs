//! Makes the routing table from the routes and the handlers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::model::Config;
use super::route_model::{RouteConfig, TargetConfig};
use crate::catalog::{RouteError, RouteSpec, RouteTarget, Routes, StaticFiles};
use crate::files::FileRoot;
use crate::job::{HandlerVersion, Name};

impl Config {
    /// Lists the files of error pages, with the line of their route.
    pub(super) fn error_pages(&self) -> impl Iterator<Item = (usize, &Path)> {
        let of_all = self.response_rules.errors.files().map(|page| (0, page));
        let of_routes = self.routes.iter();
        of_all.chain(of_routes.flat_map(|route| route.rules.errors.files().map(|page| (route.line, page))))
    }

    /// Makes the routing table from the routes and the handlers. `open` opens the directories of static routes.
    ///
    /// # Errors
    /// A route leads to a handler that is not in `handlers` or to a directory that cannot be opened, or routes
    /// conflict. A configuration that was read has no conflicts.
    pub fn routes(
        &self,
        handlers: &BTreeMap<Name, Arc<HandlerVersion>>,
        open: impl Fn(&Path) -> anyhow::Result<FileRoot>,
    ) -> Result<Routes, Vec<RouteError>> {
        let mut specs = Vec::with_capacity(self.routes.len());
        let mut errors = Vec::new();
        for (position, route) in self.routes.iter().enumerate() {
            let RouteConfig { path, methods, host, target, upgrade, rules, versions, .. } = route;
            let target = match target {
                TargetConfig::Handler(name) => match handlers.get(name) {
                    Some(entry) => RouteTarget::Handler(entry.clone()),
                    None => {
                        let message = format!("route {path:?}: there is no handler {:?}", name.as_str());
                        errors.push(RouteError { position, message });
                        continue;
                    }
                },
                TargetConfig::Redirect(redirect) => RouteTarget::Redirect(redirect.clone()),
                TargetConfig::Respond(response) => RouteTarget::Respond(response.clone()),
                TargetConfig::Rewrite(to) => RouteTarget::Rewrite(to.clone()),
                TargetConfig::Files(options) => match open(&options.dir) {
                    Ok(root) => {
                        let files = StaticFiles { root: Arc::new(root), options: options.clone() };
                        RouteTarget::Files(Arc::new(files))
                    }
                    Err(failure) => {
                        let message = format!("route {path:?}: static: {failure:#}");
                        errors.push(RouteError { position, message });
                        continue;
                    }
                },
            };
            specs.push(RouteSpec {
                pattern: path.clone(),
                methods: methods.clone(),
                host: host.clone(),
                target,
                upgrade: upgrade.clone(),
                versions: versions.clone(),
                rules: (!rules.is_empty()).then(|| Arc::new(rules.clone())),
            });
        }
        if errors.is_empty() { Routes::new(specs, self.version_prefix) } else { Err(errors) }
    }
}
