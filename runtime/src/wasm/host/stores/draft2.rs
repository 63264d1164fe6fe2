//! `wasi:keyvalue@0.2.0-draft2`: stores as Spin's components use them.

use bytes::Bytes;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};

use self::wasi::keyvalue::store::{Error, KeyResponse};
use self::wasi::keyvalue::{atomics, batch, store};
use super::grants::{StoreFailure, no_memory};
use crate::store::{Condition, Swapped};
use crate::wasm::host::component_state::State;
use crate::wasm::host::memory_meter::{KeptFor, charged};

wasmtime::component::bindgen!({
    inline: "
        package wasi:keyvalue@0.2.0-draft2;

        interface store {
            variant error { no-such-store, access-denied, other(string) }
            record key-response { keys: list<string>, cursor: option<string> }
            open: func(identifier: string) -> result<bucket, error>;
            resource bucket {
                get: func(key: string) -> result<option<list<u8>>, error>;
                set: func(key: string, value: list<u8>) -> result<_, error>;
                delete: func(key: string) -> result<_, error>;
                exists: func(key: string) -> result<bool, error>;
                list-keys: func(cursor: option<string>) -> result<key-response, error>;
            }
        }

        interface atomics {
            use store.{bucket, error};
            resource cas {
                new: static func(bucket: borrow<bucket>, key: string) -> result<cas, error>;
                current: func() -> result<option<list<u8>>, error>;
            }
            variant cas-error { store-error(error), cas-failed(cas) }
            increment: func(bucket: borrow<bucket>, key: string, delta: s64) -> result<s64, error>;
            swap: func(cas: cas, value: list<u8>) -> result<_, cas-error>;
        }

        interface batch {
            use store.{bucket, error};
            get-many: func(bucket: borrow<bucket>, keys: list<string>)
                -> result<list<tuple<string, option<list<u8>>>>, error>;
            set-many: func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>) -> result<_, error>;
            delete-many: func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>;
        }

        world imports { import store; import atomics; import batch; }
    ",
    imports: { default: async | trappable },
    with: {
        "wasi:keyvalue/store.bucket": BucketHandle,
        "wasi:keyvalue/atomics.cas": SwapHandle,
    },
});

/// A component's handle of a store. Its representation is the store's number in `GuestStores`.
#[expect(unreachable_pub, reason = "what the macro makes of it is public")]
pub struct BucketHandle;

/// A component's handle of a swap. Its representation is the swap's number in `GuestStores`.
#[expect(unreachable_pub, reason = "what the macro makes of it is public")]
pub struct SwapHandle;

/// Adds the interfaces to a linker.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    store::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    atomics::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    batch::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

type Draft2Result<T> = Result<std::result::Result<T, Error>>;

impl From<StoreFailure> for Error {
    fn from(failure: StoreFailure) -> Error {
        match failure.code {
            "access_denied" => Error::AccessDenied,
            _ => Error::Other(failure.to_string()),
        }
    }
}

impl store::Host for State {
    async fn open(&mut self, name: String) -> Draft2Result<Resource<BucketHandle>> {
        Ok(self.stores()?.find(&name).map(Resource::new_own).map_err(Error::from))
    }
}

impl store::HostBucket for State {
    async fn get(&mut self, bucket: Resource<BucketHandle>, key: String) -> Draft2Result<Option<Vec<u8>>> {
        let found = self.stores()?.run(bucket.rep(), async |store| store.get(&key).await).await;
        Ok(found.map(|found| found.map(|found| found.value.into())).map_err(Error::from))
    }

    async fn set(&mut self, bucket: Resource<BucketHandle>, key: String, value: Vec<u8>) -> Draft2Result<()> {
        let set = self.stores()?.run(bucket.rep(), async |store| {
            store.set(&key, value.into(), None, Condition::Always).await.map(drop)
        });
        Ok(set.await.map_err(Error::from))
    }

    async fn delete(&mut self, bucket: Resource<BucketHandle>, key: String) -> Draft2Result<()> {
        let deleted =
            self.stores()?.run(bucket.rep(), async |store| store.delete(&key).await.map(drop)).await;
        Ok(deleted.map_err(Error::from))
    }

    async fn exists(&mut self, bucket: Resource<BucketHandle>, key: String) -> Draft2Result<bool> {
        let found =
            self.stores()?.run(bucket.rep(), async |store| Ok(store.get(&key).await?.is_some())).await;
        Ok(found.map_err(Error::from))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<BucketHandle>,
        cursor: Option<String>,
    ) -> Draft2Result<KeyResponse> {
        let list = async |store: &crate::store::KeyValue| store.list("", cursor.as_deref(), usize::MAX).await;
        let page = self.stores()?.run(bucket.rep(), list).await;
        Ok(page.map(|page| KeyResponse { keys: page.keys, cursor: page.cursor }).map_err(Error::from))
    }

    async fn drop(&mut self, _bucket: Resource<BucketHandle>) -> Result<()> {
        Ok(())
    }
}

impl atomics::Host for State {
    async fn increment(
        &mut self,
        bucket: Resource<BucketHandle>,
        key: String,
        delta: i64,
    ) -> Draft2Result<i64> {
        let sum = self.stores()?.run(bucket.rep(), async |store| store.increment(&key, delta).await).await;
        Ok(sum.map_err(Error::from))
    }

    async fn swap(
        &mut self,
        cas: Resource<SwapHandle>,
        value: Vec<u8>,
    ) -> Result<std::result::Result<(), atomics::CasError>> {
        let stores = self.stores()?;
        let number = cas.rep();
        let Some(swap) = stores.swap(number).cloned() else {
            let error = Error::Other("there is no swap with this number".to_owned());
            return Ok(Err(atomics::CasError::StoreError(error)));
        };
        let condition = swap.version.map_or(Condition::Absent, Condition::Version);
        let set = stores
            .run(swap.store, async |store| store.set(&swap.key, Bytes::from(value), None, condition).await);
        match set.await {
            Ok(Swapped::Written(_)) => {
                stores.forget_swap(number);
                Ok(Ok(()))
            }
            // The handle goes back to the guest, and expects the current version now.
            Ok(Swapped::Stale(current)) => {
                if let Some(swap) = stores.swap(number) {
                    swap.version = current.map(|current| current.version);
                }
                Ok(Err(atomics::CasError::CasFailed(Resource::new_own(number))))
            }
            Err(failure) => {
                stores.forget_swap(number);
                Ok(Err(atomics::CasError::StoreError(failure.into())))
            }
        }
    }
}

impl atomics::HostCas for State {
    async fn new(
        &mut self,
        bucket: Resource<BucketHandle>,
        key: String,
    ) -> Draft2Result<Resource<SwapHandle>> {
        let stores = self.stores()?;
        let found = stores.run(bucket.rep(), async |store| store.get(&key).await).await;
        let version = match found {
            Ok(found) => found.map(|found| found.version),
            Err(failure) => return Ok(Err(failure.into())),
        };
        let swap = stores.add_swap(bucket.rep(), key, version);
        Ok(swap.map(Resource::new_own).map_err(Error::from))
    }

    /// Reads the value anew, and expects its version from now on: no value is kept here for the guest.
    async fn current(&mut self, cas: Resource<SwapHandle>) -> Draft2Result<Option<Vec<u8>>> {
        let stores = self.stores()?;
        let Some(swap) = stores.swap(cas.rep()).cloned() else { return Ok(Ok(None)) };
        let found = match stores.run(swap.store, async |store| store.get(&swap.key).await).await {
            Ok(found) => found,
            Err(failure) => return Ok(Err(failure.into())),
        };
        if let Some(swap) = stores.swap(cas.rep()) {
            swap.version = found.as_ref().map(|found| found.version);
        }
        Ok(Ok(found.map(|found| found.value.into())))
    }

    async fn drop(&mut self, cas: Resource<SwapHandle>) -> Result<()> {
        self.stores()?.forget_swap(cas.rep());
        Ok(())
    }
}

impl batch::Host for State {
    async fn get_many(
        &mut self,
        bucket: Resource<BucketHandle>,
        keys: Vec<String>,
    ) -> Draft2Result<Vec<(String, Option<Vec<u8>>)>> {
        let found = self.stores()?.run(bucket.rep(), async |store| store.get_many(&keys).await).await;
        let pairs = found.map(|found| {
            let values = found.into_iter().map(|found| found.map(|found| found.value.into()));
            keys.into_iter().zip(values).collect()
        });
        Ok(pairs.map_err(Error::from))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<BucketHandle>,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Draft2Result<()> {
        let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        // They wait in the store for the operations of others.
        if !self.meter.keep(KeptFor::Store, charged(bytes)) {
            return Ok(Err(no_memory(bytes).into()));
        }
        let entries = entries.into_iter().map(|(key, value)| (key, value.into())).collect();
        let set = self.stores()?.run(bucket.rep(), async |store| store.set_many(entries).await).await;
        self.meter.keep(KeptFor::Store, 0);
        Ok(set.map_err(Error::from))
    }

    async fn delete_many(&mut self, bucket: Resource<BucketHandle>, keys: Vec<String>) -> Draft2Result<()> {
        let deleted = self.stores()?.run(bucket.rep(), async |store| store.delete_many(keys).await).await;
        Ok(deleted.map_err(Error::from))
    }
}
