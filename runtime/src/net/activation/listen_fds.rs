//! The environment variables that announce passed sockets (sd_listen_fds(3)).

use std::ffi::OsString;
use std::fmt;

/// More than systemd passes to any service we know of; a larger count is a broken environment.
const MAX: u32 = 1024;
/// sd_listen_fds_with_names(3): the name of a socket without a name of its own.
const NAMELESS: &str = "unknown";

/// The content of the variables: the names of the sockets, or why no sockets were passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Announced {
    Names(Vec<String>),
    Nothing(String),
}

/// Parses the variables' values; `ours` is the pid of this process.
pub(super) fn announced(
    pid: Option<OsString>,
    fds: Option<OsString>,
    names: Option<OsString>,
    ours: u32,
) -> Result<Announced, ActivationError> {
    let (Some(pid), Some(fds)) = (pid, fds) else {
        return Ok(Announced::Nothing(
            "no sockets were passed (LISTEN_PID and LISTEN_FDS are not set)".to_owned(),
        ));
    };
    let number = |name: &str, value: &OsString| {
        value.to_str().and_then(|text| text.parse::<u32>().ok()).ok_or_else(|| {
            ActivationError(format!("{name}={value:?} is not a number: unset it, or let systemd set it"))
        })
    };
    let pid = number("LISTEN_PID", &pid)?;
    if pid != ours {
        return Ok(Announced::Nothing(format!(
            "sockets were passed to process {pid}, and this is process {ours}"
        )));
    }
    let count = number("LISTEN_FDS", &fds)?;
    if count > MAX {
        return Err(ActivationError(format!("LISTEN_FDS={count} is more than {MAX}: let systemd set it")));
    }
    if count == 0 {
        return Ok(Announced::Nothing("no sockets were passed (LISTEN_FDS=0)".to_owned()));
    }
    let Some(names) = names else {
        return Ok(Announced::Names((0..count).map(|_| NAMELESS.to_owned()).collect()));
    };
    let names: Vec<String> = names.to_string_lossy().split(':').map(str::to_owned).collect();
    if names.len() != count as usize {
        let found = names.len();
        return Err(ActivationError(format!(
            "LISTEN_FDS={count}, but LISTEN_FDNAMES has {found} names: let systemd set both"
        )));
    }
    Ok(Announced::Names(names))
}

/// Why passed sockets are not available, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivationError(pub(in crate::net) String);

impl fmt::Display for ActivationError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for ActivationError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pid: &str, fds: &str, names: Option<&str>) -> Result<Announced, ActivationError> {
        announced(Some(pid.into()), Some(fds.into()), names.map(Into::into), 42)
    }

    #[test]
    fn what_is_announced_is_counted_and_named() {
        let names =
            |names: &[&str]| Ok(Announced::Names(names.iter().map(|&name| name.to_owned()).collect()));

        assert_eq!(read("42", "2", Some("api:admin")), names(&["api", "admin"]));
        assert_eq!(read("42", "2", None), names(&["unknown", "unknown"]));
        assert_eq!(read("42", "1", Some("")), names(&[""]));
    }

    #[test]
    fn what_is_not_for_us_is_nothing() {
        let nothing = |found| matches!(found, Ok(Announced::Nothing(_)));

        assert!(nothing(announced(None, None, None, 42)));
        assert!(nothing(announced(Some("42".into()), None, None, 42)));
        assert!(nothing(announced(None, Some("1".into()), None, 42)));
        assert!(nothing(read("41", "1", None)));
        assert!(nothing(read("41", "rubbish", None)));
        assert!(nothing(read("42", "0", Some("a"))));
    }

    #[test]
    fn variables_that_contradict_themselves_are_refused() {
        for (pid, fds, names) in [
            ("", "1", None),
            ("x", "1", None),
            ("-1", "1", None),
            ("42", "", None),
            ("42", "-1", None),
            ("42", "1025", None),
            ("42", "4294967296", None),
            ("42", "2", Some("a")),
            ("42", "2", Some("a:b:c")),
        ] {
            assert!(read(pid, fds, names).is_err(), "{pid:?} {fds:?} {names:?}");
        }
    }
}
