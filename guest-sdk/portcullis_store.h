/* Key-value stores for wasm32-wasip1 programs: the module `portcullis_store_v1` of Portcullis.
 *
 * Every function returns -1 if it fails; portcullis_store_error then returns the reason, "CODE: MESSAGE".
 * Keys are UTF-8 of 1 to 512 bytes, without a final NUL. A write that returned is kept.
 */
#ifndef PORTCULLIS_STORE_H
#define PORTCULLIS_STORE_H

#include <stddef.h>
#include <stdint.h>

#define PORTCULLIS_STORE(NAME) __attribute__((import_module("portcullis_store_v1"), import_name(NAME)))

#define PORTCULLIS_STORE_ABSENT (-2)

/* Conditions of portcullis_store_set. */
#define PORTCULLIS_STORE_ALWAYS 0
#define PORTCULLIS_STORE_IF_ABSENT 1
#define PORTCULLIS_STORE_IF_VERSION 2

/* Opens a store by the name that `stores` grants, and returns its number. */
PORTCULLIS_STORE("open") int32_t portcullis_store_open(const char *name, size_t size);

/* Copies the value into the buffer as far as it fits, and returns its whole length, or PORTCULLIS_STORE_ABSENT.
 * Writes its version. portcullis_store_result returns the whole value. */
PORTCULLIS_STORE("get")
int32_t portcullis_store_get(int32_t store, const char *key, size_t key_size, void *buffer, size_t size,
                             uint64_t *version);

/* Sets a value, which lives for ttl_ms milliseconds, or for ever if that is 0. Returns 0 and writes the new version; or
 * 1 if the condition does not hold, with the version of the current value, which portcullis_store_result returns; or 2
 * if it does not hold and there is no value. */
PORTCULLIS_STORE("set")
int32_t portcullis_store_set(int32_t store, const char *key, size_t key_size, const void *value, size_t size,
                             uint64_t ttl_ms, uint32_t condition, uint64_t expected, uint64_t *version);

/* Returns 1 if there was a value, or 0. */
PORTCULLIS_STORE("delete") int32_t portcullis_store_delete(int32_t store, const char *key, size_t size);

/* Adds to a number, which is decimal text, and writes the sum. */
PORTCULLIS_STORE("increment")
int32_t portcullis_store_increment(int32_t store, const char *key, size_t size, int64_t delta, int64_t *sum);

/* Lists keys with a prefix behind a cursor, which is empty at first. Returns the length of the page, which
 * portcullis_store_result returns: a byte that is 1 if more keys follow, then the cursor for them; and the keys. Each
 * text has its length before it, 4 bytes, little-endian. */
PORTCULLIS_STORE("list")
int32_t portcullis_store_list(int32_t store, const char *prefix, size_t prefix_size, const char *cursor,
                              size_t cursor_size, uint32_t limit);

/* Batches: lists of keys, or of keys and values in turn, each with its length before it. The values of get_many are for
 * each key a byte that is 1 if there is one, and then its version in 8 bytes and the value with its length. */
PORTCULLIS_STORE("get_many") int32_t portcullis_store_get_many(int32_t store, const void *keys, size_t size);
PORTCULLIS_STORE("set_many") int32_t portcullis_store_set_many(int32_t store, const void *entries, size_t size);
PORTCULLIS_STORE("delete_many") int32_t portcullis_store_delete_many(int32_t store, const void *keys, size_t size);

/* Copies what the last operation returned, as far as it fits, and returns its whole length. Once copied whole, it is
 * gone. */
PORTCULLIS_STORE("result") int32_t portcullis_store_result(void *buffer, size_t size);

/* Copies why the last operation failed, as far as it fits, and returns its whole length. */
PORTCULLIS_STORE("error") int32_t portcullis_store_error(char *buffer, size_t size);

#endif
