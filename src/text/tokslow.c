/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of tokenizer classes over SentencePiece models, and what a row means. */
#include "text/tokslow_priv.h"

#include <stdio.h>

static const struct tok_slow_class classes[] = {
    {.classes = " LlamaTokenizer LlamaTokenizerFast ",
     .models = " llama mistral mixtral phi3 ",
     .bos = "<s>",
     .eos = "</s>",
     .unk = "<unk>",
     .style = TOK_SP_LLAMA,
     .add_bos = true,
     .has_legacy = true},
    {.classes = " CodeLlamaTokenizer CodeLlamaTokenizerFast ",
     .models = " ",
     .bos = "<s>",
     .eos = "</s>",
     .unk = "<unk>",
     .style = TOK_SP_LLAMA_NEW,
     .add_bos = true,
     .fresh = true},
    {.classes = " BaichuanTokenizer BaiChuanTokenizer ",
     .models = " baichuan ",
     .bos = "<s>",
     .eos = "</s>",
     .unk = "<unk>",
     .style = TOK_SP_BAICHUAN,
     .add_bos = true},
    {.classes = " InternLMTokenizer InternLM2Tokenizer ",
     .models = " internlm internlm2 ",
     .bos = "<s>",
     .eos = "</s>",
     .unk = "<unk>",
     .pad = "</s>",
     .style = TOK_SP_INTERNLM,
     .add_bos = true},
    {.classes = " InternLM3Tokenizer ",
     .models = " internlm3 ",
     .bos = "<s>",
     .eos = "</s>",
     .unk = "<unk>",
     .style = TOK_SP_TIGHT,
     .add_bos = true},
    {.classes = " GemmaTokenizer GemmaTokenizerFast ",
     .models = " gemma gemma2 gemma3 gemma3_text ",
     .bos = "<bos>",
     .eos = "<eos>",
     .unk = "<unk>",
     .pad = "<pad>",
     .style = TOK_SP_PLAIN,
     .add_bos = true},
    {.classes = " Ernie4_5_Tokenizer ",
     .models = " ernie4_5 ernie4_5_moe ",
     .bos = "<s>",
     .eos = "</s>",
     .unk = "<unk>",
     .pad = "<pad>",
     .style = TOK_SP_PLAIN},
};

/* One class name for two kinds of file: the older one has pieces for line feeds and blanks, and its special tokens in
 * the file; the newer ones append theirs. */
#define GLM_CLASSES " ChatGLMTokenizer "
#define GLM_MODELS  " chatglm "
static const struct tok_slow_class glm_old = {.classes = GLM_CLASSES,
                                              .models = GLM_MODELS,
                                              .bos = "<sop>",
                                              .eos = "<eop>",
                                              .unk = "<unk>",
                                              .pad = "<pad>",
                                              .style = TOK_SP_ONE_RUN,
                                              .specials = TOK_SLOW_SUFFIX,
                                              .base = 20000,
                                              .rewrites = true};
static const struct tok_slow_class glm_new = {
    .classes = GLM_CLASSES, .models = GLM_MODELS, .style = TOK_SP_ONE_RUN, .specials = TOK_SLOW_PREFIX};

/* Class names that say nothing about rules: the files beside the vocabulary say all. */
#define GENERIC_CLASSES " PreTrainedTokenizer PreTrainedTokenizerFast TokenizersBackend "

static bool contains(struct span text, const char *word) {
    return text.len > 0 && memmem(text.ptr, text.len, word, strlen(word)) != NULL;
}

/* The newest revision of that class adds tokens for chat roles. Its files mention one, or their origin. */
static bool has_roles(const struct tok_config *c) {
    return c->names_roles || contains(str_span(&c->name), "chatglm3");
}

static lamina_status find_glm(struct tok_slow_class *class, struct span model, const struct tok_config *c,
                              struct lamina_error *err) {
    *class = tok_sp_has_piece(model, "<n>") ? glm_old : glm_new;
    class->roles = has_roles(c);
    if (class->rewrites && c->image_tokens >= 0) {
        if (c->image_tokens >= TOK_VOCAB_LIMIT) {
            return base_fail(err, LAMINA_DAMAGED, "tokenizer_config.json: num_image_tokens is above the limit of %d",
                             TOK_VOCAB_LIMIT);
        }
        class->base = (uint32_t)c->image_tokens;
    }
    if (c->lower_case || c->remove_space) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "tokenizer_config.json: do_lower_case and remove_space are not supported; set them to false");
    }
    return LAMINA_OK;
}

lamina_status tok_slow_find(struct tok_slow_class *class, struct span model, const struct tok_config *c,
                            struct lamina_error *err) {
    bool generic = c->tokenizer_class.len == 0 || tok_config_lists(GENERIC_CLASSES, &c->tokenizer_class);
    *class = (struct tok_slow_class){0};
    if (tok_config_lists(GLM_CLASSES, &c->tokenizer_class) || (generic && tok_config_lists(GLM_MODELS, &c->model_type))) {
        return find_glm(class, model, c, err);
    }
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        if (tok_config_lists(generic ? classes[i].models : classes[i].classes,
                             generic ? &c->model_type : &c->tokenizer_class)) {
            *class = classes[i];
            class->fresh = class->fresh || (class->has_legacy && c->legacy == 0);
            class->style = class->has_legacy && class->fresh ? TOK_SP_LLAMA_NEW : class->style;
            return LAMINA_OK;
        }
    }
    if (!generic) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "a SentencePiece model of tokenizer class \"%s\": its rules are not known; add the "
                         "checkpoint's tokenizer.json, or remove tokenizer_config.json to use the model alone",
                         str_text(&c->tokenizer_class));
    }
    class->only_config = c->tokenizer_class.len > 0;
    class->classes = class->only_config ? GENERIC_CLASSES : NULL;
    class->style = class->only_config ? TOK_SP_PLAIN : TOK_SP_BARE;
    return LAMINA_OK;
}

/* The first revision of the old kind shipped the bare file and appended these at load. */
lamina_status tok_slow_append_pieces(const struct tok_slow_class *class, struct tok_sp_file *f, struct tok_model *m,
                                     struct lamina_error *err) {
    static const char *const control[] = {"[MASK]", "[gMASK]", "[sMASK]", "<unused_0>",
                                          "<sop>",  "<eop>",   "<ENC>",   "<dBLOCK>"};
    uint32_t id = 0;
    char name[32];
    if (!class->rewrites || tok_vocab_id(&m->vocab, span_of_text("<|blank_2|>"), &id)) {
        return LAMINA_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(control); i++) {
        LAMINA_TRY(tok_sp_append(f, m, span_of_text(control[i]), TOK_PIECE_CONTROL, err));
    }
    LAMINA_TRY(tok_sp_append(f, m, span_of_text("<|tab|>"), TOK_PIECE_USER, err));
    for (int i = 2; i <= 80; i++) {
        (void)snprintf(name, sizeof(name), "<|blank_%d|>", i);
        LAMINA_TRY(tok_sp_append(f, m, span_of_text(name), TOK_PIECE_USER, err));
    }
    for (unsigned i = 0; i < 256 && !f->byte_fallback; i++) {
        (void)snprintf(name, sizeof(name), "<0x%02X>", i);
        LAMINA_TRY(tok_sp_append(f, m, span_of_text(name), TOK_PIECE_BYTE, err));
    }
    f->byte_fallback = true;
    return LAMINA_OK;
}

/* --- special tokens --- */

static lamina_status add_special(struct text_tokenizer *t, const char *text, uint32_t id, enum tok_added_where where,
                                 struct lamina_error *err) {
    struct tok_added_token token = {.special = true, .where = where};
    if (text == NULL || tok_added_find_text(&t->added, span_of_text(text)) != NULL) {
        return LAMINA_OK;
    }
    return tok_added_insert(t, span_of_text(text), token, id, err);
}

static lamina_status add_named(struct text_tokenizer *t, const struct tok_slow_class *class, const struct tok_config *c,
                               struct lamina_error *err) {
    LAMINA_TRY(add_special(t, c->bos.len > 0 ? NULL : class->bos, TOK_NONE, TOK_ADDED_ANYWHERE, err));
    LAMINA_TRY(add_special(t, c->eos.len > 0 ? NULL : class->eos, TOK_NONE, TOK_ADDED_ANYWHERE, err));
    LAMINA_TRY(add_special(t, c->unk.len > 0 ? NULL : class->unk, TOK_NONE, TOK_ADDED_ANYWHERE, err));
    return add_special(t, c->pad.len > 0 ? NULL : class->pad, TOK_NONE, TOK_ADDED_ANYWHERE, err);
}

/* Two of these are ordinary words. They count as tokens only behind another token, as in "[gMASK]sop", unless the files
 * list them. The revision without roles does not look for its special tokens in a text at all. */
static lamina_status add_glm_prefix(struct text_tokenizer *t, const struct tok_slow_class *class,
                                    const struct tok_sp_file *f, struct lamina_error *err) {
    static const char *const names[] = {"[MASK]",     "[gMASK]",  "[sMASK]",       "sop",            "eop",
                                        "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"};
    uint32_t gmask = 0;
    uint32_t sop = 0;
    for (uint32_t i = 0; i < (class->roles ? 9u : 5u); i++) {
        bool word = i == 3 || i == 4;
        enum tok_added_where where = !class->roles ? TOK_ADDED_NOWHERE : word ? TOK_ADDED_BEHIND : TOK_ADDED_ANYWHERE;
        LAMINA_TRY(add_special(t, names[i], f->base + f->count + i, where, err));
    }
    (void)text_token_id(t, span_of_text(names[1]), &gmask);
    (void)text_token_id(t, span_of_text(names[3]), &sop);
    t->decoder.sp->silent_specials = !class->roles;
    if (tok_added_find_text(&t->added, span_of_text("<unk>")) == NULL) {
        str_clear(&t->decoder.sp->unk_surface);
    }
    return tok_post_add(&t->post, true, sop) && tok_post_add(&t->post, true, gmask)
               ? LAMINA_OK
               : base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
}

static lamina_status add_glm_suffix(struct text_tokenizer *t, struct lamina_error *err) {
    uint32_t gmask = 0;
    uint32_t sop = 0;
    if (!text_token_id(t, span_of_text("[gMASK]"), &gmask) || !text_token_id(t, span_of_text("<sop>"), &sop)) {
        return base_fail(err, LAMINA_DAMAGED, "tokenizer model: no pieces [gMASK] and <sop>, which end every prompt");
    }
    return tok_post_add(&t->post, false, gmask) && tok_post_add(&t->post, false, sop)
               ? LAMINA_OK
               : base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
}

static lamina_status add_end(struct text_tokenizer *t, bool front, const struct str *named, const char *usual,
                             struct lamina_error *err) {
    struct span text = named->len > 0 ? str_span(named) : span_of_text(usual == NULL ? "" : usual);
    uint32_t id = 0;
    if (!text_token_id(t, text, &id)) {
        return base_fail(err, LAMINA_DAMAGED,
                         "tokenizer_config.json: %s is true, but that token is not named or not in the vocabulary",
                         front ? "add_bos_token" : "add_eos_token");
    }
    return tok_post_add(&t->post, front, id) ? LAMINA_OK
                                             : base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
}

/* --- the leading space of newer classes --- */

/* The class encodes text that begins with a space behind the unknown token, and takes that token's pieces away again. */
static lamina_status measure_unknown(struct text_tokenizer *t, struct lamina_error *err) {
    struct tok_norm_work work = {0};
    struct tok_scratch scratch = {0};
    struct text_ids ids = {0};
    struct span normal = {0};
    lamina_status status = tok_norm_run(&t->norm, str_span(&t->slow.unk), &work, &normal, err);
    if (status == LAMINA_OK) {
        status = t->model.ops->encode(&t->model, normal, &scratch, &ids, err);
    }
    t->slow.unk_ids = ids.count;
    text_ids_drop(&ids);
    tok_scratch_drop(&scratch);
    tok_norm_work_drop(&work);
    return status;
}

lamina_status tok_slow_apply(struct text_tokenizer *t, const struct tok_slow_class *class, const struct tok_sp_file *f,
                             const struct text_files *files, const struct tok_config *c, struct lamina_error *err) {
    t->decoder.sp->style = class->style;
    t->decoder.sp->rewrites = class->rewrites;
    t->decoder.sp->prefix_space = c->prefix_space != 0;
    if (class->classes == NULL) {
        return LAMINA_OK;
    }
    t->explicit_ids = true;
    t->skips_all = true;
    t->plain_from = f->base + f->count;
    LAMINA_TRY(tok_config_add_tokens(t, files, false, err));
    LAMINA_TRY(add_named(t, class, c, err));
    for (uint32_t i = 0; i < t->added.count; i++) {
        t->added.list[i].normalized = false; /* these classes look for tokens before anything else */
    }
    if (class->specials == TOK_SLOW_PREFIX) {
        return add_glm_prefix(t, class, f, err);
    }
    if (class->specials == TOK_SLOW_SUFFIX) {
        return add_glm_suffix(t, err);
    }
    if (c->add_bos == 1 || (class->add_bos && c->add_bos != 0)) {
        LAMINA_TRY(add_end(t, true, &c->bos, class->bos, err));
    }
    if (c->add_eos == 1) {
        LAMINA_TRY(add_end(t, false, &c->eos, class->eos, err));
    }
    if (!class->fresh) {
        return LAMINA_OK;
    }
    t->slow.fresh = true;
    t->slow.prefix_space = c->prefix_space != 0;
    str_add_text(&t->slow.unk, c->unk.len > 0 ? str_text(&c->unk) : class->unk);
    return t->slow.unk.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer") : measure_unknown(t, err);
}
