//! `handler.NAME.tmp`: a directory that each job has to itself.

use super::model::Mount;
use super::report::Report;
use super::schema;
use super::values;
use crate::job::Env;

/// What jobs call the directory.
const GUEST: &str = "/tmp";

/// The variable by which programs find it (POSIX, Environment Variables).
const VARIABLE: &str = "TMPDIR";

/// How much a job may have there: room for a few files, up to 1 TiB.
const SIZES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 40;

/// Reads how many bytes each job may have in a directory of its own.
pub(super) fn read(handler: &schema::Handler, mounts: &[Mount], report: &Report<'_>) -> Option<u64> {
    report.settle(handler.tmp.as_ref(), None, |scalar| {
        let bytes = values::size(SIZES)(scalar)?;
        if mounts.iter().any(|mount| mount.guest == GUEST) {
            return Err(format!("something is mounted at {GUEST} already: leave one of them out"));
        }
        match &handler.reuse {
            Some(_) => Err(
                "does not go with reuse: the directory is granted for one request, and an instance answers \
                            several; leave one of the keys out"
                    .to_owned(),
            ),
            None => Ok(Some(bytes)),
        }
    })
}

/// Adds the variable that says where it is, unless the handler says so itself.
pub(super) fn name(env: &mut Env) {
    if env.get(VARIABLE).is_none() {
        env.set(VARIABLE, GUEST).expect("neither has a character that a variable cannot have");
    }
}
