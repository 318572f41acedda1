/* SPDX-License-Identifier: Apache-2.0
 *
 * An answer on its way out, and what it is drawn with: the parts that run and chat share. Text reaches a terminal without
 * what could command it, and whatever is drawn on the screen meanwhile gives way to it.
 */
#include <errno.h>
#include <sys/random.h>

#include "app/cli/cli.h"
#include "app/cli/live.h"
#include "base/json.h"
#include "base/status.h"

void cli_reply_init(struct cli_reply *r, const struct cli_options *o, struct lamina_error *err) {
    *r = (struct cli_reply){.json = o->json, .err = err};
    cli_terminal_init(&r->terminal, o->color);
}

void cli_reply_drop(struct cli_reply *r) {
    str_drop(&r->text);
    str_drop(&r->safe);
}

bool cli_reply_text(void *user, const char *text, size_t len, uint32_t id) {
    struct cli_reply *r = (struct cli_reply *)user;
    (void)id;
    if (r->json || r->keep) {
        str_add(&r->text, text, len);
    }
    if (!r->json && len > 0) {
        str_clear(&r->safe);
        if (r->terminal.out_tty) {
            cli_safe_text(&r->safe, text, len);
        } else {
            str_add(&r->safe, text, len);
        }
        if (r->live != NULL) {
            cli_live_give_way(r->live, str_span(&r->safe));
        }
        r->out_status = cli_out_str(&r->safe, r->err);
    }
    if (r->live != NULL) {
        cli_live_token(r->live);
    }
    return r->out_status < 0 || cli_interrupted();
}

static const char *reason_words(enum lamina_stop_reason reason) {
    switch (reason) {
    case LAMINA_STOP_EOS:
        return "eos";
    case LAMINA_STOP_STRING:
        return "stop";
    case LAMINA_STOP_LENGTH:
        return "length";
    case LAMINA_STOP_CALLER:
        return "interrupted";
    case LAMINA_STOP_NONE:
        break;
    }
    return "none";
}

lamina_status cli_reply_end(struct cli_reply *r, const struct lamina_generate *g, size_t prompt_tokens, struct lamina_error *err) {
    if (!r->json) {
        return cli_out("\n", 1, err);
    }
    struct str s = {0};
    str_add_text(&s, "{\"text\": ");
    json_write_string(&s, str_span(&r->text));
    str_printf(&s, ", \"stop_reason\": \"%s\", \"prompt_tokens\": %zu, \"new_tokens\": %u}\n", reason_words(g->reason),
               prompt_tokens, g->new_tokens);
    s.failed = s.failed || r->text.failed;
    lamina_status status = cli_out_str(&s, err);
    str_drop(&s);
    return status;
}

lamina_status cli_sampling(const struct lamina_model *model, const struct cli_options *o, struct lamina_sampling *s,
                           struct lamina_error *err) {
    lamina_sampling_of_model(model, s);
    s->temperature = o->temp_given ? o->temp : s->temperature;
    s->top_k = o->top_k_given ? o->top_k : s->top_k;
    s->top_p = o->top_p_given ? o->top_p : s->top_p;
    s->min_p = o->min_p_given ? o->min_p : s->min_p;
    s->repetition_penalty = o->repeat_penalty_given ? o->repeat_penalty : s->repetition_penalty;
    if (o->seed_given) {
        s->seed = o->seed;
    } else if (s->temperature > 0.0f && getrandom(&s->seed, sizeof(s->seed), 0) < 0) {
        return base_fail_errno(err, errno, "cannot draw a seed; give --seed");
    }
    return LAMINA_OK;
}
