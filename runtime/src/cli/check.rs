//! `portcullis check`: reports what `serve` would refuse, without serving.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Error, Result};

use super::out::complain;
use super::{progress, say, serve, user_caches};
use crate::catalog::Catalog;
use crate::config::{self, Config, InvalidConfig, Secret, SecretSource};
use crate::daemon::{self, PreflightFindings};
use crate::job::Name;
use crate::jobs::{Loader, Migrating, lines, traces};
use crate::net::Tls;
use crate::observe::counted;
use crate::wasm::{Room, Sandbox, Stacks, WasiHttp03};

/// Check a configuration, its certificates and its modules, and report every mistake.
///
/// All mistakes are reported at once: certificates and modules are checked even if the configuration has a
/// mistake. Directories and sockets are checked for the current user, so run it as the user who will serve.
/// Only a start can tell whether an address is free, and whether a probe succeeds. A running daemon does not
/// notice the check. The check writes compiled modules alone, which the next start finds in the cache.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "portcullis.toml")]
    config: PathBuf,
    #[command(flatten)]
    flags: serve::Flags,
}

pub(super) fn check(args: Args) -> Result<()> {
    let file = args.config.display();
    let (config, mut errors) = match config::examine(&args.config) {
        Ok(config) => (Some(config), Vec::new()),
        Err(InvalidConfig { errors, rest }) => (rest.map(|rest| *rest), vec![Error::from(errors)]),
    };
    let Some(mut config) = config else { return Err(lines(&errors)) };
    if !errors.is_empty() {
        // A route to a handler with a mistake is not a mistake of its own.
        let known: HashSet<&Name> = config.handlers.iter().map(|handler| &handler.name).collect();
        config.routes.retain(|route| route.handler().is_none_or(|name| known.contains(name)));
    }
    errors.extend(args.flags.put_over(&mut config).err());
    errors.extend(config.check_whole(&args.config).err().map(Error::from));
    let is_sound = errors.is_empty();
    let PreflightFindings { errors: lacking, mut warnings } = daemon::lacking(&config);
    if is_sound {
        warnings.extend(daemon::doubtful(&config));
    }
    errors.extend(lacking.into_iter().map(|error| error.context(file.to_string())));
    errors.extend(traces(&config).err());
    warnings.extend(untold_secrets(&mut config));
    let (handlers, routes) = (config.handlers.len(), config.routes.len());
    let memory = config.handlers.iter().map(|handler| handler.limits.memory).max().unwrap_or_default();
    let room = Room::unserved(1, memory);
    let compilation = user_caches::of(&config, Stacks::of(config.source_lines));
    let sandbox = Sandbox::new(room, compilation, WasiHttp03::of(config.wasi_http_03))?;
    // `lacking` has checked the scratch directory; nothing is made in it here.
    config.handlers.iter_mut().for_each(|handler| handler.tmp = None);
    // A store is tried as a start would; its server is asked on a runtime.
    let runtime = serve::runtime()?;
    let entered = runtime.enter();
    let loader = Loader::new(sandbox, progress::bar());
    drop(entered);
    let named = loader.examine(&config, &Catalog::default());
    loader.tidy([]);
    warnings.extend_from_slice(&named.unreachable);
    let certificates = named.tls.iter().flatten().flat_map(Tls::warnings);
    let certificates = certificates.map(|warning| format!("tls: {warning}"));
    for warning in certificates.chain(warnings) {
        complain(&format!("warning: {warning}"));
    }
    errors.extend(named.sound().err().into_iter().flatten());
    let migrations = loader.migrate(&config, Migrating::List).unwrap_or_else(|refused| {
        errors.extend(refused);
        Vec::new()
    });
    if !errors.is_empty() {
        return Err(lines(&errors));
    }
    for line in migrations {
        say(&format!("a start would apply the migration {line}"));
    }
    say(&format!("{file}: {}, {}: ok", counted(handlers, "handler"), counted(routes, "route")));
    Ok(())
}

/// Skips secrets from the service manager if it provides none, as in a terminal, and says so.
fn untold_secrets(config: &mut Config) -> Option<String> {
    let has_credentials = config::credentials().is_some();
    let is_told = |source: &SecretSource| match source {
        SecretSource::Credential(_) => has_credentials,
        SecretSource::Variable(name) => std::env::var_os(name).is_some(),
        SecretSource::File(_) | SecretSource::Development(_) => true,
    };
    let mut names = Vec::new();
    for handler in &mut config.handlers {
        let untold = |secret: &&Secret| !is_told(&secret.source);
        names.extend(handler.secrets.iter().filter(untold).map(|secret| {
            format!("handler.{}.secrets.{} ({})", handler.name, secret.variable, secret.source)
        }));
        handler.secrets.retain(|secret| is_told(&secret.source));
        // Its server would refuse a connection without the password.
        handler.stores.retain(|grant| grant.store.password.as_ref().is_none_or(is_told));
        handler.databases.retain(|grant| grant.database.password.as_ref().is_none_or(is_told));
    }
    let untold = config.passwords().filter(|(_, source)| !is_told(source));
    names.extend(untold.map(|(key, source)| format!("{key} ({source})")));
    (!names.is_empty())
        .then(|| format!("secrets that only the daemon can read are not checked: {}", names.join(", ")))
}
