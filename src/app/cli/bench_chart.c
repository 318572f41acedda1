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
    str_add_html(out, str_span(&safe));
    str_drop(&safe);
}

/* ---- shapes ---- */

static void begin(struct str *out, double height, const char *label) {
    str_add_text(out, "<figure><figcaption>");
    bench_escape(out, label);
    str_add_text(out, "</figcaption>\n");
    str_printf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" font-family=\"sans-serif\" "
                    "font-size=\"11\" fill=\"currentColor\" role=\"img\" aria-label=\"", WIDTH, height);
    bench_escape(out, label);
    str_add_text(out, "\">\n");
}

static void end(struct str *out) {
    str_add_text(out, "</svg></figure>\n");
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
    end(out);
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

/* ---- tokens per second ---- */

/* The median as a bar, the range of the repeats as a line with ends. */
static void speed_bar(const struct bench_result *b, const struct bench_row *row, double y, double most, struct str *out) {
    struct str text = {0};
    double low = 0.0;
    double high = 0.0;
    double middle = y + 18 + BAR_HEIGHT / 2.0;
    (void)bench_range(&row->tokens_per_s, &low, &high);
    str_printf(&text, "%.4g tokens/s (%.4g-%.4g): ", bench_median(&row->tokens_per_s), low, high);
    bench_row_words(b, row, &text);
    label(out, y + 12, str_text(&text));
    rect(out, 0, y + 18, bench_median(&row->tokens_per_s) / most * WIDTH, &stages[2].paint);
    line(out, low / most * WIDTH, middle, high / most * WIDTH, middle);
    line(out, low / most * WIDTH, middle - 4, low / most * WIDTH, middle + 4);
    line(out, high / most * WIDTH, middle - 4, high / most * WIDTH, middle + 4);
    str_drop(&text);
}

static void speed_of_test(const struct bench_result *b, const char *test, struct str *out) {
    struct str caption = {0};
    double most = 0.0;
    double y = 0.0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < b->rows->count; i++) {
        double low = 0.0;
        double high = 0.0;
        if (shows(&b->rows->row[i], test) && bench_range(&b->rows->row[i].tokens_per_s, &low, &high)) {
            most = fmax(most, high);
            count++;
        }
    }
    if (!(most > 0.0)) {
        return;
    }
    str_printf(&caption, "%s: tokens per second, median and range of the repeats, by configuration; longer is better", test);
    begin(out, (double)count * STEP, str_text(&caption));
    for (uint32_t i = 0; i < b->rows->count; i++) {
        if (shows(&b->rows->row[i], test)) {
            speed_bar(b, &b->rows->row[i], y, most * 1.01, out);
            y += STEP;
        }
    }
    end(out);
    str_drop(&caption);
}

void bench_chart_speed(const struct bench_result *b, struct str *out) {
    for (uint32_t i = 0; i < b->rows->count; i++) {
        if (first_of_test(b->rows, i)) {
            speed_of_test(b, b->rows->row[i].test, out);
        }
    }
}

/* ---- rate against limit ---- */

/* `unit`: how long a limit is drawn. Every row has one of its own, so that a slow drive's bars can be seen beside a fast one's. */
static void rate_bar(const struct bench_result *b, const struct bench_row *row, double y, double unit, struct str *out) {
    struct str text = {0};
    char rate[32];
    char limit[32];
    double reads = bench_median(&row->disk_bytes_per_s);
    str_printf(&text, "%s: %s of %s, %.0f %%; ", row->test, cli_rate(rate, reads), cli_rate(limit, row->disk_limit_bytes_per_s),
               100.0 * bench_share(row));
    bench_row_words(b, row, &text);
    label(out, y + 12, str_text(&text));
    rect(out, 0, y + 18, unit, &(struct paint){"limit", "#e4e4e4"});
    rect(out, 0, y + 18, bench_share(row) * unit, &(struct paint){"s-read", READ_COLOR});
    line(out, unit, y + 15, unit, y + 21 + BAR_HEIGHT);
    str_drop(&text);
}

void bench_chart_rate(const struct bench_result *b, struct str *out) {
    static const char caption[] = "What each test read from the drive, as a share of the drive's limit (the light bar that ends "
                                  "in a line), measured right before";
    double most = 1.0;
    double y = 0.0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < b->rows->count; i++) {
        const struct bench_row *row = &b->rows->row[i];
        if (bench_known(bench_share(row))) {
            most = fmax(most, bench_share(row));
            count++;
        }
    }
    if (count == 0) {
        return;
    }
    begin(out, (double)count * STEP, caption);
    for (uint32_t i = 0; i < b->rows->count; i++) {
        if (bench_known(bench_share(&b->rows->row[i]))) {
            rate_bar(b, &b->rows->row[i], y, WIDTH / (most * 1.01), out);
            y += STEP;
        }
    }
    end(out);
}

/* ---- quality against bits ---- */

struct plot {
    double x_low, x_high, y_low, y_high;
};
enum { PLOT_LEFT = 60, PLOT_TOP = 12, PLOT_RIGHT = WIDTH - 12, PLOT_BOTTOM = 220, PLOT_HEIGHT = 262 };

static double ppl_of(const struct bench_row *row) {
    return row->of_text.ppl;
}

static double kl_of(const struct bench_row *row) {
    return row->of_text.kl;
}

static double kl_error_of(const struct bench_row *row) {
    return row->of_text.kl_error;
}

static double accuracy_of(const struct bench_row *row) {
    return 100.0 * row->of_tasks.accuracy;
}

static double accuracy_error_of(const struct bench_row *row) {
    return 100.0 * row->of_tasks.accuracy_error;
}

/* A figure to draw. The error of a perplexity is left out: it is that of the text, which all codecs have in common. */
struct figure {
    const char *name, *better;
    double (*value)(const struct bench_row *row);
    double (*error)(const struct bench_row *row); /* NULL: none */
};
static const struct figure figures[] = {
    {"Perplexity", "lower", ppl_of, NULL},
    {"KL divergence (nats)", "lower", kl_of, kl_error_of},
    {"Tasks right (%)", "higher", accuracy_of, accuracy_error_of},
};

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

/* Of 1, 2 or 5 times a power of ten the least that makes at most six ticks. */
static double tick_step(double low, double high) {
    double least = (high - low) / 5.0;
    double ten = pow(10.0, floor(log10(least)));
    return least <= ten ? ten : least <= 2.0 * ten ? 2.0 * ten : least <= 5.0 * ten ? 5.0 * ten : 10.0 * ten;
}

static void axes(const struct plot *p, struct str *out) {
    char text[32];
    double step = tick_step(p->x_low, p->x_high);
    line(out, PLOT_LEFT, PLOT_BOTTOM, PLOT_RIGHT, PLOT_BOTTOM);
    line(out, PLOT_LEFT, PLOT_TOP, PLOT_LEFT, PLOT_BOTTOM);
    for (double n = ceil(p->x_low / step); n * step <= p->x_high; n++) {
        (void)snprintf(text, sizeof(text), "%.4g", n * step);
        line(out, place_x(p, n * step), PLOT_BOTTOM, place_x(p, n * step), PLOT_BOTTOM + 4);
        words(out, place_x(p, n * step), PLOT_BOTTOM + 16, "middle", text);
    }
    step = tick_step(p->y_low, p->y_high);
    for (double n = ceil(p->y_low / step); n * step <= p->y_high; n++) {
        (void)snprintf(text, sizeof(text), "%.5g", n * step);
        line(out, PLOT_LEFT - 4, place_y(p, n * step), PLOT_LEFT, place_y(p, n * step));
        words(out, PLOT_LEFT - 7, place_y(p, n * step) + 4, "end", text);
    }
    words(out, (PLOT_LEFT + PLOT_RIGHT) / 2.0, PLOT_BOTTOM + 34, "middle", "bits per weight");
}

static double error_of(const struct figure *f, const struct bench_row *row) {
    double error = f->error != NULL ? f->error(row) : 0.0;
    return bench_known(error) ? error : 0.0;
}

static void point(const struct figure *f, const struct bench_row *row, const struct plot *p, struct str *out) {
    double x = place_x(p, row->bits_per_weight);
    double y = place_y(p, f->value(row));
    double error = error_of(f, row);
    bool right = x > (PLOT_LEFT + PLOT_RIGHT) / 2.0;
    if (error > 0.0) {
        line(out, x, place_y(p, f->value(row) - error), x, place_y(p, f->value(row) + error));
    }
    str_printf(out, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"4\" class=\"s-compute\" fill=\"%s\"/>\n", x, y, COMPUTE_COLOR);
    words(out, right ? x - 8 : x + 8, y - 6, right ? "end" : "start", row->codec);
}

static void quality(const struct bench_result *b, const struct figure *f, struct str *out) {
    struct plot p = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    struct str caption = {0};
    for (uint32_t i = 0; i < b->rows->count; i++) {
        const struct bench_row *row = &b->rows->row[i];
        if (is_point(b->rows, i, f->value)) {
            p.x_low = fmin(p.x_low, row->bits_per_weight);
            p.x_high = fmax(p.x_high, row->bits_per_weight);
            p.y_low = fmin(p.y_low, f->value(row) - error_of(f, row));
            p.y_high = fmax(p.y_high, f->value(row) + error_of(f, row));
        }
    }
    if (!(p.x_high >= p.x_low)) {
        return;
    }
    widen(&p.x_low, &p.x_high);
    bool below_zero = p.y_low < 0.0;
    widen(&p.y_low, &p.y_high);
    p.y_low = below_zero ? p.y_low : fmax(p.y_low, 0.0); /* none of these figures can be there */
    str_printf(&caption, "%s against bits per weight, a point per codec%s; %s is better", f->name,
               f->error != NULL ? " with its standard error" : "", f->better);
    begin(out, PLOT_HEIGHT, str_text(&caption));
    axes(&p, out);
    for (uint32_t i = 0; i < b->rows->count; i++) {
        const struct bench_row *row = &b->rows->row[i];
        if (is_point(b->rows, i, f->value)) {
            point(f, row, &p, out);
        }
    }
    end(out);
    str_drop(&caption);
}

void bench_chart_quality(const struct bench_result *b, struct str *out) {
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        quality(b, &figures[i], out);
    }
}
