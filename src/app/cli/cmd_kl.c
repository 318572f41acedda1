/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina kl: how far a model's answers are from a reference's, token by token. The two run one after the other: first the
 * reference, whose logits go to a file (logit_file.c), then the model, compared as its rows come. The text is cut by the
 * tokenizer of the reference; vocabularies must be equal in size.
 */
#include <stdlib.h>

#include "app/cli/cli.h"
#include "app/cli/logit_file.h"
#include "base/json.h"
#include "base/status.h"

/* The first run leaves the heap a little larger than it was. The second must still fit, so that much is kept free from the
 * start: better than finding out after hours. */
enum { RESERVE = 4 << 20 };

struct comparison {
    struct cli_scoring s;
    struct cli_progress progress;
    struct hash128 text;
    struct logit_file file;
    float *row;              /* [vocab] of the reference */
};

static const struct {
    const char *name, *words;
    double percent;
} PERCENTILES[] = {
    {"median_kl", "median", 50}, {"kl_90", "90 %", 90},       {"kl_95", "95 %", 95},
    {"kl_99", "99 %", 99},       {"kl_99_9", "99.9 %", 99.9}, {"max_kl", "maximum", 100},
};

/* ---- the answer ---- */

static void result_json(struct str *out, const struct comparison *k, const struct lamina_tally_result *r) {
    const struct {
        const char *name;
        double value;
    } figures[] = {
        {"mean_kl", r->mean_kl}, {"mean_kl_error", r->mean_kl_error},
        {"top1_agreement", 100.0 * r->same_top}, {"top1_agreement_error", 100.0 * r->same_top_error},
        {"rms_p_diff", 100.0 * r->rms_p_diff}, {"rms_p_diff_error", 100.0 * r->rms_p_diff_error},
        {"ppl", r->ppl}, {"ppl_error", r->ppl_error},
        {"reference_ppl", r->reference_ppl}, {"reference_ppl_error", r->reference_ppl_error},
        {"ppl_ratio", r->ratio}, {"ppl_ratio_error", r->ratio_error},
    };
    str_add_text(out, "{");
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        cli_json_double(out, figures[i].name, figures[i].value);
    }
    for (size_t i = 0; i < ARRAY_LEN(PERCENTILES); i++) {
        cli_json_double(out, PERCENTILES[i].name, lamina_tally_kl_percentile(k->s.tally, PERCENTILES[i].percent));
    }
    cli_json_chunks(out, &k->s.chunks, r->tokens);
}

static void result_text(struct str *out, const struct comparison *k, const struct lamina_tally_result *r) {
    str_printf(out, "mean KL: %.6g +- %.2g nats (%u chunks of %u, %llu tokens scored)\nKL:", r->mean_kl, r->mean_kl_error,
               k->s.chunks.count, k->s.chunks.tokens, (unsigned long long)r->tokens);
    for (size_t i = 0; i < ARRAY_LEN(PERCENTILES); i++) {
        str_printf(out, "%s %s %.6g", i > 0 ? "," : "", PERCENTILES[i].words,
                   lamina_tally_kl_percentile(k->s.tally, PERCENTILES[i].percent));
    }
    str_printf(out, "\nsame top token: %.3f +- %.3f %%\n", 100.0 * r->same_top, 100.0 * r->same_top_error);
    str_printf(out, "probability of the token that follows: RMS difference %.4f +- %.4f %%\n", 100.0 * r->rms_p_diff,
               100.0 * r->rms_p_diff_error);
    str_printf(out, "perplexity: %.4f +- %.4f, reference %.4f +- %.4f, ratio %.6f +- %.6f\n", r->ppl, r->ppl_error,
               r->reference_ppl, r->reference_ppl_error, r->ratio, r->ratio_error);
}

static lamina_status print_result(const struct cli_options *o, const struct comparison *k, struct lamina_error *err) {
    struct lamina_tally_result r = {.size = sizeof(r)};
    struct str out = {0};
    lamina_tally_result(k->s.tally, &r);
    if (o->json) {
        result_json(&out, k, &r);
    } else {
        result_text(&out, k, &r);
    }
    lamina_status status = cli_out_str(&out, err);
    str_drop(&out);
    return status;
}

/* ---- the two runs ---- */

static lamina_status keep(void *user, const float *logits, uint32_t next, struct lamina_error *err) {
    struct comparison *k = (struct comparison *)user;
    (void)next;
    return logit_file_add(&k->file, logits, err);
}

static lamina_status compare(void *user, const float *logits, uint32_t next, struct lamina_error *err) {
    struct comparison *k = (struct comparison *)user;
    LAMINA_TRY(logit_file_next(&k->file, k->row, err));
    return lamina_tally_compare(k->s.tally, k->row, logits, k->file.vocab, next, err);
}

static void running(void *user, struct str *line) {
    const struct comparison *k = (const struct comparison *)user;
    struct lamina_tally_result r = {.size = sizeof(r)};
    lamina_tally_result(k->s.tally, &r);
    str_printf(line, ", mean KL %.6g, same top %.2f %%", r.mean_kl, 100.0 * r.same_top);
}

/* Cut by the reference's tokenizer, or as the saved file has it. */
static lamina_status read_chunks(struct comparison *k, const struct cli_options *o, bool saved, struct lamina_error *err) {
    struct str text = {0};
    lamina_status status = cli_text_read(o->args[1], &text, err);
    if (status == LAMINA_OK) {
        k->text = hash_xxh3_128(str_text(&text), text.len);
        status = saved ? logit_file_open(&k->file, o->reference, o, k->text, &k->s.chunks, err)
                       : cli_chunks_make(&k->s.chunks, o, o->reference, &text, err);
    }
    str_drop(&text);
    return status;
}

/* What can be known before hours of computing: that both models are there and fit, and speak of the same tokens. */
static lamina_status check_both(struct comparison *k, const struct cli_options *o, bool saved, struct lamina_error *err) {
    struct cli_chunk_run *r = &k->s.run;
    struct lamina_settings settings = r->settings;
    uint32_t reference = k->file.vocab;
    uint32_t model = 0;
    if (!saved) {
        LAMINA_TRY(cli_chunks_plan(&k->s.chunks, o, o->reference, RESERVE, &settings, &reference, err));
    }
    k->row = (float *)calloc((size_t)reference + 1, sizeof(float));
    LAMINA_TRY(lamina_tally_open(&k->s.tally, (uint64_t)k->s.chunks.count * k->s.chunks.scored, err));
    if (k->row == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %u logits", reference);
    }
    settings = r->settings;
    LAMINA_TRY(cli_chunks_plan(&k->s.chunks, o, o->args[0], RESERVE, &settings, &model, err));
    if (model != reference) {
        return base_fail(err, LAMINA_USAGE, "%s has a vocabulary of %u, %s of %u: their probabilities cannot be compared",
                         o->args[0], model, o->reference, reference);
    }
    return saved ? LAMINA_OK : logit_file_create(&k->file, o, &k->s.chunks, reference, k->text, err);
}

static lamina_status run_both(struct comparison *k, const struct cli_options *o, bool saved, struct lamina_error *err) {
    struct cli_chunk_run of_model = k->s.run;
    if (!saved) {
        k->s.run.path = o->reference;
        k->s.run.take = keep;
        LAMINA_TRY(cli_chunks_run(&k->s.run, err));
        LAMINA_TRY(logit_file_finish(&k->file, &k->s.chunks, err));
        k->progress.part = 1;
    }
    k->s.run = of_model;
    k->s.run.path = o->args[0];
    k->s.run.take = compare;
    k->s.run.running = running;
    k->s.run.report = true;
    return cli_chunks_run(&k->s.run, err);
}

static lamina_status check_options(const struct cli_options *o, bool *saved, struct lamina_error *err) {
    if (o->reference == NULL) {
        return base_fail(err, LAMINA_USAGE, "--reference is missing; see: lamina kl --help");
    }
    *saved = logit_file_is(o->reference);
    if (*saved && o->save != NULL) {
        return base_fail(err, LAMINA_USAGE, "--save: %s is a saved reference already", o->reference);
    }
    return LAMINA_OK;
}

static lamina_status kl(const struct cli_options *o, bool lines, struct lamina_error *err) {
    struct comparison k = {.file = {.fd = -1}};
    bool saved = false;
    k.s.run = (struct cli_chunk_run){.o = o, .chunks = &k.s.chunks, .progress = &k.progress, .user = &k};
    lamina_status status = check_options(o, &saved, err);
    if (status == LAMINA_OK) {
        status = cli_settings(o, &k.s.run.settings, err);
    }
    if (status == LAMINA_OK) {
        status = read_chunks(&k, o, saved, err);
    }
    if (status < 0) {
        goto done;
    }
    cli_progress_init(&k.progress, o, &k.s.run.settings.callbacks);
    k.progress.lines = lines;
    k.progress.parts = saved ? 1 : 2;
    status = cli_trace_open(&k.progress, o, &k.s.run.settings.callbacks, err);
    if (status == LAMINA_OK) {
        status = check_both(&k, o, saved, err);
    }
    cli_progress_clear(&k.progress);
    if (status == LAMINA_OK) {
        status = run_both(&k, o, saved, err);
    }
    if (status == LAMINA_OK) {
        status = cli_trace_close(&k.progress, err);
    }
    if (status == LAMINA_OK) {
        status = print_result(o, &k, err);
    }
done:
    logit_file_drop(&k.file);
    free(k.row);
    lamina_tally_close(&k.s.tally);
    cli_chunks_drop(&k.s.chunks);
    return status;
}

lamina_status cmd_kl(struct cli_options *o, struct lamina_error *err) {
    return kl(o, false, err);
}

/* The same for lamina bench, which reads lines of JSON (bench.h): how far it is, and the result or why there is none. */
lamina_status cmd_bench_text(struct cli_options *o, struct lamina_error *err) {
    struct lamina_error failure = {0};
    struct str line = {0};
    o->json = true;
    o->quiet = true;
    lamina_status status = kl(o, true, &failure);
    if (status == LAMINA_OK) {
        return LAMINA_OK;
    }
    str_printf(&line, "{\"status\": %d, \"error\": ", -status);
    json_write_string(&line, span_of_text(failure.message));
    str_add_text(&line, "}\n");
    lamina_status written = cli_out_str(&line, err);
    str_drop(&line);
    return written;
}
