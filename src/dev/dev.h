/* SPDX-License-Identifier: Apache-2.0
 *
 * The device interface: a device is a table of functions that run op records over buffers. The CPU is built in; others
 * are plug-ins that fill the same table. A device knows nothing of files, stores or models: weights arrive tile by tile
 * through dev_tiles, everything else as pointers.
 *
 * Threads: one thread calls a device; dev_tiles' functions are called back from the device's own workers.
 */
#ifndef DEV_DEV_H
#define DEV_DEV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "codec/panel.h"
#include "kern/kern.h"
#include "kern/op.h"

/* Weights of one matrix: tiles number first .. first + count - 1, in order. acquire blocks until a tile is in memory and
 * checked, and returns its *len bytes, or NULL after a failure (which the owner of the tiles reports); `ready` says whether
 * acquire would return at once. Every acquired tile is released once. Each tile is acquired exactly once, in any order that
 * starts no tile before all smaller ones were started. */
struct dev_tiles {
    void *user;
    uint32_t first, count;
    const void *(*acquire)(void *user, uint32_t tile, size_t *len);
    void (*release)(void *user, uint32_t tile);
    bool (*ready)(void *user, uint32_t tile);
};

struct dev_matrix {
    const struct panel_shape *shape;
    struct dev_tiles tiles;
    const float *row_scale; /* [rows] multiplies the sums, or NULL */
};

/* KV memory of one row of the pass. Pages of block b start at base + pages[b] * page_bytes. */
struct dev_kv_row {
    const uint32_t *pages;
    const uint64_t *allow;  /* bit j of allow[b]: position 64*b + j may be seen; NULL: all of first..position */
    uint8_t *fixed;         /* state of the sequence that does not grow; begins anew at position 0 */
    uint32_t position;
    uint32_t visible;       /* positions 0 .. visible - 1 may be seen: position + 1, or more inside a prefix */
    uint32_t key_slot;      /* of key_rope */
};

struct dev_kv {
    uint8_t *base;
    uint64_t page_bytes, k_bytes, v_bytes;
    uint64_t layer_offset;  /* of the layer at hand, from the start of a page */
    uint64_t fixed_offset;  /* the same inside a row's fixed state */
    enum kern_dtype dtype;
    uint32_t kv_heads, k_dim, v_dim;
    const struct dev_kv_row *rows;
};

/* One set of rotary factors: [rows][dim / 2], already multiplied by the attention factor. */
struct dev_rope {
    const float *cos, *sin;
    uint32_t dim;
};

/* Rotary factors by position, for keys that are kept unrotated: slot after slot of [positions][dim / 2], and room for the rotated
 * keys of one head per worker. */
struct dev_key_rope {
    const float *cos, *sin;
    size_t slot_floats;
    uint32_t dim;
    uint8_t *scratch;
    size_t scratch_bytes;            /* of a worker */
};

/* Everything the ops of one pass over one layer may touch. */
struct dev_pass {
    uint32_t rows;
    uint32_t room;                   /* rows that the registers have memory for */
    float *reg[KERN_REGS];           /* fp32 [rows][kern_row_stride(width)] */
    size_t stride[KERN_REGS];        /* floats */
    const float *const *vectors;     /* by the role numbers of the op records */
    uint32_t layer;
    uint32_t expert;                 /* whose matrices and biases the ops at hand mean, 0 outside experts */
    /* Fills the matrix of a role (of an expert); false when there is none (a failure of the caller). Any worker. */
    bool (*matrix)(void *user, int role, uint32_t expert, struct dev_matrix *out);
    /* Says which experts the rows chose, once per KERN_OP_ROUTE and before any of them is asked for. used[experts]. */
    void (*chosen)(void *user, const uint8_t *used, uint32_t experts);
    /* Is all of this expert in memory? Such tiles may be taken out of turn. Any worker. */
    bool (*resident)(void *user, uint32_t expert);
    void *user;
    struct kern_choice *choices;     /* [rows], NULL for models without experts */
    struct dev_rope rope[KERN_ROPES];
    struct dev_key_rope key_rope;    /* models with raw keys */
    const float *query_factor;       /* [rows], of KERN_OP_QUERY_SCALE */
    const float *slopes;             /* [heads] ALiBi, or NULL */
    struct dev_kv kv;
};

struct dev_caps {
    char name[16];                   /* "cpu" */
    char isa[16];
    uint32_t workers;
    bool unified_memory;             /* shares memory with the host */
};

struct dev_times {
    uint64_t compute_ns;             /* in kernels, summed over workers / workers */
};

struct dev;
struct dev_table {
    void (*close)(struct dev *d);
    void (*caps)(const struct dev *d, struct dev_caps *caps);
    lamina_status (*run)(struct dev *d, const struct kern_op *ops, uint32_t count, const struct dev_pass *pass,
                         struct lamina_error *err);
    /* Runs fn(arg, worker) once on every worker at the same time and waits: for work beside op records that shares the
     * workers (embedding rows, touching memory). */
    void (*on_workers)(struct dev *d, void (*fn)(void *arg, uint32_t worker), void *arg);
    void (*times)(const struct dev *d, struct dev_times *t);
    /* fp32 fma rate of all workers together, from a run of a few milliseconds. */
    double (*measure_flops)(struct dev *d);
};

struct dev {
    const struct dev_table *table;
    struct kern_table kern;          /* of host-side kernels, any device */
};

struct dev_cpu_options {
    uint32_t threads;                /* workers including the calling thread; >= 1 */
    uint32_t cpu_flags;              /* enum sys_cpu_flag, already masked */
    uint32_t kv_blocks;              /* most KV blocks a row can see */
};
lamina_status dev_cpu_open(struct dev **d, const struct dev_cpu_options *o, struct lamina_error *err);
void dev_close(struct dev **d);

#endif
