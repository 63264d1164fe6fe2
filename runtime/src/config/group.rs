//! Reads `[group.NAME]`: what several routes have in common.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::before::GateNames;
use super::nearest::Names;
use super::reader::Keyed;
use super::report::Diagnostics;
use super::response_rules;
use super::route_schema::{Group, Route};
use super::schema::File;
use crate::catalog::{ResponseRules, RouteGroup, VersionRange};

/// The place of the version in a prefix.
const VERSION: &str = "{version}";

/// The groups, valid or not.
pub(super) struct Groups<'a> {
    names: Names<'a>,
    by_name: HashMap<&'a str, GroupConfig>,
}

/// A group as configured.
pub(super) struct GroupConfig {
    /// The settings that its routes have in common.
    pub(super) shared: Arc<RouteGroup>,
    /// The gates of the routes, behind those of all routes.
    pub(super) before: Vec<String>,
}

impl<'a> Groups<'a> {
    /// Reads the groups. `of_all` is what happens to the responses of all routes.
    pub(super) fn read(
        file: &'a File,
        of_all: &ResponseRules,
        gates: &GateNames<'_>,
        base: &Path,
        report: &Diagnostics<'_>,
    ) -> Groups<'a> {
        let written = file.group.as_ref().map_or(&[][..], |table| &table.value.0);
        let names = Names::new(written.iter().map(|(name, _)| name.as_str()));
        let groups = written.iter().map(|(name, at)| {
            let name = name.as_str();
            (name, one((name, at), of_all, gates, base, report))
        });
        Groups { names, by_name: groups.collect() }
    }

    /// Returns the group of a route. An unknown name is reported.
    pub(super) fn of(&self, route: &Route, report: &Diagnostics<'_>) -> Option<&GroupConfig> {
        report.settle(route.group.as_ref(), None, |wanted| {
            if let Some(group) = self.by_name.get(wanted.as_str()) {
                return Ok(Some(group));
            }
            Err(self.names.absent("group", wanted, || format!("add [group.{wanted}]")))
        })
    }
}

fn one(
    (name, Keyed { value: group, key, .. }): (&str, &Keyed<Group>),
    of_all: &ResponseRules,
    gates: &GateNames<'_>,
    base: &Path,
    report: &Diagnostics<'_>,
) -> GroupConfig {
    let prefix = report.settle(group.prefix.as_ref(), String::new(), |text| prefix(text));
    let before = prefix.strip_suffix(VERSION).map(str::to_owned);
    let versions = match (&group.versions, &before) {
        (Some(at), Some(before)) => report.settle(Some(at), None, |text| {
            VersionRange::read(before, text).map(|range| Some(Arc::new(range)))
        }),
        (Some(_), None) if report.blames(&format!("{key}.prefix")) => None,
        (Some(at), None) => {
            report.add(at.line, &at.key, "needs prefix = \"/v{version}\"");
            None
        }
        (None, Some(before)) => Some(Arc::new(VersionRange::any(before))),
        (None, None) => None,
    };
    let shared = RouteGroup {
        name: name.to_owned(),
        prefix: if before.is_some() { String::new() } else { prefix },
        versions,
        host: group.host.as_ref().map(|at| at.value.clone()),
        rules: Arc::new(response_rules::of_group(group, of_all, base, report)),
    };
    GroupConfig { shared: Arc::new(shared), before: gates.of_group(group.before.as_ref(), report) }
}

/// Reads the beginning of every path: a fixed path, or one segment that ends with the version.
fn prefix(text: &str) -> Result<String, String> {
    let wanted = || {
        Err(format!(
            "wanted a path such as \"/api\", or one segment with the version such as \"/v{{version}}\", found {text:?}"
        ))
    };
    let fixed = text.strip_suffix(VERSION).unwrap_or(text);
    let inner = match fixed.strip_prefix('/') {
        Some(inner) if !inner.ends_with('/') && !fixed.contains(['{', '}', '?', '#']) => inner,
        _ => return wanted(),
    };
    match (fixed.len() < text.len(), inner) {
        (true, inner) if inner.contains('/') || inner.is_empty() => wanted(),
        (false, "") => wanted(),
        (..) => Ok(text.to_owned()),
    }
}
