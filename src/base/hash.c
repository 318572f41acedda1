/* SPDX-License-Identifier: Apache-2.0
 * Thin wrappers over xxHash and libcrypto, so that a change of library touches one file. */
/* The state of SHA-256 as a value is in libcrypto's older interface alone; EVP's contexts cannot be written down. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/hash.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#ifdef LAMINA_HAVE_XXH_DISPATCH
#include <xxh_x86dispatch.h> /* xxhash.h, its functions replaced by those that choose among AVX-512, AVX2 and SSE2 */
#else
#include <xxhash.h>
#endif

uint64_t hash_xxh3_64(const void *bytes, size_t len) {
    return XXH3_64bits(bytes, len);
}

struct hash128 hash_xxh3_128(const void *bytes, size_t len) {
    XXH128_hash_t h = XXH3_128bits(bytes, len);
    return (struct hash128){.low = h.low64, .high = h.high64};
}

struct hash_stream {
    XXH3_state_t *state;
};

struct hash_stream *hash_stream_open(void) {
    struct hash_stream *h = (struct hash_stream *)calloc(1, sizeof(*h));
    if (h == NULL) {
        return NULL;
    }
    h->state = XXH3_createState();
    if (h->state == NULL || XXH3_128bits_reset(h->state) != XXH_OK) {
        hash_stream_close(&h);
    }
    return h;
}

void hash_stream_add(struct hash_stream *h, const void *bytes, size_t len) {
    (void)XXH3_128bits_update(h->state, bytes, len);
}

struct hash128 hash_stream_value(const struct hash_stream *h) {
    XXH128_hash_t v = XXH3_128bits_digest(h->state);
    return (struct hash128){.low = v.low64, .high = v.high64};
}

void hash_stream_close(struct hash_stream **h) {
    if (*h != NULL) {
        (void)XXH3_freeState((*h)->state);
        free(*h);
        *h = NULL;
    }
}

void bytes_to_hex(const uint8_t *bytes, size_t len, char *out) {
    static const char digit[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digit[bytes[i] >> 4];
        out[2 * i + 1] = digit[bytes[i] & 15];
    }
    out[2 * len] = 0;
}

void hash128_to_hex(struct hash128 value, char out[33]) {
    uint8_t bytes[16];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value.high >> (56 - 8 * i));
        bytes[8 + i] = (uint8_t)(value.low >> (56 - 8 * i));
    }
    bytes_to_hex(bytes, sizeof(bytes), out);
}

static int hex_value(uint8_t c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool bytes_from_hex(struct span hex, uint8_t *bytes, size_t len) {
    if (hex.len % 2 != 0 || hex.len / 2 != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        const int high = hex_value(hex.ptr[2 * i]);
        const int low = hex_value(hex.ptr[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

bool hash128_from_hex(struct span hex, struct hash128 *value) {
    uint8_t bytes[16];
    uint64_t half[2] = {0, 0};
    if (!bytes_from_hex(hex, bytes, sizeof(bytes))) {
        return false;
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        half[i / 8] = half[i / 8] << 8 | bytes[i];
    }
    *value = (struct hash128){.high = half[0], .low = half[1]};
    return true;
}

struct sha256 {
    EVP_MD_CTX *ctx;
    const EVP_MD *kind;
};

static struct sha256 *digest_open(const EVP_MD *kind) {
    struct sha256 *h = (struct sha256 *)calloc(1, sizeof(*h));
    if (h == NULL) {
        return NULL;
    }
    h->kind = kind;
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx == NULL || EVP_DigestInit_ex(h->ctx, kind, NULL) != 1) {
        sha256_close(&h);
    }
    return h;
}

struct sha256 *sha256_open(void) {
    return digest_open(EVP_sha256());
}

struct sha256 *sha1_open(void) {
    return digest_open(EVP_sha1());
}

bool sha256_add(struct sha256 *h, const void *bytes, size_t len) {
    return EVP_DigestUpdate(h->ctx, bytes, len) == 1;
}

bool sha256_finish(struct sha256 *h, uint8_t digest[32]) {
    unsigned len = 0;
    return EVP_DigestFinal_ex(h->ctx, digest, &len) == 1 && EVP_DigestInit_ex(h->ctx, h->kind, NULL) == 1;
}

void sha256_close(struct sha256 **h) {
    if (*h != NULL) {
        EVP_MD_CTX_free((*h)->ctx);
        free(*h);
        *h = NULL;
    }
}

/* ---- the state as a value ---- */

static bool state_take(const struct sha256_state *s, SHA256_CTX *c) {
    if (s->bytes % SHA256_CBLOCK != 0 || SHA256_Init(c) != 1) {
        return false;
    }
    for (int i = 0; i < 8; i++) {
        const uint8_t *w = s->value + (size_t)4 * (size_t)i;
        c->h[i] = (SHA_LONG)w[0] << 24 | (SHA_LONG)w[1] << 16 | (SHA_LONG)w[2] << 8 | (SHA_LONG)w[3];
    }
    c->Nl = (SHA_LONG)(s->bytes << 3);
    c->Nh = (SHA_LONG)(s->bytes >> 29);
    return true;
}

static void state_give(const SHA256_CTX *c, struct sha256_state *s) {
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 4; k++) {
            s->value[4 * i + k] = (uint8_t)(c->h[i] >> (24 - 8 * k));
        }
    }
}

void sha256_state_start(struct sha256_state *s) {
    SHA256_CTX c;
    *s = (struct sha256_state){.bytes = 0};
    if (SHA256_Init(&c) == 1) {
        state_give(&c, s);
    }
}

bool sha256_state_add(struct sha256_state *s, const void *bytes, size_t len) {
    SHA256_CTX c;
    if (len % SHA256_CBLOCK != 0 || !state_take(s, &c) || SHA256_Update(&c, bytes, len) != 1) {
        return false;
    }
    state_give(&c, s);
    s->bytes += len;
    return true;
}

bool sha256_state_finish(const struct sha256_state *s, const void *bytes, size_t len, uint8_t digest[32]) {
    SHA256_CTX c;
    return state_take(s, &c) && SHA256_Update(&c, bytes, len) == 1 && SHA256_Final(digest, &c) == 1;
}
