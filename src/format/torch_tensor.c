/* SPDX-License-Identifier: Apache-2.0
 * From the values of a pickle to a list of tensors: the walk through nested dictionaries that names them, and the
 * arithmetic that proves each view to lie inside its storage (the metadata of storages is where readers of such files
 * were broken before: CVE-2026-24747).
 *
 * Invariant: every container is entered at most once, so neither cycles nor a dictionary that is used a thousand times
 * cost more than its bytes; every element of a listed tensor lies inside the file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/str.h"
#include "format/torch_priv.h"

enum { DEPTH_MAX = 64, NAME_MAX_BYTES = 512 };
#define NUMBER_LIMIT (UINT64_C(1) << 53)

struct found {
    const char *name;
    torch_ref tensor;
};

struct walk {
    struct torch_machine *m;
    const struct torch_space *space;
    struct arena *arena;
    struct str path;
    uint32_t unnameable; /* keys on the path that no name can be made of */
    struct found *list;
    uint32_t count, room;
    uint64_t skipped;
};

/* ---- one tensor ---- */

static bool refuse_tensor(struct torch_machine *m, const char *name, lamina_status code, const char *why) {
    return torch_refuse(m, code, "tensor \"%s\": %s", name, why);
}

static bool read_numbers(struct torch_machine *m, torch_ref ref, const char *name, uint64_t *out, uint32_t *count) {
    const torch_ref *items = NULL;
    uint32_t n = 0;
    if (!torch_tuple_of(m, ref, &items, &n)) {
        return refuse_tensor(m, name, LAMINA_DAMAGED, "its shape or strides are not a tuple");
    }
    if (n > TORCH_MAX_RANK) {
        return refuse_tensor(m, name, LAMINA_UNSUPPORTED, "it has more than 8 dimensions");
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!torch_count_of(m, items[i], &out[i]) || out[i] >= NUMBER_LIMIT) {
            return refuse_tensor(m, name, LAMINA_DAMAGED, "a dimension or stride is negative, too large or no number");
        }
    }
    *count = n;
    return true;
}

/* A flag that the values are to be negated or conjugated on reading would change every weight. */
static bool no_metadata(struct torch_machine *m, torch_ref ref, const char *name) {
    struct torch_value v = torch_value_of(m, ref);
    return ref == TORCH_NONE || (v.kind == KIND_DICT && v.a == 0) ||
           refuse_tensor(m, name, LAMINA_UNSUPPORTED, "it has flags that change its values (negated or conjugated)");
}

/* The arguments of the rebuild function, as far as their number and kinds go. *type: row of torch_types. */
static bool read_arguments(struct torch_machine *m, struct torch_value v, const char *name, const torch_ref **args,
                           uint32_t *type) {
    uint32_t count = 0;
    uint32_t least = v.what == GLOBAL_REBUILD ? 4 : v.what == GLOBAL_REBUILD_V2 ? 6 : 7;
    uint32_t most = v.what == GLOBAL_REBUILD ? 4 : least + 1;
    if (!torch_tuple_of(m, v.a, args, &count) || count < least || count > most ||
        !torch_is(m, (*args)[0], KIND_STORAGE)) {
        return refuse_tensor(m, name, LAMINA_DAMAGED, "it is not made of (storage, offset, shape, strides, ...)");
    }
    if (most > least && count == most && !no_metadata(m, (*args)[least], name)) {
        return false;
    }
    if (v.what != GLOBAL_REBUILD_V3) {
        struct torch_storage s;
        *type = torch_storage_of(m, (*args)[0], &s) ? s.type : 0;
        return m->failed == LAMINA_OK;
    }
    struct torch_value dtype = torch_value_of(m, (*args)[6]);
    *type = dtype.a;
    return (dtype.kind == KIND_GLOBAL && dtype.what == GLOBAL_DTYPE) ||
           refuse_tensor(m, name, LAMINA_DAMAGED, "it has no data type");
}

static bool count_elements(struct torch_machine *m, struct torch_tensor *t) {
    uint64_t bytes = 0;
    t->elements = 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        if (checked_mul(t->elements, t->shape[i], &t->elements)) {
            return refuse_tensor(m, t->name, LAMINA_DAMAGED, "its dimensions multiply beyond 64 bits");
        }
    }
    if (checked_mul(t->elements, t->item_bytes, &bytes) || bytes >= NUMBER_LIMIT) {
        return refuse_tensor(m, t->name, LAMINA_DAMAGED, "it is larger than 2^53 bytes");
    }
    t->bytes = bytes;
    return true;
}

/* One past the last element that the view touches, counted from the storage's beginning. True: overflow. */
static bool extent(const struct torch_tensor *t, uint64_t first, uint64_t *end) {
    bool over = checked_add(first, t->elements == 0 ? 0 : 1, end);
    for (uint32_t i = 0; i < t->rank && t->elements != 0; i++) {
        uint64_t step = 0;
        over = over || checked_mul(t->shape[i] - 1, t->strides[i], &step) || checked_add(*end, step, end);
    }
    return over;
}

static bool is_contiguous(const struct torch_tensor *t) {
    uint64_t expected = 1;
    for (uint32_t i = t->rank; i-- > 0 && t->elements != 0;) {
        if (t->shape[i] != 1 && t->strides[i] != expected) {
            return false;
        }
        expected *= t->shape[i];
    }
    return true;
}

/* Where the tensor's first element lies, and that all others do. */
static bool place(const struct walk *w, torch_ref storage, uint64_t first, struct torch_tensor *t) {
    struct torch_storage s;
    uint64_t begin = 0;
    uint64_t view_begin = 0;
    uint64_t view_bytes = 0;
    uint64_t end = 0;
    if (!torch_storage_of(w->m, storage, &s) || !w->space->find(w->space, w->m, &s, &begin)) {
        return false;
    }
    /* The storage's own size is proved by find(), so what lies inside it cannot overflow. */
    view_begin = begin + s.view_first * torch_types[s.type].bytes;
    view_bytes = s.view_elements * torch_types[s.type].bytes;
    if (extent(t, first, &end) || checked_mul(end, t->item_bytes, &end) || end > view_bytes) {
        char shown[TORCH_SHOWN_MAX];
        return torch_refuse(w->m, LAMINA_DAMAGED,
                            "tensor \"%s\" reaches beyond its storage \"%s\", which has %" PRIu64 " bytes", t->name,
                            torch_shown(s.key, shown), view_bytes);
    }
    t->offset = view_begin + first * t->item_bytes;
    return true;
}

static bool read_tensor(const struct walk *w, const struct found *f, struct torch_tensor *t) {
    struct torch_machine *m = w->m;
    const torch_ref *args = NULL;
    uint32_t type = 0;
    uint32_t strides = 0;
    uint64_t first = 0;
    t->name = f->name;
    if (!read_arguments(m, torch_value_of(m, f->tensor), f->name, &args, &type) ||
        !read_numbers(m, args[2], f->name, t->shape, &t->rank) ||
        !read_numbers(m, args[3], f->name, t->strides, &strides)) {
        return false;
    }
    if (strides != t->rank || !torch_count_of(m, args[1], &first)) {
        return refuse_tensor(m, f->name, LAMINA_DAMAGED, "its offset is no number, or it has not one stride a dimension");
    }
    (void)snprintf(t->dtype, sizeof(t->dtype), "%s", torch_types[type].dtype);
    t->item_bytes = torch_types[type].bytes;
    if (!count_elements(m, t) || !place(w, args[0], first, t)) {
        return false;
    }
    t->contiguous = is_contiguous(t);
    return true;
}

/* ---- names ---- */

static bool add_found(struct walk *w, torch_ref tensor) {
    struct torch_machine *m = w->m;
    struct span name = str_span(&w->path);
    bool control = false;
    for (size_t i = 0; i < name.len; i++) {
        control = control || name.ptr[i] < 0x20 || name.ptr[i] == 0x7f;
    }
    if (w->unnameable > 0 || control || name.len > NAME_MAX_BYTES || !utf8_valid(name)) {
        return torch_refuse(m, LAMINA_UNSUPPORTED,
                            "a tensor is filed under a key that is no name (text of at most %d bytes expected)",
                            (int)NAME_MAX_BYTES);
    }
    if (w->count == w->room) {
        uint32_t wider = w->room * 2 + 32;
        struct found *moved = realloc(w->list, wider * sizeof(*moved));
        if (moved == NULL) {
            return torch_refuse(m, LAMINA_NO_FIT, "out of memory");
        }
        w->list = moved;
        w->room = wider;
    }
    const char *copy = arena_copy_text(w->arena, name);
    if (copy == NULL) {
        return torch_refuse(m, LAMINA_NO_FIT, "the tensors need more memory than is allowed for them");
    }
    w->list[w->count++] = (struct found){.name = copy, .tensor = tensor};
    return true;
}

/* The key behind the path; false when no name can be made of it (then the path stays as it is). */
static bool extend(struct walk *w, torch_ref key) {
    struct span text;
    uint64_t number = 0;
    bool is_text = torch_text_of(w->m, key, &text);
    if (!is_text && !torch_count_of(w->m, key, &number)) {
        return false;
    }
    if (is_text && text.len > NAME_MAX_BYTES) {
        return false; /* and a long key that is used often costs nothing */
    }
    if (w->path.len > 0) {
        str_add_byte(&w->path, '.');
    }
    if (is_text) {
        str_add_span(&w->path, text);
    } else {
        str_printf(&w->path, "%" PRIu64, number);
    }
    return true;
}

static bool visit(struct walk *w, torch_ref ref, unsigned depth);

static bool visit_member(struct walk *w, torch_ref key, torch_ref value, unsigned depth) {
    size_t before = w->path.len;
    bool named = extend(w, key);
    w->unnameable += !named;
    bool ok = visit(w, value, depth);
    w->unnameable -= !named;
    w->path.len = before;
    return ok && !w->path.failed;
}

static bool visit_members(struct walk *w, struct torch_value v, unsigned depth) {
    uint32_t link = (uint32_t)v.b;
    for (uint32_t i = 0; i < v.a; i++) {
        torch_ref key = TORCH_SMALL | i;
        torch_ref value = TORCH_NONE;
        if (v.kind == KIND_TUPLE) {
            value = w->m->items[v.b + i];
        } else {
            key = v.kind == KIND_DICT ? w->m->links[link].key : key;
            value = w->m->links[link].value;
            link = w->m->links[link].next;
        }
        if (!visit_member(w, key, value, depth)) {
            return false;
        }
    }
    return true;
}

static bool visit_container(struct walk *w, torch_ref ref, unsigned depth) {
    struct torch_machine *m = w->m;
    struct torch_value v = torch_value_of(m, ref);
    if (v.what == VISIT_EMPTY) {
        return true;
    }
    if (v.what != VISIT_FRESH) {
        return torch_refuse(m, v.what == VISIT_OPEN ? LAMINA_DAMAGED : LAMINA_UNSUPPORTED, "a dictionary %s",
                            v.what == VISIT_OPEN ? "contains itself" : "with tensors is filed under two names");
    }
    if (depth == DEPTH_MAX) {
        return torch_refuse(m, LAMINA_UNSUPPORTED, "dictionaries nested more than %d deep", (int)DEPTH_MAX);
    }
    uint32_t before = w->count;
    m->values[ref].what = VISIT_OPEN;
    if (!visit_members(w, v, depth + 1)) {
        return false;
    }
    m->values[ref].what = w->count > before ? VISIT_TENSORS : VISIT_EMPTY;
    return true;
}

static bool visit(struct walk *w, torch_ref ref, unsigned depth) {
    switch (torch_value_of(w->m, ref).kind) {
    case KIND_TENSOR:
        return add_found(w, ref);
    case KIND_DICT:
    case KIND_LIST:
    case KIND_TUPLE:
        return visit_container(w, ref, depth);
    default:
        w->skipped++;
        return true;
    }
}

/* ---- the dictionary that holds the model ---- */

static bool holds_tensors(struct torch_machine *m, torch_ref dict) {
    struct torch_value v = torch_value_of(m, dict);
    uint32_t link = (uint32_t)v.b;
    for (uint32_t i = 0; v.kind == KIND_DICT && i < v.a && torch_spend(m, 1); i++) {
        if (torch_is(m, m->links[link].value, KIND_TENSOR)) {
            return true;
        }
        link = m->links[link].next;
    }
    return false;
}

/* Training programs file the model beside an optimiser and counters. What stands beside it is not the model; the key
 * itself is no part of the names. */
static torch_ref model_of(struct walk *w, torch_ref root) {
    static const char *const wrappers[] = {"state_dict", "model_state_dict", "model", "module"};
    struct torch_value v = torch_value_of(w->m, root);
    if (v.kind != KIND_DICT || holds_tensors(w->m, root)) {
        return root;
    }
    for (size_t k = 0; k < ARRAY_LEN(wrappers); k++) {
        uint32_t link = (uint32_t)v.b;
        for (uint32_t i = 0; i < v.a && torch_spend(w->m, 1); i++) {
            struct span key;
            const struct torch_link *l = &w->m->links[link];
            if (torch_text_of(w->m, l->key, &key) && span_is(key, wrappers[k]) && holds_tensors(w->m, l->value)) {
                w->skipped += v.a - 1;
                return l->value;
            }
            link = l->next;
        }
    }
    return root;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct found *)a)->name, ((const struct found *)b)->name);
}

static bool list_tensors(struct walk *w, struct torch_tensors *out) {
    struct torch_machine *m = w->m;
    struct torch_tensor *list = arena_take_array(w->arena, w->count, sizeof(*list));
    if (list == NULL) {
        return torch_refuse(m, LAMINA_NO_FIT, "the tensors need more memory than is allowed for them");
    }
    if (w->count > 0) {
        qsort(w->list, w->count, sizeof(*w->list), by_name);
    }
    for (uint32_t i = 0; i < w->count; i++) {
        if (i > 0 && strcmp(w->list[i - 1].name, w->list[i].name) == 0) {
            return refuse_tensor(m, w->list[i].name, LAMINA_DAMAGED, "the name appears twice");
        }
        if (!read_tensor(w, &w->list[i], &list[i])) {
            return false;
        }
    }
    *out = (struct torch_tensors){.count = w->count, .list = list, .skipped = w->skipped};
    return true;
}

bool torch_collect(struct torch_machine *m, torch_ref root, const struct torch_space *space, struct arena *arena,
                   struct torch_tensors *out) {
    struct walk w = {.m = m, .space = space, .arena = arena};
    torch_ref model = model_of(&w, root);
    bool ok = m->failed == LAMINA_OK && visit(&w, model, 0);
    if (!ok) {
        (void)torch_refuse(m, LAMINA_NO_FIT, "out of memory");
    }
    ok = ok && list_tensors(&w, out);
    str_drop(&w.path);
    free(w.list);
    return ok;
}
