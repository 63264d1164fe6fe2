//! `fermyon:spin@2.0.0`: key-value and variables as components of Spin 2 and 3 use them, and those of its SDKs up to 5.

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};

use self::fermyon::spin::key_value::Error;
use self::fermyon::spin::{key_value, variables};
use super::all_keys::all_keys;
use super::grants::StoreFailure;
use crate::store::Condition;
use crate::wasm::host::component_state::State;

wasmtime::component::bindgen!({
    inline: "
        package fermyon:spin@2.0.0;

        interface key-value {
            resource store {
                open: static func(label: string) -> result<store, error>;
                get: func(key: string) -> result<option<list<u8>>, error>;
                set: func(key: string, value: list<u8>) -> result<_, error>;
                delete: func(key: string) -> result<_, error>;
                exists: func(key: string) -> result<bool, error>;
                get-keys: func() -> result<list<string>, error>;
            }
            variant error { store-table-full, no-such-store, access-denied, other(string) }
        }

        interface variables {
            get: func(name: string) -> result<string, error>;
            variant error { invalid-name(string), undefined(string), provider(string), other(string) }
        }

        world imports { import key-value; import variables; }
    ",
    imports: { default: async | trappable },
    with: { "fermyon:spin/key-value.store": SpinStoreHandle },
});

/// A component's handle of a store. Its representation is the store's number in `GuestStores`.
#[expect(unreachable_pub, reason = "what the macro makes of it is public")]
pub struct SpinStoreHandle;

/// Adds the interfaces to a linker.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    key_value::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    variables::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

type SpinResult<T> = Result<std::result::Result<T, Error>>;

impl From<StoreFailure> for Error {
    fn from(failure: StoreFailure) -> Error {
        match failure.code {
            "access_denied" => Error::AccessDenied,
            _ => Error::Other(failure.to_string()),
        }
    }
}

impl key_value::Host for State {}

impl key_value::HostStore for State {
    async fn open(&mut self, label: String) -> SpinResult<Resource<SpinStoreHandle>> {
        Ok(self.stores()?.find(&label).map(Resource::new_own).map_err(Error::from))
    }

    async fn get(&mut self, store: Resource<SpinStoreHandle>, key: String) -> SpinResult<Option<Vec<u8>>> {
        let found = self.stores()?.run(store.rep(), async |store| store.get(&key).await).await;
        Ok(found.map(|found| found.map(|found| found.value.into())).map_err(Error::from))
    }

    async fn set(&mut self, store: Resource<SpinStoreHandle>, key: String, value: Vec<u8>) -> SpinResult<()> {
        let set = self.stores()?.run(store.rep(), async |store| {
            store.set(&key, value.into(), None, Condition::Always).await.map(drop)
        });
        Ok(set.await.map_err(Error::from))
    }

    async fn delete(&mut self, store: Resource<SpinStoreHandle>, key: String) -> SpinResult<()> {
        let deleted = self.stores()?.run(store.rep(), async |store| store.delete(&key).await.map(drop)).await;
        Ok(deleted.map_err(Error::from))
    }

    async fn exists(&mut self, store: Resource<SpinStoreHandle>, key: String) -> SpinResult<bool> {
        let found = self.stores()?.run(store.rep(), async |store| Ok(store.get(&key).await?.is_some())).await;
        Ok(found.map_err(Error::from))
    }

    async fn get_keys(&mut self, store: Resource<SpinStoreHandle>) -> SpinResult<Vec<String>> {
        let keys = self.stores()?.run(store.rep(), async |store| all_keys(store).await).await;
        Ok(keys.map_err(Error::from))
    }

    async fn drop(&mut self, _store: Resource<SpinStoreHandle>) -> Result<()> {
        Ok(())
    }
}

impl variables::Host for State {
    async fn get(&mut self, name: String) -> Result<std::result::Result<String, variables::Error>> {
        let found = self.stores()?.spin_variable(&name);
        Ok(found.map(str::to_owned).ok_or(variables::Error::Undefined(name)))
    }
}
