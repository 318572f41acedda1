/* SPDX-License-Identifier: Apache-2.0
 * Codes, scales and zero points of opened matrices. Codes of every method are streams of bits, low bits first, in words of four
 * bytes that follow each other or stand a row of the file apart; so there is one way to fetch a code (and short cuts for
 * whole bytes and nibbles). quant_open.c has proved that whatever is fetched here is there. */
#include <string.h>

#include "base/checked.h"
#include "format/quant_matrix.h"
#include "format/quant_matrix_priv.h"

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

void quant_matrix_codes(const struct quant_matrix *m, uint64_t row, uint64_t col, size_t count, uint8_t *out) {
    if (m->method == QUANT_GPTQ) {
        for (size_t i = 0; i < count; i++) {
            out[i] = (uint8_t)code_at(m->codes + 4 * row, m->code_stride, col + i, m->bits);
        }
    } else if (m->method == QUANT_AWQ) {
        const uint64_t place = awq_place(row);
        const uint8_t *two = m->codes + col * m->code_stride + place / 2;
        for (size_t i = 0; i < count; i++) {
            out[i] = two[i * m->code_stride] >> (4 * (place % 2)) & 15;
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

uint64_t quant_matrix_group(const struct quant_matrix *m, uint64_t col) {
    return m->order != NULL ? load_le32(m->order + 4 * col) : col / m->group;
}

static uint64_t scale_index(const struct quant_matrix *m, uint64_t row, uint64_t group) {
    return row / m->scale_rows * m->scale_row_step + group * m->scale_group_step;
}

const uint8_t *quant_matrix_scale(const struct quant_matrix *m, uint64_t row, uint64_t group) {
    return m->scales + scale_index(m, row, group) * m->scale_bytes;
}

const uint8_t *quant_matrix_minimum(const struct quant_matrix *m, uint64_t row, uint64_t group) {
    return m->zeros + scale_index(m, row, group) * m->scale_bytes;
}

unsigned quant_matrix_zero(const struct quant_matrix *m, uint64_t row, uint64_t group) {
    if (m->zeros == NULL) {
        return (unsigned)m->zero_fixed;
    }
    return (quant_zero_code(m, row, group) + m->zero_plus) & ((1u << m->bits) - 1);
}
