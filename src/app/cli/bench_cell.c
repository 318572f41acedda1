/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina bench-cell: measures one store under one set of options in this process, for `lamina bench`, which reads the lines it
 * prints (bench.h). Prompts are random ids, drawn from a fixed seed, so that all cells compute the same.
 *
 *     open | first prompt (cold) | prompt, prompt, ...  (pp) | token by token from nothing, several times (tg)
 */
#include <stdlib.h>
#include <string.h>

#include "app/cli/bench.h"
#include "app/cli/throttle.h"
#include "base/json.h"
#include "base/status.h"

struct measure {
    const struct cli_options *o;
    struct lamina_model *model;
    uint32_t *ids;
    uint32_t prompt;            /* tokens of the prompt, at least 1 */
    const char *test;           /* at hand, with the number of its repeat, 0: warming up */
    uint32_t repeat;
    double done, inside, total; /* passes; inside: of the prompt at hand */
    double said_s;
    struct bench_row common;    /* what belongs to the process, for every row */
    struct bench_rows rows;
    lamina_status out_status;
};

static const double SAY_EVERY_S = 0.2;

/* That a prompt of so many tokens takes. */
static double passes_of(const struct measure *m, uint32_t tokens) {
    uint32_t rows = lamina_model_plan(m->model)->prompt_rows;
    return (double)((tokens + rows - 1) / rows);
}

/* Says how far it is. True: end. A parent that is gone ends this process by SIGPIPE. */
static bool say_progress(struct measure *m) {
    double now = cli_now_s();
    if (now - m->said_s < SAY_EVERY_S) {
        return cli_interrupted();
    }
    struct str line = {0};
    struct lamina_error ignored = {0};
    m->said_s = now;
    str_printf(&line, "{\"done\": %.2f, \"of\": %.2f, \"what\": \"%s", m->done + m->inside, m->total, m->test);
    if (m->repeat > 0) {
        str_printf(&line, ", %u of %u", m->repeat, m->o->repeats);
    }
    str_add_text(&line, "\"}\n");
    m->out_status = cli_out_str(&line, &ignored);
    str_drop(&line);
    return m->out_status < 0 || cli_interrupted();
}

/* Pass by pass, from the library. */
static bool on_progress(void *user, const struct lamina_progress *p) {
    struct measure *m = (struct measure *)user;
    if (p->kind != LAMINA_PROGRESS_PROMPT || p->total_bytes == 0) {
        return cli_interrupted();
    }
    double passes = passes_of(m, (uint32_t)p->total_bytes);
    m->inside = passes * (double)p->done_bytes / (double)p->total_bytes;
    return say_progress(m);
}

/* Warnings only; the parent shows them. */
static void on_log(void *user, int level, const char *text) {
    struct measure *m = (struct measure *)user;
    struct str line = {0};
    struct lamina_error ignored = {0};
    if (level > 0) {
        return;
    }
    str_add_text(&line, "{\"warning\": ");
    json_write_string(&line, span_of_text(text));
    str_add_text(&line, "}\n");
    m->out_status = cli_out_str(&line, &ignored);
    str_drop(&line);
}

static lamina_status interrupted(struct lamina_error *err) {
    return base_fail(err, LAMINA_INTERRUPTED, "interrupted");
}

/* Totals and clock at the begin of a repeat. */
struct mark {
    struct lamina_stats stats;
    double begin_s;
};

static void mark_now(const struct measure *m, struct mark *at) {
    at->stats.size = sizeof(at->stats);
    lamina_model_stats(m->model, &at->stats);
    at->begin_s = cli_now_s();
}

static void push(struct bench_series *s, double value) {
    if (s->count < BENCH_MOST_REPEATS) {
        s->value[s->count++] = value;
    }
}

/* The figures of one repeat, from `before` to now. */
static void take_repeat(const struct measure *m, const struct mark *before, struct bench_row *row) {
    struct mark now;
    mark_now(m, &now);
    double wall = now.begin_s - before->begin_s;
    double read_wait = now.stats.read_wait_s - before->stats.read_wait_s;
    double decode = now.stats.decode_s - before->stats.decode_s;
    double compute = now.stats.compute_s - before->stats.compute_s;
    double other = wall - read_wait - decode - compute;
    double bytes = (double)(now.stats.bytes_read - before->stats.bytes_read);
    push(&row->tokens_per_s, (double)row->tokens / wall);
    push(&row->disk_bytes_per_s, bytes / wall);
    push(&row->bytes_read, bytes);
    push(&row->drive_idle_s, now.stats.drive_idle_s - before->stats.drive_idle_s);
    push(&row->read_wait_s, read_wait);
    push(&row->decode_s, decode);
    push(&row->compute_s, compute);
    push(&row->other_s, other > 0.0 ? other : 0.0);
}

/* Feeds the prompt to a new session and chooses a token. The prompt's own figures go into `row`, which may be NULL. */
static lamina_status feed_prompt(struct measure *m, struct bench_row *row, double *ttft_s, struct lamina_error *err) {
    struct lamina_session *session = NULL;
    struct mark begin;
    uint32_t id = 0;
    lamina_status status = lamina_session_open(&session, m->model, err);
    if (status < 0) {
        return status;
    }
    mark_now(m, &begin);
    status = lamina_session_feed(session, m->ids, m->prompt, NULL, err);
    if (status == LAMINA_OK && row != NULL) {
        take_repeat(m, &begin, row);
    }
    if (status == LAMINA_OK) {
        status = lamina_session_sample(session, &id, err);
    }
    *ttft_s = cli_now_s() - begin.begin_s;
    m->done += passes_of(m, m->prompt);
    m->inside = 0.0;
    lamina_session_close(&session);
    return status;
}

/* Tokens one by one from an empty context, each the likeliest after the ones before. */
static lamina_status one_by_one(struct measure *m, struct bench_row *row, struct lamina_error *err) {
    struct lamina_session *session = NULL;
    struct mark begin;
    uint32_t id = m->ids[0];
    lamina_status status = lamina_session_open(&session, m->model, err);
    mark_now(m, &begin);
    for (uint32_t i = 0; i < row->tokens && status == LAMINA_OK; i++) {
        status = lamina_session_feed(session, &id, 1, NULL, err);
        if (status == LAMINA_OK) {
            status = lamina_session_sample(session, &id, err);
        }
        m->done++;
        m->inside = 0.0;
        if (status == LAMINA_OK && cli_interrupted()) {
            status = interrupted(err);
        }
    }
    if (status == LAMINA_OK) {
        take_repeat(m, &begin, row);
    }
    lamina_session_close(&session);
    return status;
}

static struct bench_row *add_row(struct measure *m, const char *kind, uint32_t tokens, struct lamina_error *err) {
    struct bench_row *row = bench_rows_add(&m->rows);
    if (row == NULL) {
        (void)base_fail(err, LAMINA_NO_FIT, "out of memory for the rows");
        return NULL;
    }
    (void)snprintf(row->test, sizeof(row->test), "%s%u", kind, tokens);
    row->tokens = tokens;
    return row;
}

static lamina_status measure_prompts(struct measure *m, struct lamina_error *err) {
    double ttft = 0.0;
    struct bench_row *row = NULL;
    m->total = passes_of(m, m->prompt) * (1.0 + m->o->repeats) + (double)m->o->predict * m->o->repeats;
    m->test = "first token";
    LAMINA_TRY(feed_prompt(m, NULL, &m->common.ttft_cold_s, err));
    if (m->o->prompt_tokens > 0) {
        row = add_row(m, "pp", m->prompt, err);
        if (row == NULL) {
            return err->code;
        }
        m->test = row->test;
    }
    for (m->repeat = 1; m->repeat <= m->o->repeats; m->repeat++) {
        if (cli_interrupted()) {
            return interrupted(err);
        }
        LAMINA_TRY(feed_prompt(m, row, &ttft, err));
        push(&m->common.ttft_warm_s, ttft);
    }
    return LAMINA_OK;
}

static lamina_status measure_tokens(struct measure *m, struct lamina_error *err) {
    if (m->o->predict == 0) {
        return LAMINA_OK;
    }
    struct bench_row *row = add_row(m, "tg", m->o->predict, err);
    if (row == NULL) {
        return err->code;
    }
    m->test = row->test;
    for (m->repeat = 1; m->repeat <= m->o->repeats; m->repeat++) {
        LAMINA_TRY(one_by_one(m, row, err));
    }
    return LAMINA_OK;
}

static lamina_status draw_ids(struct measure *m, uint32_t vocab, struct lamina_error *err) {
    uint64_t x = 0x9E3779B97F4A7C15u;
    m->ids = calloc(m->prompt, sizeof(*m->ids));
    if (m->ids == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %u token ids", m->prompt);
    }
    for (uint32_t i = 0; i < m->prompt; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        m->ids[i] = (uint32_t)((x >> 32) % vocab);
    }
    return LAMINA_OK;
}

/* What this process and its store are, for every row. */
static void describe(struct measure *m) {
    struct lamina_info info = {.size = sizeof(info)};
    struct lamina_stats stats = {.size = sizeof(stats)};
    struct bench_row *c = &m->common;
    lamina_model_info(m->model, &info);
    lamina_model_stats(m->model, &stats);
    (void)snprintf(c->codec, sizeof(c->codec), "%s", info.codec);
    (void)snprintf(c->numerics, sizeof(c->numerics), "%s", stats.numerics);
    (void)snprintf(c->isa, sizeof(c->isa), "%s", stats.isa);
    (void)snprintf(c->io_engine, sizeof(c->io_engine), "%s", stats.io_engine);
    c->threads = lamina_model_plan(m->model)->threads;
    c->memory_budget_bytes = stats.memory_budget_bytes;
    c->peak_memory_bytes = stats.peak_memory_bytes;
    c->store_bytes = info.store_bytes;
    c->bits_per_weight = info.bits_per_weight;
    c->store_bits_per_weight = info.store_bits_per_weight;
}

static lamina_status open_model(struct measure *m, struct lamina_error *err) {
    struct lamina_info info = {.size = sizeof(info)};
    struct lamina_settings settings;
    LAMINA_TRY(cli_settings(m->o, &settings, err));
    settings.context_tokens = m->prompt > m->o->predict ? m->prompt : m->o->predict;
    settings.callbacks = (struct lamina_callbacks){.log = on_log, .progress = on_progress, .user = m};
    double begin = cli_now_s();
    LAMINA_TRY(lamina_model_open(&m->model, m->o->args[0], &settings, err));
    m->common.load_s = cli_now_s() - begin;
    lamina_model_info(m->model, &info);
    if (m->o->codec != NULL && strcmp(m->o->codec, info.codec) != 0) {
        return base_fail(err, LAMINA_USAGE, "%s is a store of codec %s and stays so; give its checkpoint to have one of codec %s",
                         m->o->args[0], info.codec, m->o->codec);
    }
    return draw_ids(m, info.vocab, err);
}

static lamina_status measure(struct measure *m, struct lamina_error *err) {
    if (m->o->cgroup != NULL) {
        LAMINA_TRY(throttle_join(m->o->cgroup, err));
    }
    LAMINA_TRY(open_model(m, err));
    LAMINA_TRY(measure_prompts(m, err));
    LAMINA_TRY(measure_tokens(m, err));
    describe(m);
    return LAMINA_OK;
}

/* The common figures beside those of each test. */
static void join(struct measure *m) {
    for (uint32_t i = 0; i < m->rows.count; i++) {
        struct bench_row *row = &m->rows.row[i];
        struct bench_row whole = m->common;
        memcpy(whole.test, row->test, sizeof(whole.test));
        whole.tokens = row->tokens;
        whole.tokens_per_s = row->tokens_per_s;
        whole.disk_bytes_per_s = row->disk_bytes_per_s;
        whole.bytes_read = row->bytes_read;
        whole.drive_idle_s = row->drive_idle_s;
        whole.read_wait_s = row->read_wait_s;
        whole.decode_s = row->decode_s;
        whole.compute_s = row->compute_s;
        whole.other_s = row->other_s;
        *row = whole;
    }
}

lamina_status cmd_bench_cell(struct cli_options *o, struct lamina_error *err) {
    struct measure m = {.o = o, .prompt = o->prompt_tokens > 0 ? o->prompt_tokens : 1};
    struct lamina_error failure = {0};
    struct str line = {0};
    bench_row_init(&m.common);
    lamina_status status = measure(&m, &failure);
    if (status == LAMINA_OK) {
        join(&m);
        str_add_text(&line, "{\"rows\": ");
        bench_rows_json(m.rows.row, m.rows.count, &line);
    } else {
        str_printf(&line, "{\"status\": %d, \"error\": ", -status);
        json_write_string(&line, span_of_text(failure.message));
    }
    str_add_text(&line, "}\n");
    lamina_status written = cli_out_str(&line, err);
    str_drop(&line);
    lamina_model_close(&m.model);
    bench_rows_drop(&m.rows);
    free(m.ids);
    return written;
}
