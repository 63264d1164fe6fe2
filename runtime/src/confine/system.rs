//! The places in the file system that the daemon uses whatever it is told to do.

/// Names and addresses, time zones, certificates; the daemon itself and the processor.
pub const SYSTEM: [&str; 5] = ["/etc", "/usr/share", "/proc", "/sys", "/run/systemd/resolve"];

/// What a program is made of when it is started: the children that compile, and the next process.
pub const LIBRARIES: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store"];

/// Where streams lead that lead nowhere, and where chance comes from.
pub const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];
