//! A group of routes: what they have in common, also where none of them answers.

use std::sync::Arc;

use super::api_version::VersionRange;
use super::host::{self, RouteHost};
use super::response_rules::ResponseRules;

/// What the routes of a group have in common.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct RouteGroup {
    /// Its name in the configuration.
    pub name: String,
    /// The beginning of every path, without a final slash. Empty if there is none, or if it names the version.
    pub prefix: String,
    /// The supported versions. `None` without any.
    pub versions: Option<Arc<VersionRange>>,
    /// The host of routes without one. `None` is every host.
    pub host: Option<String>,
    /// What happens to the responses of routes that say nothing else.
    pub rules: Arc<ResponseRules>,
}

impl RouteGroup {
    /// Reports whether a request that no route answers is for this group, by its host and the beginning of its path. A
    /// group with neither a host nor a prefix has no requests of its own.
    pub(super) fn covers(&self, host: Option<&str>, path: &str) -> bool {
        let is_below = match (&self.versions, self.prefix.as_str()) {
            (Some(range), _) => range.is_named_in(path),
            (None, "") => self.host.is_some(),
            (None, prefix) => {
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        };
        is_below && self.has_host(host)
    }

    /// Orders groups that cover the same request: one with a host comes before one without, and then the longer prefix.
    pub(super) fn rank(&self) -> (bool, usize) {
        let prefix = self.versions.as_ref().map_or(&self.prefix, |range| &range.before);
        (self.host.is_some(), prefix.len())
    }

    fn has_host(&self, asked: Option<&str>) -> bool {
        let Some(wanted) = &self.host else { return true };
        let Some(asked) = asked.map(host::asked) else { return false };
        match host::written(wanted) {
            Ok(RouteHost::Exact(name)) => name == *asked,
            Ok(RouteHost::Below(name)) => asked.split_once('.').is_some_and(|(_, below)| below == name),
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(prefix: &str, host: &str) -> RouteGroup {
        let versions = prefix.strip_suffix("{version}").map(|before| Arc::new(VersionRange::any(before)));
        RouteGroup {
            prefix: versions.as_ref().map_or(prefix, |_| "").to_owned(),
            versions,
            host: (!host.is_empty()).then(|| host.to_owned()),
            ..RouteGroup::default()
        }
    }

    #[test]
    fn a_request_is_for_the_group_of_its_prefix_and_its_host() {
        for (prefix, host, asked, path, wanted) in [
            ("/api", "", None, "/api", true),
            ("/api", "", Some("h"), "/api/x", true),
            ("/api", "", None, "/apis", false),
            ("/api", "a.example", Some("A.example:8080"), "/api/x", true),
            ("/api", "a.example", Some("b.example"), "/api/x", false),
            ("/api", "a.example", None, "/api/x", false),
            ("/v{version}", "", None, "/v1.24/x", true),
            ("/v{version}", "", None, "/x", false),
            ("", "*.example", Some("a.example"), "/x", true),
            ("", "*.example", Some("b.a.example"), "/x", false),
            ("", "", Some("h"), "/x", false),
        ] {
            assert_eq!(group(prefix, host).covers(asked, path), wanted, "{prefix} {host} {asked:?} {path}");
        }
        assert!(group("", "h").rank() > group("/api", "").rank());
        assert!(group("/api/v2", "").rank() > group("/v{version}", "").rank());
    }
}
