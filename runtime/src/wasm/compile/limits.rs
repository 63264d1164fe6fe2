//! What compiling one module may take.

use std::time::Duration;

/// The bounds of one compilation. Sizes are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompileLimits {
    /// Time on a processor; whole seconds.
    pub cpu: Duration,
    /// Address space of the compiler.
    pub memory: u64,
    /// The file of a module.
    pub module: u64,
    /// The largest function of a module.
    pub function: u64,
    /// Functions of all modules in a file.
    pub functions: u64,
    /// Locals of all functions.
    pub locals: u64,
    /// Types of all modules in a file.
    pub types: u64,
}

impl CompileLimits {
    /// The largest module that any configuration takes.
    pub const LARGEST_MODULE: u64 = 1 << 30;

    /// Bounds for a module that its user names at a terminal: it may take what it needs, as a program there may.
    pub const GENEROUS: CompileLimits = CompileLimits {
        cpu: Duration::from_secs(300),
        memory: 4 << 30,
        module: CompileLimits::LARGEST_MODULE,
        function: 16 << 20,
        functions: 2_000_000,
        locals: 50_000_000,
        types: 500_000,
    };

    /// How long the compiler may take by the clock. It runs at the least priority, so that a busy host is no
    /// reason to end it; this ends a compiler that hangs.
    pub fn wall(&self) -> Duration {
        (self.cpu * 10).max(Duration::from_secs(300))
    }
}

impl Default for CompileLimits {
    fn default() -> CompileLimits {
        CompileLimits {
            // Twice what the largest program that was tried takes on two busy cores (GCC's cc1plus).
            cpu: Duration::from_secs(60),
            memory: 2 << 30,
            // A component with a whole CPython in it has about 40 MiB.
            module: 64 << 20,
            // CPython's interpreter loop has some 70 KiB; what a compiler needs grows faster than a function.
            function: 1 << 20,
            functions: 100_000,
            locals: 5_000_000,
            types: 50_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_under_systemd_may_take_longer_than_a_compiler() {
        let unit = include_str!("../../../systemd/portcullis.service");
        let start = unit.lines().find_map(|line| line.strip_prefix("TimeoutStartSec=")).unwrap();

        let start = Duration::from_secs(start.parse().unwrap());

        assert!(start > CompileLimits::default().wall(), "{start:?}");
    }
}
