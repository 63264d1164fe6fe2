//! The limits on each part of a file, summed over all modules and components in it.

use wasmparser::{ConstExpr, FuncType, FunctionBody, Operator, RecGroup};
use wasmtime::{Result, bail, ensure};

use crate::wasm::compile::CompileLimits;

/// The most locals of one function, without its parameters. WebAssembly's own limit is 50,000, and one
/// byte declares hundreds.
const LOCALS: u64 = 10_000;

/// A count with a limit.
pub(super) struct PartCount {
    count: u64,
    max: u64,
    what: &'static str,
    advice: &'static str,
}

/// The advice for a part whose limit no key sets.
const SPLIT: &str = "split it into several handlers";

impl PartCount {
    pub(super) fn add(&mut self, count: u64) -> Result<()> {
        self.count = self.count.saturating_add(count);
        let PartCount { count, max, what, advice } = self;
        ensure!(count <= max, "it has {count} {what}: {max} at most; {advice}");
        Ok(())
    }
}

macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident: $max:literal $what:literal,)*) => {
        /// The counts.
        pub(super) struct PartCounts {
            $($(#[$doc])* pub(super) $name: PartCount,)*
            /// Bytes of the largest function.
            function: u64,
        }

        impl PartCounts {
            /// Starts with zero counts and the built-in limits. Configuration keys set a few of them
            /// afterwards.
            fn new(function: u64) -> PartCounts {
                PartCounts { $($name: PartCount { count: 0, max: $max, what: $what, advice: SPLIT },)* function }
            }
        }
    };
}

impl PartCount {
    fn at_most(&mut self, max: u64, advice: &'static str) {
        (self.max, self.advice) = (max, advice);
    }
}

// The first limits are about seven times the counts of a CPython component, the largest that we know
// of.
parts! {
    functions: 100_000 "functions",
    locals: 5_000_000 "locals",
    types: 50_000 "types",
    /// A machine code function is generated for each type, and moves the values one by one.
    values: 250_000 "parameters and results of types",
    imports: 100_000 "imports",
    exports: 100_000 "exports",
    globals: 100_000 "globals",
    /// Each element may take four bytes of code, whichever segment sets it.
    slots: 500_000 "initial elements of tables",
    elements: 100_000 "element segments",
    items: 1_000_000 "items of element segments",
    data: 100_000 "data segments",
    modules: 200 "modules in it",
    components: 200 "components in it",
    linkage: 100_000 "links",
    instances: 1_000 "instances, with those of its components",
    /// Measured in bytes, because component types nest and are not parsed here.
    component_types: 2_097_152 "bytes of component types",
    constants: 1_000_000 "bytes of constant expressions",
    /// Twice the default of `compile.module`. wasmtime makes images of data with gaps, up to this
    /// total.
    images: 134_217_728 "bytes from its first to its last of data",
    /// Every instance holds 16 bytes for each, which no limit of a handler counts.
    passive_items: 5_000 "items of passive element segments",
    /// Code is generated for each, in a time that grows with the square of their number.
    steps: 20_000 "items, globals and data that code has to set in an instance",
    /// They cannot be interrupted, and one takes up to 80 ns.
    started: 20_000 "items, globals and data that code has to set in all its instances",
}

impl PartCounts {
    /// Starts with zero counts and the limits of a configuration.
    pub(super) fn within(limits: &CompileLimits) -> PartCounts {
        let CompileLimits { function, functions, locals, types, .. } = *limits;
        let mut parts = PartCounts::new(function);
        parts.functions.at_most(functions, "raise compile.functions, or split it into several handlers");
        parts.locals.at_most(locals, "raise compile.locals, or split it into several handlers");
        parts.types.at_most(types, "raise compile.types, or split it into several handlers");
        parts
    }

    /// Counts a constant expression.
    pub(super) fn constant(&mut self, expression: &ConstExpr<'_>) -> Result<()> {
        let range = expression.get_binary_reader().range();
        self.constants.add(length(&range))
    }

    /// Counts a global, and reports whether its initial value has to be computed.
    pub(super) fn global(&mut self, init: &ConstExpr<'_>) -> Result<bool> {
        self.constant(init)?;
        Ok(!is_literal(init))
    }

    /// Counts the types of a recursion group.
    pub(super) fn types(&mut self, group: &RecGroup) -> Result<()> {
        for ty in group.types() {
            self.types.add(1)?;
            if let wasmparser::CompositeInnerType::Func(function) = &ty.composite_type.inner {
                self.values.add(values(function))?;
            }
        }
        Ok(())
    }

    pub(super) fn body(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        let (length, max) = (length(&body.range()), self.function);
        ensure!(
            length <= max,
            "a function in it has {length} bytes: {max} at most; raise compile.function, or make its functions smaller"
        );
        // The compiler reports an invalid function.
        let Ok(groups) = body.get_locals_reader() else { return Ok(()) };
        let locals = groups.into_iter().map_while(Result::ok).map(|(count, _)| u64::from(count)).sum();
        if locals > LOCALS {
            bail!("a function in it has {locals} locals: {LOCALS} at most; make its functions smaller");
        }
        self.locals.add(locals)
    }
}

fn values(function: &FuncType) -> u64 {
    (function.params().len() + function.results().len()) as u64
}

/// Refuses a module with more memories or tables than the sandbox of a job has room for.
pub(super) fn within(count: u32, max: u32, what: &str) -> Result<()> {
    ensure!(count <= max, "a module in it has {count} {what}: {max} at most; put more into one of them");
    Ok(())
}

/// Returns the number of bytes in a range.
pub(super) fn length(range: &std::ops::Range<usize>) -> u64 {
    range.len() as u64
}

/// Reports whether a constant expression is a single number. wasmtime writes it into the instance
/// without running code.
fn is_literal(expression: &ConstExpr<'_>) -> bool {
    let mut operators = expression.get_operators_reader();
    let literal = matches!(
        operators.read(),
        Ok(Operator::I32Const { .. }
            | Operator::I64Const { .. }
            | Operator::F32Const { .. }
            | Operator::F64Const { .. }
            | Operator::V128Const { .. })
    );
    literal && matches!(operators.read(), Ok(Operator::End))
}
