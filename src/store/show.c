/* SPDX-License-Identifier: Apache-2.0
 * A description of an open store for people and for programs: model, files, matrices, tiles. Reads nothing. */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "store/store_priv.h"

static uint64_t matrix_bytes(const struct store_file *f, const struct store_matrix *m) {
    uint64_t pages = 0;
    for (uint32_t i = 0; i < m->shape.tiles; i++) {
        pages += f->tiles[m->first_tile + i].pages;
    }
    return pages * STORE_PAGE;
}

/* How many of its tiles are packed: of codes, those where it saves pages. */
static uint32_t packed_tiles(const struct store_file *f, const struct store_matrix *m) {
    uint32_t n = 0;
    for (uint32_t i = 0; m->shape.packing == PANEL_CODES && i < m->shape.tiles; i++) {
        struct panel_tile t;
        panel_tile_at(&m->shape, i, &t);
        n += panel_tile_packed(&m->shape, &t, (uint64_t)f->tiles[m->first_tile + i].pages * STORE_PAGE);
    }
    return m->shape.packing == PANEL_AS_IS || m->shape.packing == PANEL_CODES ? n : m->shape.tiles;
}

static uint32_t uses_of(const struct store *s, const struct store_file *f) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->desc.layers; i++) {
        n += s->layers[i] == f;
    }
    return n;
}

/* What a code is, and how it is scaled: "uint 4 bit, f16/128 zero". */
static void coded_words(const struct panel_shape *s, char *out, size_t len) {
    static const char *const codes[GROUPS_CODES] = {"uint", "int", "e4m3", "e5m2", "e2m1", "table"};
    static const char *const scales[GROUPS_SCALES] = {"f32", "f16", "bf16", "e8m0", "e4m3", "nested"};
    static const char *const shifts[GROUPS_SHIFTS] = {"", " zero", " middle", " minimum", " /127", " global", " global"};
    const struct groups *g = &s->coded;
    if (s->coding != PANEL_GROUPS) {
        (void)snprintf(out, len, "%s", panel_type_name(s));
        return;
    }
    (void)snprintf(out, len, "%s %u bit, %s/%u%s%s", codes[g->code], g->bits, scales[g->scale], g->group, shifts[g->shift],
                   g->ordered ? " ordered" : "");
}

static void matrix_json(const struct store_file *f, const struct store_matrix *m, struct str *out) {
    char words[64];
    coded_words(&m->shape, words, sizeof(words));
    str_printf(out,
               "{\"role\": \"%s\", \"expert\": %u, \"dtype\": \"%s\", \"rows\": %" PRIu64 ", \"cols\": %" PRIu64
               ", \"layout\": \"%s\", \"first_tile\": %u, \"tiles\": %u, \"packed_tiles\": %u, \"bytes\": %" PRIu64 "}",
               model_role_name((enum model_role)m->role), m->expert, words,
               m->shape.rows, m->shape.cols, m->shape.layout == PANEL_GATHERED ? "gathered" : "blocks", m->first_tile,
               m->shape.tiles, packed_tiles(f, m), matrix_bytes(f, m));
}

static void show_json(const struct store *s, struct str *out) {
    str_add_text(out, "{\"path\": ");
    json_write_string(out, span_of_text(s->path));
    str_printf(out,
               ", \"codec\": \"%s\", \"synthetic\": %s, \"store_bytes\": %" PRIu64 ", \"weight_bytes\": %" PRIu64
               ", \"weights\": %" PRIu64 ", \"tokenizer\": %s,\n\"model\": ",
               s->codec, s->synthetic ? "true" : "false", s->store_bytes, s->weight_bytes, model_weight_count(&s->desc),
               s->has_tokenizer ? "true" : "false");
    model_desc_write(&s->desc, out);
    str_add_text(out, ",\n\"files\": [");
    for (uint32_t i = 0; i < s->file_count; i++) {
        const struct store_file *f = &s->files[i];
        char hex[33];
        hash128_to_hex(f->hash, hex);
        str_printf(out,
                   "%s\n{\"name\": \"%s\", \"size\": %" PRIu64 ", \"xxh3_128\": \"%s\", \"tiles\": %u, \"layers\": %u, "
                   "\"matrices\": [",
                   i == 0 ? "" : ",", f->name, f->size, hex, f->tile_count, uses_of(s, f));
        for (uint32_t k = 0; k < f->matrix_count; k++) {
            str_add_text(out, k == 0 ? "" : ", ");
            matrix_json(f, &f->matrices[k], out);
        }
        str_add_text(out, "]}");
    }
    str_printf(out, "],\n\"vectors\": %u, \"vector_floats\": %" PRIu64 ",\n\"layers\": [", s->vector_count,
               s->small_floats);
    for (uint32_t i = 0; i < s->desc.layers; i++) {
        str_printf(out, "%s\"%s\"", i == 0 ? "" : ", ", s->layers[i]->name);
    }
    str_add_text(out, "]}\n");
}

static void show_text(const struct store *s, struct str *out) {
    char words[256];
    char size[32];
    char streamed[32];
    model_describe(&s->desc, words, sizeof(words));
    str_printf(out, "%s\n%s\ncodec %s, %s on disk, %s streamed per pass%s%s\n", s->path, words, s->codec,
               format_bytes(size, s->store_bytes), format_bytes(streamed, s->weight_bytes),
               s->has_tokenizer ? ", with tokenizer" : ", no tokenizer",
               s->synthetic ? ", synthetic (layers repeat)" : "");
    for (uint32_t i = 0; i < s->file_count; i++) {
        const struct store_file *f = &s->files[i];
        uint32_t uses = uses_of(s, f);
        str_printf(out, "%-18s %12" PRIu64 " bytes, %u tiles", f->name, f->size, f->tile_count);
        if (uses > 1) {
            str_printf(out, ", used by %u layers", uses);
        }
        str_add_byte(out, '\n');
        for (uint32_t k = 0; k < f->matrix_count; k++) {
            const struct store_matrix *m = &f->matrices[k];
            coded_words(&m->shape, words, sizeof(words));
            str_printf(out, "    %-8s %-7s %" PRIu64 " x %" PRIu64 ", %u tiles", model_role_name((enum model_role)m->role), words,
                       m->shape.rows, m->shape.cols, m->shape.tiles);
            if (m->shape.packing == PANEL_CODES && packed_tiles(f, m) > 0) {
                str_printf(out, ", %u packed", packed_tiles(f, m));
            }
            str_add_byte(out, '\n');
        }
    }
    str_printf(out, "small.bin          %u vectors, %" PRIu64 " floats\n", s->vector_count, s->small_floats);
}

lamina_status store_show(const struct store *s, bool json, struct str *out, struct lamina_error *err) {
    if (json) {
        show_json(s, out);
    } else {
        show_text(s, out);
    }
    return out->failed ? base_fail(err, LAMINA_NO_FIT, "no memory to describe the store") : LAMINA_OK;
}
