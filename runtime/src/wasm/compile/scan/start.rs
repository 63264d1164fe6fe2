//! Counts what a core module has to initialize at the start of each instance.

use wasmparser::{
    ConstExpr, Data, DataKind, Element, ElementItems, ElementKind, Operator, SectionLimited, Table,
    TableInit, TypeRef,
};
use wasmtime::Result;

use super::parts::PartCounts;

/// Bytes of a page of memory.
const PAGE: u64 = 64 << 10;

/// The span of data below which wasmtime 48.0.8 makes an image, however sparse the data is.
const IMAGE: u64 = 16 << 20;

/// What is known of a module when its segments are reached.
///
/// wasmtime 48.0.8 lays tables and memories out at compile time if it knows their whole content. All
/// else becomes code of one function, which runs at the start of every instance. The time to compile
/// that function grows with the square of its size (`translate_module_startup`).
#[derive(Default)]
pub(super) struct Start {
    imported_tables: usize,
    imported_memories: usize,
    /// The initial element counts of the module's own tables.
    tables: Vec<u64>,
    /// The initial sizes of the module's own memories in bytes.
    memories: Vec<u64>,
    /// Whether a segment was found that cannot be laid out. Later segments cannot be laid out either.
    segments_run: bool,
    /// Items that each instance initializes one by one.
    pub(super) steps: u64,
}

/// The range of a memory that data segments cover.
#[derive(Clone, Default)]
struct DataSpan {
    bytes: u64,
    reach: Option<(u64, u64)>,
}

impl Start {
    fn step(&mut self, count: u64, parts: &mut PartCounts) -> Result<()> {
        self.steps = self.steps.saturating_add(count);
        parts.steps.add(count)
    }

    pub(super) fn global(&mut self, init: &ConstExpr<'_>, parts: &mut PartCounts) -> Result<()> {
        if parts.global(init)? { self.step(1, parts) } else { Ok(()) }
    }

    pub(super) fn import(&mut self, ty: &TypeRef) {
        match ty {
            TypeRef::Table(_) => self.imported_tables += 1,
            TypeRef::Memory(_) => self.imported_memories += 1,
            TypeRef::Func(_) | TypeRef::FuncExact(_) | TypeRef::Global(_) | TypeRef::Tag(_) => {}
        }
    }

    pub(super) fn table(&mut self, table: &Table<'_>, parts: &mut PartCounts) -> Result<()> {
        if let TableInit::Expr(init) = &table.init {
            parts.constant(init)?;
        }
        self.tables.push(table.ty.initial);
        parts.slots.add(table.ty.initial)
    }

    pub(super) fn memory(&mut self, pages: u64) {
        self.memories.push(pages.saturating_mul(PAGE));
    }

    pub(super) fn element(&mut self, element: &Element<'_>, parts: &mut PartCounts) -> Result<()> {
        let count = match &element.items {
            ElementItems::Functions(items) => items.count(),
            ElementItems::Expressions(_, items) => {
                each(items.clone(), |item| parts.constant(&item))?;
                items.count()
            }
        };
        parts.items.add(count.into())?;
        match &element.kind {
            ElementKind::Declared => Ok(()),
            ElementKind::Passive => {
                parts.passive_items.add(count.into())?;
                self.step(count.into(), parts)
            }
            ElementKind::Active { table_index, offset_expr } => {
                parts.constant(offset_expr)?;
                let table = usize::try_from(table_index.unwrap_or(0)).unwrap_or(usize::MAX);
                self.segments_run |= !matches!(element.items, ElementItems::Functions(_))
                    || !self.fits_table(table, offset_expr, count.into());
                if self.segments_run { self.step(count.into(), parts) } else { Ok(()) }
            }
        }
    }

    fn fits_table(&self, table: usize, offset: &ConstExpr<'_>, count: u64) -> bool {
        let own = table.checked_sub(self.imported_tables).and_then(|table| self.tables.get(table));
        let end = number(offset).and_then(|offset| offset.checked_add(count));
        own.zip(end).is_some_and(|(size, end)| end <= *size)
    }

    /// Scans all data segments. wasmtime lays all of them out, or none.
    pub(super) fn data(
        &mut self,
        section: SectionLimited<'_, Data<'_>>,
        parts: &mut PartCounts,
    ) -> Result<()> {
        let mut spans = vec![DataSpan::default(); self.memories.len()];
        let (mut active, mut laid_out) = (0, true);
        each(section, |Data { kind, data, .. }| {
            let DataKind::Active { memory_index, offset_expr } = kind else { return Ok(()) };
            active += 1;
            parts.constant(&offset_expr)?;
            laid_out &= self.lay_out(&mut spans, memory_index, &offset_expr, data.len()).is_some();
            Ok(())
        })?;
        if laid_out && spans.iter().all(DataSpan::is_laid_out) {
            parts.images.add(spans.iter().map(DataSpan::length).sum())
        } else {
            self.step(active, parts)
        }
    }

    /// Adds a segment to the span of its memory. Returns `None` unless the segment is known to fit.
    fn lay_out(
        &self,
        spans: &mut [DataSpan],
        memory: u32,
        offset: &ConstExpr<'_>,
        length: usize,
    ) -> Option<()> {
        let own = usize::try_from(memory).ok()?.checked_sub(self.imported_memories)?;
        let (begin, length) = (number(offset)?, u64::try_from(length).ok()?);
        let end = begin.checked_add(length)?;
        if end > *self.memories.get(own)? {
            return None;
        }
        spans.get_mut(own)?.add(begin, end);
        Some(())
    }
}

impl DataSpan {
    fn add(&mut self, begin: u64, end: u64) {
        if begin == end {
            return;
        }
        self.bytes = self.bytes.saturating_add(end - begin);
        let (first, last) = self.reach.unwrap_or((begin, end));
        self.reach = Some((first.min(begin), last.max(end)));
    }

    fn length(&self) -> u64 {
        self.reach.map_or(0, |(first, last)| last - first)
    }

    /// Reports whether wasmtime makes an image of this memory.
    fn is_laid_out(&self) -> bool {
        self.length() < self.bytes.saturating_mul(2) || self.length() < IMAGE
    }
}

/// Iterates over a section up to its first error, which the compiler reports.
pub(super) fn each<'a, T: wasmparser::FromReader<'a>>(
    section: SectionLimited<'a, T>,
    mut look: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    section.into_iter().map_while(std::result::Result::ok).try_for_each(&mut look)
}

/// Evaluates a constant expression that is a single integer.
fn number(expression: &ConstExpr<'_>) -> Option<u64> {
    let mut operators = expression.get_operators_reader();
    let number = match operators.read().ok()? {
        Operator::I32Const { value } => u64::from(value.cast_unsigned()),
        Operator::I64Const { value } => value.cast_unsigned(),
        _ => return None,
    };
    matches!(operators.read().ok()?, Operator::End).then_some(number)
}
