/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a finished file from front to back and believing nothing: used on resume, before a source file is freed, and
 * by verify. Bounded memory: one buffer, at least as large as the largest tile. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/store_priv.h"

struct pass {
    const struct sys_file *f;
    const char *path, *name;
    struct store_check *c;
    struct hash_stream *stream;
};

static lamina_status read_some(const struct pass *p, uint64_t at, size_t len, struct lamina_error *err) {
    uint8_t *bounce = (uint8_t *)p->c->buffer + p->c->buffer_len - SOURCE_BOUNCE;
    LAMINA_TRY(sys_file_read_any(p->f, p->path, at, p->c->buffer, len, bounce, SOURCE_BOUNCE, err));
    if (!p->f->direct) {
        sys_file_drop_cache(p->f, at, len);
    }
    hash_stream_add(p->stream, p->c->buffer, len);
    if (p->c->tick != NULL && p->c->tick(p->c->user, len)) {
        return base_fail(err, LAMINA_INTERRUPTED, "interrupted while checking %s", p->name);
    }
    return LAMINA_OK;
}

static lamina_status read_through(const struct pass *p, uint64_t at, uint64_t end, struct lamina_error *err) {
    size_t step = p->c->buffer_len - SOURCE_BOUNCE;
    while (at < end) {
        size_t n = (size_t)min_u64(step, end - at);
        LAMINA_TRY(read_some(p, at, n, err));
        at += n;
    }
    return LAMINA_OK;
}

static lamina_status check_tiles(const struct pass *p, const struct store_part_file *tables, struct lamina_error *err) {
    size_t room = p->c->buffer_len - SOURCE_BOUNCE;
    uint32_t i = 0;
    while (i < tables->head.tile_count) {
        uint32_t first = i;
        uint64_t len = 0;
        while (i < tables->head.tile_count && len + (uint64_t)tables->tiles[i].pages * STORE_PAGE <= room) {
            len += (uint64_t)tables->tiles[i++].pages * STORE_PAGE;
        }
        if (i == first) {
            return base_fail(err, LAMINA_UNEXPECTED, "%s: tile %u is larger than the buffer", p->name, i);
        }
        LAMINA_TRY(read_some(p, (uint64_t)tables->tiles[first].offset_pages * STORE_PAGE, (size_t)len, err));
        const uint8_t *at = p->c->buffer;
        for (uint32_t t = first; t < i; t++) {
            size_t n = (size_t)tables->tiles[t].pages * STORE_PAGE;
            if (hash_xxh3_64(at, n) != tables->tiles[t].hash) {
                return base_fail(err, LAMINA_DAMAGED, "%s: tile %u at offset %" PRIu64 " is damaged", p->name, t,
                                 (uint64_t)tables->tiles[t].offset_pages * STORE_PAGE);
            }
            at += n;
        }
        p->c->tiles += i - first;
    }
    return LAMINA_OK;
}

static lamina_status weights(const struct pass *p, struct lamina_error *err) {
    struct arena arena = {0};
    struct store_part_file tables;
    uint64_t size = p->f->size;
    lamina_status status = store_file_tables(p->f, p->path, &arena, &tables, err);
    if (status == LAMINA_OK) {
        status = read_through(p, 0, (uint64_t)tables.head.head_pages * STORE_PAGE, err);
    }
    if (status == LAMINA_OK) {
        status = check_tiles(p, &tables, err);
    }
    if (status == LAMINA_OK) {
        status = read_through(p, size - (uint64_t)tables.head.tail_pages * STORE_PAGE, size, err);
    }
    arena_drop(&arena);
    return status;
}

static lamina_status check(const char *path, const char *name, const struct manifest_file *wanted,
                           struct store_check *c, bool has_tiles, struct lamina_error *err) {
    struct sys_file f;
    struct pass p = {.f = &f, .path = path, .name = name, .c = c, .stream = hash_stream_open()};
    if (p.stream == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "no memory to check %s", name);
    }
    lamina_status status = sys_file_open_read(&f, path, SYS_OPEN_DIRECT, err);
    if (status < 0) {
        goto done;
    }
    if (f.size != wanted->size) {
        status = base_fail(err, LAMINA_DAMAGED, "%s has %" PRIu64 " bytes, %" PRIu64 " expected", name, f.size,
                           wanted->size);
    } else {
        status = has_tiles ? weights(&p, err) : read_through(&p, 0, f.size, err);
    }
    if (status == LAMINA_OK) {
        struct hash128 found = hash_stream_value(p.stream);
        if (found.low != wanted->hash.low || found.high != wanted->hash.high) {
            status =
                base_fail(err, LAMINA_DAMAGED, "%s is not the file that was recorded (its checksum differs)", name);
        }
    }
    sys_file_close(&f);
done:
    hash_stream_close(&p.stream);
    return status;
}

lamina_status store_check_weights(const char *path, const char *name, uint64_t size, struct hash128 hash,
                                  struct store_check *c, struct lamina_error *err) {
    return check(path, name, &(struct manifest_file){.name = name, .size = size, .hash = hash}, c, true, err);
}

lamina_status store_check_plain(const char *path, const char *name, uint64_t size, struct hash128 hash,
                                struct store_check *c, struct lamina_error *err) {
    return check(path, name, &(struct manifest_file){.name = name, .size = size, .hash = hash}, c, false, err);
}
