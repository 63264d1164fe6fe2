//! Core modules, the `wasm32-wasip1` commands that export `_start`.

use wasmtime::error::Context as _;
use wasmtime::{Engine, ImportType, InstancePre, Linker, Module, ModuleExport, Result, Store, bail};
use wasmtime_wasi::p1;

use super::component::ABSENT;
use super::foreign_imports;
use crate::job::{Env, Fault, Job, Limits, Output, Status};
use crate::wasm::host::calls::{self, Calling, LastError};
use crate::wasm::host::core_state::{self, ImportGrants, State};
use crate::wasm::host::core_wasi::CoreWasi;
use crate::wasm::host::databases::{self, GuestDatabases};
use crate::wasm::host::guest::{self, Wasi};
use crate::wasm::host::preview1::{self, MODULE as WASI};
use crate::wasm::host::stdio::EndMark;
use crate::wasm::host::stores::{self, GuestStores};
use crate::wasm::host::{environ, links, open_guard, trap};

/// A compiled core module with its imports resolved.
#[derive(Clone)]
pub struct CoreCode {
    instance: InstancePre<State>,
    start: ModuleExport,
    /// The export `memory`, which host functions use.
    memory: Option<ModuleExport>,
    /// Whether it imports the functions that read its arguments.
    arguments: bool,
    /// Whether it imports the functions that call jobs.
    calls: bool,
    /// Whether it imports the functions that use stores.
    stores: bool,
    /// Whether it imports the functions that use databases.
    databases: bool,
}

/// A job of a core module, and the store of its instance.
pub(in crate::wasm) struct CoreJob {
    store: Store<State>,
    stdout: Output,
    handles: usize,
}

/// The functions of WASI preview 1 that read the arguments.
const ARGUMENTS: [&str; 2] = ["args_get", "args_sizes_get"];

/// Makes the linker for WASI preview 1, with our calls of jobs added. It has nothing else.
pub(in crate::wasm) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |state: &mut State| state.wasi.get())?;
    open_guard::guard_core(&mut linker, WASI, |state| {
        (state.wasi.get(), &mut state.opened, state.tmp.as_deref_mut())
    })?;
    links::guard_core(&mut linker, WASI, |state| (state.wasi.get(), state.tmp.as_deref_mut()))?;
    environ::serve(&mut linker, WASI, core_state::memory, |state| &state.env)?;
    preview1::serve(&mut linker)?;
    calls::link_core(&mut linker)?;
    stores::link_core(&mut linker)?;
    databases::link_core(&mut linker)?;
    Ok(linker)
}

impl CoreCode {
    /// Finds the entry point and resolves the imports of a module.
    ///
    /// # Errors
    /// It lacks an entry point, or imports something that the daemon does not provide.
    pub(in crate::wasm) fn link(linker: &Linker<State>, module: &Module) -> Result<CoreCode> {
        let start = module.get_export_index("_start").context("exports no `_start`")?;
        let memory = module.get_export_index("memory");
        let instance = linker.instantiate_pre(module).context(ABSENT)?;
        let imports = |name: &str| module.imports().any(|import| import.module() == name);
        let (calls, stores) = (imports(calls::MODULE), imports(stores::MODULE));
        let databases = imports(databases::MODULE);
        let is_read = |import: ImportType<'_>| import.module() == WASI && ARGUMENTS.contains(&import.name());
        let arguments = module.imports().any(is_read);
        Ok(CoreCode { instance, start, memory, arguments, calls, stores, databases })
    }

    /// Makes the store for the instance of a job. The future of [`CoreCode::run`] holds nothing else, which keeps it
    /// small.
    pub(in crate::wasm) fn prepare(&self, mut wasi: Wasi, mut job: Box<Job>) -> CoreJob {
        let handles = job.entry.limits.handles;
        let (meter, opened) = guest::metered(&mut job);
        let granted = ImportGrants {
            calls: self.calls.then(|| Box::new((Calling::of(&mut job), LastError::default()))),
            stores: self.stores.then(|| Box::new(GuestStores::of(&job))),
            databases: self.databases.then(|| Box::new(GuestDatabases::of(&job))),
        };
        let env = std::mem::take(&mut job.env);
        let stdout = job.stdout.clone();
        if self.arguments {
            guest::give_arguments(&mut wasi, &job);
        }
        let streams = (job.stdin, job.stdout, job.stderr);
        let wasi = CoreWasi::new(wasi, streams, job.entry.limits.output, handles);
        let state = State::new(wasi, self.memory, env, (meter, opened, handles), granted);
        CoreJob { store: self.store(state, &job.entry.limits), stdout, handles }
    }

    /// Runs one job in a fresh instance.
    pub(in crate::wasm) async fn run(&self, job: CoreJob) -> std::result::Result<Status, Fault> {
        let CoreJob { mut store, stdout, handles } = job;
        // Dropped before the store, even if the future is dropped half-way.
        let _over = EndMark(stdout);
        let outcome = self.start(&mut store).await;
        trap::conclude(outcome, &store.data().meter, handles)
    }

    /// Instantiates the module. Runs nothing but its start function.
    pub(in crate::wasm) async fn prove(&self, wasi: Wasi, limits: &Limits) -> std::result::Result<(), Fault> {
        let granted = ImportGrants {
            calls: self.calls.then(|| Box::new((Calling::nothing(), LastError::default()))),
            stores: self.stores.then(|| Box::new(GuestStores::nothing())),
            databases: self.databases.then(|| Box::new(GuestDatabases::nothing())),
        };
        let (meter, opened) = guest::unmetered(limits);
        let meters = (meter, opened, limits.handles);
        let wasi = CoreWasi::idle(wasi, limits.handles);
        let mut store = self.store(State::new(wasi, self.memory, Env::new(), meters, granted), limits);
        let outcome = self.instance.instantiate_async(&mut store).await.map(drop);
        trap::conclude(outcome, &store.data().meter, limits.handles).map(drop)
    }

    /// Returns the bytes of the memories and tables that an instance starts with.
    pub(in crate::wasm) fn memory(&self) -> usize {
        guest::initial(&self.instance.module().resources_required())
    }

    fn store(&self, state: State, limits: &Limits) -> Store<State> {
        let mut store = Store::new(self.instance.module().engine(), state);
        store.limiter(|state| &mut state.meter);
        guest::bound(&mut store, limits);
        store
    }

    async fn start(&self, store: &mut Store<State>) -> Result<()> {
        let instance = self.instance.instantiate_async(&mut *store).await?;
        store.data().meter.usage().timing.ready();
        let start =
            instance.get_module_export(&mut *store, &self.start).and_then(wasmtime::Extern::into_func);
        let start = start.ok_or_else(|| wasmtime::format_err!("`_start` is a function"))?;
        start.typed::<(), ()>(&*store)?.call_async(&mut *store, ()).await
    }
}

/// Checks the names of a module's imports. Their types are checked when the module is linked.
///
/// # Errors
/// The module imports something that the daemon does not provide. The message names imports from unknown modules,
/// or else the first name that is missing in a module we have.
pub(in crate::wasm) fn check_imports(linker: &Linker<State>, imports: &[(String, String)]) -> Result<()> {
    let ours = |module: &str| [WASI, calls::MODULE, stores::MODULE, databases::MODULE].contains(&module);
    let pairs = imports.iter().map(|(module, name)| (module.as_str(), name.as_str()));
    let foreign: Vec<_> = pairs.filter(|(module, _)| !ours(module)).collect();
    if !foreign.is_empty() {
        let (names, advice) = (foreign_imports::named(&foreign), foreign_imports::advice(&foreign));
        let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
        let (jobs, stores, sql) = (calls::MODULE, stores::MODULE, databases::MODULE);
        bail!(
            "{ABSENT}: {names}; a core module gets `{WASI}`, `{jobs}`, `{stores}` and `{sql}` only{advice}"
        );
    }
    let (meter, opened) = guest::unmetered(&Limits::default());
    let meters = (meter, opened, usize::MAX);
    let wasi = CoreWasi::idle(guest::bare(), usize::MAX);
    let state = State::new(wasi, None, Env::new(), meters, ImportGrants::default());
    let mut store = Store::new(linker.engine(), state);
    let missing = imports.iter().find(|(module, name)| linker.get(&mut store, module, name).is_err());
    if let Some((module, name)) = missing {
        bail!("{ABSENT}: unknown import: `{module}::{name}` has not been defined");
    }
    Ok(())
}
