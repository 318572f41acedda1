/* SPDX-License-Identifier: Apache-2.0
 *
 * Links inside a checkpoint. Hub caches keep the files of a snapshot as links into their blobs, so links are followed,
 * but never out of the checkpoint or the cache folder of its model: a file that is read, and with --delete-original
 * removed, must be one that belongs to the model. */
#include <stdio.h>
#include <string.h>

#include "store/store_priv.h"

/* Cuts the last "/name" off; false: there is none to cut. */
static bool cut_name(char *path) {
    char *last = strrchr(path, '/');
    if (last == NULL || last == path) {
        return false;
    }
    *last = 0;
    return true;
}

/* The directory that links may lead into: the checkpoint itself, or, for <cache>/<model>/snapshots/<revision>, <model>. A folder
 * of the snapshot is as good (GGUF files often lie in one), when there are blobs that its links can lead to. */
static void link_root(const char *real_dir, char *out, size_t len) {
    char blobs[STORE_PATH_LEN];
    (void)snprintf(out, len, "%s", real_dir);
    for (bool itself = true; cut_name(out); itself = false) {
        const char *parent = strrchr(out, '/');
        if (parent != NULL && parent != out && strcmp(parent, "/snapshots") == 0) {
            (void)cut_name(out);
            if (itself || (store_join(blobs, sizeof(blobs), out, "blobs") && sys_exists(blobs))) {
                return;
            }
        }
    }
    (void)snprintf(out, len, "%s", real_dir);
}

lamina_status checkpoint_stays_inside(const char *dir, const char *path, struct lamina_error *err) {
    struct str real_dir = {0};
    struct str real = {0};
    char root[STORE_PATH_LEN];
    lamina_status status = sys_real_path(dir, &real_dir, err);
    if (status == LAMINA_OK) {
        status = sys_real_path(path, &real, err);
    }
    if (status == LAMINA_OK) {
        link_root(str_text(&real_dir), root, sizeof(root));
        size_t n = strlen(root);
        if (strncmp(str_text(&real), root, n) != 0 || (n > 1 && str_text(&real)[n] != '/')) {
            status = base_fail(
                err, LAMINA_UNSUPPORTED,
                "%s is a link that leads out of the checkpoint (to %s); give the directory that holds the files", path,
                str_text(&real));
        }
    }
    str_drop(&real_dir);
    str_drop(&real);
    return status;
}
