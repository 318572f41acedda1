/* SPDX-License-Identifier: Apache-2.0
 *
 * From a path and settings to a plan: find or make the store, load the tokenizer, know the machine and the drive, plan.
 * Nothing here takes the memory that the plan talks about.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/api_priv.h"
#include "base/checked.h"
#include "sys/cpu.h"
#include "sys/mem.h"

enum { MIB = 1 << 20 };

/* The resident size of program and libraries is not a constant of nature: it moves by megabytes with what the page cache
 * holds and with what was called before. What is mapped and what is allocated do not, so they are what is claimed: the
 * smallest budget that one command prints is then the next one's too. Of mapped files three quarters are more than was
 * ever seen resident; the heap gets a quarter for its gaps. A host whose own memory is of another kind (an interpreter)
 * does not fit this sum and is claimed as measured, in steps. */
static const uint64_t HEAP_FIXED = MIB / 4;
static const uint64_t MOST_UNUSED = 8 * (uint64_t)MIB;
static const uint64_t MEASURED_STEP = 2 * (uint64_t)MIB;

void lamina_settings_defaults(struct lamina_settings *s) {
    *s = (struct lamina_settings){
        .size = sizeof(*s), .sequences = 1, .logit_rows = 1, .read_ahead = true, .pin = true,
    };
}

lamina_status api_home(const char *given, struct str *home, struct lamina_error *err) {
    if (given != NULL && given[0] != 0) {
        str_add_text(home, given);
        return LAMINA_OK;
    }
    return store_default_home(home, err);
}

static lamina_status check_settings(const struct lamina_settings *s, struct lamina_error *err) {
    if (s == NULL || s->size != sizeof(*s)) {
        return base_fail(err, LAMINA_USAGE, "settings were not made by lamina_settings_defaults of this library version");
    }
    if (s->sequences == 0 || s->logit_rows == 0) {
        return base_fail(err, LAMINA_USAGE, "settings.sequences and settings.logit_rows must be at least 1");
    }
    return LAMINA_OK;
}

static lamina_status choose_cpu(struct api_prepared *p, struct lamina_error *err) {
    uint32_t mask = UINT32_MAX;
    if (p->settings.isa != NULL && !sys_cpu_mask_of_level(p->settings.isa, &mask)) {
        return base_fail(err, LAMINA_USAGE, "unknown instruction set \"%s\" (scalar, avx2, avx512, neon)", p->settings.isa);
    }
    p->cpu_flags = sys_cpu_flags() & mask;
    p->threads = p->settings.threads != 0 ? p->settings.threads : sys_cpu_physical_cores();
    if (p->threads > 256) {
        return base_fail(err, LAMINA_USAGE, "%u threads are more than the 256 supported", p->threads);
    }
    struct dev_cpu_options o = {
        .threads = p->threads,
        .cpu_flags = p->cpu_flags,
        .kv_blocks = (uint32_t)div_up(p->settings.context_tokens, KERN_KV_BLOCK),
    };
    return dev_cpu_open(&p->dev, &o, err);
}

static uint64_t choose_budget(uint64_t wanted) {
    if (wanted != 0) {
        return wanted;
    }
    struct sys_mem_limits limits;
    sys_mem_limits(&limits);
    uint64_t budget = limits.available_bytes / 10 * 6;
    return budget & ~(uint64_t)(MIB - 1);
}

static uint64_t process_bytes(void) {
    struct sys_mem_use use;
    struct sys_mem_made made;
    sys_mem_trim();
    sys_mem_made(&made);
    sys_mem_use(&use);
    uint64_t resident = use.resident_bytes + use.page_table_bytes;
    uint64_t claim = made.file_bytes / 4 * 3 + round_up(made.heap_bytes / 4 * 5 + HEAP_FIXED, MIB);
    bool fits = resident <= claim && claim - resident <= MOST_UNUSED;
    return fits ? claim : round_up(resident, MEASURED_STEP);
}

static lamina_status plan_all(struct api_prepared *p, struct lamina_error *err) {
    struct plan_store ps;
    program_plan_store(&p->program, &ps);
    struct plan_machine machine = {
        .process_bytes = process_bytes(),
        .threads = p->threads,
        .disk_bytes_per_s = p->drive.bytes_per_s,
        .flops_per_s = p->dev->table->measure_flops(p->dev),
        .request_bytes = p->drive.request_bytes,
        .depth = p->drive.depth,
    };
    struct plan_request request = {
        .budget_bytes = p->budget_bytes,
        .context_tokens = p->settings.context_tokens,
        .sequences = p->settings.sequences,
        .prompt_rows = p->settings.prompt_rows,
        .logit_rows = p->settings.logit_rows,
        .kv_elem_bytes = p->settings.kv == LAMINA_KV_F32 ? 4 : 2,
        .pin = p->settings.pin,
    };
    return plan_make(&p->store->desc, &ps, &machine, &request, &p->plan, err);
}

/* The context where nobody asked for one, and what some models cannot do without, whatever the caller asked for. */
enum { CONTEXT_UNASKED = 4096 };
static void suit_model(struct api_prepared *p) {
    if (p->settings.context_tokens == 0) {
        uint32_t most = model_most_positions(&p->store->desc);
        uint32_t made_for = p->store->desc.max_positions < most ? p->store->desc.max_positions : most;
        p->settings.context_tokens = made_for < CONTEXT_UNASKED ? made_for : CONTEXT_UNASKED;
    }
    if (p->store->desc.raw_keys) { /* keys are turned after they were kept: one rounding less */
        p->settings.kv = LAMINA_KV_F32;
    }
    if (p->store->desc.prefix && p->settings.logit_rows > 1) { /* scores of a prompt come from its one pass */
        p->settings.logit_rows = p->settings.context_tokens;
    }
}

lamina_status api_prepare(struct api_prepared *p, const char *path, const struct lamina_settings *settings,
                          struct lamina_error *err) {
    *p = (struct api_prepared){0};
    LAMINA_TRY(check_settings(settings, err));
    struct str home = {0};
    bool cached = false;
    p->settings = *settings;
    p->log = (struct log_sink){.say = settings->callbacks.log, .user = settings->callbacks.user};
    lamina_status status = api_home(settings->home, &home, err);
    if (status == LAMINA_OK) {
        status = store_locate(path, str_text(&home), NULL, true, &p->settings.callbacks, &p->store_path, err);
    }
    if (status == LAMINA_OK) {
        status = store_open(&p->store, str_text(&p->store_path), &p->log, err);
    }
    if (status == LAMINA_OK) {
        suit_model(p);
    }
    if (status == LAMINA_OK && p->store->has_tokenizer) {
        struct lamina_text_options text;
        lamina_text_defaults(&text);
        text.chat_template = settings->chat_template;
        status = lamina_text_open_with(&p->text, str_text(&p->store_path), &text, err);
    }
    if (status == LAMINA_OK) {
        status = choose_cpu(p, err);
    }
    if (status == LAMINA_OK) {
        status = program_init(&p->program, p->store, err);
    }
    if (status == LAMINA_OK) {
        status = api_drive_of_store(p->store, str_text(&home), false, &p->drive, &cached, err);
    }
    if (status == LAMINA_OK) {
        p->budget_bytes = choose_budget(settings->memory_bytes);
        status = plan_all(p, err);
    }
    str_drop(&home);
    if (status != LAMINA_OK) {
        api_prepared_drop(p);
    }
    return status;
}

void api_prepared_drop(struct api_prepared *p) {
    program_drop(&p->program);
    dev_close(&p->dev);
    lamina_text_close(&p->text);
    store_close(&p->store);
    str_drop(&p->store_path);
}

static void add_line(struct lamina_plan *out, const char *name, uint64_t bytes, const char *note) {
    struct lamina_plan_line *line = &out->line[out->line_count++];
    line->bytes = bytes;
    (void)snprintf(line->name, sizeof(line->name), "%s", name);
    (void)snprintf(line->note, sizeof(line->note), "%s", note);
}

static void describe_part(const struct api_prepared *p, enum plan_part part, char *note, size_t len) {
    char a[32];
    note[0] = 0;
    switch (part) {
    case PLAN_KV:
        (void)snprintf(note, len, "%u positions, %s", p->settings.context_tokens,
                       p->settings.kv == LAMINA_KV_F32 ? "f32" : "f16");
        break;
    case PLAN_ACTIVATIONS:
        (void)snprintf(note, len, "%u rows of a pass", p->plan.prompt_rows);
        break;
    case PLAN_RING:
        (void)snprintf(note, len, "reads of %s, %u in flight", format_bytes(a, p->plan.request_bytes), p->plan.depth);
        break;
    case PLAN_PINNED:
        (void)snprintf(note, len, "%.1f %% of the weights of every pass",
                       100.0 * (double)p->plan.pinned_limit / (double)p->plan.dense_bytes);
        break;
    case PLAN_EXPERTS:
        if (p->plan.expert_bytes != 0) {
            (void)snprintf(note, len, "%.1f %% of the experts",
                           100.0 * (double)p->plan.bytes[PLAN_EXPERTS] / (double)p->plan.expert_bytes);
        }
        break;
    default:
        break;
    }
}

void api_plan_to_public(const struct api_prepared *p, struct lamina_plan *out) {
    const struct plan *plan = &p->plan;
    *out = (struct lamina_plan){
        .size = sizeof(*out),
        .budget_bytes = p->budget_bytes,
        .total_bytes = plan->total_bytes,
        .smallest_budget_bytes = plan->smallest_bytes,
        .model_bytes = p->store->weight_bytes,
        .streamed_bytes = plan->streamed_bytes,
        .pinned_bytes = plan->bytes[PLAN_PINNED],
        .expert_cache_bytes = plan->bytes[PLAN_EXPERTS],
        .ring_bytes = plan->ring_bytes,
        .request_bytes = plan->request_bytes,
        .depth = plan->depth,
        .prompt_rows = plan->prompt_rows,
        .context_tokens = p->settings.context_tokens,
        .layers = p->store->desc.layers,
        .vocab = p->store->desc.vocab,
        .max_positions = p->store->desc.max_positions,
        .most_positions = model_most_positions(&p->store->desc),
        .threads = p->threads,
        .disk_bytes_per_s = p->drive.bytes_per_s,
        .s_per_token = plan->s_per_token,
        .bytes_per_token = (double)plan->streamed_bytes,
        .best_batch = plan->best_batch,
        .sees_ahead = p->store->desc.prefix,
        .fits = plan->fits,
    };
    model_describe(&p->store->desc, out->model, sizeof(out->model));
    for (unsigned i = 0; i < PLAN_PARTS; i++) {
        char note[96];
        describe_part(p, (enum plan_part)i, note, sizeof(note));
        add_line(out, plan_part_name((enum plan_part)i), plan->bytes[i], note);
    }
}

lamina_status lamina_plan_make(const char *model, const struct lamina_settings *s, struct lamina_plan *plan,
                               struct lamina_error *err) {
    /* On the heap and as large as a model, which the heap will hold then: so planning and opening count the same. */
    struct lamina_model *m = (struct lamina_model *)calloc(1, sizeof(*m));
    if (m == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory");
    }
    lamina_status status = api_prepare(&m->p, model, s, err);
    if (status == LAMINA_OK) {
        api_plan_to_public(&m->p, plan);
        api_prepared_drop(&m->p);
    }
    free(m);
    return status;
}
