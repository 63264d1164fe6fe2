//! A group of routes: what they have in common, also where none of them answers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::api_version::VersionRange;
use super::host::{self, RouteHost};
use super::prefix_map::PrefixMap;
use super::response_rules::ResponseRules;

/// A group of routes: the settings that its routes have in common.
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
    /// The rules for the responses of routes without rules of their own.
    pub rules: Arc<ResponseRules>,
}

/// The groups of a routing table.
#[derive(Default)]
pub(super) struct RouteGroups {
    exact: HashMap<String, PrefixMap<GroupsOfPrefix>>,
    below: HashMap<String, PrefixMap<GroupsOfPrefix>>,
    anywhere: PrefixMap<GroupsOfPrefix>,
}

/// The groups of one host with the same text at the beginning of their paths. Of several equal ones, the last.
#[derive(Default)]
struct GroupsOfPrefix {
    /// The text is the prefix.
    fixed: Option<Arc<RouteGroup>>,
    /// The text stands in front of the version.
    versioned: Option<Arc<RouteGroup>>,
}

impl RouteGroups {
    /// Collects the groups of routes. A group with neither a host nor a prefix has no paths of its own.
    pub(super) fn of<'g>(groups: impl Iterator<Item = &'g Arc<RouteGroup>>) -> RouteGroups {
        let mut known = HashSet::new();
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        let mut anywhere = BTreeMap::new();
        for group in groups.filter(|group| known.insert(group.name.as_str())) {
            let host = group.host.as_deref().map(host::written);
            let table: &mut BTreeMap<String, GroupsOfPrefix> = match host {
                Some(Ok(RouteHost::Exact(name))) => exact.entry(name).or_default(),
                Some(Ok(RouteHost::Below(name))) => below.entry(name).or_default(),
                // All routes of the group have their own hosts.
                Some(Err(_)) => continue,
                None if group.versions.is_none() && group.prefix.is_empty() => continue,
                None => &mut anywhere,
            };
            match &group.versions {
                Some(range) => table.entry(range.before.clone()).or_default().versioned = Some(group.clone()),
                None => table.entry(group.prefix.clone()).or_default().fixed = Some(group.clone()),
            }
        }
        RouteGroups { exact: tables(exact), below: tables(below), anywhere: anywhere.into() }
    }

    /// Reports whether a group is for one host or for the names below one.
    pub(super) fn have_hosts(&self) -> bool {
        !(self.exact.is_empty() && self.below.is_empty())
    }

    /// Finds the group of a request that no route answers, by its host and the beginning of its path. As with routes, an
    /// exact host precedes `*.HOST`, and that precedes no host. Then the longer prefix comes first.
    pub(super) fn find(&self, host: Option<&str>, path: &str) -> Option<&RouteGroup> {
        let asked = host.map(host::asked);
        let name = asked.as_deref();
        let parent = name.and_then(|name| name.split_once('.')).map(|(_, parent)| parent);
        let exact = name.and_then(|name| self.exact.get(name));
        let below = parent.and_then(|parent| self.below.get(parent));
        [exact, below, Some(&self.anywhere)].into_iter().flatten().find_map(|table| covering(table, path))
    }
}

/// Makes the tables of hosts.
fn tables(
    hosts: HashMap<String, BTreeMap<String, GroupsOfPrefix>>,
) -> HashMap<String, PrefixMap<GroupsOfPrefix>> {
    hosts.into_iter().map(|(name, groups)| (name, PrefixMap::from(groups))).collect()
}

/// Finds the group with the longest prefix of a path.
fn covering<'g>(table: &'g PrefixMap<GroupsOfPrefix>, path: &str) -> Option<&'g RouteGroup> {
    table.prefixes(path).find_map(|(prefix, GroupsOfPrefix { fixed, versioned })| {
        let is_whole =
            prefix.is_empty() || path.len() == prefix.len() || path[prefix.len()..].starts_with('/');
        let fixed = fixed.as_ref().filter(|_| is_whole);
        let is_named =
            |group: &&Arc<RouteGroup>| group.versions.as_ref().is_some_and(|range| range.is_named_in(path));
        fixed.or_else(|| versioned.as_ref().filter(is_named)).map(|group| &**group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let groups = RouteGroups::of([&named, &other, &named].into_iter());
        assert_eq!(groups.find(Some("h"), "/x"), Some(&*other));
    }

    /// Finds a group as [`RouteGroups::find`] does, by a look at every group.
    fn find_in_all<'g>(
        groups: &'g [Arc<RouteGroup>],
        host: Option<&str>,
        path: &str,
    ) -> Option<&'g RouteGroup> {
        let asked = host.map(host::asked);
        let name = asked.as_deref();
        let parent = name.and_then(|name| Some(name.split_once('.')?.1));
        let rank = |group: &RouteGroup| match group.host.as_deref().map(|text| host::written(text).unwrap()) {
            None => Some(0),
            Some(RouteHost::Below(wanted)) => (parent == Some(wanted.as_str())).then_some(1),
            Some(RouteHost::Exact(wanted)) => (name == Some(wanted.as_str())).then_some(2),
        };
        let length = |group: &RouteGroup| match (&group.versions, group.prefix.as_str()) {
            (Some(range), _) => range.is_named_in(path).then_some(range.before.len()),
            (None, "") => group.host.is_some().then_some(0),
            (None, prefix) => {
                let rest = path.strip_prefix(prefix)?;
                (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
            }
        };
        let covering = groups.iter().filter_map(|group| Some(((rank(group)?, length(group)?), &**group)));
        covering.max_by_key(|(place, _)| *place).map(|(_, group)| group)
    }

    proptest! {
        #[test]
        fn a_group_is_found_as_by_a_look_at_every_group(
            written in prop::collection::vec(
                (r"(/[ab]{1,2}){0,2}|/[av]\{version\}", prop::sample::select(vec!["", "h.x", "*.x"])),
                0..16,
            ),
            hosts in prop::collection::vec(prop::option::of(prop::sample::select(vec!["h.x", "g.x", "x"])), 1..4),
            paths in prop::collection::vec(r"(/[abv]{1,2}[0-9.]{0,2}){0,3}/?", 1..16),
        ) {
            let named = |(number, (prefix, host)): (usize, (String, &str))| {
                Arc::new(RouteGroup { name: number.to_string(), ..group(&prefix, host) })
            };
            let list: Vec<_> = written.into_iter().enumerate().map(named).collect();
            let groups = RouteGroups::of(list.iter());

            for host in &hosts {
                for path in &paths {
                    let found = groups.find(*host, path).map(|group| &group.name);
                    let wanted = find_in_all(&list, *host, path).map(|group| &group.name);
                    prop_assert_eq!(found, wanted, "{:?} {}", host, path);
                }
            }
        }
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
