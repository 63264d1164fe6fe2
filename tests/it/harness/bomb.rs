//! A module that is expensive to compile, for the tests and the reliability figures.

use std::fmt::Write as _;

/// Makes a module that needs more memory to compile than the compiler gets, although its parts are few and small. It
/// has one function below 1 MiB, which sets its locals again after each of its branches.
pub(crate) fn bomb() -> Vec<u8> {
    dear("", "_start")
}

/// Makes such a module with these imports; its function is exported under this name.
pub(crate) fn dear(imports: &str, export: &str) -> Vec<u8> {
    wat::parse_str(dear_text(imports, export, "")).expect("it is well-formed")
}

/// Returns the text of such a module, with more functions at its end.
pub(crate) fn dear_text(imports: &str, export: &str, more: &str) -> String {
    const LOCALS: usize = 9999;
    const BRANCHES: usize = 75_000;
    let locals = " i32".repeat(LOCALS);
    let code = (0..BRANCHES).fold(String::new(), |mut code, number| {
        let (from, to) = (number % LOCALS, number * 7 % LOCALS);
        let _infallible =
            writeln!(code, "(local.set {to} (local.get {from})) (if (i32.const 0) (then (call $f)))");
        code
    });
    format!("(module {imports} (func $f (export \"{export}\") (local{locals}) {code}) {more})")
}
