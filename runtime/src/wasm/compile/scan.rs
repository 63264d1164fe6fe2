//! A look at a module before it is compiled: how many parts it has, and how large they are.

use wasmparser::{FunctionBody, Parser, Payload};
use wasmtime::{Result, bail, ensure};

/// Bytes of the largest module. A component with a whole CPython in it has about 40 MiB; what a
/// smaller one can cost is bounded by the limits of the child.
pub const LARGEST: usize = 64 << 20;

/// Bytes of the largest function. CPython's interpreter loop has some 70 KiB; what a compiler needs
/// grows faster than a function does.
const BODY: u64 = 1 << 20;

/// Locals of one function, its parameters aside. WebAssembly's own limit is 50,000, and one byte
/// declares hundreds.
const LOCALS: u64 = 10_000;

/// How deep components lie in one another.
const DEPTH: usize = 16;

/// What there may be of each part in a file, summed over all modules and components in it: some
/// seven times what a component of CPython has, which is the largest that we know of.
#[derive(Default)]
struct Parts {
    functions: Part<100_000>,
    locals: Part<5_000_000>,
    types: Part<50_000>,
    imports: Part<100_000>,
    exports: Part<100_000>,
    globals: Part<100_000>,
    tables: Part<1_000>,
    memories: Part<1_000>,
    elements: Part<100_000>,
    data: Part<100_000>,
    modules: Part<200>,
    components: Part<200>,
    linkage: Part<100_000>,
}

/// A count that ends at the most there may be.
#[derive(Default)]
struct Part<const MOST: u64>(u64);

impl<const MOST: u64> Part<MOST> {
    fn add(&mut self, count: u64, what: &str) -> Result<()> {
        self.0 = self.0.saturating_add(count);
        ensure!(self.0 <= MOST, "it has {} {what}: {MOST} at most; split it into several handlers", self.0);
        Ok(())
    }
}

/// Refuses a module that is larger, or of more parts, than any that a compiler should be asked to
/// compile. Reads it once and keeps nothing of it.
///
/// What is no module passes: its compiler says what is wrong with it.
///
/// # Errors
/// What there is too much of, how much it is, and how much may be.
pub(super) fn look(wasm: &[u8]) -> Result<()> {
    ensure!(wasm.len() <= LARGEST, "it has more than {LARGEST} bytes (64 MiB): strip its debug information");
    let mut parts = Parts::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(payload) = payload else { return Ok(()) };
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        ensure!(depth <= DEPTH, "its components lie {depth} deep in one another: {DEPTH} at most");
        parts.add(&payload)?;
    }
    Ok(())
}

impl Parts {
    /// Counts what a section says it holds.
    fn add(&mut self, payload: &Payload<'_>) -> Result<()> {
        match payload {
            Payload::TypeSection(section) => self.types.add(section.count().into(), "types"),
            Payload::CoreTypeSection(section) => self.types.add(section.count().into(), "types"),
            Payload::ComponentTypeSection(section) => self.types.add(section.count().into(), "types"),
            Payload::ImportSection(section) => self.imports.add(section.count().into(), "imports"),
            Payload::ComponentImportSection(section) => self.imports.add(section.count().into(), "imports"),
            Payload::ExportSection(section) => self.exports.add(section.count().into(), "exports"),
            Payload::ComponentExportSection(section) => self.exports.add(section.count().into(), "exports"),
            Payload::FunctionSection(section) => self.functions.add(section.count().into(), "functions"),
            Payload::GlobalSection(section) => self.globals.add(section.count().into(), "globals"),
            Payload::TableSection(section) => self.tables.add(section.count().into(), "tables"),
            Payload::MemorySection(section) => self.memories.add(section.count().into(), "memories"),
            Payload::ElementSection(section) => self.elements.add(section.count().into(), "element segments"),
            Payload::DataSection(section) => self.data.add(section.count().into(), "data segments"),
            Payload::CodeSectionEntry(body) => self.add_body(body),
            Payload::ModuleSection { .. } => self.modules.add(1, "modules in it"),
            Payload::ComponentSection { .. } => self.components.add(1, "components in it"),
            Payload::InstanceSection(section) => self.linkage.add(section.count().into(), "links"),
            Payload::ComponentInstanceSection(section) => self.linkage.add(section.count().into(), "links"),
            Payload::ComponentAliasSection(section) => self.linkage.add(section.count().into(), "links"),
            Payload::ComponentCanonicalSection(section) => self.linkage.add(section.count().into(), "links"),
            _ => Ok(()),
        }
    }

    fn add_body(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        let range = body.range();
        let length = u64::try_from(range.end.saturating_sub(range.start)).unwrap_or(u64::MAX);
        ensure!(
            length <= BODY,
            "a function in it has {length} bytes: {BODY} (1 MiB) at most; make its functions smaller"
        );
        // As for all that is no module.
        let Ok(groups) = body.get_locals_reader() else { return Ok(()) };
        let locals = groups.into_iter().map_while(Result::ok).map(|(count, _)| u64::from(count)).sum();
        if locals > LOCALS {
            bail!("a function in it has {locals} locals: {LOCALS} at most; make its functions smaller");
        }
        self.locals.add(locals, "locals")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<String> {
        look(&wat::parse_str(text).unwrap()).err().map(|error| error.to_string())
    }

    /// A module with so many of one thing.
    fn module(count: usize, one: &str) -> String {
        format!("(module (type $t (func)) {})", one.repeat(count))
    }

    /// Asserts that so many are taken, and that one more is refused with both numbers.
    fn bound(most: usize, what: &str, make: impl Fn(usize) -> String) {
        assert_eq!(refusal(&make(most)), None, "{most} {what}");
        let refusal = refusal(&make(most + 1)).unwrap();
        assert!(refusal.contains(&format!("{} {what}: {most} ", most + 1)), "{refusal}");
    }

    #[test]
    fn each_part_is_taken_at_its_bound_and_refused_one_past_it() {
        bound(100_000, "functions", |count| module(count, "(func)"));
        bound(100_000, "imports", |count| module(count, "(import \"\" \"\" (func (type $t)))"));
        bound(100_000, "globals", |count| module(count, "(global i32 (i32.const 0))"));
        bound(1_000, "tables", |count| module(count, "(table 0 funcref)"));
        bound(1_000, "memories", |count| module(count, "(memory 0)"));
        bound(100_000, "data segments", |count| module(count, "(data \"\")"));
        bound(100_000, "element segments", |count| module(count, "(elem func)"));
        bound(50_000, "types", |count| format!("(module {})", "(type (func))".repeat(count)));
        bound(10_000, "locals", |count| format!("(module (func (local{})))", " i32".repeat(count)));
    }

    #[test]
    fn parts_of_nested_modules_are_summed_and_nesting_is_bounded() {
        bound(200, "modules in it", |count| format!("(component {})", "(core module)".repeat(count)));
        bound(200, "components in it", |count| format!("(component {})", "(component)".repeat(count)));
        let half = format!("(core module {})", "(memory 0)".repeat(501));
        assert!(refusal(&format!("(component {half} {half})")).unwrap().contains("1002 memories"));
        let deep = |depth: usize| format!("{}{}", "(component ".repeat(depth + 1), ")".repeat(depth + 1));
        assert_eq!(refusal(&deep(16)), None);
        assert!(refusal(&deep(17)).unwrap().contains("17 deep"));
    }

    #[test]
    fn a_function_is_taken_at_its_largest_and_refused_one_byte_past_it() {
        // A byte for the locals and one for the end.
        let body = |length: u64| {
            let nops = usize::try_from(length - 2).unwrap();
            format!("(module (func {}))", "nop ".repeat(nops))
        };

        assert_eq!(refusal(&body(BODY)), None);
        assert!(refusal(&body(BODY + 1)).unwrap().contains("1048577 bytes: 1048576 (1 MiB) at most"));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_and_one_that_is_no_module_passes() {
        assert!(look(&vec![0; LARGEST + 1]).unwrap_err().to_string().contains("more than 67108864 bytes"));
        for wasm in [&b""[..], b"\0asm\x01\0\0\0\x01", b"\0asm\x0d\0\x01\0\xff\xff", b"hello"] {
            look(wasm).unwrap();
        }
    }
}
