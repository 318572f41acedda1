/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes to a rank file, then text through it. The first byte chooses the model beside it; every other value puts the 256
 * single bytes in front, without which no file opens, so that the rest is tokens and ranks of longer texts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_tok_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_bytes(struct str *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (unsigned i = 0; i < 256; i++) {
        str_printf(out, "%c%c== %u\n", digits[i >> 2], digits[(i & 3) << 4], i);
    }
}

/* The last one gives a byte another text. */
static const char listed[] = "{\"model_type\":\"llama4\",\"added_tokens_decoder\":{"
                             "\"7\":{\"content\":\"ab\"},\"300\":{\"content\":\"c\",\"special\":true}}}";
static const char *const configs[] = {
    "{\"model_type\":\"kimi_k2\"}",
    "{\"model_type\":\"qwen\"}",
    "{\"tokenizer_class\":\"ChatGLM4Tokenizer\"}",
    listed,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str ranks = {0};
    if (size < 1) {
        return 0;
    }
    if ((data[0] & 4) != 0) {
        add_bytes(&ranks);
    }
    str_add(&ranks, data + 1, size - 1);
    struct span config = span_of_text(configs[data[0] & 3]);
    struct text_files files = {.tiktoken = str_span(&ranks), .tokenizer_config = config, .config = config};
    run_files(&files, span_of(data, size < 512 ? size : 512));
    str_drop(&ranks);
    return 0;
}
