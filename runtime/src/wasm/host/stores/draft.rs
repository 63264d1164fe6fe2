//! `wasi:keyvalue@0.2.0-draft`: stores as wasmCloud's components use them.

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};

use self::wasi::keyvalue::store::{Error, KeyResponse};
use self::wasi::keyvalue::{atomics, batch, store};
use super::grants::{StoreFailure, no_memory};
use crate::store::{Condition, KeyPage};
use crate::wasm::host::component_state::State;
use crate::wasm::host::memory_meter::{KeptFor, charged};

wasmtime::component::bindgen!({
    inline: "
        package wasi:keyvalue@0.2.0-draft;

        interface store {
            variant error { no-such-store, access-denied, other(string) }
            record key-response { keys: list<string>, cursor: option<u64> }
            open: func(identifier: string) -> result<bucket, error>;
            resource bucket {
                get: func(key: string) -> result<option<list<u8>>, error>;
                set: func(key: string, value: list<u8>) -> result<_, error>;
                delete: func(key: string) -> result<_, error>;
                exists: func(key: string) -> result<bool, error>;
                list-keys: func(cursor: option<u64>) -> result<key-response, error>;
            }
        }

        interface atomics {
            use store.{bucket, error};
            increment: func(bucket: borrow<bucket>, key: string, delta: u64) -> result<u64, error>;
        }

        interface batch {
            use store.{bucket, error};
            get-many: func(bucket: borrow<bucket>, keys: list<string>)
                -> result<list<option<tuple<string, list<u8>>>>, error>;
            set-many: func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>) -> result<_, error>;
            delete-many: func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>;
        }

        world imports { import store; import atomics; import batch; }
    ",
    imports: { default: async | trappable },
    with: { "wasi:keyvalue/store.bucket": DraftBucketHandle },
});

/// A component's handle of a store. Its representation is the store's number in `GuestStores`.
#[expect(unreachable_pub, reason = "what the macro makes of it is public")]
pub struct DraftBucketHandle;

/// Adds the interfaces to a linker.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    store::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    atomics::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    batch::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

type DraftResult<T> = Result<std::result::Result<T, Error>>;

impl From<StoreFailure> for Error {
    fn from(failure: StoreFailure) -> Error {
        match failure.code {
            "access_denied" => Error::AccessDenied,
            _ => Error::Other(failure.to_string()),
        }
    }
}

impl store::Host for State {
    async fn open(&mut self, name: String) -> DraftResult<Resource<DraftBucketHandle>> {
        Ok(self.stores()?.find(&name).map(Resource::new_own).map_err(Error::from))
    }
}

impl store::HostBucket for State {
    async fn get(
        &mut self,
        bucket: Resource<DraftBucketHandle>,
        key: String,
    ) -> DraftResult<Option<Vec<u8>>> {
        let found = self.stores()?.run(bucket.rep(), async |store| store.get(&key).await).await;
        Ok(found.map(|found| found.map(|found| found.value.into())).map_err(Error::from))
    }

    async fn set(
        &mut self,
        bucket: Resource<DraftBucketHandle>,
        key: String,
        value: Vec<u8>,
    ) -> DraftResult<()> {
        let set = self.stores()?.run(bucket.rep(), async |store| {
            store.set(&key, value.into(), None, Condition::Always).await.map(drop)
        });
        Ok(set.await.map_err(Error::from))
    }

    async fn delete(&mut self, bucket: Resource<DraftBucketHandle>, key: String) -> DraftResult<()> {
        let deleted =
            self.stores()?.run(bucket.rep(), async |store| store.delete(&key).await.map(drop)).await;
        Ok(deleted.map_err(Error::from))
    }

    async fn exists(&mut self, bucket: Resource<DraftBucketHandle>, key: String) -> DraftResult<bool> {
        let found =
            self.stores()?.run(bucket.rep(), async |store| Ok(store.get(&key).await?.is_some())).await;
        Ok(found.map_err(Error::from))
    }

    /// A cursor of this version is a number. It is good for this job alone, and stands for the last key of its page.
    async fn list_keys(
        &mut self,
        bucket: Resource<DraftBucketHandle>,
        cursor: Option<u64>,
    ) -> DraftResult<KeyResponse> {
        let stores = self.stores()?;
        let after = match cursor.map(|cursor| stores.cursor(cursor)).transpose() {
            Ok(after) => after,
            Err(failure) => return Ok(Err(failure.into())),
        };
        let list = async |store: &crate::store::KeyValue| store.list("", after.as_deref(), usize::MAX).await;
        let page = stores.run(bucket.rep(), list).await;
        let response = page.map(|KeyPage { keys, cursor }| {
            let cursor = cursor.map(|cursor| stores.add_cursor(cursor));
            KeyResponse { keys, cursor }
        });
        Ok(response.map_err(Error::from))
    }

    async fn drop(&mut self, _bucket: Resource<DraftBucketHandle>) -> Result<()> {
        Ok(())
    }
}

impl atomics::Host for State {
    /// Adds to a number. Numbers of this version have no sign, so a negative number is an error.
    async fn increment(
        &mut self,
        bucket: Resource<DraftBucketHandle>,
        key: String,
        delta: u64,
    ) -> DraftResult<u64> {
        let Ok(delta) = i64::try_from(delta) else {
            return Ok(Err(Error::Other("overflow: a number has 63 bits and a sign".to_owned())));
        };
        let sum = self.stores()?.run(bucket.rep(), async |store| store.increment(&key, delta).await).await;
        Ok(sum.map_err(Error::from).and_then(|sum| {
            u64::try_from(sum).map_err(|_| Error::Other(format!("not_a_number: {sum} is negative")))
        }))
    }
}

impl batch::Host for State {
    async fn get_many(
        &mut self,
        bucket: Resource<DraftBucketHandle>,
        keys: Vec<String>,
    ) -> DraftResult<Vec<Option<(String, Vec<u8>)>>> {
        let found = self.stores()?.run(bucket.rep(), async |store| store.get_many(&keys).await).await;
        let pairs = found.map(|found| {
            let pairs = keys.into_iter().zip(found);
            pairs.map(|(key, found)| found.map(|found| (key, found.value.into()))).collect()
        });
        Ok(pairs.map_err(Error::from))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<DraftBucketHandle>,
        entries: Vec<(String, Vec<u8>)>,
    ) -> DraftResult<()> {
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

    async fn delete_many(
        &mut self,
        bucket: Resource<DraftBucketHandle>,
        keys: Vec<String>,
    ) -> DraftResult<()> {
        let deleted = self.stores()?.run(bucket.rep(), async |store| store.delete_many(keys).await).await;
        Ok(deleted.map_err(Error::from))
    }
}
