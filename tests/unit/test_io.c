/* SPDX-License-Identifier: Apache-2.0
 * One contract, three engines: every test of the table runs over io_uring, threads and the simulation, the fault tests over
 * the simulation. Files are made below TMPDIR; where that file system has no direct reads (tmpfs, overlay) they are read
 * buffered, which the contract allows. */
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/io.h"
#include "sys/mem.h"
#include "sys/thread.h"

enum { BLOCK = 4096, BLOCKS = 4096, FILE_BYTES = BLOCK * BLOCKS, MEMORY = 16 << 20, REST = 8 << 20 };

struct fixture {
    char path[512];
    struct sys_file file;
    char *memory;
    uint32_t seed;
    int warnings;
    int notes;
};

static struct fixture shared;

/* Every 8 bytes tell their place, so a block in the wrong place is noticed wherever it begins. */
static void fill(char *p, uint64_t offset, size_t len) {
    for (size_t i = 0; i < len; i += 8) {
        store_le64(p + i, (offset + i) * UINT64_C(0x9e3779b97f4a7c15) ^ 0x5bd1e995);
    }
}

static void expect_bytes(const char *p, uint64_t offset, size_t len) {
    char want[BLOCK];
    for (size_t at = 0; at < len; at += BLOCK) {
        fill(want, offset + at, BLOCK);
        assert_memory_equal(p + at, want, BLOCK);
    }
}

static uint32_t draw(struct fixture *x, uint32_t n) {
    x->seed = x->seed * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)x->seed * n >> 32);
}

static void hear(void *user, int level, const char *text) {
    struct fixture *x = user;
    (void)text;
    *(level == LOG_WARNING ? &x->warnings : &x->notes) += 1;
}

static int make_file(void **state) {
    struct lamina_error err = {0};
    struct fixture *x = &shared;
    const char *base = getenv("TMPDIR");
    (void)snprintf(x->path, sizeof(x->path), "%s/lamina-io-%ld", base != NULL ? base : "/tmp", (long)getpid());
    void *memory = NULL;
    if (sys_mem_map(&memory, MEMORY, &err) < 0) {
        return -1;
    }
    x->memory = memory;
    fill(x->memory, 0, FILE_BYTES);
    if (sys_file_create(&x->file, x->path, SYS_OPEN_BUFFERED, &err) < 0 ||
        sys_file_write_at(&x->file, x->path, 0, x->memory, FILE_BYTES, &err) < 0 ||
        sys_file_sync(&x->file, x->path, &err) < 0) {
        return -1;
    }
    sys_file_close(&x->file);
    sys_mem_unmap(memory, MEMORY);
    *state = x;
    return 0;
}

static int remove_file(void **state) {
    (void)state;
    return unlink(shared.path);
}

static int set_up(void **state) {
    struct lamina_error err = {0};
    struct fixture *x = &shared;
    void *memory = NULL;
    x->seed = 12345;
    x->warnings = 0;
    x->notes = 0;
    if (sys_mem_map(&memory, MEMORY, &err) < 0 || sys_file_open_read(&x->file, x->path, SYS_OPEN_DIRECT, &err) < 0) {
        return -1;
    }
    x->memory = memory;
    *state = x;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *x = *state;
    sys_file_close(&x->file);
    sys_mem_unmap(x->memory, MEMORY);
    return 0;
}

struct setting {
    const char *name;
    enum io_engine engine;
    const char *sim;
    bool registered;
};

static const struct setting settings[] = {
    {"io_uring, registered", IO_ENGINE_URING, NULL, true},
    {"io_uring, unregistered", IO_ENGINE_URING, NULL, false},
    {"threads", IO_ENGINE_THREADS, NULL, true},
    {"simulation", IO_ENGINE_SIM, "latency_us=200,jitter_us=500,seed=1", false},
    {"simulation, reordered", IO_ENGINE_SIM, "latency_us=200,jitter_us=500,reorder=1,seed=2", false},
    {"simulation, everything", IO_ENGINE_SIM, "latency_us=20,jitter_us=50,reorder=1,short=300,eio=50,eagain=200,seed=3", false},
    {"automatic", IO_ENGINE_AUTO, NULL, true},
};

static bool memlock_is_small(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < (1 << 20);
}

static struct io_queue *open_queue(struct fixture *x, const struct setting *s, uint32_t depth) {
    static struct log_sink sink;
    sink = (struct log_sink){.say = hear, .user = x};
    struct lamina_error err = {0};
    if (s->engine == IO_ENGINE_URING && io_uring_probe(&err) < 0) {
        print_message("no io_uring here: %s\n", err.message);
        return NULL;
    }
    struct io_options o = {.engine = s->engine, .depth = depth, .sim = s->sim, .log = &sink};
    if (s->registered) {
        o.registered = x->memory;
        o.registered_len = REST; /* half of it: reads behind that are unregistered, and some cross the border */
    }
    struct io_queue *q = NULL;
    lamina_status status = io_open(&q, &o, &err);
    if (s->engine == IO_ENGINE_URING && status == LAMINA_UNSUPPORTED && memlock_is_small()) {
        /* Rings that were just closed are still charged to the user for a moment. */
        print_message("no io_uring under this memlock limit: %s\n", err.message);
        return NULL;
    }
    if (status < 0) {
        print_error("%s: %s\n", s->name, err.message);
    }
    assert_int_equal(status, 0);
    return q;
}

static struct io_read read_of(struct fixture *x, uint64_t offset, size_t at, uint32_t len, uint64_t tag) {
    return (struct io_read){.file = &x->file, .path = x->path, .offset = offset, .dst = x->memory + at, .len = len, .tag = tag};
}

typedef void contract(struct fixture *x, struct io_queue *q);

static void over_engines(void **state, contract *test, uint32_t depth) {
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        struct io_queue *q = open_queue(*state, &settings[i], depth);
        if (q != NULL) {
            test(*state, q);
            io_close(&q);
            assert_null(q);
        }
    }
}

enum { DEPTH = 16, PLACE = 1 << 20, PLACE_BLOCKS = PLACE / BLOCK };

/* Each of 16 places in memory has one read of random length and offset at a time. */
static void random_reads(struct fixture *x, struct io_queue *q) {
    struct lamina_error err = {0};
    struct io_read current[DEPTH];
    bool busy[DEPTH] = {false};
    uint32_t begun = 0;
    uint32_t ended = 0;
    const uint32_t all = 400;
    while (ended < all) {
        for (uint32_t i = 0; i < DEPTH && begun < all; i++) {
            if (!busy[i]) {
                uint32_t blocks = 1 + draw(x, PLACE_BLOCKS - 1);
                uint32_t shift = draw(x, PLACE_BLOCKS - blocks);
                uint64_t offset = (uint64_t)draw(x, BLOCKS - blocks + 1) * BLOCK;
                current[i] = read_of(x, offset, i * (size_t)PLACE + shift * (size_t)BLOCK, blocks * BLOCK, i);
                assert_int_equal(io_submit(q, &current[i], 1, &err), 1);
                busy[i] = true;
                begun++;
            }
        }
        struct io_done done[DEPTH];
        uint32_t n = io_wait(q, done, 1 + draw(x, DEPTH), UINT64_MAX, &err);
        assert_true(n >= 1);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(done[i].tag < DEPTH && busy[done[i].tag]);
            if (done[i].status != 0) {
                print_error("%s\n", err.message);
            }
            assert_int_equal(done[i].status, 0);
            const struct io_read *r = &current[done[i].tag];
            expect_bytes(r->dst, r->offset, r->len);
            busy[done[i].tag] = false;
            ended++;
        }
    }
    assert_int_equal(io_in_flight(q), 0);
    assert_int_equal(err.code, 0);
}

static void reads_at_random(void **state) {
    over_engines(state, random_reads, DEPTH);
}

static void fill_up(struct fixture *x, struct io_queue *q) {
    struct lamina_error err = {0};
    struct io_read reads[6];
    for (uint32_t i = 0; i < 6; i++) {
        reads[i] = read_of(x, i * (uint64_t)BLOCK, i * (size_t)BLOCK, BLOCK, 100 + i);
    }
    struct io_done done[8];
    assert_int_equal(io_wait(q, done, 8, UINT64_MAX, &err), 0); /* nothing in flight: no waiting */
    assert_int_equal(io_submit(q, reads, 6, &err), 4);
    assert_int_equal(io_submit(q, reads, 1, &err), 0);
    assert_int_equal(io_in_flight(q), 4);
    uint32_t seen = 0;
    while (io_in_flight(q) > 0) {
        uint32_t n = io_wait(q, done, 1, UINT64_MAX, &err);
        assert_int_equal(n, 1);
        assert_int_equal(done[0].status, 0);
        assert_true(done[0].tag >= 100 && done[0].tag < 104);
        seen |= 1u << (done[0].tag - 100);
    }
    assert_int_equal(seen, 15);
    assert_int_equal(io_submit(q, reads + 4, 2, &err), 2);
    while (io_in_flight(q) > 0) {
        (void)io_wait(q, done, 8, 1000000, &err);
    }
    expect_bytes(x->memory, 0, 6 * BLOCK);
}

static void takes_as_many_as_fit(void **state) {
    over_engines(state, fill_up, 4);
}

static void ask_nonsense(struct fixture *x, struct io_queue *q) {
    struct lamina_error err = {0};
    struct sys_file closed = {.fd = -1, .alignment = 1};
    struct io_read bad[6];
    for (int i = 0; i < 6; i++) {
        bad[i] = read_of(x, 0, 0, BLOCK, 0);
    }
    bad[0].len = 0;
    bad[1].file = &closed;
    bad[2].dst = NULL;
    bad[3].offset = UINT64_MAX - BLOCK + 1;
    bad[4].offset = 1;
    bad[5].len = BLOCK + 1;
    for (int i = 0; i < (x->file.direct ? 6 : 4); i++) {
        struct io_read two[2] = {read_of(x, 0, 0, BLOCK, 0), bad[i]};
        assert_true(io_submit(q, two, 2, &err) < 0);
        assert_non_null(strstr(err.message, x->path));
        assert_int_equal(io_in_flight(q), 0); /* the good one was not started either */
        err = (struct lamina_error){0};
    }
}

static void refuses_nonsense(void **state) {
    over_engines(state, ask_nonsense, 4);
}

/* The file shrinks after it was opened, as when somebody overwrites a store in use. */
static void read_short_file(struct fixture *x, struct io_queue *q) {
    struct lamina_error err = {0};
    char path[600];
    (void)snprintf(path, sizeof(path), "%s-cut", x->path);
    struct sys_file cut;
    assert_int_equal(sys_file_create(&cut, path, SYS_OPEN_BUFFERED, &err), 0);
    assert_int_equal(sys_file_write_at(&cut, path, 0, x->memory, 100 * BLOCK, &err), 0);
    sys_file_close(&cut);
    assert_int_equal(sys_file_open_read(&cut, path, SYS_OPEN_DIRECT, &err), 0);
    assert_int_equal(truncate(path, 50 * BLOCK + 777), 0);
    static const struct {
        uint64_t block;
        uint32_t blocks;
        lamina_status want;
    } cases[] = {{0, 50, 0}, {0, 51, LAMINA_DAMAGED}, {50, 1, LAMINA_DAMAGED}, {51, 1, LAMINA_DAMAGED}, {80, 20, LAMINA_DAMAGED}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct io_read r = {.file = &cut, .path = path, .offset = cases[i].block * BLOCK, .dst = x->memory,
                            .len = cases[i].blocks * BLOCK, .tag = 9};
        struct io_done done;
        assert_int_equal(io_submit(q, &r, 1, &err), 1);
        assert_int_equal(io_wait(q, &done, 1, UINT64_MAX, &err), 1);
        assert_int_equal(done.status, cases[i].want);
        if (cases[i].want < 0) {
            assert_int_equal(err.code, LAMINA_DAMAGED);
            assert_non_null(strstr(err.message, path));
            assert_non_null(strstr(err.message, "ends at byte 205577"));
            err = (struct lamina_error){0};
        }
    }
    sys_file_close(&cut);
    assert_int_equal(unlink(path), 0);
}

static void notices_a_shorter_file(void **state) {
    over_engines(state, read_short_file, 4);
}

/* Reads are left in flight; under AddressSanitizer a late one would write into unmapped memory. */
static void leave_in_flight(struct fixture *x, struct io_queue *q) {
    struct lamina_error err = {0};
    for (uint32_t i = 0; i < DEPTH; i++) {
        struct io_read r = read_of(x, i * (uint64_t)PLACE, i * (size_t)PLACE, PLACE, i);
        assert_int_equal(io_submit(q, &r, 1, &err), 1);
    }
}

static void closes_with_reads_in_flight(void **state) {
    over_engines(state, leave_in_flight, DEPTH);
    struct fixture *x = *state;
    sys_mem_unmap(x->memory, MEMORY);
    void *memory = NULL;
    struct lamina_error err = {0};
    assert_int_equal(sys_mem_map(&memory, MEMORY, &err), 0);
    x->memory = memory;
    for (size_t i = 0; i < MEMORY; i += BLOCK) {
        assert_int_equal(x->memory[i], 0);
    }
}

static void poll_only(struct fixture *x, struct io_queue *q) {
    struct lamina_error err = {0};
    struct io_read r = read_of(x, 0, 0, PLACE, 1);
    assert_int_equal(io_submit(q, &r, 1, &err), 1);
    struct io_done done;
    while (io_wait(q, &done, 1, 0, &err) == 0) {
        sys_cpu_relax();
    }
    assert_int_equal(done.status, 0);
    expect_bytes(r.dst, 0, PLACE);
}

static void may_be_polled(void **state) {
    over_engines(state, poll_only, 1);
}

static void refuses_bad_options(void **state) {
    struct fixture *x = *state;
    static const struct io_options bad[] = {
        {.engine = IO_ENGINE_THREADS, .depth = 0},
        {.engine = IO_ENGINE_THREADS, .depth = 257},
        {.engine = (enum io_engine)77, .depth = 1},
        {.engine = IO_ENGINE_SIM, .depth = 1, .sim = "latency=5"},
        {.engine = IO_ENGINE_SIM, .depth = 1, .sim = "latency_us"},
        {.engine = IO_ENGINE_SIM, .depth = 1, .sim = "eio=-1"},
        {.engine = IO_ENGINE_SIM, .depth = 1, .sim = "eio=1001"},
        {.engine = IO_ENGINE_SIM, .depth = 1, .sim = "eio=5x"},
        {.engine = IO_ENGINE_SIM, .depth = 1, .sim = ",eio=5"},
    };
    (void)x;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct lamina_error err = {0};
        struct io_queue *q = NULL;
        assert_int_equal(io_open(&q, &bad[i], &err), LAMINA_USAGE);
        assert_null(q);
        assert_true(err.message[0] != 0);
    }
}

static lamina_status read_one(struct fixture *x, struct io_queue *q, uint64_t offset, struct io_done *done,
                              struct lamina_error *err) {
    struct io_read r = read_of(x, offset, 0, 16 * BLOCK, 1);
    assert_int_equal(io_submit(q, &r, 1, err), 1);
    assert_int_equal(io_wait(q, done, 1, UINT64_MAX, err), 1);
    return done->status;
}

static void gives_up_on_a_bad_place(void **state) {
    struct fixture *x = *state;
    static const struct setting sim = {"sticky", IO_ENGINE_SIM, "latency_us=10,eio_sticky=1000000", false};
    struct io_queue *q = open_queue(x, &sim, 4);
    struct lamina_error err = {0};
    struct io_done done;
    assert_int_equal(read_one(x, q, 244 * BLOCK, &done, &err), LAMINA_IO); /* block 244 holds byte 1,000,000 */
    assert_non_null(strstr(err.message, x->path));
    assert_non_null(strstr(err.message, "offset 999424"));
    assert_non_null(strstr(err.message, "4 times"));
    /* 10 + 100 + 1000 ms of the simulation's time, and four tries */
    assert_true(done.latency_ns >= 1110000000 && done.latency_ns < 1120000000);
    assert_int_equal(x->warnings, 3);
    struct lamina_error none = {0};
    assert_int_equal(read_one(x, q, 245 * BLOCK, &done, &none), 0);
    expect_bytes(x->memory, 245 * BLOCK, 16 * BLOCK);
    assert_int_equal(read_one(x, q, 229 * BLOCK, &done, &err), LAMINA_IO);
    assert_non_null(strstr(err.message, "offset 999424")); /* the first failure's sentence stays */
    io_close(&q);
}

static void survives_passing_trouble(void **state) {
    struct fixture *x = *state;
    static const struct setting sims[] = {
        {"eio", IO_ENGINE_SIM, "eio=100,seed=5", false},
        {"eagain", IO_ENGINE_SIM, "eagain=900,seed=5", false},
        {"short", IO_ENGINE_SIM, "short=1000,seed=5", false},
    };
    for (size_t i = 0; i < 3; i++) {
        struct io_queue *q = open_queue(x, &sims[i], 4);
        for (uint32_t n = 0; n < 100; n++) {
            struct lamina_error err = {0};
            struct io_done done;
            assert_int_equal(read_one(x, q, (uint64_t)draw(x, BLOCKS - 16) * BLOCK, &done, &err), 0);
        }
        io_close(&q);
    }
}

static void never_retries_for_ever(void **state) {
    struct fixture *x = *state;
    static const struct setting sim = {"eagain", IO_ENGINE_SIM, "eagain=1000", false};
    struct io_queue *q = open_queue(x, &sim, 1);
    struct lamina_error err = {0};
    struct io_done done;
    assert_int_equal(read_one(x, q, 0, &done, &err), LAMINA_IO);
    assert_true(done.latency_ns > 1000000000 && done.latency_ns < 10000000000);
    io_close(&q);
}

static void falls_back_when_direct_is_refused(void **state) {
    struct fixture *x = *state;
    if (!x->file.direct) {
        skip();
    }
    static const struct setting sim = {"einval", IO_ENGINE_SIM, "latency_us=5,reorder=1,einval=1", false};
    struct io_queue *q = open_queue(x, &sim, DEPTH);
    struct lamina_error err = {0};
    leave_in_flight(x, q);
    uint32_t ended = 0;
    while (io_in_flight(q) > 0) {
        struct io_done done[DEPTH];
        uint32_t n = io_wait(q, done, DEPTH, UINT64_MAX, &err);
        for (uint32_t i = 0; i < n; i++, ended++) {
            assert_int_equal(done[i].status, 0);
        }
    }
    assert_int_equal(ended, DEPTH);
    expect_bytes(x->memory, 0, MEMORY);
    assert_false(sys_file_is_direct(&x->file));
    assert_int_equal(x->notes, 1); /* said once, though sixteen reads met it */
    io_close(&q);
}

/* The same seed and calls give the same deliveries; another seed gives others. */
static uint64_t order_of(struct fixture *x, const char *text) {
    struct setting sim = {"order", IO_ENGINE_SIM, text, false};
    struct io_queue *q = open_queue(x, &sim, DEPTH);
    struct lamina_error err = {0};
    uint64_t hash = 0;
    leave_in_flight(x, q);
    while (io_in_flight(q) > 0) {
        struct io_done done;
        (void)io_wait(q, &done, 1, UINT64_MAX, &err);
        hash = (hash ^ done.tag ^ done.latency_ns) * UINT64_C(0x100000001b3);
    }
    io_close(&q);
    return hash;
}

static void simulates_by_seed(void **state) {
    struct fixture *x = *state;
    static const char one[] = "latency_us=9,jitter_us=99,reorder=1,short=200,eio=100,seed=1";
    static const char two[] = "latency_us=9,jitter_us=99,reorder=1,short=200,eio=100,seed=2";
    assert_true(order_of(x, one) == order_of(x, one));
    assert_true(order_of(x, one) != order_of(x, two));
}

static void flips_bits_on_request(void **state) {
    struct fixture *x = *state;
    static const struct setting sim = {"flip", IO_ENGINE_SIM, "flip=1000,seed=3", false};
    struct io_queue *q = open_queue(x, &sim, 1);
    struct lamina_error err = {0};
    struct io_done done;
    assert_int_equal(read_one(x, q, 0, &done, &err), 0);
    int wrong = 0;
    char want[BLOCK];
    for (size_t at = 0; at < 16 * BLOCK; at += BLOCK) {
        fill(want, at, BLOCK);
        for (size_t i = 0; i < BLOCK; i++) {
            wrong += __builtin_popcount((unsigned)((uint8_t)(want[i] ^ x->memory[at + i])));
        }
    }
    assert_int_equal(wrong, 1);
    io_close(&q);
}

/* As an ordinary user with a memlock limit of 64 KiB: registering fails, reading does not, and the name says so. */
static void works_without_locked_memory(void **state) {
    struct fixture *x = *state;
    struct lamina_error err = {0};
    if (io_uring_probe(&err) < 0) {
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {.rlim_cur = 65536, .rlim_max = 65536};
        int bad = setrlimit(RLIMIT_MEMLOCK, &limit) != 0;
        if (geteuid() == 0) {
            bad |= setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0;
        }
        struct io_options o = {.engine = IO_ENGINE_URING, .depth = 4, .registered = x->memory, .registered_len = MEMORY};
        struct io_queue *q = NULL;
        bad |= io_open(&q, &o, &err) != 0;
        if (bad == 0) {
            bad |= strstr(io_engine_name(q), "not registered (memlock limit 64.0 KiB)") == NULL ? 2 : 0;
            struct io_read r = read_of(x, 0, 0, PLACE, 1);
            struct io_done done = {.status = LAMINA_IO};
            bad |= io_submit(q, &r, 1, &err) != 1 ? 4 : 0;
            bad |= io_wait(q, &done, 1, UINT64_MAX, &err) != 1 ? 8 : 0;
            char want[BLOCK];
            fill(want, PLACE - BLOCK, BLOCK);
            bad |= done.status != 0 || memcmp(want, x->memory + PLACE - BLOCK, BLOCK) != 0 ? 16 : 0;
            io_close(&q);
        } else {
            (void)fprintf(stderr, "%s\n", err.message);
        }
        _exit(bad);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void names_its_engine(void **state) {
    static const char *const names[] = {"io_uring", "io_uring, no registered buffers", "threads", "simulation"};
    for (size_t i = 0; i < 4; i++) {
        struct io_queue *q = open_queue(*state, &settings[i], 1);
        if (q != NULL) {
            assert_non_null(strstr(io_engine_name(q), names[i]));
            io_close(&q);
        }
    }
}

/* Handed from the thread that opened it to another, as the reader of a session is. */
struct handed {
    struct fixture *x;
    struct io_queue *q;
    lamina_status status;
};

static void use_queue(void *arg) {
    struct handed *h = arg;
    struct lamina_error err = {0};
    struct io_done done;
    h->status = read_one(h->x, h->q, 7 * BLOCK, &done, &err);
}

static void hand_on(struct fixture *x, struct io_queue *q) {
    struct handed h = {.x = x, .q = q, .status = LAMINA_UNEXPECTED};
    struct sys_thread *t = NULL;
    struct lamina_error err = {0};
    assert_int_equal(sys_thread_start(&t, "reader", use_queue, &h, &err), 0);
    sys_thread_join(&t);
    assert_int_equal(h.status, 0);
    expect_bytes(x->memory, 7 * BLOCK, 16 * BLOCK);
}

static void may_be_handed_on(void **state) {
    over_engines(state, hand_on, 2);
}

static void measures_the_drive(void **state) {
    struct fixture *x = *state;
    struct lamina_error err = {0};
    struct io_probe_result result;
    uint64_t begun = sys_now_ns();
    assert_int_equal(io_probe(&x->file, x->path, x->memory, MEMORY, 300000000, &result, &err), 0);
    assert_true(sys_now_ns() - begun < UINT64_C(20000000000)); /* far above the budget: machines stall */
    assert_true(result.bytes_per_s > 1000000);
    assert_true(result.depth >= 2 && result.depth <= 8);
    assert_true((uint64_t)result.depth * result.request_bytes <= MEMORY);
    assert_true(result.engine == IO_ENGINE_URING || result.engine == IO_ENGINE_THREADS);
    assert_int_equal(io_probe(&x->file, x->path, x->memory, 1 << 20, 300000000, &result, &err), LAMINA_USAGE);
    assert_true(result.bytes_per_s <= 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(reads_at_random),
        TEST(takes_as_many_as_fit),
        TEST(refuses_nonsense),
        TEST(notices_a_shorter_file),
        TEST(closes_with_reads_in_flight),
        TEST(may_be_polled),
        TEST(refuses_bad_options),
        TEST(gives_up_on_a_bad_place),
        TEST(survives_passing_trouble),
        TEST(never_retries_for_ever),
        TEST(falls_back_when_direct_is_refused),
        TEST(simulates_by_seed),
        TEST(flips_bits_on_request),
        TEST(works_without_locked_memory),
        TEST(names_its_engine),
        TEST(may_be_handed_on),
        TEST(measures_the_drive),
    };
    return cmocka_run_group_tests_name("io", tests, make_file, remove_file);
}
