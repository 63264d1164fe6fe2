/* SQL databases for wasm32-wasip1 programs: the module `portcullis_sql_v1` of Portcullis.
 *
 * Every function returns -1 if it fails; portcullis_sql_error then returns the reason, "CODE: MESSAGE".
 * Texts are UTF-8, without a final NUL. What the program has not committed when it ends is rolled back.
 *
 * A value is a byte for its type and what follows, little-endian:
 *   0 null
 *   1 integer, 8 bytes
 *   2 floating point, 8 bytes
 *   3 text, 4 bytes for its length and then its bytes
 *   4 blob, likewise
 */
#ifndef PORTCULLIS_SQL_H
#define PORTCULLIS_SQL_H

#include <stddef.h>
#include <stdint.h>

#define PORTCULLIS_SQL(NAME) __attribute__((import_module("portcullis_sql_v1"), import_name(NAME)))

/* Opens a database by the name that `databases` grants, and returns its number. */
PORTCULLIS_SQL("open") int32_t portcullis_sql_open(const char *name, size_t size);

/* Runs one statement with values for its parameters, which are $1, $2 and so on, or ? in their order. Writes how many
 * rows it inserted, updated or deleted. Returns the length of the result, which portcullis_sql_result returns: the
 * number of columns in 4 bytes; the names of the columns, each with its length before it in 4 bytes; and the values of
 * all rows. Outside of a transaction, what a statement changed is kept when this returns. */
PORTCULLIS_SQL("run")
int32_t portcullis_sql_run(int32_t database, const char *sql, size_t size, const void *parameters,
                           size_t parameters_size, uint64_t *changed);

/* Begin a transaction; keep it; give it up. After an error in it, give it up. */
PORTCULLIS_SQL("begin") int32_t portcullis_sql_begin(int32_t database);
PORTCULLIS_SQL("commit") int32_t portcullis_sql_commit(int32_t database);
PORTCULLIS_SQL("rollback") int32_t portcullis_sql_rollback(int32_t database);

/* Copies what the last statement returned, as far as it fits, and returns its whole length. Once copied whole, it is
 * gone. */
PORTCULLIS_SQL("result") int32_t portcullis_sql_result(void *buffer, size_t size);

/* Copies why the last function failed, as far as it fits, and returns its whole length. */
PORTCULLIS_SQL("error") int32_t portcullis_sql_error(char *buffer, size_t size);

#endif
