//! How much memory the process has.

/// Reads the bytes of memory that the process has in RAM; none: the kernel does not say.
pub fn resident() -> Option<u64> {
    // proc_pid_status(5): in units of 1024 bytes.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|size| size << 10)
}
