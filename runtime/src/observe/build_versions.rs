//! Versions that this program was built from.

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The abbreviated commit it was built from; `None` if it was built outside its repository.
pub const COMMIT: Option<&str> = option_env!("PORTCULLIS_BUILT_OF");

/// The version of wasmtime that is linked in.
pub const WASMTIME: &str = env!("PORTCULLIS_WASMTIME");
