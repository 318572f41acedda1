/* SPDX-License-Identifier: Apache-2.0
 *
 * The inflate tool inside: a small Llama checkpoint seen as a large one whose bytes are made on demand.
 *
 *     inflate_config   config.json read and rewritten, presets, which shapes are exact
 *     inflate_rules    which element of a large tensor is real, noise, tiny or zero, and why the text stays the same
 *     inflate_noise    the generator: a pure function of (seed, tensor, row, column)
 *     inflate_guard    the numbers that keep padded vocabulary ids from ever winning
 *     inflate_rows     rows of the small checkpoint in bounded memory
 *     inflate_model    all of it together: tensor list, any slice of any tensor, a struct lamina_source
 *     inflate_write    a checkpoint directory at disk speed
 *
 * Any slice of a tensor equals the same bytes of the whole, whatever thread asks, in whatever order.
 */
#ifndef APP_TOOLS_INFLATE_PRIV_H
#define APP_TOOLS_INFLATE_PRIV_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"
#include "base/str.h"
#include "lamina/lamina.h"

/* ---- shapes and configuration (inflate_config.c) ---- */

struct inflate_shape {
    uint32_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab;
    bool tied;
};

/* What of the small config.json matters here. */
struct inflate_config {
    struct inflate_shape shape;
    double eps;
    char rope[32];       /* kind of scaling: "default", "linear", "llama3", "yarn", ... */
    bool partial_rotary; /* only a part of each head is rotated */
};

/* UNSUPPORTED names what is no plain Llama; DAMAGED names the key. */
lamina_status inflate_config_read(struct span json, struct inflate_config *out, struct lamina_error *err);
/* The same document with the large shape in it; keys that are not about the shape keep their place and text. */
lamina_status inflate_config_write(struct span json, const struct inflate_config *small,
                                   const struct inflate_shape *big, struct str *out, struct lamina_error *err);
/* "1b", "8b", "70b", "405b"; false: no such preset. */
bool inflate_preset(const char *name, struct inflate_shape *shape);
/* USAGE when the large model could not give the same text, with the reason and the nearest shape that can. */
lamina_status inflate_shape_check(const struct inflate_config *small, const struct inflate_shape *big,
                                  struct lamina_error *err);
/* k of head_dim = small head_dim * 4^k, -1 when there is none. */
int inflate_head_power(uint32_t small_dim, uint32_t big_dim);

/* ---- rules (inflate_rules.c) ---- */

enum inflate_role {
    INFLATE_ATTN_NORM,
    INFLATE_Q,
    INFLATE_Q_BIAS,
    INFLATE_K,
    INFLATE_K_BIAS,
    INFLATE_V,
    INFLATE_V_BIAS,
    INFLATE_O,
    INFLATE_O_BIAS,
    INFLATE_MLP_NORM,
    INFLATE_GATE,
    INFLATE_GATE_BIAS,
    INFLATE_UP,
    INFLATE_UP_BIAS,
    INFLATE_DOWN,
    INFLATE_DOWN_BIAS,
    INFLATE_LAYER_ROLES,
    INFLATE_EMBED = INFLATE_LAYER_ROLES,
    INFLATE_NORM,
    INFLATE_HEAD,
    INFLATE_ROLES
};
/* What an index of a dimension counts. ONE: the tensor is a vector. */
enum inflate_axis {
    INFLATE_AXIS_ONE,
    INFLATE_AXIS_HIDDEN,
    INFLATE_AXIS_Q,
    INFLATE_AXIS_KV,
    INFLATE_AXIS_FFN,
    INFLATE_AXIS_VOCAB
};

struct inflate_role_info {
    const char *name; /* in a checkpoint, inside its layer if it has one */
    enum inflate_axis rows, cols;
    bool optional; /* biases */
    bool norm;     /* a gain: always written as F32 */
};
const struct inflate_role_info *inflate_role_info(enum inflate_role role);
uint64_t inflate_axis_len(const struct inflate_shape *shape, enum inflate_axis axis);

enum inflate_action { INFLATE_COPY, INFLATE_NOISE, INFLATE_TINY, INFLATE_ZERO };

/* How one row is filled: `real` for columns the small model has, `extra` for the others. */
struct inflate_row_rule {
    enum inflate_action real, extra;
    int64_t source; /* row of the small tensor; -1: any, drawn by the row's key */
};

struct inflate_pair { /* both shapes, and what follows from them */
    struct inflate_shape small, big;
    uint32_t ratio;     /* big head_dim / small head_dim = 4^power */
    uint32_t power;     /* q rows times 2^power */
    uint32_t kv_copies; /* big KV heads per small one, more than 1 where a group would be too narrow */
    bool padded;        /* vocabulary grows: hidden column small.hidden is reserved */
};
void inflate_pair_init(struct inflate_pair *p, const struct inflate_shape *small, const struct inflate_shape *big);
struct inflate_row_rule inflate_row_rule(const struct inflate_pair *p, enum inflate_role role, bool extra_layer,
                                         uint64_t row);
/* Index in the large axis of a small one (the first, where there are copies). */
uint64_t inflate_place(const struct inflate_pair *p, enum inflate_axis axis, uint64_t small_index);

/* ---- number formats and noise (inflate_noise.c): pure ---- */

struct inflate_format {
    const char *name; /* as in safetensors */
    uint32_t bytes;   /* 2 or 4 */
    uint32_t mantissa_bits;
    uint32_t exponents; /* first exponent field that is not a number */
};
const struct inflate_format *inflate_format_find(const char *dtype); /* NULL: not a float format of ours */
double inflate_number(const struct inflate_format *f, const void *element);
/* A power of two (or its negative, or 0) as bits. Exact within the format's range, subnormals included. */
uint32_t inflate_power_bits(const struct inflate_format *f, int exponent, bool negative);
/* bits * 2^-40 with the same mantissa; zero where that is no normal number (always in F16). */
uint32_t inflate_tiny(const struct inflate_format *f, uint32_t bits);
/* bits * 2^power; false on overflow. */
bool inflate_scale(const struct inflate_format *f, uint32_t *bits, uint32_t power);

/* The generator's only state is its key. */
uint64_t inflate_key(uint64_t seed, const char *tensor);
uint64_t inflate_row_key(uint64_t tensor_key, uint64_t row);
/* A number below n, for choices outside the columns of a row. */
uint64_t inflate_pick(uint64_t row_key, uint64_t n);
/* Elements [first, first + count) of an endless row: draws from `table` [n], each equally likely. */
void inflate_draw(const struct inflate_format *f, void *dst, const void *table, size_t n, uint64_t row_key,
                  uint64_t first, size_t count);

/* ---- rows of the small checkpoint (inflate_rows.c) ---- */

struct inflate_tensor_info {             /* of the small checkpoint */
    const struct inflate_format *format; /* NULL: the checkpoint has no such tensor */
    uint32_t index;                      /* in the source */
    uint64_t rows, cols;
};

struct inflate_rows; /* the cache of one source; its functions may be called by any thread */

struct inflate_lease { /* a tensor, or a sample of its rows where it is too large */
    const uint8_t *data;
    uint64_t rows;   /* in data */
    uint64_t stride; /* data row i is row i * stride of the tensor */
    int slot;
};

lamina_status inflate_rows_open(struct inflate_rows **rows, const struct lamina_source *source,
                                struct lamina_error *err);
void inflate_rows_close(struct inflate_rows **rows);
lamina_status inflate_rows_take(struct inflate_rows *rows, const struct inflate_tensor_info *t,
                                struct inflate_lease *lease, struct lamina_error *err);
void inflate_rows_give(struct inflate_rows *rows, struct inflate_lease *lease);
/* One row, wherever it is: points into the lease, or into `scratch` after reading it there. */
lamina_status inflate_rows_row(struct inflate_rows *rows, const struct inflate_tensor_info *t,
                               const struct inflate_lease *lease, uint64_t row, void *scratch, const uint8_t **data,
                               struct lamina_error *err);

/* ---- padded ids (inflate_guard.c) ---- */

struct inflate_guard {    /* see the file's opening comment */
    int carrier_exponent; /* every embedding row carries 2^this in the reserved column */
    int barrier_exponent; /* padded head rows hold -2^this there */
    float final_gain;     /* of the last norm there */
};

/* ---- the large model (inflate_model.c) ---- */

struct inflate_tensor {
    const char *name;
    enum inflate_role role;
    uint32_t layer; /* 0 outside the layers */
    bool extra_layer, vector;
    const struct inflate_tensor_info *from;
    const struct inflate_format *format; /* written */
    uint64_t rows, cols, bytes;          /* a vector has cols 1 */
    uint64_t key;
};

struct inflate {
    const struct lamina_source *source;
    struct inflate_config config;
    struct inflate_pair pair;
    struct inflate_guard guard;
    uint64_t seed;
    struct inflate_tensor_info *infos; /* [layers * LAYER_ROLES + 3] of the small checkpoint */
    struct inflate_rows *rows;
    uint32_t *q_place; /* big place of each small o_proj column */
    uint32_t tensor_count;
    struct inflate_tensor *tensors;
    struct str config_json; /* rewritten */
    struct arena arena;
    struct lamina_source as_source;
};

/* `source` must stay open. Checks the shape, finds every tensor and, if the vocabulary grows, reads all once. */
lamina_status inflate_open(struct inflate **out, const struct lamina_source *source, const struct inflate_shape *big,
                           uint64_t seed, struct lamina_error *err);
void inflate_close(struct inflate **inf);
/* Bytes [offset, offset + len) of a tensor. Any thread. */
lamina_status inflate_fill(struct inflate *inf, uint32_t tensor, uint64_t offset, void *dst, size_t len,
                           struct lamina_error *err);
/* `distinct_layers` 0: all; else it must exceed the small model's layers. Valid until inflate_close. */
lamina_status inflate_as_source(struct inflate *inf, uint32_t distinct_layers, const struct lamina_source **source,
                                struct lamina_error *err);
/* Bytes of all tensors, layers from `distinct_layers` on (0: none) not counted. */
uint64_t inflate_bytes(const struct inflate *inf, uint32_t distinct_layers);
const struct inflate_tensor_info *inflate_info(const struct inflate *inf, enum inflate_role role, uint32_t layer);
/* Fills inf->guard. UNSUPPORTED where the format cannot hold it. */
lamina_status inflate_guard_find(struct inflate *inf, struct lamina_error *err);

/* ---- a checkpoint directory (inflate_write.c) ---- */

struct inflate_write_options {
    const char *directory;
    uint64_t shard_bytes;
    uint32_t threads;                         /* 0: chosen */
    const struct lamina_callbacks *callbacks; /* progress only; true stops with INTERRUPTED */
};
/* Every file is written under a temporary name; config.json appears last. After a failure nothing is left behind. */
lamina_status inflate_write(struct inflate *inf, const struct inflate_write_options *o, struct lamina_error *err);
/* Bytes the directory will take. */
lamina_status inflate_write_size(struct inflate *inf, const struct inflate_write_options *o, uint64_t *bytes,
                                 struct lamina_error *err);

#endif
