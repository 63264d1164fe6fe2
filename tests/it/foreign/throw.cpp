// C++'s exceptions without a library: the functions that clang calls for them, and a program. Debian's libraries of C++ for
// WASI are built without exceptions.

#include <stdio.h>
#include <stdlib.h>

extern "C" {
// The compiler fills it before it asks which handler of a function is meant. A `catch (...)` is the only one here.
struct { unsigned index; const void *table; unsigned selector; } __wasm_lpad_context;

unsigned _Unwind_CallPersonality(void *) {
    __wasm_lpad_context.selector = 1;
    return 0;
}

void *__cxa_allocate_exception(size_t size) { return malloc(size); }

[[noreturn]] void __cxa_throw(void *thrown, void *, void (*)(void *)) { __builtin_wasm_throw(0, thrown); }

void *__cxa_begin_catch(void *thrown) { return thrown; }
void __cxa_end_catch() {}
}

namespace std {
[[noreturn]] void terminate() noexcept { abort(); }
}

// The type information of `int`.
extern "C" const void *const int_type[2] __asm__("_ZTIi");
const void *const int_type[2] = {nullptr, nullptr};

struct Guard {
    int depth;
    ~Guard() { printf("left %d\n", depth); }
};

static void descend(int depth) {
    Guard guard{depth};
    if (depth == 3) throw 7;
    descend(depth + 1);
}

int main() {
    printf("Content-Type: text/plain\n\n");
    for (int round = 0; round < 2; round++) {
        try {
            descend(1);
        } catch (...) {
            printf("caught\n");
        }
    }
}
