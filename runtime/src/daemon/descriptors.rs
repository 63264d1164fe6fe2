//! How many connections the file descriptors of the process allow.

use anyhow::{Result, bail};
use rustix::process::{Resource, getrlimit};

use crate::config::HttpLimits;

/// Descriptors that are kept from connections: 64 for those of operators, as many for sockets that
/// listen, the log, modules and mounts. Half of them, where there are few.
const RESERVE: usize = 128;

/// The most connections unless more are asked for: they are cheap, but not free.
const DEFAULT_MOST: usize = 32 << 10;

/// How many connections there may be, in all and of one address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Most {
    pub(super) connections: usize,
    pub(super) of_one: usize,
}

/// Says how many connections there may be. Unless it is configured, half of the descriptors the process
/// may have: the other half is for files and mounts of jobs.
///
/// # Errors
/// More are asked for than there can be descriptors for.
pub(super) fn connections(http: &HttpLimits) -> Result<Most> {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    most(http, usize::try_from(descriptors).unwrap_or(usize::MAX))
}

fn most(http: &HttpLimits, descriptors: usize) -> Result<Most> {
    let reserve = RESERVE.min(descriptors / 2);
    let connections = match http.connections {
        Some(wanted) if wanted > descriptors - reserve => bail!(
            "http.connections: {wanted} connections need {} file descriptors, and this process may have \
             {descriptors}: allow it more (LimitNOFILE= in its unit, `ulimit -n` in a shell), or ask for {} at most",
            wanted + reserve,
            descriptors - reserve
        ),
        Some(wanted) => wanted,
        None => (descriptors / 2).clamp(1, DEFAULT_MOST),
    };
    Ok(Most { connections, of_one: http.connections_per_peer.unwrap_or(connections.div_ceil(2)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(connections: Option<usize>, connections_per_peer: Option<usize>) -> HttpLimits {
        HttpLimits { connections, connections_per_peer, ..HttpLimits::default() }
    }

    #[test]
    fn half_of_the_descriptors_are_for_connections_and_half_of_those_for_one_address() {
        let found = |descriptors| most(&asked(None, None), descriptors).unwrap();

        assert_eq!(found(1024), Most { connections: 512, of_one: 256 });
        assert_eq!(found(1 << 30), Most { connections: DEFAULT_MOST, of_one: DEFAULT_MOST / 2 });
        assert_eq!(found(3), Most { connections: 1, of_one: 1 });
    }

    #[test]
    fn connections_are_allowed_up_to_the_reserve_and_refused_one_beyond() {
        let at = most(&asked(Some(1024 - RESERVE), Some(7)), 1024);
        let beyond = most(&asked(Some(1024 - RESERVE + 1), Some(7)), 1024);

        assert_eq!(at.unwrap(), Most { connections: 896, of_one: 7 });
        let refusal = beyond.unwrap_err().to_string();
        assert!(
            refusal.starts_with("http.connections: 897 connections need 1025 file descriptors"),
            "{refusal}"
        );
        assert!(refusal.ends_with("or ask for 896 at most"), "{refusal}");
    }
}
