/* SPDX-License-Identifier: Apache-2.0
 * Metadata of a GGUF checkpoint, taken with care, and members of the config.json that is written from it. Knows no key. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/json.h"
#include "model/gguf_model_priv.h"

void gguf_fail(struct gguf_writer *w, lamina_status code, const char *fmt, ...) {
    char words[400];
    va_list args;
    if (w->failed != LAMINA_OK) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(words, sizeof(words), fmt, args);
    va_end(args);
    w->failed = base_fail(w->err, code, "%s", words);
}

/* The whole key; those of the tokenizer have no architecture before them. */
static void whole_key(const struct gguf_writer *w, const char *key, char *out, size_t len) {
    bool general = span_starts_with(span_of_text(key), "tokenizer.");
    (void)snprintf(out, len, "%s%s%s", general ? "" : w->prefix, general ? "" : ".", key);
}

static bool finite_number(struct gguf_writer *w, const char *key, double value) {
    if (!isfinite(value)) {
        gguf_fail(w, LAMINA_DAMAGED, "GGUF metadata: \"%s\" is not a finite number", key);
    }
    return isfinite(value);
}

bool gguf_number(struct gguf_writer *w, const char *key, double *out) {
    char name[160];
    double value = 0;
    whole_key(w, key, name, sizeof(name));
    if (!w->g->number(w->g->user, name, &value) || !finite_number(w, name, value)) {
        return false;
    }
    *out = value;
    return true;
}

double gguf_number_or(struct gguf_writer *w, const char *key, double otherwise) {
    (void)gguf_number(w, key, &otherwise);
    return otherwise;
}

double gguf_number_needed(struct gguf_writer *w, const char *key) {
    double value = 0;
    if (!gguf_number(w, key, &value)) {
        gguf_fail(w, LAMINA_DAMAGED, "GGUF metadata: \"%s.%s\" is missing", w->prefix, key);
    }
    return value;
}

bool gguf_number_of_layer(struct gguf_writer *w, const char *key, uint32_t layer, double *out) {
    char name[160];
    double value = 0;
    if (gguf_number(w, key, out)) {
        return true;
    }
    whole_key(w, key, name, sizeof(name));
    if (!w->g->number_at(w->g->user, name, layer, &value) || !finite_number(w, name, value)) {
        return false;
    }
    *out = value;
    return true;
}

bool gguf_number_of_all(struct gguf_writer *w, const char *key, double *out) {
    bool found = false;
    for (uint32_t i = 0; i < w->layers; i++) {
        double value = 0;
        if (!gguf_number_of_layer(w, key, i, &value)) {
            return false;
        }
        if (found && value != 0.0 && value != *out) {
            gguf_fail(w, LAMINA_UNSUPPORTED, "GGUF architecture %s: layers that differ in \"%s.%s\" are not supported",
                      w->prefix, w->prefix, key);
        }
        if (value != 0.0 || !found) {
            *out = value;
        }
        found = found || value != 0.0;
    }
    return w->layers > 0;
}

bool gguf_text_is(struct gguf_writer *w, const char *key, const char *value) {
    char name[160];
    struct span text = {0};
    whole_key(w, key, name, sizeof(name));
    return w->g->text(w->g->user, name, &text) && span_is(text, value);
}

bool gguf_has(struct gguf_writer *w, const char *tensor) {
    uint64_t shape[4];
    uint32_t rank = 0;
    return w->g->shape(w->g->user, tensor, &rank, shape);
}

bool gguf_layer_has(struct gguf_writer *w, uint32_t layer, const char *name) {
    char tensor[96];
    (void)snprintf(tensor, sizeof(tensor), "blk.%u.%s", layer, name);
    return gguf_has(w, tensor);
}

int32_t gguf_layer_with(struct gguf_writer *w, const char *name, uint64_t shape[4]) {
    char tensor[96];
    uint32_t rank = 0;
    for (uint32_t i = 0; i < w->layers; i++) {
        (void)snprintf(tensor, sizeof(tensor), "blk.%u.%s", i, name);
        if (w->g->shape(w->g->user, tensor, &rank, shape)) {
            return (int32_t)i;
        }
    }
    return -1;
}

void gguf_put_number(struct gguf_writer *w, const char *key, double value) {
    str_printf(w->out, ", \"%s\": ", key);
    json_write_double(w->out, value);
}

void gguf_put_flag(struct gguf_writer *w, const char *key, bool value) {
    str_printf(w->out, ", \"%s\": %s", key, value ? "true" : "false");
}

void gguf_put_text(struct gguf_writer *w, const char *key, const char *value) {
    str_printf(w->out, ", \"%s\": ", key);
    json_write_string(w->out, span_of_text(value));
}
