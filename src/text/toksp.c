/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens a SentencePiece model: file, model, normaliser and decoder. A file alone behaves as SentencePiece does; where a
 * tokenizer class is named beside it, the rules of that class come on top (tokslow.c). */
#include <stdlib.h>

#include "text/tokslow_priv.h"
#include "text/toksp_priv.h"

/* --- what the two algorithms share --- */

void tok_sp_unknown_open(struct tok_sp_unknown *u, const struct tok_model *m, const struct tok_sp_file *f) {
    u->unk = f->unk;
    u->byte_fallback = f->byte_fallback;
    (void)tok_byte_ids(&m->vocab, u->byte_id);
}

bool tok_sp_unknown_push(const struct tok_sp_unknown *u, struct span text, bool *run, struct text_ids *out) {
    bool first = !*run;
    *run = true;
    if (!u->byte_fallback) {
        return u->unk != TOK_NONE && (!first || tok_ids_push(out, u->unk));
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!tok_ids_push(out, u->byte_id[text.ptr[i]])) {
            return false;
        }
    }
    return true;
}

bool tok_sp_users_open(struct tok_pattern_set *users, const struct tok_model *m) {
    *users = (struct tok_pattern_set){0};
    for (uint32_t id = 0; id < m->vocab.id_count; id++) {
        users->count += m->piece_type[id] == TOK_PIECE_USER;
    }
    if (users->count == 0) {
        return true;
    }
    users->list = calloc(users->count, sizeof(*users->list));
    if (users->list == NULL) {
        return false;
    }
    users->count = 0;
    for (uint32_t id = 0; id < m->vocab.id_count; id++) {
        struct span text = {0};
        if (m->piece_type[id] == TOK_PIECE_USER && tok_vocab_text(&m->vocab, id, &text)) {
            users->list[users->count++] =
                (struct tok_pattern){.text = (const char *)text.ptr, .len = (uint32_t)text.len, .token = id};
        }
    }
    tok_patterns_sort(users);
    return true;
}

/* --- opening --- */

static lamina_status open_model(struct text_tokenizer *t, const struct tok_sp_file *f, struct lamina_error *err) {
    t->model.byte_fallback = f->byte_fallback;
    if (f->algorithm == TOK_SP_BPE) {
        t->kind = "SentencePiece BPE";
        return tok_merge_open_sp(&t->model, f, err);
    }
    if (f->algorithm == TOK_SP_UNIGRAM) {
        t->kind = "SentencePiece Unigram";
        return tok_unigram_open_sp(&t->model, f, err);
    }
    return base_fail(err, LAMINA_UNSUPPORTED, "tokenizer model: type %llu is not supported (1 Unigram and 2 BPE are)",
                     (unsigned long long)f->algorithm);
}

static lamina_status open_decoder(struct text_tokenizer *t, const struct tok_sp_file *f,
                                  const struct tok_slow_class *class, struct lamina_error *err) {
    struct tok_sp_decoder *d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    t->decoder.sp = d;
    t->decoder.present = true;
    t->decoder.stream = TOK_STREAM_TOKENS;
    d->strip_first = (f->normalizer.dummy_prefix && !class->fresh) || f->normalizer.remove_extra;
    d->strip_all = f->normalizer.remove_extra;
    str_add_span(&d->unk_surface, f->unk_surface);
    return d->unk_surface.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer") : LAMINA_OK;
}

static lamina_status open_normalizer(struct text_tokenizer *t, const struct tok_sp_file *f,
                                     const struct tok_slow_class *class, struct lamina_error *err) {
    struct tok_sp_norm *norm = NULL;
    LAMINA_TRY(tok_sp_norm_open(&norm, f, &t->model, err));
    norm->dummy_prefix = norm->dummy_prefix && !class->fresh;
    if (!tok_norm_add_sp(&t->norm, norm, class->rewrites)) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    return LAMINA_OK;
}

static lamina_status open_parts(struct text_tokenizer *t, struct tok_sp_file *f, struct span bytes,
                                const struct text_files *files, const struct tok_config *c, struct lamina_error *err) {
    struct tok_slow_class class = {0};
    LAMINA_TRY(tok_slow_find(&class, bytes, c, err));
    f->base = class.base;
    LAMINA_TRY(tok_sp_read(f, bytes, &t->model, err));
    LAMINA_TRY(tok_slow_append_pieces(&class, f, &t->model, err));
    LAMINA_TRY(tok_sp_check(f, &t->model, err));
    t->next_id = f->base + f->count;
    t->vocab_size = t->next_id;
    t->repair_bytes = true;
    t->post.present = true;
    LAMINA_TRY(open_model(t, f, err));
    LAMINA_TRY(open_normalizer(t, f, &class, err));
    LAMINA_TRY(open_decoder(t, f, &class, err));
    return tok_slow_apply(t, &class, f, files, c, err);
}

lamina_status tok_sp_open(struct text_tokenizer *t, struct span bytes, const struct text_files *files,
                          const struct tok_config *c, struct lamina_error *err) {
    struct tok_sp_file f = {.unk = TOK_NONE};
    lamina_status status = open_parts(t, &f, bytes, files, c, err);
    tok_sp_file_drop(&f);
    return status;
}
