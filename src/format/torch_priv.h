/* SPDX-License-Identifier: Apache-2.0
 *
 * The machine that reads pickles, shared by the files torch_*.c. It builds values that know their kind and nothing
 * else; torch_tensor.c then looks in them for tensors. Every table is bounded by the bytes of the pickle (memory_limit),
 * every step costs fuel, and nothing recurses but the walk through nested dictionaries (64 deep). */
#ifndef FORMAT_TORCH_PRIV_H
#define FORMAT_TORCH_PRIV_H

#include "format/torch_file.h"

/* A value is named by 31 bits: its place in `values`; with the top bit set it is itself a small number. The places
 * below TORCH_FIRST_FREE are constants. */
typedef uint32_t torch_ref;
#define TORCH_SMALL UINT32_C(0x80000000)
enum { TORCH_MARK, TORCH_NONE, TORCH_FALSE, TORCH_TRUE, TORCH_NO_ITEMS, TORCH_OTHER, TORCH_FIRST_FREE };

enum torch_kind {
    KIND_MARK,    /* only on the stack */
    KIND_PLAIN,   /* None, bool, float, bytes: nobody asks for their value */
    KIND_INT,     /* b; what = 1: negative */
    KIND_BIG,     /* an integer beyond 64 bits: bytes [b, b + a) of the text, as they stand there */
    KIND_TEXT,    /* bytes [b, b + a) of the text */
    KIND_TUPLE,   /* items [b, b + a) */
    KIND_LIST,    /* a links; b = first | last << 32 */
    KIND_DICT,    /* as LIST */
    KIND_GLOBAL,  /* what = enum torch_global, a = row of torch_types */
    KIND_STORAGE, /* a = the tuple of its persistent id, already checked */
    KIND_TENSOR   /* what = enum torch_global of its rebuild function, a = the tuple of arguments, not yet checked */
};
struct torch_value {
    uint8_t kind, what; /* what, of containers: enum torch_visit */
    uint16_t unused;
    uint32_t a;
    uint64_t b;
};
enum torch_visit { VISIT_FRESH, VISIT_OPEN, VISIT_EMPTY, VISIT_TENSORS };

struct torch_link {
    torch_ref key, value;
    uint32_t next; /* UINT32_MAX: the last */
};

struct torch_machine {
    struct span text;
    const char *name; /* of the file, for messages */
    struct lamina_error *err;
    size_t at;         /* the next byte */
    size_t op_at;      /* where the operation at hand began; SIZE_MAX: none, the pickle has ended */
    bool starved;      /* failed because the text ends too early */
    lamina_status failed;
    uint64_t fuel;
    size_t memory, memory_limit;
    struct torch_value *values;
    torch_ref *items, *stack, *memo; /* memo: 0 where nothing was put (0 is the mark, which cannot be) */
    struct torch_link *links;
    uint32_t value_count, value_room, item_count, item_room, stack_count, stack_room, link_count, link_room;
    uint32_t memo_count, memo_room;
};

/* Ready to run text from `at` on; keeps the tables of a machine that ran before. Start from {0}. */
bool torch_machine_begin(struct torch_machine *m, struct span text, size_t at);
void torch_machine_drop(struct torch_machine *m);
/* Runs one pickle to its end; `at` is then behind it. */
bool torch_machine_run(struct torch_machine *m, torch_ref *root);
/* The first failure, with file and byte; always false. */
bool torch_refuse(struct torch_machine *m, lamina_status code, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool torch_spend(struct torch_machine *m, uint64_t steps);
/* A text of the pickle for a message: what is not printable ASCII becomes '?', so that no terminal obeys it. */
enum { TORCH_SHOWN_MAX = 81 };
const char *torch_shown(struct span name, char out[TORCH_SHOWN_MAX]);

/* torch_machine.c: tables and the stack. */
bool torch_push(struct torch_machine *m, torch_ref ref);
bool torch_pop(struct torch_machine *m, torch_ref *ref); /* refuses a mark */
bool torch_push_value(struct torch_machine *m, struct torch_value v);
bool torch_push_int(struct torch_machine *m, int64_t value);
bool torch_push_tuple(struct torch_machine *m, uint32_t first, uint32_t count); /* of the stack, taken off before */
/* The values above the topmost mark; both are taken off, but stay in stack[*first...] until the next push. */
bool torch_pop_marked(struct torch_machine *m, uint32_t *first, uint32_t *count);
bool torch_append(struct torch_machine *m, torch_ref container, torch_ref key, torch_ref value);
bool torch_memo_put(struct torch_machine *m, uint64_t index);
bool torch_memo_get(struct torch_machine *m, uint64_t index);

static inline struct torch_value torch_value_of(const struct torch_machine *m, torch_ref ref) {
    if ((ref & TORCH_SMALL) != 0) {
        return (struct torch_value){.kind = KIND_INT, .b = ref & ~TORCH_SMALL};
    }
    return m->values[ref];
}

static inline bool torch_is(const struct torch_machine *m, torch_ref ref, enum torch_kind kind) {
    return torch_value_of(m, ref).kind == kind;
}

static inline bool torch_text_of(const struct torch_machine *m, torch_ref ref, struct span *text) {
    struct torch_value v = torch_value_of(m, ref);
    *text = v.kind == KIND_TEXT ? span_sub(m->text, (size_t)v.b, v.a) : span_of(NULL, 0);
    return v.kind == KIND_TEXT;
}

/* A number from 0 on. */
static inline bool torch_count_of(const struct torch_machine *m, torch_ref ref, uint64_t *count) {
    struct torch_value v = torch_value_of(m, ref);
    *count = v.b;
    return v.kind == KIND_INT && v.what == 0;
}

static inline bool torch_tuple_of(const struct torch_machine *m, torch_ref ref, const torch_ref **items,
                                  uint32_t *count) {
    struct torch_value v = torch_value_of(m, ref);
    *items = v.kind == KIND_TUPLE && v.a > 0 ? m->items + v.b : NULL;
    *count = v.kind == KIND_TUPLE ? v.a : 0;
    return v.kind == KIND_TUPLE;
}

/* ---- what a pickle may refer to (torch_globals.c) ---- */

enum torch_global {
    GLOBAL_NONE,
    GLOBAL_ORDERED_DICT,
    GLOBAL_REBUILD,           /* storage, offset, shape, strides */
    GLOBAL_REBUILD_V2,        /* ..., requires_grad, hooks [, metadata] */
    GLOBAL_REBUILD_V3,        /* ..., requires_grad, hooks, dtype [, metadata] */
    GLOBAL_REBUILD_PARAMETER, /* tensor, ... */
    GLOBAL_REBUILD_SUBCLASS,  /* function, type, arguments, attributes */
    GLOBAL_TENSOR,            /* the type; only as an argument of REBUILD_SUBCLASS */
    GLOBAL_PARAMETER,         /* the type: as TENSOR, and as a function like REBUILD_PARAMETER */
    GLOBAL_SIZE,              /* a tuple by another name */
    GLOBAL_FACT,              /* a device, a layout: of no interest */
    GLOBAL_STORAGE,
    GLOBAL_DTYPE
};

/* torch's types of elements. */
struct torch_type {
    const char *dtype; /* safetensors' name */
    uint8_t bytes;
    const char *storage; /* the class of its storages; NULL: saved as bytes only */
    const char *names[2];
};
extern const struct torch_type torch_types[];
enum { TORCH_TYPE_BYTES = 0 }; /* the row of untyped storages */

bool torch_push_global(struct torch_machine *m, struct span module, struct span name);
/* What calling `function` with these arguments would give. */
bool torch_call(struct torch_machine *m, torch_ref function, torch_ref arguments);
bool torch_push_storage(struct torch_machine *m, torch_ref id);

/* ---- storages and tensors ---- */

/* What a persistent id says: ("storage", class, key, device, elements [, None or (view key, first, elements)]). */
struct torch_storage {
    struct span key;
    uint32_t type;                        /* row of torch_types */
    uint64_t elements;                    /* of the whole storage */
    uint64_t view_first, view_elements;   /* the part that tensors see; everything without a view */
};
enum { TORCH_KEY_MAX = 64 };
bool torch_storage_of(struct torch_machine *m, torch_ref ref, struct torch_storage *s);

/* Where storages lie: `find` says at which byte of the file, having proved that all of its bytes are there. */
struct torch_space {
    bool (*find)(const struct torch_space *space, struct torch_machine *m, const struct torch_storage *s,
                 uint64_t *offset);
    const void *where;
};
enum { TORCH_ARENA_BASE = 1 << 20, TORCH_ARENA_PER_BYTE = 8 };

/* Every tensor that can be reached from `root` by keys. */
bool torch_collect(struct torch_machine *m, torch_ref root, const struct torch_space *space, struct arena *arena,
                   struct torch_tensors *out);

lamina_status torch_legacy_read(const struct torch_input *in, struct arena *arena, struct torch_tensors *out,
                                struct lamina_error *err);

#endif
