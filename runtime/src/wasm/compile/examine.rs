//! Finds the mistakes of a module that its types tell, without compiling its functions.

use wasmparser::types::Types;
use wasmparser::{Parser, Payload, Validator};
use wasmtime::{Engine, Result};

use super::{entry_points, features};
use crate::wasm::engine::binary_kind::BinaryKind;
use crate::wasm::engine::engine_kind::Surface;

/// Validates a module. Returns the compiled imports of a component, which a linker can resolve; nothing for a core
/// module.
///
/// # Errors
/// The module is invalid, needs a feature that the engines do not have, or has an entry point of a wrong type.
pub(super) fn examine(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>> {
    let kind = BinaryKind::of(wasm)?;
    let types = validated(wasm, kind)?;
    match kind {
        BinaryKind::Core => Ok(Vec::new()),
        BinaryKind::Component => {
            if let Some(surface) = Surface::of(wasm) {
                entry_points::check(&types, &surface.exports)?;
            }
            engine.precompile_component(&imports(wasm))
        }
    }
}

fn validated(wasm: &[u8], kind: BinaryKind) -> Result<Types> {
    let outcome = Validator::new_with_features(features::offered()).validate_all(wasm);
    outcome.map_err(|error| match features::lacking(wasm) {
        Some(lacking) => wasmtime::Error::msg(lacking),
        None => wasmtime::format_err!("not a valid {kind}: {error}"),
    })
}

/// Makes a component with the imports of another one and nothing else. Toolchains write imports first; those behind
/// another section are left to the compiler.
fn imports(component: &[u8]) -> Vec<u8> {
    /// Bytes of the preamble.
    const PREAMBLE: usize = 8;
    let mut alone = component[..component.len().min(PREAMBLE)].to_vec();
    for payload in Parser::new(0).parse_all(component) {
        let payload = match payload {
            Ok(Payload::Version { .. } | Payload::CustomSection(_)) => continue,
            Ok(
                payload @ (Payload::CoreTypeSection(_)
                | Payload::ComponentTypeSection(_)
                | Payload::ComponentImportSection(_)
                | Payload::ComponentAliasSection(_)),
            ) => payload,
            Ok(_) | Err(_) => break,
        };
        let Some((number, content)) = payload.as_section() else { break };
        let content = &component[content];
        alone.push(number);
        length(content.len(), &mut alone);
        alone.extend_from_slice(content);
    }
    alone
}

/// Appends a number in LEB128: seven bits a byte, the lowest first.
fn length(mut number: usize, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    to.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::engine::engine_kind::EngineKind;
    use crate::wasm::engine::settings::{self, Addressing, Stacks, Target};

    fn engine() -> Engine {
        let target =
            Target { kind: EngineKind::Sequential, stacks: Stacks::Names, addressing: Addressing::Reserved };
        Engine::new(&settings::config(target)).unwrap()
    }

    fn examined(text: &str) -> Result<Vec<u8>, String> {
        examine(&engine(), &wat::parse_str(text).unwrap()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn mistakes_within_functions_are_found_in_modules_and_components() {
        let wrong = "module (func (result i32) (i64.const 0))";

        assert!(
            examined(&format!("({wrong})")).unwrap_err().starts_with("not a valid module: type mismatch")
        );
        let inner = examined(&format!("(component (core {wrong}))")).unwrap_err();
        assert!(inner.starts_with("not a valid component: type mismatch"), "{inner}");
        assert!(examined("(module (memory 1 1 shared))").unwrap_err().starts_with("uses threads"));
        assert_eq!(examined("(module (func))"), Ok(Vec::new()));
    }

    #[test]
    fn the_imports_of_a_component_are_kept_with_the_types_that_they_need() {
        let text = r#"(component
            (type $t (instance (export "r" (type (sub resource)))))
            (import "one" (instance $one (type $t)))
            (alias export $one "r" (type $r))
            (import "two" (func (param "a" (own $r))))
            (core module $m (func))
            (import "late" (func)))"#;

        let alone = imports(&wat::parse_str(text).unwrap());

        let types = Validator::new().validate_all(&alone).unwrap();
        let types = types.as_ref();
        assert!(["one", "two"].iter().all(|name| types.component_item_for_import(name).is_some()));
        assert!(types.component_item_for_import("late").is_none());
        assert!(!examined(text).unwrap().is_empty());
    }

    #[test]
    fn a_length_is_written_as_the_format_wants_it() {
        let written = |number| {
            let mut bytes = Vec::new();
            length(number, &mut bytes);
            bytes
        };

        assert_eq!([written(0), written(127), written(128)], [vec![0], vec![127], vec![0x80, 1]]);
        assert_eq!(written(624_485), [0xe5, 0x8e, 0x26]);
    }
}
