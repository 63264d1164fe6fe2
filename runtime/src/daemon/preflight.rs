//! Checks whether a daemon could start on this host: its sockets, directories, mounts, groups and limits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context as _, Error, Result};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use tracing::warn;

use super::memory::Total;
use super::operators::client_options;
use super::{descriptors, operators};
use crate::access::{AccessCheck, AccessGate, RateKey};
use crate::config::{CacheDir, Config, HandlerConfig, MountConfig, RouteConfig, TargetConfig};
use crate::job::Name;
use crate::net::{self, Endpoint};
use crate::observe::access_file;
use crate::record;
use crate::scratch::{self, Scratch};
use crate::wasm::cache::{self, Cache};

/// What a daemon would lack on this host, as this user.
pub struct PreflightFindings {
    /// Reasons not to start, and configured paths that cannot be used.
    pub errors: Vec<Error>,
    /// What the daemon would do without, with a warning in its log.
    pub warnings: Vec<String>,
}

/// Checks whether the directories and sockets of a configuration could be made. Makes none, and does not disturb a
/// running daemon.
pub fn lacking(config: &Config) -> PreflightFindings {
    // A start raises the limit too, and the raised limit counts.
    descriptors::raise();
    let mut warnings: Vec<String> = config.handlers.iter().flat_map(closed_mounts).collect();
    let mut errors = net::examine(&config.listen, &client_options(config));
    let (endpoints, access) = operators::admin(config);
    errors.extend(net::examine(&endpoints, &access).into_iter().map(|error| error.context("admin")));
    let observing = net::examine(&config.observe, &client_options(config));
    errors.extend(observing.into_iter().map(|error| error.context("observe")));
    errors.extend(groups(config));
    let access_log = config.logging.access_log_file.as_deref().map(access_file::examine);
    errors.extend(access_log.and_then(Result::err).map(|refusal| refusal.context("access_log_file")));
    errors.extend(
        config.record_dir.as_deref().and_then(|dir| record::examine(dir).context("record_dir").err()),
    );
    let kept = config.cache_place().map(|place| place.and_then(|place| Cache::examine(&place)));
    match (kept, &config.cache) {
        (Some(Err(refusal)), CacheDir::At(_)) => errors.push(refusal.context("cache")),
        (Some(Err(refusal)), _) => {
            warnings.push(format!("compiled modules are not kept for the next start: {refusal:#}"));
        }
        (Some(Ok(())) | None, _) => {}
    }
    match (config.scratch_place().and_then(|dir| cache::examine_private_dir(&dir)), &config.scratch) {
        (Err(refusal), Some(_)) => errors.push(refusal.context("scratch")),
        (Err(refusal), None) if config.handlers.iter().any(|handler| handler.tmp.is_some()) => {
            errors.push(refusal.context("tmp: there is no scratch directory to make it in"));
        }
        (Err(refusal), None) => warnings.push(unkept(&refusal)),
        (Ok(()), _) => {}
    }
    match descriptors::shares(config) {
        Ok(shares) => warnings.extend(shares.lack(config)),
        Err(refusal) => errors.push(refusal),
    }
    let total = Total::of(config);
    warnings.extend(total.lack(config));
    warnings.extend(total.stores_lack());
    warnings.extend(short_of_room(config));
    warnings.extend(trusts_everybody(config));
    warnings.extend(open_tokens(config));
    warnings.extend(ways_round_gates(config));
    warnings.extend(config.routes.iter().flat_map(|route| foreign_captures(&route.path)));
    warnings.extend(config.routes.iter().filter_map(|route| escaped(&route.path)));
    warnings.extend(rewritten_twice(config));
    PreflightFindings { errors, warnings }
}

/// Opens the scratch directory, and removes in the background what killed processes left there. Without a directory it
/// logs a warning.
pub(super) fn scratch(config: &Config) -> Option<Arc<Scratch>> {
    short_of_room(config).iter().for_each(|short| warn!("{short}"));
    let opened = open_scratch(config);
    let scratch = opened.inspect_err(|refusal| warn!("{}", unkept(refusal))).ok()?;
    let left = scratch.clone();
    let sweep = std::thread::Builder::new().name("sweep".to_owned()).spawn(move || left.sweep());
    // The next start tries again.
    sweep
        .inspect_err(|refusal| warn!("old files in the scratch directory cannot be removed: {refusal}"))
        .ok();
    Some(scratch)
}

/// Finds the handlers whose `tmp` exceeds the free space in the scratch directory.
fn short_of_room(config: &Config) -> Vec<String> {
    let dir = config.scratch_place();
    let Some((dir, room)) = dir.ok().and_then(|dir| scratch::room_in(&dir).map(|room| (dir, room))) else {
        return Vec::new();
    };
    let short = config.handlers.iter().filter(|handler| handler.tmp.is_some_and(|bytes| bytes > room));
    let told = short.map(|handler| {
        let (name, wanted) = (&handler.name, handler.tmp.unwrap_or_default() >> 20);
        format!(
            "handler.{name}.tmp: a job may have {wanted} MiB, and jobs find room for {} MiB in {}: make room there, name \
             another directory with the key `scratch`, or lower it",
            room >> 20,
            dir.display()
        )
    });
    told.collect()
}

/// Opens the scratch directory, for data that does not fit into memory.
///
/// # Errors
/// No path is known for it, or other users can access it.
pub fn open_scratch(config: &Config) -> Result<Arc<Scratch>> {
    let dir = config.scratch_place().and_then(|dir| cache::private_dir(&dir))?;
    Ok(Arc::new(Scratch::new(dir)))
}

fn unkept(refusal: &Error) -> String {
    format!(
        "request bodies of unknown length beyond 64 KiB are refused, as there is no scratch directory: {refusal:#}"
    )
}

/// Warns of a list of proxies that holds every address: then a client may say that it is anyone.
fn trusts_everybody(config: &Config) -> Option<String> {
    let trusted = &config.trusted_proxies;
    trusted.networks.is_everybody().then(|| {
        format!(
            "trusted_proxies ({trusted}) holds every address, so each client may claim the address of another: name the \
             networks of the proxies alone"
        )
    })
}

/// Warns of rate limits that mean nothing, or other than they say.
fn idle_limits(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let served: HashSet<&Name> = config.routes.iter().filter_map(RouteConfig::handler).collect();
    for handler in
        config.handlers.iter().filter(|handler| handler.limit.is_some() && !served.contains(&handler.name))
    {
        let name = &handler.name;
        warnings.push(format!("handler.{name}.limit counts nothing: no route leads to the handler"));
    }
    // Empty if `listen` has a mistake.
    let is_local = !config.listen.is_empty()
        && config.listen.iter().all(|endpoint| matches!(endpoint, Endpoint::Unix(_)));
    let limits = config.routes.iter().filter_map(|route| route.limit.as_ref());
    let mut limits = limits.chain(config.handlers.iter().filter_map(|handler| handler.limit.as_ref()));
    if is_local && config.trusted_proxies.is_empty() && limits.any(|limit| limit.rule.by == RateKey::Address)
    {
        warnings.push(
            "limit: clients of Unix sockets have no address, so by = \"address\" counts all of them together: set \
             trusted_proxies = [\"unix\"] if a proxy names them"
                .to_owned(),
        );
    }
    warnings
}

/// Warns of gates that take tokens which are not meant for this service.
fn open_tokens(config: &Config) -> impl Iterator<Item = String> {
    let is_open =
        |gate: &&Arc<AccessGate>| matches!(&gate.check, AccessCheck::Token(rules) if rules.is_open());
    config.gates.iter().filter(is_open).map(|gate| {
        format!(
            "gate.{} takes every token that its keys sign, those for other services too: set issuer and audience",
            gate.name
        )
    })
}

/// Warns of gates that nobody can pass, of what has no route, and of rate limits that count nothing. A route or `[tls]` with a
/// mistake is left out of a configuration, so this is for one without mistakes.
pub fn doubtful(config: &Config) -> Vec<String> {
    let gates = [closed_gates(config), crossed_gates(config), idle_gates(config)].concat();
    [idle_limits(config), gates, idle_groups(config)].concat()
}

/// Warns of gates that nobody can pass.
fn closed_gates(config: &Config) -> Vec<String> {
    let knows_clients = config.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
    let closed = config.gates.iter().filter_map(|gate| {
        let why = match &gate.check {
            AccessCheck::Addresses(rules) if rules.admit_nobody() => "all of `allow` is in `deny` too",
            AccessCheck::ClientCertificate(_) if !knows_clients => {
                "no client has a certificate without tls.client_ca: name the file of the authorities that issue to clients"
            }
            AccessCheck::Addresses(_)
            | AccessCheck::Basic(_)
            | AccessCheck::ClientCertificate(_)
            | AccessCheck::Token(_) => return None,
        };
        Some(format!("gate.{} lets nobody pass: {why}", gate.name))
    });
    closed.collect()
}

/// Warns of routes behind a gate of passwords and one of tokens: a request has one `Authorization` field. A handler between
/// the two may be a middleware, which passes on other fields.
fn crossed_gates(config: &Config) -> Vec<String> {
    let built_in: HashMap<&String, &AccessCheck> =
        config.gates.iter().map(|gate| (&gate.name, &gate.check)).collect();
    let is_basic = |check: &AccessCheck| matches!(check, AccessCheck::Basic(_));
    let is_token = |check: &AccessCheck| matches!(check, AccessCheck::Token(_));
    let mut warned = HashSet::new();
    let mut warnings = Vec::new();
    for route in config.routes.iter().filter(|route| !matches!(route.target, TargetConfig::Rewrite(_))) {
        for row in route.before.split(|name| !built_in.contains_key(name)) {
            let basic = row.iter().find(|name| built_in.get(name).is_some_and(|check| is_basic(check)));
            let token = row.iter().find(|name| built_in.get(name).is_some_and(|check| is_token(check)));
            if let (Some(basic), Some(token)) = (basic, token)
                && warned.insert((basic, token))
            {
                warnings.push(format!(
                    "nobody passes gate.{basic} and gate.{token}, which both stand in front of the route {:?}: a request has \
                     one Authorization field, with a password or with a token. Name one of them in `before`",
                    route.path
                ));
            }
        }
    }
    warnings
}

/// Warns of gates that stand in front of no route. What they were written for is open. A rewrite has a list of gates from
/// its group, and asks those of the route that the new path leads to.
fn idle_gates(config: &Config) -> Vec<String> {
    let asked = config.routes.iter().filter(|route| !matches!(route.target, TargetConfig::Rewrite(_)));
    let named: HashSet<&String> = asked.flat_map(|route| &route.before).collect();
    let idle = config.gates.iter().filter(|gate| !named.contains(&gate.name));
    idle.map(|gate| {
        format!("gate.{} stands in front of no route: name it in `before`, or remove it", gate.name)
    })
    .collect()
}

/// Warns of groups without routes. What they were written for passes none of their gates.
fn idle_groups(config: &Config) -> Vec<String> {
    let of_routes = config.routes.iter().filter_map(|route| route.group.as_ref());
    let named: HashSet<&String> = of_routes.map(|group| &group.name).collect();
    let idle = config.groups.iter().filter(|name| !named.contains(name));
    idle.map(|name| format!("group.{name} has no route: write group = {name:?} at its routes, or remove it"))
        .collect()
}

/// Warns of handlers that answer a path with gates, and all that is around it without. What the handler takes for the
/// same path, such as another case, comes through the route without gates.
fn ways_round_gates(config: &Config) -> Vec<String> {
    let routes = || config.routes.iter().filter_map(|route| Some((route.handler()?, route)));
    // The tails without gates, each by the text in front of it.
    let open: HashSet<(&Name, &str)> = routes()
        .filter(|(_, route)| route.before.is_empty())
        .filter_map(|(name, route)| Some((name, route.path.split_once("{*")?.0)))
        .collect();
    let mut warned = HashSet::new();
    let mut warnings = Vec::new();
    for (name, route) in routes().filter(|(_, route)| !route.before.is_empty()) {
        let path = &route.path;
        let around =
            path.match_indices('/').map(|(at, _)| &path[..=at]).find(|front| open.contains(&(name, *front)));
        if let Some(front) = around
            && warned.insert(name)
        {
            warnings.push(format!(
                "handler.{name} answers {path:?} behind gates and {front:?} with a tail without: what the handler takes for \
                 the same path, such as another case of letters, passes no gate. Let the handler check REMOTE_USER, or give \
                 both routes the gates"
            ));
        }
    }
    warnings
}

/// Warns of captures as other servers have them: `:id` and `*` match only themselves.
fn foreign_captures(path: &str) -> Vec<String> {
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let meant = |segment: &str| match segment.strip_prefix(':') {
        Some(name) if is_name(name) => Some(format!("{{{name}}}")),
        _ => (segment == "*").then(|| "{*rest}".to_owned()),
    };
    let segments = path.split('/').filter_map(|segment| Some((segment, meant(segment)?)));
    let told = segments.map(|(segment, meant)| {
        format!("route {path:?}: {segment:?} matches only itself: write {meant:?} to match other text")
    });
    told.collect()
}

/// Warns of an escape such as `%20` in the path of a route. It is compared with paths whose escapes are decoded.
fn escaped(path: &str) -> Option<String> {
    let is_escape = |text: &&str| text[1..].bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut escapes = path.match_indices('%').filter_map(|(at, _)| path.get(at..at + 3));
    let escape = escapes.find(is_escape)?;
    Some(format!(
        "route {path:?}: {escape:?} matches only itself, because the paths of requests are decoded first: write the character"
    ))
}

/// Warns of rewrites to a fixed path that is rewritten again, which is always a 508.
fn rewritten_twice(config: &Config) -> Vec<String> {
    let rewrites = || {
        config.routes.iter().filter_map(|route| match &route.target {
            TargetConfig::Rewrite(to) => Some((route, to.as_str())),
            TargetConfig::Handler(_)
            | TargetConfig::Redirect(_)
            | TargetConfig::Respond(_)
            | TargetConfig::Files(_) => None,
        })
    };
    let of_every_method = rewrites().filter(|(route, _)| route.methods.is_empty());
    let again: HashSet<_> =
        of_every_method.map(|(route, _)| (route.host.as_deref(), route.path.as_str())).collect();
    let told = rewrites().filter_map(|(route, to)| {
        let path = to.split(['?', '#']).next().unwrap_or_default();
        // A path with placeholders or escapes names no route in the words of the file.
        let is_again = !path.contains(['{', '%']) && again.contains(&(route.host.as_deref(), path));
        is_again.then(|| {
            format!(
                "route {:?} is answered with 508: its `rewrite` leads to {path:?}, which is rewritten again, and a path is \
                 rewritten once. Write the last path",
                route.path
            )
        })
    });
    told.collect()
}

/// Warns of mounts that this user cannot read or write. No error: a job gets EACCES, like any other program.
fn closed_mounts(handler: &HandlerConfig) -> Vec<String> {
    let ours = rustix::process::geteuid().as_raw();
    let closed = |mount: &MountConfig| {
        let may = |wanted| accessat(CWD, &mount.host, wanted, AtFlags::EACCESS);
        let cannot = match (may(Access::READ_OK | Access::EXEC_OK), may(Access::WRITE_OK)) {
            (Err(_), _) => "read",
            (Ok(()), Err(_)) if mount.write => "write to",
            (Ok(()), _) => return None,
        };
        let (name, shown) = (&handler.name, mount.host.display());
        Some(format!(
            "handler.{name}.mounts: user {ours} cannot {cannot} {shown}, and neither can its jobs: change its owner or mode"
        ))
    };
    handler.mounts.iter().filter_map(closed).collect()
}

/// Checks the groups that Unix sockets are to belong to, if such a socket is configured.
fn groups(config: &Config) -> Vec<Error> {
    let unix = config.listen.iter().any(|endpoint| matches!(endpoint, Endpoint::Unix(_)));
    let groups = [
        ("unix.group", config.unix.group.as_ref().filter(|_| unix)),
        ("admin_group", config.admin_access.group.as_ref().filter(|_| config.admin.is_some())),
    ];
    let wrong = |(key, group): (&'static str, Option<&String>)| net::examine_group(group?).context(key).err();
    groups.into_iter().filter_map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_of_another_server_is_warned_of_with_ours() {
        for (path, wanted) in [
            (
                "/hits/:id",
                "route \"/hits/:id\": \":id\" matches only itself: write \"{id}\" to match other text",
            ),
            ("/y/*", "route \"/y/*\": \"*\" matches only itself: write \"{*rest}\" to match other text"),
        ] {
            assert_eq!(foreign_captures(path), [wanted]);
        }
        for path in ["/", "/a/{id}/{*rest}", "/v1/a:cancel", "/:", "/a*", "/:id.json"] {
            assert!(foreign_captures(path).is_empty(), "{path}");
        }
    }

    #[test]
    fn an_escape_in_the_path_of_a_route_is_warned_of() {
        assert_eq!(
            escaped("/a%20b").unwrap(),
            "route \"/a%20b\": \"%20\" matches only itself, because the paths of requests are decoded first: write the \
             character"
        );
        for path in ["/a b", "/100%", "/%zz", "/a%2", "/%é0"] {
            assert_eq!(escaped(path), None, "{path}");
        }
    }
}
