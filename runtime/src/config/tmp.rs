//! Reads `handler.NAME.tmp`: a directory of its own for each job.

use super::model::MountConfig;
use super::report::Diagnostics;
use super::schema;
use super::values;
use crate::job::Env;

/// The guest path of the directory.
const GUEST: &str = "/tmp";

/// The variable that names it (POSIX, Environment Variables).
const VARIABLE: &str = "TMPDIR";

/// The range of its size: room for a few files, up to 1 TiB.
const SIZES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 40;

/// Reads the size limit of each job's own directory, in bytes.
pub(super) fn read(
    handler: &schema::Handler,
    mounts: &[MountConfig],
    report: &Diagnostics<'_>,
) -> Option<u64> {
    report.settle(handler.tmp.as_ref(), None, |scalar| {
        let bytes = values::size(SIZES)(scalar)?;
        if mounts.iter().any(|mount| mount.guest == GUEST) {
            return Err(format!("something is mounted at {GUEST} already: leave one of them out"));
        }
        match &handler.reuse {
            Some(_) => Err(
                "cannot be combined with reuse: the directory is granted for one request, and an instance answers \
                            several; leave one of the keys out"
                    .to_owned(),
            ),
            None => Ok(Some(bytes)),
        }
    })
}

/// Adds the variable that names the directory, unless the handler sets it.
pub(super) fn name(env: &mut Env) {
    if env.get(VARIABLE).is_none() {
        env.set(VARIABLE, GUEST).expect("neither has a character that a variable cannot have");
    }
}
