//! The command line of the compiler process: its subcommand, its flags and its work.

/// What the child does with a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Compile it.
    Compile,
    /// Find its mistakes, and compile only what tells its imports.
    Examine,
}

/// The subcommand that makes our executable a compiler process.
pub const VERB: &str = "compile-worker";

/// The flag for code that runs in stores with several concurrent calls.
pub const CONCURRENT: &str = "concurrent";

/// The flag for code with debug information: source files and lines.
pub const LINES: &str = "lines";

/// The flag for code that checks each memory access against the end of its memory.
pub const COMPARED: &str = "compared";

/// The flag to find mistakes without compiling.
pub const EXAMINE: &str = "examine";

/// The flag with the CPU time limit in seconds.
pub const CPU: &str = "cpu";

/// The flag with the address space limit in bytes.
pub const MEMORY: &str = "memory";

/// The flag with the size limit of a module in bytes.
pub const MODULE: &str = "module";
