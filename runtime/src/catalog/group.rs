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

/// The requests of a group, by their host and the beginning of their path, also where no route answers.
pub(super) struct GroupScope {
    pub(super) group: Arc<RouteGroup>,
    host: Option<RouteHost>,
}

impl GroupScope {
    /// Makes the scope of a group. `None` if it has no requests of its own: it has neither a host nor a prefix, or its host
    /// is invalid.
    pub(super) fn of(group: &Arc<RouteGroup>) -> Option<GroupScope> {
        let host = group.host.as_deref().map(host::written).transpose().ok()?;
        let is_bounded = host.is_some() || group.versions.is_some() || !group.prefix.is_empty();
        is_bounded.then(|| GroupScope { group: group.clone(), host })
    }

    /// Reports whether a request is for the group. The host is normalized.
    pub(super) fn covers(&self, host: Option<&str>, path: &str) -> bool {
        let RouteGroup { versions, prefix, .. } = &*self.group;
        let is_below = match versions {
            Some(range) => range.is_named_in(path),
            None => {
                let rest = path.strip_prefix(prefix.as_str());
                rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
            }
        };
        let has_host = |wanted: &RouteHost| match (wanted, host) {
            (RouteHost::Exact(name), Some(asked)) => name == asked,
            (RouteHost::Below(name), Some(asked)) => {
                asked.split_once('.').is_some_and(|(_, below)| below == name)
            }
            (RouteHost::Exact(_) | RouteHost::Below(_), None) => false,
        };
        is_below && self.host.as_ref().is_none_or(has_host)
    }

    /// Orders the groups of one request as its routes: an exact host comes before `*.HOST`, and that before no host. Then
    /// the longer prefix comes first.
    pub(super) fn rank(&self) -> (u8, usize) {
        let host = match &self.host {
            Some(RouteHost::Exact(_)) => 2,
            Some(RouteHost::Below(_)) => 1,
            None => 0,
        };
        let prefix = self.group.versions.as_ref().map_or(&self.group.prefix, |range| &range.before);
        (host, prefix.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(prefix: &str, host: &str) -> Option<GroupScope> {
        let versions = prefix.strip_suffix("{version}").map(|before| Arc::new(VersionRange::any(before)));
        let group = RouteGroup {
            prefix: versions.as_ref().map_or(prefix, |_| "").to_owned(),
            versions,
            host: (!host.is_empty()).then(|| host.to_owned()),
            ..RouteGroup::default()
        };
        GroupScope::of(&Arc::new(group))
    }

    #[test]
    fn a_request_is_for_the_group_of_its_prefix_and_its_host() {
        for (prefix, host, asked, path, wanted) in [
            ("/api", "", None, "/api", true),
            ("/api", "", Some("h"), "/api/x", true),
            ("/api", "", None, "/apis", false),
            ("/api", "A.example", Some("a.example"), "/api/x", true),
            ("/api", "a.example", Some("b.example"), "/api/x", false),
            ("/api", "a.example", None, "/api/x", false),
            ("/v{version}", "", None, "/v1.24/x", true),
            ("/v{version}", "", None, "/x", false),
            ("", "*.example", Some("a.example"), "/x", true),
            ("", "*.example", Some("b.a.example"), "/x", false),
        ] {
            let scope = scope(prefix, host).unwrap();
            assert_eq!(scope.covers(asked, path), wanted, "{prefix} {host} {asked:?} {path}");
        }
        assert!(scope("", "").is_none() && scope("/api", "no host").is_none());
    }

    #[test]
    fn the_host_of_a_group_counts_before_its_prefix() {
        let ordered = [
            ("", "a.example"),
            ("/api", "*.example"),
            ("", "*.example"),
            ("/api/v2", ""),
            ("/v{version}", ""),
        ];

        let ranks: Vec<_> =
            ordered.iter().map(|(prefix, host)| scope(prefix, host).unwrap().rank()).collect();

        assert!(ranks.is_sorted_by(|one, next| one > next), "{ranks:?}");
    }
}
