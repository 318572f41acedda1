/* SPDX-License-Identifier: Apache-2.0
 * The names that a pickle of tensors may refer to, and what calling them means here. This list is the whole of what a
 * checkpoint can make this program do: nothing is looked up anywhere else, and a call only makes a value that remembers
 * its arguments. The names are those that torch.save writes (torch/_utils.py, _tensor.py, serialization.py). */
#include "base/compiler.h"
#include "format/torch_priv.h"

const struct torch_type torch_types[] = {
    [TORCH_TYPE_BYTES] = {"U8", 1, "UntypedStorage", {NULL, NULL}},
    {"F32", 4, "FloatStorage", {"float32", "float"}},
    {"F64", 8, "DoubleStorage", {"float64", "double"}},
    {"F16", 2, "HalfStorage", {"float16", "half"}},
    {"BF16", 2, "BFloat16Storage", {"bfloat16", NULL}},
    {"I64", 8, "LongStorage", {"int64", "long"}},
    {"I32", 4, "IntStorage", {"int32", "int"}},
    {"I16", 2, "ShortStorage", {"int16", "short"}},
    {"I8", 1, "CharStorage", {"int8", NULL}},
    {"U8", 1, "ByteStorage", {"uint8", NULL}},
    {"BOOL", 1, "BoolStorage", {"bool", NULL}},
    {"C64", 8, "ComplexFloatStorage", {"complex64", "cfloat"}},
    {"U16", 2, NULL, {"uint16", NULL}},
    {"U32", 4, NULL, {"uint32", NULL}},
    {"U64", 8, NULL, {"uint64", NULL}},
    {"F8_E4M3", 1, NULL, {"float8_e4m3fn", NULL}},
    {"F8_E5M2", 1, NULL, {"float8_e5m2", NULL}},
    {"F8_E4M3FNUZ", 1, NULL, {"float8_e4m3fnuz", NULL}},
    {"F8_E5M2FNUZ", 1, NULL, {"float8_e5m2fnuz", NULL}},
    {"F8_E8M0", 1, NULL, {"float8_e8m0fnu", NULL}},
};

static const struct {
    const char *module, *name;
    enum torch_global means;
} names[] = {
    {"collections", "OrderedDict", GLOBAL_ORDERED_DICT},
    {"torch._utils", "_rebuild_tensor", GLOBAL_REBUILD},
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_REBUILD_V2},
    {"torch._utils", "_rebuild_tensor_v3", GLOBAL_REBUILD_V3},
    {"torch._utils", "_rebuild_parameter", GLOBAL_REBUILD_PARAMETER},
    {"torch._utils", "_rebuild_parameter_with_state", GLOBAL_REBUILD_PARAMETER},
    {"torch._tensor", "_rebuild_from_type_v2", GLOBAL_REBUILD_SUBCLASS},
    {"torch", "Tensor", GLOBAL_TENSOR},
    {"torch.nn.parameter", "Parameter", GLOBAL_PARAMETER},
    {"torch", "Size", GLOBAL_SIZE},
    {"torch", "device", GLOBAL_FACT},
    {"torch.serialization", "_get_layout", GLOBAL_FACT},
};

const char *torch_shown(struct span name, char out[TORCH_SHOWN_MAX]) {
    size_t n = 0;
    for (; n < name.len && n < TORCH_SHOWN_MAX - 1; n++) {
        out[n] = name.ptr[n] >= 0x20 && name.ptr[n] < 0x7f ? (char)name.ptr[n] : '?';
    }
    out[n] = 0;
    return out;
}

static bool push_global(struct torch_machine *m, enum torch_global means, uint32_t type) {
    return torch_push_value(m, (struct torch_value){.kind = KIND_GLOBAL, .what = (uint8_t)means, .a = type});
}

/* torch.FloatStorage, torch.storage.UntypedStorage, torch.float32; NONE when it is none of these. */
static enum torch_global type_named(struct span module, struct span name, uint32_t *type) {
    bool storages = span_is(module, "torch.storage");
    if (!storages && !span_is(module, "torch")) {
        return GLOBAL_NONE;
    }
    if (span_is(name, "UntypedStorage") || span_is(name, "_UntypedStorage")) {
        *type = TORCH_TYPE_BYTES;
        return GLOBAL_STORAGE;
    }
    for (uint32_t i = TORCH_TYPE_BYTES + 1; !storages && i < ARRAY_LEN(torch_types); i++) {
        const struct torch_type *t = &torch_types[i];
        *type = i;
        if (t->storage != NULL && span_is(name, t->storage)) {
            return GLOBAL_STORAGE;
        }
        if (span_is(name, t->names[0]) || (t->names[1] != NULL && span_is(name, t->names[1]))) {
            return GLOBAL_DTYPE;
        }
    }
    return GLOBAL_NONE;
}

bool torch_push_global(struct torch_machine *m, struct span module, struct span name) {
    char module_text[TORCH_SHOWN_MAX];
    char name_text[TORCH_SHOWN_MAX];
    uint32_t type = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (span_is(module, names[i].module) && span_is(name, names[i].name)) {
            return push_global(m, names[i].means, 0);
        }
    }
    enum torch_global means = type_named(module, name, &type);
    return means != GLOBAL_NONE
               ? push_global(m, means, type)
               : torch_refuse(m, LAMINA_UNSUPPORTED,
                              "it refers to %s.%s; a checkpoint may only refer to plain tensors, and lamina runs no code from "
                              "pickles; if you trust the file, load it where it was made and save its tensors alone",
                              torch_shown(module, module_text), torch_shown(name, name_text));
}

/* ---- calls ---- */

/* Python 2 wrote OrderedDict([[key, value], ...]). */
static bool make_dict(struct torch_machine *m, const torch_ref *args, uint32_t count) {
    if (count > 1 || (count == 1 && !torch_is(m, args[0], KIND_LIST))) {
        return torch_refuse(m, LAMINA_UNSUPPORTED, "OrderedDict with other arguments than a list");
    }
    struct torch_value list = count == 1 ? torch_value_of(m, args[0]) : (struct torch_value){0};
    if (!torch_push_value(m, (struct torch_value){.kind = KIND_DICT})) {
        return false;
    }
    torch_ref dict = m->stack[m->stack_count - 1];
    uint32_t at = (uint32_t)list.b;
    for (uint32_t i = 0; i < list.a; i++) {
        struct torch_value pair = torch_value_of(m, m->links[at].value);
        torch_ref key = 0;
        torch_ref value = 0;
        if (pair.a != 2 || (pair.kind != KIND_LIST && pair.kind != KIND_TUPLE)) {
            return torch_refuse(m, LAMINA_DAMAGED, "OrderedDict of something that is no pair");
        }
        if (pair.kind == KIND_TUPLE) {
            key = m->items[pair.b];
            value = m->items[pair.b + 1];
        } else {
            key = m->links[(uint32_t)pair.b].value;
            value = m->links[pair.b >> 32].value;
        }
        at = m->links[at].next;
        if (!torch_append(m, dict, key, value)) {
            return false;
        }
    }
    return true;
}

static bool make_tensor(struct torch_machine *m, enum torch_global how, torch_ref arguments) {
    return torch_push_value(m, (struct torch_value){.kind = KIND_TENSOR, .what = (uint8_t)how, .a = arguments});
}

/* A parameter is its tensor. */
static bool unwrap(struct torch_machine *m, const torch_ref *args, uint32_t count) {
    return count >= 1 && torch_is(m, args[0], KIND_TENSOR)
               ? torch_push(m, args[0])
               : torch_refuse(m, LAMINA_UNSUPPORTED, "a parameter that wraps something that is no tensor");
}

/* A tensor with attributes of its own: (function, type, arguments, attributes). */
static bool make_subclass(struct torch_machine *m, const torch_ref *args, uint32_t count) {
    struct torch_value function = count >= 3 ? torch_value_of(m, args[0]) : (struct torch_value){0};
    struct torch_value type = count >= 3 ? torch_value_of(m, args[1]) : (struct torch_value){0};
    const torch_ref *inner = NULL;
    uint32_t inner_count = 0;
    if (function.kind != KIND_GLOBAL || type.kind != KIND_GLOBAL || !torch_tuple_of(m, args[2], &inner, &inner_count) ||
        (type.what != GLOBAL_TENSOR && type.what != GLOBAL_PARAMETER)) {
        return torch_refuse(m, LAMINA_UNSUPPORTED, "a subclass of tensors");
    }
    switch (function.what) {
    case GLOBAL_REBUILD:
    case GLOBAL_REBUILD_V2:
    case GLOBAL_REBUILD_V3:
        return make_tensor(m, (enum torch_global)function.what, args[2]);
    case GLOBAL_REBUILD_PARAMETER:
        return unwrap(m, inner, inner_count);
    default:
        return torch_refuse(m, LAMINA_UNSUPPORTED, "a subclass of tensors");
    }
}

bool torch_call(struct torch_machine *m, torch_ref function, torch_ref arguments) {
    struct torch_value f = torch_value_of(m, function);
    const torch_ref *args = NULL;
    uint32_t count = 0;
    if (f.kind != KIND_GLOBAL || !torch_tuple_of(m, arguments, &args, &count)) {
        return torch_refuse(m, LAMINA_DAMAGED, "it calls something that is no function");
    }
    switch ((enum torch_global)f.what) {
    case GLOBAL_ORDERED_DICT:
        return make_dict(m, args, count);
    case GLOBAL_REBUILD:
    case GLOBAL_REBUILD_V2:
    case GLOBAL_REBUILD_V3:
        return make_tensor(m, (enum torch_global)f.what, arguments);
    case GLOBAL_REBUILD_PARAMETER:
    case GLOBAL_PARAMETER:
        return unwrap(m, args, count);
    case GLOBAL_REBUILD_SUBCLASS:
        return make_subclass(m, args, count);
    case GLOBAL_SIZE:
        return count == 1 && torch_is(m, args[0], KIND_TUPLE)
                   ? torch_push(m, args[0])
                   : torch_refuse(m, LAMINA_UNSUPPORTED, "torch.Size of something that is no tuple");
    case GLOBAL_FACT:
        return torch_push(m, TORCH_OTHER);
    default:
        return torch_refuse(m, LAMINA_UNSUPPORTED, "it calls a name that checkpoints only mention");
    }
}

/* ---- storages ---- */

bool torch_storage_of(struct torch_machine *m, torch_ref ref, struct torch_storage *s) {
    const torch_ref *id = NULL;
    uint32_t count = 0;
    const torch_ref *view = NULL;
    uint32_t view_count = 0;
    struct span word;
    if (!torch_tuple_of(m, torch_value_of(m, ref).a, &id, &count) || !torch_text_of(m, id[2], &s->key) ||
        !torch_count_of(m, id[4], &s->elements)) {
        return torch_refuse(m, LAMINA_DAMAGED, "a tensor without a storage");
    }
    s->type = torch_value_of(m, id[1]).a;
    s->view_first = 0;
    s->view_elements = s->elements;
    if (count == 6 && id[5] != TORCH_NONE &&
        (!torch_tuple_of(m, id[5], &view, &view_count) || view_count != 3 || !torch_text_of(m, view[0], &word) ||
         !torch_count_of(m, view[1], &s->view_first) || !torch_count_of(m, view[2], &s->view_elements))) {
        return torch_refuse(m, LAMINA_DAMAGED, "the view of a storage is not (key, first, elements)");
    }
    if (s->view_first > s->elements || s->view_elements > s->elements - s->view_first) {
        return torch_refuse(m, LAMINA_DAMAGED, "a view is larger than its storage");
    }
    return true;
}

bool torch_push_storage(struct torch_machine *m, torch_ref id) {
    const torch_ref *items = NULL;
    uint32_t count = 0;
    struct span word;
    struct span key;
    uint64_t elements = 0;
    if (!torch_tuple_of(m, id, &items, &count) || count == 0 || !torch_text_of(m, items[0], &word)) {
        return torch_refuse(m, LAMINA_DAMAGED, "a storage is not named by a tuple");
    }
    if (!span_is(word, "storage")) {
        char text[TORCH_SHOWN_MAX];
        return torch_refuse(m, LAMINA_UNSUPPORTED, "it holds a \"%s\" where only storages may be: save its tensors alone",
                            torch_shown(word, text));
    }
    struct torch_value type = count > 1 ? torch_value_of(m, items[1]) : (struct torch_value){0};
    if ((count != 5 && count != 6) || type.kind != KIND_GLOBAL || type.what != GLOBAL_STORAGE ||
        !torch_text_of(m, items[2], &key) || key.len == 0 || key.len > TORCH_KEY_MAX ||
        !torch_text_of(m, items[3], &word) || !torch_count_of(m, items[4], &elements)) {
        return torch_refuse(m, LAMINA_DAMAGED, "a storage is not (\"storage\", class, key, device, elements)");
    }
    return torch_push_value(m, (struct torch_value){.kind = KIND_STORAGE, .a = id});
}
