/* SPDX-License-Identifier: Apache-2.0
 * What hub_stream.c (the window, the two threads) and hub_stream_part.c (one file of it) share. */
#ifndef HUB_HUB_STREAM_PRIV_H
#define HUB_HUB_STREAM_PRIV_H

#include "hub/hub_priv.h"

enum { HUB_STREAM_BLOCK = 64 << 20, HUB_STREAM_BUFFER = 1 << 20 };

struct hub_stream_mark { /* behind a piece */
    uint8_t chain[32], block[32];
};
struct hub_stream_file {
    struct hub_part part;          /* names, descriptors, lock, states of pieces */
    struct hub_stream_mark *marks; /* [pieces], those below `hashed` */
    uint32_t *left;                /* [pieces]: bytes that somebody may still want; guarded by the stream's lock */
    uint32_t hashed;               /* pieces, from the first on; changed by the fetching thread under the lock */
    uint32_t synced;               /* of these in the journal for good; the reading thread's */
    uint64_t base;                 /* bytes of the files before */
    uint64_t nonce;
};

/* Powers of two from 4 KiB to 64 MiB: pieces are freed as a whole, and end where the blocks of 64 MiB end. */
static inline bool hub_stream_piece_fits(uint64_t bytes) {
    return bytes >= 4096 && bytes <= HUB_STREAM_BLOCK && (bytes & (bytes - 1)) == 0;
}

lamina_status hub_stream_file_open(struct hub_stream_file *f, const struct hub_env *env, const char *id,
                                   const struct hub_file *file, uint64_t piece_bytes, struct lamina_error *err);
void hub_stream_file_close(struct hub_stream_file *f);
void hub_stream_file_remove(struct hub_stream_file *f); /* its two files */
/* The mark behind a piece that is on the drive, from the one before it. `buffer`: HUB_STREAM_BUFFER bytes. */
lamina_status hub_stream_hash(const struct hub_stream_file *f, uint32_t piece, void *buffer, struct hub_stream_mark *mark,
                              struct lamina_error *err);
/* Is what lies on the drive the piece that was hashed? */
lamina_status hub_stream_holds(const struct hub_stream_file *f, uint32_t piece, void *buffer, bool *holds,
                               struct lamina_error *err);
lamina_status hub_stream_note(struct hub_stream_file *f, uint32_t piece, const struct hub_stream_mark *m, struct lamina_error *err);
bool hub_stream_is_right(const struct hub_stream_file *f); /* all of it was hashed, and is what the hub announced */

#endif
