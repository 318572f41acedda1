/* SPDX-License-Identifier: Apache-2.0
 *
 * What config.json says about quantised weights: who made them and in which variant. Most of what a reader needs follows from the
 * tensors; this is the rest. Keys: reference/codec-and-kernels.md 3.1. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/span.h"
#include "model/config_priv.h"

static void read_word(struct json_reader *r, char *out, size_t len) {
    struct str text = {0};
    if (json_peek(r) != JSON_STRING) {
        (void)json_skip(r);
        return;
    }
    (void)json_string(r, &text);
    (void)snprintf(out, len, "%s", str_text(&text));
    str_drop(&text);
}

/* Numbers below 2^31; anything else (null, -1 for "all columns") leaves 0. */
static void read_count(struct json_reader *r, uint32_t *out) {
    double v = 0;
    if (json_peek(r) != JSON_NUMBER) {
        (void)json_skip(r);
    } else if (json_double(r, &v) && v >= 1 && v < 0x1p31) {
        *out = (uint32_t)v;
    }
}

static void read_block(struct json_reader *r, struct model_quant *q) {
    uint32_t n = 0;
    if (json_peek(r) != JSON_ARRAY) {
        (void)json_skip(r);
        return;
    }
    (void)json_enter_array(r);
    for (; json_next_item(r); n++) {
        uint32_t *to = n == 0 ? &q->block_rows : &q->block_cols;
        if (n < 2) {
            read_count(r, to);
        } else {
            (void)json_skip(r);
        }
    }
}

/* compressed-tensors: config_groups.NAME.weights.group_size; the first that says so. */
static void read_weights(struct json_reader *r, struct model_quant *q, unsigned depth) {
    struct span key;
    if (json_peek(r) != JSON_OBJECT) {
        (void)json_skip(r);
        return;
    }
    (void)json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (depth < 2 && (depth == 0 || span_is(key, "weights"))) {
            read_weights(r, q, depth + 1);
        } else if (depth == 2 && span_is(key, "group_size") && q->group == 0) {
            read_count(r, &q->group);
        } else if (depth == 2 && span_is(key, "block_structure") && q->block_rows == 0) {
            read_block(r, q);
        } else {
            (void)json_skip(r);
        }
    }
}

static void read_section(struct json_reader *r, struct model_quant *q) {
    struct span key;
    char word[40] = "";
    if (json_peek(r) != JSON_OBJECT) {
        (void)json_skip(r);
        return;
    }
    *q = (struct model_quant){.given = true};
    (void)json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (span_is(key, "quant_method")) {
            read_word(r, q->method, sizeof(q->method));
        } else if (span_is(key, "format")) {
            read_word(r, q->format, sizeof(q->format));
        } else if (span_is(key, "version")) {
            read_word(r, q->version, sizeof(q->version));
        } else if (span_is(key, "checkpoint_format")) {
            read_word(r, word, sizeof(word));
            q->zeros_whole = strcmp(word, "gptq_v2") == 0;
        } else if (span_is(key, "bits") || span_is(key, "w_bit")) {
            read_count(r, &q->bits);
        } else if (span_is(key, "group_size") || span_is(key, "q_group_size")) {
            read_count(r, &q->group);
        } else if (span_is(key, "weight_block_size")) {
            read_block(r, q);
        } else if (span_is(key, "config_groups")) {
            read_weights(r, q, 0);
        } else {
            (void)json_skip(r);
        }
    }
}

/* The text model of a multimodal one may say it of itself. */
static void read_config(struct json_reader *r, struct model_quant *q, bool top) {
    struct span key;
    if (!top && json_peek(r) != JSON_OBJECT) {
        (void)json_skip(r);
        return;
    }
    (void)json_enter_object(r);
    while (json_next_key(r, &key)) {
        const bool compressed = span_is(key, "compression_config"); /* the key's bytes go with the next key */
        const bool older = compressed || span_is(key, "quantization");
        if (span_is(key, "quantization_config") || (older && !q->given)) {
            read_section(r, q);
            if (compressed && q->method[0] == 0) {
                (void)snprintf(q->method, sizeof(q->method), "compressed-tensors");
            }
        } else if (top && !q->given && config_is_tower(key)) {
            read_config(r, q, false);
        } else {
            (void)json_skip(r);
        }
    }
}

lamina_status model_quant_read(struct span config_json, struct model_quant *q, struct lamina_error *err) {
    struct json_reader r;
    struct str scratch = {0};
    *q = (struct model_quant){.given = false};
    json_init(&r, config_json, "config.json", &scratch, err);
    read_config(&r, q, true);
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    return status;
}
