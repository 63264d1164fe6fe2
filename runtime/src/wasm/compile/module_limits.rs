//! The limits on compiling one module.

use std::time::Duration;

/// The limits of one compilation. Sizes are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompileLimits {
    /// CPU time; whole seconds.
    pub cpu: Duration,
    /// Address space of the compiler process.
    pub memory: u64,
    /// Size of the module file.
    pub module: u64,
    /// Size of the largest function.
    pub function: u64,
    /// Number of functions of all modules in a file.
    pub functions: u64,
    /// Number of locals of all functions.
    pub locals: u64,
    /// Number of types of all modules in a file.
    pub types: u64,
}

impl CompileLimits {
    /// The highest `module` that a configuration may set.
    pub const LARGEST_MODULE: u64 = 1 << 30;

    /// Limits for a module that a user runs at a terminal. It may take what it needs, like any program there.
    pub const GENEROUS: CompileLimits = CompileLimits {
        cpu: Duration::from_secs(300),
        memory: 4 << 30,
        module: CompileLimits::LARGEST_MODULE,
        function: 16 << 20,
        functions: 2_000_000,
        locals: 50_000_000,
        types: 500_000,
    };

    /// Returns the wall time limit of the compiler, which ends a compiler that hangs. It is long because the
    /// compiler runs at low priority, and a busy host is no reason to end it.
    pub fn wall(&self) -> Duration {
        (self.cpu * 10).max(Duration::from_secs(300))
    }
}

impl Default for CompileLimits {
    fn default() -> CompileLimits {
        CompileLimits {
            // Twice the time that the largest tested program (GCC's cc1plus) takes on two busy cores.
            cpu: Duration::from_secs(60),
            memory: 2 << 30,
            // A component that contains all of CPython has about 40 MiB.
            module: 64 << 20,
            // CPython's interpreter loop has some 70 KiB. The cost of compiling grows faster than the size of a
            // function.
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
