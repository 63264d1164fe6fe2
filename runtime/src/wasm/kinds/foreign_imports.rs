//! Advice for modules with imports that the daemon does not provide, such as Emscripten's or Go's for browsers.

/// The number of imports that a message names.
const NAMED: usize = 6;

/// Lists imports for a message: the first few, and the number of the others.
pub(in crate::wasm) fn named(imports: &[(&str, &str)]) -> String {
    let names: Vec<String> =
        imports.iter().take(NAMED).map(|(module, name)| format!("{module}::{name}")).collect();
    match imports.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Returns advice on how to rebuild a module, or `None` if its imports match no known toolchain.
pub(in crate::wasm) fn advice(imports: &[(&str, &str)]) -> Option<&'static str> {
    let any = |test: fn(&str, &str) -> bool| imports.iter().any(|(module, name)| test(module, name));
    if any(|module, name| module == "wasi" && name == "thread-spawn") {
        return Some(
            "it starts threads (wasi-threads), which are not supported: build for wasm32-wasip1, not for a target with \
             threads, and without -pthread",
        );
    }
    if any(|module, _| module == "wasi_unstable") {
        return Some(
            "this is WASI as of 2019 (preview 0): build it with a current toolchain for wasm32-wasip1 (Rust, Zig, Go's \
             GOOS=wasip1, wasi-sdk 7 or later)",
        );
    }
    if any(|module, _| module.starts_with("wasi:")) {
        return Some(
            "this is WASI 0.2 in a core module, which is not a component yet: build for wasm32-wasip2, or run \
             `wasm-tools component new` on it",
        );
    }
    if any(|module, _| module.starts_with("wasix_")) {
        return Some("this is WASIX: build for wasm32-wasip1");
    }
    if any(|module, _| module == "gojs" || module == "go") {
        return Some("this is Go for browsers: build with GOOS=wasip1 GOARCH=wasm");
    }
    if any(|module, _| module.starts_with("__wbindgen") || module == "wbg") {
        return Some(
            "this is built by wasm-bindgen, for browsers: build for wasm32-wasip1, without wasm-bindgen",
        );
    }
    if any(|module, name| module == "env" && name == "memory") {
        return Some("it imports its memory: link without --import-memory");
    }
    if any(|module, name| {
        let emscripten = ["emscripten_", "_emscripten_", "__syscall_", "invoke_", "__cxa_"];
        module == "env" && emscripten.iter().any(|prefix| name.starts_with(prefix))
    }) {
        return Some(
            "this needs the JavaScript that emscripten generates: build with wasi-sdk, or with -sSTANDALONE_WASM",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_imports_tells_how_it_was_built() {
        for (module, name, told) in [
            ("wasi", "thread-spawn", "wasi-threads"),
            ("wasi_unstable", "fd_write", "preview 0"),
            ("wasi:http/types@0.2.0", "[method]fields.append", "wasm32-wasip2"),
            ("wasix_32v1", "proc_fork", "WASIX"),
            ("gojs", "runtime.wasmExit", "GOOS=wasip1"),
            ("wbg", "__wbg_alert", "wasm-bindgen"),
            ("env", "memory", "--import-memory"),
            ("env", "emscripten_resize_heap", "emscripten"),
        ] {
            let advice = advice(&[("other", "x"), (module, name)]).unwrap();
            assert!(advice.contains(told), "{advice}");
        }
        assert_eq!(advice(&[("env", "anything")]), None);
    }

    #[test]
    fn many_imports_are_named_in_part() {
        assert_eq!(named(&[("a", "b"), ("c", "d")]), "a::b, c::d");
        assert_eq!(named(&[("a", "b"); 60]), format!("{} and 54 more", ["a::b"; 6].join(", ")));
    }
}
