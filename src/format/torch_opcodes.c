/* SPDX-License-Identifier: Apache-2.0
 * The operations of pickles, protocols 0 to 5 (Python's Lib/pickletools.py documents each): a table of codes, the form
 * of their operand, and what they do to the machine. Every operation but a few that only make or look up values is
 * harmless by what it can reach: torch_globals.c decides what a name may mean and what calling it gives.
 *
 * Operations that torch never writes (sets, extension codes, instances of old classes, buffers outside the pickle) are
 * in the table without a function, so that the refusal can name them. */
#include <inttypes.h>
#include <string.h>

#include "format/torch_priv.h"

/* Forms of operands. LEN_*: a length, then so many bytes. */
enum form { FORM_NONE, FORM_1, FORM_2, FORM_4, FORM_8, FORM_LINE, FORM_LINES, FORM_LEN_1, FORM_LEN_4, FORM_LEN_8 };

struct operand {
    unsigned with; /* of the row in the table: which one of several alike */
    uint64_t number;
    struct span bytes, second; /* second: of FORM_LINES */
};

struct operation {
    const char *name;
    enum form form;
    bool (*run)(struct torch_machine *m, const struct operand *o);
    unsigned with;
};

/* ---- operands ---- */

static bool too_short(struct torch_machine *m) {
    m->starved = true;
    return torch_refuse(m, LAMINA_DAMAGED, "it ends in the middle; the file is cut short or damaged");
}

static bool take_bytes(struct torch_machine *m, uint64_t len, struct span *out) {
    if (len > m->text.len - m->at) {
        return too_short(m);
    }
    *out = span_sub(m->text, m->at, (size_t)len);
    m->at += (size_t)len;
    return true;
}

static bool take_line(struct torch_machine *m, struct span *out) {
    struct span rest = span_sub(m->text, m->at, m->text.len);
    const uint8_t *end = rest.len > 0 ? memchr(rest.ptr, '\n', rest.len) : NULL;
    if (end == NULL) {
        return too_short(m);
    }
    *out = span_sub(rest, 0, (size_t)(end - rest.ptr));
    m->at += out->len + 1;
    return true;
}

static bool take_number(struct torch_machine *m, unsigned bytes, uint64_t *out) {
    struct span s = {0};
    if (!take_bytes(m, bytes, &s)) {
        return false;
    }
    *out = bytes == 1 ? s.ptr[0] : bytes == 2 ? load_le16(s.ptr) : bytes == 4 ? load_le32(s.ptr) : load_le64(s.ptr);
    return true;
}

static bool take_operand(struct torch_machine *m, enum form form, struct operand *o) {
    static const uint8_t widths[] = {[FORM_1] = 1,     [FORM_2] = 2,     [FORM_4] = 4,    [FORM_8] = 8,
                                     [FORM_LEN_1] = 1, [FORM_LEN_4] = 4, [FORM_LEN_8] = 8};
    switch (form) {
    case FORM_NONE:
        return true;
    case FORM_LINE:
        return take_line(m, &o->bytes);
    case FORM_LINES:
        return take_line(m, &o->bytes) && take_line(m, &o->second);
    case FORM_LEN_1:
    case FORM_LEN_4:
    case FORM_LEN_8:
        return take_number(m, widths[form], &o->number) && take_bytes(m, o->number, &o->bytes);
    default:
        return take_number(m, widths[form], &o->number);
    }
}

/* ---- frame ---- */

static bool op_protocol(struct torch_machine *m, const struct operand *o) {
    return o->number <= 5 ||
           torch_refuse(m, LAMINA_UNSUPPORTED, "pickle protocol %" PRIu64 "; up to 5 are known", o->number);
}

/* A promise of more bytes, nothing else. */
static bool op_frame(struct torch_machine *m, const struct operand *o) {
    return o->number <= m->text.len - m->at || too_short(m);
}

static bool op_stop(struct torch_machine *m, const struct operand *o) {
    (void)o;
    return m->stack_count == 1 || torch_refuse(m, LAMINA_DAMAGED, "it ends with %u values, 1 expected", m->stack_count);
}

/* ---- stack and memo ---- */

/* A constant: the mark, None, ... */
static bool op_push(struct torch_machine *m, const struct operand *o) {
    return torch_push(m, o->with);
}

static bool op_pop(struct torch_machine *m, const struct operand *o) {
    torch_ref ignored = 0;
    (void)o;
    return torch_pop(m, &ignored);
}

static bool op_pop_mark(struct torch_machine *m, const struct operand *o) {
    uint32_t first = 0;
    uint32_t count = 0;
    (void)o;
    return torch_pop_marked(m, &first, &count);
}

static bool op_dup(struct torch_machine *m, const struct operand *o) {
    torch_ref top = 0;
    (void)o;
    return torch_pop(m, &top) && torch_push(m, top) && torch_push(m, top);
}

/* Digits with an optional minus; false when it is no such number, or longer than 18 digits. */
static bool decimal(struct span text, int64_t *out) {
    bool minus = text.len > 0 && text.ptr[0] == '-';
    int64_t v = 0;
    text = span_sub(text, minus ? 1 : 0, text.len);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        v = i < 18 ? v * 10 + (text.ptr[i] - '0') : v;
    }
    *out = minus ? -v : v;
    return text.len > 0 && text.len <= 18;
}

enum { MEMO_PUT, MEMO_GET };

static bool op_memo(struct torch_machine *m, const struct operand *o) {
    return o->with == MEMO_PUT ? torch_memo_put(m, o->number) : torch_memo_get(m, o->number);
}

static bool op_memo_line(struct torch_machine *m, const struct operand *o) {
    int64_t index = 0;
    if (!decimal(o->bytes, &index) || index < 0) {
        return torch_refuse(m, LAMINA_DAMAGED, "a memo index is no number");
    }
    return o->with == MEMO_PUT ? torch_memo_put(m, (uint64_t)index) : torch_memo_get(m, (uint64_t)index);
}

static bool op_memoize(struct torch_machine *m, const struct operand *o) {
    (void)o;
    return torch_memo_put(m, m->memo_count);
}

/* ---- plain values ---- */

static bool push_span(struct torch_machine *m, enum torch_kind kind, struct span s) {
    return torch_push_value(
        m, (struct torch_value){.kind = (uint8_t)kind, .a = (uint32_t)s.len, .b = (uint64_t)(s.ptr - m->text.ptr)});
}

static bool op_text(struct torch_machine *m, const struct operand *o) {
    return push_span(m, KIND_TEXT, o->bytes);
}

/* 'text' as Python writes it. With escapes in it, it is no name of ours. */
static bool op_quoted(struct torch_machine *m, const struct operand *o) {
    struct span s = o->bytes;
    if (s.len < 2 || s.ptr[0] != s.ptr[s.len - 1] || (s.ptr[0] != '\'' && s.ptr[0] != '"')) {
        return torch_refuse(m, LAMINA_DAMAGED, "a text without its quotes");
    }
    s = span_sub(s, 1, s.len - 2);
    return memchr(s.ptr, '\\', s.len) != NULL ? torch_push(m, TORCH_OTHER) : push_span(m, KIND_TEXT, s);
}

static bool op_unicode_line(struct torch_machine *m, const struct operand *o) {
    bool escaped = o->bytes.len > 0 && memchr(o->bytes.ptr, '\\', o->bytes.len) != NULL;
    return escaped ? torch_push(m, TORCH_OTHER) : push_span(m, KIND_TEXT, o->bytes);
}

static bool op_int_line(struct torch_machine *m, const struct operand *o) {
    int64_t v = 0;
    if (span_is(o->bytes, "00") || span_is(o->bytes, "01")) {
        return torch_push(m, o->bytes.ptr[1] == '1' ? TORCH_TRUE : TORCH_FALSE);
    }
    return decimal(o->bytes, &v) ? torch_push_int(m, v) : push_span(m, KIND_BIG, o->bytes);
}

static bool op_long_line(struct torch_machine *m, const struct operand *o) {
    struct span digits = span_ends_with(o->bytes, "L") ? span_sub(o->bytes, 0, o->bytes.len - 1) : o->bytes;
    int64_t v = 0;
    return decimal(digits, &v) ? torch_push_int(m, v) : push_span(m, KIND_BIG, digits);
}

static bool op_int(struct torch_machine *m, const struct operand *o) {
    return torch_push_int(m, (int64_t)o->number);
}

static bool op_int_signed(struct torch_machine *m, const struct operand *o) {
    return torch_push_int(m, (int32_t)(uint32_t)o->number);
}

/* Two's complement, any length. */
static bool op_long(struct torch_machine *m, const struct operand *o) {
    uint64_t v = 0;
    if (o->bytes.len > 8) {
        return push_span(m, KIND_BIG, o->bytes);
    }
    for (size_t i = 0; i < o->bytes.len; i++) {
        v |= (uint64_t)o->bytes.ptr[i] << (8 * i);
    }
    if (o->bytes.len > 0 && o->bytes.len < 8 && (o->bytes.ptr[o->bytes.len - 1] & 0x80) != 0) {
        v |= UINT64_MAX << (8 * o->bytes.len);
    }
    return torch_push_int(m, (int64_t)v);
}

/* ---- containers ---- */

static bool push_container(struct torch_machine *m, unsigned kind) {
    return torch_push_value(m, (struct torch_value){.kind = (uint8_t)kind});
}

static bool op_empty(struct torch_machine *m, const struct operand *o) {
    return push_container(m, o->with);
}

static bool op_last_tuple(struct torch_machine *m, const struct operand *o) {
    for (unsigned i = 0; i < o->with; i++) {
        torch_ref ignored = 0;
        if (!torch_pop(m, &ignored)) {
            return false;
        }
    }
    return torch_push_tuple(m, m->stack_count, o->with);
}

static bool op_tuple(struct torch_machine *m, const struct operand *o) {
    uint32_t first = 0;
    uint32_t count = 0;
    (void)o;
    return torch_pop_marked(m, &first, &count) && torch_push_tuple(m, first, count);
}

/* The stack's values from `first` on into the container on top: alone for lists, in pairs for dictionaries. */
static bool fill(struct torch_machine *m, unsigned kind, uint32_t first, uint32_t count) {
    uint32_t step = kind == KIND_DICT ? 2 : 1;
    if (m->stack_count == 0 || !torch_is(m, m->stack[m->stack_count - 1], (enum torch_kind)kind)) {
        return torch_refuse(m, LAMINA_DAMAGED, "something is added to a value that is no %s",
                            kind == KIND_LIST ? "list" : "dictionary");
    }
    if (count % step != 0) {
        return torch_refuse(m, LAMINA_DAMAGED, "a key without a value");
    }
    torch_ref to = m->stack[m->stack_count - 1];
    for (uint32_t i = first; i < first + count; i += step) {
        if (!torch_append(m, to, kind == KIND_DICT ? m->stack[i] : TORCH_NONE, m->stack[i + step - 1])) {
            return false;
        }
    }
    return true;
}

static bool op_add_one(struct torch_machine *m, const struct operand *o) {
    torch_ref ignored = 0;
    uint32_t count = o->with == KIND_DICT ? 2 : 1;
    for (uint32_t i = 0; i < count; i++) {
        if (!torch_pop(m, &ignored)) {
            return false;
        }
    }
    return fill(m, o->with, m->stack_count, count);
}

static bool op_add_all(struct torch_machine *m, const struct operand *o) {
    uint32_t first = 0;
    uint32_t count = 0;
    return torch_pop_marked(m, &first, &count) && fill(m, o->with, first, count);
}

/* The new container takes the mark's place, below the values that go into it. */
static bool op_collect(struct torch_machine *m, const struct operand *o) {
    uint32_t first = 0;
    uint32_t count = 0;
    return torch_pop_marked(m, &first, &count) && push_container(m, o->with) && fill(m, o->with, first, count);
}

/* ---- names and calls ---- */

static bool op_global(struct torch_machine *m, const struct operand *o) {
    return torch_push_global(m, o->bytes, o->second);
}

static bool op_stack_global(struct torch_machine *m, const struct operand *o) {
    torch_ref name = 0;
    torch_ref module = 0;
    struct span name_text = {0};
    struct span module_text = {0};
    (void)o;
    if (!torch_pop(m, &name) || !torch_pop(m, &module)) {
        return false;
    }
    if (!torch_text_of(m, name, &name_text) || !torch_text_of(m, module, &module_text)) {
        return torch_refuse(m, LAMINA_DAMAGED, "it refers to a name that is no text");
    }
    return torch_push_global(m, module_text, name_text);
}

static bool op_call(struct torch_machine *m, const struct operand *o) {
    torch_ref arguments = 0;
    torch_ref function = 0;
    (void)o;
    return torch_pop(m, &arguments) && torch_pop(m, &function) && torch_call(m, function, arguments);
}

/* Attributes. Ordered dictionaries have some ("_metadata"), which nobody asks for; nothing else may. */
static bool op_build(struct torch_machine *m, const struct operand *o) {
    torch_ref state = 0;
    torch_ref object = 0;
    (void)o;
    if (!torch_pop(m, &state) || !torch_pop(m, &object)) {
        return false;
    }
    if (!torch_is(m, object, KIND_DICT) || !torch_is(m, state, KIND_DICT)) {
        return torch_refuse(m, LAMINA_UNSUPPORTED, "it sets the attributes of something that is no dictionary");
    }
    return torch_push(m, object);
}

static bool op_storage(struct torch_machine *m, const struct operand *o) {
    torch_ref id = 0;
    (void)o;
    return torch_pop(m, &id) && torch_push_storage(m, id);
}

/* A class and a name, as GLOBAL has them; whatever it is, an instance of it is no tensor. */
static bool op_instance(struct torch_machine *m, const struct operand *o) {
    return torch_push_global(m, o->bytes, o->second) &&
           torch_refuse(m, LAMINA_UNSUPPORTED, "it makes an instance of a class; a checkpoint may only hold tensors");
}

static const struct operation operations[256] = {
    [0x80] = {"PROTO", FORM_1, op_protocol, 0},
    [0x95] = {"FRAME", FORM_8, op_frame, 0},
    ['.'] = {"STOP", FORM_NONE, op_stop, 0},
    ['('] = {"MARK", FORM_NONE, op_push, TORCH_MARK},
    ['0'] = {"POP", FORM_NONE, op_pop, 0},
    ['1'] = {"POP_MARK", FORM_NONE, op_pop_mark, 0},
    ['2'] = {"DUP", FORM_NONE, op_dup, 0},
    ['p'] = {"PUT", FORM_LINE, op_memo_line, MEMO_PUT},
    ['q'] = {"BINPUT", FORM_1, op_memo, MEMO_PUT},
    ['r'] = {"LONG_BINPUT", FORM_4, op_memo, MEMO_PUT},
    [0x94] = {"MEMOIZE", FORM_NONE, op_memoize, 0},
    ['g'] = {"GET", FORM_LINE, op_memo_line, MEMO_GET},
    ['h'] = {"BINGET", FORM_1, op_memo, MEMO_GET},
    ['j'] = {"LONG_BINGET", FORM_4, op_memo, MEMO_GET},
    ['N'] = {"NONE", FORM_NONE, op_push, TORCH_NONE},
    [0x88] = {"NEWTRUE", FORM_NONE, op_push, TORCH_TRUE},
    [0x89] = {"NEWFALSE", FORM_NONE, op_push, TORCH_FALSE},
    ['I'] = {"INT", FORM_LINE, op_int_line, 0},
    ['L'] = {"LONG", FORM_LINE, op_long_line, 0},
    ['J'] = {"BININT", FORM_4, op_int_signed, 0},
    ['K'] = {"BININT1", FORM_1, op_int, 0},
    ['M'] = {"BININT2", FORM_2, op_int, 0},
    [0x8a] = {"LONG1", FORM_LEN_1, op_long, 0},
    [0x8b] = {"LONG4", FORM_LEN_4, op_long, 0},
    ['F'] = {"FLOAT", FORM_LINE, op_push, TORCH_OTHER},
    ['G'] = {"BINFLOAT", FORM_8, op_push, TORCH_OTHER},
    ['S'] = {"STRING", FORM_LINE, op_quoted, 0},
    ['T'] = {"BINSTRING", FORM_LEN_4, op_text, 0},
    ['U'] = {"SHORT_BINSTRING", FORM_LEN_1, op_text, 0},
    ['V'] = {"UNICODE", FORM_LINE, op_unicode_line, 0},
    ['X'] = {"BINUNICODE", FORM_LEN_4, op_text, 0},
    [0x8c] = {"SHORT_BINUNICODE", FORM_LEN_1, op_text, 0},
    [0x8d] = {"BINUNICODE8", FORM_LEN_8, op_text, 0},
    ['B'] = {"BINBYTES", FORM_LEN_4, op_push, TORCH_OTHER},
    ['C'] = {"SHORT_BINBYTES", FORM_LEN_1, op_push, TORCH_OTHER},
    [0x8e] = {"BINBYTES8", FORM_LEN_8, op_push, TORCH_OTHER},
    [0x96] = {"BYTEARRAY8", FORM_LEN_8, op_push, TORCH_OTHER},
    [']'] = {"EMPTY_LIST", FORM_NONE, op_empty, KIND_LIST},
    ['a'] = {"APPEND", FORM_NONE, op_add_one, KIND_LIST},
    ['e'] = {"APPENDS", FORM_NONE, op_add_all, KIND_LIST},
    ['l'] = {"LIST", FORM_NONE, op_collect, KIND_LIST},
    [')'] = {"EMPTY_TUPLE", FORM_NONE, op_push, TORCH_NO_ITEMS},
    [0x85] = {"TUPLE1", FORM_NONE, op_last_tuple, 1},
    [0x86] = {"TUPLE2", FORM_NONE, op_last_tuple, 2},
    [0x87] = {"TUPLE3", FORM_NONE, op_last_tuple, 3},
    ['t'] = {"TUPLE", FORM_NONE, op_tuple, 0},
    ['}'] = {"EMPTY_DICT", FORM_NONE, op_empty, KIND_DICT},
    ['d'] = {"DICT", FORM_NONE, op_collect, KIND_DICT},
    ['s'] = {"SETITEM", FORM_NONE, op_add_one, KIND_DICT},
    ['u'] = {"SETITEMS", FORM_NONE, op_add_all, KIND_DICT},
    ['c'] = {"GLOBAL", FORM_LINES, op_global, 0},
    [0x93] = {"STACK_GLOBAL", FORM_NONE, op_stack_global, 0},
    ['R'] = {"REDUCE", FORM_NONE, op_call, 0},
    [0x81] = {"NEWOBJ", FORM_NONE, op_call, 0},
    ['b'] = {"BUILD", FORM_NONE, op_build, 0},
    ['Q'] = {"BINPERSID", FORM_NONE, op_storage, 0},
    ['i'] = {"INST", FORM_LINES, op_instance, 0},
    ['o'] = {"OBJ", FORM_NONE, NULL, 0},
    ['P'] = {"PERSID", FORM_NONE, NULL, 0},
    [0x82] = {"EXT1", FORM_NONE, NULL, 0},
    [0x83] = {"EXT2", FORM_NONE, NULL, 0},
    [0x84] = {"EXT4", FORM_NONE, NULL, 0},
    [0x8f] = {"EMPTY_SET", FORM_NONE, NULL, 0},
    [0x90] = {"ADDITEMS", FORM_NONE, NULL, 0},
    [0x91] = {"FROZENSET", FORM_NONE, NULL, 0},
    [0x92] = {"NEWOBJ_EX", FORM_NONE, NULL, 0},
    [0x97] = {"NEXT_BUFFER", FORM_NONE, NULL, 0},
    [0x98] = {"READONLY_BUFFER", FORM_NONE, NULL, 0},
};

bool torch_machine_run(struct torch_machine *m, torch_ref *root) {
    for (;;) {
        m->op_at = m->at;
        if (m->at >= m->text.len) {
            return too_short(m);
        }
        uint8_t code = m->text.ptr[m->at++];
        const struct operation *op = &operations[code];
        if (op->name == NULL) {
            return torch_refuse(m, LAMINA_DAMAGED, "0x%02x is no operation of pickles", code);
        }
        if (op->run == NULL) {
            return torch_refuse(m, LAMINA_UNSUPPORTED,
                                "the operation %s; a checkpoint of tensors has no need of it, so it is not read", op->name);
        }
        struct operand o = {.with = op->with};
        if (!torch_spend(m, 1) || !take_operand(m, op->form, &o) || !op->run(m, &o)) {
            return false;
        }
        if (code == '.') {
            bool ok = torch_pop(m, root);
            m->op_at = SIZE_MAX;
            return ok;
        }
    }
}
