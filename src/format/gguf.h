/* SPDX-License-Identifier: Apache-2.0
 *
 * GGUF files, versions 2 and 3: metadata and the places of tensors. Bytes in, spans out; the caller reads the file, whose
 * header says nowhere how long it is:
 *
 *     "GGUF" [u32 version] [u64 tensors] [u64 pairs]
 *     pairs:   [text key] [u32 type] [value]                     text: [u64 length] [bytes]
 *     tensors: [text name] [u32 rank] [u64 dim]... [u32 type] [u64 offset from the data's beginning]
 *     padding to the alignment, then the data, every tensor at a multiple of it
 *
 * so gguf_measure is asked with a front of the file how much of it is the header. Values stay where they are: a table of
 * keys points into the header, which must live as long as the table. Pure. Spec: ggml/docs/gguf.md. */
#ifndef FORMAT_GGUF_H
#define FORMAT_GGUF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"
#include "format/quant.h"

enum { GGUF_MAX_RANK = 4, GGUF_MAX_TENSORS = 1000000, GGUF_MAX_PAIRS = 65536, GGUF_MAX_HEADER = 256 << 20 };
enum { GGUF_FIRST_READ = 1 << 20 }; /* a good first front */

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_TEXT,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

struct gguf_value {
    uint8_t type, item_type; /* enum gguf_type; item_type: of arrays */
    uint64_t count;          /* items of an array, else 1 */
    struct span body;        /* in the header: a number's bytes, a text's, an array's items one after the other */
};

struct gguf_pair {
    struct span key;
    struct gguf_value value;
};

struct gguf_tensor {
    const char *name;               /* 0-ended, in the arena */
    const struct quant_type *type;  /* its name, and how many bytes so many elements take */
    uint32_t rank;
    uint64_t shape[GGUF_MAX_RANK];  /* slowest first, as in safetensors; the file has it the other way round */
    uint64_t elements;
    uint64_t offset, bytes;         /* offset from the start of the FILE */
};

struct gguf {
    uint32_t version, alignment;
    uint32_t count;              /* tensors, sorted by name; in the arena */
    struct gguf_tensor *tensors;
    uint32_t pair_count;         /* sorted by key; in the arena */
    struct gguf_pair *pairs;
    uint64_t data_begin;         /* where the tensors' bytes begin */
};

/* *len: how long the header is, when that is no more than front.len; else how much to read for the next try, never more
 * than twice what is needed, the file or GGUF_MAX_HEADER. DAMAGED: no GGUF file, or one that ends within its header;
 * UNSUPPORTED: another version, big-endian, or a header that is too large. */
lamina_status gguf_measure(struct span front, uint64_t file_size, const char *name, uint64_t *len,
                           struct lamina_error *err);

/* `header`: exactly what gguf_measure found, and to stay as long as *out is used. Memory: at most eight times the header
 * in the arena. DAMAGED: anything that contradicts itself: keys or tensors that appear twice, tensors that overlap, leave
 * holes, or do not end where the file does; UNSUPPORTED: an unknown type of tensor. `name` is for messages. */
lamina_status gguf_parse(struct span header, uint64_t file_size, const char *name, struct arena *arena, struct gguf *out,
                         struct lamina_error *err);

/* NULL when there is none. */
const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name);
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);

/* False, and *out untouched, when v is NULL, of another kind, or does not fit. Integers of every width are integers, and
 * integers are numbers too. Texts are bytes: nothing says that they are UTF-8. */
bool gguf_as_u64(const struct gguf_value *v, uint64_t *out);
bool gguf_as_i64(const struct gguf_value *v, int64_t *out);
bool gguf_as_f64(const struct gguf_value *v, double *out);
bool gguf_as_bool(const struct gguf_value *v, bool *out);
bool gguf_as_text(const struct gguf_value *v, struct span *out);

/* The items of an array in order: struct gguf_items it; if (gguf_items_of(v, &it)) while (gguf_next(&it, &item)) ... */
struct gguf_items {
    struct span rest;
    uint64_t left;
    uint8_t type;
};
bool gguf_items_of(const struct gguf_value *v, struct gguf_items *out); /* false: NULL or no array */
bool gguf_next(struct gguf_items *it, struct gguf_value *item);

/* ---- models in several files ---- */

/* "model-00002-of-00003.gguf": stem "model", no 1 (counted from 0), count 3. False: no such name. */
struct gguf_split {
    struct span stem;
    uint32_t no, count;
};
bool gguf_split_of(const char *file_name, struct gguf_split *out);
/* The name of part `no`; false when it does not fit. */
bool gguf_split_name(const struct gguf_split *split, uint32_t no, char *out, size_t room);

struct gguf_part {
    const char *name; /* for messages */
    const struct gguf *file;
};
struct gguf_place {
    const struct gguf_tensor *tensor;
    uint32_t part;
};
struct gguf_set {
    uint32_t count; /* tensors of all parts, sorted by name; in the arena */
    struct gguf_place *list;
};
/* All parts in their order; a model in one file is one part. The metadata is that of part 0. DAMAGED: parts are missing,
 * in another order or of another model, or a tensor is in two of them. */
lamina_status gguf_join(const struct gguf_part *parts, uint32_t count, struct arena *arena, struct gguf_set *out,
                        struct lamina_error *err);

#endif
