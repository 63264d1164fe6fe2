//! Uses stores: its arguments select the interface.

use std::process::ExitCode;

#[cfg(target_env = "p2")]
mod draft {
    wit_bindgen::generate!({
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
            world old { import store; import atomics; }
        ",
        world: "old",
    });
}

#[cfg(target_env = "p2")]
mod config_draft {
    wit_bindgen::generate!({
        inline: "
            package wasi:config@0.2.0-draft-2024-09-27;
            interface store {
                variant error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }
            world settings { import store; }
        ",
        world: "settings",
    });
}

#[cfg(target_env = "p2")]
mod draft2 {
    wit_bindgen::generate!({
        inline: "
            package test:stores;
            world new {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
                import wasi:config/store@0.2.0-rc.1;
                import wasi:logging/logging@0.1.0-draft;
            }
            package wasi:keyvalue@0.2.0-draft2 {
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
            }
            package wasi:config@0.2.0-rc.1 {
                interface store {
                    variant error { upstream(string), io(string) }
                    get: func(key: string) -> result<option<string>, error>;
                    get-all: func() -> result<list<tuple<string, string>>, error>;
                }
            }
            package wasi:logging@0.1.0-draft {
                interface logging {
                    enum level { trace, debug, info, warn, error, critical }
                    log: func(level: level, context: string, message: string);
                }
            }
        ",
        world: "test:stores/new",
        generate_all,
    });
}

#[cfg(target_env = "p2")]
fn act(verb: &str) -> Result<(), String> {
    let old = || -> Result<(), draft::wasi::keyvalue::store::Error> {
        use draft::wasi::keyvalue::{atomics, store};
        let bucket = store::open("default")?;
        bucket.set("draft/n", b"41")?;
        println!("sum {}", atomics::increment(&bucket, "draft/n", 1)?);
        let page = bucket.list_keys(None)?;
        println!("keys {:?} more {}", page.keys, page.cursor.is_some());
        println!("exists {} {}", bucket.exists("draft/n")?, bucket.exists("none")?);
        bucket.delete("draft/n")?;
        println!("get {:?}", bucket.get("draft/n")?);
        println!("denied {:?}", store::open("other").err());
        Ok(())
    };
    let new = || -> Result<(), draft2::wasi::keyvalue::store::Error> {
        use draft2::wasi::config::store as config;
        use draft2::wasi::keyvalue::{atomics, batch, store};
        use draft2::wasi::logging::logging;
        let bucket = store::open("default")?;
        bucket.set("new/n", b"-1")?;
        println!("sum {}", atomics::increment(&bucket, "new/n", -1)?);
        let cas = atomics::Cas::new(&bucket, "new/n")?;
        println!("current {:?}", cas.current()?.map(String::from_utf8));
        bucket.set("new/n", b"7")?;
        let Err(atomics::CasError::CasFailed(cas)) = atomics::swap(cas, b"lost") else {
            println!("a swap that lost was not told");
            return Ok(());
        };
        println!("current {:?}", cas.current()?.map(String::from_utf8));
        println!("swapped {}", atomics::swap(cas, b"won").is_ok());
        batch::set_many(&bucket, &[("new/b".to_owned(), b"x".to_vec())])?;
        let keys = ["new/b".to_owned(), "none".to_owned(), "new/n".to_owned()];
        println!("many {:?}", batch::get_many(&bucket, &keys)?);
        batch::delete_many(&bucket, &keys)?;
        println!(
            "config {:?} {:?}",
            config::get("GREETING").ok().flatten(),
            config::get("PATH_INFO").ok().flatten()
        );
        logging::log(logging::Level::Warn, "guest", "a message");
        Ok(())
    };
    match verb {
        "draft" => old().map_err(|error| format!("{error:?}")),
        "pages" => pages(),
        "settings" => settings(),
        _ => new().map_err(|error| format!("{error:?}")),
    }
}

/// Lists more keys than a page has, by both drafts.
#[cfg(target_env = "p2")]
fn pages() -> Result<(), String> {
    use draft::wasi::keyvalue::store as old;
    use draft2::wasi::keyvalue::{batch, store as new};
    let bucket = new::open("default").map_err(|error| format!("{error:?}"))?;
    for hundred in 0..11 {
        let entry = |number: u32| (format!("{:04}", 100 * hundred + number), vec![255, 0]);
        let entries: Vec<(String, Vec<u8>)> = (0..100).map(entry).collect();
        batch::set_many(&bucket, &entries).map_err(|error| format!("{error:?}"))?;
    }
    println!("value {:?}", bucket.get("1099").ok().flatten());
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor.as_deref()).map_err(|error| format!("{error:?}"))?;
        println!("new {} {:?} {:?}", page.keys.len(), page.keys.first(), page.keys.last());
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let bucket = old::open("default").map_err(|error| format!("{error:?}"))?;
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor).map_err(|error| format!("{error:?}"))?;
        println!("old {} {:?} {:?}", page.keys.len(), page.keys.first(), page.keys.last());
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    println!("{:?} {:?}", bucket.list_keys(Some(77)).err(), new::open("other").err());
    Ok(())
}

/// Reads the settings of the handler by both versions of their interface.
#[cfg(target_env = "p2")]
fn settings() -> Result<(), String> {
    use config_draft::wasi::config::store as old;
    use draft2::wasi::config::store as new;
    let (mut olds, mut news) = (old::get_all().unwrap_or_default(), new::get_all().unwrap_or_default());
    olds.sort();
    news.sort();
    println!("{:?} {:?} {olds:?}", old::get("KEY").ok().flatten(), old::get("PATH").ok());
    println!("{:?} {:?} {news:?}", new::get("KEY").ok().flatten(), new::get("PATH").ok());
    Ok(())
}

#[cfg(not(target_env = "p2"))]
fn act(verb: &str) -> Result<(), String> {
    use portcullis_guest::store::{self, StoreError};
    if verb == "down" {
        println!("{:?}", store::open("default").and_then(|store| store.get("a")).err());
        return Ok(());
    }
    let sdk = || -> Result<(), StoreError> {
        let store = store::open("default")?;
        store.set("a", "x")?;
        let sum = store.update("n", |now| Ok::<_, StoreError>([now.unwrap_or(b"1"), b"0"].concat()))?;
        println!("updated {}", String::from_utf8_lossy(&sum));
        println!("sum {}", store.increment("n", 5)?);
        println!("created {} {}", store.create("n", "")?, store.create("m", "")?);
        let large = vec![b'l'; 100_000];
        store.set_many(&[("a", &large[..]), ("b", b"")])?;
        let many = store.get_many(&["a", "none", "b"])?;
        println!(
            "many {:?}",
            many.iter().map(|entry| entry.as_ref().map(|entry| entry.value.len())).collect::<Vec<_>>()
        );
        println!("large {}", store.get("a")? == Some(large));
        println!("page {:?}", store.list("", None, 2)?);
        println!("keys {:?}", store.keys("")?);
        store.delete_many(&["a", "b", "m"])?;
        println!("deleted {} {}", store.delete("n")?, store.delete("n")?);
        println!("{:?}", store.increment("", 1));
        println!("{:?}", store::open("other").err());
        Ok(())
    };
    sdk().map_err(|error| format!("{verb}: {error:?}"))
}

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    match act(&verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
