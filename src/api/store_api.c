/* SPDX-License-Identifier: Apache-2.0
 * Split, verify, show and sources: argument checks and translation to the store room. */
#include <inttypes.h>
#include <stdlib.h>

#include "api/api_priv.h"
#include "base/checked.h"

lamina_status lamina_source_open(struct lamina_source **source, const char *checkpoint, struct lamina_error *err) {
    return store_source_open(source, checkpoint, err);
}

void lamina_source_close(struct lamina_source **source) {
    store_source_close(source);
}

void lamina_split_defaults(struct lamina_split_options *o) {
    *o = (struct lamina_split_options){.size = sizeof(*o), .codec = STORE_CODEC_DEFAULT};
}

/* Splits a checkpoint into its place in `home`: the same as the first use of any command. */
static lamina_status split_in_home(const struct lamina_split_options *o, struct str *path, struct lamina_error *err) {
    struct str home = {0};
    lamina_status status = api_home(o->home, &home, err);
    if (status == LAMINA_OK) {
        status = store_locate(o->checkpoint, str_text(&home), o->codec, true, &o->callbacks, path, err);
    }
    str_drop(&home);
    return status;
}

static lamina_status split_to(const struct lamina_split_options *o, struct lamina_error *err) {
    struct log_sink log = {.say = o->callbacks.log, .user = o->callbacks.user};
    struct store_split_options so = {
        .source = o->source,
        .checkpoint = o->checkpoint,
        .arriving = o->arriving,
        .output = o->output,
        .codec = o->codec,
        .delete_original = o->delete_original,
        .wait_for_lock = true,
        .callbacks = &o->callbacks,
        .log = &log,
    };
    return store_split(&so, err);
}

/* What packed weights take is known when they are: a store that is too large after all is said to be, not passed off. */
static lamina_status check_fit(const char *path, uint64_t bytes, struct lamina_error *err) {
    struct store *s = NULL;
    LAMINA_TRY(store_open(&s, path, NULL, err));
    const uint64_t took = s->store_bytes;
    store_close(&s);
    return took <= bytes ? LAMINA_OK
                         : base_fail(err, LAMINA_NO_FIT,
                                     "the store at %s is whole, but takes %" PRIu64 " bytes, more than the %" PRIu64
                                     " asked for; ask for about %" PRIu64 ", and remove this one",
                                     path, took, bytes, bytes - min_u64(bytes, took - bytes + bytes / 256));
}

lamina_status lamina_split(const struct lamina_split_options *o, char **store, struct lamina_error *err) {
    if (o->size != sizeof(*o)) {
        return base_fail(err, LAMINA_USAGE, "options were not made by lamina_split_defaults of this library version");
    }
    if ((o->checkpoint == NULL) == (o->source == NULL)) {
        return base_fail(err, LAMINA_USAGE, "split needs either a checkpoint directory or a source");
    }
    if (o->source != NULL && o->output == NULL) {
        return base_fail(err, LAMINA_USAGE, "a source of the caller's needs an output directory");
    }
    if (o->codec != NULL && !store_codec_known(o->codec)) {
        return base_fail(err, LAMINA_UNSUPPORTED, "codec \"%s\" is not supported (" STORE_CODECS " are)", o->codec);
    }
    if (o->output == NULL && o->delete_original) {
        return base_fail(err, LAMINA_USAGE, "deleting the original needs an output directory (-o DIR)");
    }
    if (o->arriving != NULL && (o->checkpoint == NULL || o->output == NULL || o->fit_bytes != 0 || o->delete_original ||
                                o->arriving->size != sizeof(*o->arriving))) {
        return base_fail(err, LAMINA_USAGE, "weights that are still arriving need a checkpoint directory, an output directory and "
                                            "a codec; fitting a size and deleting the original do not go with them");
    }
    struct lamina_split_options chosen = *o;
    struct str path = {0};
    char codec[16];
    if (o->codec == NULL) {
        chosen.codec = STORE_CODEC_DEFAULT;
    }
    if (o->fit_bytes != 0) {
        struct log_sink log = {.say = o->callbacks.log, .user = o->callbacks.user};
        LAMINA_TRY(store_codec_that_fits(o->checkpoint, o->source, o->fit_bytes, codec, err));
        log_say(&log, LOG_NOTE, "codec %s is the finest that fits", codec);
        chosen.codec = codec;
    }
    lamina_status status = LAMINA_OK;
    if (o->output == NULL) {
        status = split_in_home(&chosen, &path, err);
    } else {
        str_add_text(&path, o->output);
        status = split_to(&chosen, err);
    }
    if (status == LAMINA_OK && o->fit_bytes != 0) {
        status = check_fit(str_text(&path), o->fit_bytes, err);
    }
    if (status == LAMINA_OK && store != NULL) {
        str_add(&path, "", 0);
        *store = path.ptr;
        return LAMINA_OK;
    }
    str_drop(&path);
    return status;
}

static lamina_status locate(const char *model, const char *home, struct str *path, struct lamina_error *err) {
    struct str place = {0};
    lamina_status status = api_home(home, &place, err);
    if (status == LAMINA_OK) {
        status = store_locate(model, str_text(&place), NULL, false, NULL, path, err);
    }
    str_drop(&place);
    return status;
}

lamina_status lamina_verify(const char *model, const char *home, const char *source,
                            const struct lamina_callbacks *callbacks, struct lamina_verify_result *result,
                            struct lamina_error *err) {
    struct str path = {0};
    lamina_status status = locate(model, home, &path, err);
    if (status == LAMINA_OK) {
        status = store_verify(str_text(&path), source, callbacks, result, err);
    }
    str_drop(&path);
    return status;
}

lamina_status lamina_show(const char *model, const char *home, bool json, char **out, struct lamina_error *err) {
    struct str path = {0};
    struct str text = {0};
    struct store *s = NULL;
    lamina_status status = locate(model, home, &path, err);
    if (status == LAMINA_OK) {
        status = store_open(&s, str_text(&path), NULL, err);
    }
    if (status == LAMINA_OK) {
        status = store_show(s, json, &text, err);
    }
    store_close(&s);
    str_drop(&path);
    if (status == LAMINA_OK && text.failed) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for the description");
    }
    if (status != LAMINA_OK) {
        str_drop(&text);
        return status;
    }
    *out = text.ptr;
    return LAMINA_OK;
}

lamina_status lamina_store_remove(const char *store, struct lamina_error *err) {
    return store_remove(store, err);
}
