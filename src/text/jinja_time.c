/* SPDX-License-Identifier: Apache-2.0
 *
 * strftime in the C locale for one given moment, as UTC and without a zone (what Python's naive datetime prints). Own
 * calendar arithmetic, so no clock, locale or zone file of the machine is asked. Field widths and the GNU flags '-',
 * '_' and '0' are understood; unknown conversions are refused.
 */
#include <stdio.h>

#include "text/jinja_priv.h"

struct moment {
    int64_t year, unix_s;
    int month, day, hour, minute, second, weekday, yearday; /* month 1.., day 1.., weekday 0 = Sunday, yearday 0.. */
};

static bool is_leap(int64_t y) {
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

/* Days since 1970-01-01 to a civil date, by eras of 400 years that begin in March (H. Hinnant's derivation). */
static struct moment moment_of(int64_t unix_s) {
    struct moment m = {.unix_s = unix_s};
    int64_t days = unix_s / 86400 - (unix_s % 86400 < 0);
    int64_t rest = unix_s - days * 86400;
    m.hour = (int)(rest / 3600);
    m.minute = (int)(rest / 60 % 60);
    m.second = (int)(rest % 60);
    m.weekday = (int)(((days + 4) % 7 + 7) % 7);
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    m.day = (int)(doy - (153 * mp + 2) / 5 + 1);
    m.month = (int)(mp < 10 ? mp + 3 : mp - 9);
    m.year = yoe + era * 400 + (m.month <= 2);
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    m.yearday = before[m.month - 1] + m.day - 1 + (m.month > 2 && is_leap(m.year));
    return m;
}

/* ISO 8601 week: weeks begin on Monday, week 1 holds January 4th. */
static int iso_week(const struct moment *m, int64_t *year) {
    int monday0 = (m->weekday + 6) % 7;
    int week = (m->yearday - monday0 + 10) / 7;
    *year = m->year;
    if (week < 1) {
        *year = m->year - 1;
        int days = 365 + is_leap(*year);
        week = (m->yearday + days - monday0 + 10) / 7;
    } else if (week == 53) {
        int days = 365 + is_leap(m->year);
        if (m->yearday - monday0 + 3 >= days) { /* this week's Thursday is in the next year */
            *year = m->year + 1;
            week = 1;
        }
    }
    return week;
}

static void add_number(struct str *out, int64_t value, int width, char pad, char flag) {
    if (flag == '-') {
        str_printf(out, "%lld", (long long)value);
        return;
    }
    pad = flag == '_' ? ' ' : flag == '0' ? '0' : pad;
    str_printf(out, pad == ' ' ? "%*lld" : "%0*lld", width, (long long)value);
}

static const char *const day_names[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {"January", "February", "March", "April", "May", "June", "July", "August",
                                          "September", "October", "November", "December"};

/* Conversions that are numbers; false when c is none of them. */
static bool add_numeric(struct str *out, char c, const struct moment *m, char flag) {
    int64_t iso_year = 0;
    int week = iso_week(m, &iso_year);
    int hour12 = m->hour % 12 == 0 ? 12 : m->hour % 12;
    const struct {
        char c;
        char pad;
        int width;
        int64_t value;
    } table[] = {{'Y', '0', 1, m->year}, {'m', '0', 2, m->month}, {'d', '0', 2, m->day}, {'e', ' ', 2, m->day},
                 {'H', '0', 2, m->hour}, {'k', ' ', 2, m->hour}, {'I', '0', 2, hour12}, {'l', ' ', 2, hour12},
                 {'M', '0', 2, m->minute}, {'S', '0', 2, m->second}, {'j', '0', 3, m->yearday + 1},
                 {'y', '0', 2, (m->year % 100 + 100) % 100}, {'C', '0', 2, m->year / 100}, {'f', '0', 6, 0},
                 {'w', '0', 1, m->weekday}, {'u', '0', 1, m->weekday == 0 ? 7 : m->weekday},
                 {'U', '0', 2, (m->yearday + 7 - m->weekday) / 7},
                 {'W', '0', 2, (m->yearday + 7 - (m->weekday + 6) % 7) / 7}, {'V', '0', 2, week},
                 {'G', '0', 1, iso_year}, {'g', '0', 2, (iso_year % 100 + 100) % 100}, {'s', '0', 1, m->unix_s}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].c == c) {
            add_number(out, table[i].value, table[i].width, table[i].pad, flag);
            return true;
        }
    }
    return false;
}

static bool add_named(struct str *out, char c, const struct moment *m, char flag) {
    const char *text = NULL;
    size_t len = 0;
    switch (c) {
    case 'a':
    case 'A':
        text = day_names[m->weekday];
        len = c == 'a' ? 3 : strlen(text);
        break;
    case 'b':
    case 'h':
    case 'B':
        text = month_names[m->month - 1];
        len = c == 'B' ? strlen(text) : 3;
        break;
    case 'p':
    case 'P':
        text = (m->hour < 12) ? (c == 'p' ? "AM" : "am") : (c == 'p' ? "PM" : "pm");
        len = 2;
        break;
    case 'z': /* a naive time has no zone */
    case 'Z':
        return true;
    case '%':
    case 'n':
    case 't':
        str_add_byte(out, (uint8_t)(c == 'n' ? '\n' : c == 't' ? '\t' : '%'));
        return true;
    default:
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t b = (uint8_t)text[i];
        str_add_byte(out, flag == '^' && b >= 'a' && b <= 'z' ? (uint8_t)(b - 32) : b);
    }
    return true;
}

/* Conversions that stand for a longer format. */
static const char *long_form(char c) {
    switch (c) {
    case 'c':
        return "%a %b %e %H:%M:%S %Y";
    case 'x':
    case 'D':
        return "%m/%d/%y";
    case 'X':
    case 'T':
        return "%H:%M:%S";
    case 'F':
        return "%Y-%m-%d";
    case 'R':
        return "%H:%M";
    case 'r':
        return "%I:%M:%S %p";
    default:
        return NULL;
    }
}

/* `outer` is false inside a long form, which holds none itself. */
static bool add_format(struct jinja_run *r, struct span format, const struct moment *m, bool outer, struct str *out) {
    for (size_t i = 0; i < format.len; i++) {
        if (format.ptr[i] != '%' || i + 1 == format.len) {
            str_add_byte(out, format.ptr[i]);
            continue;
        }
        char c = (char)format.ptr[++i];
        char flag = 0;
        if ((c == '-' || c == '_' || c == '0' || c == '^') && i + 1 < format.len) {
            flag = c;
            c = (char)format.ptr[++i];
        }
        const char *inner = outer ? long_form(c) : NULL;
        if (inner != NULL) {
            if (!add_format(r, span_of_text(inner), m, false, out)) {
                return false;
            }
        } else if (!add_numeric(out, c, m, flag) && !add_named(out, c, m, flag)) {
            return jinja_fail(r, LAMINA_UNSUPPORTED, "strftime_now: the conversion '%%%c' is not known", c);
        }
    }
    return true;
}

bool jinja_strftime(struct jinja_run *r, struct span format, int64_t unix_s, struct str *out) {
    const int64_t most = INT64_C(253402300800); /* year 10000, where Python's years end */
    if (unix_s < -INT64_C(62135596800) || unix_s >= most) {
        return jinja_fail(r, LAMINA_USAGE, "strftime_now: the time is outside the years 1 to 9999");
    }
    struct moment m = moment_of(unix_s);
    return add_format(r, format, &m, true, out);
}
