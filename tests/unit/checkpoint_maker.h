/* SPDX-License-Identifier: Apache-2.0
 * Small checkpoints of any shape for the store's tests: random bits, several data types, one file or shards. The
 * tensors stay in memory, so that a test can compare what it reads back with what it wrote. */
#ifndef CHECKPOINT_MAKER_H
#define CHECKPOINT_MAKER_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "kern/kern.h"
#include "model/model.h"

struct made_tensor {
    char name[160];
    enum kern_dtype dtype;
    uint32_t rank;
    uint64_t rows, cols;
    size_t bytes;
    uint8_t *data;
};

struct made_model {
    unsigned hidden, layers, heads, kv_heads, head_dim, ffn, vocab;
    bool tied, biases;
    unsigned dtype;  /* 0..2 of enum kern_dtype for all; 3: mixed */
    unsigned shards; /* 1: model.safetensors */
    bool tokenizer;
    unsigned seed;
    bool extra_head; /* tied in config.json, but a head tensor is there */
    unsigned count;
    struct made_tensor *tensors;
};

static uint64_t maker_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline void maker_write(const char *dir, const char *name, const void *bytes, size_t len) {
    char path[1400];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(bytes, 1, len, f) != len || fclose(f) != 0) {
        abort();
    }
}

static inline void maker_config(const struct made_model *m, const char *dir) {
    struct str s = {0};
    str_printf(&s,
               "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": %u, "
               "\"num_hidden_layers\": %u, \"num_attention_heads\": %u, \"num_key_value_heads\": %u, \"head_dim\": %u, "
               "\"intermediate_size\": %u, \"vocab_size\": %u, \"tie_word_embeddings\": %s, \"attention_bias\": %s, "
               "\"mlp_bias\": %s, \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, "
               "\"max_position_embeddings\": 128, \"bos_token_id\": 1, \"eos_token_id\": 2}\n",
               m->hidden, m->layers, m->heads, m->kv_heads, m->head_dim, m->ffn, m->vocab, m->tied ? "true" : "false",
               m->biases ? "true" : "false", m->biases ? "true" : "false");
    maker_write(dir, "config.json", s.ptr, s.len);
    str_drop(&s);
    if (m->tokenizer) {
        maker_write(dir, "tokenizer.json", "{\"tok\": 1}", 10);
        maker_write(dir, "generation_config.json", "{}", 2);
        maker_write(dir, "README.md", "not kept", 8);
    }
}

/* Fills m->tensors from the model room's own list. */
static inline void maker_fill(struct made_model *m, const char *dir) {
    char path[1400];
    struct str config = {0};
    struct model_desc desc;
    struct lamina_error err = {0};
    uint64_t state = m->seed * UINT64_C(0x9e3779b97f4a7c15) + 88172645463325252u;
    (void)snprintf(path, sizeof(path), "%s/config.json", dir);
    FILE *f = fopen(path, "rb");
    char buf[4096];
    size_t n = f != NULL ? fread(buf, 1, sizeof(buf), f) : 0;
    str_add(&config, buf, n);
    if (f == NULL || fclose(f) != 0 || model_resolve(str_span(&config), &desc, &err) < 0) {
        (void)fprintf(stderr, "maker: %s\n", err.message);
        abort();
    }
    str_drop(&config);
    if (m->extra_head) {
        desc.tied = false;
    }
    m->count = model_tensor_count(&desc);
    m->tensors = calloc(m->count, sizeof(*m->tensors));
    for (unsigned i = 0; i < m->count; i++) {
        struct model_tensor t;
        struct made_tensor *to = &m->tensors[i];
        model_tensor_at(&desc, i, &t);
        (void)snprintf(to->name, sizeof(to->name), "%s", t.source);
        to->dtype = (enum kern_dtype)(m->dtype < 3 ? m->dtype : i % 3);
        to->rank = t.role < MODEL_MATRICES ? 2 : 1;
        to->rows = t.rows;
        to->cols = t.cols;
        to->bytes = (size_t)(t.rows * t.cols) * kern_dtype_bytes(to->dtype);
        to->data = malloc(to->bytes + 8);
        for (size_t k = 0; k < to->bytes; k += 8) {
            uint64_t v = maker_random(&state);
            if (to->dtype == KERN_F32) {
                v &= UINT64_C(0xbfffffffbfffffff); /* small exponents: finite */
            } else {
                v &= UINT64_C(0xbfffbfffbfffbfff);
            }
            memcpy(to->data + k, &v, 8);
        }
    }
}

/* Tensors [first, first + count) into one safetensors file, header padded to `align` (0: not). */
static inline void maker_shard(const struct made_model *m, const char *dir, const char *name, unsigned first,
                               unsigned count, unsigned align) {
    struct str json = {0};
    struct str file = {0};
    uint64_t at = 0;
    str_add_byte(&json, '{');
    for (unsigned i = first; i < first + count; i++) {
        const struct made_tensor *t = &m->tensors[i];
        str_printf(&json, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i == first ? "" : ",", t->name,
                   kern_dtype_name(t->dtype));
        if (t->rank == 2) {
            str_printf(&json, "%llu,", (unsigned long long)t->rows);
        }
        str_printf(&json, "%llu],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t->cols, (unsigned long long)at,
                   (unsigned long long)(at + t->bytes));
        at += t->bytes;
    }
    str_add_byte(&json, '}');
    while (align != 0 && (json.len + 8) % align != 0) {
        str_add_byte(&json, ' ');
    }
    uint8_t len[8];
    store_le64(len, json.len);
    str_add(&file, len, 8);
    str_add_span(&file, str_span(&json));
    for (unsigned i = first; i < first + count; i++) {
        str_add(&file, m->tensors[i].data, m->tensors[i].bytes);
    }
    maker_write(dir, name, file.ptr, file.len);
    str_drop(&json);
    str_drop(&file);
}

static inline void maker_files(const struct made_model *m, const char *dir) {
    if (m->shards <= 1) {
        maker_shard(m, dir, "model.safetensors", 0, m->count, m->seed % 2 == 0 ? 8 : 0);
        return;
    }
    struct str index = {0};
    str_add_text(&index, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (unsigned s = 0; s < m->shards; s++) {
        unsigned first = m->count * s / m->shards;
        unsigned end = m->count * (s + 1) / m->shards;
        char name[64];
        (void)snprintf(name, sizeof(name), "model-%05u-of-%05u.safetensors", s + 1, m->shards);
        maker_shard(m, dir, name, first, end - first, 8);
        for (unsigned i = first; i < end; i++) {
            str_printf(&index, "%s\"%s\": \"%s\"", i == 0 ? "" : ", ", m->tensors[i].name, name);
        }
    }
    str_add_text(&index, "}}");
    maker_write(dir, "model.safetensors.index.json", index.ptr, index.len);
    str_drop(&index);
}

static inline void maker_make(struct made_model *m, const char *dir) {
    (void)mkdir(dir, 0755);
    maker_config(m, dir);
    maker_fill(m, dir);
    maker_files(m, dir);
}

static inline void maker_drop(struct made_model *m) {
    for (unsigned i = 0; i < m->count; i++) {
        free(m->tensors[i].data);
    }
    free(m->tensors);
    m->tensors = NULL;
    m->count = 0;
}

static inline const struct made_tensor *maker_find(const struct made_model *m, const char *name) {
    for (unsigned i = 0; i < m->count; i++) {
        if (strcmp(m->tensors[i].name, name) == 0) {
            return &m->tensors[i];
        }
    }
    return NULL;
}

/* A fresh directory under TMPDIR, else in memory where the system has a place for that, else /tmp; the caller
 * removes it
 * with maker_remove. */
static inline void maker_temp(char *out, size_t len) {
    const char *tmp = getenv("TMPDIR");
    const char *other = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(out, len, "%s/lamina-test-XXXXXX", tmp != NULL ? tmp : other);
    if (mkdtemp(out) == NULL) {
        abort();
    }
}

static inline void maker_remove(const char *dir) {
    char command[1300];
    if (strstr(dir, "lamina-test-") != NULL) {
        (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        if (system(command) != 0) {
            abort();
        }
    }
}

#endif
