//! `storeload NAME`: writes the entries of a dump, which is the input of the job, to a store.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::{Buf as _, Bytes, BytesMut};
use chrono::Utc;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::find::{NamedStore, OperatorStores};
use crate::engine::{Engine, NativeJob};
use crate::job::{Fault, Input, Job, Run};
use crate::jobs::api::{LoadedEntry, StoreLoadCommand, StoreLoadReply};
use crate::jobs::reply::reply;
use crate::store::{Condition, KeyValue, MAX_BATCH, StoreError};

/// The longest line: the largest value, every byte of it escaped as `\u0000`, and its key.
const LONGEST_LINE: usize = 8 << 20;

/// Bytes of entries after which they are written.
const CHUNK_BYTES: usize = 1 << 20;

/// Entries with a time to live that are written at once.
const AT_ONCE: usize = 16;

/// Loads dumps.
pub struct LoadStore {
    /// The stores.
    pub stores: Arc<OperatorStores>,
}

/// The lines of an input.
struct InputLines<'i> {
    input: &'i mut Input,
    begun: BytesMut,
    /// Bytes of `begun` that hold no end of a line.
    searched: usize,
}

/// Entries that are not written yet, and what was written before them.
struct Load<'s> {
    store: &'s NamedStore,
    open: &'s KeyValue,
    chunk: BTreeMap<String, (Bytes, Option<Duration>)>,
    chunk_bytes: usize,
    done: StoreLoadReply,
}

/// Why a load has ended early.
enum LoadError {
    /// A line or the store is at fault.
    Refused(anyhow::Error),
    /// The input broke off.
    Input(Fault),
}

impl NativeJob for LoadStore {
    fn run(self: Arc<Self>, _engine: Arc<Engine>, mut job: Job) -> Run {
        Box::pin(async move {
            let mut input = std::mem::take(&mut job.stdin);
            let outcome = match self.load(&job.args, &mut input).await {
                Ok(done) => Ok(done),
                Err(LoadError::Refused(error)) => Err(error),
                Err(LoadError::Input(fault)) => return Err(fault),
            };
            reply::<StoreLoadCommand>(&job, outcome).await
        })
    }
}

impl LoadStore {
    async fn load(&self, args: &[String], input: &mut Input) -> Result<StoreLoadReply, LoadError> {
        let StoreLoadCommand { store } = StoreLoadCommand::decode(args)?;
        let store = self.stores.find(&store)?;
        let open = store.open().await?;
        let done = StoreLoadReply { loaded: 0, expired: 0 };
        let mut load = Load { store: &store, open, chunk: BTreeMap::new(), chunk_bytes: 0, done };
        let mut lines = InputLines { input, begun: BytesMut::new(), searched: 0 };
        let mut number: u64 = 0;
        while let Some(line) = lines.next().await.map_err(|error| error.at(number + 1, load.so_far()))? {
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let entry = LoadedEntry::read(&line, Utc::now()).with_context(|| format!("line {number}"));
            let added = match entry {
                Ok(entry) => load.add(entry).await,
                Err(error) => Err(error),
            };
            added.with_context(|| load.so_far())?;
        }
        load.write().await.with_context(|| load.so_far())?;
        Ok(load.done)
    }
}

impl InputLines<'_> {
    /// Returns the next line without its end; `None` behind the last one.
    async fn next(&mut self) -> Result<Option<Bytes>, LoadError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.begun[self.searched..]) {
                let line = self.begun.split_to(self.searched + end).freeze();
                self.begun.advance(1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.begun.len();
            if self.searched > LONGEST_LINE {
                let why = anyhow!("a line has more than {LONGEST_LINE} bytes: this is no dump of a store");
                return Err(LoadError::Refused(why));
            }
            if !poll_fn(|context| self.input.poll_filled(context)).await.map_err(LoadError::Input)? {
                let last = self.begun.split();
                self.searched = 0;
                return Ok((!last.is_empty()).then(|| last.freeze()));
            }
            self.begun.extend_from_slice(&self.input.take(CHUNK_BYTES));
        }
    }
}

impl Load<'_> {
    /// Adds an entry, and writes those before it if they are many. Of a key that comes twice, the last value wins.
    async fn add(&mut self, LoadedEntry { key, value, ttl }: LoadedEntry) -> Result<()> {
        if ttl == Some(Duration::ZERO) {
            self.done.expired += 1;
            return Ok(());
        }
        self.chunk_bytes += key.len() + value.len();
        self.chunk.insert(key, (value, ttl));
        if self.chunk.len() == MAX_BATCH || self.chunk_bytes >= CHUNK_BYTES {
            self.write().await?;
        }
        Ok(())
    }

    /// Writes the entries: those without a time to live as one batch.
    async fn write(&mut self) -> Result<()> {
        self.chunk_bytes = 0;
        let (mut lasting, mut expiring) = (Vec::new(), Vec::new());
        for (key, (value, ttl)) in std::mem::take(&mut self.chunk) {
            match ttl {
                None => lasting.push((key, value)),
                Some(ttl) => expiring.push((key, value, ttl)),
            }
        }
        let failed = |error: StoreError| self.store.error(&error);
        let count = lasting.len();
        if count > 0 {
            self.open.set_many(lasting).await.map_err(failed)?;
            self.done.loaded += count as u64;
        }
        let count = expiring.len();
        let open = self.open;
        let sets = futures_util::stream::iter(expiring).map(async |(key, value, ttl)| {
            open.set(&key, value, Some(ttl), Condition::Always).await.map(drop)
        });
        let () = sets.buffer_unordered(AT_ONCE).try_collect().await.map_err(failed)?;
        self.done.loaded += count as u64;
        Ok(())
    }

    fn so_far(&self) -> String {
        format!("after {} entries that were loaded", self.done.loaded)
    }
}

impl LoadError {
    /// Adds the number of the line, and what was loaded before it.
    fn at(self, line: u64, so_far: String) -> LoadError {
        match self {
            LoadError::Refused(error) => {
                LoadError::Refused(error.context(format!("line {line}")).context(so_far))
            }
            LoadError::Input(fault) => LoadError::Input(fault),
        }
    }
}

impl From<anyhow::Error> for LoadError {
    fn from(error: anyhow::Error) -> LoadError {
        LoadError::Refused(error)
    }
}
