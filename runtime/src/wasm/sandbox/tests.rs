//! The messages for modules that cannot be handlers.

use super::*;
use crate::wasm::compile::precompile::precompile;
use crate::wasm::engine::sealed::Sealed;

fn refusal(bytes: &[u8]) -> String {
    let room = Room::unserved(1, 128 << 20);
    let sandbox = Sandbox::new(room, Compilation::unkept(Stacks::Names), WasiHttp03::Refused).unwrap();
    let linked = sandbox.way(bytes, &CompileLimits::default()).and_then(|way| {
        // Compiled in this process: the test binary cannot act as the compiler child.
        let code = Sealed::of(&precompile(&sandbox.engine, bytes)?)?;
        // SAFETY: `precompile` has returned it just now.
        sandbox.link(&way, &unsafe { Artifact::trust(code) })
    });
    format!("{:#}", trap::ours(linked.map(drop).unwrap_err()))
}

#[test]
fn what_is_no_module_is_named_for_what_it_is() {
    assert!(refusal(b"").contains("the file is empty"));
    assert!(refusal(b"\x7fELF\x02\x01").contains("native program"));
    assert!(refusal(b"\n (module)").contains("portcullis build"));
    assert!(refusal(b"Hello, World! and more").contains("starts with \"Hello, World! an\""));
    assert!(refusal(b"\0asm\x09\0\0\0").contains("unknown version"));
    assert!(refusal(b"\0asm\x01\0\0\0\x01").contains("not a valid module"));
}

#[test]
fn a_component_of_wasi_0_3_is_told_what_it_needs() {
    let exporting = |interface: &str| {
        wat::parse_str(format!("(component (instance $i) (export \"{interface}\" (instance $i)))")).unwrap()
    };

    let service = refusal(&exporting("wasi:http/handler@0.3.2"));
    let program = refusal(&exporting("wasi:cli/run@0.3.2"));

    assert!(
        service.contains("wasi:http/handler@0.3.2") && service.contains("wasi_http_03 = true"),
        "{service}"
    );
    assert!(program.contains("wasi:cli/run@0.3.2") && program.contains("wasm32-wasip2"), "{program}");
}

#[test]
fn a_module_that_cannot_be_a_handler_says_why() {
    let library = wat::parse_str("(module (func (export \"add\")))").unwrap();
    let strange = wat::parse_str(
        r#"(module (import "env" "alpha" (func)) (import "host" "beta" (memory 1)) (func (export "_start")))"#,
    )
    .unwrap();
    let odd = wat::parse_str(r#"(module (func (export "_start") (param i32)))"#).unwrap();

    let misspelt = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "fd_wirte" (func)) (func (export "_start")))"#,
    )
    .unwrap();

    assert!(refusal(&library).contains("exports no `_start`"));
    let name = refusal(&misspelt);
    assert!(
        name.ends_with("unknown import: `wasi_snapshot_preview1::fd_wirte` has not been defined"),
        "{name}"
    );
    let imports = refusal(&strange);
    assert!(imports.contains("env::alpha") && imports.contains("host::beta"), "{imports}");
    assert!(refusal(&odd).contains("`_start` takes parameters"));
}
