//! A module that is dear to compile, for the tests and for the measurements of reliability.

use std::fmt::Write as _;

/// Makes a module that takes a compiler more memory than it gets, and yet is of few and small parts:
/// one function below 1 MiB, whose locals are set again behind each of its branches.
pub(crate) fn bomb() -> Vec<u8> {
    dear("", "_start")
}

/// Makes such a module with these imports, which exports its function by this name.
pub(crate) fn dear(imports: &str, export: &str) -> Vec<u8> {
    const LOCALS: usize = 9999;
    const BRANCHES: usize = 75_000;
    let locals = " i32".repeat(LOCALS);
    let code = (0..BRANCHES).fold(String::new(), |mut code, number| {
        let (from, to) = (number % LOCALS, number * 7 % LOCALS);
        let _infallible =
            writeln!(code, "(local.set {to} (local.get {from})) (if (i32.const 0) (then (call $f)))");
        code
    });
    wat::parse_str(format!("(module {imports} (func $f (export \"{export}\") (local{locals}) {code}))"))
        .expect("it is well-formed")
}
