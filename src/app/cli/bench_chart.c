/* SPDX-License-Identifier: Apache-2.0
 *
 * The pictures of a bench as inline SVG: bars and points, no script, no font of their own. 440 units wide, so that text of 11
 * units stays readable on a telephone. The page's classes bring colours for light and dark; the colours written here serve a
 * picture that is taken out of its page. Every bar says its figures in words too, for paper and for eyes that see no colours.
 */
#include <math.h>
#include <string.h>

#include "app/cli/bench.h"

enum { WIDTH = 440, BAR_HEIGHT = 14, STEP = 40, STAGE_STEP = 56, LEGEND = 26, LABEL_CHARS = 72 };

static const char READ_COLOR[] = "#d97706";
static const char COMPUTE_COLOR[] = "#0e7490";

void bench_escape(struct str *out, const char *text) {
    struct str safe = {0};
    cli_safe_text(&safe, text, strlen(text));
    for (const char *p = str_text(&safe); *p != '\0'; p++) {
        switch (*p) {
        case '&':
            str_add_text(out, "&amp;");
            break;
        case '<':
            str_add_text(out, "&lt;");
            break;
        case '>':
            str_add_text(out, "&gt;");
            break;
        case '"':
            str_add_text(out, "&quot;");
            break;
        case '\'':
            str_add_text(out, "&#39;");
            break;
        default:
            str_add_byte(out, (uint8_t)*p);
        }
    }
    str_drop(&safe);
}

/* ---- shapes ---- */

static void begin(struct str *out, double height, const char *label) {
    str_printf(out, "<figure><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" font-family=\"sans-serif\" "
                    "font-size=\"11\" fill=\"currentColor\" role=\"img\" aria-label=\"", WIDTH, height);
    bench_escape(out, label);
    str_add_text(out, "\">\n");
}

static void end(struct str *out, const char *caption) {
    str_add_text(out, "</svg><figcaption>");
    bench_escape(out, caption);
    str_add_text(out, "</figcaption></figure>\n");
}

struct paint {
    const char *class_name, *fill;
};

static void rect(struct str *out, double x, double y, double width, const struct paint *p) {
    str_printf(out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%d\" ", x, y, width, BAR_HEIGHT);
    str_printf(out, "class=\"%s\" fill=\"%s\"/>\n", p->class_name, p->fill);
}

static void line(struct str *out, double x1, double y1, double x2, double y2) {
    str_printf(out, "<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" ", x1, y1, x2, y2);
    str_add_text(out, "class=\"axis\" stroke=\"currentColor\"/>\n");
}

/* anchor: "start", "middle" or "end". */
static void words(struct str *out, double x, double y, const char *anchor, const char *text) {
    str_printf(out, "<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"%s\">", x, y, anchor);
    bench_escape(out, text);
    str_add_text(out, "</text>\n");
}

/* The name of a bar: one that is longer than the picture is wide loses its end, and is whole in its title. */
static void label(struct str *out, double y, const char *text) {
    struct str shown = {0};
    uint32_t chars = 0;
    struct span rest = span_of_text(text);
    while (rest.len > 0 && chars < LABEL_CHARS) {
        uint32_t code_point = 0;
        size_t n = utf8_decode(rest, &code_point);
        n = n > 0 ? n : 1;
        str_add(&shown, rest.ptr, n);
        rest = span_sub(rest, n, rest.len);
        chars++;
    }
    str_add_text(&shown, rest.len > 0 ? "..." : "");
    str_printf(out, "<text x=\"0\" y=\"%.2f\"><title>", y);
    bench_escape(out, text);
    str_add_text(out, "</title>");
    bench_escape(out, str_text(&shown));
    str_add_text(out, "</text>\n");
    str_drop(&shown);
}

/* ---- bars of stages ---- */

static const struct {
    const char *name;
    struct paint paint;
    size_t offset; /* of its series */
} stages[] = {
    {"read wait", {"s-read", READ_COLOR}, offsetof(struct bench_row, read_wait_s)},
    {"check", {"s-check", "#8b5cf6"}, offsetof(struct bench_row, decode_s)},
    {"compute", {"s-compute", COMPUTE_COLOR}, offsetof(struct bench_row, compute_s)},
    {"other", {"s-other", "#8a8a8a"}, offsetof(struct bench_row, other_s)},
};

static double stage_s(const struct bench_row *row, size_t stage) {
    const void *series = (const char *)row + stages[stage].offset;
    return bench_median((const struct bench_series *)series) / (double)row->tokens;
}

static double all_stages_s(const struct bench_row *row) {
    double sum = 0.0;
    for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
        sum += stage_s(row, i);
    }
    return sum;
}

static bool shows(const struct bench_row *row, const char *test) {
    return row->status == 0 && strcmp(row->test, test) == 0;
}

static void label_of(const struct bench_result *b, const struct bench_row *row, struct str *out) {
    str_clear(out);
    bench_row_words(b, row, out);
}

static void stage_bar(const struct bench_result *b, const struct bench_row *row, double y, double longest, struct str *out) {
    struct str text = {0};
    char seconds[32];
    double x = 0.0;
    label_of(b, row, &text);
    label(out, y + 12, str_text(&text));
    str_clear(&text);
    for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
        str_printf(&text, "%s%s %s", i > 0 ? ", " : "", stages[i].name, cli_seconds(seconds, stage_s(row, i)));
    }
    words(out, 0, y + 30 + BAR_HEIGHT, "start", str_text(&text));
    for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
        double width = stage_s(row, i) / longest * WIDTH;
        rect(out, x, y + 18, width, &stages[i].paint);
        x += width;
    }
    str_drop(&text);
}

static void legend(struct str *out) {
    for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
        rect(out, (double)i * 100, 4, 12, &stages[i].paint);
        words(out, (double)i * 100 + 17, 14, "start", stages[i].name);
    }
}

/* One picture of one test. */
static void stages_of_test(const struct bench_result *b, const char *test, struct str *out) {
    struct str caption = {0};
    double longest = 0.0;
    double y = LEGEND;
    uint32_t count = 0;
    for (uint32_t i = 0; i < b->rows->count; i++) {
        if (shows(&b->rows->row[i], test)) {
            longest = fmax(longest, all_stages_s(&b->rows->row[i]));
            count++;
        }
    }
    if (!(longest > 0.0)) {
        return;
    }
    str_printf(&caption, "%s: where the time of a token goes, by configuration; the longest bar is ", test);
    char seconds[32];
    str_printf(&caption, "%s a token", cli_seconds(seconds, longest));
    begin(out, LEGEND + (double)count * STAGE_STEP, str_text(&caption));
    legend(out);
    for (uint32_t i = 0; i < b->rows->count; i++) {
        if (shows(&b->rows->row[i], test)) {
            stage_bar(b, &b->rows->row[i], y, longest, out);
            y += STAGE_STEP;
        }
    }
    end(out, str_text(&caption));
    str_drop(&caption);
}

/* Has no row before this one the same test? */
static bool first_of_test(const struct bench_rows *rows, uint32_t index) {
    bool first = rows->row[index].status == 0;
    for (uint32_t i = 0; i < index; i++) {
        first = first && !shows(&rows->row[i], rows->row[index].test);
    }
    return first;
}

void bench_chart_stages(const struct bench_result *b, struct str *out) {
    for (uint32_t i = 0; i < b->rows->count; i++) {
        if (first_of_test(b->rows, i)) {
            stages_of_test(b, b->rows->row[i].test, out);
        }
    }
}

/* ---- rate against limit ---- */

static void rate_bar(const struct bench_result *b, const struct bench_row *row, double y, double most, struct str *out) {
    struct str text = {0};
    char rate[32];
    char limit[32];
    double reads = bench_median(&row->disk_bytes_per_s);
    double x = row->disk_limit_bytes_per_s / most * WIDTH;
    str_printf(&text, "%s: %s of %s, %.0f %%; ", row->test, cli_rate(rate, reads), cli_rate(limit, row->disk_limit_bytes_per_s),
               100.0 * bench_share(row));
    bench_row_words(b, row, &text);
    label(out, y + 12, str_text(&text));
    rect(out, 0, y + 18, x, &(struct paint){"limit", "#e4e4e4"});
    rect(out, 0, y + 18, reads / most * WIDTH, &(struct paint){"s-read", READ_COLOR});
    line(out, x, y + 15, x, y + 21 + BAR_HEIGHT);
    str_drop(&text);
}

void bench_chart_rate(const struct bench_result *b, struct str *out) {
    static const char caption[] = "What each test read from the drive, against the drive's limit (the light bar that ends "
                                  "in a line), measured right before";
    double most = 0.0;
    double y = 0.0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < b->rows->count; i++) {
        const struct bench_row *row = &b->rows->row[i];
        if (bench_known(bench_share(row))) {
            most = fmax(most, fmax(row->disk_limit_bytes_per_s, bench_median(&row->disk_bytes_per_s)));
            count++;
        }
    }
    if (count == 0) {
        return;
    }
    begin(out, (double)count * STEP, caption);
    for (uint32_t i = 0; i < b->rows->count; i++) {
        if (bench_known(bench_share(&b->rows->row[i]))) {
            rate_bar(b, &b->rows->row[i], y, most * 1.01, out);
            y += STEP;
        }
    }
    end(out, caption);
}

/* ---- quality against bits ---- */

struct plot {
    double x_low, x_high, y_low, y_high;
};
enum { PLOT_LEFT = 60, PLOT_TOP = 12, PLOT_RIGHT = WIDTH - 12, PLOT_BOTTOM = 220, PLOT_HEIGHT = 262 };

static double ppl_of(const struct bench_row *row) {
    return row->ppl;
}

static double kl_of(const struct bench_row *row) {
    return row->kl;
}

/* One point per codec: what else differs does not change what a model says. */
static bool is_point(const struct bench_rows *rows, uint32_t index, double (*quality)(const struct bench_row *)) {
    const struct bench_row *row = &rows->row[index];
    bool point = bench_known(quality(row)) && bench_known(row->bits_per_weight);
    for (uint32_t i = 0; i < index; i++) {
        point = point && !(bench_known(quality(&rows->row[i])) && strcmp(rows->row[i].codec, row->codec) == 0);
    }
    return point;
}

static void widen(double *low, double *high) {
    double margin = *high > *low ? 0.1 * (*high - *low) : 0.1 * fabs(*high) + 0.01;
    *low -= margin;
    *high += margin;
}

static double place_x(const struct plot *p, double value) {
    return PLOT_LEFT + (value - p->x_low) / (p->x_high - p->x_low) * (PLOT_RIGHT - PLOT_LEFT);
}

static double place_y(const struct plot *p, double value) {
    return PLOT_BOTTOM - (value - p->y_low) / (p->y_high - p->y_low) * (PLOT_BOTTOM - PLOT_TOP);
}

static void axes(const struct plot *p, struct str *out) {
    enum { TICKS = 4 };
    line(out, PLOT_LEFT, PLOT_BOTTOM, PLOT_RIGHT, PLOT_BOTTOM);
    line(out, PLOT_LEFT, PLOT_TOP, PLOT_LEFT, PLOT_BOTTOM);
    for (int i = 0; i <= TICKS; i++) {
        char text[32];
        double x = p->x_low + (p->x_high - p->x_low) * i / TICKS;
        double y = p->y_low + (p->y_high - p->y_low) * i / TICKS;
        (void)snprintf(text, sizeof(text), "%.3g", x);
        words(out, place_x(p, x), PLOT_BOTTOM + 16, "middle", text);
        (void)snprintf(text, sizeof(text), "%.4g", y);
        words(out, PLOT_LEFT - 6, place_y(p, y) + 4, "end", text);
    }
    words(out, (PLOT_LEFT + PLOT_RIGHT) / 2.0, PLOT_BOTTOM + 34, "middle", "bits per weight");
}

static void quality(const struct bench_result *b, const char *name, double (*value)(const struct bench_row *), struct str *out) {
    struct plot p = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    struct str caption = {0};
    for (uint32_t i = 0; i < b->rows->count; i++) {
        const struct bench_row *row = &b->rows->row[i];
        if (is_point(b->rows, i, value)) {
            p.x_low = fmin(p.x_low, row->bits_per_weight);
            p.x_high = fmax(p.x_high, row->bits_per_weight);
            p.y_low = fmin(p.y_low, value(row));
            p.y_high = fmax(p.y_high, value(row));
        }
    }
    if (!(p.x_high >= p.x_low)) {
        return;
    }
    widen(&p.x_low, &p.x_high);
    widen(&p.y_low, &p.y_high);
    str_printf(&caption, "%s against bits per weight, a point per codec; lower is better", name);
    begin(out, PLOT_HEIGHT, str_text(&caption));
    axes(&p, out);
    for (uint32_t i = 0; i < b->rows->count; i++) {
        const struct bench_row *row = &b->rows->row[i];
        if (is_point(b->rows, i, value)) {
            double x = place_x(&p, row->bits_per_weight);
            bool right = x > (PLOT_LEFT + PLOT_RIGHT) / 2.0;
            str_printf(out, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"4\" class=\"s-compute\" fill=\"%s\"/>\n", x,
                       place_y(&p, value(row)), COMPUTE_COLOR);
            words(out, right ? x - 8 : x + 8, place_y(&p, value(row)) - 6, right ? "end" : "start", row->codec);
        }
    }
    end(out, str_text(&caption));
    str_drop(&caption);
}

void bench_chart_quality(const struct bench_result *b, struct str *out) {
    quality(b, "Perplexity", ppl_of, out);
    quality(b, "KL divergence (nats)", kl_of, out);
}
