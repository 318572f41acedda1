/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that are replaced in one step: whoever opens one finds what was there before or all of the new text, whenever this process
 * is killed or the power fails. The text is written beside the file first, under a name that nobody else has: what a killed process
 * has left cannot be in the way of one that was given its number.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/cli/cli.h"
#include "base/status.h"

void cli_temp_name(const char *path, struct str *out) {
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    str_printf(out, "%s.tmp-%ld-%" PRIx64, path, (long)getpid(), (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

static bool write_all(int fd, const struct str *text) {
    for (size_t at = 0; at < text->len;) {
        ssize_t n = write(fd, text->ptr + at, text->len - at);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) == 0;
}

/* So that the new name survives a power cut. Some file systems cannot do it; the file is right then all the same. */
static void sync_folder(const char *path) {
    struct str folder = {0};
    const char *slash = strrchr(path, '/');
    str_add(&folder, slash != NULL ? path : ".", slash == NULL || slash == path ? 1 : (size_t)(slash - path));
    int fd = folder.failed ? -1 : open(str_text(&folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
    str_drop(&folder);
}

lamina_status cli_put_file(const char *path, const struct str *text, unsigned mode, struct lamina_error *err) {
    struct str temp = {0};
    lamina_status status = LAMINA_OK;
    cli_temp_name(path, &temp);
    if (temp.failed || text->failed) {
        str_drop(&temp);
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the file %s", path);
    }
    int fd = open(str_text(&temp), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, (mode_t)mode);
    if (fd < 0) {
        status = base_fail_errno(err, errno, "cannot write %s", str_text(&temp));
        str_drop(&temp);
        return status;
    }
    bool good = write_all(fd, text);
    int why = errno;
    if (close(fd) != 0 && good) {
        why = errno;
        good = false;
    }
    if (good && rename(str_text(&temp), path) != 0) {
        why = errno;
        good = false;
    }
    if (!good) {
        (void)unlink(str_text(&temp));
        status = base_fail_errno(err, why, "cannot write %s", path);
    } else {
        sync_folder(path);
    }
    str_drop(&temp);
    return status;
}
