/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store's own files share: the bytes of weight files and of the manifest (docs/FORMAT.md), the built-in
 * source,
 * the journal, and the splitter's parts. The parsers here work on spans, so that they are fuzzed without files.
 */
#ifndef STORE_STORE_PRIV_H
#define STORE_STORE_PRIV_H

#include <stdatomic.h>

#include "codec/code_tile.h"
#include "codec/steps.h"
#include "base/checked.h"
#include "base/span.h"
#include "store/store.h"
#include "sys/thread.h"

enum {
    STORE_VERSION = 3,
    STORE_PAGE = 4096,
    STORE_SMALL_TILE = 1 << 20, /* bytes of vectors in one tile of small.bin */
    STORE_VECTOR_ALIGN = 16,    /* floats */
    STORE_MAX_MATRICES = 4096,
    STORE_MAX_HEAD_PAGES = 256,
    STORE_MANIFEST_MAX = 64 << 20,
    STORE_SMALL_FILE_MAX = 256 << 20, /* tokenizer.json and its like */
    STORE_PIECE = 64 << 20,           /* source bytes under one SHA-256 */
    STORE_NAME_LEN = 64,              /* of a file inside a store, 0 included */
    STORE_PATH_LEN = 4096,
};

/* ---- weight files: head, tiles, tail (weight_file.c) ---- */

enum store_kind { STORE_WEIGHTS, STORE_SMALL };

struct store_head {
    uint32_t kind;
    uint32_t head_pages, tail_pages;
    uint32_t tile_count;
    uint32_t matrix_count; /* STORE_WEIGHTS */
    struct store_matrix *matrices;
    uint32_t vector_count; /* STORE_SMALL */
    struct store_vector *vectors;
    uint64_t floats;
    uint64_t checksum;
};

/* Fills head_pages and tail_pages from the counts. */
void store_head_size(struct store_head *h);
/* Writes head_pages * 4096 bytes and sets h->checksum. */
void store_head_write(struct store_head *h, uint8_t *out);
/* The size of a head in pages, from the first page; DAMAGED when it is none of ours, UNSUPPORTED when newer. */
lamina_status store_head_peek(struct span first_page, const char *name, uint32_t *pages, struct lamina_error *err);
/* Strict: whatever parses, store_head_write would write again byte for byte. */
lamina_status store_head_read(struct span bytes, const char *name, struct arena *arena, struct store_head *h,
                              struct lamina_error *err);
/* tail_pages * 4096 bytes; bound to its head by the head's checksum. */
void store_tail_write(const struct store_head *h, const struct store_tile *tiles, uint8_t *out);
lamina_status store_tail_read(struct span bytes, const char *name, const struct store_head *h, uint64_t file_size,
                              struct arena *arena, struct store_tile **tiles, struct lamina_error *err);
/* Bytes of one tile of a matrix or of the vectors, before padding; of a packed matrix, the most there can be. */
uint64_t store_tile_most(const struct store_head *h, uint32_t tile);

/* ---- manifest (manifest.c) ---- */

struct manifest_file {
    const char *name;
    uint64_t size;
    struct hash128 hash;
};

struct manifest_source_file {
    const char *name;
    uint64_t size;
    uint32_t pieces;
    uint8_t (*sha256)[32];
};

struct manifest {
    char codec[16];
    bool synthetic; /* a caller's source: no files to hash */
    uint32_t distinct_layers, first_repeated;
    struct hash128 sample; /* of a caller's source */
    uint32_t source_count;
    struct manifest_source_file *sources;
    struct model_desc desc;
    double bits_embed, bits_head, bits_layers;
    uint32_t file_count;
    struct manifest_file *files; /* small.bin, embed.bin, [head.bin], layers/00000.bin ... */
    uint32_t *layer_file;        /* [desc.layers] index into files */
    uint32_t tokenizer_count;
    struct manifest_file *tokenizer;
    struct hash128 checksum;     /* its own; filled by parsing */
};

void manifest_write(const struct manifest *m, struct str *out);
/* with_pieces false: the SHA-256 pieces are checked for form but not kept. */
lamina_status manifest_parse(struct span text, const char *name, bool with_pieces, struct arena *arena,
                             struct manifest *m, struct lamina_error *err);
/* The names of tokenizer/, in their fixed order, NULL at the end. A store with one of the first 14 has a tokenizer. */
extern const char *const store_tokenizer_files[];
enum { STORE_TEXT_FILES = 14, STORE_SIDE_FILES = 20 };
/* Named chat templates lie one directory deeper, as in checkpoints. */
#define STORE_TEMPLATES_DIR "additional_chat_templates/"

/* ---- opening (open.c) ---- */

struct store_part_file {
    struct store_head head;
    struct store_tile *tiles;
};
/* Reads and checks head and tail of an open file. */
lamina_status store_file_tables(const struct sys_file *f, const char *path, struct arena *arena,
                                struct store_part_file *out, struct lamina_error *err);
/* Does the file hold what the manifest's model needs, and nothing else? */
lamina_status store_head_agrees(const struct store_head *h, const char *name, const struct manifest *m,
                                struct lamina_error *err);
/* store_path + "/" + name into out; false when too long. */
bool store_join(char *out, size_t len, const char *dir, const char *name);
lamina_status store_manifest_load(const char *store, bool with_pieces, struct arena *arena, struct manifest *m,
                                  uint64_t *bytes, struct lamina_error *err);

/* ---- checking whole files (check.c) ---- */

struct store_check {
    void *buffer; /* aligned, buffer_len bytes, at least the largest tile */
    size_t buffer_len;
    bool (*tick)(void *user, uint64_t bytes); /* true: stop (INTERRUPTED); may be NULL */
    void *user;
    uint64_t tiles; /* out: tiles seen */
};
/* Reads every byte: XXH3-128 of the file, and for weight files each tile, head and tail. */
lamina_status store_check_weights(const char *path, const char *name, uint64_t size, struct hash128 hash,
                                  struct store_check *c, struct lamina_error *err);
lamina_status store_check_plain(const char *path, const char *name, uint64_t size, struct hash128 hash,
                                struct store_check *c, struct lamina_error *err);

/* ---- journal (journal.c) ---- */

struct journal_done {
    char name[STORE_NAME_LEN];
    uint64_t size;
    struct hash128 hash;
};
struct journal_piece {
    uint32_t file, piece;
    uint8_t sha256[32];
};
struct journal_source {
    const char *name;
    uint64_t size, inode;
    int64_t mtime_ns;
    bool freed;
};
struct journal_kept { /* a whole tensor, of a source that is not kept */
    uint32_t tensor;
    struct span bytes;
};
struct journal_tensor {
    const char *name;
    char dtype[12];
    uint32_t rank, file;
    uint64_t shape[8];
    uint64_t offset, bytes;
};

struct journal {
    struct arena arena;
    bool present; /* a journal with a valid begin record was found */
    struct hash128 identity;
    int tied; /* 0, 1; -1 not known */
    uint32_t done_count, piece_count, source_count, tensor_count, kept_count;
    struct journal_done *done;
    struct journal_piece *pieces;
    struct journal_source *sources;
    struct journal_tensor *tensors;
    struct journal_kept *kept;
    uint64_t valid_bytes; /* the file's prefix made of whole, correct lines */
};

/* Whole lines from the start up to the first that is not ours; never fails on damage, which only shortens it. */
void journal_parse(struct span text, struct journal *j);
lamina_status journal_load(const char *path, struct journal *j, struct lamina_error *err);
void journal_drop(struct journal *j);
/* One line, checksum and end of line added. */
void journal_line(struct str *out, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- the built-in source (source.c reads, source_open.c opens, with the other source_*.c) ---- */

struct source_file {
    const char *name;
    const char *path;
    struct sys_stat stat;
    struct sys_file file;
    bool gone; /* freed by an earlier run of --delete-original; known from the journal */
    uint32_t arriving; /* which of checkpoint.arriving->files */
    uint64_t tensor_bytes;
};
struct source_tensor {
    const char *name;
    char dtype[12];
    uint32_t rank, file;
    uint64_t shape[8];
    uint64_t offset, bytes;
    const uint64_t *strides; /* in elements, from `offset` on; NULL: rows follow each other */
};
/* The ways in which a directory may hold weights. */
struct source_form {
    const char *file;   /* the weights, or the index of the shards */
    const char *ending; /* of weight files */
    bool sharded, torch, gguf;
};
/* Where a path to a checkpoint leads: its directory, and the file in it that was chosen (GGUF; of a model in parts the first) or
 * "" for the layouts of source_find.c. */
struct source_path {
    char dir[STORE_PATH_LEN];
    char file[256];
};
lamina_status source_path_find(const char *path, const struct journal *j, struct source_path *out, struct lamina_error *err);
struct source_gguf;
struct checkpoint {
    struct lamina_source base; /* base.user is this struct */
    struct arena arena;
    const char *dir;
    const struct source_form *form;
    uint32_t file_count, tensor_count, tensor_room;
    struct source_file *files;
    struct source_tensor *tensors; /* sorted by name; heap */
    const struct lamina_arriving *arriving; /* NULL: the files are here */
    bool looking;                  /* reads of a source that arrives are out of turn */
    struct span *kept;             /* [tensor_count] once some tensors are in memory, for a source that arrives; or NULL */
    void *bounce;
    uint8_t *window; /* SOURCE_WINDOW bytes once a tensor with strides is there */
    const char *gguf_file;    /* "": another form */
    struct source_gguf *gguf; /* headers; NULL where the files are gone */
};
enum { SOURCE_BOUNCE = 256 << 10, SOURCE_WINDOW = 64 << 10 };
/* The form that counts in this directory, where a journal may know of files that are gone (or NULL); NULL: none. */
const struct source_form *source_form_of(const char *dir, const struct journal *j);
lamina_status source_no_weights(const char *dir, struct lamina_error *err); /* always fails: what is there instead */
/* Adds the tensors of an open file. more_tensors: room for `count` more, NULL: out of memory. */
lamina_status source_read_header(struct checkpoint *c, uint32_t file, struct lamina_error *err);
struct source_tensor *source_more_tensors(struct checkpoint *c, uint32_t count);
/* Bytes of a tensor with strides, as if it were written row by row; offset and len in whole elements. */
lamina_status source_read_strided(const struct checkpoint *c, const struct source_tensor *t, uint64_t offset, void *dst,
                                  size_t len, struct lamina_error *err);
/* GGUF (source_gguf.c): names of the parts of a model; is `name` one of the parts of `file`? */
extern const struct source_form source_gguf_form;
uint32_t source_gguf_parts(const char *file);
bool source_gguf_part_name(const char *file, uint32_t part, char *out, size_t len);
bool source_gguf_belongs(const char *file, const char *name);
/* The header of an open part; after the last one, whether they are one model; what other checkpoints have as files. */
lamina_status source_gguf_read(struct checkpoint *c, uint32_t file, struct lamina_error *err);
lamina_status source_gguf_check(struct checkpoint *c, struct lamina_error *err);
lamina_status source_gguf_file(struct checkpoint *c, const char *name, char **bytes, size_t *len, struct lamina_error *err);
void source_gguf_close(struct checkpoint *c);
/* Bytes of a weight file that need not lie in a tensor; they may be wanted out of turn. */
lamina_status source_look(const struct checkpoint *c, uint32_t file, uint64_t offset, void *dst, size_t len,
                          struct lamina_error *err);
/* The form of weights that are arriving; NULL: none that can be split so. */
const struct source_form *source_form_arriving(const struct lamina_arriving *a);
/* `j`: what a journal knows of files that are gone, or NULL. `arriving`: weights that are not in the directory, or NULL. */
lamina_status checkpoint_open(struct checkpoint **c, const char *path, const struct journal *j,
                              const struct lamina_arriving *arriving, struct lamina_error *err);
void checkpoint_close(struct checkpoint **c);
lamina_status checkpoint_alloc(struct checkpoint **c, struct lamina_error *err); /* empty, its functions set */
/* Links may lead no further than the checkpoint, or the cache that it is a snapshot of; else UNSUPPORTED. */
lamina_status checkpoint_stays_inside(const char *dir, const char *path, struct lamina_error *err);
/* NULL when the source is not the built-in one. */
struct checkpoint *checkpoint_of(const struct lamina_source *s);
lamina_status checkpoint_read(void *user, uint32_t index, uint64_t offset, void *dst, size_t len,
                              struct lamina_error *err);
/* Adds size, mtime and inode of all files of the checkpoint that a store is made from; NOT_FOUND without weights. */
lamina_status checkpoint_stat_text(const struct source_path *where, struct str *out, struct lamina_error *err);

/* ---- the splitter ---- */

struct split_quant;   /* split_quant_priv.h */
struct split_planner; /* split_plan_priv.h */

struct split_part {  /* one matrix or vector of an output file */
    uint32_t tensor; /* in the source */
    uint32_t role;
    int32_t layer;
    struct panel_shape shape; /* matrices */
    uint32_t dtype;           /* enum kern_dtype of the source */
    uint64_t len;             /* vectors */
    struct model_rows from;   /* which rows (matrices) or elements (vectors) of the tensor */
    uint64_t source_cols;     /* of the tensor as it is stored */
    bool transposed, row_norms;
    float plus;
    bool exponentiated;       /* see struct model_tensor */
    uint32_t pieces;          /* vectors: so many tensors one after another, piece[0] is `tensor`; 0: one */
    uint32_t *piece;
    uint32_t coding;          /* enum panel_coding of the source; a matrix that is not kept so is decoded to F32 */
    struct split_quant *quant; /* PANEL_GROUPS: the tensors; else NULL */
    double finer;             /* matrices in steps: bits more than others, before the mean is taken off */
};
struct split_output {
    char name[STORE_NAME_LEN];
    struct store_head head;
    uint32_t part_count;
    struct split_part *parts; /* and the tables of the head: see split_plan_parts */
    uint64_t size;            /* of packed ones the most before it is made, exact afterwards; of others exact */
    uint64_t likely;          /* what it will take, for progress and room on the disk: exact but for packed ones */
    uint64_t weights, bits;   /* of its matrices; of packed ones known once it is made */
    uint64_t rounded;         /* weights in steps */
    bool packed;              /* some of its matrices are */
    bool done;
    struct hash128 hash;
};
/* How matrices are coded. */
struct split_codec {
    bool planes;              /* numbers of 16 bits and codes are packed */
    bool steps;               /* matrices of layers are rounded by the dial; others are packed */
    struct steps_dial dial;
    double finer_mean;        /* of the weights in steps; known once the plan is made */
};
/* Bits that a matrix of a layer deserves beyond others of the same rate (split_share.c). */
double split_finer(const struct model_desc *desc, uint32_t role, int32_t layer);
/* By the name in the manifest: "raw", "planes", "q8", "q4", "q3.50"; false: no such codec. */
bool split_codec_of_name(const char *name, struct split_codec *codec);
struct split_use {
    uint32_t first, last; /* outputs but small.bin; UINT32_MAX: none */
    uint32_t count;       /* parts of those */
    bool small;           /* small.bin takes something of it */
    bool in_rows;         /* read front to back, once */
};
struct split_plan {
    struct model_desc desc;
    struct split_codec codec;
    bool tied_by_config;
    uint32_t output_count;
    struct split_output *outputs;
    uint32_t *layer_output; /* [desc.layers] */
    uint64_t total_bytes;
    char left_out[256];      /* parts of a multimodal checkpoint that are not the text model, in words; empty: none */
    uint32_t *last_use; /* per source tensor: the last output made from it, UINT32_MAX: none */
    struct split_use *use; /* per source tensor; counted while the plan is made */
    bool counted;
    struct split_planner *planner;
    struct arena parts; /* of output number `filled` */
    uint32_t filled;
};
/* tied: 0, 1, or -1 to find out (may compare head and embedding byte by byte). */
lamina_status split_plan_make(const struct lamina_source *s, int tied, const struct split_codec *codec, struct arena *arena,
                              struct split_plan *p, struct lamina_error *err);
/* What a matrix of so many decoded bytes will likely take. */
uint64_t split_likely(const struct split_codec *codec, const struct panel_shape *shape, uint64_t decoded);
/* An output has become this large. */
void split_output_made(struct split_output *o, uint64_t size);
/* Fills the parts of one output and the tables of its head, and forgets those of the one before. */
lamina_status split_plan_parts(struct split_plan *p, uint32_t output);
void split_plan_drop(struct split_plan *p);
uint32_t split_layer_of(const struct lamina_source *s, uint32_t layer); /* the distinct layer that it repeats */

/* split_write.c: one output file, written front to back; used by one thread at a time, beside which a thread of its own
 * writes one buffer out while the other is filled. */
struct split_drain { /* between the two, who own it by `state` as they own a slot */
    _Atomic uint32_t state;
    bool stop;
    const uint8_t *bytes;
    size_t len;
    uint64_t at;
    lamina_status status;
    struct lamina_error err;
    struct sys_thread *thread;
    uint64_t undropped; /* the thread's: written since the page cache was last relieved */
};
struct split_writer {
    const char *dir;
    struct split_output *output;
    char path[STORE_PATH_LEN], temp[STORE_PATH_LEN];
    struct sys_file file;
    uint64_t at; /* bytes given to the thread */
    struct hash_stream *stream;
    struct store_tile *tiles; /* room for the largest output */
    uint32_t tile;            /* the next one */
    bool as_it_grows;         /* nothing is reserved: what the file will hold still lies elsewhere on the drive */
    uint8_t *buffer, *spare;  /* aligned, SPLIT_BUFFER bytes each; spare: the thread's, or free */
    size_t fill, tile_begin;  /* bytes in buffer, and where the open tile begins */
    struct split_drain drain;
};
enum { SPLIT_BUFFER = 8 << 20 };
lamina_status split_writer_start(struct split_writer *w, struct lamina_error *err);
void split_writer_stop(struct split_writer *w); /* abandons an unfinished file */
lamina_status split_writer_begin(struct split_writer *w, struct split_output *output, struct lamina_error *err);
/* Room for `len` bytes of the tile at hand; the caller fills them. */
lamina_status split_writer_take(struct split_writer *w, size_t len, uint8_t **place, struct lamina_error *err);
void split_writer_give_back(struct split_writer *w, size_t len); /* of what was taken last */
lamina_status split_writer_end_tile(struct split_writer *w, struct lamina_error *err);
lamina_status split_writer_finish(struct split_writer *w, struct lamina_error *err);

/* split_pipe.c: the thread that packs, hashes and writes while the caller reads. */
struct split_slot {
    _Atomic uint32_t state; /* 0: the caller's, 1: the thread's */
    enum { SLOT_BEGIN, SLOT_ROWS, SLOT_VECTOR, SLOT_FINISH, SLOT_STOP } what;
    struct split_output *output;
    const struct split_part *part;
    uint32_t tile, tiles; /* ROWS: which tiles the rows in `rows` make */
    uint32_t dtype;       /* enum kern_dtype of what lies in `rows` */
    uint32_t block;       /* first column block in `rows` (0 unless a group was too large to read whole) */
    uint64_t stride;
    uint8_t *memory; /* SPLIT_ROWS bytes, fixed */
    uint8_t *rows;   /* inside memory: where the rows begin */
    size_t rows_len;
    bool unusual; /* out: the rows hold NaN or infinity */
};
struct split_pipe {
    struct split_slot slot[2];
    uint32_t next; /* the caller's turn */
    _Atomic uint32_t failed;
    struct lamina_error err; /* the thread's, valid once failed */
    struct split_writer writer;
    struct sys_thread *thread;
    void *memory;
    uint8_t *decoded;         /* room for a tile before it is packed */
    struct planes_scratch *scratch;
    const struct split_codec *codec;
    double bits;              /* a weight, of the rows at hand, where the dial is a rate */
    uint16_t *scale;          /* [SPLIT_ROWS / (2 * PANEL_STEPS_COLS)] of the rows at hand, in steps */
    double spare;             /* bits that the file's matrices in steps have left of what the dial gave them */
    bool (*tick)(void *user); /* while waiting; true: stop */
    void *user;
};
enum { SPLIT_SLACK = 4096, SPLIT_ROWS = 8 << 20, SPLIT_ROWS_MAX = SPLIT_ROWS - SPLIT_SLACK }; /* the rows' memory; most in it */
/* Bits of the fp32 that a stored element stands for. */
uint32_t split_widen(const uint8_t *at, uint32_t dtype);
/* split_read.c: source rows that do not lie as the store wants them. */
struct split_job;
/* Distance of canonical neighbours in the source, and how many rows from `row` on lie at that distance. */
uint64_t split_step(const struct model_rows *m);
uint64_t split_in_step(const struct model_rows *m, uint64_t row, uint64_t most);
bool split_part_is_plain(const struct split_part *part);
/* Rows row .. row + count of a matrix into s->memory, one after the other. */
lamina_status split_read_rows(struct split_job *job, struct split_slot *s, uint64_t row, uint64_t count);
/* The same as records of codes and scales, behind what they have in common (split_quant.c). */
const struct groups *split_groups_of(const struct split_part *part);
lamina_status split_read_coded(struct split_job *job, struct split_slot *s, uint64_t row, uint64_t count);
/* Rows of a transposed matrix of codes, decoded to F32. */
lamina_status split_read_decoded(struct split_job *job, struct split_slot *s, uint64_t row, uint64_t count);
/* A vector that is picked, shifted or computed, as fp32 into s->memory. */
lamina_status split_read_vector(struct split_job *job, struct split_slot *s);
lamina_status split_pipe_start(struct split_pipe *p, const char *dir, struct store_tile *tiles, const struct split_codec *codec,
                               struct lamina_error *err);
/* A slot that is the caller's; INTERRUPTED when tick says so; the thread's failure. */
lamina_status split_pipe_take(struct split_pipe *p, struct split_slot **slot, struct lamina_error *err);
void split_pipe_give(struct split_pipe *p, struct split_slot *slot);
/* Waits until everything given is done. */
lamina_status split_pipe_drain(struct split_pipe *p, struct lamina_error *err);
void split_pipe_stop(struct split_pipe *p); /* abandons an unfinished file */

/* split_sha.c: SHA-256 of the source by pieces, in a thread of its own. */
struct split_sha;
struct split_sha_job {
    const struct checkpoint *source;
    const struct journal *known;
    const uint32_t *order; /* files in the order of their last use */
};
lamina_status split_sha_start(struct split_sha **s, const struct split_sha_job *job, struct lamina_error *err);
/* New digests since the last call, as journal lines; *all_done when nothing is left. */
lamina_status split_sha_collect(struct split_sha *s, struct str *lines, bool *all_done, struct lamina_error *err);
bool split_sha_file_done(const struct split_sha *s, uint32_t file);
const uint8_t *split_sha_digest(const struct split_sha *s, uint32_t file, uint32_t piece);
uint32_t split_sha_pieces(const struct split_sha *s, uint32_t file);
uint64_t split_sha_bytes(const struct split_sha *s); /* hashed so far */
void split_sha_stop(struct split_sha **s);

/* How far behind a multiple of SPLIT_SLACK a direct read from there goes straight into memory (split_run.c). */
uint64_t split_skew(const struct split_job *job, uint32_t tensor, uint64_t offset);

/* split_strip.c: columns of source matrices. */
enum split_strip_use { SPLIT_STRIP_CODES, SPLIT_STRIP_SCALES, SPLIT_STRIP_ZEROS, SPLIT_STRIPS }; /* plain weights are codes */
struct split_strip {
    uint8_t *first;       /* in memory: where they begin */
    uint32_t tensor;
    uint64_t line, lines, line_bytes; /* what is in memory: bytes [at, at + width) of each; lines 0: nothing */
    uint64_t at, width;
};
struct split_columns {
    uint32_t tensor;
    uint64_t line, lines, line_bytes; /* lines [line, line + lines), at least one */
    uint64_t at, bytes;               /* of each */
};
/* Where the columns lie: of a line `pitch` bytes behind those of the one before, until the next call. NULL: there is no room. */
lamina_status split_strip_take(struct split_job *job, enum split_strip_use use, const struct split_columns *c,
                               const uint8_t **columns, uint64_t *pitch);
void split_strip_drop(struct split_job *job);
/* Item i of line k, at from + k * pitch + i * step * size, goes to to + i * stride + k * size. */
struct split_turn {
    const uint8_t *from;
    uint64_t pitch, step, lines, items;
    uint8_t *to;
    uint64_t stride;
};
void split_turn(const struct split_turn *t, size_t size);

/* One split from beginning to end. Everything here belongs to the calling thread. */
struct split_job {
    const struct store_split_options *o;
    const struct lamina_source *source;
    struct checkpoint *checkpoint; /* NULL: a caller's source */
    struct checkpoint *owned;      /* to be closed at the end */
    struct arena arena;
    struct split_plan plan;
    struct journal journal;
    struct hash128 identity;
    struct hash128 sample; /* of a caller's source */
    char journal_path[STORE_PATH_LEN];
    struct sys_file journal_file;
    struct split_pipe pipe;
    struct split_strip strip[SPLIT_STRIPS];
    void *strip_memory;    /* NULL until columns are asked for */
    uint32_t *order;       /* [plan.output_count], for a source that arrives; else NULL */
    struct split_stream *stream;
    struct split_sha *sha;
    bool sha_done;
    uint32_t *file_order; /* source files by the last output that needs them */
    uint32_t *file_last;  /* per source file: that output, UINT32_MAX: none */
    bool *warned;         /* per source tensor */
    struct manifest_file tokenizer[STORE_SIDE_FILES];
    uint32_t tokenizer_count;
    const char *what;
    uint64_t done_bytes, resumed_bytes, total_bytes;
    uint64_t began_ns, told_ns;
    struct lamina_error err;
};

/* split_stream.c: a source that arrives while it is split. All do nothing for others. */
bool split_arrives(const struct lamina_source *s);
/* Which output comes when, what may go when, and what that takes; after the plan and what is done already is known. */
lamina_status split_stream_begin(struct split_job *job);
/* An output is on the drive (`done` not yet in the journal): keeps what small.bin will need of what has passed. */
lamina_status split_stream_keep(struct split_job *job, uint32_t output);
/* It is in the journal: nothing that only it was made from is needed. */
lamina_status split_stream_made(struct split_job *job);
/* The rows of a part before `row` were read for the last time, while its output is at work. */
lamina_status split_stream_read(struct split_job *job, const struct split_part *part, uint64_t row);
lamina_status split_stream_digest(struct split_job *job, uint32_t file, uint32_t piece, uint8_t digest[32]);
/* split_job.c: identity, journal, directory, progress. */
bool split_tick(void *job);                       /* progress and new digests; true: stop (see job->err) */
bool split_tick_bytes(void *job, uint64_t bytes); /* the same, after `bytes` more */
lamina_status split_identity(struct split_job *job);
lamina_status split_journal_begin(struct split_job *job);
lamina_status split_journal_add(struct split_job *job, const struct str *lines, bool sync);
lamina_status split_directory_check(struct split_job *job); /* holds nothing of others */
lamina_status split_directory_clean(struct split_job *job, bool temporary_only);
/* split_run.c: the outputs. */
lamina_status split_outputs(struct split_job *job);
/* split_done.c: outputs that an earlier run finished, and source files that may go. */
lamina_status split_resume(struct split_job *job);
/* --delete-original frees files on the way, but for those of GGUF, which hold what the last steps need too. */
bool split_frees_early(const struct split_job *job);
lamina_status split_free_sources(struct split_job *job, uint32_t output); /* after that output */
lamina_status split_free_complete(struct split_job *job);                 /* after the manifest (split_already.c) */
lamina_status split_still_the_same(struct split_job *job, const struct source_file *f);
lamina_status split_remove_source(struct split_job *job, const struct source_file *f);
lamina_status split_remove_remains(struct split_job *job, const struct source_file *f);
/* split_already.c: a store that is complete. `opened`: what became of opening the source. */
lamina_status split_already(struct split_job *job, lamina_status opened);
/* Hashes the checkpoint again and compares with a manifest. DAMAGED names the first file and offset that differ. */
lamina_status store_source_check(const struct checkpoint *c, const struct manifest *m, struct store_check *check,
                                 struct lamina_error *err);

#endif
