//! Reads `[compile]`: the limits on compiling a module.

use std::time::Duration;

use super::reader::{Keyed, Scalar};
use super::report::Diagnostics;
use super::schema;
use super::values;
use crate::wasm::compile::CompileLimits;

/// The highest limit for functions, locals or types: WebAssembly numbers them with 32 bits.
const MAX: usize = u32::MAX as usize;

/// Reads the limits. A missing key takes its default.
pub(super) fn read(written: Option<&Keyed<schema::Compile>>, report: &Diagnostics<'_>) -> CompileLimits {
    let defaults = CompileLimits::default();
    let Some(Keyed { value: compile, .. }) = written else { return defaults };
    let count = |written: &Option<Keyed<Scalar>>, default| {
        report.settle(written.as_ref(), default, |scalar| {
            values::count(1..=MAX)(scalar).map(|count| count as u64)
        })
    };
    let size = |written: &Option<Keyed<Scalar>>, default, range| {
        report.settle(written.as_ref(), default, values::size(range))
    };
    CompileLimits {
        cpu: report.settle(compile.cpu.as_ref(), defaults.cpu, cpu),
        // The compiler itself takes some 100 MiB.
        memory: size(&compile.memory, defaults.memory, 256 << 20..=1 << 40),
        module: size(&compile.module, defaults.module, 64 << 10..=CompileLimits::LARGEST_MODULE),
        function: size(&compile.function, defaults.function, 1 << 10..=CompileLimits::LARGEST_MODULE),
        functions: count(&compile.functions, defaults.functions),
        locals: count(&compile.locals, defaults.locals),
        types: count(&compile.types, defaults.types),
    }
}

/// Reads whole seconds, the resolution of setrlimit(2).
fn cpu(scalar: &Scalar) -> Result<Duration, String> {
    let limit = values::deadline(scalar)?;
    if limit.subsec_nanos() == 0 { Ok(limit) } else { Err("wanted whole seconds such as \"60s\"".to_owned()) }
}
