/* SPDX-License-Identifier: Apache-2.0
 *
 * Side files from the metadata of a GGUF file: which there are, and the two that are about the model rather than about
 * texts. The loader of tokenizers looks for tokenizer.json first, so a file makes either it or tokenizer.model, never both. */
#include "format/gguf_tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "format/gguf_tokenizer_priv.h"

enum { MAX_ENDS = 16 }; /* more are not read */

static const char TEMPLATE[] = "tokenizer.chat_template", NAMED[] = "tokenizer.chat_template.",
                  WHOLE[] = "tokenizer.huggingface.json";

/* ---- tokenizer_config.json ---- */

static void write_member(const char *name, struct span text, struct str *out) {
    if (text.len > 0) {
        str_printf(out, ",\n\"%s\": ", name);
        json_write_string(out, text);
    }
}

static lamina_status write_template_text(const struct gguf_vocab *v, const char *key, const struct gguf_value *value,
                                         struct str *out, struct lamina_error *err) {
    struct span text = {0};
    if (!gguf_as_text(value, &text) || !utf8_valid(text)) {
        return gguf_bad_key(v, key, "no text in UTF-8", err);
    }
    json_write_string(out, text);
    return LAMINA_OK;
}

/* One template is a text, several are a list; the usual one is called "default" there. */
static lamina_status write_templates(const struct gguf_vocab *v, struct str *out, struct lamina_error *err) {
    const struct gguf_value *usual = gguf_find(v->file, TEMPLATE);
    const char *comma = "";
    bool listed = false;
    usual = usual != NULL && usual->type == GGUF_TEXT && usual->body.len == 0 ? NULL : usual;
    for (uint32_t i = 0; i < v->file->pair_count; i++) {
        listed = listed || span_starts_with(v->file->pairs[i].key, NAMED);
    }
    if (usual == NULL && !listed) {
        return LAMINA_OK;
    }
    str_add_text(out, ",\n\"chat_template\": ");
    if (!listed) {
        return write_template_text(v, TEMPLATE, usual, out, err);
    }
    str_add_text(out, "[");
    if (usual != NULL) {
        str_add_text(out, "{\"name\": \"default\", \"template\": ");
        LAMINA_TRY(write_template_text(v, TEMPLATE, usual, out, err));
        str_add_text(out, "}");
        comma = ", ";
    }
    for (uint32_t i = 0; i < v->file->pair_count; i++) {
        const struct gguf_pair *p = &v->file->pairs[i];
        if (span_starts_with(p->key, NAMED)) {
            str_printf(out, "%s{\"name\": ", comma);
            json_write_string(out, span_sub(p->key, sizeof(NAMED) - 1, p->key.len));
            str_add_text(out, ", \"template\": ");
            LAMINA_TRY(write_template_text(v, NAMED, &p->value, out, err));
            str_add_text(out, "}");
            comma = ", ";
        }
    }
    str_add_text(out, "]");
    return LAMINA_OK;
}

/* Beside tokenizer.model these are all that makes a token of the vocabulary be found in a text. */
static void write_added(const struct gguf_vocab *v, struct str *out) {
    struct span model = {0};
    const char *comma = "";
    (void)gguf_as_text(gguf_find(v->file, "general.name"), &model);
    str_add_text(out, ",\n\"added_tokens_decoder\": {");
    for (uint32_t id = 0; id < v->count; id++) {
        struct span text = v->tokens[id].text;
        if (gguf_token_is_added(v, id)) {
            str_printf(out, "%s\n\"%" PRIu32 "\": {\"content\": ", comma, id);
            json_write_string(out, text);
            str_printf(out,
                       ", \"lstrip\": false, \"normalized\": false, \"rstrip\": %s, \"single_word\": false, "
                       "\"special\": %s}",
                       gguf_eats_blanks(model, text) ? "true" : "false", gguf_token_is_special(v, id) ? "true" : "false");
            comma = ",";
        }
    }
    str_add_text(out, "}");
}

/* A class that does nothing of its own around special tokens, as the programs that use these files do nothing either. It
 * knows padding by a name of its own, so the file names some token. */
static void write_piece_class(const struct gguf_vocab *v, struct str *out) {
    bool tight = v->bos != GGUF_NO_ID && v->eos != GGUF_NO_ID;
    if (tight && v->pad == GGUF_NO_ID) {
        write_member("pad_token", gguf_token_text(v, v->unk), out);
    }
    write_member("tokenizer_class", span_of_text(gguf_class_name(tight)), out);
}

static lamina_status write_length(const struct gguf_vocab *v, struct str *out, struct lamina_error *err) {
    char key[128];
    struct span architecture = {0};
    uint64_t tokens = 0;
    if (gguf_as_text(gguf_find(v->file, "general.architecture"), &architecture) && architecture.len < 100) {
        (void)snprintf(key, sizeof(key), "%.*s.context_length", (int)architecture.len, (const char *)architecture.ptr);
        const struct gguf_value *value = gguf_find(v->file, key);
        if (value != NULL && (!gguf_as_u64(value, &tokens) || tokens > INT64_MAX)) {
            return gguf_bad_key(v, key, "no count", err);
        }
    }
    if (tokens > 0) {
        str_printf(out, ",\n\"model_max_length\": %" PRIu64, tokens);
    }
    return LAMINA_OK;
}

static lamina_status write_config(const struct gguf_vocab *v, struct str *out, struct lamina_error *err) {
    bool pieces = !v->whole && (v->pipeline == GGUF_PIECES || v->pipeline == GGUF_UNIGRAM);
    str_printf(out, "{\n\"add_bos_token\": %s,\n\"add_eos_token\": %s", v->add_bos ? "true" : "false",
               v->add_eos ? "true" : "false");
    write_member("bos_token", gguf_token_text(v, v->bos), out);
    write_member("eos_token", gguf_token_text(v, v->eos), out);
    write_member("unk_token", gguf_token_text(v, v->unk), out);
    write_member("pad_token", gguf_token_text(v, v->pad), out);
    if (v->pipeline == GGUF_WORDS && v->kind != NULL) {
        write_member("cls_token", gguf_token_text(v, v->bos), out);
        write_member("sep_token", gguf_token_text(v, v->sep), out);
        write_member("mask_token", gguf_token_text(v, v->mask), out);
    }
    if (pieces) {
        write_piece_class(v, out);
        write_added(v, out);
    } else {
        write_member("tokenizer_class", span_of_text(gguf_class_name(false)), out);
    }
    LAMINA_TRY(write_length(v, out, err));
    LAMINA_TRY(write_templates(v, out, err));
    str_add_text(out, "\n}\n");
    return LAMINA_OK;
}

/* ---- generation_config.json ---- */

struct ends {
    uint32_t ids[MAX_ENDS];
    unsigned count;
};

static void add_end(struct ends *e, uint32_t id) {
    for (unsigned i = 0; i < e->count; i++) {
        id = e->ids[i] == id ? GGUF_NO_ID : id;
    }
    if (id != GGUF_NO_ID && e->count < MAX_ENDS) {
        e->ids[e->count++] = id;
    }
}

/* The texts' numbers are small, so a set of them is a word. */
static uint32_t text_bit(struct span text) {
    for (unsigned i = 0; gguf_end_text(i) != NULL; i++) {
        if (span_is(text, gguf_end_text(i))) {
            return UINT32_C(1) << i;
        }
    }
    return 0;
}

static bool has(uint32_t found, const char *text) {
    return (found & text_bit(span_of_text(text))) != 0;
}

/* Some end an answer only where others do not mark its parts: with channels a part ends at one of these, with answers of
 * tools the other is left from an older vocabulary. */
static uint32_t no_ends(uint32_t found) {
    bool parts = has(found, "<|end|>") && (has(found, "<|call|>") || has(found, "<|calls|>")) &&
                 (has(found, "<|return|>") || has(found, "<|flush|>"));
    return (parts ? text_bit(span_of_text("<|end|>")) : 0) |
           (has(found, "<|tool_response>") ? text_bit(span_of_text("</s>")) : 0);
}

static bool may_end(const struct gguf_vocab *v, uint32_t id) {
    return v->tokens[id].type == GGUF_TOKEN_CONTROL || v->tokens[id].type == GGUF_TOKEN_USER;
}

static void add_by_text(const struct gguf_vocab *v, struct ends *e) {
    uint32_t found = 0;
    for (uint32_t id = 0; id < v->count; id++) {
        found |= may_end(v, id) ? text_bit(v->tokens[id].text) : 0;
    }
    uint32_t wanted = found & ~no_ends(found);
    for (uint32_t id = 0; id < v->count && wanted != 0; id++) {
        uint32_t bit = may_end(v, id) ? text_bit(v->tokens[id].text) & wanted : 0;
        if (bit != 0) {
            add_end(e, id);
        }
    }
}

static void write_generation(const struct gguf_vocab *v, struct str *out) {
    struct ends e = {0};
    add_end(&e, v->eos);
    add_end(&e, v->eot);
    add_end(&e, v->eom);
    add_by_text(v, &e);
    str_add_text(out, "{");
    if (v->bos != GGUF_NO_ID) {
        str_printf(out, "\n\"bos_token_id\": %" PRIu32 "%s", v->bos, e.count > 0 ? "," : "");
    }
    for (unsigned i = 0; i < e.count; i++) {
        str_printf(out, "%s%" PRIu32, i == 0 ? "\n\"eos_token_id\": [" : ", ", e.ids[i]);
    }
    str_add_text(out, e.count > 0 ? "]\n}\n" : "\n}\n");
}

/* ---- the door ---- */

static lamina_status no_such_file(const struct gguf_vocab *v, const char *name, struct lamina_error *err) {
    return base_fail(err, LAMINA_NOT_FOUND, "%s: a model with this tokenizer has no %s", v->name, name);
}

static lamina_status write_whole(const struct gguf_vocab *v, struct str *out, struct lamina_error *err) {
    struct span text = {0};
    if (!gguf_as_text(gguf_find(v->file, WHOLE), &text) || !utf8_valid(text)) {
        return gguf_bad_key(v, WHOLE, "no text in UTF-8", err);
    }
    str_add_span(out, text);
    return LAMINA_OK;
}

static lamina_status write_vocabulary(const struct gguf_vocab *v, const char *name, struct str *out,
                                      struct lamina_error *err) {
    bool pieces = v->pipeline == GGUF_PIECES || v->pipeline == GGUF_UNIGRAM;
    if ((strcmp(name, "tokenizer.model") == 0) != pieces) {
        return no_such_file(v, name, err);
    }
    LAMINA_TRY(gguf_vocab_check_single(v, err));
    return (pieces ? gguf_write_tokenizer_model : gguf_write_tokenizer_json)(v, out, err);
}

static lamina_status write_file(struct gguf_vocab *v, const char *name, struct str *out, struct lamina_error *err) {
    const struct gguf_value *whole = gguf_find(v->file, WHOLE);
    bool json = strcmp(name, "tokenizer.json") == 0;
    bool model = strcmp(name, "tokenizer.model") == 0;
    bool config = strcmp(name, "tokenizer_config.json") == 0;
    v->whole = whole != NULL && !(whole->type == GGUF_TEXT && whole->body.len == 0);
    if (!json && !model && !config && strcmp(name, "generation_config.json") != 0) {
        return no_such_file(v, name, err);
    }
    if (v->whole && (json || model)) {
        return json ? write_whole(v, out, err) : no_such_file(v, name, err);
    }
    LAMINA_TRY(gguf_vocab_read(v, err));
    if (json || model || config) {
        return config ? write_config(v, out, err) : write_vocabulary(v, name, out, err);
    }
    write_generation(v, out);
    return LAMINA_OK;
}

lamina_status gguf_side_file(const struct gguf *g, const char *name, const char *file_name_for_messages, struct str *out,
                             struct lamina_error *err) {
    struct gguf_vocab v = {.file = g, .name = file_name_for_messages};
    size_t begin = out->len;
    lamina_status status = write_file(&v, name, out, err);
    if (status == LAMINA_OK && out->failed) {
        status = base_fail(err, LAMINA_NO_FIT, "%s: out of memory for its %s", file_name_for_messages, name);
    }
    if (status != LAMINA_OK && out->ptr != NULL) {
        out->len = begin;
        out->ptr[begin] = 0;
    }
    gguf_vocab_drop(&v);
    return status;
}
