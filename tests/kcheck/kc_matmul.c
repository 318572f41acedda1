/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks of the matrix product and the row look-up. Gaps between rows of y and between panels must stay untouched and
 * unread; y, x and the last panel end at an unreadable page.
 */
#include <string.h>

#include "kcheck.h"

struct shape {
    uint32_t rows, panels, cols;
    enum kern_dtype t;
    enum kc_kind kind;
    bool accumulate;
};

static void check_product(struct kc *k, struct shape s) {
    const size_t elem = kern_dtype_bytes(s.t), panel = (size_t)s.cols * KERN_PANEL_ROWS * elem;
    const size_t stride = panel + kc_below(k, 3) * 64, ldx = s.cols + kc_below(k, 2) * 16;
    const size_t ldy = (size_t)s.panels * KERN_PANEL_ROWS + kc_below(k, 2) * 16;
    const size_t y_floats = (s.rows - 1) * ldy + (size_t)s.panels * KERN_PANEL_ROWS;
    struct kc_buffer w = kc_alloc((s.panels - 1) * stride + panel);
    struct kc_buffer x = kc_alloc(((s.rows - 1) * ldx + s.cols) * sizeof(float));
    struct kc_buffer want = kc_alloc(y_floats * sizeof(float)), got = kc_alloc(y_floats * sizeof(float));
    kc_fill_dtype(k, w.p, w.bytes / elem, s.t, s.kind);
    kc_fill(k, x.p, x.bytes / sizeof(float), s.kind);
    kc_fill(k, want.p, y_floats, s.kind == KC_SPECIAL ? KC_EXTREME : s.kind);
    memcpy(got.p, want.p, want.bytes);
    struct kern_matmul m = {
        .w = w.p, .panel_stride = stride, .x = x.p, .ldx = ldx, .y = want.p, .ldy = ldy,
        .rows = s.rows, .panels = s.panels, .cols = s.cols, .accumulate = s.accumulate,
    };
    k->reference.matmul[s.t](&m);
    m.y = got.p;
    k->table.matmul[s.t](&m);
    kc_same_floats(k, want.p, got.p, y_floats, "matmul %s rows %u panels %u cols %u kind %d accumulate %d",
                   kern_dtype_name(s.t), s.rows, s.panels, s.cols, s.kind, s.accumulate);
    kc_free(&w);
    kc_free(&x);
    kc_free(&want);
    kc_free(&got);
}

/* A chain cut in two calls, and each row alone, must equal the whole: what tiling, batching and threads rely on. */
static void check_invariance(struct kc *k, enum kern_dtype t, uint32_t rows, uint32_t panels) {
    enum { COLS = 300, CUT = 254, MAX_ROWS = 40 };
    const size_t elem = kern_dtype_bytes(t), panel = (size_t)COLS * KERN_PANEL_ROWS * elem;
    const size_t ldy = (size_t)panels * KERN_PANEL_ROWS, y_floats = rows * ldy;
    struct kc_buffer w = kc_alloc(panels * panel), x = kc_alloc(rows * COLS * sizeof(float));
    struct kc_buffer whole = kc_alloc(y_floats * sizeof(float)), pieces = kc_alloc(y_floats * sizeof(float));
    kc_fill_dtype(k, w.p, w.bytes / elem, t, KC_PLAIN);
    kc_fill(k, x.p, x.bytes / sizeof(float), KC_PLAIN);
    struct kern_matmul m = {
        .w = w.p, .panel_stride = panel, .x = x.p, .ldx = COLS, .y = whole.p, .ldy = ldy,
        .rows = rows, .panels = panels, .cols = COLS,
    };
    k->table.matmul[t](&m);
    m.rows = 1;
    m.panels = 1;
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t p = 0; p < panels; p++) {
            m.w = (const char *)w.p + p * panel;
            m.x = (const float *)x.p + r * COLS;
            m.y = (float *)pieces.p + r * ldy + (size_t)p * KERN_PANEL_ROWS;
            m.cols = CUT;
            m.accumulate = false;
            k->table.matmul[t](&m);
            m.w = (const char *)m.w + (size_t)CUT * KERN_PANEL_ROWS * elem;
            m.x += CUT;
            m.cols = COLS - CUT;
            m.accumulate = true;
            k->table.matmul[t](&m);
        }
    }
    kc_same_floats(k, whole.p, pieces.p, y_floats, "matmul %s rows %u panels %u against single rows in two cuts",
                   kern_dtype_name(t), rows, panels);
    kc_free(&w);
    kc_free(&x);
    kc_free(&whole);
    kc_free(&pieces);
}

static void check_unpack(struct kc *k, enum kern_dtype t, uint32_t cols, enum kc_kind kind) {
    const size_t elem = kern_dtype_bytes(t);
    struct kc_buffer panel = kc_alloc((size_t)cols * KERN_PANEL_ROWS * elem);
    struct kc_buffer want = kc_alloc(cols * sizeof(float)), got = kc_alloc(cols * sizeof(float));
    kc_fill_dtype(k, panel.p, panel.bytes / elem, t, kind);
    for (uint32_t row = 0; row < KERN_PANEL_ROWS; row++) {
        k->reference.unpack_row[t](want.p, panel.p, row, cols);
        k->table.unpack_row[t](got.p, panel.p, row, cols);
        kc_same_floats(k, want.p, got.p, cols, "unpack_row %s row %u cols %u", kern_dtype_name(t), row, cols);
    }
    kc_free(&panel);
    kc_free(&want);
    kc_free(&got);
}

void kc_check_matmul(struct kc *k) {
    static const uint32_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 24, 25, 37, 64, 131};
    static const uint32_t cols[] = {2, 4, 6, 14, 16, 18, 30, 62, 64, 126, 128, 130, 254, 256, 258, 384, 510, 514};
    for (int t = 0; t < KERN_DTYPES; t++) {
        for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
            for (uint32_t panels = 1; panels <= KERN_BLOCK_PANELS; panels++) {
                for (int i = 0; i < 4; i++) {
                    struct shape s = {.rows = rows[r], .panels = panels, .t = (enum kern_dtype)t};
                    s.cols = cols[kc_below(k, rows[r] > 30 ? 12 : ARRAY_LEN(cols))];
                    s.kind = i == 0 ? KC_PLAIN : (enum kc_kind)kc_below(k, 3);
                    s.accumulate = kc_below(k, 2);
                    check_product(k, s);
                }
            }
            check_invariance(k, (enum kern_dtype)t, rows[r] > 40 ? 1 : rows[r], 1 + kc_below(k, 4));
        }
        check_product(k, (struct shape){1, 4, 16384, (enum kern_dtype)t, KC_PLAIN, false});
        check_product(k, (struct shape){5, 1, 4098, (enum kern_dtype)t, KC_PLAIN, true});
        check_product(k, (struct shape){512, 2, 30, (enum kern_dtype)t, KC_PLAIN, true});
        for (size_t c = 0; c < ARRAY_LEN(cols); c++) {
            check_unpack(k, (enum kern_dtype)t, cols[c], (enum kc_kind)(c % 3));
        }
    }
}
