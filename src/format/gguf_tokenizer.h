/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer that a GGUF file carries in its metadata, as the small files that lie beside a checkpoint's weights
 * elsewhere. So there is one loader of tokenizers, and what it refuses it refuses here too:
 *
 *     tokenizer.json          byte-level BPE and its kin, WordPiece; or the very file, where the metadata has it whole
 *     tokenizer.model         SentencePiece, as the protocol buffer that its library writes
 *     tokenizer_config.json   special tokens, what is put around a text, chat templates
 *     generation_config.json  what ends an answer
 *
 * Pure. Keys: ggml/docs/gguf.md; their meaning, defaults and the names of pre-tokenizers: the vocabulary loader of llama.cpp. */
#ifndef FORMAT_GGUF_TOKENIZER_H
#define FORMAT_GGUF_TOKENIZER_H

#include "base/status.h"
#include "base/str.h"
#include "format/gguf.h"

/* The file `name` as a checkpoint's directory would have it, made from the metadata: *out is appended, and left as it was
 * where this fails. NOT_FOUND: a checkpoint of this kind has no such file. UNSUPPORTED names the kind of tokenizer or
 * pre-tokenizer; DAMAGED names the key. Memory: linear in the header, most of it *out. Any thread. */
lamina_status gguf_side_file(const struct gguf *g, const char *name, const char *file_name_for_messages, struct str *out,
                             struct lamina_error *err);

#endif
