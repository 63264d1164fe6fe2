//! Names the WebAssembly feature that a refused module needs, in the words of application developers.

use wasmparser::{Validator, WasmFeatures};

/// A feature that is disabled, and advice for a module that needs it.
struct DisabledFeature {
    feature: WasmFeatures,
    what: &'static str,
    advice: &'static str,
}

const LEGACY: &str = "build with -mllvm -wasm-use-legacy-eh=false, or have them translated by `wasm-opt --translate-to-exnref`";

const THREADS: &str = "build for wasm32-wasip1 or wasm32-wasip2, not for a target with threads, without -pthread and \
    --shared-memory; jobs run beside one another, each in one thread";

/// The unfinished parts of the component model.
const UNFINISHED: WasmFeatures = WasmFeatures::CM_VALUES
    .union(WasmFeatures::CM_NESTED_NAMES)
    .union(WasmFeatures::CM_ASYNC_STACKFUL)
    .union(WasmFeatures::CM_MORE_ASYNC_BUILTINS)
    .union(WasmFeatures::CM_THREADING)
    .union(WasmFeatures::CM_ERROR_CONTEXT)
    .union(WasmFeatures::CM_GC)
    .union(WasmFeatures::CM_MAP)
    .union(WasmFeatures::CM64)
    .union(WasmFeatures::CM_FIXED_LENGTH_LISTS)
    .union(WasmFeatures::CM_IMPLEMENTS)
    .union(WasmFeatures::CM_CANON_NAMES);

/// The disabled features. If a module needs several, the first is reported.
const ABSENT: [DisabledFeature; 9] = [
    DisabledFeature {
        feature: WasmFeatures::LEGACY_EXCEPTIONS,
        what: "exceptions in the encoding of before 2025 (try, catch)",
        advice: LEGACY,
    },
    DisabledFeature {
        feature: WasmFeatures::THREADS,
        what: "threads (shared memory, atomic operations)",
        advice: THREADS,
    },
    DisabledFeature {
        feature: WasmFeatures::SHARED_EVERYTHING_THREADS,
        what: "threads (shared functions, tables and globals)",
        advice: THREADS,
    },
    DisabledFeature {
        feature: WasmFeatures::STACK_SWITCHING,
        what: "stack switching (cont, resume, suspend)",
        advice: "have the compiler make state machines of coroutines, as Go and Asyncify do",
    },
    DisabledFeature {
        feature: WasmFeatures::GC,
        what: "garbage collection by WebAssembly (struct, array)",
        advice: "compilers to it, as those of Kotlin, Dart, Java and Scheme are, cannot be used; those that bring a collector \
            of their own can, as Go's and AssemblyScript's do",
    },
    DisabledFeature {
        feature: WasmFeatures::CUSTOM_PAGE_SIZES,
        what: "memory in pages of another size than 64 KiB",
        advice: "leave out --page-size",
    },
    DisabledFeature {
        feature: WasmFeatures::WIDE_ARITHMETIC,
        what: "arithmetic of 128 bits (i64.add128, i64.mul_wide_u)",
        advice: "leave out -mwide-arithmetic, or -C target-feature=+wide-arithmetic",
    },
    DisabledFeature {
        feature: WasmFeatures::MEMORY_CONTROL
            .union(WasmFeatures::CUSTOM_DESCRIPTORS)
            .union(WasmFeatures::COMPACT_IMPORTS),
        what: "a proposal to WebAssembly that is not finished",
        advice: "compile it without experimental features",
    },
    DisabledFeature {
        feature: UNFINISHED,
        what: "a part of the component model that is not finished",
        advice: "build it for WASI 0.2 (wasm32-wasip2) with a released toolchain",
    },
];

/// Returns the features of the engines, and any others that are neither of them nor in [`ABSENT`].
pub(super) fn offered() -> WasmFeatures {
    ABSENT.iter().fold(WasmFeatures::all(), |offered, absent| offered.difference(absent.feature))
}

/// Names the missing feature that a refused module needs. Returns `None` if the module is invalid for another reason.
///
/// Runs the validator with and without each feature. The validator's own messages use the terms of parser developers
/// and change between its versions.
pub(super) fn lacking(wasm: &[u8]) -> Option<String> {
    let is_valid = |features| Validator::new_with_features(features).validate_all(wasm).is_ok();
    if !is_valid(WasmFeatures::all()) {
        return None;
    }
    let needed = ABSENT.iter().find(|absent| !is_valid(WasmFeatures::all().difference(absent.feature)))?;
    Some(format!("uses {}, which this daemon does not have: {}", needed.what, needed.advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::compile::precompile::precompile;
    use crate::wasm::engine::engine_kind::EngineKind;
    use crate::wasm::engine::settings::{self, Addressing, Stacks, Target};

    fn compiled(text: &str) -> Result<(), String> {
        let target =
            Target { kind: EngineKind::Sequential, stacks: Stacks::Names, addressing: Addressing::Reserved };
        let engine = wasmtime::Engine::new(&settings::config(target)).unwrap();
        let module = wat::parse_str(text).unwrap();
        precompile(&engine, &module).map(drop).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_module_that_needs_what_is_off_is_told_in_a_programs_words() {
        for (text, what) in [
            ("(module (func try nop catch_all nop end))", "exceptions in the encoding of before 2025"),
            (
                "(module (tag $e) (func try nop catch $e nop end))",
                "exceptions in the encoding of before 2025",
            ),
            ("(module (memory 1 1 shared))", "threads (shared memory"),
            ("(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))", "threads (shared memory"),
            ("(module (type (struct (field i32))))", "garbage collection"),
            ("(module (type $f (func)) (type $c (cont $f)))", "stack switching"),
            ("(module (memory 1 (pagesize 1)))", "another size than 64 KiB"),
            (
                "(module (func (param i64 i64) (result i64 i64) local.get 0 local.get 1 i64.mul_wide_u))",
                "128 bits",
            ),
            ("(component (core func (canon error-context.drop)))", "component model that is not finished"),
        ] {
            let refusal = compiled(text).unwrap_err();
            assert!(refusal.starts_with("uses ") && refusal.contains(what), "{text}: {refusal}");
            assert!(!refusal.contains("proposal not enabled") && !refusal.contains("offset"), "{refusal}");
        }
    }

    #[test]
    fn what_is_on_is_as_the_page_says() {
        for text in [
            "(module (memory i64 1))",
            "(module (tag $e) (func (throw $e)))",
            "(module (func (block $b (result exnref) (try_table (catch_all_ref $b)) unreachable) drop))",
            "(module (func (param externref)))",
            "(module (memory 1) (memory 1))",
            "(module (func $f return_call $f))",
            "(module (func (result v128) (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
            "(module (func $f) (table 1 funcref) (func (result funcref) (ref.func $f)) (elem declare func $f))",
            "(module (type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0))))",
            "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
            "(module (func (result i32 i32) (i32.const 1) (i32.const 2)))",
            "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
        ] {
            assert_eq!(compiled(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_module_that_is_wrong_in_another_way_is_told_so() {
        assert!(compiled("(module (func (result i32)))").unwrap_err().contains("not a valid module"));
        assert_eq!(lacking(b"\0asm\x01\0\0\0\x01"), None);
        assert_eq!(lacking(&wat::parse_str("(module)").unwrap()), None);
    }
}
