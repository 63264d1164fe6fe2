//! Hardening: the process gives up privileges, paths and system calls before it has a second thread.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use tracing::{debug, info, warn};

use crate::config::{self, Config};
use crate::confine::{
    self, Capability, DEVICES, LIBRARIES, LandlockRules, PathGrant, Reach, SYSTEM, SyscallSet, is_confined,
    no_core, no_new_privileges, retain,
};
use crate::jobs::Granted;
use crate::wasm::cache;

/// The restrictions that were applied, to be logged once there is a log. The default is none.
#[derive(Default)]
pub struct Hardened {
    /// The paths that are still accessible, if the others were given up.
    pub granted: Granted,
    /// The mark for the next process of an upgrade, which then does not apply all restrictions again.
    pub mark: Option<String>,
    told: Vec<HardeningStep>,
}

enum HardeningStep {
    Taken(String),
    Place(PathGrant),
    Kept(&'static str, anyhow::Error),
}

/// The variable that tells a process of an upgrade to what the process before it was confined.
pub(super) const MARK: &str = "PORTCULLIS_CONFINED";

/// Applies the restrictions that the configuration does not turn off. `file` is the configuration file, `program` the
/// path from which the next process is started.
///
/// A restriction that this host does not allow is left out and logged; the daemon serves all the same.
pub fn harden(config: &Config, file: &Path, program: &Path) -> Hardened {
    let mut hardened = Hardened::default();
    let steps = &config.hardening;
    if steps.privileges {
        // The first step: without it, only root may take the others.
        let taken = no_new_privileges().and_then(|()| no_core()).and_then(|()| retain(&needed(config)));
        let taken = taken.map(|left| format!("no new privileges, no core dumps, capabilities: {left}"));
        hardened.tell_of("privileges", taken);
    }
    let places = steps.files.then(|| places(config, file, program));
    let mark = mark(places.as_deref(), steps.syscalls);
    let inherited = is_confined() && std::env::var(MARK).is_ok_and(|found| found == mark);
    if let Some(places) = places {
        let taken =
            if inherited { Ok(()) } else { ground(config, &places).and_then(|ground| ground.confine()) };
        let taken = taken.map(|()| {
            hardened.told.extend(places.iter().cloned().map(HardeningStep::Place));
            hardened.granted = Some(Arc::from(places.as_slice()));
            format!("files: {} files and directories stay accessible (Landlock)", places.len())
        });
        hardened.tell_of("files", taken);
    }
    if steps.syscalls {
        let taken = if inherited { Ok("refused as before".to_owned()) } else { refused() };
        hardened.tell_of("syscalls", taken.map(|told| format!("system calls: {told} (seccomp)")));
    }
    // The mark is set only if all steps succeeded. Otherwise the next process tries all of them again.
    let whole = hardened.told.iter().all(|told| !matches!(told, HardeningStep::Kept(..)));
    hardened.mark = whole.then_some(mark);
    hardened
}

fn refused() -> Result<String> {
    Ok(format!("{} refused", confine::refuse(SyscallSet::Daemon)?))
}

impl Hardened {
    /// Logs what was applied, a line for each step.
    pub(super) fn tell(&self) {
        for told in &self.told {
            match told {
                HardeningStep::Taken(what) => info!("hardening: {what}"),
                HardeningStep::Place(place) => debug!("hardening: accessible: {place}"),
                HardeningStep::Kept(step, refusal) => {
                    warn!(
                        "hardening: this host does not allow {step}: {refusal:#}; to accept that, set hardening.{step} = false"
                    );
                }
            }
        }
    }

    fn tell_of(&mut self, step: &'static str, taken: Result<String>) {
        self.told.push(match taken {
            Ok(what) => HardeningStep::Taken(what),
            Err(refusal) => HardeningStep::Kept(step, refusal),
        });
    }
}

/// Lists the capabilities to keep, if the process has them.
fn needed(config: &Config) -> Vec<Capability> {
    // A reload may add a port below 1024.
    let mut needed = vec![Capability::BindService];
    if config.unix.group.is_some() || config.admin_access.group.is_some() {
        needed.push(Capability::Chown);
    }
    if rustix::process::geteuid().is_root() {
        // A daemon that is run as root is meant to serve files of other users; `files` restricts which.
        needed.push(Capability::OtherUsersFiles);
    }
    needed
}

/// Lists the paths that stay accessible: those of the system, the configuration file, and the paths that it names.
fn places(config: &Config, file: &Path, program: &Path) -> Vec<PathGrant> {
    let mut places = Vec::new();
    let mut add = |path: &Path, reach| places.push(PathGrant::new(path, reach));
    SYSTEM.iter().for_each(|path| add(Path::new(path), Reach::Read));
    LIBRARIES.iter().for_each(|path| add(Path::new(path), Reach::Run));
    DEVICES.iter().for_each(|path| add(Path::new(path), Reach::Write));
    if let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        add(Path::new(&dir), Reach::Read);
    }
    // The directories, because the files are replaced.
    for (file, reach) in [(program, Reach::Run), (file, Reach::Read)] {
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
        add(dir.unwrap_or(Path::new(".")), reach);
    }
    if let Some(Ok(cache::CacheLocation { dir, key })) = config.cache_place() {
        add(&made(dir), Reach::Write);
        add(&made(key.parent().map(Path::to_owned).unwrap_or_default()), Reach::Write);
    }
    if let Ok(dir) = config.scratch_place() {
        add(&made(dir), Reach::Write);
    }
    if let Some(dir) = &config.record_dir {
        add(&made(dir.clone()), Reach::Write);
    }
    config.acme_dir().into_iter().for_each(|dir| drop(made(dir.to_owned())));
    for file in config.store_files() {
        file.path.parent().into_iter().for_each(|dir| add(&made(dir.to_owned()), Reach::Write));
    }
    for handler in &config.handlers {
        let files = handler.databases.iter().filter_map(|grant| grant.database.options.file());
        files.filter_map(Path::parent).for_each(|dir| add(&made(dir.to_owned()), Reach::Write));
    }
    places.extend(config.places().into_iter().map(|(_, place)| place));
    // Not every host has all paths of the system. A configured path that is missing is reported by the code that opens
    // it.
    places.retain(|place| place.path.exists());
    places
}

/// Opens the paths. The process before this one may still serve, and its handlers may change their directories
/// meanwhile.
fn ground(config: &Config, places: &[PathGrant]) -> Result<LandlockRules> {
    LandlockRules::new(places, &config::untrusted(&config.handlers)?)
}

/// Makes a missing directory of the daemon's own, so that it can be granted.
fn made(dir: PathBuf) -> PathBuf {
    // An error is reported by the code that needs the directory.
    let _made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    dir
}

/// Hashes the restrictions into one word.
fn mark(places: Option<&[PathGrant]>, syscalls: bool) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_PKG_VERSION"), syscalls).hash(&mut hasher);
    for place in places.unwrap_or_default() {
        place.to_string().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
