//! A group of routes: what they have in common, also where none of them answers.

use std::collections::HashSet;
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

/// The groups of a routing table, each with its parsed host.
#[derive(Clone, Default)]
pub(super) struct RouteGroups(Arc<[(Option<RouteHost>, Arc<RouteGroup>)]>);

impl RouteGroup {
    /// Reports whether a path begins with the prefix. A group with neither a host nor a prefix has no paths of its own.
    fn covers(&self, path: &str) -> bool {
        match (&self.versions, self.prefix.as_str()) {
            (Some(range), _) => range.is_named_in(path),
            (None, "") => self.host.is_some(),
            (None, prefix) => {
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    /// Orders groups that cover the same request: one with a host comes before one without, and then the longer prefix.
    fn rank(&self) -> (bool, usize) {
        let prefix = self.versions.as_ref().map_or(&self.prefix, |range| &range.before);
        (self.host.is_some(), prefix.len())
    }
}

impl RouteGroups {
    /// Collects the groups of routes. A group with many routes is listed once.
    pub(super) fn of<'g>(groups: impl Iterator<Item = &'g Arc<RouteGroup>>) -> RouteGroups {
        let mut known = HashSet::new();
        let different = groups.filter(|group| known.insert(group.name.as_str()));
        let parsed = different.filter_map(|group| {
            // If the host is invalid, all routes of the group have their own.
            let host = group.host.as_deref().map(host::written).transpose().ok()?;
            Some((host, group.clone()))
        });
        RouteGroups(parsed.collect())
    }

    /// Finds the group of a request that no route answers, by its host and the beginning of its path.
    pub(super) fn find(&self, host: Option<&str>, path: &str) -> Option<&RouteGroup> {
        let asked = host.map(host::asked);
        let is_asked = |host: &RouteHost| asked.as_deref().is_some_and(|asked| host.matches(asked));
        let covering =
            self.0.iter().filter(|(host, group)| group.covers(path) && host.as_ref().is_none_or(is_asked));
        covering.map(|(_, group)| &**group).max_by_key(|group| group.rank())
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
            let groups = RouteGroups::of([Arc::new(group(prefix, host))].iter());
            assert_eq!(groups.find(asked, path).is_some(), wanted, "{prefix} {host} {asked:?} {path}");
        }
        assert!(group("", "h").rank() > group("/api", "").rank());
        assert!(group("/api/v2", "").rank() > group("/v{version}", "").rank());
        let [named, other] =
            ["one", "two"].map(|name| Arc::new(RouteGroup { name: name.to_owned(), ..group("", "h") }));
        assert_eq!(RouteGroups::of([&named, &named, &other].into_iter()).0.len(), 2);
    }
}
