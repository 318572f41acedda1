/* SPDX-License-Identifier: Apache-2.0
 *
 * Budget arithmetic. The order of claims on memory: what must be there (program, tables, norms, KV cache, one row of
 * work, the smallest ring), then rows of prefill up to where reading is amortised, then a comfortable ring, then pinned
 * tiles take all the rest. Sizes inside the arena are rounded to 4 KiB, the arena to 2 MiB huge pages.
 */
#include "plan/plan.h"

#include "base/checked.h"
#include "kern/kern.h"

enum {
    PAGE = 4096,
    HUGE_PAGE = 2 << 20,
    MIB = 1 << 20,
    /* Beyond some hundred rows a weight is reused so often that reading is free; more rows only cost memory. */
    MOST_PROMPT_ROWS = 512,
    FEWEST_PROMPT_ROWS = 16,
    SMALLEST_RING = 4 * MIB,
    MOST_READ_MEANWHILE = 64 * MIB,
    CARVE_SLACK = 64 * 1024, /* parts of the arena begin on pages */
    LEAST_PART = MIB, /* of an expert in the cache: one large read */
};

/* Stacks, io rings, allocator slack: what the kernel and libraries take beside the arena after planning. */
static const uint64_t KERNEL_FIXED = 1536 * 1024;
static const uint64_t KERNEL_PER_THREAD = 160 * 1024;
/* Measuring error of "resident now", kept free on purpose. */
static const uint64_t RESERVE_FIXED = MIB;

const char *plan_part_name(enum plan_part part) {
    static const char *const names[PLAN_PARTS] = {
        [PLAN_PROCESS] = "program and tokenizer", [PLAN_KERNEL] = "threads and kernel", [PLAN_TABLES] = "tile tables",
        [PLAN_SMALL] = "norms and biases",        [PLAN_KV] = "KV cache",               [PLAN_ACTIVATIONS] = "activations",
        [PLAN_LOGITS] = "logits",                 [PLAN_SCRATCH] = "lookup and scratch", [PLAN_RING] = "ring",
        [PLAN_EXPERTS] = "expert cache",          [PLAN_PINNED] = "pinned tiles",           [PLAN_RESERVE] = "reserve",
    };
    return part < PLAN_PARTS ? names[part] : "?";
}

uint64_t plan_kv_page_bytes(const struct model_desc *desc, uint32_t elem_bytes) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < desc->layers; i++) {
        struct model_kept k = model_kept_of(model_kind_of(desc, i));
        sum += (kern_kv_k_bytes(k.k_dim, elem_bytes) + kern_kv_v_bytes(k.v_dim, elem_bytes)) * k.heads;
    }
    return sum;
}

/* States of fixed size of one sequence. */
static uint64_t fixed_bytes(const struct model_desc *desc) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < desc->layers; i++) {
        sum += round_up(model_kept_of(model_kind_of(desc, i)).fixed_floats * sizeof(float), 64);
    }
    return sum;
}

uint64_t plan_kv_bytes(const struct model_desc *desc, uint32_t elem_bytes, uint32_t context, uint32_t sequences) {
    uint64_t pages = div_up(context, KERN_KV_BLOCK) * sequences;
    return round_up(pages * plan_kv_page_bytes(desc, elem_bytes) + sequences * fixed_bytes(desc), PAGE);
}

uint64_t plan_activation_bytes(const struct model_desc *desc, uint32_t rows) {
    uint64_t bytes = 0;
    for (unsigned r = 0; r < KERN_REGS; r++) {
        uint32_t width = r == KERN_L ? 0 : model_reg_width(desc, (enum kern_reg)r);
        if (width != 0) {
            bytes += round_up((uint64_t)rows * kern_row_stride(width) * sizeof(float), PAGE);
        }
    }
    return bytes;
}

uint64_t plan_logit_bytes(const struct model_desc *desc, uint32_t rows) {
    return round_up((uint64_t)rows * kern_row_stride(desc->vocab) * sizeof(float), PAGE);
}

/* Per token of the vocabulary: a candidate (id, score), whether it was seen. Per position: the token, how often it was made. */
enum { SAMPLER_BYTES = 8 + 1, POSITION_BYTES = 4 + 8 };

uint64_t plan_sequence_bytes(const struct model_desc *desc, uint32_t context, uint32_t sequences) {
    return round_up((uint64_t)desc->vocab * SAMPLER_BYTES + (uint64_t)context * POSITION_BYTES, PAGE) * sequences;
}

uint64_t plan_scratch_bytes(const struct model_desc *desc, uint64_t embed_panel_bytes, uint64_t threads, uint32_t rows,
                            const struct plan_request *request) {
    uint32_t context = request->context_tokens;
    uint64_t sequences = request->sequences;
    uint64_t blocks = div_up(context, KERN_KV_BLOCK) + 1;
    uint64_t per_thread = round_up(embed_panel_bytes, PAGE) + round_up(blocks * 2 * sizeof(void *), PAGE);
    uint64_t rope = 0;
    for (uint32_t i = 0; i < MODEL_ROPES; i++) {
        rope += round_up((uint64_t)rows * model_rope_dim(desc, i) * sizeof(float), PAGE);
    }
    if (desc->raw_keys) { /* rotary factors of all positions, and a head's keys turned, per worker */
        uint64_t positions = round_up(context, KERN_KV_BLOCK);
        rope += round_up(sequences * positions * model_rope_dim(desc, 0) * sizeof(float), PAGE);
        rope += round_up(threads * positions * model_kept_of(&desc->kinds[0]).k_dim * sizeof(float), PAGE);
    }
    uint64_t choices = model_reg_width(desc, KERN_R) != 0 ? round_up((uint64_t)rows * sizeof(struct kern_choice), PAGE) : 0;
    return threads * per_thread + rope + choices + round_up((uint64_t)rows * sizeof(float), PAGE) +
           round_up((uint64_t)rows * 64, PAGE);
}

/* ---- the cache of experts ---- */

uint32_t plan_part_of(uint64_t expert_pages, uint32_t parts, uint64_t pages_before) {
    return (uint32_t)(pages_before / div_up(expert_pages, parts));
}

uint64_t plan_cache_table_bytes(uint64_t experts, uint32_t parts, uint32_t slots) {
    return experts * (sizeof(double) + (uint64_t)parts * sizeof(uint32_t)) + (uint64_t)slots * 2 * sizeof(uint32_t);
}

/* The most its tables can take, whatever the room will be: before the room is known. */
static uint64_t most_cache_tables(const struct plan_store *s) {
    uint64_t parts = s->largest_expert_bytes / LEAST_PART + 1;
    uint64_t slots = parts * s->expert_count;
    return s->expert_count != 0 ? plan_cache_table_bytes(s->expert_count, (uint32_t)parts, (uint32_t)slots) : 0;
}

/* As many experts as the room can hold: cutting them wastes less at the end of the room, and a little in each slot, whose size
 * is that of the largest part. More parts must be worth their bookkeeping. */
static struct plan_cache size_cache(const struct plan_store *s, uint64_t room) {
    static const uint32_t counts[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};
    static const double WORTH = 1.02;
    struct plan_cache best = {0};
    double most = 0;
    for (size_t i = 0; s->expert_count != 0 && i < ARRAY_LEN(counts); i++) {
        struct plan_cache c = {.parts = counts[i]};
        if (i > 0 && s->largest_expert_bytes / counts[i] < LEAST_PART) {
            break;
        }
        c.slot_pages = s->part_pages(s->user, c.parts);
        c.slots = (uint32_t)min_u64(room / PAGE / c.slot_pages, (uint64_t)s->expert_count * c.parts);
        double experts = (double)c.slots / c.parts;
        if (i == 0 || experts > most * WORTH) {
            best = c;
            most = experts;
        }
    }
    return best;
}

static uint64_t cache_bytes(const struct plan_cache *c) {
    return (uint64_t)c->slots * c->slot_pages * PAGE;
}

/* ---- claims ---- */

struct sizing {
    const struct model_desc *desc;
    const struct plan_store *store;
    const struct plan_machine *machine;
    const struct plan_request *request;
};

/* Bytes of everything but the pinned tiles for a number of prompt rows and a ring. */
static void claim(const struct sizing *z, uint32_t rows, uint64_t ring, uint64_t *bytes) {
    const struct plan_request *q = z->request;
    uint32_t logit_rows = q->logit_rows < rows ? q->logit_rows : rows;
    bytes[PLAN_PROCESS] = z->machine->process_bytes;
    bytes[PLAN_KERNEL] =
        KERNEL_FIXED + (KERNEL_PER_THREAD + round_up(z->store->unpacking_bytes, PAGE)) * z->machine->threads +
        plan_sequence_bytes(z->desc, q->context_tokens, q->sequences) +
        round_up(z->store->heap_bytes + (uint64_t)rows * PLAN_ROW_BYTES, PAGE);
    bytes[PLAN_TABLES] =
        round_up((uint64_t)z->store->tile_count * sizeof(uint32_t) + most_cache_tables(z->store) + CARVE_SLACK, PAGE);
    bytes[PLAN_SMALL] = round_up(z->store->small_bytes, PAGE);
    bytes[PLAN_KV] = plan_kv_bytes(z->desc, q->kv_elem_bytes, q->context_tokens, q->sequences);
    bytes[PLAN_ACTIVATIONS] = plan_activation_bytes(z->desc, rows);
    bytes[PLAN_LOGITS] = plan_logit_bytes(z->desc, logit_rows);
    bytes[PLAN_SCRATCH] =
        plan_scratch_bytes(z->desc, z->store->embed_panel_bytes, z->machine->threads, rows, q);
    bytes[PLAN_RING] = ring;
    bytes[PLAN_EXPERTS] = 0;
    bytes[PLAN_PINNED] = 0;
    bytes[PLAN_RESERVE] = RESERVE_FIXED;
}

/* Total with the arena rounded to huge pages and the page tables that map it (8 bytes per 4 KiB at worst). The rounding
 * joins the reserve, so that the lines always sum to the total. */
static uint64_t total_of(uint64_t *bytes, uint64_t *arena_bytes) {
    uint64_t arena = 0;
    uint64_t sum = 0;
    for (unsigned i = 0; i < PLAN_PARTS; i++) {
        sum += bytes[i];
        arena += i >= PLAN_TABLES && i <= PLAN_PINNED ? bytes[i] : 0;
    }
    uint64_t rounded = round_up(arena, HUGE_PAGE);
    uint64_t tables = round_up(rounded / 512, PAGE);
    bytes[PLAN_RESERVE] += rounded - arena;
    bytes[PLAN_KERNEL] += tables;
    *arena_bytes = rounded;
    return sum + rounded - arena + tables;
}

static uint64_t smallest_ring(const struct plan_store *store) {
    uint64_t two_tiles = 2 * round_up(store->largest_tile_bytes, PAGE);
    return round_up(max_u64(two_tiles, SMALLEST_RING), PAGE);
}

/* What the drive brings while a layer's shared expert is multiplied, which lies in memory: the chosen experts are known before it
 * and asked for, and without room for them the drive would rest. */
static uint64_t read_meanwhile(const struct model_desc *desc, const struct plan_machine *machine) {
    uint64_t ffn = 0;
    for (uint32_t i = 0; i < desc->kind_count; i++) {
        ffn = max_u64(ffn, desc->kinds[i].shared_ffn);
    }
    bool known = machine->disk_bytes_per_s > 0 && machine->memory_bytes_per_s > machine->disk_bytes_per_s;
    double share = known ? machine->disk_bytes_per_s / machine->memory_bytes_per_s : 0.25;
    uint64_t bytes = (uint64_t)((double)ffn * desc->hidden * 3 * sizeof(uint16_t) * share);
    return round_up(min_u64(bytes, MOST_READ_MEANWHILE), PAGE);
}

/* The reads in flight, one being consumed and one being assembled. Not more: a ring that stays in the last-level cache is
 * written faster by the drive than one that does not (docs/SPEED.md). */
static uint64_t comfortable_ring(const struct sizing *z) {
    uint64_t request = max_u64(z->machine->request_bytes, z->store->largest_tile_bytes);
    return max_u64(request * (z->machine->depth + 2), smallest_ring(z->store)) + read_meanwhile(z->desc, z->machine);
}

static uint64_t total_for(const struct sizing *z, uint32_t rows, uint64_t ring, struct plan *plan) {
    claim(z, rows, ring, plan->bytes);
    return total_of(plan->bytes, &plan->arena_bytes);
}

/* Prompts never need more rows than their contexts have; a batch needs one per sequence; the prompt of a prefix model goes
 * through a layer in one pass, since all of it sees all of it. */
static uint32_t fewest_rows(const struct model_desc *desc, const struct plan_request *q) {
    uint32_t wanted = desc->prefix ? q->context_tokens : q->prompt_rows != 0 ? q->prompt_rows : FEWEST_PROMPT_ROWS;
    uint64_t most = q->prompt_rows != 0 ? (uint64_t)q->context_tokens * q->sequences : q->context_tokens;
    uint32_t rows = (uint32_t)min_u64(wanted, most);
    return rows > q->sequences ? rows : q->sequences;
}

/* Doubles the rows of prefill while they take no more than a quarter of what pinned tiles would otherwise have. */
static uint32_t choose_rows(const struct sizing *z, uint64_t ring, uint64_t budget) {
    uint32_t rows = fewest_rows(z->desc, z->request);
    struct plan trial = {0};
    while (z->request->prompt_rows == 0 && rows < MOST_PROMPT_ROWS && rows < z->request->context_tokens) {
        uint32_t more = rows * 2 < z->request->context_tokens ? rows * 2 : z->request->context_tokens;
        more = more < MOST_PROMPT_ROWS ? more : MOST_PROMPT_ROWS;
        uint64_t with = total_for(z, more, ring, &trial);
        uint64_t work = trial.bytes[PLAN_ACTIVATIONS] + trial.bytes[PLAN_LOGITS];
        if (with > budget || work > (budget - with + work) / 4) {
            break;
        }
        rows = more;
    }
    return rows;
}

static void forecast(const struct sizing *z, struct plan *plan) {
    const struct plan_machine *m = z->machine;
    const struct plan_store *s = z->store;
    /* A cached expert is as likely to be chosen as any other: habits of the text can only help. */
    uint64_t misses = s->expert_bytes - min_u64(s->expert_bytes, plan->bytes[PLAN_EXPERTS]);
    double share = s->expert_bytes != 0 ? (double)misses / (double)s->expert_bytes : 0;
    plan->streamed_bytes = s->dense_bytes - min_u64(s->dense_bytes, plan->bytes[PLAN_PINNED]);
    plan->streamed_bytes += (uint64_t)((double)s->chosen_bytes * share);
    double flops = (double)model_flops_per_row(z->desc);
    double read = m->disk_bytes_per_s > 0 ? (double)plan->streamed_bytes / m->disk_bytes_per_s : 0;
    double memory = m->memory_bytes_per_s > 0 ? (double)(s->dense_bytes + s->chosen_bytes) / m->memory_bytes_per_s : 0;
    double compute = m->flops_per_s > 0 ? flops / m->flops_per_s : 0;
    double slowest = read > memory ? read : memory;
    plan->s_per_token = slowest > compute ? slowest : compute;
    if (read > 0 && m->flops_per_s > 0) {
        double rows = read * m->flops_per_s / flops;
        plan->best_batch = rows < 1 ? 1 : rows > 1e6 ? 1000000 : (uint32_t)rows;
    }
}

/* What is left of the budget: tiles of every pass first, then experts. */
static void fill_rest(const struct sizing *z, uint64_t left, struct plan *p) {
    /* Huge-page rounding and page tables come on top of the bytes themselves. */
    uint64_t overhead = HUGE_PAGE + left / 512 + PAGE;
    uint64_t room = left > overhead ? left - overhead : 0;
    room = z->request->pin ? room : 0;
    p->pinned_limit = min_u64(room, z->store->dense_bytes) & ~(uint64_t)(PAGE - 1);
    p->cache = size_cache(z->store, room - p->pinned_limit);
}

lamina_status plan_make(const struct model_desc *desc, const struct plan_store *store, const struct plan_machine *machine,
                        const struct plan_request *request, struct plan *plan, struct lamina_error *err) {
    if (request->context_tokens == 0 || request->sequences == 0 || request->logit_rows == 0 || machine->threads == 0) {
        return base_fail(err, LAMINA_USAGE, "a plan needs at least one position of context, one sequence and one thread");
    }
    struct sizing z = {desc, store, machine, request};
    struct plan p = {.depth = machine->depth, .request_bytes = machine->request_bytes, .dense_bytes = store->dense_bytes,
                     .expert_bytes = store->expert_bytes};
    uint64_t ring = smallest_ring(store);
    uint32_t rows = fewest_rows(desc, request);
    p.smallest_bytes = round_up(total_for(&z, rows, ring, &p), MIB);
    uint64_t budget = request->budget_bytes;
    p.fits = p.smallest_bytes <= budget;
    if (p.fits) {
        uint64_t wanted = comfortable_ring(&z);
        uint64_t spare = budget - p.smallest_bytes;
        ring = min_u64(wanted, round_up(ring + spare / 4, PAGE));
        rows = choose_rows(&z, ring, budget);
        uint64_t without_pins = total_for(&z, rows, ring, &p);
        fill_rest(&z, budget - min_u64(budget, without_pins), &p);
        bool everything = p.pinned_limit == store->dense_bytes && p.cache.slots == store->expert_count * p.cache.parts;
        ring = everything ? smallest_ring(store) : ring; /* nothing streams once all is loaded */
        claim(&z, rows, ring, p.bytes);
        p.bytes[PLAN_PINNED] = p.pinned_limit;
        p.bytes[PLAN_EXPERTS] = cache_bytes(&p.cache);
        p.total_bytes = total_of(p.bytes, &p.arena_bytes);
    } else {
        p.total_bytes = total_for(&z, rows, ring, &p);
    }
    p.ring_bytes = ring;
    p.prompt_rows = rows;
    forecast(&z, &p);
    *plan = p;
    return LAMINA_OK;
}

static bool is_routed(const struct plan_store *store, uint32_t index) {
    return store->tile_routed != NULL && store->tile_routed(store->user, index);
}

/* A run: tiles that follow each other in a file, about run_bytes long. Returns the index after it. */
static uint32_t run_end(const struct plan_store *store, uint32_t begin, uint64_t run_bytes, uint64_t *bytes) {
    uint64_t sum = (uint64_t)store->tile_pages(store->user, begin) * PAGE;
    uint32_t end = begin + 1;
    while (end < store->tile_count && store->tile_adjacent(store->user, end) && !is_routed(store, end)) {
        uint64_t more = (uint64_t)store->tile_pages(store->user, end) * PAGE;
        if (sum + more > run_bytes) {
            break;
        }
        sum += more;
        end++;
    }
    *bytes = sum;
    return end;
}

uint64_t plan_pins(const struct plan_store *store, uint64_t limit_bytes, uint64_t run_bytes, uint32_t *place) {
    uint64_t pinned = 0;
    uint64_t passed = 0;
    bool everything = limit_bytes >= store->dense_bytes;
    for (uint32_t i = 0; i < store->tile_count;) {
        uint64_t bytes = 0;
        if (is_routed(store, i)) {
            place[i++] = PLAN_STREAMED;
            continue;
        }
        uint32_t end = run_end(store, i, run_bytes, &bytes);
        passed += bytes;
        /* Pin when the share pinned so far would otherwise fall behind the share of the pass seen so far. */
        double due = (double)limit_bytes * (double)passed / (double)store->dense_bytes;
        bool pin = everything || ((double)(pinned + bytes) <= due && pinned + bytes <= limit_bytes);
        for (uint32_t t = i; t < end; t++) {
            place[t] = pin ? (uint32_t)(pinned / PAGE) : PLAN_STREAMED;
            pinned += pin ? (uint64_t)store->tile_pages(store->user, t) * PAGE : 0;
        }
        i = end;
    }
    return pinned;
}
