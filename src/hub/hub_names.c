/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of repositories, revisions and files: which are allowed, and how they are written in addresses. What comes from outside
 * becomes part of paths on this machine, so a name is refused unless it is of the known form. Pure. */
#include <string.h>

#include "hub/hub_priv.h"

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

bool hub_is_commit(const char *text) {
    return strlen(text) == HUB_COMMIT_LEN && hub_is_etag(span_of_text(text));
}

bool hub_is_etag(struct span text) {
    for (size_t i = 0; i < text.len; i++) {
        if (!is_hex((char)text.ptr[i])) {
            return false;
        }
    }
    return text.len == 40 || text.len == 64;
}

/* One part of an id: plain characters, no dot or dash at its ends. */
static bool is_part(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (!is_plain(text[i])) {
            return false;
        }
    }
    return len > 0 && text[0] != '.' && text[0] != '-' && text[len - 1] != '.' && text[len - 1] != '-';
}

static bool is_id(const char *id) {
    const char *slash = strchr(id, '/');
    size_t len = strlen(id);
    if (len > HUB_ID_MAX || strstr(id, "--") != NULL || strstr(id, "..") != NULL ||
        (len > 4 && strcmp(id + len - 4, ".git") == 0)) {
        return false;
    }
    return slash == NULL ? is_part(id, len) : is_part(id, (size_t)(slash - id)) && is_part(slash + 1, strlen(slash + 1));
}

static bool is_revision(const char *text) {
    for (const char *p = text; *p != 0; p++) {
        if (!is_plain(*p) && *p != '/' && *p != '+') {
            return false;
        }
    }
    return hub_path_safe(span_of_text(text));
}

lamina_status hub_name_parse(const char *text, struct hub_name *out, struct lamina_error *err) {
    const char *at = strchr(text, '@');
    size_t len = at != NULL ? (size_t)(at - text) : strlen(text);
    const char *revision = at != NULL ? at + 1 : "main";
    *out = (struct hub_name){.has_owner = memchr(text, '/', len) != NULL};
    if (len > HUB_ID_MAX || strlen(revision) > HUB_REVISION_MAX) {
        return base_fail(err, LAMINA_USAGE, "\"%.120s\" is too long for a model of the hub", text);
    }
    memcpy(out->id, text, len);
    memcpy(out->revision, revision, strlen(revision));
    if (!is_id(out->id)) {
        return base_fail(err, LAMINA_USAGE, "\"%s\" is no model of the hub; expected ORG/NAME or ORG/NAME@REVISION", out->id);
    }
    if (!is_revision(out->revision)) {
        return base_fail(err, LAMINA_USAGE, "\"%s\" is no revision; expected a branch, a tag, or a commit of 40 hex digits",
                         out->revision);
    }
    return LAMINA_OK;
}

/* Relative, below its folder under the rules of POSIX and of Windows, printable. */
bool hub_path_safe(struct span path) {
    size_t part = 0; /* where the part at hand begins */
    if (path.len == 0 || path.len > 1024 || !utf8_valid(path)) {
        return false;
    }
    for (size_t i = 0; i <= path.len; i++) {
        uint8_t c = i < path.len ? path.ptr[i] : '/';
        if (c < 0x20 || c == 0x7f || c == '\\' || c == ':') {
            return false;
        }
        if (c == '/') {
            struct span name = span_sub(path, part, i - part);
            if (name.len == 0 || name.len > 255 || span_is(name, ".") || span_is(name, "..")) {
                return false;
            }
            part = i + 1;
        }
    }
    return true;
}

void hub_url_add(struct str *url, const char *text, bool keep_slash) {
    static const char digit[] = "0123456789ABCDEF";
    for (const char *p = text; *p != 0; p++) {
        if (is_plain(*p) || *p == '~' || (*p == '/' && keep_slash)) {
            str_add_byte(url, (uint8_t)*p);
        } else {
            char code[3] = {'%', digit[(uint8_t)*p >> 4], digit[(uint8_t)*p & 15]};
            str_add(url, code, sizeof(code));
        }
    }
}

lamina_status hub_resolve_url(const struct hub_env *env, const char *id, const char *commit, const char *path, struct str *url,
                              struct lamina_error *err) {
    str_printf(url, "%s/%s/resolve/%s/", str_text(&env->endpoint), id, commit);
    hub_url_add(url, path, true);
    return url->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory") : LAMINA_OK;
}

static size_t origin_len(const char *url) {
    const char *host = strstr(url, "://");
    return host == NULL ? 0 : (size_t)(host - url) + 3 + strcspn(host + 3, "/?#");
}

bool hub_same_origin(const char *a, const char *b) {
    size_t n = origin_len(a);
    if (n == 0 || n != origin_len(b)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) { /* schemes and hosts know no case; '@' would be somebody's password */
        char x = a[i] >= 'A' && a[i] <= 'Z' ? (char)(a[i] - 'A' + 'a') : a[i];
        char y = b[i] >= 'A' && b[i] <= 'Z' ? (char)(b[i] - 'A' + 'a') : b[i];
        if (x != y || x == '@') {
            return false;
        }
    }
    return true;
}
