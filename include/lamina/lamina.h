/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina: language models far larger than memory, streamed from disk under a hard memory budget.
 *
 * Everything the programs do goes through this header. Objects:
 *     model    an opened store (or a checkpoint directory or GGUF file, split on first use) with its plan and its memory
 *     session  one sequence over a model: feed tokens, get logits or the next token
 *     text     a tokenizer and chat template, usable without weights
 *
 * Rules that hold everywhere. A function that can fail returns 0 or a negative code and fills `err` with a sentence for
 * a person; out-parameters are then untouched. The library never prints, never exits. A handle is used by one thread at
 * a time (a `text` by many); different handles may be used at the same time. `open` takes settings from a defaults function
 * and copies what it needs; `close` accepts a pointer to NULL and sets the caller's handle to NULL. Strings are UTF-8, 0-ended.
 * Sizes are bytes unless the name says otherwise.
 */
#ifndef LAMINA_LAMINA_H
#define LAMINA_LAMINA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lamina/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LAMINA_VERSION "0.1.0"

LAMINA_API const char *lamina_version(void);

/* ---- settings ------------------------------------------------------------------------------------------------ */

enum lamina_io_engine { LAMINA_IO_AUTO, LAMINA_IO_URING, LAMINA_IO_THREADS, LAMINA_IO_SIM };
enum lamina_kv_type { LAMINA_KV_F16, LAMINA_KV_F32 };
enum lamina_progress_kind {
    LAMINA_PROGRESS_SPLIT,
    LAMINA_PROGRESS_VERIFY,
    LAMINA_PROGRESS_PROMPT,  /* of lamina_session_feed: done and total are tokens */
    LAMINA_PROGRESS_PROMPTS, /* of lamina_prompts_feed, after each pass: done and total are tokens */
};

struct lamina_progress {
    enum lamina_progress_kind kind;
    uint64_t done_bytes;
    uint64_t total_bytes; /* 0: unknown */
    uint64_t elapsed_ns;  /* since this job began in this process */
    uint64_t resumed_bytes; /* part of done_bytes that an earlier run had finished */
    const char *what;     /* file or stage at hand */
};

/* Callbacks come on the calling thread. Returning true from `progress` asks the job to stop (INTERRUPTED). */
struct lamina_callbacks {
    void (*log)(void *user, int level, const char *text); /* level 0 warning, 1 note, 2 debug */
    bool (*progress)(void *user, const struct lamina_progress *p);
    /* Which experts of a layer the rows of a pass chose: chosen[i] is nonzero for those among `count`. */
    void (*experts)(void *user, uint32_t layer, const uint8_t *chosen, uint32_t count);
    /* A pass begins layer `layer`, counted from 0. lamina_model_stats may be called from here; nothing may be fed. */
    void (*layer)(void *user, uint32_t layer);
    void *user;
};

struct lamina_settings {
    size_t size;              /* sizeof(struct lamina_settings), set by the defaults function */
    const char *home;         /* LAMINA_HOME: stores and caches; NULL: ~/.cache/huggingface/lamina and its variables */
    uint64_t memory_bytes;    /* hard cap on the whole process; 0: 60 % of what is available now; UINT64_MAX: no cap */
    uint32_t context_tokens;  /* most positions of one sequence; 0: as many as the model was made for, at most 4096 */
    uint32_t sequences;       /* sequences held at once; default 1 */
    uint32_t prompt_rows;     /* most rows of a prefill pass; 0: chosen by the plan. Never changes a result */
    uint32_t logit_rows;      /* rows of one pass whose logits are kept; default 1; prefill with scores and batches need more */
    uint32_t threads;         /* compute threads; 0: one per physical core allowed to this process */
    enum lamina_io_engine io;
    enum lamina_kv_type kv;
    bool read_ahead;          /* default true; false reads a layer's tiles only when its turn has come */
    bool pin;                 /* default true: keep tiles resident in memory left over */
    const char *isa;          /* most capable instruction set to use: "scalar", "avx2", "avx512", "neon"; NULL: best */
    const char *sim;          /* options of the simulated I/O engine, for tests; see io/io.h */
    struct lamina_callbacks callbacks;
    const char *chat_template; /* of the model's text, as in struct lamina_text_options: what ends an answer follows it */
};

LAMINA_API void lamina_settings_defaults(struct lamina_settings *s);

/* ---- plan ---------------------------------------------------------------------------------------------------- */

struct lamina_plan_line {
    char name[32];        /* "pinned tiles", "ring", "KV cache", "activations", ... */
    uint64_t bytes;
    char note[96];
};

/* What a run will take, before it takes it. All sizes in bytes. */
struct lamina_plan {
    size_t size;
    uint64_t budget_bytes;         /* what the user allowed */
    uint64_t total_bytes;          /* sum of the lines: the forecast peak of the whole process */
    uint64_t smallest_budget_bytes;/* the smallest budget that fits this request, a whole number of MiB */
    uint64_t model_bytes;          /* bytes of weights in the store */
    uint64_t streamed_bytes;       /* weight bytes read from disk in one pass once pinned tiles are loaded */
    uint64_t pinned_bytes;         /* room for tiles that every pass reads */
    uint64_t expert_cache_bytes;   /* room for experts */
    uint64_t ring_bytes;
    uint64_t request_bytes;        /* of one read */
    uint32_t depth;                /* reads in flight */
    uint32_t prompt_rows;
    uint32_t context_tokens;
    uint32_t layers;
    uint32_t vocab;
    uint32_t max_positions;        /* that the model was made for: a longer context only warns */
    uint32_t most_positions;       /* that a sequence can have: a table of learned ones ends; UINT32_MAX: context alone limits */
    uint32_t threads;
    double disk_bytes_per_s;       /* the drive's limit as probed, 0 when not measured */
    double s_per_token;            /* forecast for one sequence, 0 when the drive was not measured */
    double bytes_per_token;
    uint32_t best_batch;           /* rows at which computing takes as long as reading (forecast), 0: unknown */
    uint32_t line_count;
    struct lamina_plan_line line[24];
    char model[128];               /* architecture and dimensions in words */
    bool sees_ahead;               /* all of a prompt sees all of it: its positions do not predict the tokens after them */
    bool fits;                     /* false: smallest_budget_bytes > budget_bytes; the other figures then describe the smallest */
};

/* Plans without loading. `model` as in lamina_model_open. Splits an unsplit checkpoint first. */
LAMINA_API lamina_status lamina_plan_make(const char *model, const struct lamina_settings *s, struct lamina_plan *plan,
                                          struct lamina_error *err);

/* ---- model --------------------------------------------------------------------------------------------------- */

struct lamina_model;

struct lamina_info {
    size_t size;
    char architecture[64];
    char codec[16];
    uint32_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab, max_positions;
    bool tied;
    bool synthetic;            /* store with repeated layers: for measuring, reports say so */
    uint64_t weights;          /* number of weights, padding excluded */
    uint64_t model_bytes;      /* weight bytes in the store */
    uint64_t store_bytes;      /* all files */
    double bits_per_weight;    /* of coded matrices */
    double store_bits_per_weight;
    const char *store_path;    /* valid while the model is open */
};

/* `model` is a store directory, a checkpoint directory (HF layout) or a GGUF file; the last two are split on first use into
 * `home`, and again when their files changed. Takes all memory of the plan. Errors: NOT_FOUND, UNSUPPORTED, NO_FIT (names
 * the smallest budget), DAMAGED, NO_SPACE, IO, BUSY. */
LAMINA_API lamina_status lamina_model_open(struct lamina_model **model, const char *path,
                                           const struct lamina_settings *s, struct lamina_error *err);
LAMINA_API void lamina_model_close(struct lamina_model **model);
LAMINA_API void lamina_model_info(const struct lamina_model *model, struct lamina_info *info);
LAMINA_API const struct lamina_plan *lamina_model_plan(const struct lamina_model *model);
/* Whether this token ends an answer. */
LAMINA_API bool lamina_model_ends(const struct lamina_model *model, uint32_t id);

/* Running totals since open. Peak memory is max(VmHWM + huge pages + page tables) of this process. */
struct lamina_stats {
    size_t size;
    uint64_t bytes_read, tiles_read, tiles_verified, passes, rows;
    uint64_t expert_bytes_chosen;  /* sizes of the experts that passes needed, 0: no layer has experts */
    uint64_t expert_bytes_cached;  /* of these, what the expert cache held: the rest was read */
    uint64_t memory_budget_bytes, peak_memory_bytes;
    double read_wait_s;    /* computing had nothing to do because bytes were not there yet */
    double decode_s;       /* checking tiles; decoding blocks of them on the way to a product is computing */
    double compute_s, other_s;
    double pass_s;         /* wall time inside passes */
    double drive_idle_s;   /* of it, while no read was in flight: the drive waited for computing, or nothing is streamed */
    double disk_bytes_per_s;       /* bytes_read over the wall time of passes */
    double disk_limit_bytes_per_s; /* as probed, 0: not measured */
    char io_engine[32];
    char isa[16];
    char numerics[16];
};
LAMINA_API void lamina_model_stats(const struct lamina_model *model, struct lamina_stats *stats);

/* The time of passes since open, part by part: the embedding, each layer, the head. Stages as in lamina_stats: means over the
 * workers; `decode_s` is the checking of tiles, what is decoded block by block on the way to a product counts as computing. */
struct lamina_part {
    size_t size;
    char name[24];         /* "embedding", "layer 0", ..., "head" */
    double read_wait_s, decode_s, compute_s, other_s;
    double pass_s;         /* wall time: their sum */
};
/* Part `index`, counted from 0; false past the last one. */
LAMINA_API bool lamina_model_part(const struct lamina_model *model, uint32_t index, struct lamina_part *part);

/* ---- session ------------------------------------------------------------------------------------------------- */

struct lamina_session;

/* Added to the logit of one token before anything else is done with it. */
struct lamina_bias {
    uint32_t id;
    float value; /* -100 to 100 */
};

/* temperature 0 is greedy. top_k 0, top_p 1, min_p 0, repetition_penalty 1, presence_penalty 0, frequency_penalty 0 switch a
 * filter off. */
struct lamina_sampling {
    size_t size;
    float temperature, top_p, min_p, repetition_penalty;
    uint32_t top_k;
    uint64_t seed;
    uint64_t sequence; /* key of the counter-based generator beside seed and position */
    /* Taken off the logits of tokens made since this was set: once for any that is there, and once for each time. A prompt is not
     * among them. -2 to 2. */
    float presence_penalty, frequency_penalty;
    const struct lamina_bias *bias; /* [bias_count], copied; of several for one id the last counts */
    uint32_t bias_count;
};
LAMINA_API void lamina_sampling_defaults(struct lamina_sampling *s);          /* neutral: greedy */
LAMINA_API void lamina_sampling_of_model(const struct lamina_model *model, struct lamina_sampling *s); /* generation_config.json */

/* A sequence of at most settings.context_tokens positions; at most settings.sequences are open at once. */
LAMINA_API lamina_status lamina_session_open(struct lamina_session **session, struct lamina_model *model,
                                             struct lamina_error *err);
LAMINA_API void lamina_session_close(struct lamina_session **session);
LAMINA_API lamina_status lamina_session_sampling(struct lamina_session *session, const struct lamina_sampling *s,
                                                 struct lamina_error *err);

/* Scores of prompt positions, filled by lamina_session_feed when given. Arrays of the caller. */
struct lamina_scores {
    uint32_t *argmax;      /* [count] arg-max id after each position */
    float *logprob_next;   /* [count - 1] log-probability of the token that actually follows */
};

/* Appends tokens and computes them (prefill); afterwards the logits of the last one are available. The first feed must
 * bring the whole prompt (length-dependent RoPE takes its factor from it). `scores` may be NULL.
 * USAGE when an id is out of range, the context would overflow or count is 0. */
LAMINA_API lamina_status lamina_session_feed(struct lamina_session *session, const uint32_t *ids, uint32_t count,
                                             struct lamina_scores *scores, struct lamina_error *err);

/* Appends ids[i] to sessions[i], one token for each of `count` different sessions of one model, and computes all of them in
 * one pass: the weights are read once for the whole batch. Afterwards each session has its logits, the same bits as fed alone.
 * After a failure every session has the length it had before. Each session's first feed brings its whole prompt, as above.
 * USAGE when count is 0 or more than settings.sequences, settings.logit_rows or the plan's prompt_rows, when a session is given
 * twice or belongs to another model, when an id is out of range or a context would overflow. */
LAMINA_API lamina_status lamina_batch_feed(struct lamina_session *const *sessions, const uint32_t *ids, uint32_t count,
                                           struct lamina_error *err);

/* A whole prompt for one sequence of a lamina_prompts_feed. Logits are wanted of rows first_row .. first_row + row_count - 1,
 * where row 0 is ids[0]; row_count 0: of none. */
struct lamina_prompt {
    struct lamina_session *session;
    const uint32_t *ids;
    uint32_t count;
    uint32_t first_row, row_count;
};
struct lamina_prompts {
    const struct lamina_prompt *prompt; /* [count], of different sessions of one model */
    uint32_t count;
    /* Called for each wanted row, in order of prompts and rows, with its logits, fp32 [vocab] and all finite; they are valid
     * during the call. True asks to stop (INTERRUPTED). It must not feed, open or close sessions of the model. */
    bool (*on_row)(void *user, uint32_t prompt, uint32_t row, const float *logits);
    void *user;
};

/* Appends each prompt's ids to its session and computes all of them in as few passes as settings.prompt_rows and
 * settings.logit_rows allow: each pass reads the weights once for all its rows. Logits are the same bits as fed alone, however
 * the passes fall. Afterwards a session has logits when its last row wanted them and lay in the last pass. Each session's first
 * feed brings its whole prompt, as above. After a failure every session has the length it had before.
 * USAGE when count is 0 or more than settings.sequences, when a session is given twice or belongs to another model, when an id is
 * out of range, a context would overflow, wanted rows are not there, or a prompt that is one pass by the model's nature does not
 * fit one; DAMAGED when logits are not finite; INTERRUPTED by on_row or the progress callback. */
LAMINA_API lamina_status lamina_prompts_feed(const struct lamina_prompts *prompts, struct lamina_error *err);

/* Logits of the last position, fp32 [vocab]; valid until the next pass of any session of the model. NULL before the first feed,
 * after a failed one, and once such a pass has run. */
LAMINA_API const float *lamina_session_logits(const struct lamina_session *session);

/* The hidden state of the last position behind the final norm, fp32 [hidden]: what the head makes the logits from. Valid, and
 * NULL, as lamina_session_logits. */
LAMINA_API const float *lamina_session_hidden(const struct lamina_session *session);

/* Chooses the next token from the current logits; does not compute it yet (the next feed of it does). USAGE when there are none,
 * or when another session was computed since. */
LAMINA_API lamina_status lamina_session_sample(struct lamina_session *session, uint32_t *id, struct lamina_error *err);

LAMINA_API uint32_t lamina_session_length(const struct lamina_session *session); /* positions computed so far */
/* Forgets positions from `length` on. Where recurrent layers keep a state, the next feed computes the positions before it again.
 * USAGE when there are fewer, or when it cuts into a first feed whose positions see each other (plan.sees_ahead). */
LAMINA_API lamina_status lamina_session_truncate(struct lamina_session *session, uint32_t length,
                                                 struct lamina_error *err);

/* The tokens computed so far, [lamina_session_length]; valid until the next feed, truncation or load. */
LAMINA_API const uint32_t *lamina_session_tokens(const struct lamina_session *session);

/* Writes the session to the file `path`, replacing what is there in one step when all of it is safely on disk: its tokens, its
 * KV cache and the states of recurrent layers, in whatever precision they are kept, bound to the store by the checksum of its
 * manifest. The file has mode 0600 and about as many bytes as the session's positions take in memory (format:
 * src/state/kv_file.h). It is written from that memory page by page, so no budget is touched. Sampling settings are not in it.
 * USAGE when nothing was computed yet; NO_SPACE, IO: the old file, if any, is still there. */
LAMINA_API lamina_status lamina_session_save(struct lamina_session *session, const char *path, struct lamina_error *err);
/* Puts the session where the saved one was, in place of whatever it holds: what is fed next gives the same logits, bit for bit,
 * as if it had never been saved. There are no logits before that. After a failure the session is empty and usable.
 * NOT_FOUND; DAMAGED when the file is cut short or has other bytes than were written; UNSUPPORTED when it is no saved session, or
 * one of another store, KV precision or format version; USAGE when it has more positions than the context. A file that was made
 * to deceive can make wrong logits, nothing worse. */
LAMINA_API lamina_status lamina_session_load(struct lamina_session *session, const char *path, struct lamina_error *err);

enum lamina_stop_reason { LAMINA_STOP_NONE, LAMINA_STOP_EOS, LAMINA_STOP_STRING, LAMINA_STOP_LENGTH, LAMINA_STOP_CALLER };

struct lamina_generate {
    size_t size;
    uint32_t max_tokens;
    bool ignore_eos;
    const char *const *stop;   /* stop strings; the text ends before the first that appears */
    uint32_t stop_count;
    /* Called with complete UTF-8 text as it becomes certain (text may be empty), and each id. True stops. */
    bool (*on_text)(void *user, const char *text, size_t len, uint32_t id);
    void *user;
    /* filled: */
    uint32_t new_tokens;
    enum lamina_stop_reason reason;
    double ttft_s, wall_s;     /* from the call to the first token, and to the end */
};
LAMINA_API void lamina_generate_defaults(struct lamina_generate *g);

/* Feeds the prompt, then samples and feeds until a stop. The model must have a tokenizer when on_text or stop is used.
 * INTERRUPTED is not an error of this function: the caller stops through on_text. */
LAMINA_API lamina_status lamina_session_generate(struct lamina_session *session, const uint32_t *prompt,
                                                 uint32_t prompt_count, struct lamina_generate *g,
                                                 struct lamina_error *err);

/* ---- scoring ------------------------------------------------------------------------------------------------- */

/* Adds up how well rows of logits foretell a text, and how far they are from another model's: fp64, in the order of the
 * calls, the same bits on every machine. Perplexity and its error as ggml's perplexity tool has them. */
struct lamina_tally;

struct lamina_tally_result {
    size_t size;
    uint64_t tokens;                 /* rows added or compared */
    double mean_nll;                 /* nats; the figures below are 0 without a row */
    double ppl, ppl_error;           /* exp(mean_nll), and the standard error of the mean carried through exp */
    /* Of compared rows, else 0: */
    double reference_ppl, reference_ppl_error;
    double ratio, ratio_error;       /* ppl / reference_ppl; its error from the differences token by token */
    double mean_kl, mean_kl_error;   /* KL(reference || model), nats */
    double same_top, same_top_error; /* share of rows whose likeliest token is the same */
    double rms_p_diff, rms_p_diff_error; /* root mean square difference of the probability of the token that follows */
};

/* `compared_rows`: most rows of lamina_tally_compare; 8 bytes of memory each, taken here. */
LAMINA_API lamina_status lamina_tally_open(struct lamina_tally **tally, uint64_t compared_rows, struct lamina_error *err);
LAMINA_API void lamina_tally_close(struct lamina_tally **tally);
/* `next` is the token that follows the row. DAMAGED where logits are NaN or +infinity, or all are -infinity. */
LAMINA_API lamina_status lamina_tally_add(struct lamina_tally *tally, const float *logits, uint32_t vocab, uint32_t next,
                                          struct lamina_error *err);
LAMINA_API lamina_status lamina_tally_compare(struct lamina_tally *tally, const float *reference, const float *logits,
                                              uint32_t vocab, uint32_t next, struct lamina_error *err);
LAMINA_API void lamina_tally_result(const struct lamina_tally *tally, struct lamina_tally_result *result);
/* The divergence that `percent` (0 to 100) of the compared rows do not exceed, linear between neighbours: 50 is the median,
 * 100 the maximum. 0 without rows. */
LAMINA_API double lamina_tally_kl_percentile(struct lamina_tally *tally, double percent);

/* Adds up how near answers come to the right ones. An answer is right when a reference has the same words: letters, marks and
 * digits of any script, case folded and composed, whatever stands between them ("3.5" and "-5" stay numbers). ROUGE-L and BLEU
 * are the figures of the packages rouge_score (F1, no stemming, best reference) and sacrebleu (of all answers together, 13a
 * tokens, exponential smoothing, brevity penalty). */
struct lamina_answers;

struct lamina_answers_result {
    size_t size;
    uint64_t count, right;
    double rouge_l; /* 0 to 1, mean over the answers */
    double bleu;    /* 0 to 100 */
};

LAMINA_API lamina_status lamina_answers_open(struct lamina_answers **answers, struct lamina_error *err);
LAMINA_API void lamina_answers_close(struct lamina_answers **answers);
/* `text` need not end in 0. USAGE when count is 0. */
LAMINA_API lamina_status lamina_answers_add(struct lamina_answers *answers, const char *text, size_t len,
                                            const char *const *references, uint32_t count, struct lamina_error *err);
LAMINA_API void lamina_answers_result(const struct lamina_answers *answers, struct lamina_answers_result *result);

/* ---- text ---------------------------------------------------------------------------------------------------- */

/* Does not change once it is open: any number of threads may use one at the same time. */
struct lamina_text;

/* From a store, a checkpoint directory, a GGUF file, or a directory that holds only tokenizer files. NOT_FOUND when there are
 * none. */
LAMINA_API lamina_status lamina_text_open(struct lamina_text **text, const char *path, struct lamina_error *err);

struct lamina_text_options {
    size_t size;               /* sizeof(struct lamina_text_options), set by the defaults function */
    /* In place of all templates that come with the model: the name of a built-in chat format, else a file with a Jinja template;
     * "./NAME" is a file in any case. NULL: the model's. */
    const char *chat_template;
};
LAMINA_API void lamina_text_defaults(struct lamina_text_options *o);
/* lamina_text_open with options (NULL: the defaults). NOT_FOUND also when chat_template is neither; UNSUPPORTED when the format
 * needs tokens that this tokenizer lacks; a template that cannot be parsed is refused with line and column. */
LAMINA_API lamina_status lamina_text_open_with(struct lamina_text **text, const char *path, const struct lamina_text_options *o,
                                               struct lamina_error *err);
LAMINA_API void lamina_text_close(struct lamina_text **text);
/* The model's own, NULL when it came without tokenizer files. Owned by the model. */
LAMINA_API struct lamina_text *lamina_model_text(struct lamina_model *model);

/* Text to ids. `special` true: post-processor tokens (BOS...) are added and special tokens in the text are recognised;
 * false: neither. *ids is malloc'ed for the caller (lamina_free). */
LAMINA_API lamina_status lamina_tokenize(struct lamina_text *text, const char *bytes, size_t len, bool special,
                                         uint32_t **ids, size_t *count, struct lamina_error *err);
/* As lamina_tokenize, for a rendered chat prompt: special tokens in it are recognised; none is added, unless the template is a
 * built-in one, which leaves to the tokenizer what it adds to every text. */
LAMINA_API lamina_status lamina_tokenize_prompt(struct lamina_text *text, const char *bytes, size_t len, uint32_t **ids,
                                                size_t *count, struct lamina_error *err);
LAMINA_API lamina_status lamina_detokenize(struct lamina_text *text, const uint32_t *ids, size_t count,
                                           bool skip_special, char **bytes, size_t *len, struct lamina_error *err);
/* What the tokenizer puts in front of every text (BOS, mostly): up to `most` ids, *count of them; 0: nothing. USAGE when it
 * puts more than that. */
LAMINA_API lamina_status lamina_text_front(struct lamina_text *text, uint32_t *ids, uint32_t most, uint32_t *count,
                                           struct lamina_error *err);
/* Ids to text one by one: text comes out as soon as later ids cannot change it, always whole UTF-8 sequences, and the pieces are
 * together what lamina_detokenize makes of all. `text` stays open. */
struct lamina_decoder;
LAMINA_API lamina_status lamina_decoder_open(struct lamina_decoder **decoder, struct lamina_text *text, bool skip_special,
                                             struct lamina_error *err);
LAMINA_API void lamina_decoder_close(struct lamina_decoder **decoder);
/* *bytes is the decoder's, valid until its next call. */
LAMINA_API lamina_status lamina_decoder_add(struct lamina_decoder *decoder, uint32_t id, const char **bytes, size_t *len,
                                            struct lamina_error *err);
/* What was held back: no id follows. The decoder then begins anew. */
LAMINA_API lamina_status lamina_decoder_finish(struct lamina_decoder *decoder, const char **bytes, size_t *len,
                                               struct lamina_error *err);
/* A text that ends an answer by what the model's files say, counted from 0; NULL past the last one. */
LAMINA_API const char *lamina_text_stop(const struct lamina_text *text, uint32_t index);
LAMINA_API bool lamina_text_has_template(const struct lamina_text *text);
LAMINA_API uint32_t lamina_text_vocab(const struct lamina_text *text); /* ids are below this */

/* messages: a JSON list [{"role":..., "content":...}, ...]; tools: a JSON list or NULL; kwargs: a JSON object of extra
 * template variables or NULL. *prompt is malloc'ed (lamina_free). */
LAMINA_API lamina_status lamina_template(struct lamina_text *text, const char *messages, const char *tools,
                                         const char *kwargs, bool add_generation_prompt, char **prompt, size_t *len,
                                         struct lamina_error *err);

LAMINA_API void lamina_free(void *p);

/* ---- split, verify, show ------------------------------------------------------------------------------------- */

/* A checkpoint as the splitter sees it: tensors by name, bytes on demand, a few small files. The built-in source reads
 * HF directories and GGUF files; a program may bring its own (the inflate tool does). Calls come from one thread at a time. */
struct lamina_source_tensor {
    const char *name;
    const char *dtype; /* "BF16", "F16", "F32", "I32", ... as in safetensors; blocks as in GGUF: "Q4_K" */
    uint32_t rank;
    uint64_t shape[8];
};
struct lamina_source {
    size_t size;
    void *user;
    uint32_t tensor_count;
    lamina_status (*tensor)(void *user, uint32_t index, struct lamina_source_tensor *out, struct lamina_error *err);
    /* Reads `len` bytes of the tensor's row-major little-endian data from byte `offset`. */
    lamina_status (*read)(void *user, uint32_t index, uint64_t offset, void *dst, size_t len, struct lamina_error *err);
    /* Small files (config.json, tokenizer.json, ...): *bytes is malloc'ed, *len its length; NOT_FOUND when absent. */
    lamina_status (*file)(void *user, const char *name, char **bytes, size_t *len, struct lamina_error *err);
    uint32_t distinct_layers; /* 0: all. N: layers >= N are hard links to earlier ones, see lamina_split */
    uint32_t first_repeated;  /* with distinct_layers: layer i >= N equals layer first + (i - first) % (N - first) */
};
LAMINA_API lamina_status lamina_source_open(struct lamina_source **source, const char *checkpoint,
                                            struct lamina_error *err);
LAMINA_API void lamina_source_close(struct lamina_source **source);

/* Weight files of a checkpoint that are still on their way here. The directory of the checkpoint holds its small files
 * (config.json, the index of shards, the tokenizer); its safetensors files are `files`, in the order in which they come, and are
 * read through the functions alone. A split of such a checkpoint makes its outputs in the order in which what they are made of
 * arrives, and says what it needs no more, so that no more of the source has to lie on the drive than is at work. The store is the
 * same, byte for byte, as that of the checkpoint on the drive. Calls come from the thread that splits. */
struct lamina_arriving_file {
    const char *name;     /* "model-00001-of-00004.safetensors" */
    const char *identity; /* what it holds, in a word: its checksum */
    uint64_t size;
};
struct lamina_arriving {
    size_t size; /* sizeof(struct lamina_arriving) */
    void *user;
    const struct lamina_arriving_file *files;
    uint32_t file_count;
    uint64_t window_bytes; /* how far beyond what was read bytes may come; for the reckoning of `planned` */
    /* Waits until the bytes are there. `look`: out of turn, to see what the file holds; what lies before need not come for it. */
    lamina_status (*read)(void *user, uint32_t file, uint64_t offset, void *dst, size_t len, bool look,
                          struct lamina_error *err);
    /* These bytes will not be read again, unless this run is killed before the output at work is done. Each byte is said once. */
    lamina_status (*release)(void *user, uint32_t file, uint64_t begin, uint64_t end, struct lamina_error *err);
    /* What was read so far can be proved to be what was announced even after a power cut: asked before an output is called done. */
    lamina_status (*sync)(void *user, struct lamina_error *err);
    /* The most bytes that store and source will take on the drive at one time, and of these the finished store's (about, where
     * it is packed). A failure ends the split before anything was written. */
    lamina_status (*planned)(void *user, uint64_t most_bytes, uint64_t store_bytes, struct lamina_error *err);
    /* SHA-256 of piece `piece` of 64 MiB of a file, once all of the file has come and was found to be what was announced. */
    lamina_status (*digest)(void *user, uint32_t file, uint32_t piece, uint8_t sha256[32], struct lamina_error *err);
};

struct lamina_split_options {
    size_t size;
    const char *checkpoint;            /* an HF directory or a GGUF file; or NULL with */
    const struct lamina_source *source;/* a source of the caller's */
    const struct lamina_arriving *arriving; /* NULL, or the weights of `checkpoint` (a directory), which are not there yet; needs
                                             * `output`, knows neither fit_bytes nor delete_original; no quantised weights */
    const char *output;                /* the store directory; NULL: its place in `home` */
    const char *home;
    const char *codec;                 /* "planes", the default: weights packed without loss; "raw": as they are; lossy:
                                        * "q8" (7.3 bits a weight of the layers' matrices), "q4" (4.2), "q2.00" to "q8.00" */
    uint64_t fit_bytes;                /* not 0: the codec of the most bits with which the store takes at most so many bytes */
    bool delete_original;              /* frees each source file once everything made from it is durable */
    struct lamina_callbacks callbacks;
};
LAMINA_API void lamina_split_defaults(struct lamina_split_options *o);
/* Makes or completes the store. *store (may be NULL) gets its path, malloc'ed. Under 64 MiB of memory for any model. */
LAMINA_API lamina_status lamina_split(const struct lamina_split_options *o, char **store, struct lamina_error *err);

struct lamina_verify_result {
    size_t size;
    uint64_t files, bytes, tiles, damaged;
    char first_damage[512]; /* file, offset, what */
};
/* Reads every byte of every file. DAMAGED when anything differs. `source`: also hash the checkpoint again. */
LAMINA_API lamina_status lamina_verify(const char *model, const char *home, const char *source,
                                       const struct lamina_callbacks *callbacks, struct lamina_verify_result *result,
                                       struct lamina_error *err);

/* A description of a store (files, matrices, tiles) as JSON or text; malloc'ed (lamina_free). */
LAMINA_API lamina_status lamina_show(const char *model, const char *home, bool json, char **out,
                                     struct lamina_error *err);

/* Removes a store. NOT_FOUND when the directory is none, BUSY while it is being split. */
LAMINA_API lamina_status lamina_store_remove(const char *store, struct lamina_error *err);

/* ---- families ------------------------------------------------------------------------------------------------ */

/* A trait is something a family of models may have, in words ("latents of keys and values (MLA)"); `aspect` says which part
 * of a model it is about ("attention"). Both are static. */
struct lamina_trait {
    const char *aspect, *words;
};
/* Trait `index`, counted from 0; false past the last one. Traits of one aspect follow each other. */
LAMINA_API bool lamina_trait_at(uint32_t index, struct lamina_trait *trait);

/* One family: a row of the table that says how configs and tensors of a kind of model are read. Pointers are valid during the
 * call that hands it out. */
struct lamina_family {
    const char *name;
    const char *const *architectures; /* of config.json, ended by NULL; namesakes are told apart by further keys */
    const char *const *model_types;   /* the same where config.json names no architecture */
    const bool *has;                  /* by index of a trait */
};
/* Calls each(user, family) per family, in the order in which detection tries them. */
LAMINA_API void lamina_families(void (*each)(void *user, const struct lamina_family *family), void *user);
/* The name of the family that reads a checkpoint with this config.json (its whole text). UNSUPPORTED names what is missing,
 * DAMAGED the key whose value is out of range. */
LAMINA_API lamina_status lamina_family_of_config(const char *json, size_t len, char name[32], struct lamina_error *err);

/* ---- machine ------------------------------------------------------------------------------------------------- */

struct lamina_machine {
    size_t size;
    char isa[16];              /* best instruction set usable */
    char cpu_features[256];
    uint32_t cores, threads;
    uint64_t memory_total_bytes, memory_available_bytes, memory_limit_bytes; /* limit: cgroup or rlimit, UINT64_MAX none */
    uint64_t default_budget_bytes;
    uint64_t memlock_bytes;    /* RLIMIT_MEMLOCK, UINT64_MAX unlimited */
    bool huge_pages;           /* transparent huge pages can be asked for */
    bool io_uring;
    char io_uring_note[96];    /* why not, or the kernel's answer */
    char kernel[96];
    char cpu[96];              /* the processor's name */
};
LAMINA_API lamina_status lamina_machine(struct lamina_machine *m, struct lamina_error *err);

struct lamina_drive {
    size_t size;
    uint64_t free_bytes;
    uint32_t direct_alignment;       /* 0: direct reads not possible here */
    double direct_bytes_per_s;       /* best geometry found */
    uint64_t request_bytes;
    uint32_t depth;
    char engine[32];
    bool cached;                     /* figures come from an earlier probe of this device */
    char device[64];
};
/* Probes the drive that holds `path` (a directory or file) by direct reads of at most 2 s; needs a file of at least
 * 64 MiB there (a store's) or writes a temporary one. Results are cached per device in `home`. */
LAMINA_API lamina_status lamina_measure(const char *path, const char *home, bool again, struct lamina_drive *drive,
                                        struct lamina_error *err);

#ifdef __cplusplus
}
#endif
#endif
