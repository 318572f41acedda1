/* SPDX-License-Identifier: Apache-2.0
 * The weights of opened matrices. Codes of every method are streams of bits, low bits first, in words of four bytes that
 * follow each other or stand a row of the file apart; so there is one way to fetch a code (and short cuts for whole
 * bytes and nibbles), and one loop over the groups of a row. quant_open.c has proved that whatever is fetched here is there. */
#include "base/checked.h"
#include "format/quant_matrix.h"
#include "format/quant_matrix_priv.h"
#include "format/quant_priv.h"

enum { CHUNK = 512 };

/* Code `index` of a stream whose words of four bytes stand `stride` bytes apart. */
static unsigned code_at(const uint8_t *base, uint64_t stride, uint64_t index, unsigned bits) {
    uint64_t bit = index * bits;
    uint64_t byte = bit / 8;
    unsigned shift = (unsigned)(bit % 8);
    unsigned v = base[byte / 4 * stride + byte % 4];
    if (shift + bits > 8) {
        byte++;
        v |= (unsigned)base[byte / 4 * stride + byte % 4] << 8;
    }
    return v >> shift & ((1u << bits) - 1);
}

/* AWQ: where in its word of eight nibbles a row stands. */
static uint64_t awq_place(uint64_t row) {
    static const uint8_t places[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    return (row & ~UINT64_C(7)) | places[row % 8];
}

unsigned quant_zero_code(const struct quant_matrix *m, uint64_t row, uint64_t group) {
    switch (m->method) {
    case QUANT_AWQ:
        return code_at(m->zeros + 4 * group * m->zero_row_words, 4, awq_place(row), m->bits);
    case QUANT_PACKED:
        return code_at(m->zeros + 4 * group, 4 * m->groups, row, m->bits);
    default:
        return code_at(m->zeros + 4 * group * m->zero_row_words, 4, row, m->bits);
    }
}

/* Codes [col, col + count) of a row. */
static void take_codes(const struct quant_matrix *m, uint64_t row, uint64_t col, size_t count, uint8_t *out) {
    if (m->method == QUANT_GPTQ) {
        for (size_t i = 0; i < count; i++) {
            out[i] = (uint8_t)code_at(m->codes + 4 * row, m->code_stride, col + i, m->bits);
        }
    } else if (m->method == QUANT_AWQ) {
        uint64_t place = awq_place(row);
        for (size_t i = 0; i < count; i++) {
            out[i] = (uint8_t)code_at(m->codes + (col + i) * m->code_stride, 4, place, m->bits);
        }
    } else if (m->bits == 8) {
        memcpy(out, m->codes + row * m->code_stride + col, count);
    } else if (m->bits == 4) {
        const uint8_t *line = m->codes + row * m->code_stride;
        for (size_t i = 0; i < count; i++) {
            out[i] = (uint8_t)(line[(col + i) / 2] >> (4 * ((col + i) % 2)) & 15);
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            out[i] = (uint8_t)code_at(m->codes + row * m->code_stride, 4, col + i, m->bits);
        }
    }
}

void quant_fill_values(struct quant_matrix *m) {
    static const float e2m1[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                   -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
    for (unsigned i = 0; i < 256; i++) {
        uint8_t code = (uint8_t)i;
        m->values[i] = m->code == QUANT_CODE_E4M3   ? float_of_e4m3(code)
                       : m->code == QUANT_CODE_E5M2 ? float_of_e5m2(code)
                       : m->code == QUANT_CODE_E2M1 ? e2m1[code & 15]
                       : m->code == QUANT_CODE_INT8 ? (float)(int8_t)code
                                                    : (float)code;
    }
}

/* What all weights of a row in one group have in common. */
struct common {
    float scale, minimum;
    int32_t zero;
};

static struct common common_of(const struct quant_matrix *m, uint64_t row, uint64_t group) {
    uint64_t at = row / m->scale_rows * m->scale_row_step + group * m->scale_group_step;
    struct common c = {.scale = m->scale_of(m->scales + at * m->scale_bytes), .zero = m->zero_fixed};
    if (m->method == QUANT_NVFP4) {
        c.scale = m->divide ? c.scale / m->global : c.scale * m->global;
    } else if (m->method == QUANT_MLX) {
        c.minimum = m->scale_of(m->zeros + at * m->scale_bytes);
    } else if (m->zeros != NULL) {
        c.zero = (int32_t)((quant_zero_code(m, row, group) + m->zero_plus) & ((1u << m->bits) - 1));
    }
    return c;
}

static void take_weights(const struct quant_matrix *m, const struct common *c, const uint8_t *codes, size_t count,
                         float *out) {
    static const float over_127 = 7.874015718698502e-3f; /* bitsandbytes multiplies by it, in this order */
    switch (m->method) {
    case QUANT_GPTQ:
    case QUANT_AWQ:
    case QUANT_PACKED:
        for (size_t i = 0; i < count; i++) {
            out[i] = (float)(codes[i] - c->zero) * c->scale;
        }
        break;
    case QUANT_MLX:
        for (size_t i = 0; i < count; i++) {
            float product = m->values[codes[i]] * c->scale;
            out[i] = product + c->minimum;
        }
        break;
    case QUANT_BNB8:
        for (size_t i = 0; i < count; i++) {
            float product = m->values[codes[i]] * c->scale;
            out[i] = product * over_127;
        }
        break;
    default:
        for (size_t i = 0; i < count; i++) {
            out[i] = m->values[codes[i]] * c->scale;
        }
        break;
    }
}

static void one_row(const struct quant_matrix *m, uint64_t row, float *out) {
    uint8_t codes[CHUNK];
    for (uint64_t col = 0; col < m->cols;) {
        size_t count = (size_t)min_u64(CHUNK, m->cols - col);
        take_codes(m, row, col, count, codes);
        for (size_t i = 0; i < count;) {
            uint64_t at = col + i;
            uint64_t group = m->order != NULL ? load_le32(m->order + 4 * at) : at / m->group;
            uint64_t end = m->order != NULL ? at + 1 : min_u64(col + count, (group + 1) * m->group);
            struct common c = common_of(m, row, group);
            take_weights(m, &c, codes + i, (size_t)(end - at), out + at);
            i += (size_t)(end - at);
        }
        col += count;
    }
}

void quant_matrix_rows(const struct quant_matrix *m, uint64_t first, uint64_t count, float *out) {
    for (uint64_t i = 0; i < count; i++) {
        one_row(m, first + i, out + i * m->cols);
    }
}
