//! Tests of undocumented behaviour of wasmtime that `wasm` relies on.
//!
//! If a new version behaves differently, a test fails here. Each test says which files rely on the behaviour.

use wasmtime::component::{Component, Linker, ResourceTable, WasmList};
use wasmtime::{Engine, Instance, Module, ResourceLimiter, Result, Store};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::random::random::Host as _;

/// Notes the questions that wasmtime asks a store.
#[derive(Default)]
struct GrowthLog(Vec<String>);

impl ResourceLimiter for GrowthLog {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.0.push(format!("{current} to {desired} of {maximum:?}"));
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.0.push("failed".to_owned());
        Ok(())
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool> {
        Ok(true)
    }
}

/// `host::memory_meter` charges the growth that it grants, but not growth beyond the module's own maximum.
#[test]
fn wasmtime_asks_before_it_refuses_what_the_module_forbids() {
    const PAGE: usize = 1 << 16;
    let grows = r#"(module (memory 1 2) (func (export "f") (result i32) (memory.grow (i32.const 5))))"#;
    let engine = Engine::default();
    let mut store = Store::new(&engine, GrowthLog::default());
    store.limiter(|asked| asked);
    let module = Module::new(&engine, wat::parse_str(grows).unwrap()).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    store.data_mut().0.clear();

    let grown = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap().call(&mut store, ()).unwrap();

    assert_eq!(grown, -1);
    let asked = format!("{PAGE} to {} of {:?}", 6 * PAGE, Some(2 * PAGE));
    assert_eq!(store.data().0, [asked, "failed".to_owned()]);
}

/// A component that makes resources without end.
pub(in crate::wasm) const HOARD: &str = r#"(component
    (type $r (resource (rep i32)))
    (core func $new (canon resource.new $r))
    (core module $m
        (import "" "new" (func $new (param i32) (result i32)))
        (func (export "f") (loop (drop (call $new (i32.const 0))) (br 0))))
    (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
    (func (export "f") (canon lift (core func $i "f"))))"#;

/// `host::handles` recognises a component that exceeds its bound by the end of this message.
#[test]
fn wasmtime_ends_a_component_beyond_its_handles_with_these_words() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    store.set_max_component_handles(20);
    let component = Component::new(&engine, wat::parse_str(HOARD).unwrap()).unwrap();
    let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();

    let ended = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap().call(&mut store, ());

    let said = ended.unwrap_err().root_cause().to_string();
    assert!(said.ends_with("store handle limit exceeded"), "{said}");
}

/// A component that passes a list of nine bytes to its host.
const PASSES: &str = r#"(component
    (import "take" (func $take (param "bytes" (list u8))))
    (core module $memory (memory (export "memory") 1))
    (core instance $memory (instantiate $memory))
    (core func $take (canon lower (func $take) (memory (core memory $memory "memory"))))
    (core module $m
        (import "" "take" (func $take (param i32 i32)))
        (func (export "f") (call $take (i32.const 0) (i32.const 9))))
    (core instance $i (instantiate $m (with "" (instance (export "take" (func $take))))))
    (func (export "f") (canon lift (core func $i "f"))))"#;

/// `host::call_size` recognises a call that passes too much by the end of this message.
#[test]
fn wasmtime_ends_a_component_whose_call_passes_more_than_its_bound_with_these_words() {
    let passed = |bound: usize| {
        let engine = Engine::default();
        let mut linker = Linker::new(&engine);
        linker.root().func_wrap("take", |_, (_bytes,): (WasmList<u8>,)| Ok(())).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_hostcall_fuel(bound);
        let component = Component::new(&engine, wat::parse_str(PASSES).unwrap()).unwrap();
        let instance = linker.instantiate(&mut store, &component).unwrap();
        instance.get_typed_func::<(), ()>(&mut store, "f").unwrap().call(&mut store, ())
    };

    assert!(passed(9).is_ok());
    let said = passed(8).unwrap_err().root_cause().to_string();
    assert!(said.ends_with("fuel allocated for hostcalls has been exhausted"), "{said}");
}

/// `host::call_size` recognises a call for too many random bytes by the start of this message.
#[test]
fn wasmtime_refuses_more_random_bytes_than_its_bound_with_these_words() {
    let mut wasi = WasiCtxBuilder::new().max_random_size(8).build();

    assert_eq!(wasi.random().get_random_bytes(8).unwrap().len(), 8);
    let said = wasi.random().get_random_bytes(9).unwrap_err().root_cause().to_string();
    assert!(said.starts_with("requested len "), "{said}");
}

/// `host::handles` finds the index of the next handle by adding one.
#[test]
fn wasmtime_gives_the_next_handle_the_place_of_the_one_that_was_deleted_last() {
    let mut table = ResourceTable::new();
    let [first, second, _] = [(); 3].map(|()| table.push(()).unwrap());
    let places = [first.rep(), second.rep()];
    table.delete(second).unwrap();
    table.delete(first).unwrap();

    assert_eq!([(); 2].map(|()| table.push(()).unwrap().rep()), places);
}
