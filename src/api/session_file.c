/* SPDX-License-Identifier: Apache-2.0
 * Sessions in files: the bytes of gen/session_keep.c under a temporary name, synced, renamed. What was written or read is dropped
 * from the page cache on the way, since groups of processes pay for that too. */
#include "api/api_priv.h"
#include "sys/file.h"

enum { DROP_BYTES = 32 << 20 };

struct session_file {
    struct sys_file f;
    const char *path;
    uint64_t at, dropped; /* bytes done; of these, no longer in the page cache */
};

static lamina_status write_some(void *user, const void *bytes, size_t len, struct lamina_error *err) {
    struct session_file *s = (struct session_file *)user;
    LAMINA_TRY(sys_file_write_at(&s->f, s->path, s->at, bytes, len, err));
    s->at += len;
    if (s->at - s->dropped >= DROP_BYTES) {
        LAMINA_TRY(sys_file_sync(&s->f, s->path, err));
        sys_file_drop_cache(&s->f, s->dropped, s->at - s->dropped);
        s->dropped = s->at;
    }
    return LAMINA_OK;
}

static lamina_status read_some(void *user, void *bytes, size_t len, struct lamina_error *err) {
    struct session_file *s = (struct session_file *)user;
    LAMINA_TRY(sys_file_read_at(&s->f, s->path, s->at, bytes, len, err));
    s->at += len;
    if (s->at - s->dropped >= DROP_BYTES) {
        sys_file_drop_cache(&s->f, s->dropped, s->at - s->dropped);
        s->dropped = s->at;
    }
    return LAMINA_OK;
}

lamina_status lamina_session_save(struct lamina_session *session, const char *path, struct lamina_error *err) {
    char temp[SYS_PATH_LEN];
    if (!sys_temp_name(path, temp, sizeof(temp))) {
        return base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", path);
    }
    struct session_file file = {.path = temp};
    LAMINA_TRY(sys_file_create_private(&file.f, temp, err));
    const struct kv_writer writer = {.user = &file, .write = write_some};
    lamina_status status = session_write(&session->s, session->model->p.store->identity, &writer, err);
    if (status == LAMINA_OK) {
        status = sys_file_sync(&file.f, temp, err);
        sys_file_drop_cache(&file.f, 0, file.at);
    }
    sys_file_close(&file.f);
    if (status == LAMINA_OK) {
        status = sys_rename_durable(temp, path, err);
    }
    if (status != LAMINA_OK) {
        struct lamina_error ignored = {0};
        (void)sys_remove(temp, &ignored);
    }
    return status;
}

lamina_status lamina_session_load(struct lamina_session *session, const char *path, struct lamina_error *err) {
    struct session_file file = {.path = path};
    LAMINA_TRY(session_truncate(&session->s, 0, err));
    LAMINA_TRY(sys_file_open_read(&file.f, path, SYS_OPEN_BUFFERED, err));
    const struct kv_reader reader = {.user = &file, .bytes = file.f.size, .read = read_some};
    struct lamina_error why = {0};
    lamina_status status = session_read(&session->s, session->model->p.store->identity, &reader, &why);
    sys_file_drop_cache(&file.f, 0, file.at);
    sys_file_close(&file.f);
    return status == LAMINA_OK ? LAMINA_OK : base_fail(err, status, "%s: %s", path, why.message);
}

const uint32_t *lamina_session_tokens(const struct lamina_session *session) {
    return session->s.tokens;
}
