//! What a job changes in its slot of the pool is back at its initial value for the next job there.

use crate::harness::{Response, Setup};
use crate::speaker::BOTH;

/// A part of an instance that a guest can change.
struct Part {
    name: &'static str,
    /// Another module of the component, imported as `parts`. Empty if there is none.
    other: &'static str,
    /// The fields of the module. `$f` is a function to refer to.
    fields: &'static str,
    /// The body of a function that returns 0 if everything has its initial value. Otherwise it may trap.
    look: &'static str,
    /// The body of a function that changes everything.
    change: &'static str,
}

/// The text "init" in data is the number 0x74696e69.
const PARTS: [Part; 7] = [
    Part {
        name: "globals",
        other: "",
        fields: r#"
            (global $number (mut i32) (i32.const 7)) (global $exported (export "g") (mut f64) (f64.const 7))
            (global $vector (mut v128) (v128.const i64x2 7 7)) (global $function (mut funcref) (ref.null func))"#,
        look: "
            (i32.or
              (i32.or (i32.ne (global.get $number) (i32.const 7)) (f64.ne (global.get $exported) (f64.const 7)))
              (i32.or (v128.any_true (v128.xor (global.get $vector) (v128.const i64x2 7 7)))
                (i32.eqz (ref.is_null (global.get $function)))))",
        change: "
            (global.set $number (i32.const 8)) (global.set $exported (f64.const 8))
            (global.set $vector (v128.const i64x2 8 8)) (global.set $function (ref.func $f))",
    },
    Part {
        name: "tables",
        other: "",
        fields: "
            (table $small 8 64 funcref) (table $large 150000 funcref) (elem (table $small) (i32.const 1) func $f)",
        look: "
            (i32.or
              (i32.or (i32.ne (table.size $small) (i32.const 8))
                (i32.eqz (ref.is_null (table.get $small (i32.const 0)))))
              (i32.or (ref.is_null (table.get $small (i32.const 1)))
                (i32.eqz (ref.is_null (table.get $large (i32.const 149999))))))",
        change: "
            (table.set $small (i32.const 0) (ref.func $f)) (table.set $small (i32.const 1) (ref.null func))
            (drop (table.grow $small (ref.func $f) (i32.const 56)))
            (table.fill $large (i32.const 0) (ref.func $f) (i32.const 150000))",
    },
    // Pages with data are mapped copy-on-write, the others are zero. Grown pages are looked at as well.
    Part {
        name: "memories",
        other: "",
        fields: r#"
            (memory $one 2 4) (memory $two 1 2)
            (data (memory $one) (i32.const 16) "init") (data (memory $one) (i32.const 0x1fff8) "init")
            (data (memory $two) (i32.const 16) "init")"#,
        look: "
            (local $at i32) (local $found i64)
            (if (i32.or (i32.ne (memory.size $one) (i32.const 2)) (i32.ne (memory.size $two) (i32.const 1)))
              (then (return (i32.const 1))))
            (drop (memory.grow $one (i32.const 2))) (drop (memory.grow $two (i32.const 1)))
            (loop $next
              (local.set $found
                (i64.or (i64.or (local.get $found) (i64.load $one (local.get $at)))
                  (i64.load $two (i32.and (local.get $at) (i32.const 0x1fff8)))))
              (br_if $next
                (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 0x40000))))
            (i64.ne (local.get $found) (i64.const 0x74696e69))",
        change: "
            (memory.fill $one (i32.const 0) (i32.const 0xaa) (i32.shl (memory.size $one) (i32.const 16)))
            (memory.fill $two (i32.const 0) (i32.const 0xaa) (i32.shl (memory.size $two) (i32.const 16)))",
    },
    // The stack that compilers keep in memory, with its pointer in a global.
    Part {
        name: "stack",
        other: "",
        fields: "
            (memory 1) (global $pointer (mut i32) (i32.const 0x10000))
            (func $deep (param $left i32)
              (global.set $pointer (i32.sub (global.get $pointer) (i32.const 256)))
              (memory.fill (global.get $pointer) (i32.const 0xaa) (i32.const 256))
              (if (local.get $left) (then (call $deep (i32.sub (local.get $left) (i32.const 1))))))",
        look: "(i32.or (i32.ne (global.get $pointer) (i32.const 0x10000)) (i32.load (i32.const 0xfff0)))",
        change: "(call $deep (i32.const 200))",
    },
    // Reading a segment that was dropped traps.
    Part {
        name: "segments",
        other: "",
        fields: r#"(memory 1) (table $t 4 funcref) (data $data "init") (elem $elements func $f)"#,
        look: "
            (memory.init $data (i32.const 16) (i32.const 0) (i32.const 4))
            (table.init $t $elements (i32.const 2) (i32.const 0) (i32.const 1))
            (i32.or (i32.ne (i32.load (i32.const 16)) (i32.const 0x74696e69))
              (ref.is_null (table.get $t (i32.const 2))))",
        change: "(data.drop $data) (elem.drop $elements)",
    },
    Part {
        name: "exceptions",
        other: "",
        fields: "
            (tag $e (param i64)) (global $kept (mut exnref) (ref.null exn))
            (func $catch (result i64 exnref)
              (block $caught (result i64 exnref)
                (try_table (catch_ref $e $caught) (throw $e (i64.const 7)))
                unreachable))",
        look: "(i32.eqz (ref.is_null (global.get $kept)))",
        change: "(call $catch) (global.set $kept) (drop)",
    },
    Part {
        name: "imports",
        other: r#"
            (global (export "number") (mut i32) (i32.const 7)) (table (export "table") 4 funcref)
            (memory (export "memory") 1) (data (i32.const 16) "init")"#,
        fields: r#"
            (import "parts" "number" (global $number (mut i32))) (import "parts" "table" (table $t 4 funcref))
            (import "parts" "memory" (memory 1))"#,
        look: "
            (i32.or
              (i32.or (i32.ne (global.get $number) (i32.const 7))
                (i32.eqz (ref.is_null (table.get $t (i32.const 0)))))
              (i32.or (i32.ne (i32.load (i32.const 16)) (i32.const 0x74696e69)) (i32.load (i32.const 0x8000))))",
        change: "
            (global.set $number (i32.const 8)) (table.set $t (i32.const 0) (ref.func $f))
            (memory.fill (i32.const 0) (i32.const 0xaa) (i32.const 0x10000))",
    },
];

/// Returns 1 if something is not as it was at the start. Otherwise changes everything, and returns 0.
const ONCE: &str = "(if (call $look) (then (return (i32.const 1)))) (call $change) (i32.const 0)";

/// Changes everything, and looks at it itself.
const ITSELF: &str = "(call $change) (call $look)";

/// Fills memories and tables, and traps.
const TRAP: &str = "(module
    (memory $one 4) (memory $two 4) (table $small 1000 funcref) (table $large 150000 funcref)
    (func $f) (elem declare func $f)
    (func (export \"_start\")
      (memory.fill $one (i32.const 0) (i32.const 0xaa) (i32.const 0x40000))
      (memory.fill $two (i32.const 0) (i32.const 0xaa) (i32.const 0x40000))
      (table.fill $small (i32.const 0) (ref.func $f) (i32.const 1000))
      (table.fill $large (i32.const 0) (ref.func $f) (i32.const 150000))
      unreachable))";

/// A kind of handler.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A core module.
    Core,
    /// A component that is a program.
    Program,
    /// A component that answers HTTP, without `reuse`. It gives no answer.
    Http,
}

impl Kind {
    fn settings(self) -> &'static str {
        match self {
            Kind::Core | Kind::Program => "output = \"raw\"",
            Kind::Http => "",
        }
    }

    /// The status and the reason if `run` returns 0.
    fn unchanged(self) -> (u16, Option<&'static str>) {
        match self {
            Kind::Core | Kind::Program => (200, None),
            Kind::Http => (502, Some("bad_answer")),
        }
    }
}

impl Part {
    fn kinds(&self) -> Vec<Kind> {
        // No other module can export to a core module.
        let core = self.other.is_empty().then_some(Kind::Core);
        core.into_iter().chain([Kind::Program, Kind::Http]).collect()
    }

    /// Makes a handler whose function `run` is this.
    fn wasm(&self, kind: Kind, run: &str) -> Vec<u8> {
        let Part { other, fields, look, change, .. } = self;
        let module = format!(
            r#"{fields} (func $f) (elem declare func $f)
               (func $look (result i32) {look}) (func $change {change})
               (func $run (export "run") (result i32) {run})
               (func (export "_start") (if (call $run) (then unreachable)))
               (func (export "handle") (param i32 i32) (if (call $run) (then unreachable)))"#
        );
        let (other, with) = match *other {
            "" => (String::new(), ""),
            other => (
                format!("(core module $o {other}) (core instance $p (instantiate $o))"),
                r#"(with "parts" (instance $p))"#,
            ),
        };
        let instance =
            format!("{other} (core module $m {module}) (core instance $i (instantiate $m {with}))");
        wat::parse_str(match kind {
            Kind::Core => format!("(module {module})"),
            Kind::Program => format!(
                r#"(component {instance}
                  (func $run (result (result)) (canon lift (core func $i "run")))
                  (instance $e (export "run" (func $run))) (export "wasi:cli/run@0.2.0" (instance $e)))"#
            ),
            Kind::Http => format!(
                r#"(component
                  (import "wasi:http/types@0.2.0" (instance $types
                    (export "incoming-request" (type (sub resource)))
                    (export "response-outparam" (type (sub resource)))))
                  (alias export $types "incoming-request" (type $request))
                  (alias export $types "response-outparam" (type $out))
                  {instance}
                  (func $handle (param "request" (own $request)) (param "response-out" (own $out))
                    (canon lift (core func $i "handle")))
                  (instance $e (export "handle" (func $handle)))
                  (export "wasi:http/incoming-handler@0.2.0" (instance $e)))"#
            ),
        })
        .unwrap_or_else(|error| panic!("{} {kind:?}: {error}", self.name))
    }
}

/// Returns the status of a response and the reason of its failure.
fn outcome(response: &Response) -> (u16, Option<&str>) {
    (response.status(), response.field("x-portcullis-reason"))
}

/// One job at a time, so that each job gets the slots of the one before.
const ALONE: &str = "jobs = 1\nreason_header = true\n";

#[test]
fn what_a_job_has_changed_is_as_it_was_for_the_next_one_in_its_slot() {
    let mut setup = Setup::new("").handler("trap", "", &wat::parse_str(TRAP).unwrap());
    let mut served = Vec::new();
    for part in &PARTS {
        for kind in part.kinds() {
            let name = format!("{}-{kind:?}", part.name);
            setup = setup.handler(&name, kind.settings(), &part.wasm(kind, ONCE));
            served.push((name, kind));
        }
    }
    let daemon = setup.prepend(ALONE).start();

    for round in 0..3 {
        for (name, kind) in &served {
            // The second job takes the slots that were kept warm for its module, the next one those of a module that
            // has trapped.
            for turn in 0..2 {
                let response = daemon.get(&format!("/{name}"));
                let said = String::from_utf8_lossy(&response.body);
                assert_eq!(outcome(&response), kind.unchanged(), "{name}, {round}, {turn}: {said}");
            }
            assert_eq!(outcome(&daemon.get("/trap")), (502, Some("trapped")), "{name}, {round}");
        }
    }
}

#[test]
fn a_job_that_looks_at_what_it_has_changed_itself_finds_it() {
    // Otherwise the test above would find nothing either.
    let mut setup = Setup::new("");
    for part in &PARTS {
        setup = setup.handler(part.name, Kind::Program.settings(), &part.wasm(Kind::Program, ITSELF));
    }
    let daemon = setup.prepend(ALONE).start();

    for part in &PARTS {
        assert_eq!(daemon.get(&format!("/{}", part.name)).status(), 502, "{}", part.name);
    }
}

#[test]
fn without_reuse_a_request_finds_nothing_of_the_one_before() {
    for guest in BOTH {
        let daemon = guest.setup("").prepend(ALONE).start();
        let mut client = daemon.client();

        for _ in 0..20 {
            assert_eq!(client.submit("POST", "/mark", "", b".").text(), ".", "{guest:?}");
            assert_eq!(client.get("/marks").text(), "0\n", "{guest:?}");
            assert_eq!(client.get("/count").text(), "1\n", "{guest:?}");
        }
    }
}
