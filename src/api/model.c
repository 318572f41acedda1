/* SPDX-License-Identifier: Apache-2.0
 * Models and sessions: argument checks and translation to gen and exec. */
#include <stdio.h>
#include <stdlib.h>

#include "api/api_priv.h"
#include "sys/mem.h"

_Static_assert(sizeof(struct exec_row) <= PLAN_ROW_BYTES, "the plan counts the rows of a pass");

const char *lamina_version(void) {
    return LAMINA_VERSION;
}

void lamina_free(void *p) {
    free(p);
}

static void add_eos(struct lamina_model *m, const uint32_t *ids, uint32_t count) {
    for (uint32_t i = 0; i < count && m->eos_count < ARRAY_LEN(m->eos); i++) {
        m->eos[m->eos_count++] = ids[i];
    }
}

static lamina_status refuse_budget(const struct api_prepared *p, struct lamina_error *err) {
    char budget[32];
    char smallest[32];
    return base_fail(err, LAMINA_NO_FIT,
                     "a budget of %s is too small for this model with %u positions of context: the smallest that works is "
                     "%s (--memory %lluMiB)",
                     format_bytes(budget, p->budget_bytes), p->settings.context_tokens,
                     format_bytes(smallest, p->plan.smallest_bytes), (unsigned long long)(p->plan.smallest_bytes >> 20));
}

static void warn_about_lengths(const struct lamina_model *m) {
    const struct model_desc *d = &m->p.store->desc;
    if (m->p.settings.context_tokens > d->max_positions && d->rope[0].kind != MODEL_ROPE_DYNAMIC) {
        log_say(&m->p.log, LOG_WARNING, "a context of %u is longer than the %u positions the model was made for",
                m->p.settings.context_tokens, d->max_positions);
    }
    if (d->indexed != 0 && m->p.settings.context_tokens > d->indexed) {
        log_say(&m->p.log, LOG_WARNING,
                "of a context of %u, %u positions can be used: beyond them the model's indexer would choose keys, which is not "
                "supported", m->p.settings.context_tokens, d->indexed);
    }
}

static lamina_status check_tokenizer(const struct lamina_model *m, struct lamina_error *err) {
    const struct lamina_text *t = m->p.text;
    if (t == NULL || text_vocab_size(t->tokenizer) <= m->p.store->desc.vocab) {
        return LAMINA_OK;
    }
    /* Larger vocabularies exist whose surplus tokens are never produced; ids are checked when they are fed. */
    log_say(&m->p.log, LOG_WARNING, "the tokenizer knows %u tokens, the model %u: does it belong to this model?",
            text_vocab_size(t->tokenizer), m->p.store->desc.vocab);
    (void)err;
    return LAMINA_OK;
}

lamina_status lamina_model_open(struct lamina_model **out, const char *path, const struct lamina_settings *s,
                                struct lamina_error *err) {
    struct lamina_model *m = (struct lamina_model *)calloc(1, sizeof(*m));
    if (m == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory");
    }
    lamina_status status = api_prepare(&m->p, path, s, err);
    if (status != LAMINA_OK) {
        free(m);
        return status;
    }
    api_plan_to_public(&m->p, &m->plan);
    status = m->p.plan.fits ? check_tokenizer(m, err) : refuse_budget(&m->p, err);
    if (status == LAMINA_OK) {
        struct exec_options eo = {
            .store = m->p.store,
            .program = &m->p.program,
            .plan = &m->p.plan,
            .dev = m->p.dev,
            .context_tokens = m->p.settings.context_tokens,
            .sequences = s->sequences,
            .logit_rows = m->p.settings.logit_rows,
            .kv_dtype = m->p.settings.kv == LAMINA_KV_F32 ? KERN_F32 : KERN_F16,
            .read_ahead = s->read_ahead,
            .engine = (enum io_engine)s->io,
            .sim = s->sim,
            .chosen = s->callbacks.experts,
            .layer_begins = s->callbacks.layer,
            .user = s->callbacks.user,
            .log = &m->p.log,
        };
        status = exec_open(&m->exec, &eo, err);
    }
    if (status == LAMINA_OK) {
        m->batch = (struct session **)calloc(m->p.settings.sequences, sizeof(struct session *));
        m->rows = (struct exec_row *)calloc(m->p.plan.prompt_rows, sizeof(struct exec_row));
        status = m->batch != NULL && m->rows != NULL ? LAMINA_OK
                                                     : base_fail(err, LAMINA_NO_FIT, "out of memory for the rows of a pass");
    }
    if (status != LAMINA_OK) {
        lamina_model_close(&m);
        return status;
    }
    add_eos(m, m->p.store->desc.eos_ids, m->p.store->desc.eos_count);
    if (m->p.text != NULL && m->p.text->has_generation) {
        add_eos(m, m->p.text->generation.eos_ids, m->p.text->generation.eos_count);
    }
    if (m->p.text != NULL) {
        add_eos(m, m->p.text->stop_ids, m->p.text->stop_id_count);
    }
    warn_about_lengths(m);
    *out = m;
    return LAMINA_OK;
}

void lamina_model_close(struct lamina_model **model) {
    struct lamina_model *m = *model;
    if (m == NULL) {
        return;
    }
    exec_close(&m->exec);
    free(m->batch);
    free(m->rows);
    api_prepared_drop(&m->p);
    free(m);
    *model = NULL;
}

void lamina_model_info(const struct lamina_model *m, struct lamina_info *info) {
    const struct store *s = m->p.store;
    const struct model_desc *d = &s->desc;
    const struct model_kind *k = model_attending(d);
    *info = (struct lamina_info){
        .size = sizeof(*info), .layers = d->layers, .hidden = d->hidden, .heads = k->heads, .kv_heads = k->kv_heads,
        .head_dim = k->head_dim, .ffn = k->ffn, .vocab = d->vocab, .max_positions = d->max_positions,
        .tied = d->tied,
        .synthetic = s->synthetic, .weights = model_weight_count(d), .model_bytes = s->weight_bytes,
        .store_bytes = s->store_bytes, .store_path = s->path,
    };
    (void)snprintf(info->architecture, sizeof(info->architecture), "%s", d->architecture);
    (void)snprintf(info->codec, sizeof(info->codec), "%s", s->codec);
    store_bits(s, &info->bits_per_weight, &info->store_bits_per_weight);
}

const struct lamina_plan *lamina_model_plan(const struct lamina_model *m) {
    return &m->plan;
}

bool lamina_model_ends(const struct lamina_model *m, uint32_t id) {
    for (uint32_t i = 0; i < m->eos_count; i++) {
        if (m->eos[i] == id) {
            return true;
        }
    }
    return false;
}

struct lamina_text *lamina_model_text(struct lamina_model *m) {
    return m->p.text;
}

void lamina_model_stats(const struct lamina_model *m, struct lamina_stats *out) {
    struct exec_stats s;
    struct sys_mem_use use;
    exec_statistics(m->exec, &s);
    sys_mem_use(&use);
    double pass_s = (double)s.pass_ns * 1e-9;
    *out = (struct lamina_stats){
        .size = sizeof(*out),
        .bytes_read = s.stream.bytes_read,
        .tiles_read = s.stream.tiles_read,
        .tiles_verified = s.stream.tiles_verified,
        .passes = s.passes,
        .rows = s.rows,
        .expert_bytes_chosen = s.expert_bytes_chosen,
        .expert_bytes_cached = s.expert_bytes_cached,
        .memory_budget_bytes = m->p.budget_bytes,
        .peak_memory_bytes = use.peak_resident_bytes + use.hugetlb_bytes + use.page_table_bytes,
        .read_wait_s = (double)s.read_wait_ns * 1e-9,
        .decode_s = (double)s.verify_ns * 1e-9,
        .compute_s = (double)s.compute_ns * 1e-9,
        .pass_s = pass_s,
        .drive_idle_s = (double)s.idle_ns * 1e-9,
        .disk_bytes_per_s = pass_s > 0 ? (double)s.stream.bytes_read / pass_s : 0,
        .disk_limit_bytes_per_s = m->p.drive.bytes_per_s,
    };
    double known = out->read_wait_s + out->decode_s + out->compute_s;
    out->other_s = pass_s > known ? pass_s - known : 0;
    (void)snprintf(out->io_engine, sizeof(out->io_engine), "%s", exec_io_engine(m->exec));
    (void)snprintf(out->isa, sizeof(out->isa), "%s", m->p.dev->kern.isa);
    (void)snprintf(out->numerics, sizeof(out->numerics), "exact");
}

bool lamina_model_part(const struct lamina_model *m, uint32_t index, struct lamina_part *out) {
    struct exec_part t;
    if (!exec_part_times(m->exec, index, &t)) {
        return false;
    }
    *out = (struct lamina_part){
        .size = sizeof(*out),
        .read_wait_s = (double)t.read_wait_ns * 1e-9,
        .decode_s = (double)t.verify_ns * 1e-9,
        .compute_s = (double)t.compute_ns * 1e-9,
        .pass_s = (double)t.pass_ns * 1e-9,
    };
    double known = out->read_wait_s + out->decode_s + out->compute_s;
    out->other_s = out->pass_s > known ? out->pass_s - known : 0;
    if (index >= 1 && index <= m->p.store->desc.layers) {
        (void)snprintf(out->name, sizeof(out->name), "layer %u", index - 1);
    } else {
        (void)snprintf(out->name, sizeof(out->name), "%s", index == 0 ? "embedding" : "head");
    }
    return true;
}

/* ---- sessions ---- */

lamina_status lamina_session_open(struct lamina_session **out, struct lamina_model *m, struct lamina_error *err) {
    if (m->open_sessions >= m->p.settings.sequences) {
        return base_fail(err, LAMINA_USAGE, "the model was opened for %u sequences at once, all are in use",
                         m->p.settings.sequences);
    }
    struct lamina_session *s = (struct lamina_session *)calloc(1, sizeof(*s));
    if (s == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a session");
    }
    s->model = m;
    struct session_options o = {
        .exec = m->exec,
        .kern = &m->p.dev->kern,
        .desc = &m->p.store->desc,
        .context_tokens = m->p.settings.context_tokens,
        .prompt_rows = m->p.plan.prompt_rows,
        .logit_rows = m->p.settings.logit_rows,
        .rows = m->rows,
        .callbacks = &m->p.settings.callbacks,
    };
    lamina_status status = session_init(&s->s, &o, err);
    if (status != LAMINA_OK) {
        free(s);
        return status;
    }
    m->open_sessions++;
    *out = s;
    return LAMINA_OK;
}

void lamina_session_close(struct lamina_session **session) {
    struct lamina_session *s = *session;
    if (s != NULL) {
        s->model->open_sessions--;
        session_drop(&s->s);
        free(s);
        *session = NULL;
    }
}

void lamina_sampling_of_model(const struct lamina_model *m, struct lamina_sampling *s) {
    lamina_sampling_defaults(s);
    if (m->p.text == NULL || !m->p.text->has_generation) {
        return;
    }
    const struct model_generation *g = &m->p.text->generation;
    s->top_p = (float)g->top_p;
    s->min_p = (float)g->min_p;
    s->top_k = g->top_k;
    s->repetition_penalty = (float)g->repetition_penalty;
    /* The reference framework is greedy unless do_sample says otherwise; a checkpoint that names only a temperature
     * means to sample. */
    bool sample = g->has_do_sample ? g->do_sample : g->temperature != 1.0;
    s->temperature = sample ? (float)g->temperature : 0.0f;
}

lamina_status lamina_session_sampling(struct lamina_session *session, const struct lamina_sampling *s,
                                      struct lamina_error *err) {
    return sampler_set(&session->s.sampler, s, err);
}

lamina_status lamina_session_feed(struct lamina_session *session, const uint32_t *ids, uint32_t count,
                                  struct lamina_scores *scores, struct lamina_error *err) {
    return session_feed(&session->s, ids, count, true, scores, err);
}

lamina_status lamina_batch_feed(struct lamina_session *const *sessions, const uint32_t *ids, uint32_t count,
                                struct lamina_error *err) {
    struct lamina_model *m = count > 0 ? sessions[0]->model : NULL;
    if (m == NULL) {
        return base_fail(err, LAMINA_USAGE, "there is no sequence in the batch");
    }
    if (count > m->p.settings.sequences) {
        return base_fail(err, LAMINA_USAGE, "a batch of %u sequences, but the model was opened for %u (settings.sequences)", count,
                         m->p.settings.sequences);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (sessions[i]->model != m) {
            return base_fail(err, LAMINA_USAGE, "sequence %u of the batch belongs to another model than the first", i + 1);
        }
        m->batch[i] = &sessions[i]->s;
    }
    return session_feed_batch(m->batch, ids, count, err);
}

lamina_status lamina_prompts_feed(const struct lamina_prompts *p, struct lamina_error *err) {
    struct lamina_model *m = p->count > 0 ? p->prompt[0].session->model : NULL;
    if (m == NULL) {
        return base_fail(err, LAMINA_USAGE, "there is no prompt to compute");
    }
    if (p->count > m->p.settings.sequences) {
        return base_fail(err, LAMINA_USAGE, "%u prompts at once, but the model was opened for %u sequences (settings.sequences)",
                         p->count, m->p.settings.sequences);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->prompt[i].session->model != m) {
            return base_fail(err, LAMINA_USAGE, "prompt %u is for a session of another model than the first", i + 1);
        }
        m->batch[i] = &p->prompt[i].session->s;
    }
    return session_feed_prompts(m->batch, p, err);
}

const float *lamina_session_logits(const struct lamina_session *session) {
    return session_logits(&session->s);
}

const float *lamina_session_hidden(const struct lamina_session *session) {
    return session_hidden(&session->s);
}

lamina_status lamina_session_sample(struct lamina_session *session, uint32_t *id, struct lamina_error *err) {
    return session_sample(&session->s, id, err);
}

uint32_t lamina_session_length(const struct lamina_session *session) {
    return session->s.length;
}

lamina_status lamina_session_truncate(struct lamina_session *session, uint32_t length, struct lamina_error *err) {
    return session_truncate(&session->s, length, err);
}

/* The caller's stop strings and those of the model's files; nothing changes where the files name none. */
static lamina_status join_stops(const struct lamina_text *t, struct lamina_generate *g, const char ***joined,
                                struct lamina_error *err) {
    if (t == NULL || t->stop_count == 0 || g->ignore_eos) {
        return LAMINA_OK;
    }
    *joined = (const char **)calloc((size_t)g->stop_count + t->stop_count, sizeof(**joined));
    if (*joined == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the stop strings");
    }
    for (uint32_t i = 0; i < g->stop_count; i++) {
        (*joined)[i] = g->stop[i];
    }
    for (uint32_t i = 0; i < t->stop_count; i++) {
        (*joined)[g->stop_count + i] = t->stops[i];
    }
    g->stop = *joined;
    g->stop_count += t->stop_count;
    return LAMINA_OK;
}

lamina_status lamina_session_generate(struct lamina_session *session, const uint32_t *prompt, uint32_t prompt_count,
                                      struct lamina_generate *g, struct lamina_error *err) {
    const struct lamina_model *m = session->model;
    struct generate_options o = {
        .tokenizer = m->p.text != NULL ? m->p.text->tokenizer : NULL,
        .eos = m->eos,
        .eos_count = m->eos_count,
    };
    const char *const *asked = g->stop;
    uint32_t asked_count = g->stop_count;
    const char **stops = NULL;
    LAMINA_TRY(join_stops(m->p.text, g, &stops, err));
    lamina_status status = session_generate(&session->s, &o, prompt, prompt_count, g, err);
    g->stop = asked;
    g->stop_count = asked_count;
    free(stops);
    return status;
}
