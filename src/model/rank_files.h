/* SPDX-License-Identifier: Apache-2.0
 *
 * Names under which checkpoints ship a tiktoken rank file, in the order they are looked for. One of them is a family's,
 * which is why the list stands in this room. Whoever uses it puts it into an array of names. */
#ifndef MODEL_RANK_FILES_H
#define MODEL_RANK_FILES_H

#define MODEL_RANK_FILES "tiktoken.model", "qwen.tiktoken", "o200k_base.tiktoken", "cl100k_base.tiktoken"

#endif
