//! `wasi:config@0.2.0-draft-2024-09-27`, as Spin has it.

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

use self::wasi::config::store;
use crate::wasm::host::component_state::State;

wasmtime::component::bindgen!({
    inline: "
        package portcullis:settings-draft@1.0.0;
        world settings { import wasi:config/store@0.2.0-draft-2024-09-27; }

        package wasi:config@0.2.0-draft-2024-09-27 {
            interface store {
                variant error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }
        }
    ",
    world: "portcullis:settings-draft/settings",
    imports: { default: async | trappable },
});

/// Adds the interface to a linker.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    store::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
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
