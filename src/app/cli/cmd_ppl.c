/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina ppl: how well a model foretells a text, by the method of ggml's perplexity tool (chunks.c), so that figures compare.
 */
#include "app/cli/cli.h"
#include "base/json.h"
#include "base/status.h"

static lamina_status take(void *user, const float *logits, uint32_t next, struct lamina_error *err) {
    struct cli_scoring *s = (struct cli_scoring *)user;
    return lamina_tally_add(s->tally, logits, s->run.vocab, next, err);
}

static void running(void *user, struct str *line) {
    const struct cli_scoring *s = (const struct cli_scoring *)user;
    struct lamina_tally_result r = {.size = sizeof(r)};
    lamina_tally_result(s->tally, &r);
    str_printf(line, ", perplexity %.4f", r.ppl);
}

static lamina_status print_result(const struct cli_options *o, const struct cli_scoring *s, struct lamina_error *err) {
    struct lamina_tally_result r = {.size = sizeof(r)};
    struct str out = {0};
    lamina_tally_result(s->tally, &r);
    if (o->json) {
        str_add_text(&out, "{");
        cli_json_double(&out, "ppl", r.ppl);
        cli_json_double(&out, "ppl_error", r.ppl_error);
        cli_json_double(&out, "mean_nll", r.mean_nll);
        cli_json_chunks(&out, &s->chunks, r.tokens);
    } else {
        str_printf(&out, "perplexity: %.4f +- %.4f (%u chunks of %u, %llu tokens scored)\n", r.ppl, r.ppl_error, s->chunks.count,
                   s->chunks.tokens, (unsigned long long)r.tokens);
    }
    lamina_status status = cli_out_str(&out, err);
    str_drop(&out);
    return status;
}

lamina_status cmd_ppl(struct cli_options *o, struct lamina_error *err) {
    struct cli_scoring s = {0};
    struct cli_progress progress;
    struct str text = {0};
    s.run = (struct cli_chunk_run){.o = o, .path = o->args[0], .chunks = &s.chunks, .progress = &progress, .take = take,
                                   .running = running, .user = &s, .report = true};
    lamina_status status = cli_settings(o, &s.run.settings, err);
    if (status == LAMINA_OK) {
        status = cli_text_read(o->args[1], &text, err);
    }
    if (status == LAMINA_OK) {
        status = cli_chunks_make(&s.chunks, o, o->args[0], &text, err);
    }
    str_drop(&text); /* must not stand beside the model */
    if (status == LAMINA_OK) {
        status = lamina_tally_open(&s.tally, 0, err);
    }
    if (status < 0) {
        goto done;
    }
    cli_progress_init(&progress, o, &s.run.settings.callbacks);
    status = cli_trace_open(&progress, o, &s.run.settings.callbacks, err);
    if (status == LAMINA_OK) {
        status = cli_chunks_run(&s.run, err);
    }
    if (status == LAMINA_INTERRUPTED && s.run.done > 0 && !o->quiet) {
        struct str line = {0};
        running(&s, &line);
        cli_say(1, "stopped after %u of %u chunks%s", s.run.done, s.chunks.count, str_text(&line));
        str_drop(&line);
    }
    if (status == LAMINA_OK) {
        status = cli_trace_close(&progress, err);
    }
    if (status == LAMINA_OK) {
        status = print_result(o, &s, err);
    }
done:
    lamina_tally_close(&s.tally);
    cli_chunks_drop(&s.chunks);
    return status;
}
