/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors headers and sharded indexes: bytes in, spans out (rules: reference/reliability.md 5.1, 5.2, all of the
 * strict ones). Pure; the caller reads the file and says how long it is.
 *
 *     [u64 LE: N] [N bytes of JSON] [data]        tensor data offsets count from the end of the JSON
 */
#ifndef FORMAT_SAFETENSORS_H
#define FORMAT_SAFETENSORS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"

enum { SAFETENSORS_MAX_RANK = 8, SAFETENSORS_MAX_TENSORS = 1000000, SAFETENSORS_MAX_HEADER = 100000000 };

struct safetensors_entry {
    const char *name;        /* 0-ended, in the arena */
    char dtype[12];          /* as written: "BF16", "F8_E4M3", ... always a known one */
    uint32_t rank;
    uint64_t shape[SAFETENSORS_MAX_RANK];
    uint64_t elements;
    uint64_t offset, bytes;  /* offset from the start of the FILE */
};

struct safetensors_header {
    uint32_t count;
    struct safetensors_entry *entries; /* sorted by offset, then name; in the arena */
};

/* How many bytes of JSON follow the first 8 bytes. DAMAGED when impossible for a file of file_size. */
lamina_status safetensors_header_len(const uint8_t first8[8], uint64_t file_size, const char *name, uint64_t *json_len,
                                     struct lamina_error *err);
/* Parses the JSON. `name` (the file) is for messages. Bits per element of unusual dtypes are handled; nothing else of
 * them is. DAMAGED for anything the rules forbid, UNSUPPORTED for an unknown dtype. */
lamina_status safetensors_parse(struct span json, uint64_t file_size, const char *name, struct arena *arena,
                                struct safetensors_header *out, struct lamina_error *err);

/* model.safetensors.index.json: which file holds which tensor. File names are single plain components ending in
 * ".safetensors" or the index is refused (DAMAGED). */
struct safetensors_index_entry {
    const char *tensor;
    uint32_t file;           /* index into files */
};
struct safetensors_index {
    uint32_t file_count, tensor_count;
    const char **files;      /* in order of first appearance */
    struct safetensors_index_entry *entries;
};
lamina_status safetensors_index_parse(struct span json, const char *name, struct arena *arena,
                                      struct safetensors_index *out, struct lamina_error *err);
/* pytorch_model.bin.index.json: the same, with file names that end in ".bin". */
lamina_status torch_index_parse(struct span json, const char *name, struct arena *arena, struct safetensors_index *out,
                                struct lamina_error *err);

/* Bits per element, 0 when the dtype is unknown. */
uint32_t safetensors_dtype_bits(struct span dtype);

#endif
