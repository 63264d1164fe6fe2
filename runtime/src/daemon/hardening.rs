//! The steps by which the daemon takes from itself what it does not need, before it has a second thread.

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

/// What was taken, to be told once there is a log; the default is nothing.
#[derive(Default)]
pub struct Hardened {
    /// The places that are left, if the rest was taken.
    pub granted: Granted,
    /// What the next process of an upgrade is told, so that it does not take all of it again.
    pub mark: Option<String>,
    told: Vec<HardeningStep>,
}

enum HardeningStep {
    Taken(String),
    Place(PathGrant),
    Kept(&'static str, anyhow::Error),
}

/// The variable by which a process learns that the one before it has confined it, and to what.
pub(super) const MARK: &str = "PORTCULLIS_CONFINED";

/// Takes the steps that the configuration does not forbid. `file` is the configuration itself,
/// `program` the path that the next process is started from.
///
/// A step that this host does not allow is left out and told: the daemon serves all the same.
pub fn harden(config: &Config, file: &Path, program: &Path) -> Hardened {
    let mut hardened = Hardened::default();
    let steps = &config.hardening;
    if steps.privileges {
        // First: without it nobody but root may take the other steps.
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
            format!("files: {} places are left (Landlock)", places.len())
        });
        hardened.tell_of("files", taken);
    }
    if steps.syscalls {
        let taken = if inherited { Ok("refused as before".to_owned()) } else { refused() };
        hardened.tell_of("syscalls", taken.map(|told| format!("system calls: {told} (seccomp)")));
    }
    // Only whole: what was not taken may be taken by the next process.
    let whole = hardened.told.iter().all(|told| !matches!(told, HardeningStep::Kept(..)));
    hardened.mark = whole.then_some(mark);
    hardened
}

fn refused() -> Result<String> {
    Ok(format!("{} refused", confine::refuse(SyscallSet::Daemon)?))
}

impl Hardened {
    /// Says what was taken, a line a step.
    pub(super) fn tell(&self) {
        for told in &self.told {
            match told {
                HardeningStep::Taken(what) => info!("hardening: {what}"),
                HardeningStep::Place(place) => debug!("hardening: left: {place}"),
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

/// Lists the capabilities that are kept, of those we have.
fn needed(config: &Config) -> Vec<Capability> {
    // A reload may come to bind a port below 1024.
    let mut needed = vec![Capability::BindService];
    if config.unix.group.is_some() || config.admin_access.group.is_some() {
        needed.push(Capability::Chown);
    }
    if rustix::process::geteuid().is_root() {
        // Whoever lets root serve the files of others means it; `files` says which.
        needed.push(Capability::OtherUsersFiles);
    }
    needed
}

/// Lists the places that are left: those of the system, the configuration and what it names.
fn places(config: &Config, file: &Path, program: &Path) -> Vec<PathGrant> {
    let mut places = Vec::new();
    let mut add = |path: &Path, reach| places.push(PathGrant::new(path, reach));
    SYSTEM.iter().for_each(|path| add(Path::new(path), Reach::Read));
    LIBRARIES.iter().for_each(|path| add(Path::new(path), Reach::Run));
    DEVICES.iter().for_each(|path| add(Path::new(path), Reach::Write));
    if let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        add(Path::new(&dir), Reach::Read);
    }
    // The directories, since files are replaced.
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
    places.extend(config.places().into_iter().map(|(_, place)| place));
    // A host has some of the places of the system, and what the configuration lacks is reported by
    // whoever reads it.
    places.retain(|place| place.path.exists());
    places
}

/// Opens the places. A process before this one may serve meanwhile: what its handlers may write to, they
/// may be changing now.
fn ground(config: &Config, places: &[PathGrant]) -> Result<LandlockRules> {
    LandlockRules::new(places, &config::untrusted(&config.handlers)?)
}

/// Makes a directory of ours that is not there yet, so that it can be a place.
fn made(dir: PathBuf) -> PathBuf {
    // Whoever needs it says why it cannot be made.
    let _made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    dir
}

/// Says in a word what a process is confined to.
fn mark(places: Option<&[PathGrant]>, syscalls: bool) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_PKG_VERSION"), syscalls).hash(&mut hasher);
    for place in places.unwrap_or_default() {
        place.to_string().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
