/* SPDX-License-Identifier: Apache-2.0
 * The CPU device's ops, private to the dev room. */
#ifndef DEV_CPU_PRIV_H
#define DEV_CPU_PRIV_H

#include <stdatomic.h>

#include "codec/code_tile.h"
#include "codec/coding.h"
#include "dev/dev.h"
#include "dev/team.h"

enum { CPU_PART_FLAGS = 1024, CPU_DECODED = KERN_BLOCK_PANELS * KERN_PANEL_ROWS * KERN_BLOCK_COLS,
       CPU_UNPACKED = CODE_TILE_BLOCK + CODE_TILE_ROOM };

struct cpu_spare;

struct dev_cpu {
    struct dev base;
    struct team *team;
    uint32_t cpu_flags;
    struct coding_table coding;
    uint32_t kv_blocks;
    const void **kv_pointers;               /* [threads][2][kv_blocks]: K and V pages of the row at hand */
    float *decoded;                         /* [threads][CPU_DECODED]: a block of a coded matrix */
    uint8_t *unpacked;                      /* [threads][CPU_UNPACKED]: codes of a block and scales of a group of a packed tile */
    struct cpu_spare *spare;                /* for workers whose tile is still being read, or NULL */
    _Atomic uint64_t compute_ns;            /* summed over workers */
    _Atomic uint32_t part_done[CPU_PART_FLAGS]; /* matmul: tile index + 1 in slot index % CPU_PART_FLAGS */
};

/* One product. */
struct cpu_job {
    struct dev_cpu *dev;
    const struct kern_op *op;
    const struct dev_pass *pass;
    struct dev_matrix matrix;
    const float *bias;
    _Atomic int32_t *failed;     /* the status of a tile that failed */
};

/* Says why a product failed; a tile that could not be read is explained by the owner of the tiles. */
static inline lamina_status cpu_tile_failed(lamina_status status, struct lamina_error *err) {
    const char *damaged = "the planes of a weight tile make no sense; verify the store, or split again";
    return base_fail(err, status, "%s", status == LAMINA_DAMAGED ? damaged : "a weight tile could not be read");
}

/* Finds the matrix of job->op for its pass and expert. */
lamina_status cpu_job_prepare(struct cpu_job *job, struct lamina_error *err);
/* Takes a tile, multiplies it with all rows and gives it back. IO: it could not be read; DAMAGED: its planes make no sense. */
lamina_status cpu_job_tile(struct cpu_job *job, uint32_t worker, uint32_t index);

/* One product, or two that share their input and do not need each other, side by side. */
lamina_status cpu_matmuls(struct dev_cpu *d, const struct kern_op *ops, uint32_t count, const struct dev_pass *pass,
                          struct lamina_error *err);
void cpu_route(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass);
lamina_status cpu_experts(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass, struct lamina_error *err);
/* experts.c. One tile of an expert that is in memory; false: none can be had now. */
bool cpu_spare_tile(struct cpu_spare *s, uint32_t worker);
lamina_status cpu_delta(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass, struct lamina_error *err);
void cpu_attention(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass);
void cpu_kv_store(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass);
void cpu_rows(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass); /* norm, rope, silu, add */
void cpu_rows_alone(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass); /* on this thread */

#endif
