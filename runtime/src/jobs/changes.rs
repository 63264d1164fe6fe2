//! Compares two catalogs, and two configurations, for the replies of `plan` and `reload`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::api::{ChangedHandler, ChangedListener, ChangedRoute, ChangesReport, Difference, EndedTrial};
use super::load::ReopenedPaths;
use super::{describe, read_again, store_changes};
use crate::catalog::{Catalog, Route, Routes, TrialVersion};
use crate::config::{Config, HandlerConfig, Recording};
use crate::job::{Env, Grants, HandlerVersion, Limits, Mount, Name};
use crate::net::Endpoint;
use crate::store::StoreUrl;

/// The handlers and routes of one of the two catalogs.
#[derive(Clone, Copy)]
pub(super) struct CatalogSide<'a> {
    pub(super) handlers: &'a BTreeMap<Name, Arc<HandlerVersion>>,
    pub(super) routes: &'a Routes,
}

impl<'a> CatalogSide<'a> {
    pub(super) fn of(catalog: &'a Catalog) -> CatalogSide<'a> {
        CatalogSide { handlers: &catalog.handlers, routes: &catalog.routes }
    }
}

/// The differences of two configurations and of what they name, without those of their catalogs.
pub(super) struct ConfigChanges {
    settings: ChangesReport,
    /// The changes of a handler that its versions do not show, a line each.
    handlers: BTreeMap<Name, Vec<String>>,
}

/// Adds the differences of handlers and routes, and the trials that end, to those of the settings.
pub(super) fn between(
    old: CatalogSide<'_>,
    new: CatalogSide<'_>,
    ConfigChanges { mut settings, handlers: more }: ConfigChanges,
    trials_ended: Vec<EndedTrial>,
) -> ChangesReport {
    settings.reopened.extend(limit_passwords(old.routes, new.routes));
    let names: BTreeSet<&Name> = old.handlers.keys().chain(new.handlers.keys()).collect();
    let handler = |name: &&Name| {
        let (change, what) = match (old.handlers.get(*name), new.handlers.get(*name)) {
            (Some(old), Some(new)) => {
                let mut what = details(old, new);
                what.extend(more.get(*name).into_iter().flatten().cloned());
                if what.is_empty() && !Arc::ptr_eq(old, new) {
                    what.push("made anew".to_owned());
                }
                (Difference::Changed, what)
            }
            (None, Some(new)) => (Difference::Added, vec![format!("module {}", new.version)]),
            (Some(_), None) => (Difference::Removed, Vec::new()),
            (None, None) => return None,
        };
        let same = change == Difference::Changed && what.is_empty();
        (!same).then(|| ChangedHandler { name: name.to_string(), change, what })
    };
    let routes = |side: CatalogSide<'_>| -> BTreeSet<String> {
        let line = |route: &Route| {
            let rules = route.rules.as_ref().map(|rules| format!(" ({rules})")).unwrap_or_default();
            let checks = route.checks.as_ref().map(|checks| format!(" ({checks})")).unwrap_or_default();
            format!("{} -> {}{rules}{checks}", describe::route(route), route.target)
        };
        side.routes.iter().map(line).collect()
    };
    let (before, after) = (routes(old), routes(new));
    let route = |route: &String, change| ChangedRoute { route: route.clone(), change };
    let gone = before.difference(&after).map(|gone| route(gone, Difference::Removed));
    let come = after.difference(&before).map(|come| route(come, Difference::Added));
    ChangesReport {
        handlers: names.iter().filter_map(handler).collect(),
        routes: gone.chain(come).collect(),
        trials_ended,
        ..settings
    }
}

/// Describes the trials that end when another catalog replaces this one.
pub(super) fn trials(catalog: &Catalog) -> Vec<EndedTrial> {
    let trial = |(name, tried): (&Name, &TrialVersion)| EndedTrial {
        handler: name.to_string(),
        version: tried.entry.version.clone(),
        percent: tried.percent.get(),
    };
    catalog.trials.iter().map(trial).collect()
}

/// Describes which settings a reload changes. `tls` describes the differences of the certificates.
pub(super) fn settings(
    started: &Config,
    wanted: &Config,
    tls: Vec<String>,
    ReopenedPaths { handlers: mut of_handlers, others: mut reopened }: ReopenedPaths,
) -> ConfigChanges {
    let before: HashMap<&Name, &HandlerConfig> =
        started.handlers.iter().map(|handler| (&handler.name, handler)).collect();
    for now in &wanted.handlers {
        let more = before.get(&now.name).map(|before| unseen(before, now)).unwrap_or_default();
        if !more.is_empty() {
            of_handlers.entry(now.name.clone()).or_default().extend(more);
        }
    }
    reopened.extend(read_again::changed(started, wanted));
    let (old, new) = (whole(started), whole(wanted));
    let listener = |endpoint: &Endpoint, change| ChangedListener { endpoint: endpoint.to_string(), change };
    let [before, after]: [HashSet<&Endpoint>; 2] = [&old, &new].map(|config| config.listen.iter().collect());
    let gone = old.listen.iter().filter(|endpoint| !after.contains(endpoint));
    let come = new.listen.iter().filter(|endpoint| !before.contains(endpoint));
    let gone = gone.map(|gone| listener(gone, Difference::Removed));
    let come = come.map(|come| listener(come, Difference::Added));
    let keys = |keys: Vec<&str>| keys.into_iter().map(str::to_owned).collect();
    let settings = ChangesReport {
        listen: gone.chain(come).collect(),
        tls,
        stores: store_changes::between(&old, &new),
        cors_changed: old.cors != new.cors,
        settings: keys(old.settings_changed(&new)),
        reopened,
        needs_restart: keys(old.needs_restart(&new)),
        ..ChangesReport::default()
    };
    ConfigChanges { settings, handlers: of_handlers }
}

/// Describes the settings of a handler that differ and that its versions do not show, a line each.
fn unseen(old: &HandlerConfig, new: &HandlerConfig) -> Vec<String> {
    let recording = |config: &HandlerConfig| match config.recording {
        Recording::Nothing => "nothing",
        Recording::Failures => "failures",
        Recording::FailuresWithoutBodies => "failures without bodies",
    };
    let (before, after) = (recording(old), recording(new));
    let record = (before != after).then(|| format!("record {before} -> {after}"));
    // Without an origin that may be called, no connection is made.
    let has_ca = !new.outbound.allow.is_empty() && old.outbound.ca != new.outbound.ca;
    let others =
        [("probe", old.probe != new.probe), ("scripts", old.scripts != new.scripts), ("outbound.ca", has_ca)];
    let others = others.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| format!("{key} changed"));
    record.into_iter().chain(others).collect()
}

/// Lists the changed passwords of the stores in which daemons count the requests of routes together.
fn limit_passwords(old: &Routes, new: &Routes) -> BTreeSet<String> {
    let stores = |routes: &Routes| -> BTreeMap<String, StoreUrl> {
        let checks = routes.iter().filter_map(|route| route.checks.clone());
        let stores = checks.flat_map(|checks| {
            let shared = checks.all_limits().filter_map(|limit| limit.shared.clone());
            shared.map(|shared| shared.store().options().clone()).collect::<Vec<_>>()
        });
        stores.map(|options| (options.name, options.url)).collect()
    };
    let before = stores(old);
    let is_other = |(name, url): &(String, StoreUrl)| {
        before.get(name).is_some_and(|before| before != url && before.to_string() == url.to_string())
    };
    let changed = stores(new).into_iter().filter(is_other);
    changed.map(|(name, _)| format!("password of store {name}")).collect()
}

/// Makes the socket paths absolute, so that configurations from different directories compare.
fn whole(config: &Config) -> Config {
    let endpoint = |endpoint: &Endpoint| match endpoint {
        Endpoint::Unix(path) => Endpoint::Unix(absolute(path)),
        other @ (Endpoint::Tcp(_) | Endpoint::Fd(_)) => other.clone(),
    };
    Config {
        listen: config.listen.iter().map(endpoint).collect(),
        admin: config.admin.as_deref().map(absolute),
        observe: config.observe.iter().map(endpoint).collect(),
        proxy_protocol: config.proxy_protocol.iter().map(endpoint).collect(),
        ..config.clone()
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Describes the differences between two versions of a handler, one a line.
fn details(old: &HandlerVersion, new: &HandlerVersion) -> Vec<String> {
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
        |entry: &HandlerVersion| entry.grants.reuse.map_or("off".to_owned(), |requests| requests.to_string());
    compare("reuse", reuse(old), reuse(new));
    let tmp = |entry: &HandlerVersion| entry.grants.tmp.map_or("off".to_owned(), |bytes| bytes.to_string());
    compare("tmp", tmp(old), tmp(new));
    let databases = |entry: &HandlerVersion| format!("{:?}", entry.grants.databases);
    compare("databases", databases(old), databases(new));
    let [before, after] = [old, new].map(|entry| limits(&entry.limits));
    for (key, value) in before {
        compare(&format!("limits.{key}"), value.to_string(), after[&key].to_string());
    }
    what.extend(variables(&old.env, &new.env));
    let granted = |entry: &HandlerVersion| -> BTreeSet<String> {
        let (allow, addresses) = describe::outbound(entry);
        let origins = allow.into_iter().map(|origin| format!("allow {origin}"));
        let stores = describe::stores(entry).into_iter().map(|store| format!("store {store}"));
        let origins = origins.chain(stores);
        origins.chain(addresses.into_iter().map(|block| format!("allow_addresses {block}"))).collect()
    };
    what.extend(credentials(&old.grants, &new.grants));
    let (before, after) = (granted(old), granted(new));
    what.extend(before.difference(&after).map(|grant| format!("{grant} removed")));
    what.extend(after.difference(&before).map(|grant| format!("{grant} added")));
    let mounts = |entry: &HandlerVersion| -> BTreeSet<String> {
        let whole = |mount: &Mount| Mount { host: absolute(&mount.host), ..mount.clone() }.to_string();
        entry.grants.mounts.iter().map(whole).collect()
    };
    let (before, after) = (mounts(old), mounts(new));
    what.extend(before.difference(&after).map(|mount| format!("mount removed: {mount}")));
    what.extend(after.difference(&before).map(|mount| format!("mount added: {mount}")));
    what
}

/// Lists the changed passwords and certificates of stores and databases that are shown as before.
fn credentials(old: &Grants, new: &Grants) -> Vec<String> {
    let mut what = Vec::new();
    let before: HashMap<&str, _> =
        old.stores.iter().map(|grant| grant.store.options()).map(|old| (old.name.as_str(), old)).collect();
    for new in new.stores.iter().map(|grant| grant.store.options()) {
        let Some(old) = before.get(new.name.as_str()) else { continue };
        if old.url != new.url && old.url.to_string() == new.url.to_string() {
            what.push(format!("password of store {} changed", new.name));
        }
    }
    let before: HashMap<&str, _> = old
        .databases
        .iter()
        .map(|grant| grant.database.options())
        .map(|old| (old.name.as_str(), old))
        .collect();
    for new in new.databases.iter().map(|grant| grant.database.options()) {
        let Some(old) = before.get(new.name.as_str()) else { continue };
        let looks_the_same = old.url.to_string() == new.url.to_string();
        if old.url != new.url && looks_the_same {
            what.push(format!("credentials of database {} changed", new.name));
        }
        if old.ca != new.ca && looks_the_same {
            what.push(format!("ca of database {} changed", new.name));
        }
    }
    what
}

/// Lists limits by their keys.
fn limits(limits: &Limits) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(describe::limits(limits)) {
        Ok(serde_json::Value::Object(limits)) => limits,
        _ => serde_json::Map::new(),
    }
}

/// Lists the names of the variables that differ, without values: a value may be a secret.
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
    use std::time::Duration;

    use super::*;
    use crate::config::parse;
    use crate::observe::threads::thread_time;
    use crate::store::{Durability, StoreGrant, StoreOptions, StorePool};

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

    #[test]
    fn ten_thousand_handlers_are_compared_in_ten_times_the_time_of_a_thousand() {
        let with = |number: usize| {
            let handler =
                |at: usize| HandlerConfig::of_module(format!("h{at}").parse().unwrap(), "/nowhere".into());
            let text = "[[route]]\npath = \"/\"\nrespond = {}\n";
            let config = parse(text, Path::new("/nowhere"), "p.toml").unwrap();
            Config { handlers: (0..number).map(handler).collect(), ..config }
        };
        let cost = |config: &Config| -> Duration {
            let start = thread_time();
            let _changes = settings(config, config, Vec::new(), ReopenedPaths::default());
            thread_time() - start
        };

        let (few, many) = (with(1000), with(10_000));

        // Quadratic growth would be 100. Other processes take the processor's caches, so a slow attempt is repeated.
        let is_linear = (0..5).any(|_| cost(&many).as_secs_f64() / cost(&few).as_secs_f64() < 40.0);
        assert!(is_linear);
    }

    #[test]
    fn a_changed_password_is_told_beside_a_store_that_is_new() {
        let stores = StorePool::default();
        let granted = |list: &[(&str, &str)]| {
            let grant = |(name, url): &(&str, &str)| {
                let (name, url) = ((*name).to_owned(), url.parse().unwrap());
                let options =
                    StoreOptions { name: name.clone(), url, quota: 1, durability: Durability::Sync };
                StoreGrant { name, store: stores.get(&options) }
            };
            Grants { stores: list.iter().map(grant).collect(), ..Grants::default() }
        };

        let told = credentials(
            &granted(&[("carts", "redis://ada:one@cache/0")]),
            &granted(&[("added", "memory:"), ("carts", "redis://ada:two@cache/0")]),
        );

        assert_eq!(told, ["password of store carts changed"]);
    }
}
