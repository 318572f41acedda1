/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina logits: the numbers themselves, for comparing with a reference. Ids go in as given, the end token stops nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "app/cli/cli.h"
#include "base/json.h"
#include "base/status.h"

/* The library keeps this many rows of logits in a prefill pass: enough to share the head's reading among many rows, few
 * enough that a vocabulary of 256 Ki ids costs 64 MiB. */
enum { LOGIT_ROWS = 64 };

struct logits_result {
    uint32_t vocab;
    float *last, *final; /* [vocab] */
    uint32_t *tokens;    /* [predict] */
    uint32_t *argmax;    /* [prompt] */
    float *logprob;      /* [prompt]; one fewer is filled */
};

static void drop_result(struct logits_result *r) {
    free(r->last);
    free(r->final);
    free(r->tokens);
    free(r->argmax);
    free(r->logprob);
}

static lamina_status take_result(struct logits_result *r, uint32_t vocab, size_t prompt, uint32_t predict,
                                 struct lamina_error *err) {
    r->vocab = vocab;
    r->last = calloc((size_t)vocab + 1, sizeof(float));
    r->final = calloc((size_t)vocab + 1, sizeof(float));
    r->tokens = calloc((size_t)predict + 1, sizeof(uint32_t));
    r->argmax = calloc(prompt + 1, sizeof(uint32_t));
    r->logprob = calloc(prompt + 1, sizeof(float));
    if (r->last == NULL || r->final == NULL || r->tokens == NULL || r->argmax == NULL || r->logprob == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %u logits", vocab);
    }
    return LAMINA_OK;
}

/* Feeds the prompt, then adds `predict` greedy tokens; the last one is chosen but not fed. */
static lamina_status compute(struct lamina_session *session, const uint32_t *ids, size_t count, uint32_t predict,
                             struct logits_result *r, struct cli_run_facts *facts, struct lamina_error *err) {
    struct lamina_scores scores = {.argmax = r->argmax, .logprob_next = r->logprob};
    size_t bytes = (size_t)r->vocab * sizeof(float);
    double begin = cli_now_s();
    LAMINA_TRY(lamina_session_feed(session, ids, (uint32_t)count, &scores, err));
    memcpy(r->last, lamina_session_logits(session), bytes);
    facts->ttft_s = cli_now_s() - begin;
    for (uint32_t i = 0; i < predict; i++) {
        if (cli_interrupted()) {
            return base_fail(err, LAMINA_INTERRUPTED, "interrupted after %u tokens", i);
        }
        LAMINA_TRY(lamina_session_sample(session, &r->tokens[i], err));
        if (i + 1 < predict) {
            LAMINA_TRY(lamina_session_feed(session, &r->tokens[i], 1, NULL, err));
        }
    }
    memcpy(r->final, lamina_session_logits(session), bytes);
    facts->wall_s = cli_now_s() - begin;
    facts->prompt_tokens = count;
    facts->new_tokens = predict;
    return LAMINA_OK;
}

static void write_floats(struct str *s, const char *name, const float *values, size_t count) {
    str_printf(s, "\"%s\": [", name);
    for (size_t i = 0; i < count; i++) {
        str_add_text(s, i > 0 ? ", " : "");
        json_write_float(s, values[i]);
    }
    str_add_text(s, "]");
}

static void write_ids(struct str *s, const char *name, const uint32_t *values, size_t count) {
    str_printf(s, "\"%s\": [", name);
    for (size_t i = 0; i < count; i++) {
        str_printf(s, "%s%u", i > 0 ? ", " : "", values[i]);
    }
    str_add_text(s, "]");
}

static void result_json(struct str *s, const struct logits_result *r, size_t prompt, uint32_t predict) {
    str_add_text(s, "{");
    write_ids(s, "tokens", r->tokens, predict);
    str_add_text(s, ", ");
    write_floats(s, "logits_last", r->last, r->vocab);
    str_add_text(s, ", ");
    write_floats(s, "logits_final", r->final, r->vocab);
    str_add_text(s, ", ");
    write_ids(s, "argmax", r->argmax, prompt);
    str_add_text(s, ", ");
    write_floats(s, "logprob_next", r->logprob, prompt - 1);
    str_add_text(s, "}\n");
}

/* For a reader: the tokens and the five best ids after the prompt. */
static void result_text(struct str *s, const struct logits_result *r, uint32_t predict) {
    uint32_t best[5];
    size_t found = 0;
    for (uint32_t id = 0; id < r->vocab; id++) {
        size_t at = found;
        while (at > 0 && r->last[id] > r->last[best[at - 1]]) {
            at--;
        }
        if (at < ARRAY_LEN(best)) {
            found += found < ARRAY_LEN(best);
            memmove(best + at + 1, best + at, (found - at - 1) * sizeof(best[0]));
            best[at] = id;
        }
    }
    str_add_text(s, "tokens");
    for (uint32_t i = 0; i < predict; i++) {
        str_printf(s, " %u", r->tokens[i]);
    }
    str_add_text(s, "\n");
    for (size_t i = 0; i < found; i++) {
        str_printf(s, "%8u  %.6g\n", best[i], (double)r->last[best[i]]);
    }
}

static lamina_status print_result(const struct cli_options *o, const struct logits_result *r, size_t prompt,
                                  struct lamina_error *err) {
    struct str s = {0};
    if (o->json) {
        result_json(&s, r, prompt, o->predict);
    } else {
        result_text(&s, r, o->predict);
    }
    lamina_status status = cli_out_str(&s, err);
    str_drop(&s);
    return status;
}

static lamina_status check_sizes(const struct cli_options *o, size_t count, uint32_t *context, struct lamina_error *err) {
    uint64_t need = (uint64_t)count + (o->predict > 0 ? o->predict - 1 : 0);
    if (count == 0) {
        return base_fail(err, LAMINA_USAGE, "--ids is empty");
    }
    if (need > UINT32_MAX) {
        return base_fail(err, LAMINA_USAGE, "%zu ids and -n %u are more than any context holds", count, o->predict);
    }
    if (o->ctx_size != 0 && need > o->ctx_size) {
        return base_fail(err, LAMINA_USAGE, "%zu ids and -n %u need -c %llu, but -c is %u", count, o->predict,
                         (unsigned long long)need, o->ctx_size);
    }
    *context = o->ctx_size != 0 ? o->ctx_size : (uint32_t)need;
    return LAMINA_OK;
}

lamina_status cmd_logits(struct cli_options *o, struct lamina_error *err) {
    struct cli_run_facts facts = {.model = o->args[0]};
    struct logits_result result = {0};
    struct lamina_model *model = NULL;
    struct lamina_session *session = NULL;
    struct lamina_info info = {.size = sizeof(info)};
    struct lamina_settings settings;
    struct cli_progress progress;
    uint32_t *ids = NULL;
    size_t count = 0;
    lamina_status status = cli_settings(o, &settings, err);
    if (status == LAMINA_OK && o->ids == NULL) {
        status = base_fail(err, LAMINA_USAGE, "--ids is missing; see: lamina logits --help");
    }
    if (status == LAMINA_OK) {
        status = cli_parse_ids(span_of_text(o->ids), "--ids", &ids, &count, err);
    }
    if (status == LAMINA_OK) {
        status = check_sizes(o, count, &settings.context_tokens, err);
    }
    if (status < 0) {
        goto done;
    }
    settings.logit_rows = count < LOGIT_ROWS ? (uint32_t)count : LOGIT_ROWS;
    cli_progress_init(&progress, o, &settings.callbacks);
    status = cli_trace_open(&progress, o, &settings.callbacks, err);
    if (status == LAMINA_OK) {
        status = lamina_model_open(&model, o->args[0], &settings, err);
    }
    cli_progress_clear(&progress);
    if (status < 0) {
        goto done;
    }
    lamina_model_info(model, &info);
    status = take_result(&result, info.vocab, count, o->predict, err);
    if (status == LAMINA_OK) {
        status = lamina_session_open(&session, model, err);
    }
    if (status == LAMINA_OK) {
        status = compute(session, ids, count, o->predict, &result, &facts, err);
    }
    if (status == LAMINA_OK) {
        status = print_result(o, &result, count, err);
    }
    if (status == LAMINA_OK) {
        status = cli_trace_close(&progress, err);
    }
    if (status == LAMINA_OK && o->report != NULL) {
        status = cli_report_write(o->report, model, &facts, err);
    }
done:
    lamina_session_close(&session);
    lamina_model_close(&model);
    drop_result(&result);
    free(ids);
    return status;
}
