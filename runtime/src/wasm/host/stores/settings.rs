//! `wasi:config/store` and `wasi:logging`: a component's variables, and its messages.

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

use self::wasi::config::store;
use self::wasi::logging::logging;
use crate::wasm::host::component_state::State;

wasmtime::component::bindgen!({
    inline: "
        package portcullis:settings@1.0.0;
        world settings { import wasi:config/store@0.2.0-rc.1; import wasi:logging/logging@0.1.0-draft; }

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
    world: "portcullis:settings/settings",
    imports: { default: async | trappable },
});

/// Adds the interfaces to a linker.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    store::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    logging::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

/// The keys are the variables that are configured for the handler, secrets among them.
impl store::Host for State {
    async fn get(&mut self, key: String) -> Result<std::result::Result<Option<String>, store::Error>> {
        Ok(Ok(self.stores()?.variable(&key).map(str::to_owned)))
    }

    async fn get_all(&mut self) -> Result<std::result::Result<Vec<(String, String)>, store::Error>> {
        let variables = self.stores()?.variables();
        Ok(Ok(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

/// A message is a line on stderr: `LEVEL CONTEXT: MESSAGE`.
impl logging::Host for State {
    async fn log(&mut self, level: logging::Level, context: String, message: String) -> Result<()> {
        let level = match level {
            logging::Level::Trace => "trace",
            logging::Level::Debug => "debug",
            logging::Level::Info => "info",
            logging::Level::Warn => "warn",
            logging::Level::Error => "error",
            logging::Level::Critical => "critical",
        };
        let context = if context.is_empty() { String::new() } else { format!(" {context}") };
        // A log that fails is no reason to fail the job.
        let _unheard = self.stores()?.log.write_all(format!("{level}{context}: {message}\n")).await;
        Ok(())
    }
}
