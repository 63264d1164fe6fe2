//! Of what this program was built.

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built of, in short; `None` where it was not built in its repository.
pub const COMMIT: Option<&str> = option_env!("PORTCULLIS_BUILT_OF");

/// The version of wasmtime in it.
pub const WASMTIME: &str = env!("PORTCULLIS_WASMTIME");
