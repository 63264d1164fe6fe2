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

    /// Returns the length of the prefix, or of what stands before the version.
    fn prefix_length(&self) -> usize {
        self.versions.as_ref().map_or(&self.prefix, |range| &range.before).len()
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

    /// Finds the group of a request that no route answers, by its host and the beginning of its path. As with routes, an
    /// exact host precedes `*.HOST`, and that precedes no host. Then the longer prefix comes first.
    pub(super) fn find(&self, host: Option<&str>, path: &str) -> Option<&RouteGroup> {
        let asked = host.map(host::asked);
        let is_asked = |host: &RouteHost| asked.as_deref().is_some_and(|asked| host.matches(asked));
        let covering =
            self.0.iter().filter(|(host, group)| group.covers(path) && host.as_ref().is_none_or(is_asked));
        let rank = |host: &Option<RouteHost>| match host {
            Some(RouteHost::Exact(_)) => 2,
            Some(RouteHost::Below(_)) => 1,
            None => 0,
        };
        let found = covering.max_by_key(|(host, group)| (rank(host), group.prefix_length()));
        found.map(|(_, group)| &**group)
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
        let [named, other] =
            ["one", "two"].map(|name| Arc::new(RouteGroup { name: name.to_owned(), ..group("", "h") }));
        assert_eq!(RouteGroups::of([&named, &named, &other].into_iter()).0.len(), 2);
    }

    #[test]
    fn the_host_of_a_group_counts_before_its_prefix_and_an_exact_one_most() {
        let ordered =
            [("", "a.example"), ("/api", "*.example"), ("", "*.example"), ("/api/v2", ""), ("/api", "")];
        let named = |(prefix, host): (&str, &str)| {
            Arc::new(RouteGroup { name: format!("{host}{prefix}"), ..group(prefix, host) })
        };

        for (at, first) in ordered.into_iter().enumerate() {
            // In both orders, as the configuration may have them.
            let groups: Vec<_> = ordered[at..].iter().map(|pair| named(*pair)).collect();
            for groups in [RouteGroups::of(groups.iter()), RouteGroups::of(groups.iter().rev())] {
                let found = groups.find(Some("A.example:8080"), "/api/v2/x");
                assert_eq!(found.map(|group| &*group.name), Some(&*named(first).name));
            }
        }
    }
}
