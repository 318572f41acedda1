/* SPDX-License-Identifier: Apache-2.0
 *
 * Which files of a repository a model needs: configuration, tokenizer, templates, and its weights in one form only. Repositories
 * often hold the same weights three times (safetensors, pickles, other frameworks); the order here is the one in which checkpoints
 * are opened: safetensors in one file, in shards with an index, then torch's, then GGUF. Pure. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "hub/hub_priv.h"

/* `*` any characters, `?` one, [abc], [a-z], [!abc] as in shells; slashes are like other characters, as in Python's fnmatch. */
static const char *match_set(const char *p, char c, bool *matches) {
    bool negated = *p == '!';
    bool found = false;
    const char *q = p + negated;
    do {
        if (*q == 0) {
            return NULL; /* no set after all */
        }
        if (q[1] == '-' && q[2] != 0 && q[2] != ']') {
            found = found || (c >= q[0] && c <= q[2]);
            q += 3;
        } else {
            found = found || c == *q;
            q++;
        }
    } while (*q != ']');
    *matches = found != negated;
    return q + 1;
}

bool hub_pattern_matches(const char *pattern, const char *path) {
    const char *star = NULL;
    const char *resume = NULL;
    const char *p = pattern;
    const char *s = path;
    while (*s != 0) {
        bool in_set = false;
        const char *behind = *p == '[' ? match_set(p + 1, *s, &in_set) : NULL;
        if (*p == '*') {
            star = p++;
            resume = s;
        } else if (behind != NULL ? in_set : *p == '?' || (*p == *s && *p != 0)) {
            p = behind != NULL ? behind : p + 1;
            s++;
        } else if (star != NULL) {
            p = star + 1;
            s = ++resume;
        } else {
            return false;
        }
    }
    while (*p == '*') {
        p++;
    }
    return *p == 0;
}

static bool ends(const char *path, const char *ending) {
    return span_ends_with(span_of_text(path), ending);
}

bool hub_is_weights(const char *path) {
    static const char *const endings[] = {".safetensors", ".bin", ".gguf", ".pth", ".pt", ".h5", ".msgpack", ".onnx", ".ot"};
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        if (ends(path, endings[i])) {
            return true;
        }
    }
    return false;
}

/* Small files of any use to a model or to other programs that read it from the cache. */
static bool is_side_file(const char *path) {
    static const char *const endings[] = {".json", ".txt", ".model", ".tiktoken", ".jinja"};
    if (strncmp(path, "additional_chat_templates/", 26) == 0) {
        return ends(path, ".jinja");
    }
    if (strchr(path, '/') != NULL || ends(path, ".index.json")) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        if (ends(path, endings[i])) {
            return true;
        }
    }
    return false;
}

struct hub_file *hub_listing_find(const struct hub_listing *listing, const char *path) {
    for (uint32_t i = 0; i < listing->count; i++) {
        if (strcmp(listing->files[i].path, path) == 0) {
            return &listing->files[i];
        }
    }
    return NULL;
}

static bool any_ends(const struct hub_listing *listing, const char *ending) {
    for (uint32_t i = 0; i < listing->count; i++) {
        if (strchr(listing->files[i].path, '/') == NULL && ends(listing->files[i].path, ending)) {
            return true;
        }
    }
    return false;
}

static const struct {
    const char *whole, *index, *ending;
} forms[] = {
    {"model.safetensors", "model.safetensors.index.json", ".safetensors"},
    {"pytorch_model.bin", "pytorch_model.bin.index.json", ".bin"},
};

const char *hub_select_index(const struct hub_listing *listing) {
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (hub_listing_find(listing, forms[i].whole) != NULL) {
            return NULL;
        }
        if (hub_listing_find(listing, forms[i].index) != NULL && any_ends(listing, forms[i].ending)) {
            return forms[i].index;
        }
    }
    return NULL;
}

/* Marks the shards that weight_map names. */
static lamina_status choose_shards(struct hub_listing *listing, struct span index, const char *name, const char *id,
                                   struct lamina_error *err) {
    struct json_reader r;
    struct str scratch = {0};
    struct str file = {0};
    struct span key;
    const char *missing = NULL;
    json_init(&r, index, name, &scratch, err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (!span_is(key, "weight_map")) {
            (void)json_skip(&r);
            continue;
        }
        (void)json_enter_object(&r);
        while (json_next_key(&r, &key)) {
            str_clear(&file);
            struct hub_file *shard = json_string(&r, &file) ? hub_listing_find(listing, str_text(&file)) : NULL;
            if (shard != NULL) {
                shard->chosen = true;
            } else if (r.failed == 0 && missing == NULL) {
                missing = arena_copy_text(&listing->arena, str_span(&file));
            }
        }
    }
    lamina_status status = json_finish(&r);
    if (status == LAMINA_OK && missing != NULL) {
        status = base_fail(err, LAMINA_NOT_FOUND, "%s: %s names %.200s, which the repository does not hold", id, name, missing);
    }
    str_drop(&scratch);
    str_drop(&file);
    return status;
}

/* "model-00001-of-00003.gguf" and its companions are one model. The length of what they share. */
static size_t gguf_stem(const char *path) {
    size_t n = strlen(path) - 5;
    bool split = n > 15 && path[n - 15] == '-' && strncmp(path + n - 9, "-of-", 4) == 0 &&
                 strspn(path + n - 14, "0123456789") == 5 && strspn(path + n - 5, "0123456789") == 5;
    return split ? n - 15 : n;
}

/* Image encoders lie beside the models that they belong to. */
static bool is_gguf_model(const char *path) {
    const char *slash = strrchr(path, '/');
    return ends(path, ".gguf") && strstr(slash != NULL ? slash : path, "mmproj") == NULL;
}

static bool same_gguf(const char *a, const char *b) {
    return gguf_stem(a) == gguf_stem(b) && memcmp(a, b, gguf_stem(a)) == 0;
}

const char *hub_select_inner(const struct hub_listing *listing) {
    const char *first = NULL;
    for (uint32_t i = 0; i < listing->count; i++) {
        const char *path = listing->files[i].path;
        if (!listing->files[i].chosen || !hub_is_weights(path)) {
            continue;
        }
        if (strchr(path, '/') == NULL || (is_gguf_model(path) && first != NULL && !same_gguf(path, first))) {
            return NULL;
        }
        first = first == NULL && is_gguf_model(path) ? path : first;
    }
    return first;
}

/* What names all parts of a model: a pattern for --include. */
static const char *gguf_pattern(const char *path, char *out, size_t len) {
    const int stem = (int)gguf_stem(path);
    (void)snprintf(out, len, "%.*s%s", stem, path, path[stem] == '-' ? "-*.gguf" : ".gguf");
    return out;
}

static lamina_status choose_gguf(struct hub_listing *listing, const char *id, struct lamina_error *err) {
    const char *first = NULL;
    const char *other = NULL;
    for (uint32_t i = 0; i < listing->count; i++) {
        const char *path = listing->files[i].path;
        if (!is_gguf_model(path)) {
            continue;
        }
        first = first == NULL ? path : first;
        bool same = same_gguf(path, first);
        other = same || other != NULL ? other : path;
        listing->files[i].chosen = same;
    }
    if (first == NULL) {
        return base_fail(
            err, LAMINA_NOT_FOUND,
            "%s holds no weights that lamina reads (safetensors, pytorch_model.bin or GGUF); choose files with --include", id);
    }
    if (other == NULL) {
        return LAMINA_OK;
    }
    char a[300];
    char b[300];
    return base_fail(err, LAMINA_USAGE,
                     "%s holds several GGUF models (%.120s, %.120s, ...); choose one: lamina pull %s --include '%s'", id,
                     gguf_pattern(first, a, sizeof(a)), gguf_pattern(other, b, sizeof(b)), id, b);
}

static lamina_status choose_needed(struct hub_listing *listing, struct span index, const char *id, struct lamina_error *err) {
    for (uint32_t i = 0; i < listing->count; i++) {
        listing->files[i].chosen = is_side_file(listing->files[i].path);
    }
    const char *name = hub_select_index(listing);
    if (name != NULL) {
        hub_listing_find(listing, name)->chosen = true;
        return choose_shards(listing, index, name, id, err);
    }
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct hub_file *whole = hub_listing_find(listing, forms[i].whole);
        if (whole != NULL) {
            whole->chosen = true;
            return LAMINA_OK;
        }
    }
    return choose_gguf(listing, id, err);
}

static bool matches_any(const char *const *patterns, uint32_t count, const char *path) {
    for (uint32_t i = 0; i < count; i++) {
        if (hub_pattern_matches(patterns[i], path)) {
            return true;
        }
    }
    return false;
}

lamina_status hub_select(struct hub_listing *listing, const struct hub_patterns *patterns, struct span index, const char *id,
                         struct lamina_error *err) {
    uint32_t chosen = 0;
    if (patterns->include_count == 0) {
        LAMINA_TRY(choose_needed(listing, index, id, err));
    }
    for (uint32_t i = 0; i < listing->count; i++) {
        struct hub_file *f = &listing->files[i];
        if (patterns->include_count > 0) {
            f->chosen = matches_any(patterns->include, patterns->include_count, f->path);
        }
        f->chosen = f->chosen && !matches_any(patterns->exclude, patterns->exclude_count, f->path);
        chosen += f->chosen;
    }
    return chosen > 0 ? LAMINA_OK
                      : base_fail(err, LAMINA_NOT_FOUND, "%s: none of its %u files is chosen; see --include and --exclude", id,
                                  listing->count);
}
