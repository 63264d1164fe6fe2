//! The implementation for components, which have no stores yet.

use std::time::Duration;

use crate::store::{Condition, Entry, Page, StoreError, StoreErrorKind, Swapped};

/// A store that cannot exist.
#[derive(Debug)]
pub(in crate::store) enum Handle {}

impl Handle {
    pub(in crate::store) fn open(name: &str) -> Result<Handle, StoreError> {
        let message = format!("store {name}: build for wasm32-wasip1 to use stores");
        Err(StoreError::new(StoreErrorKind::Unavailable, message))
    }

    pub(in crate::store) fn get(&self, _: &str) -> Result<Option<Entry>, StoreError> {
        match *self {}
    }

    pub(in crate::store) fn set(
        &self,
        _: &str,
        _: &[u8],
        _: Option<Duration>,
        _: Condition,
    ) -> Result<Swapped, StoreError> {
        match *self {}
    }

    pub(in crate::store) fn delete(&self, _: &str) -> Result<bool, StoreError> {
        match *self {}
    }

    pub(in crate::store) fn increment(&self, _: &str, _: i64) -> Result<i64, StoreError> {
        match *self {}
    }

    pub(in crate::store) fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Page, StoreError> {
        match *self {}
    }

    pub(in crate::store) fn get_many(&self, _: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        match *self {}
    }

    pub(in crate::store) fn set_many(&self, _: &[(&str, &[u8])]) -> Result<(), StoreError> {
        match *self {}
    }

    pub(in crate::store) fn delete_many(&self, _: &[&str]) -> Result<(), StoreError> {
        match *self {}
    }
}
