/* SPDX-License-Identifier: Apache-2.0
 *
 * What describes the model and its tokenizer, in the words of each API: models, tokens, templates. None of it needs the engine.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/server/server_priv.h"
#include "base/hash.h"
#include "base/json.h"

enum { FILE_LIMIT = 4 << 20 };

void handle_health(struct exchange *x) {
    struct str body = {0};
    bool ending = atomic_load(&x->server->ending);
    str_printf(&body, "{\"status\":\"%s\"}", ending ? "ending" : "ok");
    exchange_json(x, ending ? 503 : 200, &body);
}

static void model_object(struct server *s, struct str *out) {
    struct lamina_info info;
    lamina_model_info(s->o.model, &info);
    str_add_text(out, "{\"id\":");
    json_write_string(out, span_of_text(s->o.name));
    str_printf(out, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"lamina\",\"max_model_len\":%u,\"meta\":{",
               s->created,
               s->o.context_tokens);
    str_printf(out, "\"architecture\":\"%s\",\"codec\":\"%s\",\"layers\":%u,\"vocab\":%u", info.architecture, info.codec,
               info.layers,
               info.vocab);
    json_member_u64(out, "weights", info.weights);
    json_member_u64(out, "size", info.store_bytes);
    str_add_text(out, "}}");
}

void handle_models(struct exchange *x) {
    struct str body = {0};
    str_add_text(&body, "{\"object\":\"list\",\"data\":[");
    model_object(x->server, &body);
    str_add_text(&body, "]}");
    exchange_json(x, 200, &body);
}

void handle_model(struct exchange *x) {
    struct str body = {0};
    struct refusal why = {0};
    if (!answer_is_model(&x->server->place, span_of_text(x->rest))) {
        (void)refuse(&why, 404, "invalid_request_error", "model_not_found",
                     "the model \"%.200s\" is not here; this server has \"%.200s\"",
                     x->rest, x->server->o.name);
        exchange_refuse(x, &why);
        return;
    }
    model_object(x->server, &body);
    exchange_json(x, 200, &body);
}

/* ---- tokens ---- */

/* Reads the body, and sees that there is a tokenizer. Refuses otherwise. */
static bool read_text(struct exchange *x, struct request_text *t) {
    struct refusal why = {0};
    bool good = request_text_parse(t, str_span(&x->body), &why);
    if (good && x->server->place.text == NULL) {
        good = refuse(&why, 400, "invalid_request_error", NULL, "this model came without a tokenizer");
    }
    if (good && !answer_is_model(&x->server->place, str_span(&t->model))) {
        good = refuse(&why, 404, "invalid_request_error", "model_not_found", "the model \"%.200s\" is not here",
                      str_text(&t->model));
    }
    if (!good) {
        exchange_refuse(x, &why);
    }
    return good;
}

static void refuse_with(struct exchange *x, lamina_status status, const char *message) {
    struct refusal why = {0};
    refuse_status(&why, status == LAMINA_NO_FIT ? status : LAMINA_USAGE, message);
    exchange_refuse(x, &why);
}

static lamina_status rendered(struct exchange *x, const struct request_text *t, char **prompt, size_t *len,
                              struct lamina_error *err) {
    return lamina_template(x->server->place.text, str_text(&t->messages), t->tools.len > 0 ? str_text(&t->tools) : NULL,
                           t->kwargs.len > 0 ? str_text(&t->kwargs) : NULL, !t->no_generation_prompt, prompt, len, err);
}

void handle_tokenize(struct exchange *x) {
    struct request_text t;
    struct lamina_error err = {0};
    struct str body = {0};
    uint32_t *ids = NULL;
    size_t count = 0;
    char *prompt = NULL;
    size_t len = 0;
    lamina_status status = LAMINA_OK;
    if (!read_text(x, &t)) {
        request_text_drop(&t);
        return;
    }
    if (t.messages.len > 0) {
        status = rendered(x, &t, &prompt, &len, &err);
        status = status == LAMINA_OK ? lamina_tokenize_prompt(x->server->place.text, prompt, len, &ids, &count, &err) : status;
    } else {
        status = answer_text_ids(&x->server->place, str_span(&t.text), t.add_special, &ids, &count, &err);
    }
    if (status < 0) {
        refuse_with(x, status, err.message);
    } else {
        str_printf(&body, "{\"count\":%zu,\"max_model_len\":%u,\"tokens\":[", count, x->server->o.context_tokens);
        for (size_t i = 0; i < count; i++) {
            str_printf(&body, "%s%u", i > 0 ? "," : "", ids[i]);
        }
        str_add_text(&body, "]}");
        exchange_json(x, 200, &body);
    }
    lamina_free(prompt);
    lamina_free(ids);
    request_text_drop(&t);
}

/* A text as a member, under two names where clients differ; or why there is none. */
static void reply_text(struct exchange *x, lamina_status status, const struct lamina_error *err, struct span text, bool twice) {
    struct str body = {0};
    if (status < 0) {
        refuse_with(x, status, err->message);
        return;
    }
    str_add_text(&body, "{\"prompt\":");
    json_write_string(&body, text);
    if (twice) {
        json_member_text(&body, "content", text);
    }
    str_add_text(&body, "}");
    exchange_json(x, 200, &body);
}

void handle_detokenize(struct exchange *x) {
    struct request_text t;
    struct lamina_error err = {0};
    char *bytes = NULL;
    size_t len = 0;
    if (read_text(x, &t)) {
        lamina_status status = lamina_detokenize(x->server->place.text, t.ids, t.count, false, &bytes, &len, &err);
        reply_text(x, status, &err, span_of(bytes, len), true);
    }
    lamina_free(bytes);
    request_text_drop(&t);
}

void handle_template(struct exchange *x) {
    struct request_text t;
    struct lamina_error err = {0};
    char *prompt = NULL;
    size_t len = 0;
    if (read_text(x, &t)) {
        lamina_status status = rendered(x, &t, &prompt, &len, &err);
        reply_text(x, status, &err, span_of(prompt, len), false);
    }
    lamina_free(prompt);
    request_text_drop(&t);
}

/* A small file of the store; empty when it is not there. */
static void read_store_file(struct server *s, const char *name, struct str *out) {
    struct lamina_info info;
    struct str path = {0};
    char block[4096];
    size_t n = 0;
    lamina_model_info(s->o.model, &info);
    str_printf(&path, "%s/%s", info.store_path, name);
    FILE *f = fopen(str_text(&path), "rbe");
    while (f != NULL && out->len < FILE_LIMIT && (n = fread(block, 1, sizeof(block), f)) > 0) {
        str_add(out, block, n);
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    str_drop(&path);
}

/* A special token in tokenizer_config.json: a text, or an object with "content". */
static bool read_special(struct json_reader *r, struct str *out) {
    struct span key;
    if (json_peek(r) == JSON_STRING) {
        return json_string(r, out);
    }
    if (json_peek(r) != JSON_OBJECT) {
        return json_skip(r);
    }
    bool good = json_enter_object(r);
    while (good && json_next_key(r, &key)) {
        good = span_is(key, "content") && json_peek(r) == JSON_STRING ? json_string(r, out) : json_skip(r);
    }
    return good;
}

struct specials {
    struct str eos, bos, pad, chat_template;
};

static void read_specials(struct server *s, struct specials *out) {
    struct str file = {0};
    struct str key_text = {0};
    struct lamina_error err = {0};
    struct json_reader r;
    struct span key;
    read_store_file(s, "tokenizer/chat_template.jinja", &out->chat_template);
    read_store_file(s, "tokenizer/tokenizer_config.json", &file);
    json_init(&r, str_span(&file), "tokenizer_config.json", &key_text, &err);
    bool good = file.len > 0 && json_enter_object(&r);
    while (good && json_next_key(&r, &key)) {
        struct str *at = span_is(key, "eos_token") ? &out->eos : span_is(key, "bos_token") ? &out->bos
                         : span_is(key, "pad_token") ? &out->pad : NULL;
        if (span_is(key, "chat_template") && json_peek(&r) == JSON_STRING && out->chat_template.len == 0) {
            good = json_string(&r, &out->chat_template);
        } else {
            good = at != NULL ? read_special(&r, at) : json_skip(&r);
        }
    }
    str_drop(&file);
    str_drop(&key_text);
}

static void special_member(struct str *out, const char *name, const struct str *text) {
    if (text->len > 0) {
        json_member_text(out, name, str_span(text));
    } else {
        str_printf(out, ",\"%s\":null", name);
    }
}

void handle_tokenizer_info(struct exchange *x) {
    struct server *s = x->server;
    struct specials all = {0};
    struct refusal why = {0};
    struct str body = {0};
    struct lamina_error err = {0};
    uint32_t id = 0;
    uint32_t front[8];
    uint32_t front_count = 0;
    if (s->place.text == NULL) {
        (void)refuse(&why, 404, "invalid_request_error", NULL, "this model came without a tokenizer");
        exchange_refuse(x, &why);
        return;
    }
    read_specials(s, &all);
    while (all.eos.len == 0 && id < s->place.vocab && !lamina_model_ends(s->o.model, id)) {
        id++;
    }
    if (all.eos.len == 0 && id < s->place.vocab) {
        answer_token_text(&s->place, id, &all.eos);
    }
    if (all.bos.len == 0 && lamina_text_front(s->place.text, front, 8, &front_count, &err) == LAMINA_OK && front_count > 0) {
        answer_token_text(&s->place, front[0], &all.bos);
    }
    str_printf(&body, "{\"tokenizer_class\":\"lamina\",\"vocab_size\":%u,\"model_max_length\":%u", s->place.vocab,
               s->o.context_tokens);
    special_member(&body, "eos_token", &all.eos);
    special_member(&body, "bos_token", &all.bos);
    special_member(&body, "pad_token", &all.pad);
    special_member(&body, "chat_template", &all.chat_template);
    str_add_text(&body, "}");
    str_drop(&all.eos);
    str_drop(&all.bos);
    str_drop(&all.pad);
    str_drop(&all.chat_template);
    exchange_json(x, 200, &body);
}

void handle_count_tokens(struct exchange *x) {
    struct refusal why = {0};
    struct str body = {0};
    x->has_answer = true;
    if (!answer_read(&x->answer, &x->server->place, REQUEST_COUNT, str_span(&x->body), &why) || !answer_tokens(&x->answer, &why)) {
        exchange_refuse(x, &why);
        return;
    }
    str_printf(&body, "{\"input_tokens\":%llu}", (unsigned long long)x->answer.prompt_tokens);
    exchange_json(x, 200, &body);
}

/* ---- Ollama ---- */

void handle_ollama_version(struct exchange *x) {
    struct str body = {0};
    str_printf(&body, "{\"version\":\"%s\"}", lamina_version());
    exchange_json(x, 200, &body);
}

static void ollama_details(const struct lamina_info *info, struct str *out) {
    double weights = (double)info->weights;
    str_printf(out, "\"details\":{\"parent_model\":\"\",\"format\":\"lamina\",\"family\":\"%s\",\"families\":[\"%s\"],",
               info->architecture,
               info->architecture);
    bool billions = weights >= 1e9;
    str_printf(out, "\"parameter_size\":\"%.1f%c\"", weights / (billions ? 1e9 : 1e6), billions ? 'B' : 'M');
    str_printf(out, ",\"quantization_level\":\"%s\"}", info->codec);
}

/* One entry of /api/tags or /api/ps. */
static void ollama_model(struct server *s, bool loaded, struct str *out) {
    struct lamina_info info;
    struct str manifest = {0};
    struct tm utc;
    time_t created = (time_t)s->created;
    char when[32];
    uint8_t digest[32] = {0};
    char hex[65];
    lamina_model_info(s->o.model, &info);
    read_store_file(s, "lamina.json", &manifest);
    struct sha256 *h = sha256_open();
    if (h != NULL) {
        (void)(sha256_add(h, str_text(&manifest), manifest.len) && sha256_finish(h, digest));
        sha256_close(&h);
    }
    str_drop(&manifest);
    bytes_to_hex(digest, sizeof(digest), hex);
    gmtime_r(&created, &utc);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &utc);
    str_add_text(out, "{\"name\":");
    json_write_string(out, span_of_text(s->o.name));
    json_member_text(out, "model", span_of_text(s->o.name));
    json_member_u64(out, "size", info.store_bytes);
    str_printf(out, ",\"digest\":\"%s\",\"%s\":\"%s\",", hex, loaded ? "expires_at" : "modified_at", loaded
               ? "9999-12-31T23:59:59Z" : when);
    ollama_details(&info, out);
    if (loaded) {
        str_add_text(out, ",\"size_vram\":0");
        json_member_u64(out, "context_length", s->o.context_tokens);
    }
    str_add_text(out, "}");
}

static void ollama_list(struct exchange *x, bool loaded) {
    struct str body = {0};
    str_add_text(&body, "{\"models\":[");
    ollama_model(x->server, loaded, &body);
    str_add_text(&body, "]}");
    exchange_json(x, 200, &body);
}

void handle_ollama_tags(struct exchange *x) {
    ollama_list(x, false);
}

void handle_ollama_ps(struct exchange *x) {
    ollama_list(x, true);
}

void handle_ollama_show(struct exchange *x) {
    struct server *s = x->server;
    struct request_text t;
    struct refusal why = {0};
    struct lamina_info info;
    struct specials all = {0};
    struct str body = {0};
    bool good = request_text_parse(&t, str_span(&x->body), &why);
    if (good && !answer_is_model(&s->place, str_span(&t.model))) {
        good = refuse(&why, 404, "invalid_request_error", NULL, "model '%.200s' not found", str_text(&t.model));
    }
    if (!good) {
        exchange_refuse(x, &why);
    } else {
        lamina_model_info(s->o.model, &info);
        read_specials(s, &all);
        str_add_text(&body, "{\"modelfile\":\"\",\"parameters\":\"\",\"template\":");
        json_write_string(&body, str_span(&all.chat_template));
        str_add_text(&body, ",");
        ollama_details(&info, &body);
        str_printf(&body, ",\"model_info\":{\"general.architecture\":\"%s\",\"general.parameter_count\":%llu,\"%s.block_count\":%u,"
                          "\"%s.context_length\":%u,\"%s.embedding_length\":%u},\"capabilities\":[\"completion\"]}",
                   info.architecture, (unsigned long long)info.weights, info.architecture, info.layers, info.architecture,
                   info.max_positions, info.architecture, info.hidden);
        exchange_json(x, 200, &body);
    }
    str_drop(&all.eos);
    str_drop(&all.bos);
    str_drop(&all.pad);
    str_drop(&all.chat_template);
    request_text_drop(&t);
}
