/* SPDX-License-Identifier: Apache-2.0
 *
 * A line of facts while an answer is made: how far the prompt and the pass at hand are, tokens, their rate, the drive's. It
 * exists only where stderr is a capable terminal. Where the text goes to the same terminal it stands on the row below the
 * text, and is gone before a byte of text is written, so that what stays on the screen is the text alone. One thread.
 */
#ifndef CLI_LIVE_H
#define CLI_LIVE_H

#include "app/cli/cli.h"

struct cli_live {
    bool on;                     /* stderr is a terminal that can do it, and nobody asked for quiet */
    bool under;                  /* the text goes to the same terminal */
    bool shown;
    bool color;
    unsigned columns;            /* of the terminal */
    unsigned column;             /* of the cursor behind the text; `columns`: the next character begins a new row */
    const struct lamina_model *model; /* NULL: no answer is being made */
    uint32_t tokens, prompt_done, prompt_total, layer, layers;
    double begun_s, first_s, drawn_s;
    uint64_t bytes_before;
};

void cli_live_init(struct cli_live *l, const struct cli_options *o);
/* An answer begins, at the left edge of a row; its prompt has so many tokens to compute. */
void cli_live_begin(struct cli_live *l, struct lamina_model *model, uint32_t prompt_tokens);
void cli_live_prompt(struct cli_live *l, uint64_t done);
void cli_live_layer(struct cli_live *l, uint32_t layer); /* a pass begins it */
void cli_live_token(struct cli_live *l);
/* This text is about to be written. */
void cli_live_give_way(struct cli_live *l, struct span text);
void cli_live_clear(struct cli_live *l);
/* The answer is over, and the cursor at the left edge again: the line once more, to stay. */
void cli_live_end(struct cli_live *l, struct lamina_model *model, const struct lamina_generate *g, uint32_t used, uint32_t context);

#endif
