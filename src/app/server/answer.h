/* SPDX-License-Identifier: Apache-2.0
 *
 * One request on its way to its answer: read, turned into tokens, given to the engine, and written in the form of the API it came
 * through. One thread at a time; the engine is behind its own lock. No socket here: connections and batches both use it.
 */
#ifndef SERVER_ANSWER_H
#define SERVER_ANSWER_H

#include "app/server/engine.h"
#include "app/server/request.h"

struct answer_choice {
    struct str text;               /* what was not streamed */
    struct engine_piece *first, *last; /* tokens with log-probabilities that are not written yet */
    enum engine_finish finish;
    uint32_t stop;                 /* which stop string, UINT32_MAX: none of the request's */
    uint32_t tokens;
    uint64_t offset;               /* characters before the next token, for text_offset */
    bool begun;                    /* its first piece was written */
};

struct answer;
/* How answers of one API look. Each appends to *out. */
struct answer_form {
    const char *stream_type;       /* of the body, when it is streamed */
    void (*begin)(struct answer *a, struct str *out);
    void (*piece)(struct answer *a, struct engine_piece *p, struct str *out); /* takes the piece; NULL form: kept */
    void (*end)(struct answer *a, struct str *out);
    void (*whole)(struct answer *a, struct str *out);
    void (*alive)(struct answer *a, struct str *out); /* a sign of life that readers skip */
    void (*broken)(const struct refusal *why, struct str *out); /* the error, in a stream that began */
    void (*error)(const struct refusal *why, struct str *out);  /* as a body of its own */
};
extern const struct answer_form form_chat, form_completion, form_ollama, form_anthropic;

/* What answers need of the server; borrowed, does not change. */
struct answer_place {
    struct engine *engine;
    struct lamina_model *model;    /* for what never changes: plan, end tokens, defaults of sampling */
    struct lamina_text *text;      /* may be NULL */
    const char *name;              /* of the model */
    uint32_t context_tokens, vocab, most_positions;
    struct lamina_sampling sampling; /* the model's defaults */
    uint32_t anchor;               /* a token that others are decoded behind, see answer_token_text */
    uint32_t anchor_len;
    char fingerprint[32];
};

/* What the engine reads too, as long as it works on it. */
struct answer_input {
    struct request request;
    struct engine_prompt *prompts; /* heap; ids malloc'ed */
    uint32_t prompt_count;
    const char *stops[REQUEST_MAX_STOPS];
};

struct answer {
    const struct answer_place *place;
    const struct answer_form *form;
    struct answer_input *in;       /* the job's once there is one */
    struct engine_job *job;
    struct answer_choice *choices; /* heap */
    uint32_t choice_count;
    uint64_t prompt_tokens;
    char id[48];
    int64_t created;
    uint64_t begin_ns, first_ns;   /* first_ns: of the first token, 0: none yet */
    bool streaming, ended, background;
};

void answer_place_init(struct answer_place *p);

/* Reads the request; false fills *why. Close after both. */
bool answer_read(struct answer *a, const struct answer_place *place, enum request_api api, struct span body, struct refusal *why);
/* Makes tokens of its prompts; what they were made of goes. */
bool answer_tokens(struct answer *a, struct refusal *why);
/* What its prompts hold until it is closed. */
uint64_t answer_input_bytes(const struct answer *a);
/* To the engine. */
bool answer_submit(struct answer *a, struct refusal *why);
/* Takes what is there, waiting at most wait_ms; streamed answers are appended to *out. True: the answer has ended. */
bool answer_pump(struct answer *a, unsigned wait_ms, struct str *out);
/* Whether an ended answer failed, and why. */
bool answer_failed(struct answer *a, struct refusal *why);
void answer_close(struct answer *a);

/* A status of the library as a refusal. */
void refuse_status(struct refusal *why, lamina_status status, const char *message);
const struct answer_form *answer_form_of(enum request_api api);
/* The text of one token where text stands before it; appends. */
void answer_token_text(const struct answer_place *p, uint32_t id, struct str *out);
/* Ids of a text; special tokens in it are recognised. `add`: with what the tokenizer adds to every text, in front only where the
 * text does not begin with it. malloc'ed: lamina_free. */
lamina_status answer_text_ids(const struct answer_place *p, struct span text, bool add, uint32_t **ids, size_t *count,
                              struct lamina_error *err);
bool answer_is_model(const struct answer_place *p, struct span name);
void answer_random_id(char *out, size_t size, const char *prefix);
uint64_t answer_completion_tokens(const struct answer *a);
/* ,"NAME":"VALUE" and the like: members of objects. */
void json_member_text(struct str *out, const char *name, struct span value);
void json_member_u64(struct str *out, const char *name, uint64_t value);

#endif
