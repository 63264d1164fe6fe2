//! The CPU time of a host call grows in proportion to its list. Ten times as many elements cost what ten calls cost.

use std::fs;
use std::time::Duration;

use crate::growth::list;
use crate::harness::{Daemon, Program, Setup, attempted, guests};

/// The number of small lists that have as many elements as a large one.
const TIMES: usize = 10;

/// A function of the first version of WASI that passes a list.
struct Call {
    name: &'static str,
    parameters: &'static str,
    /// The settings of a handler that makes the call with this many elements.
    settings: fn(usize) -> String,
    /// The data at the address 0x10000.
    data: fn(usize) -> String,
    /// Its instructions.
    code: fn(usize) -> String,
    /// How often it makes the call with the large list.
    repeats: usize,
}

const CALLS: [Call; 5] = [
    Call {
        name: "args_get",
        parameters: "i32 i32",
        settings: |number| format!("args = [{}]", list(number, |at| format!("\"a{at}\""))),
        data: |_| String::new(),
        code: |_| succeeds("(i32.const 0x10000) (i32.const 0x20000)"),
        repeats: 50,
    },
    Call {
        name: "environ_get",
        parameters: "i32 i32",
        settings: |number| format!("env = {{ {} }}", list(number, |at| format!("V{at} = \"x\""))),
        data: |_| String::new(),
        code: |_| succeeds("(i32.const 0x10000) (i32.const 0x20000)"),
        repeats: 50,
    },
    Call {
        name: "poll_oneoff",
        parameters: "i32 i32 i32 i32",
        settings: |_| "limits.handles = 65536".to_owned(),
        // Zeros are subscriptions to a clock, with a timeout of 0.
        data: |_| String::new(),
        code: |number| {
            succeeds(&format!("(i32.const 0x10000) (i32.const 0x90000) (i32.const {number}) (i32.const 8)"))
        },
        repeats: 5,
    },
    Call {
        name: "fd_write",
        parameters: "i32 i32 i32 i32",
        settings: |_| String::new(),
        // Each element is the byte at address 0.
        data: |number| "\\00\\00\\00\\00\\01\\00\\00\\00".repeat(number),
        code: |number| {
            succeeds(&format!("(i32.const 1) (i32.const 0x10000) (i32.const {number}) (i32.const 8)"))
        },
        repeats: 100,
    },
    Call {
        name: "path_open",
        parameters: "i32 i32 i32 i32 i32 i64 i64 i32 i32",
        settings: |_| "mounts = [{ host = \"data\", guest = \"/data\" }]".to_owned(),
        data: long_path,
        code: |number| {
            let path = format!("(i32.const 0x10000) (i32.const {})", long_path(number).len());
            let rights = "(i64.const 2) (i64.const 0) (i32.const 0)";
            succeeds(&format!("(i32.const 3) (i32.const 0) {path} (i32.const 0) {rights} (i32.const 16)"))
                + "(drop (call $close (i32.load (i32.const 16))))"
        },
        repeats: 50,
    },
];

/// A path to a file in its mount. The longest that Linux takes has 4,095 bytes.
fn long_path(number: usize) -> String {
    "./".repeat(number / 5) + "f"
}

/// Makes a call that must succeed.
fn succeeds(arguments: &str) -> String {
    format!("(if (call $call {arguments}) (then (unreachable)))")
}

impl Call {
    /// Makes a program that makes the call `repeats` times.
    fn module(&self, number: usize, repeats: usize) -> Vec<u8> {
        let Call { name, parameters, data, code, .. } = self;
        let (data, code) = (data(number), code(number));
        let text = format!(
            r#"(module
              (import "wasi_snapshot_preview1" "{name}" (func $call (param {parameters}) (result i32)))
              (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
              (memory (export "memory") 32)
              (data (i32.const 0x10000) "{data}")
              (func (export "_start") (local $left i32)
                (local.set $left (i32.const {repeats}))
                (loop $again
                  {code}
                  (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                  (br_if $again (local.get $left)))))"#
        );
        wat::parse_str(text).unwrap()
    }

    fn settings(&self, number: usize) -> String {
        let settings = (self.settings)(number);
        format!("output = \"raw\"\nlimits.cpu = \"60s\"\nlimits.time = \"none\"\n{settings}")
    }
}

/// Fails if a large list costs much more than small lists with as many elements.
fn compared(what: &str, daemon: &Daemon, mut small: impl FnMut(), mut large: impl FnMut()) {
    let spent = |work: &mut dyn FnMut()| {
        let before = daemon.cpu_time();
        work();
        daemon.cpu_time() - before
    };
    attempted(|| {
        let (small, large) = (spent(&mut small), spent(&mut large));
        // Quadratic growth would be ten times. Less than 50 ms is noise.
        let is_linear = large < 3 * small.max(Duration::from_millis(50));
        is_linear.then_some(()).ok_or_else(|| format!("{what}: {large:?}, in {TIMES} pieces {small:?}"))
    });
}

#[test]
fn a_program_that_passes_long_lists_costs_no_more_than_their_elements() {
    const FEW: usize = 1000;
    for call in CALLS {
        let [few, many] = [(FEW, TIMES * call.repeats), (TIMES * FEW, call.repeats)]
            .map(|(number, repeats)| (call.settings(number), call.module(number, repeats)));
        let setup = Setup::new("").handler("few", &few.0, &few.1).handler("many", &many.0, &many.1);
        fs::create_dir(setup.path("data")).unwrap();
        fs::write(setup.path("data/f"), "").unwrap();
        let daemon = setup.start();
        let ask = |target: &str| {
            let response = daemon.get(target);
            assert_eq!(response.status(), 200, "{}{target}: {}", call.name, response.text());
        };

        compared(call.name, &daemon, || ask("/few"), || ask("/many"));
    }
}

/// Adds handlers of these modules, each at the host of its name.
fn hosts(setup: Setup, modules: &[(&str, &str, &[u8])]) -> Setup {
    modules.iter().fold(setup, |setup, (name, settings, module)| {
        setup.file(&format!("{name}.wasm"), module).add(&format!(
            "[handler.{name}]\nmodule = \"{name}.wasm\"\n{settings}\n\
             [[route]]\nhost = \"{name}\"\npath = \"/{{verb}}\"\nhandler = \"{name}\"\n"
        ))
    })
}

#[test]
fn a_component_with_many_arguments_and_variables_costs_no_more_than_their_number() {
    const FEW: usize = 1000;
    let settings = [FEW, TIMES * FEW].map(|number| {
        let args = list(number, |at| format!("\"a{at}\""));
        let env = list(number, |at| format!("V{at} = \"x\""));
        format!("args = [{args}]\nenv = {{ {env} }}\nlimits.cpu = \"60s\"")
    });
    for module in ["proxy", "service"] {
        let bytes = fs::read(guests().join(format!("{module}.wasm"))).unwrap();
        let handlers = [("few", &*settings[0], &*bytes), ("many", &*settings[1], &*bytes)];
        let daemon = hosts(Setup::new("wasi_http_03 = true\n"), &handlers).start();
        let ask = |host: &str, last: usize| {
            let mut client = daemon.client();
            client.send(format!("GET /facts HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let response = client.response();
            assert!(response.text().contains(&format!("env V{last}=x\n")), "{module}: {}", response.head);
        };

        compared(
            module,
            &daemon,
            || (0..3 * TIMES).for_each(|_| ask("few", FEW - 1)),
            || (0..3).for_each(|_| ask("many", TIMES * FEW - 1)),
        );
    }
}

#[test]
fn a_request_with_many_fields_costs_no_more_than_their_number() {
    const FEW: usize = 400;
    let [proxy, service] =
        ["proxy", "service"].map(|module| fs::read(guests().join(format!("{module}.wasm"))).unwrap());
    let core = Program::text().say("done\n").wasm();
    let setup = Setup::new("wasi_http_03 = true\nhttp.fields = 4096\nhttp.head_size = \"1MiB\"\n");
    let handlers = [("core", "", &*core), ("proxy", "", &*proxy), ("service", "", &*service)];
    let daemon = hosts(setup, &handlers).start();
    let [few, many] =
        [FEW, TIMES * FEW].map(|number| (0..number).map(|at| format!("x-{at}: v\r\n")).collect::<String>());
    for (host, _, _) in handlers {
        let ask = |fields: &str| {
            let mut client = daemon.client();
            client.send(format!("GET /facts HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
            let response = client.response();
            assert_eq!(response.status(), 200, "{host}: {}", response.text());
        };

        compared(
            host,
            &daemon,
            || (0..10 * TIMES).for_each(|_| ask(&few)),
            || (0..10).for_each(|_| ask(&many)),
        );
    }
}
