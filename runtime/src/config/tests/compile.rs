//! Tests of `[compile]`.

use super::*;
use crate::wasm::compile::CompileLimits;

#[test]
fn what_compiling_may_take_is_read_whole() {
    let text = "[compile]\ncpu = \"2m\"\nmemory = \"3GiB\"\nmodule = \"100MiB\"\nfunction = \"2MiB\"\n\
        functions = 700_000\nlocals = 6_000_000\ntypes = 60_000\n";

    let wanted = CompileLimits {
        cpu: Duration::from_secs(120),
        memory: 3 << 30,
        module: 100 << 20,
        function: 2 << 20,
        functions: 700_000,
        locals: 6_000_000,
        types: 60_000,
    };
    assert_eq!(read(text).unwrap().compile, wanted);
    assert_eq!(read("").unwrap().compile, CompileLimits::default());
}

#[test]
fn a_bound_on_compiling_that_no_kernel_keeps_is_refused_with_its_key() {
    for (line, key, message) in [
        ("cpu = \"1500ms\"", "compile.cpu", "whole seconds"),
        ("memory = \"1MiB\"", "compile.memory", "256MiB"),
        ("module = \"2GiB\"", "compile.module", "1GiB"),
        ("functions = 0", "compile.functions", "whole number"),
    ] {
        let refusal = read(&format!("[compile]\n{line}\n")).unwrap_err().join("\n");
        assert!(refusal.contains(key) && refusal.contains(message), "{refusal}");
    }
}
