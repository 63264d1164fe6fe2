//! All entries of a store, batch by batch, for operators.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;

use super::error::StoreError;
use super::key_value::{Backend, KeyValue, patient};
use super::limits::MAX_BATCH;
use super::value::{EntryBatch, StoreEntry, Versioned};

/// The entries of a store with a prefix.
///
/// A file is read as it is at one moment. On any other back end an entry is read at some moment of the listing; an entry
/// that is there throughout is listed once.
pub struct StoreEntries<'s> {
    store: &'s KeyValue,
    source: EntrySource<'s>,
    /// Keys whose values are not read yet, the next one last.
    ahead: Vec<String>,
    /// Keys whose values are read at once: fewer once they were too large together.
    at_once: usize,
}

/// Where the next entries come from.
enum EntrySource<'s> {
    /// The reader of a file.
    Snapshot(mpsc::Receiver<EntryBatch>),
    /// Pages of keys in their order: the prefix, and the cursor of the next page, or `None` behind the last one.
    Pages(String, Option<Option<String>>),
    /// Keys as the server sends them.
    #[cfg_attr(not(feature = "nats"), expect(dead_code, reason = "only NATS lists keys in no order"))]
    Keys(Pin<Box<dyn Stream<Item = Result<String, StoreError>> + Send + 's>>),
}

impl KeyValue {
    /// Begins to read all entries with a prefix.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn entries(&self, prefix: &str) -> Result<StoreEntries<'_>, StoreError> {
        let source = match self.backend() {
            Backend::Redb(redb) => EntrySource::Snapshot(redb.entries(prefix)?),
            #[cfg(feature = "nats")]
            Backend::Nats(nats) => {
                let prefix = prefix.to_owned();
                let keys = patient(async { Ok(nats.keys(prefix).await?.boxed()) }).await?;
                EntrySource::Keys(keys)
            }
            _ => EntrySource::Pages(prefix.to_owned(), Some(None)),
        };
        Ok(StoreEntries { store: self, source, ahead: Vec::new(), at_once: MAX_BATCH })
    }
}

impl StoreEntries<'_> {
    /// Returns the next entries, perhaps none; `None` behind the last ones. They have no more than
    /// [`MAX_BATCH_BYTES`](super::MAX_BATCH_BYTES) together.
    ///
    /// # Errors
    /// The store cannot be read. The listing is at its end then.
    pub async fn next(&mut self) -> Result<Option<Vec<StoreEntry>>, StoreError> {
        if let EntrySource::Snapshot(batches) = &mut self.source {
            return batches.recv().await.transpose();
        }
        if self.ahead.is_empty() {
            let Some(mut keys) = self.keys().await? else { return Ok(None) };
            keys.reverse();
            self.ahead = keys;
        }
        loop {
            let next: Vec<String> = self.ahead.iter().rev().take(self.at_once).cloned().collect();
            let values = match self.store.get_many(&next).await {
                // They are too large together. A single value is not.
                Err(StoreError::Invalid(_)) if self.at_once > 1 => {
                    self.at_once = self.at_once.div_ceil(2);
                    continue;
                }
                values => values?,
            };
            self.ahead.truncate(self.ahead.len() - next.len());
            let found = next.into_iter().zip(values);
            let entry = |(key, value): (String, Option<Versioned>)| Some(StoreEntry { key, current: value? });
            return Ok(Some(found.filter_map(entry).collect()));
        }
    }

    /// Returns the next keys, perhaps none; `None` behind the last ones.
    async fn keys(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        match &mut self.source {
            EntrySource::Snapshot(_) | EntrySource::Pages(_, None) => Ok(None),
            EntrySource::Pages(prefix, next @ Some(_)) => {
                let page = self.store.list(prefix, next.take().flatten().as_deref(), MAX_BATCH).await?;
                *next = page.cursor.map(Some);
                Ok(Some(page.keys))
            }
            EntrySource::Keys(keys) => {
                let mut next = keys.by_ref().take(MAX_BATCH);
                let mut batch = Vec::new();
                while let Some(key) = patient(async { next.next().await.transpose() }).await? {
                    batch.push(key);
                }
                Ok((!batch.is_empty()).then_some(batch))
            }
        }
    }
}
