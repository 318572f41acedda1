/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a hub's answers: a listing, the headers of a redirect or a range, a name, an index. What parses must be safe to make
 * paths and addresses of. The first byte chooses what the rest is. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_bytes.h"
#include "hub/hub_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void stays_below(const char *path) {
    require(path[0] != '/' && path[0] != 0 && strchr(path, '\\') == NULL);
    for (const char *p = path; p != NULL; p = strchr(p, '/') != NULL ? strchr(p, '/') + 1 : NULL) {
        size_t n = strcspn(p, "/");
        require(n > 0 && !(n == 1 && p[0] == '.') && !(n == 2 && p[0] == '.' && p[1] == '.'));
    }
}

static void listing(struct span text) {
    static const struct hub_patterns all = {.include = NULL};
    struct hub_listing l;
    struct lamina_error err = {0};
    if (hub_listing_parse(text, "f", &l, &err) == LAMINA_OK) {
        require(hub_is_commit(l.commit));
        for (uint32_t i = 0; i < l.count; i++) {
            stays_below(l.files[i].path);
            require(l.files[i].etag[0] == 0 || hub_is_etag(span_of_text(l.files[i].etag)));
        }
        struct lamina_error why = {0};
        (void)hub_select(&l, &all, text, "org/f", &why);
    }
    hub_listing_drop(&l);
}

static void headers(struct span text) {
    struct hub_headers h = {0};
    while (text.len > 0) {
        const uint8_t *nl = memchr(text.ptr, '\n', text.len);
        size_t n = nl != NULL ? (size_t)(nl - text.ptr) + 1 : text.len;
        if (!hub_headers_line(&h, span_sub(text, 0, n))) {
            break;
        }
        text = span_sub(text, n, text.len);
    }
    require(h.etag[0] == 0 || hub_is_etag(span_of_text(h.etag)));
    require(h.commit[0] == 0 || hub_is_commit(h.commit));
    require(!h.has_range || h.range_end > h.range_begin);
    require(h.retry_after_s <= 3600 && h.limit_reset_s <= 3600 && h.status < 1000);
    struct hub_env env = {.offline = false};
    struct lamina_error err = {0};
    require(hub_headers_refuse(&h, &env, "org/f", "main", "f", &err) < 0);
}

static void names(const char *text) {
    struct hub_name name;
    struct lamina_error err = {0};
    char folder[HUB_ID_MAX + 16];
    if (hub_name_parse(text, &name, &err) == LAMINA_OK) {
        stays_below(name.revision);
        hub_folder_name(name.id, folder);
        require(strchr(folder, '/') == NULL && strncmp(folder, "models--", 8) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    struct span rest = span_of(data + 1, size - 1);
    char *text = malloc(size);
    if (text == NULL) {
        return 0;
    }
    memcpy(text, rest.ptr, rest.len);
    text[rest.len] = 0;
    switch (data[0] & 3) {
    case 0:
        listing(rest);
        break;
    case 1:
        headers(rest);
        break;
    case 2:
        names(text);
        break;
    default:
        (void)hub_pattern_matches(text, text + rest.len / 2);
        (void)hub_same_origin(text, text + rest.len / 2);
    }
    free(text);
    return 0;
}
