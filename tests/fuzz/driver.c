/* SPDX-License-Identifier: Apache-2.0
 * A main() for fuzz targets where libFuzzer is not: replays files and directories, every file also cut short and with
 * bytes changed, from a fixed seed, so that the run is the same everywhere. Exits 0 when nothing crashed.
 *     fuzz_json [--mutations N] FILE|DIR ... */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct replay {
    uint64_t random;
    unsigned mutations;
    unsigned long inputs;
};

static uint64_t next_random(struct replay *r) {
    /* xorshift64*, Vigna 2016: enough to pick places. */
    r->random ^= r->random >> 12;
    r->random ^= r->random << 25;
    r->random ^= r->random >> 27;
    return r->random * 0x2545F4914F6CDD1DULL;
}

/* The target sees memory of exactly `size` bytes, so that AddressSanitizer guards both ends. */
static void feed(struct replay *r, const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    r->inputs++;
}

static void mutate(struct replay *r, const uint8_t *data, size_t size) {
    static const uint8_t telling[] = {0x00, 0xff, 0x7f, 0x80, '"', '{', '}', '[', ',', '%', '-', '9'};
    uint8_t *work = malloc(size > 0 ? size : 1);
    if (work == NULL || size == 0) {
        free(work);
        return;
    }
    for (unsigned i = 0; i < r->mutations; i++) {
        memcpy(work, data, size);
        size_t len = i % 4 == 0 ? (size_t)(next_random(r) % (size + 1)) : size;
        for (uint64_t n = next_random(r) % 4 + (i % 4 != 0); n > 0 && len > 0; n--) {
            size_t at = (size_t)(next_random(r) % len);
            uint64_t kind = next_random(r) % 3;
            if (kind == 0) {
                work[at] ^= (uint8_t)(1u << (next_random(r) % 8));
            } else if (kind == 1) {
                work[at] = telling[next_random(r) % sizeof(telling)];
            } else {
                size_t from = (size_t)(next_random(r) % len);
                size_t longest = len - (at > from ? at : from);
                memmove(work + at, work + from, (size_t)(next_random(r) % (longest + 1)));
            }
        }
        feed(r, work, len);
    }
    free(work);
}

static int replay_file(struct replay *r, const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return 1;
    }
    size_t size = 0;
    size_t cap = 1 << 16;
    uint8_t *data = malloc(cap);
    while (data != NULL) {
        size += fread(data + size, 1, cap - size, f);
        if (size < cap) {
            break;
        }
        cap *= 2;
        uint8_t *more = realloc(data, cap);
        if (more == NULL) {
            free(data);
        }
        data = more;
    }
    int failed = data == NULL || ferror(f);
    fclose(f);
    if (!failed) {
        feed(r, data, size);
        mutate(r, data, size);
    }
    free(data);
    return failed;
}

static int replay_path(struct replay *r, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) {
        return replay_file(r, path);
    }
    struct dirent **names = NULL;
    int count = scandir(path, &names, NULL, alphasort);
    int failed = count < 0;
    for (int i = 0; i < count; i++) {
        if (names[i]->d_name[0] != '.') {
            char full[4096];
            int n = snprintf(full, sizeof(full), "%s/%s", path, names[i]->d_name);
            failed |= n < 0 || (size_t)n >= sizeof(full) || replay_path(r, full) != 0;
        }
        free(names[i]);
    }
    free(names);
    return failed;
}

int main(int argc, char **argv) {
    struct replay r = {.random = 0x9E3779B97F4A7C15ULL, .mutations = 200};
    int first = 1;
    if (argc > 2 && strcmp(argv[1], "--mutations") == 0) {
        r.mutations = (unsigned)strtoul(argv[2], NULL, 10);
        first = 3;
    }
    static const uint8_t nothing[1];
    feed(&r, nothing, 0);
    int failed = 0;
    for (int i = first; i < argc; i++) {
        failed |= replay_path(&r, argv[i]);
    }
    printf("%lu inputs\n", r.inputs);
    return failed;
}
