/* SPDX-License-Identifier: Apache-2.0
 * What the readers of bodies share. */
#ifndef SERVER_REQUEST_PRIV_H
#define SERVER_REQUEST_PRIV_H

#include "app/server/request.h"
#include "base/json.h"

/* Appends a decoded string. */
bool request_add_string(struct json_reader *r, struct str *out);
/* The items of an array that was entered, as token ids; *ids is malloc'ed. */
bool request_ids(struct json_reader *r, uint32_t **ids, uint32_t *count);
/* Readers of fields (request_chat.c). */
bool request_messages(struct json_reader *r, struct request *q);
bool request_system(struct json_reader *r, struct request *q);
bool request_images(struct json_reader *r, struct request *q);
/* Makes messages of Ollama's prompt and system text; false when memory is out. */
bool request_generate_messages(struct request *q);

#endif
