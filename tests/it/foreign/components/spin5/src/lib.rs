//! A component of Spin's SDK 5: keeps text in a store.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;
use spin_sdk::key_value::{Error, Store};

/// Writes, reads, lists and deletes, and returns what it has seen, a line each.
fn act() -> Result<String, Error> {
    let store = Store::open_default()?;
    store.set("spin/a", b"one")?;
    store.set("spin/b", b"two")?;
    let found = store.get("spin/a")?.map(String::from_utf8);
    let keys = store.get_keys()?;
    store.delete("spin/b")?;
    let there = store.exists("spin/b")?;
    let other = Store::open("other").err();
    let greeting = spin_sdk::variables::get("greeting");
    let none = spin_sdk::variables::get("none");
    Ok(format!("{found:?}\n{keys:?}\n{there}\n{other:?}\n{greeting:?} {none:?}\n"))
}

#[http_component]
fn handle(_request: Request) -> impl IntoResponse {
    match act() {
        Ok(seen) => Response::new(200, seen),
        Err(error) => Response::new(500, format!("{error:?}")),
    }
}
