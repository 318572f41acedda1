/* SPDX-License-Identifier: Apache-2.0
 * The pickle machine's tables: values, the stack, the memo, and the chains of lists and dictionaries. What a pickle may
 * cost is decided here: eight times its own bytes plus 1 MiB of memory, sixteen steps a byte.
 *
 * Invariant: every reference in a table names a value made before it, or a constant; only lists and dictionaries, which
 * grow later, can lead back to themselves. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/torch_priv.h"

enum { MEMORY_BASE = 1 << 20, MEMORY_PER_BYTE = 8, FUEL_BASE = 4096, FUEL_PER_BYTE = 16 };

bool torch_refuse(struct torch_machine *m, lamina_status code, const char *fmt, ...) {
    char why[600];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    if (m->failed == LAMINA_OK && m->op_at == SIZE_MAX) {
        m->failed = base_fail(m->err, code, "%s: %s", m->name, why);
    } else if (m->failed == LAMINA_OK) {
        m->failed = base_fail(m->err, code, "%s: in its pickle, byte %zu: %s", m->name, m->op_at, why);
    }
    return false;
}

bool torch_spend(struct torch_machine *m, uint64_t steps) {
    if (steps > m->fuel) {
        return torch_refuse(m, LAMINA_UNSUPPORTED, "the pickle does more work than a checkpoint of its size can need");
    }
    m->fuel -= steps;
    return true;
}

/* Room for `need` elements: half as much again, or what the limit leaves. */
static bool grow(struct torch_machine *m, void *table, uint32_t *room, uint32_t need, size_t size) {
    void *old = NULL;
    if (need <= *room) {
        return true;
    }
    uint64_t left = (m->memory_limit - m->memory) / size;
    uint64_t wider = min_u64(max_u64(need, (uint64_t)*room + *room / 2 + 32), *room + left);
    if (wider < need || wider >= TORCH_SMALL) {
        return torch_refuse(m, LAMINA_NO_FIT, "the pickle needs more memory than is allowed for it");
    }
    memcpy(&old, table, sizeof(old));
    void *moved = realloc(old, (size_t)wider * size);
    if (moved == NULL) {
        return torch_refuse(m, LAMINA_NO_FIT, "out of memory");
    }
    memcpy(table, &moved, sizeof(moved));
    m->memory += (size_t)(wider - *room) * size;
    *room = (uint32_t)wider;
    return true;
}

bool torch_machine_begin(struct torch_machine *m, struct span text, size_t at) {
    m->text = text;
    m->at = m->op_at = at;
    m->memory_limit = MEMORY_BASE + text.len * MEMORY_PER_BYTE;
    m->fuel = FUEL_BASE + (uint64_t)text.len * FUEL_PER_BYTE;
    m->item_count = m->link_count = m->stack_count = m->memo_count = 0;
    if (m->memo_room > 0) {
        memset(m->memo, 0, m->memo_room * sizeof(*m->memo));
    }
    if (!grow(m, &m->values, &m->value_room, TORCH_FIRST_FREE, sizeof(*m->values))) {
        return false;
    }
    memset(m->values, 0, TORCH_FIRST_FREE * sizeof(*m->values));
    for (uint32_t i = 0; i < TORCH_FIRST_FREE; i++) {
        m->values[i].kind = i == TORCH_MARK ? KIND_MARK : i == TORCH_NO_ITEMS ? KIND_TUPLE : KIND_PLAIN;
    }
    m->value_count = TORCH_FIRST_FREE;
    return true;
}

void torch_machine_drop(struct torch_machine *m) {
    free(m->values);
    free(m->items);
    free(m->stack);
    free(m->memo);
    free(m->links);
    *m = (struct torch_machine){0};
}

bool torch_push(struct torch_machine *m, torch_ref ref) {
    if (!grow(m, &m->stack, &m->stack_room, m->stack_count + 1, sizeof(*m->stack))) {
        return false;
    }
    m->stack[m->stack_count++] = ref;
    return true;
}

bool torch_pop(struct torch_machine *m, torch_ref *ref) {
    if (m->stack_count == 0 || m->stack[m->stack_count - 1] == TORCH_MARK) {
        return torch_refuse(m, LAMINA_DAMAGED, "an operation takes more values than there are");
    }
    *ref = m->stack[--m->stack_count];
    return true;
}

bool torch_push_value(struct torch_machine *m, struct torch_value v) {
    if (!grow(m, &m->values, &m->value_room, m->value_count + 1, sizeof(*m->values))) {
        return false;
    }
    m->values[m->value_count] = v;
    return torch_push(m, m->value_count++);
}

bool torch_push_int(struct torch_machine *m, int64_t value) {
    if (value >= 0 && value < (int64_t)TORCH_SMALL) {
        return torch_push(m, TORCH_SMALL | (uint32_t)value);
    }
    return torch_push_value(m, (struct torch_value){.kind = KIND_INT, .what = value < 0, .b = (uint64_t)value});
}

bool torch_push_tuple(struct torch_machine *m, uint32_t first, uint32_t count) {
    if (count == 0) {
        return torch_push(m, TORCH_NO_ITEMS);
    }
    if (!torch_spend(m, count) || !grow(m, &m->items, &m->item_room, m->item_count + count, sizeof(*m->items))) {
        return false;
    }
    memcpy(m->items + m->item_count, m->stack + first, count * sizeof(*m->items));
    struct torch_value v = {.kind = KIND_TUPLE, .a = count, .b = m->item_count};
    m->item_count += count;
    return torch_push_value(m, v);
}

bool torch_pop_marked(struct torch_machine *m, uint32_t *first, uint32_t *count) {
    uint32_t at = m->stack_count;
    while (at > 0 && m->stack[at - 1] != TORCH_MARK) {
        at--;
    }
    if (at == 0) {
        return torch_refuse(m, LAMINA_DAMAGED, "an operation looks for a mark that was never set");
    }
    *first = at;
    *count = m->stack_count - at;
    m->stack_count = at - 1;
    return torch_spend(m, *count);
}

bool torch_append(struct torch_machine *m, torch_ref container, torch_ref key, torch_ref value) {
    if (!torch_spend(m, 1) || !grow(m, &m->links, &m->link_room, m->link_count + 1, sizeof(*m->links))) {
        return false;
    }
    struct torch_value *v = &m->values[container];
    uint32_t link = m->link_count++;
    m->links[link] = (struct torch_link){.key = key, .value = value, .next = UINT32_MAX};
    if (v->a == 0) {
        v->b = link;
    } else {
        m->links[v->b >> 32].next = link;
    }
    v->b = (v->b & UINT32_MAX) | (uint64_t)link << 32;
    v->a++;
    return true;
}

/* Writers number the memo from 0 or 1 on, so no index can exceed the bytes that lie before it. */
bool torch_memo_put(struct torch_machine *m, uint64_t index) {
    uint32_t before = m->memo_room;
    if (m->stack_count == 0 || m->stack[m->stack_count - 1] == TORCH_MARK) {
        return torch_refuse(m, LAMINA_DAMAGED, "an operation takes more values than there are");
    }
    if (index > m->op_at || index >= TORCH_SMALL) {
        return torch_refuse(m, LAMINA_DAMAGED, "the memo index %" PRIu64 " is beyond what this pickle can have put there",
                            index);
    }
    if (!grow(m, &m->memo, &m->memo_room, (uint32_t)index + 1, sizeof(*m->memo))) {
        return false;
    }
    memset(m->memo + before, 0, (m->memo_room - before) * sizeof(*m->memo));
    m->memo_count += m->memo[index] == TORCH_MARK;
    m->memo[index] = m->stack[m->stack_count - 1];
    return true;
}

bool torch_memo_get(struct torch_machine *m, uint64_t index) {
    if (index >= m->memo_room || m->memo[index] == TORCH_MARK) {
        return torch_refuse(m, LAMINA_DAMAGED, "nothing was put under the memo index %" PRIu64, index);
    }
    return torch_push(m, m->memo[index]);
}
