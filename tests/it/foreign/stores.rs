//! Stores of programs in other languages: a program in C with the header of the SDK.

use std::process::Command;

use super::c::compiler;
use super::{build, tried};
use crate::harness::Setup;

/// The directory of the header.
const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk");

/// Counts, swaps, lists, and fails.
const PROGRAM: &str = r#"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "portcullis_store.h"

static int fail(const char *what) {
    char why[512];
    int length = portcullis_store_error(why, sizeof why);
    printf("%s: %.*s\n", what, length, why);
    return 0;
}

int main(void) {
    printf("Content-Type: text/plain\r\n\r\n");
    if (portcullis_store_open("other", 5) < 0) {
        fail("open");
    }
    int32_t store = portcullis_store_open("default", 7);
    portcullis_store_delete(store, "n", 1);
    int64_t sum = 0;
    portcullis_store_increment(store, "n", 1, 40, &sum);
    portcullis_store_increment(store, "n", 1, 2, &sum);
    printf("sum %" PRId64 "\n", sum);

    uint64_t version = 0, next = 0;
    char value[2];
    int32_t length = portcullis_store_get(store, "n", 1, value, sizeof value, &version);
    printf("get %.*s absent %d\n", length, value,
           portcullis_store_get(store, "none", 4, value, 2, &next) == PORTCULLIS_STORE_ABSENT);
    int first = portcullis_store_set(store, "n", 1, "a\0b", 3, 0, PORTCULLIS_STORE_IF_VERSION, version, &next);
    int second = portcullis_store_set(store, "n", 1, "lost", 4, 0, PORTCULLIS_STORE_IF_VERSION, version, &next);
    char current[8];
    int32_t size = portcullis_store_result(current, sizeof current);
    printf("swap %d %d current %" PRId32 " %d\n", first, second, size, memcmp(current, "a\0b", 3));

    size = portcullis_store_list(store, "", 0, "", 0, 10);
    char page[64];
    portcullis_store_result(page, sizeof page);
    printf("list %" PRId32 " more %d key %.1s\n", size, page[0], page + 5);
    if (portcullis_store_increment(store, "n", 1, 1, &sum) < 0) {
        fail("increment");
    }
    printf("deleted %" PRId32 "\n", portcullis_store_delete(store, "n", 1));
    return 0;
}
"#;

#[test]
fn a_program_in_c_uses_a_store_by_the_header() {
    let Some(compiler) = compiler() else { return };
    let setup = Setup::new(
        "[store.default]\nurl = \"redb:kept.redb\"\n[handler.c]\nmodule = \"c.wasm\"\nstores = [\"default\"]\n\
         [[route]]\npath = \"/c\"\nhandler = \"c\"\n",
    )
    .file("c.c", PROGRAM.as_bytes());
    let mut compile = Command::new(compiler);
    compile.args(["--target=wasm32-wasi", "-O1", "-Wall", "-Werror", "-I", HEADER, "-o"]);
    build(compile.arg(setup.path("c.wasm")).arg(setup.path("c.c")));

    let (_daemon, response) = tried("C, a store", setup, |daemon| daemon.get("/c"));

    let wanted = "open: access_denied: store \"other\" is not granted: add it to handler.c.stores in the configuration\n\
                  sum 42\nget 42 absent 1\nswap 0 1 current 3 0\nlist 6 more 0 key n\n\
                  increment: not_a_number: store default: the value is not a decimal integer of 64 bits: only such a value \
                  can be incremented\ndeleted 1\n";
    assert_eq!((response.status(), response.text()), (200, wanted));
}
