/* SPDX-License-Identifier: Apache-2.0
 *
 * Block devices by their numbers: /proc/self/mountinfo has the type of a file system, /sys/dev/block the drive's name. A file
 * system without a device of its own (overlay, tmpfs, btrfs) has a number without an entry there.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "app/cli/drive.h"
#include "base/status.h"

bool drive_read_text(const char *dir, const char *name, char *text, size_t size) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* The type of the file system on this device. */
static void filesystem_of(dev_t device, char type[32]) {
    char line[4096];
    FILE *f = fopen("/proc/self/mountinfo", "re");
    (void)snprintf(type, 32, "its file system");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        unsigned a = 0;
        unsigned b = 0;
        const char *dash = strstr(line, " - ");
        if (dash != NULL && sscanf(line, "%*d %*d %u:%u", &a, &b) == 2 && makedev(a, b) == device) {
            (void)sscanf(dash + 3, "%31s", type);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
}

lamina_status drive_find(const char *path, unsigned *high, unsigned *low, struct lamina_error *err) {
    struct stat st;
    char dir[128];
    char text[64];
    char type[32];
    if (stat(path, &st) != 0) {
        return base_fail_errno(err, errno, "cannot open %s", path);
    }
    *high = major(st.st_dev);
    *low = minor(st.st_dev);
    (void)snprintf(dir, sizeof(dir), "/sys/dev/block/%u:%u", *high, *low);
    if (*high == 0 || access(dir, F_OK) != 0) {
        filesystem_of(st.st_dev, type);
        return base_fail(err, LAMINA_UNSUPPORTED, "%s lies on %s, which has no block device of its own whose reads could be slowed "
                         "down; take a directory on a drive, say of type ext4 or xfs", path, type);
    }
    if (drive_read_text(dir, "partition", text, sizeof(text)) &&
        (!drive_read_text(dir, "../dev", text, sizeof(text)) || sscanf(text, "%u:%u", high, low) != 2)) {
        return base_fail(err, LAMINA_UNSUPPORTED, "the drive that %s is a partition of cannot be found in %s", path, dir);
    }
    return LAMINA_OK;
}

/* The name that the maker gave it: of the drive, or of the one that this is a partition of. */
static void add_model(const char *dir, char *out, size_t size) {
    char model[64];
    if (drive_read_text(dir, "device/model", model, sizeof(model)) ||
        drive_read_text(dir, "../device/model", model, sizeof(model))) {
        size_t len = strcspn(model, "\n");
        while (len > 0 && model[len - 1] == ' ') {
            len--;
        }
        size_t used = strlen(out);
        (void)snprintf(out + used, size - used, " (%.*s)", (int)len, model);
    }
}

void drive_words(const char *path, char *out, size_t size) {
    struct stat st;
    char dir[128];
    char type[32];
    *out = '\0';
    if (stat(path, &st) != 0) {
        return;
    }
    (void)snprintf(dir, sizeof(dir), "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
    filesystem_of(st.st_dev, type);
    char *real = major(st.st_dev) != 0 ? realpath(dir, NULL) : NULL;
    if (real != NULL) {
        (void)snprintf(out, size, "%s", basename(real));
        add_model(dir, out, size);
    }
    size_t used = strlen(out);
    (void)snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "", type);
    free(real);
}
