/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina families: the table of model families in words, and how many rows have each feature. With a checkpoint, only the row
 * that reads it. docs/FAMILIES.md is made from the JSON (tools/families_doc.py).
 */
#include <string.h>
#include <sys/stat.h>

#include "app/cli/cli.h"
#include "base/json.h"
#include "base/status.h"

enum { MOST_TRAITS = 256 };

struct listing {
    struct str out;
    bool json;
    const char *only;           /* the one row that is asked for, NULL: all */
    uint32_t rows;
    uint32_t with[MOST_TRAITS]; /* rows that have a trait */
};

static void write_names(struct str *s, const char *key, const char *const *names) {
    str_printf(s, ", \"%s\": [", key);
    for (size_t i = 0; names[i] != NULL; i++) {
        str_add_text(s, i > 0 ? ", " : "");
        json_write_string(s, span_of_text(names[i]));
    }
    str_add_text(s, "]");
}

/* {"norm": ["RMS norm"], ...}: aspects that a row says nothing about are left out. */
static void write_traits(struct str *s, const bool *has) {
    struct lamina_trait t;
    const char *aspect = "";
    str_add_text(s, ", \"features\": {");
    for (uint32_t i = 0; lamina_trait_at(i, &t); i++) {
        if (!has[i]) {
            continue;
        }
        if (strcmp(aspect, t.aspect) == 0) {
            str_add_text(s, ", ");
        } else {
            str_add_text(s, aspect[0] != '\0' ? "], " : "");
            json_write_string(s, span_of_text(t.aspect));
            str_add_text(s, ": [");
        }
        json_write_string(s, span_of_text(t.words));
        aspect = t.aspect;
    }
    str_add_text(s, aspect[0] != '\0' ? "]}" : "}");
}

static void say_names(struct str *s, const char *const *names) {
    for (size_t i = 0; names[i] != NULL; i++) {
        str_printf(s, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    str_add_text(s, "\n");
}

static void say_traits(struct str *s, const bool *has) {
    struct lamina_trait t;
    const char *aspect = "";
    for (uint32_t i = 0; lamina_trait_at(i, &t); i++) {
        if (!has[i]) {
            continue;
        }
        if (strcmp(aspect, t.aspect) == 0) {
            str_printf(s, "; %s", t.words);
        } else {
            str_printf(s, "%s  %-10s %s", aspect[0] != '\0' ? "\n" : "", t.aspect, t.words);
        }
        aspect = t.aspect;
    }
    str_add_text(s, "\n\n");
}

static void add_family(void *user, const struct lamina_family *family) {
    struct listing *l = user;
    struct lamina_trait t;
    if (l->only != NULL && strcmp(l->only, family->name) != 0) {
        return;
    }
    for (uint32_t i = 0; i < MOST_TRAITS && lamina_trait_at(i, &t); i++) {
        l->with[i] += family->has[i];
    }
    if (l->json) {
        str_add_text(&l->out, l->rows > 0 ? ",\n{\"name\": " : "\n{\"name\": ");
        json_write_string(&l->out, span_of_text(family->name));
        write_names(&l->out, "architectures", family->architectures);
        write_names(&l->out, "model_types", family->model_types);
        write_traits(&l->out, family->has);
        str_add_text(&l->out, "}");
    } else {
        str_printf(&l->out, "%s: ", family->name);
        say_names(&l->out, family->architectures);
        say_traits(&l->out, family->has);
    }
    l->rows++;
}

/* How many rows have each feature; of one row there is nothing to count. */
static void add_counts(struct listing *l) {
    struct lamina_trait t;
    str_add_text(&l->out, l->json ? "\n], \"rows_per_feature\": [" : "");
    if (!l->json && l->only == NULL) {
        str_printf(&l->out, "%u families. Rows per feature:\n", l->rows);
    }
    for (uint32_t i = 0; l->only == NULL && i < MOST_TRAITS && lamina_trait_at(i, &t); i++) {
        if (!l->json) {
            str_printf(&l->out, "  %3u  %s: %s\n", l->with[i], t.aspect, t.words);
            continue;
        }
        str_add_text(&l->out, i > 0 ? ",\n{\"aspect\": " : "\n{\"aspect\": ");
        json_write_string(&l->out, span_of_text(t.aspect));
        str_add_text(&l->out, ", \"feature\": ");
        json_write_string(&l->out, span_of_text(t.words));
        str_printf(&l->out, ", \"rows\": %u}", l->with[i]);
    }
    str_add_text(&l->out, l->json ? "]}\n" : "");
}

/* The family of the checkpoint at `place`, a directory or a config.json. */
static lamina_status find_family(const char *place, char name[32], struct lamina_error *err) {
    struct str path = {0};
    struct str text = {0};
    struct stat st;
    bool folder = stat(place, &st) == 0 && S_ISDIR(st.st_mode);
    str_printf(&path, folder ? "%s/config.json" : "%s", place);
    lamina_status status = cli_read_file(str_text(&path), &text, err);
    if (status == LAMINA_OK) {
        status = lamina_family_of_config(str_text(&text), text.len, name, err);
    }
    str_drop(&text);
    str_drop(&path);
    return status;
}

lamina_status cmd_families(struct cli_options *o, struct lamina_error *err) {
    struct listing l = {.json = o->json};
    char name[32];
    if (o->args[0] != NULL) {
        LAMINA_TRY(find_family(o->args[0], name, err));
        l.only = name;
    }
    str_add_text(&l.out, o->json ? "{\"families\": [" : "");
    lamina_families(add_family, &l);
    add_counts(&l);
    lamina_status status = l.out.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for the list") : cli_out_str(&l.out, err);
    str_drop(&l.out);
    return status;
}
