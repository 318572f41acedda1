/* SPDX-License-Identifier: Apache-2.0
 *
 * Which row of the table a config.json belongs to: by architecture, then by the keys that tell rows of one architecture
 * apart. A refusal names the architecture, the nearest row and the missing feature.
 */
#include <stdio.h>
#include <string.h>

#include "model/config_priv.h"

unsigned family_name_distance(const char *a, const char *b) {
    enum { MOST = 63 };
    unsigned row[MOST + 1];
    size_t n = strnlen(b, MOST);
    for (size_t j = 0; j <= n; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 0; a[i] != 0 && i < MOST; i++) {
        unsigned corner = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < n; j++) {
            unsigned change = corner + (a[i] != b[j]);
            unsigned gap = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            corner = row[j + 1];
            row[j + 1] = change < gap ? change : gap;
        }
    }
    return row[n];
}

static const char *nearest_architecture(const char *name) {
    const char *best = "none";
    unsigned best_distance = UINT32_MAX;
    const struct model_family *f = NULL;
    for (unsigned i = 0; (f = model_family_at(i)) != NULL; i++) {
        for (unsigned a = 0; a < ARRAY_LEN(f->architectures) && f->architectures[a] != NULL; a++) {
            unsigned d = family_name_distance(name, f->architectures[a]);
            if (d < best_distance) {
                best_distance = d;
                best = f->architectures[a];
            }
        }
    }
    return best;
}

static bool text_in(const char *text, const char *const *list, size_t count) {
    for (size_t i = 0; i < count && list[i] != NULL; i++) {
        if (strcmp(text, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* NULL where the row fits; else the key by which it does not, with *needed: whether the row wants it. */
static const char *unfit_key(const struct config_values *v, const struct model_family *f, struct span json, bool *needed) {
    *needed = true;
    if (f->framework != NULL && strncmp(v->framework.value, f->framework, strlen(f->framework)) != 0) {
        return "transformers_version";
    }
    for (size_t i = 0; i < ARRAY_LEN(f->needs) && f->needs[i] != NULL; i++) {
        if (!config_has(json, f->needs[i])) {
            return f->needs[i];
        }
    }
    *needed = false;
    for (size_t i = 0; i < ARRAY_LEN(f->lacks) && f->lacks[i] != NULL; i++) {
        if (config_has(json, f->lacks[i])) {
            return f->lacks[i];
        }
    }
    return NULL;
}

static bool is_wrapped(const struct config_values *v) {
    return v->architecture.given && text_in(v->architecture.value, model_wrappers, SIZE_MAX);
}

/* Of the model whose row is looked for. */
static const struct config_text *architecture_of(const struct config_values *v) {
    return is_wrapped(v) ? &v->inner_architecture : &v->architecture;
}

static bool is_named(const struct config_values *v, const struct model_family *f) {
    const struct config_text *name = architecture_of(v);
    return name->given ? text_in(name->value, f->architectures, ARRAY_LEN(f->architectures))
                       : text_in(v->model_type.value, f->model_types, ARRAY_LEN(f->model_types));
}

static const struct model_family *find(const struct config_values *v, struct span json) {
    const struct model_family *f = NULL;
    bool needed = false;
    for (unsigned i = 0; (f = model_family_at(i)) != NULL; i++) {
        if (is_named(v, f) && unfit_key(v, f, json, &needed) == NULL) {
            return f;
        }
    }
    return NULL;
}

/* The first of the features in words, with the key that asks for it; false when there is none. */
static bool describe(const struct config_values *v, uint32_t features, char *out, size_t len) {
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        if (features >> i & 1) {
            (void)snprintf(out, len, "%s (%s)", model_feature_words(UINT32_C(1) << i), v->asked_by[i]);
            return true;
        }
    }
    return false;
}

/* The rows of this architecture, and why each is another kind of it. */
static lamina_status refuse_kind(const struct config_values *v, struct span json, const char *name, struct lamina_error *err) {
    const struct model_family *f = NULL;
    char rows[256] = "";
    size_t used = 0;
    for (unsigned i = 0; (f = model_family_at(i)) != NULL && used < sizeof(rows); i++) {
        bool needed = false;
        const char *key = is_named(v, f) ? unfit_key(v, f, json, &needed) : NULL;
        if (key != NULL) {
            used += (size_t)snprintf(rows + used, sizeof(rows) - used, "%s%s %s \"%s\"", used != 0 ? ", " : "", f->name,
                                     needed ? "needs" : "has no", key);
        }
    }
    if (used == 0) {
        return LAMINA_OK;
    }
    return base_fail(err, LAMINA_UNSUPPORTED, "%s: this kind of it is not supported; by its config.json: %s", name, rows);
}

static lamina_status refuse(const struct config_values *v, struct span json, struct lamina_error *err) {
    const struct config_text *architecture = architecture_of(v);
    const char *name = architecture->given ? architecture->value : v->model_type.value;
    const bool wrapped = is_wrapped(v);
    if (name[0] == 0) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "config.json names no architecture (keys \"architectures\" and \"model_type\" are missing)");
    }
    LAMINA_TRY(refuse_kind(v, json, name, err));
    char missing[128] = "a row for it in the family table";
    (void)describe(v, v->asked & ~(uint32_t)FEATURE_WINDOW, missing, sizeof(missing));
    return base_fail(err, LAMINA_UNSUPPORTED, "architecture %s%s%s is not supported; the nearest supported one is %s; missing: %s",
                     name, wrapped ? " inside " : "", wrapped ? v->architecture.value : "", nearest_architecture(name), missing);
}

lamina_status family_detect(const struct config_values *v, struct span json, const struct model_family **family,
                            struct lamina_error *err) {
    char missing[128];
    const struct model_family *f = find(v, json);
    if (f == NULL) {
        return refuse(v, json, err);
    }
    if (describe(v, v->asked & ~f->features, missing, sizeof(missing))) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: this checkpoint needs %s, which is not supported yet",
                         v->architecture.given ? v->architecture.value : f->architectures[0], missing);
    }
    if (v->refused[0] != 0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: this checkpoint needs %s, which is not supported yet",
                         v->architecture.given ? v->architecture.value : f->architectures[0], v->refused);
    }
    *family = f;
    return LAMINA_OK;
}
