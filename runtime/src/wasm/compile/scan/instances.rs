//! Counts the instances of a component, including those of the components inside it.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, Instance,
};

/// The cost of one instance.
///
/// A component may instantiate another one twice, which instantiates a third one twice, and so on. That
/// takes a few bytes for each level and gives 2^n instances. wasmtime 48.0.8 makes a list of all of them
/// when it compiles.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) instances: u64,
    /// Items that are initialized one by one at the start.
    pub(super) steps: u64,
}

impl Cost {
    fn add(&mut self, other: Cost) {
        self.instances = self.instances.saturating_add(other.instances);
        self.steps = self.steps.saturating_add(other.steps);
    }

    fn max(self, other: Cost) -> Cost {
        Cost { instances: self.instances.max(other.instances), steps: self.steps.max(other.steps) }
    }
}

/// A component as read so far: the index spaces of its modules and components.
#[derive(Default)]
pub(super) struct ComponentIndex {
    modules: Vec<Cost>,
    components: Vec<Cost>,
    /// The cost of its own instances.
    pub(super) load: Cost,
}

/// The largest costs read so far. They stand in for imports, whose cost is known only at run time.
#[derive(Clone, Copy, Default)]
pub(super) struct Largest {
    module: Cost,
    component: Cost,
}

impl Largest {
    pub(super) fn module(&mut self, load: Cost) {
        self.module = self.module.max(load);
    }

    pub(super) fn component(&mut self, load: Cost) {
        self.component = self.component.max(load);
    }
}

impl ComponentIndex {
    pub(super) fn adopt_module(&mut self, load: Cost) {
        self.modules.push(load);
    }

    pub(super) fn adopt(&mut self, load: Cost) {
        self.components.push(load);
    }

    /// Adds an import to the index space, if it can be instantiated.
    pub(super) fn import(&mut self, kind: ComponentExternalKind, met: Largest) {
        match kind {
            ComponentExternalKind::Module => self.adopt_module(met.module),
            ComponentExternalKind::Component => self.adopt(met.component),
            ComponentExternalKind::Func
            | ComponentExternalKind::Value
            | ComponentExternalKind::Type
            | ComponentExternalKind::Instance => {}
        }
    }

    /// Adds an export to the index space, since it gets a new index.
    pub(super) fn export(&mut self, kind: ComponentExternalKind, index: u32) {
        let again = Largest { module: load(&self.modules, index), component: load(&self.components, index) };
        self.import(kind, again);
    }

    /// Adds an alias to the index space.
    pub(super) fn alias(&mut self, around: &[ComponentIndex], alias: &ComponentAlias<'_>, met: Largest) {
        match alias {
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                self.adopt_module(load(&self.outward(around, *count).modules, *index));
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                self.adopt(load(&self.outward(around, *count).components, *index));
            }
            ComponentAlias::InstanceExport { kind, .. } => self.import(*kind, met),
            ComponentAlias::CoreInstanceExport { .. } | ComponentAlias::Outer { .. } => {}
        }
    }

    /// Counts an instance of a module.
    pub(super) fn instantiate_module(&mut self, instance: &Instance<'_>) {
        let Instance::Instantiate { module_index, .. } = instance else { return };
        let load = load(&self.modules, *module_index);
        self.load.add(load);
    }

    /// Counts an instance of a component with everything inside it.
    pub(super) fn instantiate(&mut self, instance: &ComponentInstance<'_>) {
        let ComponentInstance::Instantiate { component_index, .. } = instance else { return };
        let load = load(&self.components, *component_index);
        self.load.add(load);
    }

    /// Resolves an outer alias. An invalid index falls back to this component; the compiler rejects it.
    fn outward<'a>(&'a self, around: &'a [ComponentIndex], count: u32) -> &'a ComponentIndex {
        let outer = count.checked_sub(1).and_then(|steps| usize::try_from(steps).ok());
        outer.and_then(|steps| around.iter().rev().nth(steps)).unwrap_or(self)
    }
}

fn load(loads: &[Cost], index: u32) -> Cost {
    usize::try_from(index).ok().and_then(|index| loads.get(index)).copied().unwrap_or_default()
}
