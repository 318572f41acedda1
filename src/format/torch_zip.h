/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of a zip file, as torch writes them: which entry lies where. Pure; the caller reads the file, of any
 * size, and this room asks for a few KiB at a time. Nothing is unpacked: torch stores its entries as they are, so an
 * entry is a span of the file. Layout after PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.3:
 *
 *     [local header, name, extra, data, descriptor?] ... [directory] [zip64 end, locator]? [end] */
#ifndef FORMAT_TORCH_ZIP_H
#define FORMAT_TORCH_ZIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"

/* A file that somebody else owns. `read` fills exactly len bytes or fails; it is only asked for bytes below `size`. */
struct torch_input {
    lamina_status (*read)(void *user, uint64_t offset, void *dst, size_t len, struct lamina_error *err);
    void *user;
    uint64_t size;
    const char *name; /* for messages */
};

enum { TORCH_ZIP_MAX_ENTRIES = 1000000, TORCH_ZIP_MAX_DIRECTORY = 100000000, TORCH_ZIP_MAX_NAME = 512 };

struct torch_zip_entry {
    const char *name;       /* 0-ended, in the arena; relative, without "..", control characters or backslashes */
    uint64_t header;        /* offset of the local header */
    uint64_t offset, bytes; /* the data, from the start of the FILE; of packed entries the packed bytes */
    bool packed;            /* compressed: nothing here reads it */
};

struct torch_zip {
    uint32_t count;
    struct torch_zip_entry *entries; /* sorted by name; in the arena */
};

/* DAMAGED: anything that contradicts itself (sizes, counts, names that appear twice, entries that overlap or leave the
 * file); UNSUPPORTED: encrypted or in several volumes. Memory: the directory and about twice as much in the arena. */
lamina_status torch_zip_read(const struct torch_input *in, struct arena *arena, struct torch_zip *out,
                             struct lamina_error *err);
/* NULL when there is none. */
const struct torch_zip_entry *torch_zip_find(const struct torch_zip *z, const char *name);

#endif
