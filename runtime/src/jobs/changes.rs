//! What differs between the catalog that serves and one that may follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::describe;
use crate::catalog::{Canary, Catalog, Routes};
use crate::config::Config;
use crate::job::{Entry, Env, Mount, Name};
use crate::net::Endpoint;

/// The handlers and routes of one side.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) handlers: &'a BTreeMap<Name, Arc<Entry>>,
    pub(super) routes: &'a Routes,
}

impl<'a> Side<'a> {
    pub(super) fn of(catalog: &'a Catalog) -> Side<'a> {
        Side { handlers: &catalog.handlers, routes: &catalog.routes }
    }
}

/// Describes every difference, as JSON: `handlers` and `routes`, each with what changes, beside the
/// differences of the `settings`.
pub(super) fn between(old: Side<'_>, new: Side<'_>, mut settings: Value) -> Value {
    let names: BTreeSet<&Name> = old.handlers.keys().chain(new.handlers.keys()).collect();
    let handler = |name: &&Name| {
        let (change, what) = match (old.handlers.get(*name), new.handlers.get(*name)) {
            (Some(old), Some(new)) => ("changed", details(old, new)),
            (None, Some(new)) => ("added", vec![format!("module {}", new.version)]),
            (Some(_), None) => ("removed", Vec::new()),
            (None, None) => return None,
        };
        let same = change == "changed" && what.is_empty();
        (!same).then(|| json!({ "name": name.as_str(), "change": change, "what": what }))
    };
    let routes = |side: Side<'_>| -> BTreeSet<String> {
        let line = |route| format!("{} -> {}", describe::route(route), route.handler.name);
        side.routes.iter().map(line).collect()
    };
    let (before, after) = (routes(old), routes(new));
    let gone = before.difference(&after).map(|route| json!({ "route": route, "change": "removed" }));
    let come = after.difference(&before).map(|route| json!({ "route": route, "change": "added" }));
    settings["handlers"] = names.iter().filter_map(handler).collect();
    settings["routes"] = gone.chain(come).collect();
    settings
}

/// Describes the trials that end when another catalog follows this one, as JSON.
pub(super) fn trials(catalog: &Catalog) -> Value {
    let trial = |(name, canary): (&Name, &Canary)| json!({ "handler": name.as_str(), "version": canary.entry.version, "percent": canary.percent.get() });
    catalog.canaries.iter().map(trial).collect()
}

/// Describes what a reload does about settings, as JSON: `listen`, `tls`, `cors_changed`, `settings`, `needs_restart`.
/// `tls` is what differs in what connections are encrypted with.
pub(super) fn settings(started: &Config, wanted: &Config, tls: Vec<String>) -> Value {
    let (old, new) = (whole(started), whole(wanted));
    let told = |endpoint: &Endpoint, change| json!({ "endpoint": endpoint.to_string(), "change": change });
    let gone = old.listen.iter().filter(|endpoint| !new.listen.contains(endpoint));
    let come = new.listen.iter().filter(|endpoint| !old.listen.contains(endpoint));
    let listen = gone.map(|gone| told(gone, "removed")).chain(come.map(|come| told(come, "added")));
    json!({
        "listen": listen.collect::<Vec<_>>(),
        "tls": tls,
        "cors_changed": old.cors != new.cors,
        "settings": old.settings_changed(&new),
        "needs_restart": old.needs_restart(&new),
    })
}

/// Makes the sockets of a configuration comparable: another may have been read from elsewhere.
fn whole(config: &Config) -> Config {
    let endpoint = |endpoint: &Endpoint| match endpoint {
        Endpoint::Unix(path) => Endpoint::Unix(absolute(path)),
        other @ (Endpoint::Tcp(_) | Endpoint::Fd(_)) => other.clone(),
    };
    Config {
        listen: config.listen.iter().map(endpoint).collect(),
        admin: config.admin.as_deref().map(absolute),
        observe: config.observe.iter().map(endpoint).collect(),
        ..config.clone()
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Describes what differs between two versions of a handler, a line each.
fn details(old: &Entry, new: &Entry) -> Vec<String> {
    let mut what = Vec::new();
    let mut compare = |key: &str, old: String, new: String| {
        if old != new {
            what.push(format!("{key} {old} -> {new}"));
        }
    };
    compare("module", old.version.clone(), new.version.clone());
    compare("args", format!("{:?}", old.args), format!("{:?}", new.args));
    compare("calls", format!("{:?}", old.calls), format!("{:?}", new.calls));
    compare("schedule", describe::schedule_text(old), describe::schedule_text(new));
    compare("output", describe::output(&old.mapping), describe::output(&new.mapping));
    compare("captures", old.conduct.captures.to_string(), new.conduct.captures.to_string());
    compare("client_leaves", old.conduct.leaving.to_string(), new.conduct.leaving.to_string());
    compare("body", old.conduct.intake().to_string(), new.conduct.intake().to_string());
    let reuse =
        |entry: &Entry| entry.handler.reuse().map_or("off".to_owned(), |requests| requests.to_string());
    compare("reuse", reuse(old), reuse(new));
    let tmp = |entry: &Entry| entry.handler.tmp().map_or("off".to_owned(), |bytes| bytes.to_string());
    compare("tmp", tmp(old), tmp(new));
    let (before, after) = (describe::limits(&old.limits), describe::limits(&new.limits));
    for (key, value) in before.as_object().into_iter().flatten() {
        compare(&format!("limits.{key}"), value.to_string(), after[key].to_string());
    }
    what.extend(variables(&old.env, &new.env));
    let granted = |entry: &Entry| -> BTreeSet<String> {
        let (allow, addresses) = describe::outbound(entry);
        let origins = allow.into_iter().map(|origin| format!("allow {origin}"));
        origins.chain(addresses.into_iter().map(|block| format!("allow_addresses {block}"))).collect()
    };
    let (before, after) = (granted(old), granted(new));
    what.extend(before.difference(&after).map(|grant| format!("{grant} removed")));
    what.extend(after.difference(&before).map(|grant| format!("{grant} added")));
    let mounts = |entry: &Entry| -> BTreeSet<String> {
        let whole = |mount: &Mount| Mount { host: absolute(&mount.host), ..mount.clone() }.to_string();
        entry.handler.mounts().iter().map(whole).collect()
    };
    let (before, after) = (mounts(old), mounts(new));
    what.extend(before.difference(&after).map(|mount| format!("mount removed: {mount}")));
    what.extend(after.difference(&before).map(|mount| format!("mount added: {mount}")));
    what
}

/// Names the variables that differ; a value may be a secret.
fn variables(old: &Env, new: &Env) -> Vec<String> {
    let gone = old.iter().filter(|(name, _)| new.get(name).is_none());
    let gone = gone.map(|(name, _)| format!("env {name} removed"));
    let come = new.iter().filter_map(|(name, value)| match old.get(name) {
        None => Some(format!("env {name} added")),
        Some(before) if before != value => Some(format!("env {name} changed")),
        Some(_) => None,
    });
    gone.chain(come).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&'static str, &str)]) -> Env {
        let mut env = Env::new();
        for (name, value) in pairs {
            env.set(*name, *value).unwrap();
        }
        env
    }

    #[test]
    fn a_variable_is_named_and_its_value_is_not() {
        let told = variables(
            &env(&[("A", "1"), ("B", "2"), ("C", "s3cret")]),
            &env(&[("A", "1"), ("C", "x"), ("D", "4")]),
        );
        assert_eq!(told, ["env B removed", "env C changed", "env D added"]);
    }
}
