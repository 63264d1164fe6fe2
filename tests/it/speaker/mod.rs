//! Components that answer HTTP themselves, with wasi:http 0.2 and 0.3.
//!
//! Floors, lowest first: the guests in this file; `asking`, `both`, `reuse`; `calling`, `proxy`, `service`.

mod asking;
mod both;
mod calling;
mod proxy;
mod reuse;
mod sending;
mod service;

use std::fs;

use crate::harness::{Daemon, Setup, guests};

/// A guest that does what its path says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest {
    module: &'static str,
    /// The setting that enables it.
    switch: &'static str,
}

/// It exports wasi:http/incoming-handler.
const PROXY: Guest = Guest { module: "proxy.wasm", switch: "" };

/// It exports wasi:http/handler.
const SERVICE: Guest = Guest { module: "service.wasm", switch: "wasi_http_03 = true\n" };

pub(crate) const BOTH: [Guest; 2] = [PROXY, SERVICE];

impl Guest {
    fn bytes(self) -> Vec<u8> {
        fs::read(guests().join(self.module)).unwrap()
    }

    /// Configures it as "p" below `/` with `settings` in its table, but does not enable it.
    fn off(self, settings: &str) -> Setup {
        Setup::new(&format!(
            "debug = true\n[handler.p]\nmodule = \"p.wasm\"\n{settings}\n[[route]]\npath = \"/{{verb}}/{{*rest}}\"\nhandler = \"p\"\n\
             [[route]]\npath = \"/{{verb}}\"\nhandler = \"p\"\n"
        ))
        .file("p.wasm", &self.bytes())
    }

    /// Configures and enables it.
    pub(crate) fn setup(self, settings: &str) -> Setup {
        self.off(settings).prepend(self.switch)
    }

    pub(crate) fn serving(self, settings: &str) -> Daemon {
        self.setup(settings).start()
    }
}
