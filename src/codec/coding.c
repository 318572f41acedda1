/* SPDX-License-Identifier: Apache-2.0
 * Decoding of coded rows, and their way into panels. */
#include "codec/coding.h"

#include <math.h>
#include <string.h>

#include "base/span.h"

/* e4m3fn without its sign: 4 bits of exponent (bias 7), 3 of fraction, no infinity, all ones is NaN. */
static const float FP8[128] = {
    0x0.0p+0f, 0x1.0p-9f, 0x1.0p-8f, 0x1.8p-8f, 0x1.0p-7f, 0x1.4p-7f, 0x1.8p-7f, 0x1.cp-7f,
    0x1.0p-6f, 0x1.2p-6f, 0x1.4p-6f, 0x1.6p-6f, 0x1.8p-6f, 0x1.ap-6f, 0x1.cp-6f, 0x1.ep-6f,
    0x1.0p-5f, 0x1.2p-5f, 0x1.4p-5f, 0x1.6p-5f, 0x1.8p-5f, 0x1.ap-5f, 0x1.cp-5f, 0x1.ep-5f,
    0x1.0p-4f, 0x1.2p-4f, 0x1.4p-4f, 0x1.6p-4f, 0x1.8p-4f, 0x1.ap-4f, 0x1.cp-4f, 0x1.ep-4f,
    0x1.0p-3f, 0x1.2p-3f, 0x1.4p-3f, 0x1.6p-3f, 0x1.8p-3f, 0x1.ap-3f, 0x1.cp-3f, 0x1.ep-3f,
    0x1.0p-2f, 0x1.2p-2f, 0x1.4p-2f, 0x1.6p-2f, 0x1.8p-2f, 0x1.ap-2f, 0x1.cp-2f, 0x1.ep-2f,
    0x1.0p-1f, 0x1.2p-1f, 0x1.4p-1f, 0x1.6p-1f, 0x1.8p-1f, 0x1.ap-1f, 0x1.cp-1f, 0x1.ep-1f,
    0x1.0p+0f, 0x1.2p+0f, 0x1.4p+0f, 0x1.6p+0f, 0x1.8p+0f, 0x1.ap+0f, 0x1.cp+0f, 0x1.ep+0f,
    0x1.0p+1f, 0x1.2p+1f, 0x1.4p+1f, 0x1.6p+1f, 0x1.8p+1f, 0x1.ap+1f, 0x1.cp+1f, 0x1.ep+1f,
    0x1.0p+2f, 0x1.2p+2f, 0x1.4p+2f, 0x1.6p+2f, 0x1.8p+2f, 0x1.ap+2f, 0x1.cp+2f, 0x1.ep+2f,
    0x1.0p+3f, 0x1.2p+3f, 0x1.4p+3f, 0x1.6p+3f, 0x1.8p+3f, 0x1.ap+3f, 0x1.cp+3f, 0x1.ep+3f,
    0x1.0p+4f, 0x1.2p+4f, 0x1.4p+4f, 0x1.6p+4f, 0x1.8p+4f, 0x1.ap+4f, 0x1.cp+4f, 0x1.ep+4f,
    0x1.0p+5f, 0x1.2p+5f, 0x1.4p+5f, 0x1.6p+5f, 0x1.8p+5f, 0x1.ap+5f, 0x1.cp+5f, 0x1.ep+5f,
    0x1.0p+6f, 0x1.2p+6f, 0x1.4p+6f, 0x1.6p+6f, 0x1.8p+6f, 0x1.ap+6f, 0x1.cp+6f, 0x1.ep+6f,
    0x1.0p+7f, 0x1.2p+7f, 0x1.4p+7f, 0x1.6p+7f, 0x1.8p+7f, 0x1.ap+7f, 0x1.cp+7f, 0x1.ep+7f,
    0x1.0p+8f, 0x1.2p+8f, 0x1.4p+8f, 0x1.6p+8f, 0x1.8p+8f, 0x1.ap+8f, 0x1.cp+8f, NAN,
};

/* e2m1 with its sign in the top bit. */
static const float FP4[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                              -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

float coding_fp8(uint8_t code) {
    return (code & 128) != 0 ? -FP8[code & 127] : FP8[code];
}

uint64_t coding_row_bytes(enum panel_coding coding, uint64_t cols) {
    switch (coding) {
    case PANEL_FP8:
        return cols + (cols + CODING_FP8_COLS - 1) / CODING_FP8_COLS * sizeof(float);
    case PANEL_MXFP4:
        return cols % CODING_MXFP4_COLS == 0 ? cols / 2 + cols / CODING_MXFP4_COLS : 0;
    default:
        return 0;
    }
}

static void decode_fp8(const uint8_t *record, uint64_t cols, uint64_t col, uint32_t count, float *out) {
    const uint8_t *scales = record + cols;
    for (uint32_t i = 0; i < count;) {
        uint64_t group = (col + i) / CODING_FP8_COLS;
        uint32_t end = i + CODING_FP8_COLS < count ? i + CODING_FP8_COLS : count;
        uint32_t bits = load_le32(scales + group * sizeof(float));
        float scale = 0;
        memcpy(&scale, &bits, sizeof(scale));
        for (; i < end; i++) {
            out[i] = coding_fp8(record[col + i]) * scale;
        }
    }
}

static void decode_mxfp4(const uint8_t *record, uint64_t cols, uint64_t col, uint32_t count, float *out) {
    for (uint32_t i = 0; i < count; i++) {
        uint64_t c = col + i;
        uint8_t byte = record[c / 2];
        int exponent = record[cols / 2 + c / CODING_MXFP4_COLS] - 127;
        out[i] = ldexpf(FP4[c % 2 == 0 ? byte & 15 : byte >> 4], exponent);
    }
}

void coding_decode(enum panel_coding coding, const uint8_t *record, uint64_t cols, uint64_t col, uint32_t count, float *out) {
    if (coding == PANEL_FP8) {
        decode_fp8(record, cols, col, count, out);
    } else {
        decode_mxfp4(record, cols, col, count, out);
    }
}

void coding_decode_block(const struct panel_shape *s, const struct panel_tile *t, const uint8_t *tile, uint32_t group,
                         uint32_t block, float *out) {
    enum { GROUP = KERN_PANEL_ROWS * KERN_BLOCK_PANELS };
    const uint32_t cols = panel_block_cols(s, block);
    const uint64_t col = (uint64_t)block * KERN_BLOCK_COLS;
    const uint32_t real = (uint32_t)(s->cols - col < cols ? s->cols - col : cols);
    const uint32_t rows = panel_group_panels(s, group) * KERN_PANEL_ROWS;
    float row[KERN_BLOCK_COLS + 1] = {0};
    for (uint32_t r = 0; r < rows; r++) {
        const uint64_t at = (uint64_t)group * GROUP + r;
        float *panel = out + (size_t)(r / KERN_PANEL_ROWS) * cols * KERN_PANEL_ROWS + (size_t)2 * (r % KERN_PANEL_ROWS);
        if (at < s->rows) {
            coding_decode((enum panel_coding)s->coding, tile + (at - t->row) * s->row_bytes, s->cols, col, real, row);
        } else {
            memset(row, 0, sizeof(row));
        }
        for (uint32_t c = 0; c < cols; c += 2) {
            panel[(size_t)c * KERN_PANEL_ROWS] = row[c];
            panel[(size_t)c * KERN_PANEL_ROWS + 1] = row[c + 1];
        }
    }
}
