/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of the store that are columns of the source (matrices stored [in, out], words of GPTQ and AWQ). Fetched by themselves
 * they are a short read of the drive for each line: 25 MB/s where the drive has 2 GB/s. Instead whole lines are read one after the
 * other, and of each as many bytes are kept as there is room for, since the columns beside those asked for are asked for next. A
 * matrix larger than the room is read as many times as it is larger. */
#include <string.h>

#include "base/compiler.h"
#include "store/store_priv.h"
#include "sys/mem.h"

enum { AT_ONCE = 1 << 20, CODES = 9 << 20, SCALES = 1536 << 10, ZEROS = 512 << 10, MEMORY = AT_ONCE + CODES + SCALES + ZEROS };

static const struct {
    uint32_t begin, room;
} PLACES[SPLIT_STRIPS] = {
    [SPLIT_STRIP_CODES] = {AT_ONCE, CODES},
    [SPLIT_STRIP_SCALES] = {AT_ONCE + CODES, SCALES},
    [SPLIT_STRIP_ZEROS] = {AT_ONCE + CODES + SCALES, ZEROS},
};

static lamina_status fill(struct split_job *job, struct split_strip *s, const struct split_columns *c, uint8_t *room) {
    const struct lamina_source *src = job->source;
    const uint64_t begin = c->line * c->line_bytes;
    const uint64_t lines = (AT_ONCE - SPLIT_SLACK) / c->line_bytes; /* in one read, if they are not kept whole */
    s->first = room;
    if (s->width == c->line_bytes) {
        s->first += split_skew(job, c->tensor, begin);
        return src->read(src->user, c->tensor, begin, s->first, (size_t)(c->lines * c->line_bytes), &job->err);
    }
    for (uint64_t i = 0; lines == 0 && i < c->lines; i++) { /* long lines: the columns are long, too */
        LAMINA_TRY(src->read(src->user, c->tensor, begin + i * c->line_bytes + s->at, s->first + i * s->width, (size_t)s->width,
                             &job->err));
    }
    for (uint64_t i = 0; lines != 0 && i < c->lines; i += lines) {
        const uint64_t n = min_u64(lines, c->lines - i);
        const uint64_t offset = begin + i * c->line_bytes;
        uint8_t *read = (uint8_t *)job->strip_memory + split_skew(job, c->tensor, offset);
        LAMINA_TRY(src->read(src->user, c->tensor, offset, read, (size_t)(n * c->line_bytes), &job->err));
        for (uint64_t k = 0; k < n; k++) {
            memcpy(s->first + (i + k) * s->width, read + k * c->line_bytes + s->at, (size_t)s->width);
        }
    }
    return LAMINA_OK;
}

lamina_status split_strip_take(struct split_job *job, enum split_strip_use use, const struct split_columns *c,
                               const uint8_t **columns, uint64_t *pitch) {
    struct split_strip *s = &job->strip[use];
    const uint64_t width = min_u64(c->line_bytes, (PLACES[use].room - SPLIT_SLACK) / c->lines);
    *columns = NULL;
    if (width < c->bytes) {
        return LAMINA_OK;
    }
    const bool same = s->lines == c->lines && s->tensor == c->tensor && s->line == c->line && s->line_bytes == c->line_bytes;
    const bool there = same && s->at <= c->at && c->at + c->bytes <= s->at + s->width;
    if (!there) {
        *s = (struct split_strip){.tensor = c->tensor, .line = c->line, .line_bytes = c->line_bytes, .width = width,
                                  .at = min_u64(c->at, c->line_bytes - width)};
        LAMINA_TRY(job->strip_memory == NULL ? sys_mem_map(&job->strip_memory, MEMORY, &job->err) : LAMINA_OK);
        LAMINA_TRY(fill(job, s, c, (uint8_t *)job->strip_memory + PLACES[use].begin));
        s->lines = c->lines;
    }
    *columns = s->first + (c->at - s->at);
    *pitch = s->width;
    return LAMINA_OK;
}

void split_strip_drop(struct split_job *job) {
    if (job->strip_memory != NULL) {
        sys_mem_unmap(job->strip_memory, MEMORY);
    }
    job->strip_memory = NULL;
}

/* By squares that stay in the first cache; a size that is known when compiling makes each copy one instruction. */
static ALWAYS_INLINE void turn(const struct split_turn *t, size_t size) {
    enum { SQUARE = 32 };
    for (uint64_t line = 0; line < t->lines; line += SQUARE) {
        const uint64_t end = min_u64(line + SQUARE, t->lines);
        for (uint64_t i = 0; i < t->items; i++) {
            const uint8_t *from = t->from + i * t->step * size;
            uint8_t *to = t->to + i * t->stride;
            for (uint64_t k = line; k < end; k++) {
                memcpy(to + k * size, from + k * t->pitch, size);
            }
        }
    }
}

void split_turn(const struct split_turn *t, size_t size) {
    switch (size) {
    case 1:
        turn(t, 1);
        break;
    case 2:
        turn(t, 2);
        break;
    case 4:
        turn(t, 4);
        break;
    default:
        turn(t, size);
        break;
    }
}
