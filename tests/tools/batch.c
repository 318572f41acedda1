/* SPDX-License-Identifier: Apache-2.0
 *
 * Several sequences of one model at once, for tests/oracle/run_variants.py: each prompt is fed by itself, then all of them grow
 * together by greedy tokens, one pass per step for the whole batch. What comes out must not depend on the company. Half-way
 * each takes a token too many and forgets it, so that states which cannot be cut are made anew by the next step. Prints one
 * JSON object with a list per sequence: "tokens", and of the position that chose the last of them "logits_final" and "hidden"
 * (the input of the head). The KV cache is fp32. A prompt is ids with commas; '/' ends a feed, so 1,2,3/4/5 comes in three.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "lamina/lamina.h"

enum { MOST = 16 };

struct prompt {
    uint32_t *ids;
    uint32_t *ends;              /* [feeds] */
    uint32_t count, feeds;
};

struct batch {
    struct lamina_session *session[MOST];
    struct prompt prompt[MOST];
    struct str tokens[MOST], logits[MOST], hidden[MOST];
    uint32_t next[MOST];
    uint32_t sequences, steps;
    struct lamina_info info;
};

static lamina_status no_memory(struct lamina_error *err) {
    err->code = LAMINA_NO_FIT;
    (void)snprintf(err->message, sizeof(err->message), "out of memory for a prompt");
    return err->code;
}

static lamina_status bad_prompt(const char *text, struct lamina_error *err) {
    err->code = LAMINA_USAGE;
    (void)snprintf(err->message, sizeof(err->message), "\"%.100s\" is not a prompt: expected something like 1,2,3/4", text);
    return err->code;
}

static lamina_status parse(const char *text, struct prompt *p, struct lamina_error *err) {
    size_t most = strlen(text) + 1;
    p->ids = (uint32_t *)calloc(most, sizeof(uint32_t));
    p->ends = (uint32_t *)calloc(most, sizeof(uint32_t));
    if (p->ids == NULL || p->ends == NULL) {
        return no_memory(err);
    }
    for (const char *at = text;; at++) {
        char *end = NULL;
        unsigned long id = strtoul(at, &end, 10);
        if (end == at || *at == '-' || *at == '+' || id > UINT32_MAX || (*end != 0 && *end != ',' && *end != '/')) {
            return bad_prompt(text, err);
        }
        p->ids[p->count++] = (uint32_t)id;
        if (*end != ',') {
            p->ends[p->feeds++] = p->count;
        }
        if (*end == 0) {
            return LAMINA_OK;
        }
        at = end;
    }
}

static void write_floats(struct str *s, const float *values, size_t count) {
    str_add_text(s, "[");
    for (size_t i = 0; i < count; i++) {
        str_add_text(s, i > 0 ? ", " : "");
        json_write_float(s, values[i]);
    }
    str_add_text(s, "]");
}

/* The next token of sequence i; of the last step also what it was chosen from. */
static lamina_status choose(struct batch *b, uint32_t i, uint32_t step, struct lamina_error *err) {
    lamina_status status = lamina_session_sample(b->session[i], &b->next[i], err);
    if (status != LAMINA_OK) {
        return status;
    }
    str_printf(&b->tokens[i], "%s%u", step > 0 ? ", " : "", b->next[i]);
    if (step + 1 == b->steps) {
        write_floats(&b->logits[i], lamina_session_logits(b->session[i]), b->info.vocab);
        write_floats(&b->hidden[i], lamina_session_hidden(b->session[i]), b->info.hidden);
    }
    return LAMINA_OK;
}

static lamina_status stray(struct batch *b, struct lamina_error *err) {
    lamina_status status = LAMINA_OK;
    for (uint32_t i = 0; status == LAMINA_OK && i < b->sequences; i++) {
        uint32_t wrong = b->next[i] == 0;
        status = lamina_session_feed(b->session[i], &wrong, 1, NULL, err);
        if (status == LAMINA_OK) {
            status = lamina_session_truncate(b->session[i], lamina_session_length(b->session[i]) - 1, err);
        }
    }
    return status;
}

static lamina_status compute(struct batch *b, struct lamina_model *model, struct lamina_error *err) {
    lamina_status status = LAMINA_OK;
    for (uint32_t i = 0; status == LAMINA_OK && i < b->sequences; i++) {
        const struct prompt *p = &b->prompt[i];
        status = lamina_session_open(&b->session[i], model, err);
        for (uint32_t f = 0, first = 0; status == LAMINA_OK && f < p->feeds; first = p->ends[f++]) {
            status = lamina_session_feed(b->session[i], p->ids + first, p->ends[f] - first, NULL, err);
        }
        if (status == LAMINA_OK) {
            status = choose(b, i, 0, err);
        }
    }
    for (uint32_t step = 1; status == LAMINA_OK && step < b->steps; step++) {
        status = step == b->steps / 2 ? stray(b, err) : LAMINA_OK;
        status = status == LAMINA_OK ? lamina_batch_feed(b->session, b->next, b->sequences, err) : status;
        for (uint32_t i = 0; status == LAMINA_OK && i < b->sequences; i++) {
            status = choose(b, i, step, err);
        }
    }
    return status;
}

static void print_lists(const char *name, const struct str *of_each, uint32_t count, const char *open, const char *close) {
    printf("\"%s\": [", name);
    for (uint32_t i = 0; i < count; i++) {
        printf("%s%s%s%s", i > 0 ? ", " : "", open, str_text(&of_each[i]), close);
    }
    printf("]");
}

static lamina_status run(struct batch *b, const char *path, const struct lamina_settings *s, struct lamina_error *err) {
    struct lamina_model *model = NULL;
    lamina_status status = lamina_model_open(&model, path, s, err);
    if (status == LAMINA_OK) {
        b->info.size = sizeof(b->info);
        lamina_model_info(model, &b->info);
        status = compute(b, model, err);
    }
    if (status == LAMINA_OK) {
        printf("{");
        print_lists("tokens", b->tokens, b->sequences, "[", "]");
        printf(", ");
        print_lists("logits_final", b->logits, b->sequences, "", "");
        printf(", ");
        print_lists("hidden", b->hidden, b->sequences, "", "");
        printf("}\n");
    }
    for (uint32_t i = 0; i < b->sequences; i++) {
        lamina_session_close(&b->session[i]);
    }
    lamina_model_close(&model);
    return status;
}

int main(int argc, char **argv) {
    static struct batch b;
    struct lamina_settings s;
    struct lamina_error err = {0};
    if (argc < 6 || argc > 5 + MOST || atoi(argv[4]) < 1) {
        fprintf(stderr, "usage: batch MODEL HOME MEMORY_MIB STEPS PROMPT [PROMPT ...]     (0 MiB: no cap; at most %d prompts)\n", MOST);
        return 2;
    }
    lamina_settings_defaults(&s);
    b.steps = (uint32_t)atoi(argv[4]);
    b.sequences = (uint32_t)(argc - 5);
    s.home = argv[2];
    s.memory_bytes = strtoull(argv[3], NULL, 10) << 20;
    s.memory_bytes = s.memory_bytes != 0 ? s.memory_bytes : UINT64_MAX;
    s.sequences = b.sequences;
    s.logit_rows = b.sequences;
    s.kv = LAMINA_KV_F32;
    lamina_status status = LAMINA_OK;
    for (uint32_t i = 0; status == LAMINA_OK && i < b.sequences; i++) {
        status = parse(argv[5 + i], &b.prompt[i], &err);
        uint32_t need = b.prompt[i].count + b.steps - 1;
        s.context_tokens = need > s.context_tokens ? need : s.context_tokens;
    }
    status = status == LAMINA_OK ? run(&b, argv[1], &s, &err) : status;
    for (uint32_t i = 0; i < b.sequences; i++) {
        free(b.prompt[i].ids);
        free(b.prompt[i].ends);
        str_drop(&b.tokens[i]);
        str_drop(&b.logits[i]);
        str_drop(&b.hidden[i]);
    }
    if (status != LAMINA_OK) {
        fprintf(stderr, "batch: %s\n", err.message);
    }
    return -status;
}
