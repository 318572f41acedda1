/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokenizer and chat template of a directory: finds the files, lends them to the text room, keeps nothing of their bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "api/api_priv.h"
#include "model/rank_files.h"
#include "sys/file.h"
#include "sys/host.h"
#include "sys/mem.h"

enum { MIB = 1 << 20 };

/* reference/reliability.md 5.3 */
static const uint64_t TOKENIZER_LIMIT = 256 * (uint64_t)MIB;

/* The same memory as a file would be in, so that whoever unloads it need not know. */
static lamina_status load_made(const struct lamina_source *s, const char *name, uint64_t limit, struct span *out,
                               struct lamina_error *err) {
    struct lamina_error absent = {0};
    char *bytes = NULL;
    size_t len = 0;
    void *memory = NULL;
    lamina_status status = s->file(s->user, name, &bytes, &len, &absent);
    if (status < 0) {
        return status == LAMINA_NOT_FOUND ? LAMINA_OK : base_fail(err, status, "%s", absent.message);
    }
    if (len > limit) {
        status = base_fail(err, LAMINA_UNSUPPORTED, "%s would have %zu bytes, at most %llu are read", name, len,
                           (unsigned long long)limit);
    }
    if (status == LAMINA_OK && len > 0) {
        status = sys_mem_map(&memory, len, err);
    }
    if (status == LAMINA_OK && len > 0) {
        memcpy(memory, bytes, len);
        *out = span_of(memory, len);
    }
    free(bytes);
    return status;
}

lamina_status api_load(const struct api_place *place, const char *name, uint64_t limit, struct span *out,
                       struct lamina_error *err) {
    struct str path = {0};
    lamina_status status = LAMINA_OK;
    *out = (struct span){0};
    if (place->source != NULL) {
        return load_made(place->source, name, limit, out, err);
    }
    str_printf(&path, "%s/%s", place->dir, name);
    if (sys_exists(str_text(&path))) {
        status = sys_load(str_text(&path), limit, out, err);
    }
    str_drop(&path);
    return status;
}

struct files {
    struct text_files text;
    struct span generation;
};

static void unload_all(struct files *f) {
    struct span *const all[] = {&f->text.tokenizer_json,     &f->text.vocab_json,       &f->text.merges_txt,
                                &f->text.tokenizer_model,    &f->text.tiktoken,         &f->text.added_tokens_json,
                                &f->text.tokenizer_config,   &f->text.special_tokens_map, &f->text.config,
                                &f->generation};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        sys_unload(all[i]);
    }
}

static lamina_status load_all(const struct api_place *place, struct files *f, struct lamina_error *err) {
    const struct {
        const char *name;
        uint64_t limit;
        struct span *out;
    } list[] = {
        {"tokenizer.json", TOKENIZER_LIMIT, &f->text.tokenizer_json},
        {"vocab.json", TOKENIZER_LIMIT, &f->text.vocab_json},
        {"merges.txt", TOKENIZER_LIMIT, &f->text.merges_txt},
        {"tokenizer.model", TOKENIZER_LIMIT, &f->text.tokenizer_model},
        {"spiece.model", TOKENIZER_LIMIT, &f->text.tokenizer_model},
        {"ice_text.model", TOKENIZER_LIMIT, &f->text.tokenizer_model},
        {"added_tokens.json", API_CONFIG_LIMIT, &f->text.added_tokens_json},
        {"tokenizer_config.json", API_CONFIG_LIMIT, &f->text.tokenizer_config},
        {"special_tokens_map.json", API_CONFIG_LIMIT, &f->text.special_tokens_map},
        {"config.json", API_CONFIG_LIMIT, &f->text.config},
        {"generation_config.json", API_CONFIG_LIMIT, &f->generation},
    };
    static const char *const ranks[] = {MODEL_RANK_FILES};
    for (size_t i = 0; i < ARRAY_LEN(ranks) && f->text.tiktoken.len == 0; i++) {
        LAMINA_TRY(api_load(place, ranks[i], TOKENIZER_LIMIT, &f->text.tiktoken, err));
    }
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        if (list[i].out->len == 0) { /* of several names for one thing the first that is there counts */
            LAMINA_TRY(api_load(place, list[i].name, list[i].limit, list[i].out, err));
        }
    }
    return LAMINA_OK;
}

static lamina_status read_generation(struct lamina_text *t, struct span json, struct lamina_error *err) {
    t->generation = (struct model_generation){.temperature = 1.0, .top_p = 1.0, .repetition_penalty = 1.0, .bos_id = -1};
    t->has_generation = json.len > 0;
    return json.len > 0 ? model_generation_read(json, &t->generation, err) : LAMINA_OK;
}

lamina_status api_text_open_at(struct lamina_text **out, const struct api_place *place, const char *chat_template,
                               struct lamina_error *err) {
    struct files f = {0};
    struct lamina_text *t = (struct lamina_text *)calloc(1, sizeof(*t));
    lamina_status status = t != NULL ? load_all(place, &f, err) : base_fail(err, LAMINA_NO_FIT, "out of memory");
    if (status == LAMINA_OK) {
        status = text_tokenizer_open(&t->tokenizer, &f.text, err);
    }
    if (status == LAMINA_OK) {
        status = read_generation(t, f.generation, err);
    }
    if (status != LAMINA_OK) {
        base_error_prefix(err, "%s: ", place->dir);
    } else {
        struct api_chat_files chat = {.config = f.text.config,
                                      .tokenizer_config = f.text.tokenizer_config,
                                      .special_tokens_map = f.text.special_tokens_map,
                                      .generation = f.generation,
                                      .given = chat_template};
        status = api_chat_open(t, place, &chat, err);
    }
    unload_all(&f);
    sys_mem_trim();
    if (status != LAMINA_OK) {
        lamina_text_close(&t);
        return status;
    }
    *out = t;
    return LAMINA_OK;
}

void lamina_text_defaults(struct lamina_text_options *o) {
    *o = (struct lamina_text_options){.size = sizeof(*o)};
}

static lamina_status open_gguf(struct lamina_text **text, const char *path, const char *chat_template, struct lamina_error *err) {
    struct lamina_source *source = NULL;
    LAMINA_TRY(store_source_open(&source, path, err));
    struct api_place made = {.dir = path, .source = source};
    lamina_status status = api_text_open_at(text, &made, chat_template, err);
    store_source_close(&source);
    return status;
}

lamina_status lamina_text_open_with(struct lamina_text **text, const char *path, const struct lamina_text_options *o,
                                    struct lamina_error *err) {
    struct str dir = {0};
    bool gguf = false;
    if (o != NULL && o->size != sizeof(*o)) {
        return base_fail(err, LAMINA_USAGE, "options were not made by lamina_text_defaults of this library version");
    }
    const char *chat_template = o != NULL ? o->chat_template : NULL;
    if (!store_is_store(path)) {
        LAMINA_TRY(store_find_gguf(path, &gguf, err));
    }
    if (gguf) {
        return open_gguf(text, path, chat_template, err);
    }
    str_add_text(&dir, path);
    if (store_is_store(path)) {
        str_add_text(&dir, "/tokenizer");
    }
    struct api_place place = {.dir = str_text(&dir)};
    lamina_status status = sys_exists(place.dir) ? api_text_open_at(text, &place, chat_template, err)
                           : sys_exists(path)
                               ? base_fail(err, LAMINA_NOT_FOUND, "%s holds no tokenizer files", path)
                               : base_fail(err, LAMINA_NOT_FOUND, "%s does not exist", path);
    str_drop(&dir);
    return status;
}

lamina_status lamina_text_open(struct lamina_text **text, const char *path, struct lamina_error *err) {
    return lamina_text_open_with(text, path, NULL, err);
}

void lamina_text_close(struct lamina_text **text) {
    if (*text != NULL) {
        text_tokenizer_close(&(*text)->tokenizer);
        api_chat_drop(*text);
        free(*text);
        *text = NULL;
    }
}

static lamina_status encode(struct lamina_text *text, struct span bytes, unsigned flags, uint32_t **ids, size_t *count,
                            struct lamina_error *err) {
    struct text_ids out = {0};
    lamina_status status = text_encode(text->tokenizer, bytes, flags, &out, err);
    if (status != LAMINA_OK) {
        text_ids_drop(&out);
        return status;
    }
    *ids = out.ids;
    *count = out.count;
    return LAMINA_OK;
}

lamina_status lamina_tokenize(struct lamina_text *text, const char *bytes, size_t len, bool special, uint32_t **ids,
                              size_t *count, struct lamina_error *err) {
    return encode(text, span_of(bytes, len), special ? TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL : 0, ids, count, err);
}

lamina_status lamina_tokenize_prompt(struct lamina_text *text, const char *bytes, size_t len, uint32_t **ids,
                                     size_t *count, struct lamina_error *err) {
    /* Templates of checkpoints write every token themselves; the formats of families leave to the tokenizer what it adds. */
    bool builtin = text->chat != NULL && chat_is_builtin(text->chat);
    return encode(text, span_of(bytes, len), TEXT_PARSE_SPECIAL | (builtin ? (unsigned)TEXT_ADD_SPECIAL : 0u), ids, count, err);
}

lamina_status lamina_text_front(struct lamina_text *text, uint32_t *ids, uint32_t most, uint32_t *count,
                                struct lamina_error *err) {
    size_t found = 0;
    const uint32_t *front = text_front(text->tokenizer, &found);
    if (found > most) {
        return base_fail(err, LAMINA_USAGE, "the tokenizer puts %zu tokens in front of a text, there is room for %u", found, most);
    }
    for (size_t i = 0; i < found; i++) {
        ids[i] = front[i];
    }
    *count = (uint32_t)found;
    return LAMINA_OK;
}

lamina_status lamina_detokenize(struct lamina_text *text, const uint32_t *ids, size_t count, bool skip_special,
                                char **bytes, size_t *len, struct lamina_error *err) {
    struct str out = {0};
    lamina_status status = text_decode(text->tokenizer, ids, count, skip_special, &out, err);
    str_add(&out, "", 0); /* an empty text is still a 0-ended string of the caller's */
    if (status == LAMINA_OK && out.failed) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for the text");
    }
    if (status != LAMINA_OK) {
        str_drop(&out);
        return status;
    }
    *bytes = out.ptr;
    *len = out.len;
    return LAMINA_OK;
}

struct lamina_decoder {
    const struct text_tokenizer *tokenizer;
    struct text_stream stream;
    struct str piece;
    bool skip_special;
};

lamina_status lamina_decoder_open(struct lamina_decoder **decoder, struct lamina_text *text, bool skip_special,
                                  struct lamina_error *err) {
    struct lamina_decoder *d = (struct lamina_decoder *)calloc(1, sizeof(*d));
    if (d == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a decoder");
    }
    d->tokenizer = text->tokenizer;
    d->skip_special = skip_special;
    *decoder = d;
    return LAMINA_OK;
}

void lamina_decoder_close(struct lamina_decoder **decoder) {
    struct lamina_decoder *d = *decoder;
    if (d != NULL) {
        text_stream_drop(&d->stream);
        str_drop(&d->piece);
        free(d);
        *decoder = NULL;
    }
}

static lamina_status hand_piece(struct lamina_decoder *d, lamina_status status, const char **bytes, size_t *len,
                                struct lamina_error *err) {
    if (status == LAMINA_OK && d->piece.failed) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for the text");
    }
    if (status == LAMINA_OK) {
        *bytes = str_text(&d->piece);
        *len = d->piece.len;
    }
    return status;
}

lamina_status lamina_decoder_add(struct lamina_decoder *d, uint32_t id, const char **bytes, size_t *len,
                                 struct lamina_error *err) {
    str_clear(&d->piece);
    return hand_piece(d, text_stream_add(d->tokenizer, &d->stream, id, d->skip_special, &d->piece, err), bytes, len, err);
}

lamina_status lamina_decoder_finish(struct lamina_decoder *d, const char **bytes, size_t *len, struct lamina_error *err) {
    str_clear(&d->piece);
    lamina_status status = text_stream_finish(d->tokenizer, &d->stream, d->skip_special, &d->piece, err);
    text_stream_drop(&d->stream);
    d->stream = (struct text_stream){0};
    return hand_piece(d, status, bytes, len, err);
}

const char *lamina_text_stop(const struct lamina_text *text, uint32_t index) {
    return index < text->stop_count ? text->stops[index] : NULL;
}

bool lamina_text_has_template(const struct lamina_text *text) {
    return text->chat != NULL;
}

uint32_t lamina_text_vocab(const struct lamina_text *text) {
    return text_vocab_size(text->tokenizer);
}

lamina_status lamina_template(struct lamina_text *text, const char *messages, const char *tools, const char *kwargs,
                              bool add_generation_prompt, char **prompt, size_t *len, struct lamina_error *err) {
    if (text->chat == NULL) {
        return base_fail(err, LAMINA_NOT_FOUND, "this model has no chat template; give plain text (--raw)");
    }
    struct chat_request r = {
        .messages = span_of_text(messages),
        .tools = tools != NULL ? span_of_text(tools) : (struct span){0},
        .kwargs = kwargs != NULL ? span_of_text(kwargs) : (struct span){0},
        .add_generation_prompt = add_generation_prompt,
        .now_unix_s = sys_unix_time_s(),
    };
    struct str out = {0};
    lamina_status status = chat_render(text->chat, &r, &out, err);
    str_add(&out, "", 0);
    if (status == LAMINA_OK && out.failed) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for the prompt");
    }
    if (status != LAMINA_OK) {
        str_drop(&out);
        return status;
    }
    *prompt = out.ptr;
    *len = out.len;
    return LAMINA_OK;
}
