//! Tests of each limit, at the limit and one past it.

use super::*;

fn seen(wasm: &[u8]) -> Result<()> {
    look(wasm, &CompileLimits::default())
}

fn refusal(text: &str) -> Option<String> {
    seen(&wat::parse_str(text).unwrap()).err().map(|error| error.to_string())
}

/// A module with `count` copies of one part.
fn module(count: usize, one: &str) -> String {
    format!("(module (type $t (func)) {})", one.repeat(count))
}

/// Asserts that `max` parts are accepted, and that one more is refused with both numbers.
fn bound(max: usize, what: &str, make: impl Fn(usize) -> String) {
    assert_eq!(refusal(&make(max)), None, "{max} {what}");
    let refusal = refusal(&make(max + 1)).unwrap();
    assert!(refusal.contains(&format!("{} {what}: {max} ", max + 1)), "{refusal}");
}

#[test]
fn each_part_is_taken_at_its_bound_and_refused_one_past_it() {
    bound(100_000, "functions", |count| module(count, "(func)"));
    bound(100_000, "imports", |count| module(count, "(import \"\" \"\" (func (type $t)))"));
    bound(100_000, "globals", |count| module(count, "(global i32 (i32.const 0))"));
    bound(100_000, "exports", |count| {
        let exports: String = (0..count).map(|number| format!("(export \"{number}\" (func 0))")).collect();
        format!("(module (func) {exports})")
    });
    bound(4, "tables", |count| module(count, "(table 0 funcref)"));
    bound(2, "memories", |count| module(count, "(memory 0)"));
    bound(100_000, "data segments", |count| module(count, "(data \"\")"));
    bound(100_000, "element segments", |count| module(count, "(elem func)"));
    bound(50_000, "types", |count| format!("(module {})", "(type (func))".repeat(count)));
    bound(50_000, "types", |count| format!("(module (rec {}))", "(type (func))".repeat(count)));
    bound(250_000, "parameters and results of types", |count| {
        // WebAssembly's own limit is 1,000 of either for one type.
        let ty = |count: usize| format!("(type (func (param{})))", " i32".repeat(count));
        format!("(module {} {})", ty(1_000).repeat(count / 1_000), ty(count % 1_000))
    });
    bound(10_000, "locals", |count| format!("(module (func (local{})))", " i32".repeat(count)));
}

#[test]
fn parts_of_nested_modules_are_summed_and_nesting_is_bounded() {
    bound(200, "modules in it", |count| format!("(component {})", "(core module)".repeat(count)));
    bound(200, "components in it", |count| format!("(component {})", "(component)".repeat(count)));
    let half = format!("(core module {})", "(global i32 (i32.const 0))".repeat(50_001));
    assert!(refusal(&format!("(component {half} {half})")).unwrap().contains("100002 globals"));
    let deep = |depth: usize| format!("{}{}", "(component ".repeat(depth + 1), ")".repeat(depth + 1));
    assert_eq!(refusal(&deep(16)), None);
    assert!(refusal(&deep(17)).unwrap().contains("17 deep"));
}

#[test]
fn a_function_is_taken_at_its_largest_and_refused_one_byte_past_it() {
    // A byte for the locals and one for the end.
    let body = |length: u64| {
        let nops = usize::try_from(length - 2).unwrap();
        format!("(module (func {}))", "nop ".repeat(nops))
    };

    assert_eq!(refusal(&body(CompileLimits::default().function)), None);
    assert!(
        refusal(&body(CompileLimits::default().function + 1))
            .unwrap()
            .contains("1048577 bytes: 1048576 at most; raise compile.function")
    );
}

#[test]
fn a_file_that_is_too_large_is_not_read_and_one_that_is_no_module_passes() {
    assert!(
        seen(&vec![0; (64 << 20) + 1])
            .unwrap_err()
            .to_string()
            .contains("67108864 at most; raise compile.module")
    );
    for wasm in [&b""[..], b"\0asm\x01\0\0\0\x01", b"\0asm\x0d\0\x01\0\xff\xff", b"hello"] {
        seen(wasm).unwrap();
    }
}

#[test]
fn items_of_elements_are_counted_and_those_that_each_instance_sets_beside() {
    let items = |count: usize| " 0".repeat(count);
    bound(1_000_000, "items of element segments", |count| {
        let (laps, rest) = (count / 10_000, count % 10_000);
        let lap = |count: usize| format!("(elem (i32.const 0) func {})", items(count));
        format!("(module (table 10000 funcref) (func) {}{})", lap(10_000).repeat(laps), lap(rest))
    });
    let set = "items, globals and data that code has to set in an instance";
    let fits = |size: usize| {
        format!("(module (table {size} funcref) (func) (elem (i32.const 1) func {}))", items(20_001))
    };
    assert_eq!(refusal(&fits(20_002)), None);
    assert!(refusal(&fits(20_001)).unwrap().contains(set), "wasmtime does not lay out what may not fit");
    for dynamic in [
        "(import \"\" \"t\" (table 30000 funcref)) (func) (elem (i32.const 0) func ITEMS)",
        "(import \"\" \"g\" (global i32)) (table 30000 funcref) (func) (elem (global.get 0) func ITEMS)",
        "(table 30000 funcref) (func) (elem (i32.const 0) funcref (ref.func 0)) (elem (i32.const 0) func ITEMS)",
    ] {
        let module = |count| format!("(module {})", dynamic.replace("ITEMS", &items(count)));
        assert_eq!(refusal(&module(19_999)), None, "{dynamic}");
        assert!(refusal(&module(20_001)).unwrap().contains(set), "{dynamic}");
    }
    bound(5_000, "items of passive element segments", |count| {
        format!("(module (func) (elem func {}))", items(count))
    });
}

#[test]
fn what_constant_expressions_hold_is_counted_and_what_each_instance_computes_beside() {
    // Two bytes for the first number and one for the end.
    let chain = |bytes: usize| {
        let sum = "(i32.const 1) i32.add ".repeat((bytes - 3) / 3);
        format!("(module (global i32 (i32.const 1) {sum}))")
    };
    assert_eq!(refusal(&chain(999_999)), None);
    assert!(
        refusal(&chain(1_000_002))
            .unwrap()
            .contains("1000002 bytes of constant expressions: 1000000 at most")
    );
    bound(20_000, "items, globals and data that code has to set in an instance", |count| {
        module(count, "(global i32 (i32.const 1) (i32.const 1) i32.add)")
    });
    bound(500_000, "initial elements of tables", |count| {
        format!("(module (func $f) (table 2 funcref) (table {} funcref (ref.func $f)))", count - 2)
    });
}

#[test]
fn data_that_each_instance_copies_are_counted_apart_from_those_that_are_laid_out() {
    let set = "items, globals and data that code has to set in an instance";
    let memory = "(memory 1000)";
    let segments = |count: usize, at: &str| format!("(data (i32.const {at}) \"x\")").repeat(count);
    assert_eq!(refusal(&format!("(module {memory} {})", segments(20_001, "7"))), None);
    for (memory, one) in [
        (memory, segments(1, "65536000")),
        (memory, segments(1, "65535999")),
        (memory, "(data (offset (i32.const 1) (i32.const 1) i32.add) \"x\")".to_owned()),
        ("(import \"\" \"m\" (memory 1000))", String::new()),
    ] {
        let module = |count| format!("(module {memory} {}{one})", segments(count, "7"));
        assert_eq!(refusal(&module(19_999)), None, "{memory} {one}");
        assert!(refusal(&module(20_001)).unwrap().contains(set), "{memory} {one}");
    }
    // Two bytes each, sixteen megabytes apart: eight such images reach the limit.
    let far = |images: usize| {
        let far = "(core module (memory 1000) (data (i32.const 0) \"x\") (data (i32.const 16777214) \"x\"))";
        format!("(component {})", far.repeat(images))
    };
    assert_eq!(refusal(&far(8)), None);
    assert!(
        refusal(&far(9)).unwrap().contains("bytes from its first to its last of data: 134217728 at most")
    );
}

#[test]
fn instances_are_counted_with_all_that_their_components_instantiate() {
    let flat = |count: usize| {
        format!("(component (core module $m) {})", "(core instance (instantiate $m))".repeat(count))
    };
    assert_eq!(refusal(&flat(1_000)), None);
    assert!(
        refusal(&flat(1_001)).unwrap().contains("1001 instances, with those of its components: 1000 at most")
    );
    // Each component uses the previous one twice through an alias: 2^n.
    let doubling = |generations: usize| {
        let next = |number: usize| {
            format!(
                "(component $c{number} (alias outer 1 $c{} (component $c)) (instance (instantiate $c)) (instance (instantiate $c)))",
                number - 1
            )
        };
        let all: String = (1..generations).map(next).collect();
        format!("(component $r (component $c0) {all} (instance (instantiate $c{})))", generations - 1)
    };
    assert_eq!(refusal(&doubling(9)), None);
    assert!(
        refusal(&doubling(40)).unwrap().contains("instances, with those of its components: 1000 at most")
    );
}

#[test]
fn types_of_components_are_bounded_by_their_bytes_however_deep_they_lie() {
    // A component with one section of types: instance types, each nested in the previous one.
    let nested = |depth: usize| {
        let mut section = b"\x01".to_vec();
        section.extend(b"\x42\x01\x01".repeat(depth));
        section.extend(b"\x42\0");
        let mut wasm = b"\0asm\x0d\0\x01\0\x07".to_vec();
        let mut length = section.len();
        while length >= 0x80 {
            wasm.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        wasm.push(u8::try_from(length).unwrap());
        wasm.extend(section);
        wasm
    };

    seen(&nested(600_000)).unwrap();
    let refusal = seen(&nested(700_000)).unwrap_err().to_string();
    assert!(refusal.contains("bytes of component types: 2097152 at most"), "{refusal}");
}

#[test]
fn what_starts_with_each_instance_counts_once_for_each() {
    let module = format!("(core module $m (func) (elem func {}))", " 0".repeat(4_000));
    let component =
        |count: usize| format!("(component {module} {})", "(core instance (instantiate $m))".repeat(count));
    let aliased = format!(
        "(component $r {module} (component $c (alias outer $r $m (core module $n)) {})\
         (instance (instantiate $c)))",
        "(core instance (instantiate $n))".repeat(6)
    );
    let what = "24000 items, globals and data that code has to set in all its instances: 20000 at most";

    assert_eq!(refusal(&component(5)), None);
    assert!(refusal(&component(6)).unwrap().contains(what));
    assert!(refusal(&aliased).unwrap().contains(what));
}

#[test]
fn a_bound_that_is_raised_takes_more_and_names_its_key_where_it_is_not() {
    let limits = CompileLimits { functions: 3, types: 2, locals: 1, function: 4, ..CompileLimits::default() };
    let look = |text: &str| {
        look(&wat::parse_str(text).unwrap(), &limits).err().map(|error| error.to_string()).unwrap_or_default()
    };

    assert_eq!(look("(module (func) (func) (func))"), "");
    assert!(look("(module (func) (func) (func) (func))").contains("3 at most; raise compile.functions"));
    let types = "(module (type (func)) (type (func (param i32))) (type (func (param i64))))";
    assert!(look(types).contains("2 at most; raise compile.types"));
    assert!(look("(module (func (local i32 i32)))").contains("1 at most; raise compile.locals"));
    assert!(look("(module (func nop nop nop nop))").contains("4 at most; raise compile.function,"));
}
