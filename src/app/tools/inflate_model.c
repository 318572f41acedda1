/* SPDX-License-Identifier: Apache-2.0
 *
 * The large model as a list of tensors whose bytes are made when asked for. Finds the small tensors by name, applies
 * the rules row by row, and shows itself as a struct lamina_source. Knows no files of its own. After inflate_open
 * everything but the row cache is read-only, so any number of threads may fill at once. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/tools/inflate_priv.h"
#include "base/checked.h"

enum { GLOBAL_ROLES = INFLATE_ROLES - INFLATE_LAYER_ROLES, NAME_MAX_BYTES = 96 };

/* ---- the small tensors ---- */

static struct inflate_tensor_info *info_at(struct inflate *inf, enum inflate_role role, uint32_t layer) {
    size_t layers = (size_t)inf->pair.small.layers * INFLATE_LAYER_ROLES;
    return role >= INFLATE_LAYER_ROLES ? &inf->infos[layers + (size_t)(role - INFLATE_LAYER_ROLES)]
                                       : &inf->infos[(size_t)layer * INFLATE_LAYER_ROLES + role];
}

const struct inflate_tensor_info *inflate_info(const struct inflate *inf, enum inflate_role role, uint32_t layer) {
    size_t layers = (size_t)inf->pair.small.layers * INFLATE_LAYER_ROLES;
    return role >= INFLATE_LAYER_ROLES ? &inf->infos[layers + (size_t)(role - INFLATE_LAYER_ROLES)]
                                       : &inf->infos[(size_t)layer * INFLATE_LAYER_ROLES + role];
}

static void tensor_name(char out[NAME_MAX_BYTES], enum inflate_role role, uint32_t layer) {
    if (role < INFLATE_LAYER_ROLES) {
        (void)snprintf(out, NAME_MAX_BYTES, "model.layers.%u.%s", layer, inflate_role_info(role)->name);
    } else {
        (void)snprintf(out, NAME_MAX_BYTES, "%s", inflate_role_info(role)->name);
    }
}

/* INFLATE_ROLES when the name is none of a Llama's. */
static enum inflate_role role_of_name(const char *name, uint32_t layers, uint32_t *layer) {
    static const char prefix[] = "model.layers.";
    *layer = 0;
    uint32_t first = INFLATE_LAYER_ROLES;
    uint32_t last = INFLATE_ROLES;
    if (strncmp(name, prefix, sizeof(prefix) - 1) == 0) {
        char *end = NULL;
        unsigned long number = strtoul(name + sizeof(prefix) - 1, &end, 10);
        if (end == name + sizeof(prefix) - 1 || *end != '.' || number >= layers) {
            return INFLATE_ROLES;
        }
        *layer = (uint32_t)number;
        name = end + 1;
        first = 0;
        last = INFLATE_LAYER_ROLES;
    }
    for (uint32_t role = first; role < last; role++) {
        if (strcmp(name, inflate_role_info((enum inflate_role)role)->name) == 0) {
            return (enum inflate_role)role;
        }
    }
    return INFLATE_ROLES;
}

static lamina_status take_info(struct inflate *inf, uint32_t index, const struct lamina_source_tensor *t,
                               struct lamina_error *err) {
    uint32_t layer = 0;
    size_t len = strlen(t->name);
    static const char buffer_name[] = "rotary_emb.inv_freq"; /* in old exports; derived from the configuration */
    enum inflate_role role = role_of_name(t->name, inf->pair.small.layers, &layer);
    if (role == INFLATE_HEAD && inf->pair.small.tied) {
        return LAMINA_OK;
    }
    if (role == INFLATE_ROLES) {
        if (len >= sizeof(buffer_name) - 1 && strcmp(t->name + len - (sizeof(buffer_name) - 1), buffer_name) == 0) {
            return LAMINA_OK;
        }
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: no tensor of a plain Llama with %u layers", t->name,
                         inf->pair.small.layers);
    }
    const struct inflate_role_info *what = inflate_role_info(role);
    uint64_t rows = inflate_axis_len(&inf->pair.small, what->rows);
    uint64_t cols = inflate_axis_len(&inf->pair.small, what->cols);
    bool vector = what->cols == INFLATE_AXIS_ONE;
    if (t->rank != (vector ? 1u : 2u) || t->shape[0] != rows || (!vector && t->shape[1] != cols)) {
        return base_fail(err, LAMINA_DAMAGED,
                         "%s: rank %u, first dimension %llu; expected %llu x %llu from config.json", t->name, t->rank,
                         (unsigned long long)(t->rank > 0 ? t->shape[0] : 0), (unsigned long long)rows,
                         (unsigned long long)cols);
    }
    const struct inflate_format *format = inflate_format_find(t->dtype);
    if (format == NULL) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: data type %s; BF16, F16 and F32 can be inflated", t->name,
                         t->dtype);
    }
    *info_at(inf, role, layer) = (struct inflate_tensor_info){format, index, vector ? 1 : rows, vector ? rows : cols};
    return LAMINA_OK;
}

static lamina_status find_small(struct inflate *inf, struct lamina_error *err) {
    const struct inflate_shape *s = &inf->pair.small;
    inf->infos = (struct inflate_tensor_info *)arena_take_array(
        &inf->arena, (size_t)s->layers * INFLATE_LAYER_ROLES + GLOBAL_ROLES, sizeof(*inf->infos));
    if (inf->infos == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the list of tensors");
    }
    for (uint32_t i = 0; i < inf->source->tensor_count; i++) {
        struct lamina_source_tensor t = {0};
        LAMINA_TRY(inf->source->tensor(inf->source->user, i, &t, err));
        LAMINA_TRY(take_info(inf, i, &t, err));
    }
    for (uint32_t layer = 0; layer < s->layers; layer++) {
        for (uint32_t r = 0; r < INFLATE_ROLES; r++) {
            enum inflate_role role = (enum inflate_role)r;
            bool expected = !inflate_role_info(role)->optional ||
                            (role == INFLATE_HEAD ? !s->tied : info_at(inf, role, 0)->format != NULL);
            if (expected != (info_at(inf, role, layer)->format != NULL)) {
                char name[NAME_MAX_BYTES];
                tensor_name(name, role, layer);
                return base_fail(err, LAMINA_DAMAGED, "%s is %s", name,
                                 expected ? "missing" : "there, but layer 0 has no such tensor");
            }
        }
    }
    return LAMINA_OK;
}

/* ---- the large tensors ---- */

static lamina_status add_tensor(struct inflate *inf, enum inflate_role role, uint32_t layer, struct lamina_error *err) {
    const struct inflate_role_info *what = inflate_role_info(role);
    bool extra = role < INFLATE_LAYER_ROLES && layer >= inf->pair.small.layers;
    bool from_embed = role == INFLATE_HEAD && inf->pair.small.tied;
    const struct inflate_tensor_info *from =
        inflate_info(inf, from_embed ? INFLATE_EMBED : role, layer % inf->pair.small.layers);
    if (from->format == NULL) {
        return LAMINA_OK;
    }
    char name[NAME_MAX_BYTES];
    tensor_name(name, role, layer);
    struct inflate_tensor *t = &inf->tensors[inf->tensor_count];
    *t = (struct inflate_tensor){.role = role, .layer = layer, .extra_layer = extra, .from = from};
    t->vector = what->cols == INFLATE_AXIS_ONE;
    t->name = arena_copy_text(&inf->arena, span_of_text(name));
    t->format = what->norm ? inflate_format_find("F32") : from->format;
    t->rows = inflate_axis_len(&inf->pair.big, what->rows);
    t->cols = inflate_axis_len(&inf->pair.big, what->cols);
    t->bytes = t->rows * t->cols * t->format->bytes; /* at most 2^46 by the limits of a shape */
    t->key = inflate_key(inf->seed, name);
    inf->tensor_count++;
    return t->name != NULL ? LAMINA_OK : base_fail(err, LAMINA_NO_FIT, "out of memory for the list of tensors");
}

static lamina_status list_big(struct inflate *inf, struct lamina_error *err) {
    const struct inflate_shape *big = &inf->pair.big;
    size_t most = (size_t)big->layers * INFLATE_LAYER_ROLES + GLOBAL_ROLES;
    uint64_t q_cols = inflate_axis_len(&inf->pair.small, INFLATE_AXIS_Q);
    inf->tensors = (struct inflate_tensor *)arena_take_array(&inf->arena, most, sizeof(*inf->tensors));
    inf->q_place = (uint32_t *)arena_take_array(&inf->arena, q_cols, sizeof(*inf->q_place));
    if (inf->tensors == NULL || inf->q_place == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the list of tensors");
    }
    for (uint64_t c = 0; c < q_cols; c++) {
        inf->q_place[c] = (uint32_t)inflate_place(&inf->pair, INFLATE_AXIS_Q, c);
    }
    LAMINA_TRY(add_tensor(inf, INFLATE_EMBED, 0, err));
    for (uint32_t layer = 0; layer < big->layers; layer++) {
        for (uint32_t role = 0; role < INFLATE_LAYER_ROLES; role++) {
            LAMINA_TRY(add_tensor(inf, (enum inflate_role)role, layer, err));
        }
    }
    LAMINA_TRY(add_tensor(inf, INFLATE_NORM, 0, err));
    return big->tied ? LAMINA_OK : add_tensor(inf, INFLATE_HEAD, 0, err);
}

lamina_status inflate_open(struct inflate **out, const struct lamina_source *source, const struct inflate_shape *big,
                           uint64_t seed, struct lamina_error *err) {
    struct inflate *inf = (struct inflate *)calloc(1, sizeof(*inf));
    if (inf == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory");
    }
    char *json = NULL;
    size_t len = 0;
    inf->source = source;
    inf->seed = seed;
    lamina_status status = source->file(source->user, "config.json", &json, &len, err);
    if (status == LAMINA_OK) {
        status = inflate_config_read(span_of(json, len), &inf->config, err);
    }
    if (status == LAMINA_OK) {
        status = inflate_shape_check(&inf->config, big, err);
    }
    if (status == LAMINA_OK) {
        inflate_pair_init(&inf->pair, &inf->config.shape, big);
        status = inflate_config_write(span_of(json, len), &inf->config, big, &inf->config_json, err);
    }
    if (status == LAMINA_OK) {
        status = find_small(inf, err);
    }
    if (status == LAMINA_OK) {
        status = list_big(inf, err);
    }
    if (status == LAMINA_OK && inf->pair.padded) {
        status = inflate_guard_find(inf, err);
    }
    if (status == LAMINA_OK) {
        status = inflate_rows_open(&inf->rows, source, err);
    }
    free(json);
    if (status != LAMINA_OK) {
        inflate_close(&inf);
        return status;
    }
    *out = inf;
    return LAMINA_OK;
}

void inflate_close(struct inflate **inf) {
    if (*inf != NULL) {
        inflate_rows_close(&(*inf)->rows);
        str_drop(&(*inf)->config_json);
        arena_drop(&(*inf)->arena);
        free(*inf);
        *inf = NULL;
    }
}

uint64_t inflate_bytes(const struct inflate *inf, uint32_t distinct_layers) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < inf->tensor_count; i++) {
        const struct inflate_tensor *t = &inf->tensors[i];
        bool repeated = t->role < INFLATE_LAYER_ROLES && distinct_layers != 0 && t->layer >= distinct_layers;
        total += repeated ? 0 : t->bytes;
    }
    return total;
}

/* ---- bytes ---- */

struct fill {
    struct inflate *inf;
    const struct inflate_tensor *t;
    struct inflate_lease lease;
    uint8_t *row; /* three rows of the small tensor: read, scaled, tiny */
    uint8_t *scaled;
    uint8_t *tiny;
    struct lamina_error *err;
};

static uint32_t load_bits(const struct inflate_format *f, const uint8_t *p) {
    return f->bytes == 2 ? load_le16(p) : load_le32(p);
}

static void store_bits(const struct inflate_format *f, uint8_t *p, uint32_t bits) {
    p[0] = (uint8_t)bits;
    p[1] = (uint8_t)(bits >> 8);
    if (f->bytes == 4) {
        p[2] = (uint8_t)(bits >> 16);
        p[3] = (uint8_t)(bits >> 24);
    }
}

static bool is_query(enum inflate_role role) {
    return role == INFLATE_Q || role == INFLATE_Q_BIAS;
}

/* *table: `n` real weights as the large model has them. */
static lamina_status scale_table(const struct fill *f, const uint8_t **table, uint64_t n) {
    const struct inflate_format *format = f->t->format;
    if (!is_query(f->t->role) || f->inf->pair.power == 0) {
        return LAMINA_OK;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits = load_bits(format, *table + i * format->bytes);
        if (!inflate_scale(format, &bits, f->inf->pair.power)) {
            return base_fail(f->err, LAMINA_UNSUPPORTED,
                             "%s: a weight is too large to be multiplied by %u in %s: keep the "
                             "head dimension",
                             f->t->name, 1u << f->inf->pair.power, format->name);
        }
        store_bits(format, f->scaled + i * format->bytes, bits);
    }
    *table = f->scaled;
    return LAMINA_OK;
}

static void tiny_table(const struct fill *f, const uint8_t *table, uint64_t n) {
    const struct inflate_format *format = f->t->format;
    for (uint64_t i = 0; i < n; i++) {
        store_bits(format, f->tiny + i * format->bytes,
                   inflate_tiny(format, load_bits(format, table + i * format->bytes)));
    }
}

struct piece {
    uint64_t row, col, count;
    uint8_t *dst;
};

static void apply(const struct fill *f, enum inflate_action action, const uint8_t *table, const struct piece *p) {
    const struct inflate_format *format = f->t->format;
    uint64_t n = f->t->from->cols;
    uint64_t key = inflate_row_key(f->t->key, p->row);
    if (action == INFLATE_ZERO) {
        memset(p->dst, 0, (size_t)(p->count * format->bytes));
    } else if (action == INFLATE_COPY) {
        memcpy(p->dst, table + p->col * format->bytes, (size_t)(p->count * format->bytes));
    } else {
        inflate_draw(format, p->dst, action == INFLATE_TINY ? f->tiny : table, n, key, p->col, p->count);
    }
}

/* Real columns that are spread over the row (o_proj), over what has been drawn. */
static void scatter(const struct fill *f, const uint8_t *table, const struct piece *p) {
    uint32_t bytes = f->t->format->bytes;
    uint64_t n = f->t->from->cols;
    uint64_t low = 0;
    for (uint64_t high = n; low < high;) {
        uint64_t middle = (low + high) / 2;
        if (f->inf->q_place[middle] < p->col) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < n && f->inf->q_place[low] < p->col + p->count; low++) {
        memcpy(p->dst + (f->inf->q_place[low] - p->col) * bytes, table + low * bytes, bytes);
    }
}

/* The reserved column of embedding and head, see inflate_guard.c. */
static void guard_column(const struct fill *f, const struct piece *p) {
    const struct inflate_pair *pair = &f->inf->pair;
    uint64_t at = pair->small.hidden;
    enum inflate_role role = f->t->role;
    if (!pair->padded || (role != INFLATE_EMBED && role != INFLATE_HEAD) || at < p->col || at >= p->col + p->count) {
        return;
    }
    bool barrier = p->row >= pair->small.vocab && (role == INFLATE_HEAD || pair->big.tied);
    uint32_t bits = barrier                 ? inflate_power_bits(f->t->format, f->inf->guard.barrier_exponent, true)
                    : role == INFLATE_EMBED ? inflate_power_bits(f->t->format, f->inf->guard.carrier_exponent, false)
                                            : 0;
    store_bits(f->t->format, p->dst + (at - p->col) * f->t->format->bytes, bits);
}

/* One piece of one row of a matrix. */
static lamina_status fill_row(const struct fill *f, const struct piece *p) {
    const struct inflate_tensor_info *from = f->t->from;
    struct inflate_row_rule rule = inflate_row_rule(&f->inf->pair, f->t->role, f->t->extra_layer, p->row);
    const uint8_t *table = NULL;
    if (rule.source >= 0) {
        LAMINA_TRY(inflate_rows_row(f->inf->rows, from, &f->lease, (uint64_t)rule.source, f->row, &table, f->err));
    } else {
        uint64_t any = inflate_pick(inflate_row_key(f->t->key, p->row), f->lease.rows);
        table = f->lease.data + any * from->cols * from->format->bytes;
    }
    LAMINA_TRY(scale_table(f, &table, from->cols));
    if (rule.real == INFLATE_TINY || rule.extra == INFLATE_TINY) {
        tiny_table(f, table, from->cols);
    }
    bool spread = inflate_role_info(f->t->role)->cols == INFLATE_AXIS_Q;
    uint64_t real = spread ? 0 : p->col < from->cols ? min_u64(p->count, from->cols - p->col) : 0;
    struct piece first = {p->row, p->col, real, p->dst};
    struct piece rest = {p->row, p->col + real, p->count - real, p->dst + real * f->t->format->bytes};
    apply(f, rule.real, table, &first);
    apply(f, rule.extra, table, &rest);
    if (spread && rule.real == INFLATE_COPY) {
        scatter(f, table, p);
    }
    guard_column(f, p);
    return LAMINA_OK;
}

/* Element `row` of a gain. */
static float gain_at(const struct fill *f, uint64_t row) {
    const struct inflate_pair *pair = &f->inf->pair;
    const struct inflate_tensor_info *from = f->t->from;
    bool reserved = pair->padded && row == pair->small.hidden;
    if (reserved && f->t->role == INFLATE_NORM) {
        return f->inf->guard.final_gain;
    }
    bool real = row < from->cols && !f->t->extra_layer;
    uint64_t at = real ? row : inflate_pick(inflate_row_key(f->t->key, row), from->cols);
    double gain = inflate_number(from->format, f->lease.data + at * from->format->bytes);
    gain *= sqrt((double)pair->small.hidden / pair->big.hidden);
    return (float)(reserved ? ldexp(gain, -40) : gain);
}

static lamina_status fill_vector(const struct fill *f, const struct piece *p) {
    const struct inflate_tensor_info *from = f->t->from;
    bool norm = inflate_role_info(f->t->role)->norm;
    uint32_t bytes = f->t->format->bytes;
    const uint8_t *table = f->lease.data;
    if (!norm) {
        LAMINA_TRY(scale_table(f, &table, from->cols));
        tiny_table(f, table, from->cols);
    }
    for (uint64_t row = p->row; row < p->row + p->count; row++) {
        uint8_t *dst = p->dst + (row - p->row) * bytes;
        if (norm) {
            float gain = gain_at(f, row);
            uint32_t bits = 0;
            memcpy(&bits, &gain, sizeof(bits));
            store_bits(f->t->format, dst, bits);
            continue;
        }
        struct inflate_row_rule rule = inflate_row_rule(&f->inf->pair, f->t->role, f->t->extra_layer, row);
        bool copied = rule.source >= 0;
        uint64_t at = copied ? (uint64_t)rule.source : inflate_pick(inflate_row_key(f->t->key, row), from->cols);
        const uint8_t *value = (rule.real == INFLATE_TINY ? f->tiny : table) + at * bytes;
        store_bits(f->t->format, dst, rule.real == INFLATE_ZERO ? 0 : load_bits(f->t->format, value));
    }
    return LAMINA_OK;
}

/* Elements [first, first + count) of the tensor. */
static lamina_status fill_elements(const struct fill *f, uint64_t first, uint64_t count, uint8_t *dst) {
    if (f->t->vector) {
        struct piece p = {first, 0, count, dst};
        return fill_vector(f, &p);
    }
    while (count > 0) {
        uint64_t col = first % f->t->cols;
        struct piece p = {first / f->t->cols, col, min_u64(count, f->t->cols - col), dst};
        LAMINA_TRY(fill_row(f, &p));
        first += p.count;
        count -= p.count;
        dst += p.count * f->t->format->bytes;
    }
    return LAMINA_OK;
}

static lamina_status fill_bytes(const struct fill *f, uint64_t offset, uint8_t *dst, uint64_t len) {
    uint64_t size = f->t->format->bytes;
    while (len > 0) {
        uint64_t within = offset % size;
        uint64_t now = len / size * size;
        if (within != 0 || now == 0) { /* a slice that begins or ends inside an element */
            uint8_t element[4] = {0};
            now = min_u64(len, size - within);
            LAMINA_TRY(fill_elements(f, offset / size, 1, element));
            memcpy(dst, element + within, (size_t)now);
        } else {
            LAMINA_TRY(fill_elements(f, offset / size, now / size, dst));
        }
        offset += now;
        dst += now;
        len -= now;
    }
    return LAMINA_OK;
}

lamina_status inflate_fill(struct inflate *inf, uint32_t tensor, uint64_t offset, void *dst, size_t len,
                           struct lamina_error *err) {
    uint64_t end = 0;
    if (tensor >= inf->tensor_count || checked_add(offset, len, &end) || end > inf->tensors[tensor].bytes) {
        return base_fail(err, LAMINA_UNEXPECTED, "bytes beyond tensor %u of the large model were asked for", tensor);
    }
    struct fill f = {.inf = inf, .t = &inf->tensors[tensor], .err = err};
    size_t row_bytes = (size_t)f.t->from->cols * f.t->from->format->bytes;
    f.row = (uint8_t *)malloc(3 * row_bytes);
    if (f.row == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for rows of %s", f.t->name);
    }
    f.scaled = f.row + row_bytes;
    f.tiny = f.scaled + row_bytes;
    lamina_status status = inflate_rows_take(inf->rows, f.t->from, &f.lease, err);
    if (status == LAMINA_OK) {
        status = fill_bytes(&f, offset, (uint8_t *)dst, len);
    }
    inflate_rows_give(inf->rows, &f.lease);
    free(f.row);
    return status;
}

/* ---- as a source ---- */

static lamina_status source_tensor(void *user, uint32_t index, struct lamina_source_tensor *out,
                                   struct lamina_error *err) {
    const struct inflate *inf = (const struct inflate *)user;
    if (index >= inf->tensor_count) {
        return base_fail(err, LAMINA_UNEXPECTED, "the large model has no tensor %u", index);
    }
    const struct inflate_tensor *t = &inf->tensors[index];
    *out = (struct lamina_source_tensor){.name = t->name, .dtype = t->format->name, .rank = t->vector ? 1 : 2};
    out->shape[0] = t->rows;
    out->shape[1] = t->vector ? 0 : t->cols;
    return LAMINA_OK;
}

static lamina_status source_read(void *user, uint32_t index, uint64_t offset, void *dst, size_t len,
                                 struct lamina_error *err) {
    return inflate_fill((struct inflate *)user, index, offset, dst, len, err);
}

static lamina_status source_file(void *user, const char *name, char **bytes, size_t *len, struct lamina_error *err) {
    const struct inflate *inf = (const struct inflate *)user;
    if (strcmp(name, "config.json") != 0) {
        return inf->source->file(inf->source->user, name, bytes, len, err);
    }
    char *copy = (char *)malloc(inf->config_json.len + 1);
    if (copy == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for config.json");
    }
    memcpy(copy, str_text(&inf->config_json), inf->config_json.len + 1);
    *bytes = copy;
    *len = inf->config_json.len;
    return LAMINA_OK;
}

lamina_status inflate_as_source(struct inflate *inf, uint32_t distinct_layers, const struct lamina_source **source,
                                struct lamina_error *err) {
    uint32_t small = inf->pair.small.layers;
    if (distinct_layers != 0 && distinct_layers <= small && inf->pair.big.layers > distinct_layers) {
        return base_fail(err, LAMINA_USAGE,
                         "--distinct-layers %u: the first %u layers are those of the small model, and at "
                         "least one more must be there to be repeated",
                         distinct_layers, small);
    }
    bool repeats = distinct_layers != 0 && distinct_layers < inf->pair.big.layers;
    inf->as_source = (struct lamina_source){
        .size = sizeof(struct lamina_source),
        .user = inf,
        .tensor_count = inf->tensor_count,
        .tensor = source_tensor,
        .read = source_read,
        .file = source_file,
        .distinct_layers = repeats ? distinct_layers : 0,
        .first_repeated = repeats ? small : 0,
    };
    *source = &inf->as_source;
    return LAMINA_OK;
}
