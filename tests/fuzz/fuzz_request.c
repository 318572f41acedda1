/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the body of a request. What is taken stays inside the limits that the server goes by; what is refused has a status and
 * a sentence. The first byte chooses the interface. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "app/server/request.h"
#include "base/json.h"
#include "fuzz_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_json(const struct str *text, enum json_type type) {
    struct json_reader r;
    struct str key = {0};
    struct lamina_error err = {0};
    if (text->len == 0) {
        return;
    }
    json_init(&r, str_span(text), "made", &key, &err);
    require(json_peek(&r) == type && json_skip(&r) && json_finish(&r) == LAMINA_OK);
    str_drop(&key);
}

static void is_refused(const struct refusal *why) {
    require(why->http >= 400 && why->http < 600 && why->type != NULL && why->message[0] != 0);
}

static void body(enum request_api api, struct span text) {
    struct request q;
    struct refusal why = {0};
    if (!request_parse(&q, api, text, &why)) {
        is_refused(&why);
    } else {
        require(q.n >= 1 && q.n <= REQUEST_MAX_CHOICES && q.prompt_count <= REQUEST_MAX_PROMPTS);
        require(q.load || q.prompt_count > 0 || q.messages.len > 0);
        require(q.stop_count <= REQUEST_MAX_STOPS && q.bias_count <= REQUEST_MAX_BIAS && q.top_logprobs <= REQUEST_MAX_TOP);
        require(q.temperature >= 0 && q.temperature <= 100 && q.presence_penalty >= -2 && q.presence_penalty <= 2);
        for (uint32_t i = 0; i < q.stop_count; i++) {
            require(q.stop[i].len > 0 && q.stop[i].len <= REQUEST_MAX_STOP_BYTES && strlen(str_text(&q.stop[i])) == q.stop[i].len);
        }
        for (uint32_t i = 0; i < q.bias_count; i++) {
            require(q.bias[i].value >= -100 && q.bias[i].value <= 100);
        }
        is_json(&q.messages, JSON_ARRAY);
        is_json(&q.tools, JSON_ARRAY);
        is_json(&q.kwargs, JSON_OBJECT);
    }
    request_drop(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    struct span text = span_of(data + 1, size - 1);
    unsigned which = data[0] % (REQUEST_APIS + 1);
    if (which < REQUEST_APIS) {
        body((enum request_api)which, text);
    } else {
        struct request_text t;
        struct refusal why = {0};
        if (!request_text_parse(&t, text, &why)) {
            is_refused(&why);
        }
        request_text_drop(&t);
    }
    return 0;
}
