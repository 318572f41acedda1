/* SPDX-License-Identifier: Apache-2.0
 *
 * The file of a SentencePiece model, a protocol buffer (sentencepiece_model.proto of google/sentencepiece):
 *
 *     ModelProto      1 pieces*         2 trainer_spec   3 normalizer_spec   5 denormalizer_spec
 *     SentencePiece   1 piece           2 score          3 type
 *     TrainerSpec     3 model_type      24 treat_whitespace_as_suffix   35 byte_fallback   41 bos_id   42 eos_id
 *                     44 unk_surface    46 bos_piece     47 eos_piece
 *     NormalizerSpec  2 precompiled_charsmap   3 add_dummy_prefix   4 remove_extra_whitespaces   5 escape_whitespaces
 *
 * A field given twice counts as given last, a field of another type as absent. Checks what SentencePiece itself checks
 * when it loads a model, and that texts are UTF-8. */
#include <math.h>
#include <stdlib.h>

#include "text/toksp_priv.h"
#include "text/tokproto_priv.h"
#include "text/tokunicode_priv.h"

enum { SP_FILE_LIMIT = 256 << 20, LOOK_PIECES = 64 };

bool tok_sp_is_model(struct span bytes) {
    struct tok_proto p = {.message = bytes};
    struct tok_proto_field f;
    struct tok_proto_field text;
    if (!tok_proto_next(&p, &f) || !tok_proto_is_bytes(&f, 1)) {
        return false;
    }
    struct tok_proto piece = {.message = f.bytes};
    return tok_proto_next(&piece, &text) && tok_proto_is_bytes(&text, 1);
}

bool tok_sp_has_piece(struct span bytes, const char *text) {
    struct tok_proto p = {.message = bytes};
    struct tok_proto_field f;
    for (int i = 0; i < LOOK_PIECES && tok_proto_next(&p, &f); i++) {
        struct tok_proto piece = {.message = f.bytes};
        struct tok_proto_field member;
        while (tok_proto_is_bytes(&f, 1) && tok_proto_next(&piece, &member)) {
            if (tok_proto_is_bytes(&member, 1) && span_is(member.bytes, text)) {
                return true;
            }
        }
    }
    return false;
}

/* --- pieces --- */

static bool grow_pieces(struct tok_sp_file *f, struct tok_model *m) {
    uint32_t n = f->count;
    if (n >= 64 && (n & (n - 1)) != 0) {
        return true; /* room is made at powers of two */
    }
    size_t cap = n < 64 ? 64 : (size_t)n * 2;
    float *scores = reallocarray(f->scores, cap, sizeof(*scores));
    if (scores == NULL) {
        return false;
    }
    f->scores = scores;
    uint8_t *types = realloc(m->piece_type, f->base + cap);
    if (types == NULL) {
        return false;
    }
    memset(types + f->base + n, TOK_PIECE_NONE, cap - n);
    memset(types, TOK_PIECE_NONE, n == 0 ? f->base : 0);
    m->piece_type = types;
    return true;
}

static lamina_status add_piece(struct tok_sp_file *f, struct tok_model *m, struct span text, float score, uint64_t type,
                               struct lamina_error *err) {
    uint32_t id = f->base + f->count;
    uint32_t other = 0;
    if (text.len == 0 || text.len > TOK_TOKEN_LIMIT || !utf8_valid(text) || !isfinite(score)) {
        return base_fail(err, LAMINA_DAMAGED,
                         "tokenizer model: piece %u is empty, longer than %d bytes, not UTF-8, or has no finite score",
                         f->count, TOK_TOKEN_LIMIT);
    }
    if (id >= TOK_VOCAB_LIMIT) {
        return base_fail(err, LAMINA_UNSUPPORTED, "tokenizer model: more than %d pieces", TOK_VOCAB_LIMIT);
    }
    if (tok_vocab_id(&m->vocab, text, &other)) {
        return base_fail(err, LAMINA_DAMAGED, "tokenizer model: pieces %u and %u are both \"%.*s\"", other - f->base,
                         f->count, (int)(text.len < 100 ? text.len : 100), (const char *)text.ptr);
    }
    if (!grow_pieces(f, m) || tok_vocab_add(&m->vocab, text, id) != TOK_VOCAB_OK) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %u pieces of a tokenizer", f->count);
    }
    f->scores[f->count++] = score;
    m->piece_type[id] = (uint8_t)(type >= TOK_PIECE_NORMAL && type <= TOK_PIECE_BYTE ? type : TOK_PIECE_NORMAL);
    return LAMINA_OK;
}

lamina_status tok_sp_append(struct tok_sp_file *f, struct tok_model *m, struct span text, enum tok_piece_type type,
                            struct lamina_error *err) {
    return add_piece(f, m, text, 0, type, err);
}

static lamina_status damaged(const char *what, const struct tok_proto *p, struct lamina_error *err) {
    return base_fail(err, LAMINA_DAMAGED,
                     "tokenizer model: the %s is cut short or not a protocol buffer (byte %zu of %zu); "
                     "download the file again",
                     what, p->at, p->message.len);
}

static lamina_status read_piece(struct tok_sp_file *f, struct tok_model *m, struct span message,
                                struct lamina_error *err) {
    struct tok_proto p = {.message = message};
    struct tok_proto_field member;
    struct span text = {0};
    uint64_t type = TOK_PIECE_NORMAL;
    float score = 0;
    while (tok_proto_next(&p, &member)) {
        if (tok_proto_is_bytes(&member, 1)) {
            text = member.bytes;
        } else if (member.number == 2 && member.shape == TOK_PROTO_FIXED32) {
            uint32_t bits = (uint32_t)member.value;
            memcpy(&score, &bits, sizeof(score));
        } else if (tok_proto_is_varint(&member, 3)) {
            type = member.value;
        }
    }
    return p.damaged ? damaged("description of a piece", &p, err) : add_piece(f, m, text, score, type, err);
}

/* --- the two specifications --- */

struct piece_names {
    struct span bos;
    struct span eos;
};

static lamina_status read_trainer(struct tok_sp_file *f, struct piece_names *names, struct span message,
                                  struct lamina_error *err) {
    struct tok_proto p = {.message = message};
    struct tok_proto_field member;
    while (tok_proto_next(&p, &member)) {
        if (tok_proto_is_varint(&member, 3)) {
            f->algorithm = member.value;
        } else if (tok_proto_is_varint(&member, 24)) {
            f->suffix = member.value != 0;
        } else if (tok_proto_is_varint(&member, 35)) {
            f->byte_fallback = member.value != 0;
        } else if (tok_proto_is_bytes(&member, 44)) {
            f->unk_surface = member.bytes;
        } else if (tok_proto_is_bytes(&member, 46) && member.bytes.len > 0) {
            names->bos = member.bytes;
        } else if (tok_proto_is_bytes(&member, 47) && member.bytes.len > 0) {
            names->eos = member.bytes;
        }
    }
    if (!p.damaged && !utf8_valid(f->unk_surface)) {
        return base_fail(err, LAMINA_DAMAGED, "tokenizer model: the text of the unknown piece is not UTF-8");
    }
    return p.damaged ? damaged("trainer specification", &p, err) : LAMINA_OK;
}

static lamina_status read_normalizer(struct tok_sp_normalizer_spec *s, struct span message, struct lamina_error *err) {
    struct tok_proto p = {.message = message};
    struct tok_proto_field member;
    while (tok_proto_next(&p, &member)) {
        if (tok_proto_is_bytes(&member, 2)) {
            s->charsmap = member.bytes;
        } else if (tok_proto_is_varint(&member, 3)) {
            s->dummy_prefix = member.value != 0;
        } else if (tok_proto_is_varint(&member, 4)) {
            s->remove_extra = member.value != 0;
        } else if (tok_proto_is_varint(&member, 5)) {
            s->escape = member.value != 0;
        }
    }
    return p.damaged ? damaged("normalizer specification", &p, err) : LAMINA_OK;
}

static lamina_status read_model(struct tok_sp_file *f, struct piece_names *names, struct span bytes,
                                struct tok_model *m, struct lamina_error *err) {
    struct tok_proto p = {.message = bytes};
    struct tok_proto_field member;
    while (tok_proto_next(&p, &member)) {
        if (tok_proto_is_bytes(&member, 1)) {
            LAMINA_TRY(read_piece(f, m, member.bytes, err));
        } else if (tok_proto_is_bytes(&member, 2)) {
            LAMINA_TRY(read_trainer(f, names, member.bytes, err));
        } else if (tok_proto_is_bytes(&member, 3)) {
            LAMINA_TRY(read_normalizer(&f->normalizer, member.bytes, err));
        } else if (tok_proto_is_bytes(&member, 5)) {
            struct tok_sp_normalizer_spec back = {0};
            LAMINA_TRY(read_normalizer(&back, member.bytes, err));
            f->denormalizer = back.charsmap;
        }
    }
    return p.damaged ? damaged("file", &p, err) : LAMINA_OK;
}

/* The named piece counts only as a control piece, as in SentencePiece. */
static uint32_t control_id(const struct tok_model *m, struct span name) {
    uint32_t id = 0;
    bool found = tok_vocab_id(&m->vocab, name, &id) && m->piece_type[id] == TOK_PIECE_CONTROL;
    return found ? id : TOK_NONE;
}

lamina_status tok_sp_read(struct tok_sp_file *f, struct span bytes, struct tok_model *m, struct lamina_error *err) {
    struct piece_names names = {.bos = span_of_text("<s>"), .eos = span_of_text("</s>")};
    f->algorithm = TOK_SP_UNIGRAM;
    f->unk_surface = span_of_text(" \xe2\x81\x87 ");
    f->normalizer = (struct tok_sp_normalizer_spec){.dummy_prefix = true, .remove_extra = true, .escape = true};
    if (bytes.len > SP_FILE_LIMIT) {
        return base_fail(err, LAMINA_UNSUPPORTED, "tokenizer model: %zu bytes, the limit is %d", bytes.len,
                         SP_FILE_LIMIT);
    }
    LAMINA_TRY(read_model(f, &names, bytes, m, err));
    f->bos = control_id(m, names.bos);
    f->eos = control_id(m, names.eos);
    return LAMINA_OK;
}

static bool is_byte_name(struct span text) {
    static const char digits[] = "0123456789ABCDEF";
    return text.len == 6 && memcmp(text.ptr, "<0x", 3) == 0 && text.ptr[5] == '>' &&
           memchr(digits, text.ptr[3], 16) != NULL && memchr(digits, text.ptr[4], 16) != NULL;
}

lamina_status tok_sp_check(struct tok_sp_file *f, struct tok_model *m, struct lamina_error *err) {
    uint32_t unknown = 0;
    uint32_t bytes = 0;
    for (uint32_t id = f->base; id < f->base + f->count; id++) {
        struct span text = {0};
        (void)tok_vocab_text(&m->vocab, id, &text);
        if (m->piece_type[id] == TOK_PIECE_UNKNOWN) {
            f->unk = id;
            unknown++;
        } else if (m->piece_type[id] == TOK_PIECE_BYTE) {
            bytes++;
            if (!is_byte_name(text)) {
                return base_fail(err, LAMINA_DAMAGED, "tokenizer model: byte piece %u is not named <0x00> to <0xFF>",
                                 id - f->base);
            }
        }
    }
    if (unknown != 1) {
        return base_fail(err, LAMINA_DAMAGED, "tokenizer model: %u pieces for what is unknown, expected one", unknown);
    }
    if (bytes != (f->byte_fallback ? 256u : 0)) { /* no name comes twice, so a count is enough */
        return base_fail(err, LAMINA_DAMAGED, "tokenizer model: %u byte pieces, expected %u", bytes,
                         f->byte_fallback ? 256u : 0);
    }
    if (f->denormalizer.len > 0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "tokenizer model: a denormalizer is not supported");
    }
    tok_vocab_fit(&m->vocab);
    return LAMINA_OK;
}

void tok_sp_file_drop(struct tok_sp_file *f) {
    free(f->scores);
    *f = (struct tok_sp_file){0};
}
