//! The names of the WASI 0.2 interfaces in which our functions replace those of wasmtime-wasi.
//!
//! The version is that of the interfaces that wasmtime-wasi 48.0.8 puts into a linker. The linker gives the same
//! functions to components that were built with an earlier 0.2.

macro_rules! name {
    ($interface:literal) => {
        concat!("wasi:", $interface, "@0.2.12")
    };
}

pub(super) const CLOCK: &str = name!("clocks/monotonic-clock");
pub(super) const FILES: &str = name!("filesystem/types");
pub(in crate::wasm) const HTTP: &str = name!("http/types");
pub(super) const PREOPENS: &str = name!("filesystem/preopens");
pub(super) const POLL: &str = name!("io/poll");
pub(super) const STREAMS: &str = name!("io/streams");

#[cfg(test)]
mod tests {
    use wasmtime::component::Linker;
    use wasmtime::{Engine, StoreContextMut};
    use wasmtime_wasi::{WasiCtxView, WasiView};

    use super::*;

    struct NoGuest;

    impl WasiView for NoGuest {
        fn ctx(&mut self) -> WasiCtxView<'_> {
            unreachable!("nothing runs")
        }
    }

    /// Under a wrong name, our functions would stand beside those that guests call, and guard nothing.
    #[test]
    fn the_linker_has_functions_under_each_name() {
        let mut linker = Linker::<NoGuest>::new(&Engine::default());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        let rows = [
            (CLOCK, "subscribe-instant"),
            (CLOCK, "subscribe-duration"),
            (FILES, "[method]descriptor.open-at"),
            (FILES, "[method]descriptor.symlink-at"),
            (FILES, "[method]descriptor.rename-at"),
            (FILES, "[method]descriptor.link-at"),
            (FILES, "[method]descriptor.create-directory-at"),
            (FILES, "[method]descriptor.set-size"),
            (FILES, "[method]descriptor.write"),
            (FILES, "[method]descriptor.write-via-stream"),
            (FILES, "[method]descriptor.append-via-stream"),
            (POLL, "poll"),
            (PREOPENS, "get-directories"),
            (STREAMS, "[method]input-stream.subscribe"),
            (STREAMS, "[method]output-stream.write"),
        ];

        for (interface, function) in rows {
            let mut instance = linker.instance(interface).unwrap();
            let twice = instance.func_wrap(function, |_: StoreContextMut<'_, NoGuest>, (): ()| Ok(()));
            assert!(twice.is_err(), "{interface} has no {function}");
        }
        assert!(HTTP.starts_with("wasi:http/types@"));
    }
}
