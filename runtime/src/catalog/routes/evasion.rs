//! Finds paths that would come round the gates of a route by an empty segment.

use http::Method;

use super::{Lookup, Match, Routes};
use crate::catalog::target::RouteTarget;

impl Routes {
    /// Returns why a path must not be served: it leads to its route by empty segments alone. Without them it leads to
    /// another route, which has gates. Many programs read `//admin` as `/admin`, so the handler would serve what the gates guard.
    /// Looks at nothing while no route has gates.
    pub fn evasion(
        &self,
        found: &Match<'_, '_>,
        host: Option<&str>,
        method: &Method,
        path: &str,
    ) -> Option<&'static str> {
        if !self.has_gates || !path.contains("//") {
            return None;
        }
        let evades = match self.lookup(host, method, &merged(path)) {
            // The gates of a rewritten path are those of the route that it leads to.
            Lookup::Found(other) => {
                let is_other = !std::ptr::eq(other.route, found.route);
                is_other && (other.route.has_gates() || matches!(other.route.target, RouteTarget::Rewrite(_)))
            }
            Lookup::MethodNotAllowed { .. } | Lookup::UnsupportedVersion { .. } | Lookup::NotFound => false,
        };
        evades.then_some("the path has an empty segment, and without it a route with gates answers")
    }
}

/// Leaves out the empty segments of a path, except the last.
fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !merged.ends_with('/') {
            merged.push(letter);
        }
    }
    merged
}
