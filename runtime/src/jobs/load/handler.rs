//! One handler: code put under its settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use tokio::runtime::Handle;

use super::known::VersionsInUse;
use crate::budget::{Budget, Portion};
use crate::config::{self, Ca, Config, HandlerConfig, Recording};
use crate::confine::Untrusted;
use crate::http::outbound::{Grant, OutboundCaller};
use crate::job::{
    Access, Captures, Env, HandlerVersion, Intake, Kind, Mount, Name, OutputFormat, Policy, Recorder, Slots,
};
use crate::net::outbound::{System, Trust};
use crate::record::{Keeper, Masked, Store};
use crate::scratch::Scratch;
use crate::wasm::{Code, Digest, Files, Module, Mounted, OwnDirs};

/// What handlers stand on besides their settings.
pub(super) struct HandlerResources {
    /// Where failed jobs are kept, if they are.
    pub(super) store: Option<Arc<Store>>,
    /// Where jobs have directories of their own, if it could be opened.
    pub(super) scratch: Option<Arc<Scratch>>,
    /// The runtime that serves, if there is one: see [`OutboundCaller::new`].
    pub(super) home: Option<Handle>,
    /// The file descriptors that all jobs share.
    pub(super) descriptors: Arc<Budget>,
    /// The versions that were made.
    pub(super) known: VersionsInUse,
}

/// What a handler is made of besides its code and settings.
pub(super) struct HandlerSources {
    /// That of its module.
    pub(super) digest: Digest,
    /// Its variables, secrets among them.
    pub(super) env: Env,
    /// Its mounts.
    pub(super) mounted: Arc<Mounted>,
}

/// Checks the settings of a handler against what its module is.
///
/// # Errors
/// A setting that this kind of module has no use for.
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
    // Only what answers HTTP by itself can be asked twice, and only without files: those are granted for
    // one request.
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

/// Puts code under a handler's settings.
///
/// # Errors
/// A setting that this kind of module has no use for; mounts or a file of certificates that cannot be used.
pub(super) fn make(
    config: &HandlerConfig,
    HandlerSources { digest, env, mounted }: HandlerSources,
    HandlerResources { store, scratch, home, descriptors, known }: &HandlerResources,
    code: Code,
) -> Result<Arc<HandlerVersion>> {
    suits(config, code.kind())?;
    let recorder = store.as_ref().filter(|_| config.recording != Recording::Nothing).map(|store| {
        let masked = Masked(config.secrets.iter().map(|secret| secret.variable.clone()).collect());
        let keeper = Keeper::new(store.clone(), config.module.clone(), hex(&digest), masked);
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
    let entry = Arc::new(HandlerVersion {
        name: config.name.clone(),
        kind: module.kind(),
        policy: Policy::WORK,
        grants: module.grants(),
        handler: module.clone(),
        version: version(&digest),
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
    });
    known.add(&entry, &module, digest);
    Ok(entry)
}

/// Makes the directory of a handler whose jobs have one each.
///
/// # Errors
/// There is no scratch directory, or none can be made in it.
fn own_dirs(scratch: Option<&Arc<Scratch>>, bytes: u64) -> Result<OwnDirs> {
    let scratch = scratch.context(
        "tmp: there is no scratch directory to make it in: name one with the key `scratch`, or leave tmp out",
    )?;
    Ok(OwnDirs { dir: scratch.for_handler().context("tmp")?, bytes })
}

/// Finds what is asked of handlers that answer HTTP by themselves and only a program can do: read
/// stdin and write stdout.
pub(super) fn for_programs(config: &Config, kinds: &BTreeMap<Name, Kind>) -> Vec<Error> {
    let proxy = |name: &Name| kinds.get(name) == Some(&Kind::Proxy);
    let upgraded = config.routes.iter().filter(|route| route.upgrade.is_some() && proxy(&route.handler));
    let upgraded = upgraded.map(|route| {
        let (path, name) = (&route.path, route.handler.as_str());
        anyhow!("route {path:?}: upgrade is for programs; the handler {name:?} answers by itself (wasi:http)")
    });
    let called = config.handlers.iter().flat_map(|handler| {
        let called = handler.calls.iter().filter(|called| proxy(called));
        called.map(|called| {
            let (caller, called) = (handler.name.as_str(), called.as_str());
            anyhow!("handler {caller:?}: calls: only programs are called; {called:?} answers HTTP by itself")
        })
    });
    upgraded.chain(called).collect()
}

/// Makes the version of a module of its digest, as [`HandlerVersion::version`] has it.
pub(super) fn version(digest: &Digest) -> String {
    hex(&digest[..6])
}

/// Writes bytes in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes what carries out a handler's requests to other servers.
///
/// # Errors
/// A file of certificates that cannot be believed.
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

/// Opens the mounts of a handler; `untrusted` is what handlers may write to.
///
/// # Errors
/// One of them cannot be opened.
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
