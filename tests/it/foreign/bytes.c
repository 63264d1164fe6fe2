// Moves bytes with each call that C has for it, as many at once as the second argument says, and says how many arrived
// as they were sent.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <wasi/api.h>

static const char *path = "/data/f";

static void must(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(1);
    }
}

// Bytes of which no two places look alike.
static unsigned char *pattern(size_t count) {
    unsigned char *bytes = malloc(count);
    must(bytes != NULL, "malloc");
    for (size_t at = 0; at < count; at++) bytes[at] = at ^ (at >> 8) ^ (at >> 16);
    return bytes;
}

static void same(const unsigned char *found, size_t count) {
    unsigned char *wanted = pattern(count);
    must(memcmp(found, wanted, count) == 0, "the bytes are others");
    free(wanted);
}

// By the streams of C, in one call each.
static void by_stdio(size_t count) {
    unsigned char *bytes = pattern(count);
    FILE *file = fopen(path, "w+");
    must(file != NULL, "fopen");
    must(fwrite(bytes, 1, count, file) == count, "fwrite");
    rewind(file);
    memset(bytes, 0, count);
    must(fread(bytes, 1, count, file) == count, "fread");
    must(fclose(file) == 0, "fclose");
    same(bytes, count);
}

// Reads all of the bytes from a descriptor or writes them to it, in a loop as every program has it: a call may move a
// part.
static void all(int file, unsigned char *bytes, size_t count, int writes) {
    for (size_t at = 0; at < count;) {
        ssize_t moved = writes ? write(file, bytes + at, count - at) : read(file, bytes + at, count - at);
        must(moved > 0, writes ? "write" : "read");
        at += moved;
    }
}

// By read and write.
static void by_descriptors(size_t count) {
    unsigned char *bytes = pattern(count);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    must(file >= 0, "open");
    all(file, bytes, count, 1);
    must(lseek(file, 0, SEEK_SET) == 0, "lseek");
    memset(bytes, 0, count);
    all(file, bytes, count, 0);
    must(read(file, bytes, 1) == 0, "the end");
    close(file);
    same(bytes, count);
}

// By readv and writev, in three pieces of different sizes, one of them empty.
static void by_vectors(size_t count) {
    unsigned char *bytes = pattern(count);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    must(file >= 0, "open");
    for (int writes = 1; writes >= 0; writes--) {
        for (size_t at = 0; at < count;) {
            size_t first = (count - at) / 3;
            struct iovec pieces[] = {{bytes + at, first}, {NULL, 0}, {bytes + at + first, count - at - first}};
            ssize_t moved = writes ? writev(file, pieces, 3) : readv(file, pieces, 3);
            must(moved > 0, writes ? "writev" : "readv");
            at += moved;
        }
        must(lseek(file, 0, SEEK_SET) == 0, "lseek");
        if (writes) memset(bytes, 0, count);
    }
    close(file);
    same(bytes, count);
}

// By pread and pwrite, behind a gap.
static void by_places(size_t count) {
    unsigned char *bytes = pattern(count);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    must(file >= 0, "open");
    for (int writes = 1; writes >= 0; writes--) {
        for (size_t at = 0; at < count;) {
            ssize_t moved = writes ? pwrite(file, bytes + at, count - at, 7 + at) : pread(file, bytes + at, count - at, 7 + at);
            must(moved > 0, writes ? "pwrite" : "pread");
            at += moved;
        }
        if (writes) memset(bytes, 0, count);
    }
    struct stat found;
    must(fstat(file, &found) == 0 && (size_t)found.st_size == count + 7, "fstat");
    close(file);
    same(bytes, count);
}

// Random bytes: getrandom's own call of WASI in one piece, and getentropy, which POSIX gives 256 at once.
static void at_random(size_t count) {
    unsigned char *bytes = calloc(count, 1);
    must(bytes != NULL, "calloc");
    must(__wasi_random_get(bytes, count) == 0, "random_get");
    size_t zeros = 0;
    for (size_t at = 0; at < count; at++) zeros += bytes[at] == 0;
    must(zeros < count / 64, "random_get left zeros");
    must(getentropy(bytes, 256) == 0, "getentropy");
}

static void list(size_t count) {
    char name[64];
    must(mkdir("/data/many", 0777) == 0, "mkdir");
    for (size_t number = 0; number < count; number++) {
        snprintf(name, sizeof name, "/data/many/%zu", number);
        FILE *file = fopen(name, "w");
        must(file != NULL, "fopen");
        fclose(file);
    }
    DIR *dir = opendir("/data/many");
    must(dir != NULL, "opendir");
    size_t found = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) found += entry->d_name[0] != '.';
    closedir(dir);
    must(found == count, "readdir");
}

int main(int argc, char **argv) {
    const char *verb = argc > 2 ? argv[1] : "";
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (strcmp(verb, "stdio") == 0) by_stdio(count);
    if (strcmp(verb, "descriptors") == 0) by_descriptors(count);
    if (strcmp(verb, "vectors") == 0) by_vectors(count);
    if (strcmp(verb, "places") == 0) by_places(count);
    if (strcmp(verb, "random") == 0) at_random(count);
    if (strcmp(verb, "list") == 0) list(count);
    if (strcmp(verb, "fread") == 0) {
        unsigned char *bytes = malloc(count);
        must(fread(bytes, 1, count, stdin) == count, "fread of stdin");
        same(bytes, count);
    }
    if (strcmp(verb, "read") == 0) {
        unsigned char *bytes = malloc(count);
        all(0, bytes, count, 0);
        same(bytes, count);
    }
    if (strcmp(verb, "fwrite") == 0) {
        must(fwrite(pattern(count), 1, count, stdout) == count, "fwrite of stdout");
        return 0;
    }
    if (strcmp(verb, "write") == 0) {
        // A pipe takes the whole, pipe(7).
        must(write(1, pattern(count), count) == (ssize_t)count, "write of stdout");
        return 0;
    }
    printf("%zu\n", count);
    return 0;
}
