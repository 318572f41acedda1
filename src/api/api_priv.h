/* SPDX-License-Identifier: Apache-2.0
 * What the files of the library's face share. Never leaves the room. */
#ifndef API_API_PRIV_H
#define API_API_PRIV_H

#include "base/log.h"
#include "exec/exec.h"
#include "exec/program.h"
#include "gen/session.h"
#include "io/io.h"
#include "lamina/lamina.h"
#include "plan/plan.h"
#include "store/store.h"
#include "text/chat.h"
#include "text/tokenizer.h"

enum { API_STOPS = 16 };
struct lamina_text {
    struct text_tokenizer *tokenizer;
    struct chat_template *chat;
    struct model_generation generation;
    bool has_generation;
    /* What ends an answer beside the end tokens of the configs. */
    uint32_t stop_ids[API_STOPS];
    uint32_t stop_id_count;
    char *stops[API_STOPS];       /* texts, malloc'ed */
    uint32_t stop_count;
};

/* Everything known before memory is taken: shared by planning and opening, so that both see the same sizes. */
struct api_prepared {
    struct lamina_settings settings;
    struct log_sink log;
    struct str store_path;
    struct store *store;
    struct lamina_text *text;     /* NULL: the model came without tokenizer files */
    struct dev *dev;
    uint32_t threads;
    uint32_t cpu_flags;
    struct io_probe_result drive; /* bytes_per_s 0: not measured */
    uint64_t budget_bytes;
    struct program program;
    struct plan plan;
};

struct lamina_model {
    struct api_prepared p;
    struct exec *exec;
    struct lamina_plan plan;
    uint32_t open_sessions;
    struct exec_row *rows;        /* [prompt_rows] of the pass at hand, of whatever session */
    struct session **batch;       /* [sequences] of the lamina_batch_feed or lamina_prompts_feed at hand */
    uint32_t eos[32 + API_STOPS];
    uint32_t eos_count;
};

struct lamina_session {
    struct lamina_model *model;
    struct session s;
};

/* Fills *p; api_prepared_drop after failures too. A plan that does not fit is not a failure here. */
lamina_status api_prepare(struct api_prepared *p, const char *path, const struct lamina_settings *settings,
                          struct lamina_error *err);
void api_prepared_drop(struct api_prepared *p);
void api_plan_to_public(const struct api_prepared *p, struct lamina_plan *out);

/* The drive below a store: from the cache in `home`, else probed with its largest file. Stores too small to probe give
 * bytes_per_s 0 and a geometry that works everywhere. */
lamina_status api_drive_of_store(const struct store *store, const char *home, bool again, struct io_probe_result *result,
                                 bool *cached, struct lamina_error *err);

/* `home` as given, else the default place. */
lamina_status api_home(const char *given, struct str *home, struct lamina_error *err);

/* Where the small files of a model are: a directory, or a checkpoint that makes them (GGUF). */
struct api_place {
    const char *dir;
    const struct lamina_source *source; /* NULL: the directory */
};
/* A small file, empty when it is not there; sys_unload it. */
lamina_status api_load(const struct api_place *place, const char *name, uint64_t limit, struct span *out,
                       struct lamina_error *err);
/* The most bytes of a configuration or template (reference/reliability.md 5.2). */
enum { API_CONFIG_LIMIT = 64 << 20 };

/* Fills t->chat (NULL: nothing says how to talk to it) and the stops; t->tokenizer must be open. */
struct api_chat_files {
    struct span config, tokenizer_config, special_tokens_map, generation;
    const char *given;            /* lamina_text_options.chat_template */
};
/* Failures say where: they begin with the place, or with the file that was given. */
lamina_status api_chat_open(struct lamina_text *t, const struct api_place *place, const struct api_chat_files *files,
                            struct lamina_error *err);
void api_chat_drop(struct lamina_text *t);

lamina_status api_text_open_at(struct lamina_text **text, const struct api_place *place, const char *chat_template,
                               struct lamina_error *err);

#endif
