//! Memory figures of the process and the machine.

/// Returns the process's memory in RAM, in bytes. `None` if the kernel does not report it.
pub fn resident() -> Option<u64> {
    read("/proc/self/status", "VmRSS:")
}

/// Returns the machine's memory, in bytes. `None` if the kernel does not report it.
pub fn machine() -> Option<u64> {
    read("/proc/meminfo", "MemTotal:")
}

/// Returns the machine's memory that is available to new programs, in bytes.
pub fn available() -> Option<u64> {
    read("/proc/meminfo", "MemAvailable:")
}

/// Reads a line of proc_pid_status(5) or proc_meminfo(5). Both use units of 1024 bytes.
fn read(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|size| size << 10)
}
