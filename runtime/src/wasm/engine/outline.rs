//! The imports and the entry point of a core module, read before it is compiled.

use wasmparser::{CompositeInnerType, Export, ExternalKind, FuncType, Parser, Payload, SubType, TypeRef};
use wasmtime::{Result, bail, ensure};

/// The error for a module without a `_start` function.
const NO_START: &str = "exports no `_start` function: build it as a program with a `main`, not as a library";

/// The import module of WASI preview 1.
pub(in crate::wasm) const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// The imports of a core module and its entry point.
#[derive(Default)]
pub(in crate::wasm) struct Outline {
    /// Imports, as pairs of module and name.
    pub(in crate::wasm) imports: Vec<(String, String)>,
    /// The type section. An entry is `None` if the type is not a function.
    types: Vec<Option<FuncType>>,
    /// The type index of each function, imported functions first.
    functions: Vec<u32>,
    /// The index of the function that is exported as `_start`.
    start: Option<u32>,
    /// Whether it exports a memory under the name that WASI wants.
    exports_memory: bool,
}

impl Outline {
    /// Reads a core module up to its code section. Returns `None` if it cannot be parsed; the compiler reports why.
    pub(in crate::wasm) fn of(module: &[u8]) -> Option<Outline> {
        let mut outline = Outline::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                // Exports come before the code; nothing after it is needed here.
                Payload::CodeSectionStart { .. } => break,
                payload => outline.at(payload)?,
            }
        }
        Some(outline)
    }

    /// Reads one section. Returns `None` if it cannot be parsed.
    fn at(&mut self, payload: Payload<'_>) -> Option<()> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    self.types.extend(group.ok()?.into_types().map(function));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.ok()?;
                    self.imports.push((import.module.to_owned(), import.name.to_owned()));
                    self.functions.extend(imported_function(import.ty));
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.functions.push(ty.ok()?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.ok()?;
                    self.start = self.start.or_else(|| entry_point(export));
                    self.exports_memory |= export.kind == ExternalKind::Memory && export.name == "memory";
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Checks the type of the entry point.
    ///
    /// # Errors
    /// `_start` is missing or is not `fn()`. A `_start` whose type index does not exist passes: the
    /// compiler reports it.
    pub(in crate::wasm) fn check_start(&self) -> Result<()> {
        let Some(start) = self.start else { bail!(NO_START) };
        let of = |index: u32| usize::try_from(index).ok();
        let ty = of(start).and_then(|start| self.functions.get(start)).and_then(|ty| of(*ty));
        if let Some(Some(ty)) = ty.and_then(|ty| self.types.get(ty)) {
            ensure!(
                ty.params().is_empty() && ty.results().is_empty(),
                "its `_start` takes parameters or returns values: a command's does neither"
            );
        }
        Ok(())
    }

    /// Checks that the functions of WASI find the memory that their arguments point into.
    ///
    /// # Errors
    /// The module imports such a function, and exports no memory.
    pub(in crate::wasm) fn check_memory(&self) -> Result<()> {
        let imported = self.imports.iter().find(|(module, _)| module == PREVIEW_1);
        match imported {
            Some((module, name)) if !self.exports_memory => bail!(
                "exports no memory `memory`, in which `{module}::{name}` finds its arguments: link it as a program of \
                 WASI, or with --export-memory"
            ),
            Some(_) | None => Ok(()),
        }
    }
}

/// Returns the function type, or `None` for any other type.
fn function(ty: SubType) -> Option<FuncType> {
    match ty.composite_type.inner {
        CompositeInnerType::Func(function) => Some(function),
        _ => None,
    }
}

/// Returns the type index of an imported function, or `None` for any other import.
fn imported_function(ty: TypeRef) -> Option<u32> {
    match ty {
        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => Some(ty),
        TypeRef::Table(_) | TypeRef::Memory(_) | TypeRef::Global(_) | TypeRef::Tag(_) => None,
    }
}

/// Returns the index of the function if this export is `_start`.
fn entry_point(Export { name, kind, index }: Export<'_>) -> Option<u32> {
    let is_function = matches!(kind, ExternalKind::Func | ExternalKind::FuncExact);
    (is_function && name == "_start").then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(text: &str) -> Result<(), String> {
        let outline = Outline::of(&wat::parse_str(text).unwrap()).unwrap();
        outline.check_start().map_err(|error| error.to_string())
    }

    #[test]
    fn an_entry_point_is_a_function_of_nothing() {
        assert_eq!(start(r#"(module (import "a" "b" (func (param i32))) (func (export "_start")))"#), Ok(()));
        for none in [
            "(module)",
            r#"(module (func (export "_initialize")))"#,
            r#"(module (memory (export "_start") 1))"#,
        ] {
            assert_eq!(start(none), Err(NO_START.to_owned()));
        }
        let odd = r#"(module (type (func)) (func (export "_start") (result i32) (i32.const 0)))"#;
        assert!(start(odd).unwrap_err().contains("takes parameters"));
    }

    #[test]
    fn a_program_that_calls_wasi_exports_its_memory() {
        let told = |text: &str| {
            let outline = Outline::of(&wat::parse_str(text).unwrap()).unwrap();
            outline.check_memory().map_err(|error| error.to_string())
        };
        let import = r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#;

        for none in
            ["(memory 1)", r#"(memory (export "mem") 1)"#, r#"(global (export "memory") i32 (i32.const 0))"#]
        {
            let refusal = told(&format!("(module {import} {none})")).unwrap_err();
            assert!(
                refusal.contains("wasi_snapshot_preview1::proc_exit") && refusal.contains("--export-memory")
            );
        }
        assert_eq!(told(&format!(r#"(module {import} (memory (export "memory") 1))"#)), Ok(()));
        assert_eq!(told("(module)"), Ok(()));
    }

    #[test]
    fn imports_are_listed_and_what_cannot_be_read_is_left_to_the_compiler() {
        let module = wat::parse_str(
            r#"(module (import "a" "b" (func)) (import "c" "d" (memory 1)) (func (export "_start")))"#,
        );
        let pair = |module: &str, name: &str| (module.to_owned(), name.to_owned());

        let outline = Outline::of(&module.unwrap()).unwrap();

        assert_eq!(outline.imports, [pair("a", "b"), pair("c", "d")]);
        assert!(Outline::of(b"\0asm\x01\0\0\0\x01").is_none());
    }
}
