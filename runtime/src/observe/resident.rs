//! How much memory the process and the machine have.

/// Reads the bytes of memory that the process has in RAM; none: the kernel does not say.
pub fn resident() -> Option<u64> {
    read("/proc/self/status", "VmRSS:")
}

/// Reads the bytes of memory that the machine has; none: the kernel does not say.
pub fn machine() -> Option<u64> {
    read("/proc/meminfo", "MemTotal:")
}

/// Says how many bytes of memory this machine has for what is started now.
pub fn available() -> Option<u64> {
    read("/proc/meminfo", "MemAvailable:")
}

/// Reads a line of proc_pid_status(5) or proc_meminfo(5), which are in units of 1024 bytes.
fn read(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|size| size << 10)
}
