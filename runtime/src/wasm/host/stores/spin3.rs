//! `spin:key-value@3.0.0` and `spin:variables@3.0.0`: the same for components of Spin 4 and its SDKs since 6, which
//! await their host.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::{Accessor, FutureReader, HasSelf, Linker, Resource, StreamReader};

use self::spin::key_value::key_value::{self, Error};
use self::spin::variables::variables;
use super::all_keys::all_keys;
use super::grants::{StoreFailure, no_memory};
use crate::store::{Condition, KeyValue, StoreError};
use crate::wasm::host::component_state::State;
use crate::wasm::host::held_stream::HeldStream;
use crate::wasm::host::memory_meter::{HeldMemory, charged};

wasmtime::component::bindgen!({
    inline: "
        package portcullis:spin@3.0.0;
        world imports { import spin:key-value/key-value@3.0.0; import spin:variables/variables@3.0.0; }

        package spin:key-value@3.0.0 {
            interface key-value {
                resource store {
                    open: static async func(label: string) -> result<store, error>;
                    get: async func(key: string) -> result<option<list<u8>>, error>;
                    set: async func(key: string, value: list<u8>) -> result<_, error>;
                    delete: async func(key: string) -> result<_, error>;
                    exists: async func(key: string) -> result<bool, error>;
                    get-keys: async func() -> tuple<stream<string>, future<result<_, error>>>;
                }
                variant error { store-table-full, no-such-store, access-denied, other(string) }
            }
        }

        package spin:variables@3.0.0 {
            interface variables {
                get: async func(name: string) -> result<string, error>;
                variant error { invalid-name(string), undefined(string), provider(string), other(string) }
            }
        }
    ",
    world: "portcullis:spin/imports",
    imports: { default: trappable },
    with: { "spin:key-value/key-value.store": AwaitedStoreHandle },
});

/// A component's handle of a store. Its representation is the store's number in `GuestStores`.
#[expect(unreachable_pub, reason = "what the macro makes of it is public")]
pub struct AwaitedStoreHandle;

/// Adds the interfaces to a linker of an engine for `async` components.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    key_value::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    variables::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

type AwaitedResult<T> = Result<std::result::Result<T, Error>>;

impl From<StoreFailure> for Error {
    fn from(failure: StoreFailure) -> Error {
        match failure.code {
            "access_denied" => Error::AccessDenied,
            _ => Error::Other(failure.to_string()),
        }
    }
}

/// Runs one operation. The guest goes on meanwhile, so its state is not borrowed.
async fn run<U, T>(
    accessor: &Accessor<U, HasSelf<State>>,
    store: Resource<AwaitedStoreHandle>,
    operation: impl AsyncFnOnce(&KeyValue) -> std::result::Result<T, StoreError>,
) -> AwaitedResult<T> {
    let begun =
        accessor.with(|mut access| Ok::<_, wasmtime::Error>(access.get().stores()?.begin(store.rep())))?;
    match begun {
        Ok(begun) => Ok(begun.run(operation).await.map_err(Error::from)),
        Err(failure) => Ok(Err(failure.into())),
    }
}

impl key_value::Host for State {}

impl key_value::HostStore for State {
    fn drop(&mut self, _store: Resource<AwaitedStoreHandle>) -> Result<()> {
        Ok(())
    }
}

impl<U: Send + 'static> key_value::HostStoreWithStore<U> for HasSelf<State> {
    async fn open(
        accessor: &Accessor<U, Self>,
        label: String,
    ) -> AwaitedResult<Resource<AwaitedStoreHandle>> {
        accessor.with(|mut access| {
            Ok(access.get().stores()?.find(&label).map(Resource::new_own).map_err(Error::from))
        })
    }

    async fn get(
        accessor: &Accessor<U, Self>,
        store: Resource<AwaitedStoreHandle>,
        key: String,
    ) -> AwaitedResult<Option<Vec<u8>>> {
        let found = run(accessor, store, async |store| store.get(&key).await).await?;
        Ok(found.map(|found| found.map(|found| found.value.into())))
    }

    async fn set(
        accessor: &Accessor<U, Self>,
        store: Resource<AwaitedStoreHandle>,
        key: String,
        value: Vec<u8>,
    ) -> AwaitedResult<()> {
        run(accessor, store, async |store| {
            store.set(&key, value.into(), None, Condition::Always).await.map(drop)
        })
        .await
    }

    async fn delete(
        accessor: &Accessor<U, Self>,
        store: Resource<AwaitedStoreHandle>,
        key: String,
    ) -> AwaitedResult<()> {
        run(accessor, store, async |store| store.delete(&key).await.map(drop)).await
    }

    async fn exists(
        accessor: &Accessor<U, Self>,
        store: Resource<AwaitedStoreHandle>,
        key: String,
    ) -> AwaitedResult<bool> {
        run(accessor, store, async |store| Ok(store.get(&key).await?.is_some())).await
    }

    /// The keys are read whole, within a bound, and then sent.
    async fn get_keys(
        accessor: &Accessor<U, Self>,
        store: Resource<AwaitedStoreHandle>,
    ) -> Result<(StreamReader<String>, FutureReader<std::result::Result<(), Error>>)> {
        let begun =
            accessor.with(|mut access| wasmtime::error::Ok(access.get().stores()?.begin(store.rep())))?;
        let read = match begun {
            Ok(begun) => begun.run_held(async |store| all_keys(store).await).await,
            Err(failure) => Err(failure),
        };
        accessor.with(|mut access| {
            let held = read.and_then(|(keys, under_way)| {
                let bytes: usize = keys.iter().map(|key| size_of::<String>() + key.len()).sum();
                let memory = access.get().meter.hold(charged(bytes)).ok_or_else(|| no_memory(bytes))?;
                Ok(HeldStream::new(keys, under_way, memory))
            });
            let (keys, ended) = match held {
                Ok(keys) => (keys, Ok(())),
                Err(failure) => {
                    let none = HeldStream::new(Vec::new(), Arc::default(), HeldMemory::default());
                    (none, Err(Error::from(failure)))
                }
            };
            let keys = StreamReader::new(&mut access, keys)?;
            let ended = FutureReader::new(&mut access, async { wasmtime::error::Ok(ended) })?;
            Ok((keys, ended))
        })
    }
}

impl variables::Host for State {}

impl<U: Send> variables::HostWithStore<U> for HasSelf<State> {
    async fn get(
        accessor: &Accessor<U, Self>,
        name: String,
    ) -> Result<std::result::Result<String, variables::Error>> {
        accessor.with(|mut access| {
            let found = access.get().stores()?.spin_variable(&name).map(str::to_owned);
            Ok(found.ok_or(variables::Error::Undefined(name)))
        })
    }
}
