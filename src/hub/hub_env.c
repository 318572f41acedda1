/* SPDX-License-Identifier: Apache-2.0
 *
 * The environment, read as huggingface_hub reads it, so that whoever has set up the one has set up the other. The token is a
 * secret: it appears in no message. */
#include <stdlib.h>
#include <string.h>

#include "hub/hub_priv.h"

#define HUB_DEFAULT_ENDPOINT "https://huggingface.co"
enum { TOKEN_MAX = 4096, CONNECT_S = 10, STALL_S = 60 };

static const char *given(const char *name) {
    const char *value = sys_env(name);
    return value != NULL && *value != 0 ? value : NULL;
}

static bool is_true(const char *name) {
    static const char *const yes[] = {"1", "on", "yes", "true"};
    const char *value = given(name);
    for (size_t i = 0; value != NULL && i < ARRAY_LEN(yes); i++) {
        size_t k = 0;
        while (yes[i][k] != 0 && (value[k] == yes[i][k] || value[k] == yes[i][k] - 'a' + 'A')) {
            k++;
        }
        if (yes[i][k] == 0 && value[k] == 0) {
            return true;
        }
    }
    return false;
}

/* "~" in front, and $NAME or ${NAME} anywhere; a name that is not set stays as it is. */
static void add_expanded(struct str *out, const char *path) {
    const char *user = given("HOME");
    if (path[0] == '~' && (path[1] == '/' || path[1] == 0) && user != NULL) {
        str_add_text(out, user);
        path++;
    }
    while (*path != 0) {
        char name[64];
        size_t n = 0;
        bool braces = path[0] == '$' && path[1] == '{';
        const char *p = path + (path[0] == '$' ? 1 + braces : 0);
        while (path[0] == '$' && n + 1 < sizeof(name) && (*p == '_' || (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
                                                          (*p >= 'a' && *p <= 'z'))) {
            name[n++] = *p++;
        }
        name[n] = 0;
        const char *value = n > 0 && (!braces || *p == '}') ? given(name) : NULL;
        if (value != NULL) {
            str_add_text(out, value);
            path = p + braces;
        } else {
            str_add_byte(out, (uint8_t)*path++);
        }
    }
}

/* The folder of everything that belongs to the hub. False when the environment names no place at all. */
static bool add_home(struct str *out) {
    const char *home = given("HF_HOME");
    const char *xdg = given("XDG_CACHE_HOME");
    if (home != NULL) {
        add_expanded(out, home);
    } else if (xdg != NULL) {
        add_expanded(out, xdg);
        str_add_text(out, "/huggingface");
    } else {
        add_expanded(out, "~/.cache/huggingface");
    }
    return str_text(out)[0] != '~';
}

static lamina_status read_cache(struct hub_env *env, struct lamina_error *err) {
    const char *cache = given("HF_HUB_CACHE");
    cache = cache != NULL ? cache : given("HUGGINGFACE_HUB_CACHE");
    if (cache != NULL) {
        add_expanded(&env->cache, cache);
        return LAMINA_OK;
    }
    if (!add_home(&env->cache)) {
        return base_fail(err, LAMINA_USAGE, "neither HOME nor HF_HOME is set; set HF_HUB_CACHE to a directory for models");
    }
    str_add_text(&env->cache, "/hub");
    return LAMINA_OK;
}

/* Without blanks and line ends around it. What cannot stand in a header is no token. */
static lamina_status take_token(struct hub_env *env, const char *text, const char *from, struct lamina_error *err) {
    size_t begin = strspn(text, " \t\r\n");
    size_t len = strlen(text + begin);
    while (len > 0 && strchr(" \t\r\n", text[begin + len - 1]) != NULL) {
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[begin + i] <= 0x20 || text[begin + i] > 0x7e) {
            return base_fail(err, LAMINA_USAGE, "%s holds no token of the hub: there are blanks or odd characters inside", from);
        }
    }
    str_add(&env->token, text + begin, len);
    return LAMINA_OK;
}

static lamina_status read_token(struct hub_env *env, struct lamina_error *err) {
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    struct str path = {0};
    struct str text = {0};
    lamina_status status = LAMINA_OK;
    for (size_t i = 0; i < ARRAY_LEN(names) && env->token.len == 0; i++) {
        if (given(names[i]) != NULL) {
            LAMINA_TRY(take_token(env, given(names[i]), names[i], err));
        }
    }
    if (env->token.len > 0 || is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
        return LAMINA_OK;
    }
    if (given("HF_TOKEN_PATH") != NULL) {
        add_expanded(&path, given("HF_TOKEN_PATH"));
    } else if (add_home(&path)) {
        str_add_text(&path, "/token");
    }
    if (path.len > 0 && sys_exists(str_text(&path))) {
        status = sys_read_whole(str_text(&path), TOKEN_MAX, &text, err);
        if (status == LAMINA_OK) {
            status = take_token(env, str_text(&text), str_text(&path), err);
        }
    }
    str_drop(&path);
    str_drop(&text);
    return status;
}

static uint32_t seconds(const char *name, uint32_t fallback) {
    const char *value = given(name);
    unsigned long n = value != NULL && strspn(value, "0123456789") == strlen(value) ? strtoul(value, NULL, 10) : 0;
    return n > 0 && n <= 86400 ? (uint32_t)n : fallback;
}

lamina_status hub_env_read(struct hub_env *env, struct lamina_error *err) {
    static const char *const ca_files[] = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"};
    const char *endpoint = given("HF_ENDPOINT");
    *env = (struct hub_env){.offline = is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE"),
                            .no_links = is_true("HF_HUB_DISABLE_SYMLINKS"),
                            .connect_s = seconds("HF_HUB_ETAG_TIMEOUT", CONNECT_S),
                            .stall_s = seconds("HF_HUB_DOWNLOAD_TIMEOUT", STALL_S)};
    LAMINA_TRY(read_cache(env, err));
    LAMINA_TRY(read_token(env, err));
    str_add_text(&env->endpoint, endpoint != NULL ? endpoint : HUB_DEFAULT_ENDPOINT);
    while (env->endpoint.len > 0 && env->endpoint.ptr[env->endpoint.len - 1] == '/') {
        env->endpoint.ptr[--env->endpoint.len] = 0;
    }
    if (strncmp(str_text(&env->endpoint), "http://", 7) != 0 && strncmp(str_text(&env->endpoint), "https://", 8) != 0) {
        return base_fail(err, LAMINA_USAGE, "HF_ENDPOINT: \"%.200s\" does not begin with https:// or http://",
                         str_text(&env->endpoint));
    }
    for (size_t i = 0; i < ARRAY_LEN(ca_files) && env->ca_file.len == 0; i++) {
        str_add_text(&env->ca_file, given(ca_files[i]) != NULL ? given(ca_files[i]) : "");
    }
    bool failed = env->cache.failed || env->token.failed || env->endpoint.failed || env->ca_file.failed;
    return failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for the environment's words") : LAMINA_OK;
}

void hub_env_drop(struct hub_env *env) {
    str_drop(&env->cache);
    str_drop(&env->token);
    str_drop(&env->endpoint);
    str_drop(&env->ca_file);
}
