/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer.json from a GGUF file, version 1.0 of the `tokenizers` package: byte-level BPE, BPE over characters with marks
 * for spaces, and WordPiece. Written member by member in the order that package has; every text is UTF-8 already. */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "format/gguf_tokenizer_priv.h"

#define MARK "\xe2\x96\x81"

static const char MERGES[] = "tokenizer.ggml.merges";

static void write_text(struct str *out, const char *text) {
    json_write_string(out, span_of_text(text));
}

/* ---- added tokens ---- */

static void write_added(const struct gguf_vocab *v, struct str *out) {
    const char *comma = "";
    str_add_text(out, "\"added_tokens\": [");
    for (uint32_t id = 0; id < v->count; id++) {
        if (gguf_token_is_added(v, id)) {
            str_printf(out, "%s\n{\"id\": %" PRIu32 ", \"content\": ", comma, id);
            json_write_string(out, v->tokens[id].text);
            str_printf(out,
                       ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                       "\"special\": %s}",
                       gguf_token_is_special(v, id) ? "true" : "false");
            comma = ",";
        }
    }
    str_add_text(out, "],\n");
}

/* ---- what is done to a text ---- */

static lamina_status write_word_normalizer(const struct gguf_vocab *v, struct str *out, struct lamina_error *err) {
    bool lower = true;
    LAMINA_TRY(gguf_take_flag(v, "tokenizer.ggml.normalizer.lowercase", &lower, err));
    bool strip = lower;
    LAMINA_TRY(gguf_take_flag(v, "tokenizer.ggml.normalizer.strip_accents", &strip, err));
    str_printf(out,
               "{\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, "
               "\"strip_accents\": %s, \"lowercase\": %s}",
               strip ? "true" : "false", lower ? "true" : "false");
    return LAMINA_OK;
}

static lamina_status write_normalizer(const struct gguf_vocab *v, struct str *out, struct lamina_error *err) {
    lamina_status status = LAMINA_OK;
    str_add_text(out, "\"normalizer\": ");
    if (v->pipeline == GGUF_WORDS) {
        status = write_word_normalizer(v, out, err);
    } else if (v->pipeline == GGUF_MARKS) {
        str_add_text(out, "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" MARK "\"}");
    } else {
        str_add_text(out, v->pre->nfc ? "{\"type\": \"NFC\"}" : "null");
    }
    str_add_text(out, ",\n");
    return status;
}

/* The patterns cut, and the last step has the byte alphabet written over what they left. */
static void write_byte_cuts(const struct gguf_pre *pre, struct str *out) {
    str_add_text(out, "{\"type\": \"Sequence\", \"pretokenizers\": [");
    for (size_t i = 0; i < ARRAY_LEN(pre->cuts) && pre->cuts[i] != NULL; i++) {
        str_add_text(out, "\n{\"type\": \"Split\", \"pattern\": {\"Regex\": ");
        write_text(out, pre->cuts[i]);
        str_add_text(out, "}, \"behavior\": \"Isolated\", \"invert\": false},");
    }
    str_add_text(out,
                 "\n{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}]}");
}

static void write_cuts(const struct gguf_vocab *v, struct str *out) {
    str_add_text(out, "\"pre_tokenizer\": ");
    if (v->pipeline == GGUF_BYTES) {
        write_byte_cuts(v->pre, out);
    } else {
        str_add_text(out, v->pipeline == GGUF_WORDS ? "{\"type\": \"BertPreTokenizer\"}" : "null");
    }
    str_add_text(out, ",\n");
}

/* ---- what is put around it ---- */

static void write_end_piece(const struct gguf_vocab *v, uint32_t id, struct str *out) {
    str_add_text(out, "{\"SpecialToken\": {\"id\": ");
    json_write_string(out, gguf_token_text(v, id));
    str_add_text(out, ", \"type_id\": 0}}");
}

static void write_around(const struct gguf_vocab *v, uint32_t end, const char *sequence, struct str *out) {
    if (v->add_bos) {
        write_end_piece(v, v->bos, out);
        str_add_text(out, ", ");
    }
    str_printf(out, "{\"Sequence\": {\"id\": \"%s\", \"type_id\": 0}}", sequence);
    if (v->add_eos) {
        str_add_text(out, ", ");
        write_end_piece(v, end, out);
    }
}

static void write_end_ids(const struct gguf_vocab *v, uint32_t id, struct str *out) {
    struct span text = gguf_token_text(v, id);
    json_write_string(out, text);
    str_add_text(out, ": {\"id\": ");
    json_write_string(out, text);
    str_printf(out, ", \"ids\": [%" PRIu32 "], \"tokens\": [", id);
    json_write_string(out, text);
    str_add_text(out, "]}");
}

static void write_post(const struct gguf_vocab *v, struct str *out) {
    uint32_t end = v->pipeline == GGUF_WORDS ? v->sep : v->eos;
    if (!v->add_bos && !v->add_eos) {
        str_add_text(out, v->pipeline != GGUF_BYTES
                              ? "\"post_processor\": null,\n"
                              : "\"post_processor\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                                "\"trim_offsets\": false, \"use_regex\": true},\n");
        return;
    }
    str_add_text(out, "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [");
    write_around(v, end, "A", out);
    str_add_text(out, "], \"pair\": [");
    write_around(v, end, "A", out);
    str_add_text(out, ", ");
    write_around(v, end, "B", out);
    str_add_text(out, "], \"special_tokens\": {");
    if (v->add_bos) {
        write_end_ids(v, v->bos, out);
    }
    if (v->add_eos && !(v->add_bos && v->bos == end)) {
        str_add_text(out, v->add_bos ? ", " : "");
        write_end_ids(v, end, out);
    }
    str_add_text(out, "}},\n");
}

static void write_decoder(const struct gguf_vocab *v, struct str *out) {
    str_add_text(out, v->pipeline == GGUF_WORDS
                          ? "\"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true},\n"
                      : v->pipeline == GGUF_MARKS
                          ? "\"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": "
                            "{\"String\": \"" MARK "\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, "
                            "{\"type\": \"Fuse\"}]},\n"
                          : "\"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
                            "\"use_regex\": true},\n");
}

/* ---- the model ---- */

static bool has_bytes(const struct gguf_vocab *v) {
    for (uint32_t id = 0; id < v->count; id++) {
        if (v->tokens[id].type == GGUF_TOKEN_BYTE) {
            return true;
        }
    }
    return false;
}

static void write_unknown(const struct gguf_vocab *v, struct str *out) {
    str_add_text(out, "\"unk_token\": ");
    if (gguf_token_text(v, v->unk).len > 0 && v->pipeline != GGUF_BYTES) {
        json_write_string(out, gguf_token_text(v, v->unk));
    } else {
        str_add_text(out, v->pipeline == GGUF_WORDS ? "\"[UNK]\"" : "null");
    }
    str_add_text(out, ", ");
}

static void write_vocab(const struct gguf_vocab *v, struct str *out) {
    struct str text = {0};
    str_add_text(out, "\"vocab\": {");
    for (uint32_t id = 0; id < v->count; id++) {
        str_clear(&text);
        gguf_token_write(v, id, &text);
        str_add_text(out, id == 0 ? "\n" : ",\n");
        json_write_string(out, str_span(&text));
        str_printf(out, ": %" PRIu32, id);
    }
    str_add_text(out, "}");
    out->failed = out->failed || text.failed;
    str_drop(&text);
}

/* Two tokens with a space between, where the first may itself begin with one. */
static lamina_status write_merge(const struct gguf_vocab *v, struct span text, uint64_t number, struct str *out,
                                 struct lamina_error *err) {
    const uint8_t *space = text.len > 1 ? memchr(text.ptr + 1, ' ', text.len - 1) : NULL;
    size_t at = space != NULL ? (size_t)(space - text.ptr) : text.len;
    if (!utf8_valid(text) || text.len > 2 * GGUF_MAX_TOKEN_BYTES + 1 || at + 1 >= text.len) {
        return base_fail(err, LAMINA_DAMAGED,
                         "%s: in its GGUF header, %s: merge %" PRIu64 " is not two tokens with a space between them", v->name,
                         MERGES, number);
    }
    str_add_text(out, number == 0 ? "\n[" : ",\n[");
    json_write_string(out, span_sub(text, 0, at));
    str_add_text(out, ", ");
    json_write_string(out, span_sub(text, at + 1, text.len));
    str_add_text(out, "]");
    return LAMINA_OK;
}

static lamina_status write_merges(const struct gguf_vocab *v, struct str *out, struct lamina_error *err) {
    const struct gguf_value *value = gguf_find(v->file, MERGES);
    struct gguf_items it;
    struct gguf_value item;
    if (!gguf_items_of(value, &it) || it.type != GGUF_TEXT) {
        return gguf_bad_key(v, MERGES, value == NULL ? "it is missing" : "no list of texts", err);
    }
    str_add_text(out, ", \"merges\": [");
    for (uint64_t number = 0; gguf_next(&it, &item); number++) {
        LAMINA_TRY(write_merge(v, item.body, number, out, err));
    }
    str_add_text(out, "]");
    return LAMINA_OK;
}

static lamina_status write_model(const struct gguf_vocab *v, struct str *out, struct lamina_error *err) {
    if (v->pipeline == GGUF_WORDS) {
        str_add_text(out, "\"model\": {\"type\": \"WordPiece\", \"continuing_subword_prefix\": \"##\", "
                          "\"max_input_chars_per_word\": 100, ");
        write_unknown(v, out);
        write_vocab(v, out);
        str_add_text(out, "}}\n");
        return LAMINA_OK;
    }
    bool bytes = v->pipeline == GGUF_MARKS && has_bytes(v);
    str_add_text(out, "\"model\": {\"type\": \"BPE\", \"dropout\": null, ");
    write_unknown(v, out);
    str_printf(out,
               "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": %s, \"byte_fallback\": %s, "
               "\"ignore_merges\": %s, ",
               v->pipeline == GGUF_MARKS ? "true" : "false", bytes ? "true" : "false",
               v->pre->ignore_merges ? "true" : "false");
    write_vocab(v, out);
    LAMINA_TRY(write_merges(v, out, err));
    str_add_text(out, "}}\n");
    return LAMINA_OK;
}

lamina_status gguf_write_tokenizer_json(const struct gguf_vocab *v, struct str *out, struct lamina_error *err) {
    str_add_text(out, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n");
    write_added(v, out);
    LAMINA_TRY(write_normalizer(v, out, err));
    write_cuts(v, out);
    write_post(v, out);
    write_decoder(v, out);
    return write_model(v, out, err);
}
