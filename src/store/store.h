/* SPDX-License-Identifier: Apache-2.0
 *
 * The shard store: made once by store_split, opened read-only by everybody else, proved by store_verify. The format is
 * docs/FORMAT.md; tools/lamina_store.py reads it independently.
 *
 * Promise: no manifest, no store. Nothing that was not synced and checked is named by a manifest, and a manifest is
 * written last, atomically. A store is a function of the source's bytes and the options alone.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "base/str.h"
#include "codec/panel.h"
#include "lamina/lamina.h"
#include "model/model.h"
#include "sys/file.h"

/* ---- open store ---- */

struct store_matrix {
    uint32_t role;              /* enum model_role */
    uint32_t expert;            /* of expert roles, else 0 */
    struct panel_shape shape;
    uint32_t first_tile;        /* in the file's tile table */
    bool row_scaled;            /* a row scale vector multiplies the sums */
};

struct store_tile {
    uint64_t hash;              /* XXH3-64 of the tile's bytes on disk, padding included */
    uint32_t offset_pages;      /* offset in the file / 4096 */
    uint32_t pages;             /* length / 4096 */
};

/* One weight file: a layer, embed, or head. Layers that are hard links of each other share one struct. */
struct store_file {
    const char *name;           /* relative to the store */
    const char *path;           /* full, for messages and reads */
    uint64_t size;
    struct hash128 hash;
    struct sys_file file;       /* open for reads (direct where possible) while the store is open */
    uint32_t matrix_count;
    struct store_matrix *matrices;
    uint32_t tile_count;
    struct store_tile *tiles;
};

struct store_vector {
    int32_t layer;              /* -1: outside the layers */
    uint32_t role;
    uint32_t len;
    uint64_t offset;            /* in `small`, floats */
};

struct store {
    const char *path;
    struct hash128 identity;    /* checksum of the manifest: equal stores, equal identities */
    struct model_desc desc;
    char codec[16];
    bool synthetic;             /* made from a source with repeated layers */
    uint32_t file_count;        /* distinct weight files */
    struct store_file *files;
    struct store_file *embed, *head; /* head == NULL: tied */
    struct store_file **layers; /* [desc.layers], pointers into files */
    uint32_t vector_count;
    struct store_vector *vectors;
    uint64_t small_floats;      /* length of all vectors together */
    const char *small_path;
    uint64_t small_offset;      /* of the floats in the small file */
    uint64_t weight_bytes;      /* bytes of all tiles as streamed in one pass (repeated layers counted each time) */
    uint64_t store_bytes;       /* of all distinct files */
    uint64_t table_bytes;       /* memory this struct and its tables take */
    bool has_tokenizer;
    struct arena arena;
};

/* Opens and checks the manifest, every header and size; weights are not read. Heap used is table_bytes. Errors:
 * NOT_FOUND (no manifest), DAMAGED, UNSUPPORTED (newer version or codec), IO. */
lamina_status store_open(struct store **s, const char *path, const struct log_sink *log, struct lamina_error *err);
void store_close(struct store **s);
/* Reads and verifies all vectors into `floats` [small_floats]. */
lamina_status store_read_small(const struct store *s, float *floats, struct lamina_error *err);
/* The vector's place in small, NULL when the model has none. */
const struct store_vector *store_vector_find(const struct store *s, int32_t layer, enum model_role role);
const struct store_matrix *store_matrix_find(const struct store_file *f, enum model_role role, uint32_t expert);

/* Row `row` of a tile of a coded matrix, as floats [cols2]. */
void store_decode_row(const struct panel_shape *s, const void *tile, uint64_t row, float *out);

/* DAMAGED with file, layer-free matrix name, tile number and offset when the bytes do not have the tile's hash. */
lamina_status store_tile_check(const struct store_file *f, uint32_t tile, const void *bytes, struct lamina_error *err);

/* Bits per weight of the coded matrices alone, and of all files together; padding is not counted as weights. */
void store_bits(const struct store *s, double *coded, double *whole);

bool store_is_store(const char *path);      /* holds a lamina.json */
/* Is it a GGUF file, or a directory whose weights are one, in parts or not? USAGE where there are several to choose from. */
lamina_status store_find_gguf(const char *path, bool *found, struct lamina_error *err);
bool store_codec_known(const char *codec);
#define STORE_CODEC_DEFAULT "planes"
#define STORE_CODECS "raw, planes, q8, q4 and q2.00 to q8.00"
bool store_is_checkpoint(const char *path); /* holds config.json and weights */

/* ---- split ---- */

/* Makes or completes the store of `source` at `output`. Bounded memory (64 MiB for the whole process), journalled,
 * resumable after a kill at any point; takes the lock `output`.lock while it works. See lamina_split for options. */
struct store_split_options {
    const struct lamina_source *source; /* NULL: `checkpoint` is opened here, which alone can go on after some of its
                                         * files were freed by an earlier run with delete_original */
    const char *checkpoint;   /* directory of the built-in source; or NULL */
    const struct lamina_arriving *arriving; /* its weight files, where they are still to come; or NULL */
    const char *output;
    const char *codec;          /* one of STORE_CODECS */
    bool delete_original;
    bool wait_for_lock;
    const struct lamina_callbacks *callbacks;
    const struct log_sink *log;
};
lamina_status store_split(const struct store_split_options *o, struct lamina_error *err);

/* The codec with which the store of a checkpoint (or of `source`) takes at most `bytes`: "planes" where that fits, else steps of as
 * many bits as there is room for. NO_FIT says how much the smallest takes. */
lamina_status store_codec_that_fits(const char *checkpoint, const struct lamina_source *source, uint64_t bytes, char codec[16],
                                    struct lamina_error *err);

/* The built-in source over an HF checkpoint directory (safetensors or torch files, single or sharded with index). */
lamina_status store_source_open(struct lamina_source **source, const char *checkpoint, struct lamina_error *err);
void store_source_close(struct lamina_source **source);

/* Removes a store, its manifest first. NOT_FOUND when it is none, BUSY while somebody splits into it. */
lamina_status store_remove(const char *store, struct lamina_error *err);

/* MODEL to a store path: a store as it is; a checkpoint is looked up in `home`, split when missing or when its files
 * changed (size, mtime, inode). codec NULL: any exact store will do, a new one gets the default. *store_path is appended.
 * A directory with neither: NOT_FOUND that says what was expected. */
lamina_status store_locate(const char *model, const char *home, const char *codec, bool split_if_needed,
                           const struct lamina_callbacks *callbacks, struct str *store_path, struct lamina_error *err);
/* The default home: LAMINA_HOME is the caller's business; this is <HF_HOME or ~/.cache/huggingface>/lamina. */
lamina_status store_default_home(struct str *home, struct lamina_error *err);

/* ---- verify, show ---- */

lamina_status store_verify(const char *path, const char *checkpoint, const struct lamina_callbacks *callbacks,
                           struct lamina_verify_result *result, struct lamina_error *err);
lamina_status store_show(const struct store *s, bool json, struct str *out, struct lamina_error *err);

#endif
