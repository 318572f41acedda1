/* SPDX-License-Identifier: Apache-2.0
 * Stores that were made while their checkpoint came from the hub, which was not kept (streamed.c).
 *
 *     home/<NAME>-<16 hex>/     the store, by repository, commit and codec
 *     home/<NAME>-<16 hex>.hub  JSON: repository, revision, commit, codec, and name, size and SHA-256 of each weight file */
#ifndef CLI_STREAMED_H
#define CLI_STREAMED_H

#include "app/cli/cli.h"
#include "hub/hub.h"

/* Fetches the model and makes its store; *store gets its path. Where the whole checkpoint is in the cache already, it stays
 * there and is split as `lamina split` does. */
lamina_status cli_stream_pull(const struct cli_options *o, const struct hub_env *env, const struct hub_name *name,
                              const char *codec, struct str *store, struct lamina_error *err);
/* The finished store of a revision as it was last pulled: an exact one before one in steps. NOT_FOUND: none. */
lamina_status cli_stream_find(const char *home, const struct hub_env *env, const struct hub_name *name, struct str *store);
/* "ORG/NAME" of a store in the home; false: it was not made so. */
bool cli_stream_model(const char *home, const char *store, struct str *model);
/* Removes what is left of a store's name beside it. */
void cli_stream_forget(const char *home, const char *store);
/* "q8", "q4", "q3.50" of --quant (cmd_split.c). */
lamina_status cli_codec_of_quant(const char *text, char codec[16], struct lamina_error *err);
/* Bytes of all files below; links count as nothing, and of files with several names each has its share (cmd_ls.c). */
uint64_t cli_tree_bytes(const char *path);

#endif
