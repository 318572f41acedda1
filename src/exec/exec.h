/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs passes: T token rows, from any mix of sequences and positions, through all layers once. Joins reading with
 * computing: the stream brings tiles, the device runs op records, the KV cache remembers. Memory was sized by the plan
 * and is taken once, at open; a pass allocates nothing.
 *
 * Results depend on the rows alone: not on the budget, the number of rows per pass, threads, engines or read-ahead.
 */
#ifndef EXEC_EXEC_H
#define EXEC_EXEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "dev/dev.h"
#include "exec/program.h"
#include "exec/stream.h"
#include "plan/plan.h"
#include "state/kv.h"
#include "store/store.h"

struct exec_options {
    const struct store *store;   /* borrowed, stays open */
    const struct program *program; /* of this store; borrowed */
    const struct plan *plan;     /* fits */
    struct dev *dev;             /* borrowed */
    uint32_t context_tokens;
    uint32_t sequences;
    uint32_t logit_rows;
    enum kern_dtype kv_dtype;
    bool read_ahead;
    enum io_engine engine;
    const char *sim;
    /* Told which experts the rows of a pass chose in a layer; may be NULL. */
    void (*chosen)(void *user, uint32_t layer, const uint8_t *used, uint32_t experts);
    void (*layer_begins)(void *user, uint32_t layer); /* may be NULL */
    void *user; /* of the callbacks */
    const struct log_sink *log;
};

/* One row of a pass. */
struct exec_row {
    uint32_t token;
    uint32_t position;           /* in its sequence, below context_tokens */
    uint32_t prompt_length;      /* of its sequence: length-dependent RoPE goes by it */
    uint32_t prefix, mask_at;    /* prefix models: positions all rows see; place of the mask */
    const struct kv_sequence *sequence; /* has room for `position`; rows of one stand in order of position */
    const uint64_t *allow;       /* tree mask per KV block, NULL: causal */
    bool wants_logits;
};

struct exec_stats {
    struct stream_stats stream;
    uint64_t passes, rows;
    uint64_t pass_ns;            /* wall time inside passes */
    uint64_t idle_ns;            /* of it, while no read was in flight */
    uint64_t expert_bytes_chosen; /* sizes of the experts that passes needed; of these, what the cache held */
    uint64_t expert_bytes_cached;
    uint64_t compute_ns;         /* per worker */
    uint64_t read_wait_ns, verify_ns; /* per worker */
};

/* What one part of the model took in all passes: part 0 is the embedding, 1 + i layer i, the last one norm and head. */
struct exec_part {
    uint64_t pass_ns;
    uint64_t compute_ns, read_wait_ns, verify_ns; /* per worker */
};

struct exec;
lamina_status exec_open(struct exec **e, const struct exec_options *o, struct lamina_error *err);
void exec_close(struct exec **e);
struct kv_cache *exec_kv(struct exec *e);

/* Runs one pass. At most plan->prompt_rows rows, at most logit_rows of them wanting logits. `more`: another pass is
 * likely to follow, so reading may run ahead into it. Errors: IO, DAMAGED (no result of this pass is used, the KV of its
 * positions is undefined), and the engine stays failed. */
lamina_status exec_pass(struct exec *e, const struct exec_row *rows, uint32_t count, bool more, struct lamina_error *err);

/* Logits of the i-th row that wanted them, in row order: fp32 [vocab]. Valid until the next pass. */
const float *exec_logits(const struct exec *e, uint32_t i);
/* What the head made them from: the normed hidden state of that row, fp32 [hidden]. Valid until the next pass. */
const float *exec_hidden(const struct exec *e, uint32_t i);
/* Passes begun so far: what was taken from one is valid while this stays. */
uint64_t exec_passes(const struct exec *e);

void exec_statistics(const struct exec *e, struct exec_stats *stats);
/* False past the last part. */
bool exec_part_times(const struct exec *e, uint32_t part, struct exec_part *out);
const char *exec_io_engine(const struct exec *e);

#endif
