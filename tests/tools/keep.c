/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions in files, for tests/oracle/run_kept.py: a prompt and greedy tokens are computed in one go, then again up to half of the
 * tokens, and the session is saved; and once more after a token too many that is forgotten again, which leaves states that cannot be
 * cut behind. A model opened anew, with other threads and chunks, loads each file over what its session held before, and goes on:
 * every row of logits must have the bits of the first time. Prints the size of the file, or says what differs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lamina/lamina.h"

enum { MOST_IDS = 512 };

struct kept {
    const char *model, *home, *file;
    enum lamina_kv_type kv;
    uint32_t ids[MOST_IDS];
    uint32_t count, steps, vocab;
    uint32_t *tokens;            /* [steps] greedy, of the first time */
    float *logits;               /* [steps + 1][vocab], behind the prompt and each token */
};

static lamina_status complain(struct lamina_error *err, const char *what, uint32_t step) {
    err->code = LAMINA_UNEXPECTED;
    (void)snprintf(err->message, sizeof(err->message), "%s (step %u)", what, step);
    return err->code;
}

static lamina_status open_model(const struct kept *k, uint32_t threads, uint32_t rows, struct lamina_model **m,
                                struct lamina_session **s, struct lamina_error *err) {
    struct lamina_settings settings;
    lamina_settings_defaults(&settings);
    settings.home = k->home;
    settings.memory_bytes = UINT64_MAX;
    settings.context_tokens = k->count + k->steps + 1;
    settings.threads = threads;
    settings.prompt_rows = rows;
    settings.kv = k->kv;
    lamina_status status = lamina_model_open(m, k->model, &settings, err);
    return status == LAMINA_OK ? lamina_session_open(s, *m, err) : status;
}

/* The prompt and `steps` tokens; logits are kept the first time and compared later. */
static lamina_status compute(struct kept *k, struct lamina_session *s, uint32_t from, uint32_t steps, bool keep,
                             struct lamina_error *err) {
    lamina_status status = from == 0 ? lamina_session_feed(s, k->ids, k->count, NULL, err) : LAMINA_OK;
    for (uint32_t i = from; status == LAMINA_OK; i++) {
        float *row = k->logits + (size_t)i * k->vocab;
        if (keep) {
            memcpy(row, lamina_session_logits(s), k->vocab * sizeof(float));
            status = i < steps ? lamina_session_sample(s, &k->tokens[i], err) : LAMINA_OK;
        } else if (i > from || from == 0) {
            status = memcmp(row, lamina_session_logits(s), k->vocab * sizeof(float)) != 0 ? complain(err, "logits differ", i) : status;
        }
        if (i == steps || status != LAMINA_OK) {
            break;
        }
        status = lamina_session_feed(s, &k->tokens[i], 1, NULL, err);
    }
    return status;
}

static lamina_status write_files(struct kept *k, const char *second, struct lamina_error *err) {
    struct lamina_model *m = NULL;
    struct lamina_session *s = NULL;
    struct lamina_info info = {.size = sizeof(info)};
    uint32_t half = k->steps / 2;
    lamina_status status = open_model(k, 2, 0, &m, &s, err);
    if (status == LAMINA_OK) {
        lamina_model_info(m, &info);
        k->vocab = info.vocab;
        k->tokens = (uint32_t *)calloc(k->steps, sizeof(uint32_t));
        k->logits = (float *)calloc((size_t)(k->steps + 1) * info.vocab, sizeof(float));
        status = k->tokens != NULL && k->logits != NULL ? compute(k, s, 0, k->steps, true, err) : complain(err, "no memory", 0);
    }
    if (status == LAMINA_OK) {
        status = lamina_session_truncate(s, 0, err);
    }
    if (status == LAMINA_OK) {
        status = compute(k, s, 0, half, false, err);
    }
    if (status == LAMINA_OK) {
        status = lamina_session_save(s, k->file, err);
    }
    if (status == LAMINA_OK) {
        uint32_t wrong = k->tokens[half] == 0;
        status = lamina_session_feed(s, &wrong, 1, NULL, err);
    }
    if (status == LAMINA_OK) {
        status = lamina_session_truncate(s, k->count + half, err);
    }
    if (status == LAMINA_OK) {
        status = lamina_session_save(s, second, err);
    }
    lamina_session_close(&s);
    lamina_model_close(&m);
    return status;
}

static lamina_status read_file(struct kept *k, struct lamina_session *s, const char *file, struct lamina_error *err) {
    uint32_t half = k->steps / 2;
    lamina_status status = lamina_session_load(s, file, err);
    if (status != LAMINA_OK) {
        return status;
    }
    if (lamina_session_length(s) != k->count + half || lamina_session_logits(s) != NULL ||
        memcmp(lamina_session_tokens(s), k->ids, k->count * sizeof(uint32_t)) != 0 ||
        memcmp(lamina_session_tokens(s) + k->count, k->tokens, half * sizeof(uint32_t)) != 0) {
        return complain(err, "the tokens differ, or there are logits", 0);
    }
    return compute(k, s, half, k->steps, false, err);
}

static lamina_status read_files(struct kept *k, const char *second, struct lamina_error *err) {
    struct lamina_model *m = NULL;
    struct lamina_session *s = NULL;
    lamina_status status = open_model(k, 1, k->count > 5 ? 5 : 0, &m, &s, err);
    if (status == LAMINA_OK) {
        status = lamina_session_feed(s, k->ids, k->count, NULL, err);
    }
    if (status == LAMINA_OK) {
        status = read_file(k, s, k->file, err);
    }
    if (status == LAMINA_OK) {
        status = read_file(k, s, second, err);
    }
    lamina_session_close(&s);
    lamina_model_close(&m);
    return status;
}

int main(int argc, char **argv) {
    static struct kept k;
    struct lamina_error err = {0};
    struct stat st = {0};
    char second[4096];
    if (argc != 7 || atoi(argv[5]) < 2) {
        (void)fprintf(stderr, "usage: keep MODEL HOME FILE f16|f32 STEPS IDS\n");
        return 2;
    }
    k.model = argv[1];
    k.home = argv[2];
    k.file = argv[3];
    k.kv = strcmp(argv[4], "f32") == 0 ? LAMINA_KV_F32 : LAMINA_KV_F16;
    k.steps = (uint32_t)atoi(argv[5]);
    for (char *at = argv[6]; *at != 0 && k.count < MOST_IDS; at += *at == ',') {
        k.ids[k.count++] = (uint32_t)strtoul(at, &at, 10);
    }
    (void)snprintf(second, sizeof(second), "%s.2", k.file);
    lamina_status status = write_files(&k, second, &err);
    if (status == LAMINA_OK) {
        status = read_files(&k, second, &err);
    }
    free(k.tokens);
    free(k.logits);
    if (status != LAMINA_OK || stat(k.file, &st) != 0) {
        (void)fprintf(stderr, "keep: %s\n", err.message);
        return 1;
    }
    printf("%lld\n", (long long)st.st_size);
    return 0;
}
