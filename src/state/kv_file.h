/* SPDX-License-Identifier: Apache-2.0
 *
 * A sequence as bytes: its tokens, its KV pages and its state of fixed size, so that it can be put away and go on later, bit for
 * bit. Bytes go through the caller's functions piece by piece: this room knows no files, and takes no memory of their size.
 *
 *     0    8   "LAMINAKV"
 *     8    4   version, 1               12   4   numbers are 1: f16, 2: f32
 *     16   16  XXH3-128 of the store's manifest: which weights these numbers come from
 *     32   4   layers                   36   4   positions of a page, 64
 *     40   8   bytes of a page          48   8   bytes of the state, 0: there is none
 *     56   16  XXH3-128 of the layers' shapes: per layer KV heads, K and V dimension (4 bytes each), floats of the state (8)
 *     72   4   vocabulary               76   4   positions (= tokens) in use, at least 1
 *     80   4   flags: 1, the state is there and belongs to the last position
 *     84   4   length of the prompt that the rotary base goes by
 *     88   4   prefix                   92   4   place of the mask; both 0 but for models whose prompts see all of themselves
 *     96   16  zeros
 *     112  16  XXH3-128 of bytes 0 to 111
 *     128      tokens, 4 bytes each; pages in order of position, the last one's unused positions zero; the state, where flagged
 *     end  16  XXH3-128 of everything from byte 128 on
 *
 * All numbers are little-endian; pages and states are as kv.h lays them out. Checksums find accidents only, so whatever the numbers
 * say is checked against the cache and the model before it is used; pages and states may then hold any floats.
 */
#ifndef STATE_KV_FILE_H
#define STATE_KV_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "state/kv.h"

enum { KV_FILE_VERSION = 1, KV_FILE_HEAD = 128, KV_FILE_END = 16 };

struct kv_record {
    struct hash128 store;        /* both sides say whose numbers these are */
    uint32_t vocab;              /* tokens are below it */
    uint32_t length;             /* positions in use */
    bool has_state;              /* the slot belongs to the last of them */
    bool sees_ahead;             /* of a model with prefixes: only then may the two below be other than 0 */
    uint32_t prompt_length, prefix, mask_at;
    uint32_t *ids;               /* [length]; for reading, with room for as many as may come */
};

struct kv_writer {
    void *user;
    lamina_status (*write)(void *user, const void *bytes, size_t len, struct lamina_error *err);
};
struct kv_reader {
    void *user;
    uint64_t bytes;              /* that there are in all */
    /* Exactly `len`, or a failure. */
    lamina_status (*read)(void *user, void *bytes, size_t len, struct lamina_error *err);
};

/* Sets the unused positions of the last page to zero on the way. */
lamina_status kv_file_write(struct kv_cache *c, const struct kv_sequence *s, const struct kv_record *r, const struct kv_writer *w,
                            struct lamina_error *err);

/* Into `s`, which has no positions; r->store, vocab, sees_ahead and ids are given, the rest is filled. At most `most` positions.
 * UNSUPPORTED: of another version, store, precision or layout; DAMAGED: cut short, or bytes differ; USAGE: more than `most`
 * positions; NO_FIT: the cache has no room. `s` then has no positions again. */
lamina_status kv_file_read(struct kv_cache *c, struct kv_sequence *s, struct kv_record *r, uint32_t most,
                           const struct kv_reader *in, struct lamina_error *err);

#endif
