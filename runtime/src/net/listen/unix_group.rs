//! The Unix group whose members may connect to a socket.

use anyhow::{Context, bail};
use rustix::fs::Gid;

/// Finds a group by name or number.
///
/// A number needs no entry in `/etc/group`: a container does not list the groups of its host. The file is read
/// directly, because NSS would load code into the daemon.
pub(super) fn find(group: &str) -> anyhow::Result<Gid> {
    if let Ok(number) = group.parse::<u32>() {
        // chown(2): -1 means "leave the group alone".
        if number == u32::MAX {
            bail!("group {group:?}: the largest number is not a group: write a name or another number");
        }
        return Ok(Gid::from_raw(number));
    }
    let text = std::fs::read("/etc/group")
        .with_context(|| format!("group {group:?}: /etc/group cannot be read: write the group's number"))?;
    match lookup(&String::from_utf8_lossy(&text), group) {
        Some(gid) => Ok(gid),
        None => bail!("group {group:?} not found in /etc/group: create it, or write the group's number"),
    }
}

/// Checks that a socket of this process can be given to a group.
///
/// # Errors
/// The group does not exist, or this process may not give it a socket. The error says what to do.
pub fn examine(group: &str) -> anyhow::Result<()> {
    let gid = find(group)?;
    let root = rustix::process::geteuid().is_root();
    if !root && gid != rustix::process::getegid() && !rustix::process::getgroups()?.contains(&gid) {
        bail!("group {group:?}: join the group, or run as root");
    }
    Ok(())
}

/// Reads lines of group(5): `name:password:gid:members`.
fn lookup(text: &str, group: &str) -> Option<Gid> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid: u32 = fields.nth(1)?.parse().ok()?;
        (name == group && gid != u32::MAX).then(|| Gid::from_raw(gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_among_broken_lines() {
        let text = "root:x:0:\n\n#docker\ndocker\nweb:x:notanumber:\nweb:x:33:alice,bob\n";

        assert_eq!(lookup(text, "web"), Some(Gid::from_raw(33)));
        assert_eq!(lookup(text, "root"), Some(Gid::ROOT));
        assert_eq!(lookup(text, "docker"), None);
        assert_eq!(lookup(text, ""), None);
    }

    #[test]
    fn any_number_is_a_group_but_the_largest() {
        assert_eq!(find("54321").unwrap(), Gid::from_raw(54321));
        assert!(find("4294967295").is_err());
    }

    #[test]
    fn an_unknown_name_is_refused_by_name() {
        let refusal = find("no such group").unwrap_err().to_string();

        assert!(refusal.starts_with("group \"no such group\" not found in /etc/group"), "{refusal}");
    }
}
