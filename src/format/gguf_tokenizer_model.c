/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer.model from a GGUF file: the protocol buffer of SentencePiece (sentencepiece_model.proto), with what its readers
 * look at. Wire format: protobuf.dev/programming-guides/encoding; a field is a key, number and shape, and a value:
 *
 *     ModelProto      1 pieces*        2 trainer_spec   3 normalizer_spec
 *     SentencePiece   1 piece          2 score          3 type
 *     TrainerSpec     3 model_type     4 vocab_size     35 byte_fallback   40 unk_id     41 bos_id     42 eos_id
 *                     43 pad_id        45 unk_piece     46 bos_piece       47 eos_piece  48 pad_piece
 *     NormalizerSpec  1 name           2 precompiled_charsmap   3 add_dummy_prefix   4 remove_extra_whitespaces
 *                     5 escape_whitespaces */
#include <string.h>

#include "format/gguf_tokenizer_priv.h"

enum { VARINT = 0, BYTES = 2, FIXED32 = 5 };
enum { TYPE_UNIGRAM = 1, TYPE_BPE = 2 };

static const char CHARSMAP[] = "tokenizer.ggml.precompiled_charsmap";

static void add_varint(struct str *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
        str_add_byte(out, (uint8_t)(value | 0x80));
    }
    str_add_byte(out, (uint8_t)value);
}

static void add_number(struct str *out, uint32_t field, uint64_t value) {
    add_varint(out, (uint64_t)field << 3 | VARINT);
    add_varint(out, value);
}

static void add_bytes(struct str *out, uint32_t field, struct span bytes) {
    add_varint(out, (uint64_t)field << 3 | BYTES);
    add_varint(out, bytes.len);
    str_add_span(out, bytes);
}

/* `scratch` spares an allocation per piece. */
static void add_piece(const struct gguf_vocab *v, uint32_t id, struct str scratch[2], struct str *out) {
    const struct gguf_token *t = &v->tokens[id];
    uint8_t score[4];
    uint32_t bits = 0;
    str_clear(&scratch[0]);
    str_clear(&scratch[1]);
    gguf_token_write(v, id, &scratch[0]);
    add_bytes(&scratch[1], 1, str_span(&scratch[0]));
    memcpy(&bits, &t->score, sizeof(bits));
    store_le32(score, bits);
    add_varint(&scratch[1], 2u << 3 | FIXED32);
    str_add(&scratch[1], score, sizeof(score));
    if (t->type != GGUF_TOKEN_PLAIN || t->text.len == 0) {
        add_number(&scratch[1], 3, t->text.len == 0 ? GGUF_TOKEN_UNUSED : t->type);
    }
    add_bytes(out, 1, str_span(&scratch[1]));
    out->failed = out->failed || scratch[0].failed || scratch[1].failed;
}

/* A single end: its id (below zero: none) and its text. */
static void add_end(const struct gguf_vocab *v, uint32_t id, uint32_t id_field, uint32_t text_field, struct str *out) {
    add_number(out, id_field, id != GGUF_NO_ID ? id : UINT64_MAX);
    if (gguf_token_text(v, id).len > 0) {
        add_bytes(out, text_field, gguf_token_text(v, id));
    }
}

static lamina_status add_trainer(const struct gguf_vocab *v, struct str *scratch, struct str *out,
                                 struct lamina_error *err) {
    uint32_t bytes = 0;
    for (uint32_t id = 0; id < v->count; id++) {
        bytes += v->tokens[id].type == GGUF_TOKEN_BYTE;
    }
    if (bytes != 0 && bytes != 256) {
        return base_fail(err, LAMINA_DAMAGED,
                         "%s: in its GGUF header, tokenizer.ggml.token_type: %u tokens for bytes; 256 or none are right",
                         v->name, bytes);
    }
    str_clear(scratch);
    add_number(scratch, 3, v->pipeline == GGUF_UNIGRAM ? TYPE_UNIGRAM : TYPE_BPE);
    add_number(scratch, 4, v->count);
    add_number(scratch, 35, bytes != 0);
    add_end(v, v->unk, 40, 45, scratch);
    add_end(v, v->bos, 41, 46, scratch);
    add_end(v, v->eos, 42, 47, scratch);
    add_end(v, v->pad, 43, 48, scratch);
    add_bytes(out, 2, str_span(scratch));
    out->failed = out->failed || scratch->failed;
    return LAMINA_OK;
}

static lamina_status add_normalizer(const struct gguf_vocab *v, struct str *scratch, struct str *out,
                                    struct lamina_error *err) {
    const struct gguf_value *map = gguf_find(v->file, CHARSMAP);
    bool prefix = v->kind->space_prefix;
    bool thin = false;
    if (map != NULL && (map->type != GGUF_ARRAY || (map->item_type != GGUF_U8 && map->item_type != GGUF_I8))) {
        return gguf_bad_key(v, CHARSMAP, "no list of bytes", err);
    }
    LAMINA_TRY(gguf_take_flag(v, "tokenizer.ggml.add_space_prefix", &prefix, err));
    LAMINA_TRY(gguf_take_flag(v, "tokenizer.ggml.remove_extra_whitespaces", &thin, err));
    str_clear(scratch);
    add_bytes(scratch, 1, span_of_text(map != NULL ? "user_defined" : "identity"));
    if (map != NULL) {
        add_bytes(scratch, 2, map->body);
    }
    add_number(scratch, 3, prefix);
    add_number(scratch, 4, thin);
    add_number(scratch, 5, 1);
    add_bytes(out, 3, str_span(scratch));
    out->failed = out->failed || scratch->failed;
    return LAMINA_OK;
}

lamina_status gguf_write_tokenizer_model(const struct gguf_vocab *v, struct str *out, struct lamina_error *err) {
    struct str scratch[2] = {{0}, {0}};
    for (uint32_t id = 0; id < v->count; id++) {
        add_piece(v, id, scratch, out);
    }
    lamina_status status = add_trainer(v, &scratch[1], out, err);
    status = status == LAMINA_OK ? add_normalizer(v, &scratch[1], out, err) : status;
    str_drop(&scratch[0]);
    str_drop(&scratch[1]);
    return status;
}
