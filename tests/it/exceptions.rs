//! WebAssembly exceptions, which C++ and C's setjmp use.

use crate::harness::{Daemon, PATIENCE, Setup, found};

/// A program that throws exceptions with a number and another exception, and runs `start` in its
/// `_start`.
fn program(memories: &str, start: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) {memories}
            (data (i32.const 0) "\10\00\00\00\1f\00\00\00")
            (data (i32.const 16) "Content-Type: text/plain\n\nwell\0a")
            (tag $e (param i64 exnref))
            (func $say (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            ;; Throws an exception that holds the one before it, and catches it.
            (func $chain (param $last exnref) (result exnref)
                (block $caught (result i64 exnref exnref)
                    (try_table (catch_ref $e $caught) (throw $e (i64.const 7) (local.get $last)))
                    unreachable)
                (local.set $last) (drop) (drop) (local.get $last))
            (func (export "_start") (local $kept exnref) {start}))"#
    );
    wat::parse_str(text).unwrap()
}

/// Answers after it has caught one.
const CATCHES: &str = "(local.set $kept (call $chain (local.get $kept))) (call $say)";

/// Keeps every exception that it throws.
const KEEPS: &str = "(loop $more (local.set $kept (call $chain (local.get $kept))) (br $more))";

/// The same in one function, where the heap grows between the use of an exception and that of the next one.
const KEEPS_IN_PLACE: &str = "(loop $more
    (block $caught (result i64 exnref exnref)
        (try_table (catch_ref $e $caught) (throw $e (i64.const 7) (local.get $kept)))
        unreachable)
    (local.set $kept) (drop) (drop) (br $more))";

/// Throws exceptions for ever, and keeps none.
const DROPS: &str = "(loop $more (drop (call $chain (ref.null exn))) (br $more))";

const BOUNDS: &str = "limits = { memory = \"4MiB\", cpu = \"1s\" }";

fn serve(start: &str) -> Daemon {
    Setup::one(BOUNDS, &program("", start)).prepend("reason_header = true\n").start()
}

#[test]
fn an_exception_is_thrown_and_caught() {
    let daemon = serve(CATCHES);

    for _ in 0..100 {
        assert_eq!(daemon.get("/").text(), "well\n");
    }
}

/// What LLVM makes of C++'s exceptions and of C's setjmp: each has a tag with an address. A scope with a destructor
/// catches everything and throws it again. A function that calls setjmp catches every longjmp, compares the buffer, and
/// jumps on if it is another's.
const COMPILED: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "Content-Type: text/plain\n\n")
    (data (i32.const 96) "left\n") (data (i32.const 104) "caught\n") (data (i32.const 112) "jumped\n")
    (tag $cpp (param i32))
    (tag $longjmp (param i32))
    (func $say (param $at i32) (param $length i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $length))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func $scope (param $deep i32)
        (block $cleanup (result exnref)
            (try_table (catch_all_ref $cleanup)
                (if (i32.eqz (local.get $deep)) (then (throw $cpp (i32.const 7))))
                (call $scope (i32.sub (local.get $deep) (i32.const 1))))
            (return))
        (call $say (i32.const 96) (i32.const 5))
        (throw_ref))
    (func $jump (param $buffer i32) (param $value i32)
        (i32.store (i32.const 128) (local.get $buffer))
        (i32.store (i32.const 132) (local.get $value))
        (throw $longjmp (i32.const 128)))
    ;; Returns what its setjmp returns after a jump to `target`.
    (func $sets (param $buffer i32) (param $target i32) (result i32) (local $value i32) (local $jump i32)
        (loop $again (result i32)
            (block $jumped (result i32)
                (try_table (catch $longjmp $jumped)
                    (if (local.get $value) (then (return (local.get $value))))
                    (call $jump (local.get $target) (i32.const 3)))
                unreachable)
            (local.set $jump)
            (if (i32.ne (i32.load (local.get $jump)) (local.get $buffer))
                (then (call $jump (i32.load (local.get $jump)) (i32.load offset=4 (local.get $jump)))))
            (local.set $value (i32.load offset=4 (local.get $jump)))
            (br $again)))
    (func (export "_start") (local $jump i32)
        (call $say (i32.const 64) (i32.const 26))
        (block $caught (result i32)
            (try_table (catch $cpp $caught) (call $scope (i32.const 2)))
            unreachable)
        (drop)
        (call $say (i32.const 104) (i32.const 7))
        (if (i32.eq (call $sets (i32.const 200) (i32.const 200)) (i32.const 3))
            (then (call $say (i32.const 112) (i32.const 7))))
        ;; Past the setjmp of the function to one outside of it.
        (block $outside (result i32)
            (try_table (catch $longjmp $outside) (drop (call $sets (i32.const 200) (i32.const 300))))
            unreachable)
        (local.set $jump)
        (if (i32.eq (i32.load (local.get $jump)) (i32.const 300))
            (then (call $say (i32.const 112) (i32.const 7))))))"#;

#[test]
fn what_compilers_make_of_cpp_exceptions_and_of_setjmp_runs() {
    let daemon = Setup::one(BOUNDS, &wat::parse_str(COMPILED).unwrap()).start();

    for _ in 0..10 {
        assert_eq!(daemon.get("/").text(), "left\nleft\nleft\ncaught\njumped\njumped\n");
    }
}

#[test]
fn an_exception_that_nothing_catches_is_a_trap_with_words() {
    let daemon = serve("(throw $e (i64.const 1) (ref.null exn))");

    let response = daemon.get("/");

    assert_eq!((response.status(), response.field("x-portcullis-reason")), (502, Some("trapped")));
    daemon.log.line("it has thrown an exception that it does not catch");
}

#[test]
fn exceptions_that_pile_up_are_memory_of_the_job_and_gone_with_it() {
    // Each place in the pool keeps 2 MiB of a heap for the next job. With few places, all of them do
    // so.
    let setup = Setup::one(BOUNDS, &program("", KEEPS)).prepend("reason_header = true\njobs = 2\n");
    let daemon = setup.start();
    let ask = || {
        let response = daemon.get("/");
        let reason = response.field("x-portcullis-reason").map(str::to_owned);
        assert_eq!(
            (response.status(), reason.as_deref()),
            (502, Some("memory_limit")),
            "{}",
            response.text()
        );
    };
    (0..10).for_each(|_| ask());
    let before = daemon.status("VmRSS");

    (0..40).for_each(|_| ask());

    let grown = daemon.status("VmRSS").saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
}

#[test]
fn exceptions_that_pile_up_are_memory_of_the_job_where_there_is_no_pool_and_their_heap_moves() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }
    let bounds = "limits = { memory = \"4MiB\", cpu = \"20s\" }";
    let daemon = Setup::one(bounds, &program("", CATCHES))
        .handler("keeps", bounds, &program("", KEEPS))
        .handler("place", bounds, &program("", KEEPS_IN_PLACE))
        .prepend("reason_header = true\n")
        .under(&["prlimit", "--as=12000000000"])
        .start();
    daemon.log.line("the pool of instances cannot be reserved");

    for path in ["/keeps", "/place"].repeat(3) {
        let response = daemon.get(path);

        let told = (response.status(), response.field("x-portcullis-reason"));
        assert_eq!(told, (502, Some("memory_limit")), "{path}: {}", response.text());
        assert_eq!(daemon.get("/").text(), "well\n");
    }
}

#[test]
fn exceptions_without_end_that_nothing_keeps_take_processor_time_alone() {
    // Jobs that compute for long have low priority: on a busy machine a second of CPU time takes many by the clock.
    let bounds = "limits = { memory = \"4MiB\", cpu = \"1s\", time = \"none\" }";
    let daemon = Setup::one(bounds, &program("", DROPS)).prepend("reason_header = true\n").start();

    let response = daemon.client().patient(PATIENCE * 5).get("/");

    assert_eq!((response.status(), response.field("x-portcullis-reason")), (504, Some("cpu_limit")));
}

#[test]
fn as_many_jobs_throw_as_there_are_places_whatever_memories_they_have() {
    let module = program("(memory 1)", &format!("{CATCHES} (loop $more (br $more))"));
    let setup = Setup::one("limits = { memory = \"4MiB\", cpu = \"1s\", time = \"60s\" }", &module);
    let daemon = setup.prepend("jobs = 8\nreason_header = true\n").start();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = daemon.client();
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            client
        })
        .collect();

    for mut client in clients {
        assert!(client.head().starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn the_encoding_of_before_2025_is_refused_with_what_to_build_instead() {
    let module = wat::parse_str("(module (func (export \"_start\") try nop catch_all nop end))").unwrap();

    let ended = Setup::one("", &module).fail();

    assert!(ended.stderr.contains("-mllvm -wasm-use-legacy-eh=false"), "{}", ended.stderr);
}
