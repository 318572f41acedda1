/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina.json: what the store is made of and from. Written with one order of keys and one way of spelling; its last
 * member is the XXH3-128 of every byte before that member's value, and what follows the value is fixed, so a change of
 * any byte of the file is found. Works on bytes in memory; owns no file.
 *
 * The checksum finds accidents. A manifest is parsed as strictly when it matches, for anybody can compute one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/rank_files.h"
#include "store/store_priv.h"

static const char CHECKSUM_KEY[] = "\n\"checksum\": \"";
static const char SUFFIX[] = "\"\n}\n";
enum { HASH_HEX = 32, SHA_HEX = 64, MAX_FILES = 8192, MAX_SOURCES = 65536 };

const char *const store_tokenizer_files[] = {
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "ice_text.model",
    MODEL_RANK_FILES,
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "processor_config.json",
    STORE_TEMPLATES_DIR "rag.jinja",
    STORE_TEMPLATES_DIR "tool_use.jinja",
    "generation_config.json",
    "config.json",
    NULL,
};

/* ---- writing ---- */

static void write_files(const struct manifest_file *files, uint32_t count, struct str *out) {
    for (uint32_t i = 0; i < count; i++) {
        char hex[33];
        hash128_to_hex(files[i].hash, hex);
        str_printf(out, "%s\n{\"name\": \"%s\", \"size\": %" PRIu64 ", \"xxh3_128\": \"%s\"}", i == 0 ? "" : ",",
                   files[i].name, files[i].size, hex);
    }
}

static void write_source(const struct manifest *m, struct str *out) {
    char hex[65];
    str_add_text(out, "\"source\": {");
    if (m->synthetic) {
        hash128_to_hex(m->sample, hex);
        str_printf(out, "\"synthetic\": true, \"distinct_layers\": %u, \"first_repeated\": %u, \"sample\": \"%s\"},\n",
                   m->distinct_layers, m->first_repeated, hex);
        return;
    }
    str_add_text(out, "\"files\": [");
    for (uint32_t i = 0; i < m->source_count; i++) {
        const struct manifest_source_file *f = &m->sources[i];
        str_printf(out, "%s\n{\"name\": ", i == 0 ? "" : ",");
        json_write_string(out, span_of_text(f->name));
        str_printf(out, ", \"size\": %" PRIu64 ", \"sha256_pieces\": [", f->size);
        for (uint32_t p = 0; p < f->pieces; p++) {
            bytes_to_hex(f->sha256[p], 32, hex);
            str_printf(out, "%s\"%s\"", p == 0 ? "" : ",", hex);
        }
        str_add_text(out, "]}");
    }
    str_add_text(out, "]},\n");
}

void manifest_write(const struct manifest *m, struct str *out) {
    char hex[33];
    size_t begin = out->len;
    str_printf(out, "{\n\"format\": \"lamina-store\",\n\"version\": %d,\n\"codec\": \"%s\",\n", (int)STORE_VERSION,
               m->codec);
    write_source(m, out);
    str_add_text(out, "\"model\": ");
    model_desc_write(&m->desc, out);
    str_add_text(out, ",\n\"bits\": {\"embed\": ");
    json_write_double(out, m->bits_embed);
    str_add_text(out, ", \"head\": ");
    json_write_double(out, m->bits_head);
    str_add_text(out, ", \"layers\": ");
    json_write_double(out, m->bits_layers);
    str_add_text(out, ", \"small\": 32},\n\"files\": [");
    write_files(m->files, m->file_count, out);
    str_add_text(out, "],\n\"layers\": [");
    for (uint32_t i = 0; i < m->desc.layers; i++) {
        str_printf(out, "%s\"%s\"", i == 0 ? "" : ",", m->files[m->layer_file[i]].name);
    }
    str_add_text(out, "],\n\"tokenizer\": [");
    write_files(m->tokenizer, m->tokenizer_count, out);
    str_add_text(out, "],");
    str_add_text(out, CHECKSUM_KEY);
    if (!out->failed) {
        hash128_to_hex(hash_xxh3_128(out->ptr + begin, out->len - begin), hex);
        str_add_text(out, hex);
        str_add_text(out, SUFFIX);
    }
}

/* ---- reading ---- */

struct walk {
    struct json_reader r;
    struct str text;
    struct arena *arena;
    bool with_pieces;
    struct manifest *m;
};

static bool no_memory(struct walk *w) {
    return json_refuse(&w->r, LAMINA_NO_FIT, "no memory for the manifest");
}

/* The writer has one order of keys, so the reader expects each by name. */
static bool key(struct walk *w, const char *name) {
    struct span k;
    if (!json_next_key(&w->r, &k)) {
        return json_refuse(&w->r, LAMINA_DAMAGED, "\"%s\" expected", name);
    }
    return span_is(k, name) || json_refuse(&w->r, LAMINA_DAMAGED, "\"%s\" expected here", name);
}

static bool end_object(struct walk *w) {
    struct span k;
    if (json_next_key(&w->r, &k)) {
        return json_refuse(&w->r, LAMINA_DAMAGED, "a key that does not belong here");
    }
    return w->r.failed == LAMINA_OK;
}

static bool text(struct walk *w) {
    str_clear(&w->text);
    return json_string(&w->r, &w->text);
}

static bool is(struct walk *w, const char *wanted) {
    return text(w) &&
           (strcmp(str_text(&w->text), wanted) == 0 || json_refuse(&w->r, LAMINA_DAMAGED, "\"%s\" expected", wanted));
}

static bool number32(struct walk *w, uint32_t *out) {
    uint64_t v = 0;
    if (!json_u64(&w->r, &v)) {
        return false;
    }
    *out = (uint32_t)v;
    return v <= UINT32_MAX || json_refuse(&w->r, LAMINA_DAMAGED, "a number is too large");
}

static bool hash_value(struct walk *w, struct hash128 *out) {
    return text(w) && (hash128_from_hex(str_span(&w->text), out) ||
                       json_refuse(&w->r, LAMINA_DAMAGED, "a hash of %d digits expected", (int)HASH_HEX));
}

/* Items of the array at hand; the array is walked by a copy. */
static uint32_t count_items(const struct walk *w, uint32_t max) {
    struct json_reader r = w->r;
    struct lamina_error scratch = {0};
    uint32_t n = 0;
    r.err = &scratch;
    if (json_enter_array(&r)) {
        while (n <= max && json_next_item(&r) && json_skip(&r)) {
            n++;
        }
    }
    return n;
}

static bool read_pieces(struct walk *w, struct manifest_source_file *f) {
    uint64_t expected = div_up(f->size, STORE_PIECE);
    uint8_t digest[32];
    if (count_items(w, UINT32_MAX - 1) != expected) {
        return json_refuse(&w->r, LAMINA_DAMAGED, "%" PRIu64 " SHA-256 pieces expected", expected);
    }
    f->pieces = (uint32_t)expected;
    if (w->with_pieces) {
        f->sha256 = arena_take_array(w->arena, f->pieces, sizeof(*f->sha256));
        if (f->sha256 == NULL) {
            return no_memory(w);
        }
    }
    if (!json_enter_array(&w->r)) {
        return false;
    }
    for (uint32_t i = 0; json_next_item(&w->r); i++) {
        if (!text(w) || !bytes_from_hex(str_span(&w->text), f->sha256 != NULL ? f->sha256[i] : digest, sizeof(digest))) {
            return json_refuse(&w->r, LAMINA_DAMAGED, "a SHA-256 of %d digits expected", (int)SHA_HEX);
        }
    }
    return w->r.failed == LAMINA_OK;
}

/* A plain name: manifests are joined to directories. */
static bool plain_name(struct span name) {
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] <= 0x20 || name.ptr[i] == '/' || name.ptr[i] == '\\' || name.ptr[i] == 0x7f) {
            return false;
        }
    }
    return name.len > 0 && name.len <= 255 && name.ptr[0] != '.';
}

static bool read_sources(struct walk *w) {
    struct manifest *m = w->m;
    m->source_count = count_items(w, MAX_SOURCES);
    if (m->source_count > MAX_SOURCES) {
        return json_refuse(&w->r, LAMINA_DAMAGED, "too many source files");
    }
    m->sources = arena_take_array(w->arena, m->source_count, sizeof(*m->sources));
    if (m->sources == NULL) {
        return no_memory(w);
    }
    if (!json_enter_array(&w->r)) {
        return false;
    }
    for (uint32_t i = 0; i < m->source_count && json_next_item(&w->r); i++) {
        struct manifest_source_file *f = &m->sources[i];
        if (!json_enter_object(&w->r) || !key(w, "name") || !text(w)) {
            return false;
        }
        if (!plain_name(str_span(&w->text))) {
            return json_refuse(&w->r, LAMINA_DAMAGED, "the name of a source file is not a plain name");
        }
        f->name = arena_copy_text(w->arena, str_span(&w->text));
        if (f->name == NULL) {
            return no_memory(w);
        }
        if (!key(w, "size") || !json_u64(&w->r, &f->size) || !key(w, "sha256_pieces") || !read_pieces(w, f) ||
            !end_object(w)) {
            return false;
        }
    }
    return !json_next_item(&w->r) && w->r.failed == LAMINA_OK;
}

static bool read_source(struct walk *w) {
    struct manifest *m = w->m;
    struct span k;
    if (!json_enter_object(&w->r) || !json_next_key(&w->r, &k)) {
        return false;
    }
    if (span_is(k, "files")) {
        return read_sources(w) && end_object(w);
    }
    if (!span_is(k, "synthetic") || !json_bool(&w->r, &m->synthetic) || !m->synthetic) {
        return json_refuse(&w->r, LAMINA_DAMAGED, "\"files\" or \"synthetic\": true expected");
    }
    return key(w, "distinct_layers") && number32(w, &m->distinct_layers) && key(w, "first_repeated") &&
           number32(w, &m->first_repeated) && key(w, "sample") && hash_value(w, &m->sample) && end_object(w);
}

static bool read_file(struct walk *w, struct manifest_file *f) {
    if (!json_enter_object(&w->r) || !key(w, "name") || !text(w)) {
        return false;
    }
    f->name = arena_copy_text(w->arena, str_span(&w->text));
    if (f->name == NULL) {
        return no_memory(w);
    }
    return key(w, "size") && json_u64(&w->r, &f->size) && key(w, "xxh3_128") && hash_value(w, &f->hash) &&
           end_object(w);
}

static bool read_files(struct walk *w, uint32_t max, struct manifest_file **files, uint32_t *count) {
    uint32_t n = count_items(w, max);
    if (n > max) {
        return json_refuse(&w->r, LAMINA_DAMAGED, "too many files");
    }
    *files = arena_take_array(w->arena, n, sizeof(**files));
    if (*files == NULL) {
        return no_memory(w);
    }
    if (!json_enter_array(&w->r)) {
        return false;
    }
    while (*count < n && json_next_item(&w->r)) {
        if (!read_file(w, &(*files)[(*count)++])) {
            return false;
        }
    }
    return !json_next_item(&w->r) && w->r.failed == LAMINA_OK;
}

/* The only names a store may have, in the only order: so no name leads out of the directory. */
static bool names_fit(struct walk *w) {
    struct manifest *m = w->m;
    uint32_t fixed = m->desc.tied ? 2 : 3;
    static const char *const first[] = {"small.bin", "embed.bin", "head.bin"};
    for (uint32_t i = 0; i < m->file_count; i++) {
        char name[STORE_NAME_LEN];
        (void)snprintf(name, sizeof(name), "layers/%05u.bin", i - fixed);
        if (strcmp(m->files[i].name, i < fixed ? first[i] : name) != 0) {
            return json_refuse(&w->r, LAMINA_DAMAGED, "file %u is not \"%s\"", i, i < fixed ? first[i] : name);
        }
    }
    if (m->file_count < fixed + 1 || m->file_count > fixed + m->desc.layers) {
        return json_refuse(&w->r, LAMINA_DAMAGED, "%u files do not fit %u layers", m->file_count, m->desc.layers);
    }
    uint32_t next = 0;
    for (uint32_t i = 0; i < m->tokenizer_count; i++) {
        while (store_tokenizer_files[next] != NULL && strcmp(store_tokenizer_files[next], m->tokenizer[i].name) != 0) {
            next++;
        }
        if (store_tokenizer_files[next++] == NULL) {
            return json_refuse(&w->r, LAMINA_DAMAGED, "tokenizer file %u has an unknown name or place", i);
        }
    }
    return true;
}

/* Layer files appear in order of first use. */
static bool read_layers(struct walk *w) {
    struct manifest *m = w->m;
    uint32_t fixed = m->desc.tied ? 2 : 3;
    uint32_t seen = fixed;
    uint32_t i = 0;
    m->layer_file = arena_take_array(w->arena, m->desc.layers, sizeof(*m->layer_file));
    if (m->layer_file == NULL) {
        return no_memory(w);
    }
    if (!json_enter_array(&w->r)) {
        return false;
    }
    for (; json_next_item(&w->r); i++) {
        unsigned number = 0;
        char name[STORE_NAME_LEN];
        if (!text(w)) {
            return false;
        }
        bool shaped = sscanf(str_text(&w->text), "layers/%5u.bin", &number) == 1;
        (void)snprintf(name, sizeof(name), "layers/%05u.bin", number);
        if (!shaped || strcmp(name, str_text(&w->text)) != 0 || i >= m->desc.layers || number + fixed > seen ||
            number + fixed >= m->file_count) {
            return json_refuse(&w->r, LAMINA_DAMAGED, "layer %u is not one of the files", i);
        }
        seen += number + fixed == seen;
        m->layer_file[i] = number + fixed;
    }
    if (w->r.failed == LAMINA_OK && (i != m->desc.layers || seen != m->file_count)) {
        return json_refuse(&w->r, LAMINA_DAMAGED, "%u layers, %u expected", i, m->desc.layers);
    }
    return w->r.failed == LAMINA_OK;
}

static bool read_model(struct walk *w) {
    struct span raw;
    if (!json_skip_raw(&w->r, &raw)) {
        return false;
    }
    lamina_status status = model_desc_read(raw, &w->m->desc, w->r.err);
    return status == LAMINA_OK || json_refuse(&w->r, status, "the model description");
}

static bool read_bits(struct walk *w) {
    struct manifest *m = w->m;
    double small = 0;
    return json_enter_object(&w->r) && key(w, "embed") && json_double(&w->r, &m->bits_embed) && key(w, "head") &&
           json_double(&w->r, &m->bits_head) && key(w, "layers") && json_double(&w->r, &m->bits_layers) &&
           key(w, "small") && json_double(&w->r, &small) && end_object(w);
}

bool store_codec_known(const char *codec) {
    struct split_codec known;
    return split_codec_of_name(codec, &known);
}

static bool read_codec(struct walk *w) {
    if (!text(w)) {
        return false;
    }
    (void)snprintf(w->m->codec, sizeof(w->m->codec), "%s", str_text(&w->text));
    return store_codec_known(str_text(&w->text)) ||
           json_refuse(&w->r, LAMINA_UNSUPPORTED, "the codec \"%.40s\" is not known to this program (" STORE_CODECS " are)",
                       str_text(&w->text));
}

static bool read_all(struct walk *w) {
    struct manifest *m = w->m;
    uint64_t version = 0;
    if (!json_enter_object(&w->r) || !key(w, "format") || !is(w, "lamina-store") || !key(w, "version") ||
        !json_u64(&w->r, &version)) {
        return false;
    }
    if (version != STORE_VERSION) {
        return json_refuse(&w->r, LAMINA_UNSUPPORTED, "store format version %" PRIu64 "; this program reads version %d",
                           version, (int)STORE_VERSION);
    }
    return key(w, "codec") && read_codec(w) && key(w, "source") && read_source(w) && key(w, "model") && read_model(w) &&
           key(w, "bits") && read_bits(w) && key(w, "files") && read_files(w, MAX_FILES, &m->files, &m->file_count) &&
           key(w, "layers") && read_layers(w) && key(w, "tokenizer") &&
           read_files(w, STORE_SIDE_FILES, &m->tokenizer, &m->tokenizer_count) && key(w, "checksum") && text(w) &&
           end_object(w) && names_fit(w);
}

/* Cheap and first: nothing of a damaged manifest is looked at. */
static lamina_status check_sum(struct span bytes, const char *name, struct hash128 *sum, struct lamina_error *err) {
    size_t tail = HASH_HEX + sizeof(SUFFIX) - 1;
    struct hash128 stated;
    if (bytes.len > tail + sizeof(CHECKSUM_KEY) && span_ends_with(bytes, SUFFIX) &&
        span_ends_with(span_sub(bytes, 0, bytes.len - tail), CHECKSUM_KEY) &&
        hash128_from_hex(span_sub(bytes, bytes.len - tail, HASH_HEX), &stated)) {
        struct hash128 found = hash_xxh3_128(bytes.ptr, bytes.len - tail);
        if (found.low == stated.low && found.high == stated.high) {
            *sum = found;
            return LAMINA_OK;
        }
    }
    return base_fail(err, LAMINA_DAMAGED,
                     "%s: the manifest is damaged (its checksum does not match); restore or split again", name);
}

lamina_status manifest_parse(struct span bytes, const char *name, bool with_pieces, struct arena *arena,
                             struct manifest *m, struct lamina_error *err) {
    struct str scratch = {0};
    struct manifest found = {0};
    struct walk w = {.arena = arena, .with_pieces = with_pieces, .m = &found};
    LAMINA_TRY(check_sum(bytes, name, &found.checksum, err));
    json_init(&w.r, bytes, name, &scratch, err);
    bool complete = read_all(&w);
    lamina_status status = json_finish(&w.r);
    if (status == LAMINA_OK && !complete) {
        status = base_fail(err, LAMINA_DAMAGED, "%s: the manifest is not complete", name);
    }
    if (status == LAMINA_OK) {
        *m = found;
    }
    str_drop(&scratch);
    str_drop(&w.text);
    return status;
}
