/* SPDX-License-Identifier: Apache-2.0
 * model.safetensors.index.json and pytorch_model.bin.index.json: tensor name -> file name. The names come from strangers
 * and become paths, so only a single plain component is let through, and only with the ending that belongs to the index;
 * whether the files hold what is promised is the opener's check.
 *
 * Invariant: every tensor appears once, every file name is [A-Za-z0-9][A-Za-z0-9._-]{0,254} with that ending.
 * Sorting instead of hashing keeps hostile names from costing more than n log n. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "format/safetensors.h"

enum { FILE_NAME_MAX = 255, TENSOR_NAME_MAX = 512 };

struct walk {
    struct json_reader r;
    struct arena *arena;
    const char *ending; /* of file names */
    struct str text;
    const char **file_of; /* per entry, before files are numbered */
};

static bool plain_byte(uint8_t c, bool first) {
    bool alnum = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    return alnum || (!first && (c == '.' || c == '_' || c == '-'));
}

static bool plain_file_name(struct span name, const char *ending) {
    if (name.len == 0 || name.len > FILE_NAME_MAX || !span_ends_with(name, ending)) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (!plain_byte(name.ptr[i], i == 0)) {
            return false;
        }
    }
    return true;
}

static bool tensor_name_ok(struct span name) {
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < 0x20 || name.ptr[i] == 0x7f) {
            return false;
        }
    }
    return name.len <= TENSOR_NAME_MAX;
}

static bool count_members(struct walk *w, uint32_t *count) {
    struct json_reader r = w->r;
    struct span key;
    *count = 0;
    if (json_enter_object(&r)) {
        while (json_next_key(&r, &key)) {
            if ((*count)++ == SAFETENSORS_MAX_TENSORS) {
                (void)json_refuse(&r, LAMINA_DAMAGED, "more than %d tensors", (int)SAFETENSORS_MAX_TENSORS);
            }
            (void)json_skip(&r);
        }
    }
    w->r.failed = r.failed;
    return r.failed == LAMINA_OK;
}

/* The text of a file name; the arena's copy of the previous entry's name is shared when it is the same. */
static const char *read_file_name(struct walk *w, const char *previous) {
    str_clear(&w->text);
    if (!json_string(&w->r, &w->text)) {
        return NULL;
    }
    struct span name = str_span(&w->text);
    if (!plain_file_name(name, w->ending)) {
        (void)json_refuse(&w->r, LAMINA_DAMAGED,
                          "\"%.80s\" is not an acceptable file name (one plain name ending in %s expected)",
                          utf8_valid(name) ? str_text(&w->text) : "?", w->ending);
        return NULL;
    }
    if (previous != NULL && span_is(name, previous)) {
        return previous;
    }
    const char *copy = arena_copy_text(w->arena, name);
    if (copy == NULL) {
        (void)json_refuse(&w->r, LAMINA_NO_FIT, "the index needs more memory than is allowed for it");
    }
    return copy;
}

static bool read_map(struct walk *w, struct safetensors_index *out) {
    uint32_t capacity = 0;
    if (!count_members(w, &capacity)) {
        return false;
    }
    out->entries = arena_take_array(w->arena, capacity, sizeof(*out->entries));
    w->file_of = arena_take_array(w->arena, capacity, sizeof(*w->file_of));
    if (out->entries == NULL || w->file_of == NULL) {
        return json_refuse(&w->r, LAMINA_NO_FIT, "the index needs more memory than is allowed for it");
    }
    struct span key;
    if (!json_enter_object(&w->r)) {
        return false;
    }
    while (json_next_key(&w->r, &key)) {
        uint32_t i = out->tensor_count;
        if (!tensor_name_ok(key)) {
            return json_refuse(&w->r, LAMINA_DAMAGED, "a tensor name is too long or holds control characters");
        }
        out->entries[i].tensor = arena_copy_text(w->arena, key);
        if (out->entries[i].tensor == NULL) {
            return json_refuse(&w->r, LAMINA_NO_FIT, "the index needs more memory than is allowed for it");
        }
        w->file_of[i] = read_file_name(w, i == 0 ? NULL : w->file_of[i - 1]);
        if (w->file_of[i] == NULL) {
            return false;
        }
        out->tensor_count = i + 1;
    }
    return w->r.failed == LAMINA_OK;
}

struct named {
    const char *name;
    uint32_t entry;
};

static int by_name(const void *a, const void *b) {
    const struct named *x = (const struct named *)a;
    const struct named *y = (const struct named *)b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : x->entry < y->entry ? -1 : x->entry > y->entry;
}

/* Sorted by name, then entry; NULL when out of memory. */
static struct named *sorted(const struct safetensors_index *x, const char *const *file_of) {
    struct named *list = malloc((x->tensor_count + 1u) * sizeof(*list));
    if (list != NULL) {
        for (uint32_t i = 0; i < x->tensor_count; i++) {
            list[i] = (struct named){.name = file_of != NULL ? file_of[i] : x->entries[i].tensor, .entry = i};
        }
        qsort(list, x->tensor_count, sizeof(*list), by_name);
    }
    return list;
}

static lamina_status refuse_duplicates(const struct safetensors_index *x, const char *name, struct lamina_error *err) {
    struct named *list = sorted(x, NULL);
    lamina_status status = list == NULL ? base_fail(err, LAMINA_NO_FIT, "%s: out of memory", name) : LAMINA_OK;
    for (uint32_t i = 1; list != NULL && i < x->tensor_count && status == LAMINA_OK; i++) {
        if (strcmp(list[i - 1].name, list[i].name) == 0) {
            status =
                base_fail(err, LAMINA_DAMAGED, "%s: tensor \"%s\" appears twice in weight_map", name, list[i].name);
        }
    }
    free(list);
    return status;
}

/* Numbers the files by first appearance: equal names stand together in sorted order, lowest entry first. */
static lamina_status number_files(struct safetensors_index *x, const char *const *file_of, struct arena *arena,
                                  const char *name, struct lamina_error *err) {
    struct named *list = sorted(x, file_of);
    uint32_t distinct = 0;
    lamina_status status = LAMINA_OK;
    if (list == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "%s: out of memory", name);
    }
    for (uint32_t i = 0; i < x->tensor_count; i++) {
        bool again = i != 0 && strcmp(list[i - 1].name, list[i].name) == 0;
        distinct += !again;
        /* For now: the entry where this file's name appeared first. */
        x->entries[list[i].entry].file = again ? x->entries[list[i - 1].entry].file : list[i].entry;
    }
    free(list);
    x->files = arena_take_array(arena, distinct, sizeof(*x->files));
    if (x->files == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "%s: out of memory", name);
    }
    for (uint32_t i = 0; i < x->tensor_count; i++) {
        uint32_t first = x->entries[i].file;
        if (first == i) {
            x->files[x->file_count] = file_of[i];
            x->entries[i].file = x->file_count++;
        } else {
            x->entries[i].file = x->entries[first].file; /* earlier, so already numbered */
        }
    }
    return status;
}

static lamina_status index_parse(struct span json, const char *name, const char *ending, struct arena *arena,
                                 struct safetensors_index *out, struct lamina_error *err) {
    struct str key = {0};
    struct safetensors_index x = {0};
    struct walk w = {.arena = arena, .ending = ending};
    struct span member;
    bool found = false;
    json_init(&w.r, json, name, &key, err);
    if (json_enter_object(&w.r)) {
        while (json_next_key(&w.r, &member)) {
            if (!span_is(member, "weight_map")) {
                (void)json_skip(&w.r); /* metadata.total_size is no more than a hint and some writers get it wrong */
            } else if (found) {
                (void)json_refuse(&w.r, LAMINA_DAMAGED, "weight_map appears twice");
            } else {
                found = true;
                (void)read_map(&w, &x);
            }
        }
    }
    lamina_status status = json_finish(&w.r);
    if (status == LAMINA_OK && !found) {
        status = base_fail(err, LAMINA_DAMAGED, "%s: there is no weight_map in it", name);
    }
    if (status == LAMINA_OK) {
        status = refuse_duplicates(&x, name, err);
    }
    if (status == LAMINA_OK) {
        status = number_files(&x, w.file_of, arena, name, err);
    }
    if (status == LAMINA_OK) {
        *out = x;
    }
    str_drop(&key);
    str_drop(&w.text);
    return status;
}

lamina_status safetensors_index_parse(struct span json, const char *name, struct arena *arena,
                                      struct safetensors_index *out, struct lamina_error *err) {
    return index_parse(json, name, ".safetensors", arena, out, err);
}

lamina_status torch_index_parse(struct span json, const char *name, struct arena *arena, struct safetensors_index *out,
                                struct lamina_error *err) {
    return index_parse(json, name, ".bin", arena, out, err);
}
