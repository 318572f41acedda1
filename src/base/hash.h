/* SPDX-License-Identifier: Apache-2.0
 * Checksums: XXH3-64 for tiles, XXH3-128 for files, SHA-256 for the identity of sources,
 * SHA-1 for git's. The only room that sees
 * xxHash and libcrypto. Pure. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

uint64_t hash_xxh3_64(const void *bytes, size_t len);

struct hash128 {
    uint64_t low;
    uint64_t high;
};
struct hash128 hash_xxh3_128(const void *bytes, size_t len);

/* Streaming forms. open returns NULL when out of memory; close accepts NULL. One thread at a time. */
struct hash_stream;
struct hash_stream *hash_stream_open(void); /* XXH3-128 */
void hash_stream_add(struct hash_stream *h, const void *bytes, size_t len);
struct hash128 hash_stream_value(const struct hash_stream *h); /* of all bytes added so far */
void hash_stream_close(struct hash_stream **h);

/* 32 lower-case hex digits, high half first (the canonical order of xxhsum), and a 0. */
void hash128_to_hex(struct hash128 value, char out[33]);
bool hash128_from_hex(struct span hex, struct hash128 *value); /* strict: exactly 32 lower-case digits */

struct sha256;
struct sha256 *sha256_open(void); /* NULL: out of memory or no provider */
struct sha256 *sha1_open(void);   /* the same calls, but SHA-1: the first 20 bytes of the digest. Names of git's blobs only */
bool sha256_add(struct sha256 *h, const void *bytes, size_t len);
bool sha256_finish(struct sha256 *h, uint8_t digest[32]); /* and starts over */
void sha256_close(struct sha256 **h);

/* SHA-256 whose state is a value: it can be written down at any multiple of 64 bytes and gone on from elsewhere. */
struct sha256_state {
    uint8_t value[32]; /* the eight words, high byte first */
    uint64_t bytes;    /* seen so far */
};
void sha256_state_start(struct sha256_state *s);
bool sha256_state_add(struct sha256_state *s, const void *bytes, size_t len); /* len: a multiple of 64 */
/* The digest of what was seen and of `len` bytes behind it; *s stays as it is. */
bool sha256_state_finish(const struct sha256_state *s, const void *bytes, size_t len, uint8_t digest[32]);

void bytes_to_hex(const uint8_t *bytes, size_t len, char *out); /* 2*len digits and a 0 */
bool bytes_from_hex(struct span hex, uint8_t *bytes, size_t len); /* strict: exactly 2*len lower-case digits */

#endif
