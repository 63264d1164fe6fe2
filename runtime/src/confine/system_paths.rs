//! Paths that the daemon uses under any configuration.

/// Name resolution, time zones, certificates, and facts about the daemon and the processor. On Debian, `/etc/ssl/certs` links
/// to the authorities that operators have added below `/usr/local`. The client of Redis fails if it cannot read one of them.
pub const SYSTEM: [&str; 6] =
    ["/etc", "/usr/share", "/usr/local/share/ca-certificates", "/proc", "/sys", "/run/systemd/resolve"];

/// Libraries for the programs that the daemon starts: compiling children and the next process.
pub const LIBRARIES: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store"];

/// The null device and the source of random bytes.
pub const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];
