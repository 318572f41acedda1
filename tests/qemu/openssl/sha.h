/* SPDX-License-Identifier: Apache-2.0
 * See evp.h beside it: there is no SHA-256 here, every function says that it failed. */
#ifndef QEMU_OPENSSL_SHA_H
#define QEMU_OPENSSL_SHA_H

#include <stddef.h>

enum { SHA256_CBLOCK = 64 };

typedef unsigned int SHA_LONG;

typedef struct {
    SHA_LONG h[8];
    SHA_LONG Nl, Nh;
} SHA256_CTX;

static inline int SHA256_Init(SHA256_CTX *c) {
    *c = (SHA256_CTX){.Nl = 0};
    return 0;
}

static inline int SHA256_Update(SHA256_CTX *c, const void *bytes, size_t len) {
    (void)c, (void)bytes, (void)len;
    return 0;
}

static inline int SHA256_Final(unsigned char *digest, SHA256_CTX *c) {
    (void)digest, (void)c;
    return 0;
}

#endif
