//! Makes one handler version from compiled code and its settings.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use data_encoding::HEXLOWER;
use tokio::runtime::Handle;

use super::known::VersionsInUse;
use super::prepared::{KeptOptions, NamedOptions};
use crate::budget::{Budget, Portion};
use crate::config::{self, Ca, HandlerConfig, Recording};
use crate::confine::Untrusted;
use crate::database::{DatabaseGrant, DatabaseOptions, DatabasePool};
use crate::http::outbound::{Grant, OutboundCaller};
use crate::job::{
    Access, Captures, Env, Grants, HandlerVersion, Intake, Kind, Mount, OutputFormat, Policy, Recorder, Slots,
};
use crate::net::outbound::{System, Trust};
use crate::observe::history::{History, VersionLabel};
use crate::record::{HandlerRecorder, Masked, Store};
use crate::scratch::Scratch;
use crate::store::{StoreGrant, StoreOptions, StorePool};
use crate::wasm::{Code, Digest, Files, Module, Mounted, OwnDirs};

/// The resources that all handlers share.
pub(super) struct HandlerResources {
    /// The store of failed jobs, if there is one.
    pub(super) store: Option<Arc<Store>>,
    /// The scratch directory, if it could be opened.
    pub(super) scratch: Option<Arc<Scratch>>,
    /// The runtime that serves, if there is one: see [`OutboundCaller::new`].
    pub(super) home: Option<Handle>,
    /// The file descriptors that all jobs share.
    pub(super) descriptors: Arc<Budget>,
    /// The versions that were made and are still in use.
    pub(super) known: VersionsInUse,
    /// The stores of all handlers.
    pub(super) stores: StorePool,
    /// The history of ended jobs.
    pub(super) history: Arc<History>,
    /// The databases of all handlers.
    pub(super) databases: DatabasePool,
}

/// The sources of a handler, besides its code and settings.
pub(super) struct HandlerSources {
    /// The digest of the module.
    pub(super) digest: Digest,
    /// The variables, with the secrets.
    pub(super) env: Env,
    /// Its mounts.
    pub(super) mounted: Arc<Mounted>,
    /// Its stores and databases.
    pub(super) kept: KeptOptions,
}

/// Checks the settings of a handler against the kind of its module.
///
/// # Errors
/// A setting has no meaning for this kind of module.
pub(super) fn suits(config: &HandlerConfig, kind: Kind) -> Result<()> {
    let for_programs = [
        ("output = \"raw\"", matches!(config.mapping, OutputFormat::Raw(_))),
        ("body = \"whole\"", config.conduct.intake == Some(Intake::Whole)),
        ("captures = \"any\"", config.conduct.captures == Captures::Any),
        ("scripts", config.scripts.is_some()),
        ("record = \"failures\"", config.recording != Recording::Nothing),
        ("schedule", config.schedule.is_some()),
    ];
    let serves = kind == Kind::Proxy;
    let wrong = for_programs.iter().find(|(_, set)| *set && serves);
    if let Some((setting, _)) = wrong {
        bail!("{setting} is for programs; this module answers by itself (wasi:http): leave the key out");
    }
    // Only an instance that answers HTTP itself can be reused, and only without files, which are granted for one
    // request.
    ensure!(
        config.reuse.is_none() || serves,
        "reuse is for wasi:http handlers: this module is a program, which ends with its request; leave the key out"
    );
    ensure!(
        config.reuse.is_none() || config.mounts.is_empty(),
        "reuse cannot be combined with mounts or tmp, which are granted for each request: leave one of the keys out"
    );
    ensure!(
        config.scripts.is_none() || config.recording == Recording::Nothing,
        "record cannot be combined with scripts: a job that is run again would not find its script; leave one of the keys out"
    );
    ensure!(
        config.outbound.allow.is_empty() || kind != Kind::Core,
        "allow: a wasip1 module cannot call other servers: build for wasm32-wasip2, or leave allow out"
    );
    Ok(())
}

/// Makes a handler version of code and settings.
///
/// # Errors
/// A setting has no meaning for this kind of module, or mounts or a certificate file cannot be used.
pub(super) fn make(
    config: &HandlerConfig,
    HandlerSources { digest, env, mounted, kept }: HandlerSources,
    HandlerResources { store, scratch, home, descriptors, known, stores, databases, history }: &HandlerResources,
    code: Code,
) -> Result<Arc<HandlerVersion>> {
    suits(config, code.kind())?;
    let recorder = store.as_ref().filter(|_| config.recording != Recording::Nothing).map(|store| {
        let masked = Masked(config.secrets.iter().map(|secret| secret.variable.clone()).collect());
        let keeper =
            HandlerRecorder::new(store.clone(), config.module.clone(), HEXLOWER.encode(&digest), masked);
        let keeper = match config.recording {
            Recording::FailuresWithoutBodies => keeper.without_bodies(),
            Recording::Failures | Recording::Nothing => keeper,
        };
        Arc::new(keeper) as Arc<dyn Recorder>
    });
    let own = config.tmp.map(|bytes| own_dirs(scratch.as_ref(), bytes)).transpose()?;
    let files = match config.mounts.is_empty() && own.is_none() {
        true => None,
        false => {
            let files = Files::new(mounted, config.limits.concurrency, own)?;
            Some(files.with_scripts(config.scripts.clone()))
        }
    };
    let slots = Slots::new(&config.limits);
    let descriptors = descriptors.nothing(&slots.descriptors);
    let caller = caller(config, descriptors, home.clone())?;
    let module = Arc::new(Module::new(code, files, Arc::new(caller), config.reuse));
    let (version, kind) = (version(&digest), module.kind());
    let label =
        VersionLabel { handler: config.name.to_string(), version: version.clone(), kind: kind.to_string() };
    let entry = Arc::new(HandlerVersion {
        name: config.name.clone(),
        kind,
        policy: Policy::WORK,
        grants: Grants {
            stores: open_by(kept.stores, stores),
            databases: granted_databases(kept.databases, databases),
            ..module.grants()
        },
        handler: module.clone(),
        version,
        args: config.args.clone(),
        env,
        calls: config.calls.clone(),
        schedule: config.schedule.clone(),
        limits: config.limits.clone(),
        mapping: config.mapping.clone(),
        conduct: config.conduct,
        slots,
        record: Arc::default(),
        recorder,
        history: Some(history.of(label)),
    });
    known.add(&entry, &module, digest);
    Ok(entry)
}

/// Finds the stores that a handler's jobs may open.
fn open_by(granted: Vec<NamedOptions<StoreOptions>>, stores: &StorePool) -> Arc<[StoreGrant]> {
    let grant = |NamedOptions { name, options }| StoreGrant { name, store: stores.get(&options) };
    granted.into_iter().map(grant).collect()
}

/// Finds the databases that a handler's jobs may open.
fn granted_databases(
    granted: Vec<NamedOptions<DatabaseOptions>>,
    databases: &DatabasePool,
) -> Arc<[DatabaseGrant]> {
    let grant = |NamedOptions { name, options }| DatabaseGrant { name, database: databases.get(&options) };
    granted.into_iter().map(grant).collect()
}

/// Makes the directory in which each job of a handler gets its `/tmp`.
///
/// # Errors
/// There is no scratch directory, or no directory can be made in it.
fn own_dirs(scratch: Option<&Arc<Scratch>>, bytes: u64) -> Result<OwnDirs> {
    let scratch = scratch.context(
        "tmp: there is no scratch directory to make it in: name one with the key `scratch`, or leave tmp out",
    )?;
    Ok(OwnDirs { dir: scratch.for_handler().context("tmp")?, bytes })
}

/// Returns the version name of a module, the start of its digest; see [`HandlerVersion::version`].
pub(super) fn version(digest: &Digest) -> String {
    HEXLOWER.encode(&digest[..6])
}

/// Makes the client for a handler's outbound requests.
///
/// # Errors
/// The file of certificates cannot be used.
fn caller(config: &HandlerConfig, descriptors: Portion, home: Option<Handle>) -> Result<OutboundCaller> {
    let config::OutboundConfig { allow, addresses, ca } = config.outbound.clone();
    let ca = ca.filter(|_| !allow.is_empty());
    let trust = match ca {
        Some(Ca { path, pem }) => {
            Trust::and(&pem).with_context(|| format!("outbound.ca: {}", show(&path)))?
        }
        None => Trust::system(),
    };
    let grant = Grant { name: config.name.clone(), allow, addresses, trust, descriptors };
    Ok(OutboundCaller::new(grant, Arc::new(System::default()), home))
}

/// Opens the mounts of a handler. `untrusted` holds the directories that handlers may write to.
///
/// # Errors
/// A mount cannot be opened.
pub(super) fn mounted(config: &HandlerConfig, untrusted: &Untrusted) -> Result<Arc<Mounted>> {
    let mount = |config: &config::MountConfig| Mount {
        host: config.host.clone(),
        guest: config.guest.clone(),
        access: if config.write { Access::Write } else { Access::Read },
        within: None,
    };
    Ok(Arc::new(Mounted::open(config.mounts.iter().map(mount).collect(), untrusted)?))
}

pub(super) fn show(path: &Path) -> String {
    path.display().to_string()
}
