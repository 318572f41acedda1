/* SPDX-License-Identifier: Apache-2.0
 * What a weight costs in this store: bytes on disk over real weights, distinct files counted once. */
#include "store/store.h"

void store_bits(const struct store *s, double *coded, double *whole) {
    uint64_t weights = 0;
    uint64_t tile_bytes = 0;
    for (uint32_t f = 0; f < s->file_count; f++) {
        const struct store_file *file = &s->files[f];
        for (uint32_t m = 0; m < file->matrix_count; m++) {
            weights += file->matrices[m].shape.rows * file->matrices[m].shape.cols;
        }
        for (uint32_t t = 0; t < file->tile_count; t++) {
            tile_bytes += (uint64_t)file->tiles[t].pages * PANEL_TILE_ALIGN;
        }
    }
    *coded = weights > 0 ? 8.0 * (double)tile_bytes / (double)weights : 0.0;
    uint64_t all = weights + s->small_floats;
    *whole = all > 0 ? 8.0 * (double)s->store_bytes / (double)all : 0.0;
}
