//! Scans a module before it is compiled: counts its parts and checks them against limits.
//!
//! Floors, lowest first: `instances`, `parts`; `start`.

mod instances;
mod parts;
mod start;

use wasmparser::{Parser, Payload};
use wasmtime::{Result, ensure};

use self::instances::{ComponentIndex, Cost, Largest};
use self::parts::{PartCounts, length, within};
use self::start::{Start, each};
use super::CompileLimits;
use crate::wasm::engine::instance_size::{MEMORIES, TABLES};

/// The maximum nesting depth of components.
const DEPTH: usize = 16;

/// Refuses a module that is too large for a compiler, has too many parts, or has instances that take
/// long to start, since nothing can interrupt that. Reads the module once and keeps nothing of it.
///
/// An invalid module passes, because the compiler reports its errors. Three things are not limited here.
/// Cranelift limits branch tables to 65,520 targets. Names and exports cost no more than their bytes.
/// Declared memory sizes are only address space until they are used, and count towards the memory limit
/// of the handler.
///
/// # Errors
/// A limit is exceeded. The text names the part, its count and the limit.
pub(in crate::wasm) fn look(wasm: &[u8], limits: &CompileLimits) -> Result<()> {
    let CompileLimits { module: max, .. } = limits;
    ensure!(
        wasm.len() as u64 <= *max,
        "it has {} bytes: {max} at most; raise compile.module, or strip its debug information",
        wasm.len()
    );
    let mut look = ModuleScan::within(limits);
    // The file itself is treated as a component, even if it is a module.
    look.enter(ScanScope::Component);
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(payload) = payload else { return Ok(()) };
        look.at(&payload)?;
    }
    Ok(())
}

/// The state of a scan.
struct ModuleScan {
    parts: PartCounts,
    /// The modules and components that are being read, outermost first.
    within: Vec<ScanScope>,
    /// The components among them.
    families: Vec<ComponentIndex>,
    /// The innermost module among them.
    start: Start,
    met: Largest,
}

/// The kind of unit that is being read.
#[derive(Clone, Copy)]
enum ScanScope {
    Module,
    Component,
}

impl ModuleScan {
    fn within(limits: &CompileLimits) -> ModuleScan {
        ModuleScan {
            parts: PartCounts::within(limits),
            within: Vec::new(),
            families: Vec::new(),
            start: Start::default(),
            met: Largest::default(),
        }
    }

    fn enter(&mut self, within: ScanScope) {
        self.within.push(within);
        match within {
            ScanScope::Module => self.start = Start::default(),
            ScanScope::Component => self.families.push(ComponentIndex::default()),
        }
    }

    fn leave(&mut self) -> Result<()> {
        match self.within.pop() {
            Some(ScanScope::Module) => {
                let load = Cost { instances: 1, steps: self.start.steps };
                self.met.module(load);
                if let Some(family) = self.families.last_mut() {
                    family.adopt_module(load);
                }
            }
            Some(ScanScope::Component) => {
                let load = self.families.pop().unwrap_or_default().load;
                self.met.component(load);
                match self.families.last_mut() {
                    // A component counts as an instance itself, even if it contains only components.
                    Some(family) => {
                        family.adopt(Cost { instances: load.instances.saturating_add(1), ..load })
                    }
                    None => {
                        self.parts.instances.add(load.instances)?;
                        self.parts.started.add(load.steps)?;
                    }
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Counts the contents of a section.
    fn at(&mut self, payload: &Payload<'_>) -> Result<()> {
        match payload {
            Payload::ModuleSection { .. } => {
                self.parts.modules.add(1)?;
                self.enter(ScanScope::Module);
            }
            Payload::ComponentSection { .. } => {
                self.parts.components.add(1)?;
                self.enter(ScanScope::Component);
                let depth = self.families.len() - 1;
                ensure!(depth <= DEPTH, "its components are nested {depth} deep: {DEPTH} at most");
            }
            Payload::End(_) => self.leave()?,
            _ => {
                self.at_core(payload)?;
                self.at_component(payload)?;
            }
        }
        Ok(())
    }

    /// Counts the contents of a section of a core module.
    fn at_core(&mut self, payload: &Payload<'_>) -> Result<()> {
        let ModuleScan { parts, start, .. } = self;
        match payload {
            Payload::TypeSection(section) => each(section.clone(), |group| parts.types(&group)),
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports().map_while(std::result::Result::ok) {
                    parts.imports.add(1)?;
                    start.import(&import.ty);
                }
                Ok(())
            }
            Payload::ExportSection(section) => parts.exports.add(section.count().into()),
            Payload::FunctionSection(section) => parts.functions.add(section.count().into()),
            Payload::GlobalSection(section) => {
                parts.globals.add(section.count().into())?;
                each(section.clone(), |global| start.global(&global.init_expr, parts))
            }
            Payload::TableSection(section) => {
                within(section.count(), TABLES, "tables")?;
                each(section.clone(), |table| start.table(&table, parts))
            }
            Payload::MemorySection(section) => {
                within(section.count(), MEMORIES, "memories")?;
                each(section.clone(), |memory| {
                    start.memory(memory.initial);
                    Ok(())
                })
            }
            Payload::ElementSection(section) => {
                parts.elements.add(section.count().into())?;
                each(section.clone(), |element| start.element(&element, parts))
            }
            Payload::DataSection(section) => {
                parts.data.add(section.count().into())?;
                start.data(section.clone(), parts)
            }
            Payload::CodeSectionEntry(body) => parts.body(body),
            _ => Ok(()),
        }
    }

    /// Counts the contents of a section of a component.
    fn at_component(&mut self, payload: &Payload<'_>) -> Result<()> {
        let ModuleScan { parts, families, met, .. } = self;
        let Some((family, around)) = families.split_last_mut() else { return Ok(()) };
        match payload {
            Payload::CoreTypeSection(section) => {
                parts.types.add(section.count().into())?;
                parts.component_types.add(length(&section.range()))
            }
            Payload::ComponentTypeSection(section) => {
                parts.types.add(section.count().into())?;
                parts.component_types.add(length(&section.range()))
            }
            Payload::ComponentImportSection(section) => {
                parts.imports.add(section.count().into())?;
                each(section.clone(), |import| {
                    family.import(import.ty.kind(), *met);
                    Ok(())
                })
            }
            Payload::ComponentExportSection(section) => {
                parts.exports.add(section.count().into())?;
                each(section.clone(), |export| {
                    family.export(export.kind, export.index);
                    Ok(())
                })
            }
            Payload::InstanceSection(section) => {
                parts.linkage.add(section.count().into())?;
                each(section.clone(), |instance| {
                    family.instantiate_module(&instance);
                    Ok(())
                })
            }
            Payload::ComponentInstanceSection(section) => {
                parts.linkage.add(section.count().into())?;
                each(section.clone(), |instance| {
                    family.instantiate(&instance);
                    Ok(())
                })
            }
            Payload::ComponentAliasSection(section) => {
                parts.linkage.add(section.count().into())?;
                each(section.clone(), |alias| {
                    family.alias(around, &alias, *met);
                    Ok(())
                })
            }
            Payload::ComponentCanonicalSection(section) => parts.linkage.add(section.count().into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
