//! Checks the types of the functions that the daemon calls in a component.

use wasmparser::component_types::{
    ComponentDefinedType, ComponentEntityType, ComponentFuncType, ComponentValType,
};
use wasmparser::types::{Types, TypesRef};
use wasmtime::{Result, bail};

use crate::wasm::engine::exports::{HTTP_P2, HTTP_P3, PROGRAM_P2};

/// An interface that the daemon calls.
struct EntryPoint {
    /// The start of the name of the export, up to the minor version.
    interface: &'static str,
    function: &'static str,
    /// The type in WIT.
    wanted: &'static str,
    is_right: fn(TypesRef<'_>, &ComponentFuncType) -> bool,
}

const ENTRY_POINTS: [EntryPoint; 3] = [
    EntryPoint {
        interface: PROGRAM_P2,
        function: "run",
        wanted: "func() -> result",
        is_right: |types, function| {
            let result = function.result.and_then(|result| defined(types, result));
            let is_result = matches!(result, Some(ComponentDefinedType::Result { ok: None, err: None, .. }));
            !function.async_ && function.params.is_empty() && is_result
        },
    },
    EntryPoint {
        interface: HTTP_P2,
        function: "handle",
        wanted: "func(request: incoming-request, response-out: response-outparam)",
        is_right: |types, function| {
            let owned = function.params.iter().filter(|(_, ty)| is_owned(types, *ty)).count();
            !function.async_ && function.params.len() == 2 && owned == 2 && function.result.is_none()
        },
    },
    EntryPoint {
        interface: HTTP_P3,
        function: "handle",
        wanted: "async func(request: request) -> result<response, error-code>",
        is_right: |types, function| {
            let result = function.result.and_then(|result| defined(types, result));
            let is_answer = match result {
                Some(ComponentDefinedType::Result { ok: Some(ok), err: Some(_), .. }) => is_owned(types, *ok),
                _ => false,
            };
            let is_request = matches!(&*function.params, [(_, request)] if is_owned(types, *request));
            function.async_ && is_request && is_answer
        },
    },
];

/// Checks the entry points that a valid component exports.
///
/// # Errors
/// The function of one is missing, or has another type. The message names the export and the wanted type.
pub(super) fn check(types: &Types, exports: &[String]) -> Result<()> {
    let types = types.as_ref();
    for EntryPoint { interface, function, wanted, is_right } in ENTRY_POINTS {
        for export in exports.iter().filter(|export| export.starts_with(interface)) {
            let Some(item) = types.component_item_for_export(export) else { continue };
            let found = match item.ty {
                ComponentEntityType::Instance(id) => types[id].exports.get(function).map(|item| item.ty),
                _ => bail!(
                    "its export `{export}` is no interface: wanted an instance with `{function}: {wanted}`"
                ),
            };
            let is_sound = match found {
                Some(ComponentEntityType::Func(id)) => is_right(types, &types[id]),
                Some(_) | None => false,
            };
            if !is_sound {
                let has = if found.is_some() { "another type" } else { "no such function" };
                bail!(
                    "its export `{export}` has {has} for `{function}`: wanted `{function}: {wanted}`; build it \
                     with current bindings of WASI"
                );
            }
        }
    }
    Ok(())
}

fn defined<'a>(types: TypesRef<'a>, ty: ComponentValType) -> Option<&'a ComponentDefinedType> {
    match ty {
        ComponentValType::Type(id) => types.get(id),
        ComponentValType::Primitive(_) => None,
    }
}

fn is_owned(types: TypesRef<'_>, ty: ComponentValType) -> bool {
    matches!(defined(types, ty), Some(ComponentDefinedType::Own(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::engine::engine_kind::Surface;

    /// A component that exports an interface with one function.
    fn exporting(interface: &str, function: &str, params: &str, result: &str, canonical: &str) -> Vec<u8> {
        wat::parse_str(format!(
            r#"(component
                (import "x" (instance $x (export "r" (type (sub resource)))))
                (alias export $x "r" (type $r))
                (core module $m (func (export "f") {canonical}) (memory (export "m") 1))
                (core instance $i (instantiate $m))
                (func $f {params} {result} (canon lift (core func $i "f")))
                (instance $e (export "{function}" (func $f)))
                (export "{interface}" (instance $e)))"#
        ))
        .unwrap()
    }

    fn told(component: &[u8]) -> Result<(), String> {
        let types = wasmparser::Validator::new().validate_all(component).unwrap();
        check(&types, &Surface::of(component).unwrap().exports).map_err(|error| error.to_string())
    }

    #[test]
    fn a_program_returns_a_result_and_takes_nothing() {
        let run = |function, params, result, canonical| {
            told(&exporting("wasi:cli/run@0.2.3", function, params, result, canonical))
        };

        assert_eq!(run("run", "", "(result (result))", "(result i32) (i32.const 0)"), Ok(()));
        for (function, params, result, canonical, has) in [
            ("run", "", "(result u32)", "(result i32) (i32.const 0)", "another type"),
            ("run", "", "", "", "another type"),
            (
                "run",
                "(param \"a\" u32)",
                "(result (result))",
                "(param i32) (result i32) (i32.const 0)",
                "another type",
            ),
            ("walk", "", "(result (result))", "(result i32) (i32.const 0)", "no such function"),
        ] {
            let refusal = run(function, params, result, canonical).unwrap_err();
            assert!(refusal.contains("`wasi:cli/run@0.2.3`") && refusal.contains(has), "{refusal}");
            assert!(refusal.contains("wanted `run: func() -> result`"), "{refusal}");
        }
    }

    #[test]
    fn a_handler_of_http_takes_what_it_is_given() {
        let handle = |params, result, canonical| {
            told(&exporting("wasi:http/incoming-handler@0.2.0", "handle", params, result, canonical))
        };
        let two = "(param \"request\" (own $r)) (param \"response-out\" (own $r))";

        assert_eq!(handle(two, "", "(param i32 i32)"), Ok(()));
        for (params, result, canonical) in [
            ("(param \"a\" u32) (param \"b\" u32)", "", "(param i32 i32)"),
            ("(param \"request\" (own $r))", "", "(param i32)"),
            (two, "(result u32)", "(param i32 i32) (result i32) (i32.const 0)"),
        ] {
            let refusal = handle(params, result, canonical).unwrap_err();
            assert!(refusal.contains("`wasi:http/incoming-handler@0.2.0`"), "{refusal}");
            assert!(refusal.contains("response-out: response-outparam"), "{refusal}");
        }
        let later = exporting("wasi:http/handler@0.3.0", "handle", "", "", "");
        assert!(told(&later).unwrap_err().contains("wanted `handle: async func(request: request)"));
    }

    #[test]
    fn an_export_that_is_no_interface_is_refused_and_other_exports_are_free() {
        let function = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f"))) (export "NAME" (func $f)))"#;
        let named = |name: &str| told(&wat::parse_str(function.replace("NAME", name)).unwrap());

        assert!(named("wasi:cli/run@0.2.0").unwrap_err().contains("is no interface"));
        assert_eq!(named("anything"), Ok(()));
    }
}
