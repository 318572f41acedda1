/* SPDX-License-Identifier: Apache-2.0
 *
 * The planner: a pure function from (machine, store, request) to what is pinned, how large the ring is, how far reading
 * runs ahead, where every byte of the budget goes, what a token will cost, and the smallest budget that works. The store
 * and the machine arrive as plain tables, so every case can be swept in a test without either.
 *
 * Invariant: the lines sum to total_bytes; when fits, total_bytes <= budget_bytes; what fits a budget fits a larger one.
 */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "model/model.h"

struct plan_machine {
    uint64_t process_bytes;     /* resident now: program, libraries, tokenizer, tables */
    uint64_t threads;           /* compute threads */
    double disk_bytes_per_s;    /* direct reads, best geometry; 0: not measured */
    double flops_per_s;         /* fp32 fma of all threads; 0: not measured */
    double memory_bytes_per_s;  /* reads of all threads; 0: not measured */
    uint64_t request_bytes;     /* best read size */
    uint32_t depth;             /* best number in flight */
};

/* The tiles of one pass in reading order, as bytes on disk (multiples of 4096). */
struct plan_store {
    uint32_t tile_count;
    uint32_t (*tile_pages)(const void *user, uint32_t index);
    /* True when tile index directly follows tile index-1 in the same file. */
    bool (*tile_adjacent)(const void *user, uint32_t index);
    /* True for tiles of experts: read only in passes whose rows choose them. NULL: none is. */
    bool (*tile_routed)(const void *user, uint32_t index);
    const void *user;
    uint64_t dense_bytes;       /* tiles read in every pass */
    uint64_t expert_bytes;      /* tiles of all experts */
    uint64_t chosen_bytes;      /* of these, what one row chooses */
    uint32_t expert_count;      /* experts of all layers together, 0: none */
    uint64_t largest_expert_bytes;
    /* Pages of the largest part when each expert is cut into so many (plan_part_of); NULL without experts. */
    uint32_t (*part_pages)(const void *user, uint32_t parts);
    uint64_t model_bytes;
    uint32_t largest_tile_bytes;
    uint64_t embed_panel_bytes; /* one gathered panel */
    uint64_t small_bytes;       /* resident vectors */
    uint64_t heap_bytes;        /* of the reader's tables, beside the arena */
    uint64_t unpacking_bytes;   /* of each thread that decodes packed codes */
};

struct plan_request {
    uint64_t budget_bytes;      /* UINT64_MAX: no cap */
    uint32_t context_tokens;
    uint32_t sequences;
    uint32_t prompt_rows;       /* 0: chosen here */
    uint32_t logit_rows;
    uint32_t kv_elem_bytes;
    bool pin;
};

enum plan_part {
    PLAN_PROCESS, PLAN_KERNEL, PLAN_TABLES, PLAN_SMALL, PLAN_KV, PLAN_ACTIVATIONS, PLAN_LOGITS, PLAN_SCRATCH, PLAN_RING,
    PLAN_EXPERTS, PLAN_PINNED, PLAN_RESERVE, PLAN_PARTS
};
const char *plan_part_name(enum plan_part part);

/* The cache of experts: slots of equal size, each for one of the `parts` that every expert is cut into. */
struct plan_cache {
    uint32_t parts;
    uint32_t slot_pages;
    uint32_t slots;             /* 0: no cache */
};

struct plan {
    uint64_t bytes[PLAN_PARTS];
    uint64_t total_bytes;
    uint64_t smallest_bytes;    /* whole MiB */
    bool fits;
    uint64_t ring_bytes, request_bytes;
    uint32_t depth;
    uint32_t prompt_rows;
    struct plan_cache cache;
    uint64_t arena_bytes;       /* one mapping that holds tables .. pinned, a multiple of 2 MiB */
    uint64_t pinned_limit;      /* bytes that pinned tiles may take */
    uint64_t dense_bytes, expert_bytes; /* of the store: tiles of every pass; of all experts */
    uint64_t streamed_bytes;    /* per pass once pinned tiles are loaded */
    double s_per_token;
    uint32_t best_batch;
};

/* USAGE for a request that makes no sense (no context, no rows). A plan that does not fit is not a failure here: fits is
 * false and the sizes are those of the smallest. */
lamina_status plan_make(const struct model_desc *desc, const struct plan_store *store, const struct plan_machine *machine,
                        const struct plan_request *request, struct plan *plan, struct lamina_error *err);

/* Which tiles of every pass are pinned: place[i] = page number inside the pinned area, or PLAN_STREAMED, as for all routed
 * tiles. Whole runs of about run_bytes are pinned, spread evenly over the pass, so that the reader never meets a long stretch
 * without pinned tiles and still reads in large requests. Returns the bytes pinned, at most limit_bytes. */
#define PLAN_STREAMED UINT32_MAX
uint64_t plan_pins(const struct plan_store *store, uint64_t limit_bytes, uint64_t run_bytes, uint32_t *place);

/* The part of its expert that a tile belongs to, from the pages of the expert before it. */
uint32_t plan_part_of(uint64_t expert_pages, uint32_t parts, uint64_t pages_before);
/* Bytes of a cache's tables for a number of experts. */
uint64_t plan_cache_table_bytes(uint64_t experts, uint32_t parts, uint32_t slots);

/* What the heap holds of each row of a pass: token, position, sequence. */
enum { PLAN_ROW_BYTES = 64 };

/* Bytes of the parts that the executor carves, so that planner and executor cannot disagree. */
uint64_t plan_kv_page_bytes(const struct model_desc *desc, uint32_t elem_bytes); /* 64 positions, all layers, K and V */
uint64_t plan_kv_bytes(const struct model_desc *desc, uint32_t elem_bytes, uint32_t context, uint32_t sequences);
uint64_t plan_activation_bytes(const struct model_desc *desc, uint32_t rows);
uint64_t plan_logit_bytes(const struct model_desc *desc, uint32_t rows);
/* Heap of the sequences, each: its tokens and its sampler. */
uint64_t plan_sequence_bytes(const struct model_desc *desc, uint32_t context, uint32_t sequences);
uint64_t plan_scratch_bytes(const struct model_desc *desc, uint64_t embed_panel_bytes, uint64_t threads, uint32_t rows,
                            const struct plan_request *request);

#endif
