/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages, tokenizer_config.json, tools and template arguments, separated by zero bytes, against a template the first
 * byte chooses: whatever clients and checkpoints send is rewritten without a fault, and what fails says why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "text/chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds) {
    if (!holds) {
        abort();
    }
}

static const char *const templates[] = {
    "",
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] }}{% endfor %}",
    "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}",
    "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages }}{{ tools }}",
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}{{ c.function.name }}"
    "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}{% endfor %}{% endfor %}",
    "{% for m in messages %}{{ m.role }}{% for c in m.tool_calls or [] %}{{ c.function.arguments + '' }}{% endfor %}"
    "{% endfor %}{# developer #}",
    "{{ bos_token }}{{ additional_special_tokens }}{{ messages|tojson }}",
    "{{ messages[0].content|upper }}{% set _ = messages.pop() %}",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct span part[4] = {{0}};
    if (size == 0) {
        return 0;
    }
    struct span rest = span_of(data + 1, size - 1);
    for (size_t i = 0; i < 4 && rest.len > 0; i++) {
        const uint8_t *end = i < 3 ? memchr(rest.ptr, 0, rest.len) : NULL;
        size_t len = end != NULL ? (size_t)(end - rest.ptr) : rest.len;
        part[i] = span_of(rest.ptr, len);
        rest = span_sub(rest, len + 1, rest.len);
    }
    struct chat_files files = {
        .chat_template_jinja = span_of_text(templates[data[0] % (sizeof(templates) / sizeof(templates[0]))]),
        .tokenizer_config = part[1]};
    struct chat_template *t = NULL;
    struct lamina_error err = {0};
    struct str out = {0};
    if (chat_open(&t, &files, &err) != LAMINA_OK) {
        check(t == NULL && err.code < 0 && err.message[0] != 0);
        return 0;
    }
    struct chat_request r = {.messages = part[0], .tools = part[2], .kwargs = part[3],
                             .add_generation_prompt = (data[0] & 0x80) != 0};
    if (t != NULL && data[0] % (sizeof(templates) / sizeof(templates[0])) != 0) {
        lamina_status status = chat_render(t, &r, &out, &err);
        check(status == LAMINA_OK || (status == err.code && err.message[0] != 0 && out.len == 0));
        check(utf8_valid(str_span(&out)));
    }
    str_drop(&out);
    chat_close(&t);
    return 0;
}
