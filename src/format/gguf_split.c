/* SPDX-License-Identifier: Apache-2.0
 * GGUF models in several files, as llama.cpp's gguf-split makes them: each part is a whole GGUF file that knows its number
 * and how many there are; the first one has the model's metadata. Names count from 1, the key split.no from 0. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/gguf.h"

enum { DIGITS = 5, TAIL_LEN = 1 + DIGITS + 4 + DIGITS + 5 }; /* "-00001-of-00003.gguf" */

static bool five_digits(const uint8_t *p, uint32_t *out) {
    *out = 0;
    for (unsigned i = 0; i < DIGITS; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return false;
        }
        *out = *out * 10 + (uint32_t)(p[i] - '0');
    }
    return true;
}

bool gguf_split_of(const char *file_name, struct gguf_split *out) {
    struct span name = span_of_text(file_name);
    uint32_t no = 0;
    if (name.len <= TAIL_LEN || !span_ends_with(name, ".gguf")) {
        return false;
    }
    const uint8_t *tail = name.ptr + name.len - TAIL_LEN;
    if (tail[0] != '-' || memcmp(tail + 1 + DIGITS, "-of-", 4) != 0 || !five_digits(tail + 1, &no) ||
        !five_digits(tail + 5 + DIGITS, &out->count) || no == 0 || no > out->count) {
        return false;
    }
    out->stem = span_sub(name, 0, name.len - TAIL_LEN);
    out->no = no - 1;
    return true;
}

bool gguf_split_name(const struct gguf_split *split, uint32_t no, char *out, size_t room) {
    if (split->stem.len > INT32_MAX) {
        return false;
    }
    int n = snprintf(out, room, "%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", (int)split->stem.len,
                     (const char *)split->stem.ptr, no + 1, split->count);
    return n > 0 && (size_t)n < room;
}

/* The part says that it is number `no` of `count`. */
static lamina_status check_part(const struct gguf_part *p, uint32_t no, uint32_t count, struct lamina_error *err) {
    uint64_t said_no = 0;
    uint64_t said_count = 1;
    bool numbered = gguf_as_u64(gguf_find(p->file, "split.no"), &said_no);
    bool counted = gguf_as_u64(gguf_find(p->file, "split.count"), &said_count);
    if ((count > 1 && (!numbered || !counted)) || numbered != counted) {
        return base_fail(err, LAMINA_DAMAGED, "%s does not say which part of a model it is (split.no, split.count)",
                         p->name);
    }
    if (said_no != no || said_count != count) {
        return base_fail(err, LAMINA_DAMAGED,
                         "%s says that it is part %" PRIu64 " of %" PRIu64 ", expected %" PRIu32 " of %" PRIu32
                         "; all parts must be there, as they were downloaded",
                         p->name, said_no, said_count, no, count);
    }
    return LAMINA_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct gguf_place *)a)->tensor->name, ((const struct gguf_place *)b)->tensor->name);
}

static lamina_status list_all(const struct gguf_part *parts, uint32_t count, struct gguf_set *s,
                              struct lamina_error *err) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < parts[i].file->count; k++) {
            s->list[n++] = (struct gguf_place){.tensor = &parts[i].file->tensors[k], .part = i};
        }
    }
    s->count = n;
    if (n > 0) {
        qsort(s->list, n, sizeof(*s->list), by_name);
    }
    for (uint32_t i = 1; i < n; i++) {
        if (by_name(&s->list[i - 1], &s->list[i]) == 0) {
            return base_fail(err, LAMINA_DAMAGED, "tensor \"%s\" is in %s and in %s", s->list[i].tensor->name,
                             parts[s->list[i - 1].part].name, parts[s->list[i].part].name);
        }
    }
    return LAMINA_OK;
}

lamina_status gguf_join(const struct gguf_part *parts, uint32_t count, struct arena *arena, struct gguf_set *out,
                        struct lamina_error *err) {
    struct gguf_set s = {0};
    uint64_t total = 0;
    if (count == 0) {
        return base_fail(err, LAMINA_USAGE, "a model in no file at all");
    }
    for (uint32_t i = 0; i < count; i++) {
        LAMINA_TRY(check_part(&parts[i], i, count, err));
        total += parts[i].file->count;
    }
    uint64_t said = total;
    (void)gguf_as_u64(gguf_find(parts[0].file, "split.tensors.count"), &said);
    if (said != total || total > GGUF_MAX_TENSORS) {
        return base_fail(err, LAMINA_DAMAGED, "%s: the parts hold %" PRIu64 " tensors, %" PRIu64 " expected", parts[0].name,
                         total, said);
    }
    s.list = arena_take_array(arena, (size_t)total, sizeof(*s.list));
    if (s.list == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "%s: out of memory", parts[0].name);
    }
    LAMINA_TRY(list_all(parts, count, &s, err));
    *out = s;
    return LAMINA_OK;
}
