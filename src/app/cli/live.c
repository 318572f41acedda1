/* SPDX-License-Identifier: Apache-2.0
 *
 * Drawing below the text takes four sequences every terminal since the VT100 has: index (down a row, scrolling at the
 * bottom), reverse index, save and restore the cursor. Index and reverse index first make sure that there is a row below;
 * only then is the cursor saved, since scrolling would move the text away from under it. A cursor that waits behind the last
 * column cannot be saved on all terminals, so nothing is drawn there.
 */
#include "app/cli/live.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define EVERY_S 0.1
enum { TAB = 8 };

static bool same_terminal(void) {
    struct stat out;
    struct stat err;
    return fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0 && out.st_rdev == err.st_rdev;
}

void cli_live_init(struct cli_live *l, const struct cli_options *o) {
    struct cli_terminal t;
    cli_terminal_init(&t, o->color);
    *l = (struct cli_live){.on = t.err_bar && !o->quiet, .under = t.out_tty && !o->json && same_terminal(), .color = t.color,
                           .columns = t.columns};
}

void cli_live_begin(struct cli_live *l, struct lamina_model *model, uint32_t prompt_tokens) {
    struct lamina_stats stats = {.size = sizeof(stats)};
    struct cli_terminal t;
    if (!l->on) {
        return;
    }
    cli_terminal_init(&t, NULL);
    lamina_model_stats(model, &stats);
    *l = (struct cli_live){.on = true, .under = l->under, .color = l->color, .columns = t.columns, .model = model,
                           .layers = lamina_model_plan(model)->layers, .prompt_total = prompt_tokens, .begun_s = cli_now_s(),
                           .bytes_before = stats.bytes_read};
}

static void facts(const struct cli_live *l, struct str *line) {
    struct lamina_stats stats = {.size = sizeof(stats)};
    char text[32];
    double now = cli_now_s();
    lamina_model_stats(l->model, &stats);
    if (l->tokens == 0) {
        str_printf(line, "reading the prompt: %u of %u tokens", l->prompt_done, l->prompt_total);
    } else {
        str_printf(line, "%u tokens", l->tokens);
        if (l->tokens > 1 && now > l->first_s) {
            str_printf(line, ", %.2f tokens/s", (l->tokens - 1) / (now - l->first_s));
        }
    }
    if (l->layers > 0) {
        str_printf(line, ", pass %u %%", 100 * l->layer / l->layers);
    }
    if (stats.bytes_read > l->bytes_before && now > l->begun_s) {
        str_printf(line, ", disk %s", cli_rate(text, (double)(stats.bytes_read - l->bytes_before) / (now - l->begun_s)));
    }
    str_printf(line, ", %s", cli_seconds(text, now - l->begun_s));
}

static void draw(struct cli_live *l) {
    struct str line = {0};
    struct str out = {0};
    bool waiting = l->under && l->column >= l->columns;
    if (!l->on || waiting || cli_interrupted() || cli_now_s() - l->drawn_s < EVERY_S) {
        return;
    }
    l->drawn_s = cli_now_s();
    facts(l, &line);
    size_t shown = line.len < l->columns ? line.len : l->columns - 1;
    str_add_text(&out, l->under ? "\033D\033M\0337\033D\r" : "\r");
    str_add_text(&out, l->color ? "\033[2m" : "");
    str_add(&out, str_text(&line), shown);
    str_add_text(&out, l->color ? "\033[0m\033[K" : "\033[K");
    str_add_text(&out, l->under ? "\0338" : "");
    fwrite(str_text(&out), 1, out.len, stderr);
    fflush(stderr);
    l->shown = true;
    str_drop(&line);
    str_drop(&out);
}

void cli_live_layer(struct cli_live *l, uint32_t layer) {
    if (l->model != NULL) {
        l->layer = layer;
        draw(l);
    }
}

void cli_live_prompt(struct cli_live *l, uint64_t done) {
    l->prompt_done = (uint32_t)done;
    if (l->tokens == 0) {
        draw(l);
    }
}

void cli_live_token(struct cli_live *l) {
    if (l->tokens++ == 0) {
        l->first_s = cli_now_s();
    }
}

void cli_live_clear(struct cli_live *l) {
    if (l->shown) {
        fputs(l->under ? "\0337\033D\r\033[K\0338" : "\r\033[K", stderr);
        fflush(stderr);
        l->shown = false;
    }
}

void cli_live_give_way(struct cli_live *l, struct span text) {
    if (!l->on || !l->under) {
        return;
    }
    cli_live_clear(l);
    while (text.len > 0) {
        uint32_t c = 0;
        size_t n = utf8_decode(text, &c);
        int width = n > 0 ? wcwidth((wchar_t)c) : 1;
        text = span_sub(text, n > 0 ? n : 1, text.len);
        if (c == '\n') {
            l->column = 0;
        } else if (c == '\t') {
            unsigned stop = l->column / TAB * TAB + TAB;
            l->column = stop < l->columns ? stop : l->columns - 1;
        } else if (width > 0) {
            l->column = l->column + (unsigned)width > l->columns ? (unsigned)width : l->column + (unsigned)width;
        }
    }
}

void cli_live_end(struct cli_live *l, struct lamina_model *model, const struct lamina_generate *g, uint32_t used,
                  uint32_t context) {
    struct lamina_stats stats = {.size = sizeof(stats)};
    struct str line = {0};
    char text[2][32];
    cli_live_clear(l);
    l->model = NULL;
    if (!l->on || g->new_tokens == 0) {
        return;
    }
    lamina_model_stats(model, &stats);
    str_printf(&line, "%u + %u tokens in %s", l->prompt_total, g->new_tokens, cli_seconds(text[0], g->wall_s));
    if (g->new_tokens > 1 && g->wall_s > g->ttft_s) {
        str_printf(&line, ", %.2f tokens/s", (g->new_tokens - 1) / (g->wall_s - g->ttft_s));
    }
    if (stats.bytes_read > l->bytes_before && g->wall_s > 0) {
        uint64_t bytes = stats.bytes_read - l->bytes_before;
        str_printf(&line, ", read %s at %s", format_bytes(text[0], bytes), cli_rate(text[1], (double)bytes / g->wall_s));
    }
    str_printf(&line, ", context %u of %u", used, context);
    fprintf(stderr, "%s%s%s\n", l->color ? "\033[2m" : "", str_text(&line), l->color ? "\033[0m" : "");
    fflush(stderr);
    str_drop(&line);
}
