/* SPDX-License-Identifier: Apache-2.0
 * Opening quantised matrices: each method's tensors are compared with each other until every code, scale, zero point and
 * group that quant_rows.c can ask for is known to be there. One function a method says what its shapes are.
 *
 * Invariant: an opened matrix is read without a further check. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/floats.h"
#include "base/compiler.h"
#include "format/quant_matrix_priv.h"
#include "format/safetensors.h"

#define DIMENSION_LIMIT (UINT64_C(1) << 40)

struct open {
    const struct quant_source *s;
    struct quant_matrix *m;
    struct lamina_error *err;
};

/* ---- tensors ---- */

lamina_status quant_unfit(const char *name, const char *what, const struct quant_tensor *t, const char *expected,
                          struct lamina_error *err) {
    char shape[QUANT_MAX_RANK * 22 + 1] = "";
    int n = 0;
    if (t->dtype == NULL) {
        return base_fail(err, LAMINA_DAMAGED, "%s: its %s are missing; expected %s", name, what, expected);
    }
    for (uint32_t i = 0; i < t->rank && i < QUANT_MAX_RANK; i++) {
        n += snprintf(shape + n, sizeof(shape) - (size_t)n, "%s%" PRIu64, i > 0 ? ", " : "", t->shape[i]);
    }
    return base_fail(err, LAMINA_DAMAGED, "%s: its %s are %s [%s]; expected %s", name, what, t->dtype, shape, expected);
}

/* `dtype` is one of the words of `list`. */
static bool listed(const char *list, const char *dtype) {
    size_t len = strlen(dtype);
    for (const char *at = list; (at = strstr(at, dtype)) != NULL; at += len) {
        if ((at == list || at[-1] == ' ') && (at[len] == 0 || at[len] == ' ')) {
            return len > 0;
        }
    }
    return false;
}

lamina_status quant_tensor_check(const char *name, const char *what, const struct quant_tensor *t, const char *dtypes,
                                 struct lamina_error *err) {
    uint64_t bytes = 1;
    bool over = t->rank > QUANT_MAX_RANK;
    if (t->dtype == NULL || !listed(dtypes, t->dtype)) {
        return quant_unfit(name, what, t, dtypes, err);
    }
    for (uint32_t i = 0; !over && i < t->rank; i++) {
        over = t->shape[i] == 0 || t->shape[i] >= DIMENSION_LIMIT || checked_mul(bytes, t->shape[i], &bytes);
    }
    over = over || checked_mul(bytes, safetensors_dtype_bits(span_of_text(t->dtype)) / 8, &bytes);
    if (over || bytes != t->bytes.len) {
        char expected[64];
        (void)snprintf(expected, sizeof(expected), "a shape of %zu bytes, no dimension 0", t->bytes.len);
        return quant_unfit(name, what, t, expected, err);
    }
    return LAMINA_OK;
}

static lamina_status check(const struct open *o, const char *what, const struct quant_tensor *t, const char *dtypes) {
    return quant_tensor_check(o->s->name, what, t, dtypes, o->err);
}

static lamina_status expect_shape(const struct open *o, const char *what, const struct quant_tensor *t, uint64_t a,
                                  uint64_t b) {
    char expected[64];
    if (t->rank == 2 && t->shape[0] == a && t->shape[1] == b) {
        return LAMINA_OK;
    }
    (void)snprintf(expected, sizeof(expected), "[%" PRIu64 ", %" PRIu64 "]", a, b);
    return quant_unfit(o->s->name, what, t, expected, o->err);
}

static lamina_status unsupported(const struct open *o, const char *what) {
    return base_fail(o->err, LAMINA_UNSUPPORTED, "%s: %s", o->s->name, what);
}

static lamina_status expect_rank_2(const struct open *o) {
    return o->s->codes.rank == 2 ? LAMINA_OK
                                 : quant_unfit(o->s->name, "codes", &o->s->codes, "two dimensions", o->err);
}

/* Leading dimensions are rows too. `last`: how many dimensions at the end are not. */
static uint64_t rows_before(const struct quant_tensor *t, uint32_t last) {
    uint64_t rows = 1;
    for (uint32_t i = 0; i + last < t->rank; i++) {
        rows *= t->shape[i]; /* of a size that fits: its bytes do */
    }
    return rows;
}

/* ---- scales ---- */

/* The scales' data type is one of the method's already; U8 is what E8M0 was called before it had a name. */
static void take_scale_type(struct open *o) {
    static const struct {
        const char *dtype;
        uint8_t bytes, scale;
    } types[] = {{"F32", 4, QUANT_F32},      {"F16", 2, QUANT_F16}, {"BF16", 2, QUANT_BF16},
                 {"F8_E8M0", 1, QUANT_E8M0}, {"U8", 1, QUANT_E8M0}, {"F8_E4M3", 1, QUANT_E4M3}};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(types[i].dtype, o->s->scales.dtype) == 0) {
            o->m->scale_bytes = types[i].bytes;
            o->m->scale = types[i].scale;
        }
    }
}

/* `count` groups cover the columns, each `group` wide but for the last. */
static lamina_status take_groups(struct open *o, uint64_t count) {
    struct quant_matrix *m = o->m;
    m->groups = count;
    m->group = o->s->group != 0 ? o->s->group : m->cols / count;
    if (m->group == 0 || div_up(m->cols, m->group) != count || (o->s->group == 0 && m->cols % count != 0)) {
        return base_fail(o->err, LAMINA_DAMAGED,
                         "%s: %" PRIu64 " columns in groups of %" PRIu64 " do not make the %" PRIu64 " groups of its scales",
                         o->s->name, m->cols, m->group, count);
    }
    return LAMINA_OK;
}

/* One scale for all, one a row, or [rows, groups]. */
static lamina_status take_row_scales(struct open *o) {
    const struct quant_tensor *t = &o->s->scales;
    struct quant_matrix *m = o->m;
    uint64_t all = rows_before(t, 0);
    m->scale_rows = 1;
    m->scale_group_step = 1;
    m->groups = 1;
    m->group = m->cols;
    if (all == m->rows && (t->rank == 1 || (t->rank == 2 && t->shape[1] == 1))) {
        m->scale_row_step = 1;
        return LAMINA_OK;
    }
    if (all == 1) {
        m->scale_rows = m->rows;
        return LAMINA_OK;
    }
    if (t->rank != 2 || t->shape[0] != m->rows) {
        return quant_unfit(o->s->name, "scales", t, "one, one a row, or one for every row and group", o->err);
    }
    m->scale_row_step = t->shape[1];
    return take_groups(o, t->shape[1]);
}

/* ---- row-major methods of whole bytes ---- */

static void take_rows(struct open *o, uint64_t rows, uint64_t cols, uint8_t code, uint8_t bits) {
    struct quant_matrix *m = o->m;
    m->rows = rows;
    m->cols = cols;
    m->code = code;
    m->bits = bits;
    m->code_stride = o->s->codes.bytes.len / rows;
}

static lamina_status open_fp8(struct open *o) {
    const struct quant_source *s = o->s;
    struct quant_matrix *m = o->m;
    bool wide = strcmp(s->codes.dtype, "F8_E5M2") == 0;
    take_rows(o, s->codes.shape[0], s->codes.shape[1], wide ? QUANT_CODE_E5M2 : QUANT_CODE_E4M3, 8);
    if (s->block_rows == 0 || s->block_cols == 0) {
        return take_row_scales(o);
    }
    m->scale_rows = s->block_rows;
    m->group = s->block_cols;
    m->groups = div_up(m->cols, m->group);
    m->scale_row_step = m->groups;
    m->scale_group_step = 1;
    return expect_shape(o, "scales", &s->scales, div_up(m->rows, m->scale_rows), m->groups);
}

static lamina_status open_int8(struct open *o) {
    take_rows(o, o->s->codes.shape[0], o->s->codes.shape[1], QUANT_CODE_INT8, 8);
    return take_row_scales(o);
}

/* ---- four-bit floating-point numbers ---- */

static lamina_status take_e2m1(struct open *o, uint64_t rows, uint64_t row_bytes, unsigned group) {
    take_rows(o, rows, row_bytes * 2, QUANT_CODE_E2M1, 4);
    o->m->scale_rows = 1;
    o->m->scale_group_step = 1;
    o->m->group = group;
    o->m->groups = div_up(o->m->cols, group);
    o->m->scale_row_step = o->m->groups;
    uint32_t last = o->s->codes.rank > 2 ? 1 : 0; /* of blocks, the scales have all dimensions but the last */
    if (o->s->scales.rank + last != o->s->codes.rank || rows_before(&o->s->scales, 1) != rows ||
        o->s->scales.shape[o->s->scales.rank - 1] != o->m->groups) {
        char expected[80];
        (void)snprintf(expected, sizeof(expected), "%" PRIu64 " for each of %" PRIu64 " rows", o->m->groups, rows);
        return quant_unfit(o->s->name, "scales", &o->s->scales, expected, o->err);
    }
    return LAMINA_OK;
}

static lamina_status open_mxfp4(struct open *o) {
    const struct quant_tensor *t = &o->s->codes;
    enum { BLOCK = 32, BLOCK_BYTES = 16 };
    if (t->rank > 2) {
        return t->shape[t->rank - 1] == BLOCK_BYTES
                   ? take_e2m1(o, rows_before(t, 2), t->shape[t->rank - 2] * BLOCK_BYTES, BLOCK)
                   : quant_unfit(o->s->name, "blocks", t, "16 bytes in each", o->err);
    }
    LAMINA_TRY(expect_rank_2(o));
    return take_e2m1(o, t->shape[0], t->bytes.len / t->shape[0], BLOCK);
}

static lamina_status open_nvfp4(struct open *o) {
    enum { BLOCK = 16 };
    LAMINA_TRY(check(o, "global scales", &o->s->global, "F32"));
    if (rows_before(&o->s->global, 0) != 1) {
        return quant_unfit(o->s->name, "global scales", &o->s->global, "a single number", o->err);
    }
    o->m->global = o->s->global.bytes.ptr != NULL ? float_of_f32(o->s->global.bytes.ptr) : 0;
    o->m->divide = o->s->divide;
    return take_e2m1(o, o->s->codes.shape[0], o->s->codes.shape[1], BLOCK);
}

/* ---- integers in words ---- */

static lamina_status take_bits(struct open *o, const char *widths) {
    char digits[12];
    (void)snprintf(digits, sizeof(digits), "%" PRIu32, o->s->bits);
    if (!listed(widths, digits)) {
        return base_fail(o->err, LAMINA_UNSUPPORTED, "%s: codes of %" PRIu32 " bits; known here: %s", o->s->name,
                         o->s->bits, widths);
    }
    o->m->bits = (uint8_t)o->s->bits;
    return LAMINA_OK;
}

/* The group of every column. Writers leave -1 where columns keep their order, or write that order out; both are read as
 * if nothing was there, which is faster. */
static lamina_status take_order(struct open *o) {
    struct quant_matrix *m = o->m;
    const struct quant_tensor *t = &o->s->order;
    bool plain = true;
    if (t->dtype == NULL) {
        return LAMINA_OK;
    }
    LAMINA_TRY(check(o, "column groups", t, "I32"));
    if (t->rank != 1 || t->shape[0] != m->cols) {
        return quant_unfit(o->s->name, "column groups", t, "one a column", o->err);
    }
    if (t->bytes.ptr == NULL) {
        return LAMINA_OK;
    }
    bool none = load_le32(t->bytes.ptr) == UINT32_MAX;
    for (uint64_t i = 0; i < m->cols; i++) {
        uint32_t group = load_le32(t->bytes.ptr + 4 * i);
        plain = plain && group == i / m->group;
        if (none ? group != UINT32_MAX : group >= m->groups) {
            return base_fail(o->err, LAMINA_DAMAGED, "%s: column %" PRIu64 " is in group %" PRId32 ", there are %" PRIu64,
                             o->s->name, i, (int32_t)group, m->groups);
        }
    }
    m->order = none || plain ? NULL : t->bytes.ptr;
    return LAMINA_OK;
}

/* GPTQ and AWQ: scales [groups, rows], zero points [groups, words of rows]. */
static lamina_status take_transposed(struct open *o) {
    const struct quant_source *s = o->s;
    struct quant_matrix *m = o->m;
    uint64_t groups = s->scales.rank == 2 ? s->scales.shape[0] : 0;
    LAMINA_TRY(expect_shape(o, "scales", &s->scales, groups, m->rows));
    LAMINA_TRY(check(o, "zero points", &s->zeros, "I32 U32"));
    LAMINA_TRY(expect_shape(o, "zero points", &s->zeros, groups, div_up(m->rows * m->bits, 32)));
    m->scale_rows = 1;
    m->scale_row_step = 1;
    m->scale_group_step = m->rows;
    m->zero_row_words = s->zeros.shape[1];
    if (s->order.dtype == NULL || s->group != 0 || m->cols % groups == 0) {
        LAMINA_TRY(take_groups(o, groups));
    } else {
        m->groups = groups; /* the order alone can say which is whose, unless it says nothing */
        m->group = m->cols;
    }
    LAMINA_TRY(take_order(o));
    return m->order != NULL ? LAMINA_OK : take_groups(o, groups);
}

/* Every zero point is in the middle of the range, or one below: the middle is meant. Else what the config says. */
static uint32_t gptq_plus(const struct quant_matrix *m, bool said) {
    uint32_t middle = 1u << (m->bits - 1);
    uint32_t first = quant_zero_code(m, 0, 0);
    for (uint64_t g = 0; g < m->groups; g++) {
        for (uint64_t r = 0; r < m->rows; r++) {
            if (quant_zero_code(m, r, g) != first) {
                return said;
            }
        }
    }
    return first == middle ? 0 : first == middle - 1 ? 1 : said;
}

static lamina_status open_gptq(struct open *o) {
    struct quant_matrix *m = o->m;
    LAMINA_TRY(take_bits(o, "2 3 4 8"));
    if (o->s->codes.shape[0] * 32 % m->bits != 0) {
        return unsupported(o, "its words do not hold a whole number of codes");
    }
    m->rows = o->s->codes.shape[1];
    m->cols = o->s->codes.shape[0] * 32 / m->bits;
    m->code_stride = 4 * m->rows;
    LAMINA_TRY(take_transposed(o));
    m->zeros = o->s->zeros.bytes.ptr;
    m->zero_plus = o->s->zeros.bytes.ptr != NULL && !o->s->plus_known ? gptq_plus(m, o->s->plus_one) : o->s->plus_one;
    return LAMINA_OK;
}

static lamina_status open_awq(struct open *o) {
    struct quant_matrix *m = o->m;
    if (o->s->bits != 0) {
        LAMINA_TRY(take_bits(o, "4"));
    }
    m->bits = 4;
    m->cols = o->s->codes.shape[0];
    m->rows = o->s->codes.shape[1] * 8;
    m->code_stride = 4 * o->s->codes.shape[1];
    return take_transposed(o);
}

static lamina_status open_packed(struct open *o) {
    const struct quant_source *s = o->s;
    struct quant_matrix *m = o->m;
    uint64_t words = s->codes.shape[1];
    LAMINA_TRY(take_bits(o, "2 3 4 5 6 7 8"));
    take_rows(o, s->codes.shape[0], s->cols != 0 ? s->cols : words * 32 / s->bits, QUANT_CODE_UINT, m->bits);
    if (m->cols > words * 32 || div_up(m->cols * m->bits, 32) != words) {
        return base_fail(o->err, LAMINA_DAMAGED, "%s: %" PRIu64 " columns of %u bits do not fill rows of %" PRIu64 " words",
                         s->name, m->cols, m->bits, words);
    }
    m->zero_fixed = 1 << (m->bits - 1);
    LAMINA_TRY(take_row_scales(o));
    if (s->zeros.dtype != NULL) {
        LAMINA_TRY(check(o, "zero points", &s->zeros, "I32 U32"));
        LAMINA_TRY(expect_shape(o, "zero points", &s->zeros, div_up(m->rows * m->bits, 32), m->groups));
    }
    return take_order(o);
}

static lamina_status open_mlx(struct open *o) {
    const struct quant_source *s = o->s;
    struct quant_matrix *m = o->m;
    LAMINA_TRY(take_bits(o, "2 3 4 5 6 8"));
    if (s->codes.shape[1] * 32 % m->bits != 0) {
        return unsupported(o, "its words do not hold a whole number of codes");
    }
    take_rows(o, s->codes.shape[0], s->codes.shape[1] * 32 / m->bits, QUANT_CODE_UINT, m->bits);
    LAMINA_TRY(check(o, "minima", &s->zeros, s->scales.dtype));
    uint64_t groups = s->scales.rank == 2 ? s->scales.shape[1] : 0;
    LAMINA_TRY(expect_shape(o, "scales", &s->scales, m->rows, groups));
    LAMINA_TRY(expect_shape(o, "minima", &s->zeros, m->rows, groups));
    m->scale_rows = 1;
    m->scale_group_step = 1;
    m->scale_row_step = groups;
    return take_groups(o, groups);
}

/* ---- all of them ---- */

enum { WITH_ZEROS = 1, WITH_ORDER = 2, WITH_GLOBAL = 4, ANY_RANK = 8 };

static const struct {
    const char *label, *codes, *scales;
    unsigned with; /* tensors that it may have besides, and what else is special */
    lamina_status (*open)(struct open *o);
} methods[QUANT_METHOD_COUNT] = {
    [QUANT_FP8] = {"fp8", "F8_E4M3 F8_E5M2", "F32 F16 BF16 F8_E8M0 U8", 0, open_fp8},
    [QUANT_INT8] = {"int8", "I8", "F32 F16 BF16", 0, open_int8},
    [QUANT_BNB8] = {"bitsandbytes int8", "I8", "F32", 0, open_int8},
    [QUANT_MXFP4] = {"mxfp4", "U8 I8 U32 I32", "U8 F8_E8M0", ANY_RANK, open_mxfp4},
    [QUANT_NVFP4] = {"nvfp4", "U8", "F8_E4M3", WITH_GLOBAL, open_nvfp4},
    [QUANT_GPTQ] = {"gptq", "I32 U32", "F16 BF16 F32", WITH_ZEROS | WITH_ORDER, open_gptq},
    [QUANT_AWQ] = {"awq", "I32 U32", "F16 BF16 F32", WITH_ZEROS, open_awq},
    [QUANT_PACKED] = {"pack-quantized", "I32 U32", "F16 BF16 F32", WITH_ZEROS | WITH_ORDER, open_packed},
    [QUANT_MLX] = {"mlx", "U32 I32", "F16 BF16 F32", WITH_ZEROS, open_mlx},
};

lamina_status quant_matrix_open(const struct quant_source *s, struct quant_matrix *m, struct lamina_error *err) {
    struct quant_matrix made = {.method = s->method};
    struct open o = {.s = s, .m = &made, .err = err};
    unsigned with = methods[s->method].with;
    unsigned has = (s->zeros.dtype != NULL ? WITH_ZEROS : 0u) | (s->order.dtype != NULL ? WITH_ORDER : 0u) |
                   (s->global.dtype != NULL ? WITH_GLOBAL : 0u);
    if ((has & ~with) != 0) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "%s: it has zero points, column groups or a global scale, which %s is not read with here", s->name,
                         methods[s->method].label);
    }
    LAMINA_TRY(check(&o, "codes", &s->codes, methods[s->method].codes));
    LAMINA_TRY(check(&o, "scales", &s->scales, methods[s->method].scales));
    if ((with & ANY_RANK) == 0) {
        LAMINA_TRY(expect_rank_2(&o));
    }
    take_scale_type(&o);
    LAMINA_TRY(methods[s->method].open(&o));
    made.codes = s->codes.bytes.ptr;
    made.scales = s->scales.bytes.ptr;
    made.zeros = s->zeros.dtype != NULL ? s->zeros.bytes.ptr : NULL;
    *m = made;
    return LAMINA_OK;
}
