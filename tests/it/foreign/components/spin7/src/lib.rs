//! A component of Spin's SDK 7: keeps text in a store.

use spin_sdk::http::{IntoResponse, Request, StatusCode};
use spin_sdk::http_service;
use spin_sdk::key_value::{Error, Store};

/// Writes, reads, lists and deletes, and returns what it has seen, a line each.
async fn act() -> Result<String, Error> {
    let store = Store::open_default().await?;
    store.set("spin/a", b"one").await?;
    store.set("spin/b", b"two").await?;
    let found = store.get("spin/a").await?.map(String::from_utf8);
    let keys = store.get_keys().await.collect().await?;
    store.delete("spin/b").await?;
    let there = store.exists("spin/b").await?;
    let other = Store::open("other").await.err();
    let greeting = spin_sdk::variables::get("greeting").await;
    let none = spin_sdk::variables::get("none").await;
    Ok(format!("{found:?}\n{keys:?}\n{there}\n{other:?}\n{greeting:?} {none:?}\n"))
}

#[http_service]
async fn handle(_request: Request) -> impl IntoResponse {
    match act().await {
        Ok(seen) => (StatusCode::OK, seen),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")),
    }
}
