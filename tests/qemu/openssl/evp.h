/* SPDX-License-Identifier: Apache-2.0
 * In the place of OpenSSL's header where no libcrypto exists for the other processor: there is no SHA-256, and whoever
 * asks for one is told so (src/base/hash.c hands the NULL on). Only splitting needs it, which the program here never does. */
#ifndef QEMU_OPENSSL_EVP_H
#define QEMU_OPENSSL_EVP_H

#include <stddef.h>

typedef struct no_digest EVP_MD_CTX;
typedef struct no_digest EVP_MD;

static inline EVP_MD_CTX *EVP_MD_CTX_new(void) {
    return NULL;
}

static inline void EVP_MD_CTX_free(EVP_MD_CTX *ctx) {
    (void)ctx;
}

static inline const EVP_MD *EVP_sha256(void) {
    return NULL;
}

static inline const EVP_MD *EVP_sha1(void) {
    return NULL;
}

static inline int EVP_DigestInit_ex(EVP_MD_CTX *ctx, const EVP_MD *kind, void *engine) {
    (void)ctx, (void)kind, (void)engine;
    return 0;
}

static inline int EVP_DigestUpdate(EVP_MD_CTX *ctx, const void *bytes, size_t len) {
    (void)ctx, (void)bytes, (void)len;
    return 0;
}

static inline int EVP_DigestFinal_ex(EVP_MD_CTX *ctx, unsigned char *digest, unsigned *len) {
    (void)ctx, (void)digest, (void)len;
    return 0;
}

#endif
