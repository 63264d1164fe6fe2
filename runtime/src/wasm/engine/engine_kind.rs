//! The kinds of engine, and the detection of the kind that a component needs.

use wasmparser::{CanonicalFunction, ComponentCanonicalSectionReader, Parser, Payload};

use super::exports::{HTTP_P2, HTTP_P3, PROGRAM_P3};

/// What the stores of an engine can do. Machine code for one kind does not load in the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineKind {
    /// Each instance runs one call at a time: core modules and components of WASI 0.2.
    Sequential,
    /// Each instance runs several calls at once: the component model's `async`, on which WASI 0.3 is built.
    Concurrent,
}

/// How a component is composed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::wasm) enum Composition {
    /// A single component: only the host can call it. A component cannot be re-entered, and the host
    /// makes one call at a time, so few of its calls wait at once.
    Whole,
    /// Components that call one another. The number of calls at once is limited by their handles alone.
    Composed,
}

/// Which entry point of WASI 0.3 a component exports.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::wasm) enum P3Export {
    /// Neither of them.
    Nothing,
    /// The component is a program; holds the name of the export.
    Program(String),
    /// The component answers HTTP; holds the name of the export.
    Service(String),
}

impl P3Export {
    /// Finds the entry point before the component is compiled. A component that also answers HTTP
    /// through 0.2 is served through 0.2, and needs nothing of 0.3.
    pub(in crate::wasm) fn of(surface: &Surface) -> P3Export {
        let names = &surface.exports;
        let find = |interface: &str| names.iter().find(|name| name.starts_with(interface)).cloned();
        if find(HTTP_P2).is_some() {
            return P3Export::Nothing;
        }
        match (find(HTTP_P3), find(PROGRAM_P3)) {
            (Some(name), _) => P3Export::Service(name),
            (None, Some(name)) => P3Export::Program(name),
            (None, None) => P3Export::Nothing,
        }
    }
}

impl Composition {
    /// Looks for inner components that lift functions of their own. Toolchains wrap exports in components as
    /// well, but those only rename. A component that cannot be parsed counts as `Composed`, the safe choice.
    pub(in crate::wasm) fn of(component: &[u8]) -> Composition {
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload {
                Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
                Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
                Ok(Payload::ComponentCanonicalSection(section)) if depth > 0 => {
                    if lifts(section) {
                        return Composition::Composed;
                    }
                }
                Ok(_) => {}
                Err(_) => return Composition::Composed,
            }
        }
        Composition::Whole
    }
}

/// Reports whether a section lifts a core function into a component function, or cannot be parsed.
fn lifts(section: ComponentCanonicalSectionReader<'_>) -> bool {
    section.into_iter().any(|function| matches!(function, Ok(CanonicalFunction::Lift { .. }) | Err(_)))
}

/// What the outermost component exports. Exports of inner components do not count.
pub(in crate::wasm) struct Surface {
    /// The names of its exports.
    pub(in crate::wasm) exports: Vec<String>,
}

impl Surface {
    /// Reads the exports. Returns `None` if the component cannot be parsed; the compiler reports why.
    pub(in crate::wasm) fn of(component: &[u8]) -> Option<Surface> {
        let mut surface = Surface { exports: Vec::new() };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload.ok()? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        surface.exports.push(export.ok()?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Some(surface)
    }

    /// Reports whether the component exports an interface. `wasi:cli/run@0.2` matches every version 0.2.x.
    pub(in crate::wasm) fn exports(&self, interface: &str) -> bool {
        self.exports.iter().any(|name| name.starts_with(interface))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> P3Export {
        P3Export::of(&Surface::of(&wat::parse_str(text).unwrap()).unwrap())
    }

    #[test]
    fn a_component_is_told_by_what_it_exports_itself() {
        let empty = r#"(instance $i) (export "wasi:http/handler@0.3.0" (instance $i))"#;

        assert_eq!(
            of(&format!("(component {empty})")),
            P3Export::Service("wasi:http/handler@0.3.0".to_owned())
        );
        assert_eq!(of(&format!("(component (core module) (component {empty}))")), P3Export::Nothing);
    }

    #[test]
    fn a_component_of_both_versions_needs_the_earlier_alone() {
        let both = r#"(component (instance $i) (export "wasi:http/handler@0.3.0" (instance $i))
            (export "wasi:http/incoming-handler@0.2.6" (instance $i)))"#;

        assert_eq!(of(both), P3Export::Nothing);
    }

    #[test]
    fn a_program_is_told_from_a_service() {
        let program = r#"(component (instance $i) (export "wasi:cli/run@0.3.2" (instance $i)))"#;

        assert_eq!(of(program), P3Export::Program("wasi:cli/run@0.3.2".to_owned()));
    }

    #[test]
    fn a_component_is_composed_if_one_within_it_has_functions_of_its_own() {
        let lifting = r#"(core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))"#;
        let renaming = r#"(component (import "f" (func $f)) (export "g" (func $f)))"#;
        let of = |text: String| Composition::of(&wat::parse_str(text).unwrap());

        assert_eq!(of(format!("(component {lifting} {renaming})")), Composition::Whole);
        assert_eq!(of(format!("(component {lifting} (component {lifting}))")), Composition::Composed);
        assert_eq!(of(format!("(component (component (component {lifting})))")), Composition::Composed);
        assert_eq!(Composition::of(b"\0asm\x0d\0\x01\0\xff\xff"), Composition::Composed);
    }

    #[test]
    fn what_is_no_component_is_left_to_the_compiler() {
        assert!(Surface::of(b"\0asm\x0d\0\x01\0\xff\xff").is_none());
        assert!(Surface::of(b"").is_none());
    }
}
