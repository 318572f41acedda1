/* SPDX-License-Identifier: Apache-2.0
 * Experts on the CPU device: those in memory are multiplied while others are read, and no bit of the result depends on which was
 * which, on threads or on room for both. Against plain sums; failures of either kind of tile come back as errors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/panel.h"
#include "dev/dev.h"
#include "sys/cpu.h"

/* Matrices of several tiles each: 2176 x 520 floats are 4.3 MiB. */
enum { HIDDEN = 520, FFN = 2176, EXPERTS = 6, TOP_K = 3, ROWS = 3, ROOM = 2 * ROWS, PARTS = 3, MOST_TILES = 8 };
enum { ROLE_GATE = 5, ROLE_UP, ROLE_DOWN };

struct matrix {
    struct panel_shape shape;
    float *rows;                 /* [rows][cols] as they are */
    uint8_t *tile[MOST_TILES];
};

static struct {
    struct matrix matrix[EXPERTS][PARTS];
    uint8_t resident[EXPERTS];
    float *reg[KERN_REGS];
    size_t stride[KERN_REGS];
    struct kern_choice choice[ROWS];
    _Atomic uint32_t asked[EXPERTS * PARTS * MOST_TILES]; /* how often a tile was found not ready */
    _Atomic uint32_t taken[EXPERTS * PARTS * MOST_TILES], given_back;
    _Atomic uint32_t early;      /* tiles of experts in memory taken before the last of the others */
    _Atomic uint32_t to_read;    /* tiles of the others not taken yet */
    uint32_t fails;              /* the tile that cannot be had, or UINT32_MAX */
    size_t len;                  /* said of every tile; plain ones are not asked */
} world;

static uint32_t random_state = 7;

static float draw(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(int32_t)random_state * 0x1p-31f;
}

static void make_matrix(struct matrix *m, uint32_t rows, uint32_t cols) {
    assert_true(panel_shape_init(&m->shape, rows, cols, KERN_F32, PANEL_BLOCKS));
    assert_true(m->shape.tiles > 1 && m->shape.tiles <= MOST_TILES && m->shape.parts_per_group == 1);
    m->rows = (float *)malloc((size_t)rows * cols * sizeof(float));
    for (size_t i = 0; i < (size_t)rows * cols; i++) {
        m->rows[i] = draw() * 0.1f;
    }
    for (uint32_t i = 0; i < m->shape.tiles; i++) {
        struct panel_tile t;
        panel_tile_at(&m->shape, i, &t);
        m->tile[i] = (uint8_t *)aligned_alloc(4096, (t.bytes + 4095) / 4096 * 4096);
        panel_pack_tile(&m->shape, &t, m->rows + t.row * cols, cols * sizeof(float), m->tile[i]);
    }
}

static int make_world(void **state) {
    (void)state;
    for (uint32_t e = 0; e < EXPERTS; e++) {
        make_matrix(&world.matrix[e][0], FFN, HIDDEN);
        make_matrix(&world.matrix[e][1], FFN, HIDDEN);
        make_matrix(&world.matrix[e][2], HIDDEN, FFN);
    }
    for (unsigned r = 0; r < KERN_REGS; r++) {
        uint32_t width = r == KERN_G || r == KERN_U ? FFN : r == KERN_B ? HIDDEN * TOP_K : HIDDEN;
        world.stride[r] = kern_row_stride(width);
        world.reg[r] = (float *)aligned_alloc(64, ROOM * world.stride[r] * sizeof(float));
    }
    for (uint32_t t = 0; t < ROWS; t++) {
        for (uint32_t k = 0; k < TOP_K; k++) {
            world.choice[t].expert[k] = (uint16_t)(t + k + (k == 2)); /* experts 0 .. 5, some by several rows */
            world.choice[t].weight[k] = 0.2f + 0.1f * (float)(t + k);
        }
    }
    return 0;
}

static int drop_world(void **state) {
    (void)state;
    for (uint32_t e = 0; e < EXPERTS; e++) {
        for (uint32_t p = 0; p < PARTS; p++) {
            free(world.matrix[e][p].rows);
            for (uint32_t i = 0; i < MOST_TILES; i++) {
                free(world.matrix[e][p].tile[i]);
            }
        }
    }
    for (unsigned r = 0; r < KERN_REGS; r++) {
        free(world.reg[r]);
    }
    return 0;
}

static uint32_t expert_of(uint32_t tile) {
    return tile / (PARTS * MOST_TILES);
}

static const void *take(void *user, uint32_t tile, size_t *len) {
    (void)user;
    *len = world.len;
    bool here = world.resident[expert_of(tile)] != 0;
    atomic_fetch_add(&world.taken[tile], 1);
    if (here) {
        atomic_fetch_add(&world.early, atomic_load(&world.to_read) != 0);
    } else {
        atomic_fetch_sub(&world.to_read, 1);
    }
    return tile == world.fails ? NULL : world.matrix[expert_of(tile)][tile / MOST_TILES % PARTS].tile[tile % MOST_TILES];
}

static void give_back(void *user, uint32_t tile) {
    (void)user;
    (void)tile;
    atomic_fetch_add(&world.given_back, 1);
}

/* Tiles that are read come at the third time they are asked for. */
static bool is_ready(void *user, uint32_t tile) {
    (void)user;
    return world.resident[expert_of(tile)] != 0 || atomic_fetch_add(&world.asked[tile], 1) >= 2;
}

static bool find_matrix(void *user, int role, uint32_t expert, struct dev_matrix *out) {
    uint32_t part = (uint32_t)(role - ROLE_GATE);
    struct matrix *m = &world.matrix[expert][part];
    *out = (struct dev_matrix){
        .shape = &m->shape,
        .tiles = {.user = user, .first = (expert * PARTS + part) * MOST_TILES, .count = m->shape.tiles, .acquire = take,
                  .release = give_back, .ready = is_ready},
    };
    return true;
}

static bool is_resident(void *user, uint32_t expert) {
    (void)user;
    return world.resident[expert] != 0;
}

static struct kern_op experts_op(bool gated) {
    struct kern_op op = {.kind = KERN_OP_EXPERTS, .dst = KERN_T, .src = KERN_H, .vector = -1, .vector2 = -1, .matrix = ROLE_GATE,
                         .width = HIDDEN, .experts = EXPERTS, .expert_ffn = FFN, .act = KERN_ACT_SILU, .gated = gated};
    op.routing.top_k = TOP_K;
    return op;
}

static lamina_status run(uint32_t threads, uint32_t resident, uint32_t room, bool gated, float *out) {
    struct lamina_error err = {0};
    struct dev *dev = NULL;
    struct dev_cpu_options o = {.threads = threads, .cpu_flags = sys_cpu_flags(), .kv_blocks = 1};
    struct dev_pass pass = {.rows = ROWS, .room = room, .matrix = find_matrix, .resident = is_resident, .choices = world.choice};
    struct kern_op op = experts_op(gated);
    memcpy(pass.reg, world.reg, sizeof(pass.reg));
    memcpy(pass.stride, world.stride, sizeof(pass.stride));
    random_state = 99;
    for (uint32_t t = 0; t < ROWS; t++) {
        for (uint32_t i = 0; i < HIDDEN; i++) {
            world.reg[KERN_H][t * world.stride[KERN_H] + i] = draw();
        }
    }
    memset((void *)world.asked, 0, sizeof(world.asked));
    memset((void *)world.taken, 0, sizeof(world.taken));
    atomic_store(&world.given_back, 0);
    atomic_store(&world.early, 0);
    atomic_store(&world.to_read, 0);
    for (uint32_t e = 0; e < EXPERTS; e++) {
        world.resident[e] = (resident >> e & 1) != 0;
        for (uint32_t p = gated ? 0 : 1; p < PARTS && world.resident[e] == 0; p++) {
            atomic_fetch_add(&world.to_read, world.matrix[e][p].shape.tiles);
        }
    }
    assert_int_equal(dev_cpu_open(&dev, &o, &err), LAMINA_OK);
    lamina_status status = dev->table->run(dev, &op, 1, &pass, &err);
    assert_int_equal(status == LAMINA_OK, err.message[0] == 0);
    dev_close(&dev);
    for (uint32_t t = 0; t < ROWS; t++) {
        memcpy(out + (size_t)t * HIDDEN, world.reg[KERN_T] + t * world.stride[KERN_T], HIDDEN * sizeof(float));
    }
    return status;
}

static void product(const struct matrix *m, const double *x, double *y) {
    for (uint64_t r = 0; r < m->shape.rows; r++) {
        y[r] = 0;
        for (uint64_t c = 0; c < m->shape.cols; c++) {
            y[r] += (double)m->rows[r * m->shape.cols + c] * x[c];
        }
    }
}

/* The same in doubles, from the matrices as they are. */
static void check_sums(const float *out, bool gated) {
    static double gate[FFN], up[FFN], y[HIDDEN], x[HIDDEN];
    for (uint32_t t = 0; t < ROWS; t++) {
        double want[HIDDEN] = {0};
        for (uint32_t i = 0; i < HIDDEN; i++) {
            x[i] = world.reg[KERN_H][t * world.stride[KERN_H] + i];
        }
        for (uint32_t k = 0; k < TOP_K; k++) {
            const struct matrix *m = world.matrix[world.choice[t].expert[k]];
            product(&m[0], x, gate);
            product(&m[1], x, up);
            for (uint32_t i = 0; i < FFN; i++) {
                double z = gated ? gate[i] : up[i];
                up[i] = z / (1.0 + exp(-z)) * (gated ? up[i] : 1.0);
            }
            product(&m[2], up, y);
            for (uint32_t i = 0; i < HIDDEN; i++) {
                want[i] += (double)world.choice[t].weight[k] * y[i];
            }
        }
        for (uint32_t i = 0; i < HIDDEN; i++) {
            assert_true(fabs((double)out[t * HIDDEN + i] - want[i]) < 1e-3 * (1.0 + fabs(want[i])));
        }
    }
}

/* Each tile of a chosen expert once, and each given back. */
static void check_tiles(bool gated) {
    uint32_t all = 0;
    for (uint32_t e = 0; e < EXPERTS; e++) {
        for (uint32_t p = 0; p < PARTS; p++) {
            for (uint32_t i = 0; i < MOST_TILES; i++) {
                bool wanted = i < world.matrix[e][p].shape.tiles && (gated || p > 0);
                assert_int_equal(world.taken[(e * PARTS + p) * MOST_TILES + i], wanted);
                all += wanted;
            }
        }
    }
    assert_int_equal(world.given_back, all);
}

static void in_memory_or_read_is_the_same(void **state) {
    (void)state;
    static float want[ROWS * HIDDEN], out[ROWS * HIDDEN];
    world.fails = UINT32_MAX;
    for (int gated = 0; gated < 2; gated++) {
        assert_int_equal(run(1, 0, ROWS, gated != 0, want), LAMINA_OK);
        check_sums(want, gated != 0);
        for (uint32_t threads = 1; threads <= 4; threads++) {
            for (uint32_t resident = 0; resident < 1u << EXPERTS; resident += threads == 1 ? 1 : 5) {
                for (uint32_t room = ROWS; room <= ROOM; room += ROOM - ROWS) {
                    assert_int_equal(run(threads, resident, room, gated != 0, out), LAMINA_OK);
                    assert_memory_equal(out, want, sizeof(want));
                    check_tiles(gated != 0);
                    bool both = resident != 0 && resident != (1u << EXPERTS) - 1;
                    assert_int_equal(world.early != 0, both); /* nobody waits with work at hand */
                }
            }
        }
    }
}

static void a_wait_is_used(void **state) {
    (void)state;
    static float out[ROWS * HIDDEN];
    world.fails = UINT32_MAX;
    /* One worker, expert 5 in memory: its first tiles fill the two refusals before the very first tile that is read. */
    assert_int_equal(run(1, 1u << 5, ROOM, true, out), LAMINA_OK);
    assert_int_equal(world.asked[0], 3);
    /* Without room the waits are waited through: nobody asks. */
    assert_int_equal(run(1, 1u << 5, ROOM - 1, true, out), LAMINA_OK);
    assert_int_equal(world.asked[0], 0);
}

static void a_tile_that_cannot_be_had_is_an_error(void **state) {
    (void)state;
    static float out[ROWS * HIDDEN];
    static const uint32_t tiles[] = {0, 1, 2 * MOST_TILES, 3 * PARTS * MOST_TILES, 3 * PARTS * MOST_TILES + MOST_TILES,
                                     5 * PARTS * MOST_TILES + 2 * MOST_TILES + 1};
    for (size_t i = 0; i < ARRAY_LEN(tiles); i++) {
        for (uint32_t threads = 1; threads <= 3; threads++) {
            for (uint32_t resident = 0; resident < 1u << EXPERTS; resident += 7) {
                world.fails = tiles[i];
                assert_int_equal(run(threads, resident, ROOM, true, out), LAMINA_IO);
            }
        }
    }
}

/* A packed matrix of which the bytes are whole, but no planes. */
static void planes_that_make_no_sense_are_damage(void **state) {
    (void)state;
    static float out[ROWS * HIDDEN];
    static uint8_t nothing[4096];
    struct matrix *m = &world.matrix[3][0];
    const struct matrix kept = *m;
    assert_true(panel_shape_init(&m->shape, FFN, HIDDEN, KERN_BF16, PANEL_BLOCKS));
    panel_shape_pack(&m->shape);
    assert_int_equal(m->shape.packing, PANEL_PLANES);
    for (uint32_t i = 0; i < m->shape.tiles; i++) {
        m->tile[i] = nothing;
    }
    world.len = sizeof(nothing);
    world.fails = UINT32_MAX;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        for (uint32_t resident = 0; resident < 1u << EXPERTS; resident += 7) {
            assert_int_equal(run(threads, resident, ROOM, true, out), LAMINA_DAMAGED);
        }
    }
    world.len = PANEL_TILE_MAX;
    *m = kept;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_memory_or_read_is_the_same),
        cmocka_unit_test(a_wait_is_used),
        cmocka_unit_test(a_tile_that_cannot_be_had_is_an_error),
        cmocka_unit_test(planes_that_make_no_sense_are_damage),
    };
    return cmocka_run_group_tests_name("dev_experts", tests, make_world, drop_world);
}
