/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a small random Llama-shaped checkpoint (config.json + model.safetensors) in a new temporary directory, and removes
 * it again. Header-only, for tests. Weights are uniform in +-0.5/sqrt(cols), so activations stay of order one.
 */
#ifndef TINY_CHECKPOINT_H
#define TINY_CHECKPOINT_H

#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kern/kern.h"
#include "model/model.h"

struct tiny_shape {
    uint32_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab;
    bool tied, bias;
    const char *dtype;  /* "BF16", "F16", "F32" */
    const char *extra;  /* more config keys, ", \"key\": value", or "" */
    uint64_t seed;
};

static inline void tiny_config(const struct tiny_shape *s, char *out, size_t len) {
    (void)snprintf(out, len,
                   "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": %u, \"num_hidden_layers\": %u, "
                   "\"num_attention_heads\": %u, \"num_key_value_heads\": %u, \"head_dim\": %u, \"intermediate_size\": %u, "
                   "\"vocab_size\": %u, \"tie_word_embeddings\": %s, \"attention_bias\": %s, \"mlp_bias\": %s, "
                   "\"rms_norm_eps\": 1e-5, \"max_position_embeddings\": 4096%s}",
                   s->hidden, s->layers, s->heads, s->kv_heads, s->head_dim, s->ffn, s->vocab, s->tied ? "true" : "false",
                   s->bias ? "true" : "false", s->bias ? "true" : "false", s->extra != NULL ? s->extra : "");
}

static inline uint64_t tiny_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

/* fp16 of a number of ordinary size, ties to even; small ones become multiples of 2^-24. */
static inline uint16_t tiny_half(float v) {
    int exponent = 0;
    (void)frexpf(v, &exponent);
    exponent = exponent < -13 ? -13 : exponent; /* |v| = 0.1... * 2^exponent; -13: the smallest normal numbers */
    uint32_t steps = (uint32_t)nearbyintf(ldexpf(fabsf(v), 11 - exponent));
    /* The hidden bit carries into the exponent, also when rounding up reaches the next power of two. */
    uint32_t bits = steps + (uint32_t)(exponent + 13) * 1024u;
    return (uint16_t)(bits | (v < 0 ? 0x8000u : 0u));
}

static inline void tiny_write_weights(FILE *f, const char *dtype, uint64_t count, float scale, float centre,
                                      uint64_t *random) {
    for (uint64_t i = 0; i < count; i++) {
        float v = centre + scale * (float)((double)(tiny_random(random) >> 11) * 0x1p-52 - 1.0);
        if (strcmp(dtype, "F32") == 0) {
            (void)fwrite(&v, 4, 1, f);
        } else if (strcmp(dtype, "F16") == 0) {
            uint16_t h = tiny_half(v);
            (void)fwrite(&h, 2, 1, f);
        } else {
            uint32_t bits = 0;
            memcpy(&bits, &v, 4);
            uint16_t b = (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
            (void)fwrite(&b, 2, 1, f);
        }
    }
}

static inline bool tiny_write_safetensors(const char *path, const struct model_desc *d, const struct tiny_shape *s) {
    size_t elem = strcmp(s->dtype, "F32") == 0 ? 4 : 2;
    struct str head = {0};
    uint64_t at = 0;
    uint32_t count = model_tensor_count(d);
    str_add_text(&head, "{");
    for (uint32_t i = 0; i < count; i++) {
        struct model_tensor t;
        model_tensor_at(d, i, &t);
        uint64_t bytes = t.rows * t.cols * elem;
        str_printf(&head, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i == 0 ? "" : ",", t.source, s->dtype);
        if (t.role < MODEL_MATRICES) {
            str_printf(&head, "%llu,", (unsigned long long)t.rows);
        }
        str_printf(&head, "%llu],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t.cols, (unsigned long long)at,
                   (unsigned long long)(at + bytes));
        at += bytes;
    }
    str_add_text(&head, "}");
    FILE *f = fopen(path, "wb");
    if (f == NULL) {
        return false;
    }
    uint64_t len = head.len;
    uint64_t random = s->seed * 2 + 1;
    (void)fwrite(&len, 8, 1, f);
    (void)fwrite(str_text(&head), 1, head.len, f);
    for (uint32_t i = 0; i < count; i++) {
        struct model_tensor t;
        model_tensor_at(d, i, &t);
        bool norm = t.role == MODEL_ATTN_NORM || t.role == MODEL_MLP_NORM || t.role == MODEL_FINAL_NORM;
        float scale = t.role == MODEL_EMBED ? 1.0f : t.role < MODEL_MATRICES ? 3.0f / (float)(1 + t.cols / 16) : 0.2f;
        tiny_write_weights(f, s->dtype, t.rows * t.cols, scale, norm ? 1.0f : 0.0f, &random);
    }
    str_drop(&head);
    return fclose(f) == 0;
}

/* The directory's path in `dir` (256 bytes); false when something failed. */
static inline bool tiny_checkpoint_make(const struct tiny_shape *s, char dir[256]) {
    char config[2048];
    char path[300];
    struct model_desc d;
    struct lamina_error err = {0};
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(dir, 256, "%s/lamina-tiny-XXXXXX", tmp != NULL ? tmp : "/tmp");
    tiny_config(s, config, sizeof(config));
    if (mkdtemp(dir) == NULL || model_resolve(span_of_text(config), &d, &err) != LAMINA_OK) {
        return false;
    }
    (void)snprintf(path, sizeof(path), "%s/config.json", dir);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fputs(config, f) < 0 || fclose(f) != 0) {
        return false;
    }
    (void)snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    return tiny_write_safetensors(path, &d, s);
}

static inline void tiny_remove(const char *dir) {
    char command[400];
    if (strstr(dir, "lamina-") != NULL) {
        (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        if (system(command) != 0) {
            (void)fprintf(stderr, "could not remove %s\n", dir);
        }
    }
}

#endif
