/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes to a SentencePiece model, then text through it. The first byte chooses the tokenizer class beside the model and
 * whether the rest is the whole file, or a short form that is written out as one: pieces separated by line feeds, each a
 * type digit, a score digit and its text, then an empty line and a character map. Whatever opens must encode, decode
 * what it encoded, and stream the same text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_tok_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_field(struct str *out, uint8_t number, struct span bytes) {
    str_add_byte(out, (uint8_t)(number << 3 | 2));
    size_t len = bytes.len;
    for (; len >= 0x80; len >>= 7) {
        str_add_byte(out, (uint8_t)(len | 0x80));
    }
    str_add_byte(out, (uint8_t)len);
    str_add_span(out, bytes);
}

/* Scores are small numbers with ties; the first piece is the unknown one, so that most inputs open. */
static void add_piece(struct str *out, struct span line, bool first) {
    struct str piece = {0};
    uint8_t type = line.len > 0 ? (uint8_t)(line.ptr[0] % 8) : 1;
    float score = line.len > 1 ? -(float)(line.ptr[1] % 16) : 0;
    uint32_t bits = 0;
    uint8_t bytes[4];
    memcpy(&bits, &score, sizeof(bits));
    store_le32(bytes, bits);
    add_field(&piece, 1, span_sub(line, 2, line.len));
    str_add_byte(&piece, 2 << 3 | 5);
    str_add(&piece, bytes, sizeof(bytes));
    str_add_byte(&piece, 3 << 3);
    str_add_byte(&piece, first ? 2 : type == 2 || type == 6 ? 1 : type);
    add_field(out, 1, str_span(&piece));
    str_drop(&piece);
}

static void add_byte_pieces(struct str *out) {
    for (unsigned i = 0; i < 256; i++) {
        struct str piece = {0};
        struct str name = {0};
        str_printf(&name, "<0x%02X>", i);
        add_field(&piece, 1, str_span(&name));
        str_add(&piece, "\x18\x06", 2); /* type: byte */
        add_field(out, 1, str_span(&piece));
        str_drop(&piece);
        str_drop(&name);
    }
}

/* Bits of `how`: model type, bytes as fallback, dummy prefix, extra blanks, whitespace as suffix. */
static void write_model(struct str *out, uint8_t how, struct span text) {
    struct str spec = {0};
    bool first = true;
    while (text.len > 0 && text.ptr[0] != '\n') {
        const uint8_t *end = memchr(text.ptr, '\n', text.len);
        size_t len = end == NULL ? text.len : (size_t)(end - text.ptr);
        add_piece(out, span_of(text.ptr, len), first);
        text = span_sub(text, len + 1, text.len);
        first = false;
    }
    if ((how & 2) != 0) {
        add_byte_pieces(out);
    }
    const uint8_t trainer[] = {3 << 3, (uint8_t)(1 + (how & 1)), 0xc0, 1, how >> 4 & 1, 0x98, 2, how >> 1 & 1};
    add_field(out, 2, span_of(trainer, sizeof(trainer)));
    add_field(&spec, 2, span_sub(text, 1, text.len));
    const uint8_t normalizer[] = {3 << 3, how >> 2 & 1, 4 << 3, how >> 3 & 1};
    str_add(&spec, normalizer, sizeof(normalizer));
    add_field(out, 3, str_span(&spec));
    str_drop(&spec);
}

static const char *const configs[] = {
    "",
    "{\"tokenizer_class\":\"LlamaTokenizer\"}",
    "{\"tokenizer_class\":\"LlamaTokenizer\",\"legacy\":false,\"unk_token\":\"a\"}",
    "{\"tokenizer_class\":\"ChatGLMTokenizer\",\"num_image_tokens\":3,\"added_tokens_decoder\":{\"5\":{\"content\":\"b\"}}}",
    "{\"tokenizer_class\":\"BaichuanTokenizer\"}",
    "{\"tokenizer_class\":\"InternLMTokenizer\",\"add_eos_token\":true}",
    "{\"tokenizer_class\":\"GemmaTokenizer\"}",
    "{\"tokenizer_class\":\"PreTrainedTokenizer\",\"bos_token\":\"<s>\",\"add_bos_token\":true}",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str model = {0};
    if (size < 2) {
        return 0;
    }
    struct span rest = span_of(data + 2, size - 2);
    struct text_files files = {.tokenizer_model = rest, .tokenizer_config = span_of_text(configs[data[0] & 7])};
    if ((data[0] & 8) != 0) {
        write_model(&model, data[1], rest);
        files.tokenizer_model = str_span(&model);
    }
    run_files(&files, span_of(data, size < 512 ? size : 512));
    str_drop(&model);
    return 0;
}
