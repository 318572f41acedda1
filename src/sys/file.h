/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and directories, as few calls as the project needs. Every failure names the path. All descriptors are
 * close-on-exec. EINTR and short transfers are handled here; callers see all or an error. Thread-safe except that one
 * struct is changed by one thread at a time; sys_file_read_at may run from many threads on one open file.
 */
#ifndef SYS_FILE_H
#define SYS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/str.h"

struct sys_file {
    int fd;               /* -1: closed; so {.fd = -1} is the empty state */
    bool direct;          /* O_DIRECT (or F_NOCACHE) is on */
    uint32_t alignment;   /* of offset, length and memory for direct transfers; 1 when not direct */
    uint64_t size;        /* at open */
};

enum sys_open { SYS_OPEN_BUFFERED, SYS_OPEN_DIRECT /* falls back to buffered where direct is impossible */ };

struct sys_stat {
    uint64_t size, inode, device;
    uint64_t allocated_bytes; /* on the drive: less than the size where a file has holes, more where space is reserved */
    int64_t mtime_ns;
    uint32_t links, owner;
    bool is_dir, is_regular, writable_by_others;
};

lamina_status sys_file_open_read(struct sys_file *f, const char *path, enum sys_open how, struct lamina_error *err);
/* A name beside `path` that no other process or call uses (".tmp-PID-TIME"). False when it does not fit. */
bool sys_temp_name(const char *path, char *out, size_t len);
enum { SYS_PATH_LEN = 4096 };
/* Creates a new file, mode 0644 under the umask; fails when the name exists (O_EXCL). */
lamina_status sys_file_create(struct sys_file *f, const char *path, enum sys_open how, struct lamina_error *err);
/* The same for the owner alone, mode 0600 from the first moment; buffered. */
lamina_status sys_file_create_private(struct sys_file *f, const char *path, struct lamina_error *err);
lamina_status sys_file_open_update(struct sys_file *f, const char *path, struct lamina_error *err); /* read and write; creates */
lamina_status sys_file_open_append(struct sys_file *f, const char *path, struct lamina_error *err); /* journal; creates */
void sys_file_close(struct sys_file *f);
/* Reads exactly len bytes; fewer in the file is DAMAGED ("ends at byte N"). Direct files need aligned arguments. */
lamina_status sys_file_read_at(const struct sys_file *f, const char *path, uint64_t offset, void *dst, size_t len,
                               struct lamina_error *err);
/* As read_at for any offset and length on a direct file, through `bounce` (aligned, bounce_len bytes, a multiple of the
 * alignment); only the unaligned ends are copied when dst itself is suitably aligned, else everything is. */
lamina_status sys_file_read_any(const struct sys_file *f, const char *path, uint64_t offset, void *dst, size_t len,
                                void *bounce, size_t bounce_len, struct lamina_error *err);
lamina_status sys_file_write_at(const struct sys_file *f, const char *path, uint64_t offset, const void *src, size_t len,
                                struct lamina_error *err);
lamina_status sys_file_append(const struct sys_file *f, const char *path, const void *src, size_t len,
                              struct lamina_error *err);
lamina_status sys_file_truncate(const struct sys_file *f, const char *path, uint64_t len, struct lamina_error *err);
/* Asks for disk space for [0, len); the size stays, and truncating gives back what was not used. NO_SPACE when there is
 * too little; 0 where the file system cannot reserve. */
lamina_status sys_file_reserve(const struct sys_file *f, const char *path, uint64_t len, struct lamina_error *err);
/* Gives the space of [begin, end), whole blocks of it, back to the file system; the bytes read as zeros, the size stays.
 * UNSUPPORTED where the file system has no holes. */
lamina_status sys_file_punch(const struct sys_file *f, const char *path, uint64_t begin, uint64_t end, struct lamina_error *err);
lamina_status sys_file_sync(const struct sys_file *f, const char *path, struct lamina_error *err);
void sys_file_drop_cache(const struct sys_file *f, uint64_t offset, uint64_t len); /* advice only */
/* Turns direct transfers off for a file system that took O_DIRECT at open and refuses it later (EINVAL). The descriptor
 * keeps its number; f->direct and f->alignment stay as they were, which is harmless. Safe beside transfers of other threads. */
lamina_status sys_file_make_buffered(const struct sys_file *f, const char *path, struct lamina_error *err);
bool sys_file_is_direct(const struct sys_file *f); /* as the descriptor is now, not as it was opened */

/* rename + fsync of the directory. The content must have been synced before. */
lamina_status sys_rename_durable(const char *from, const char *to, struct lamina_error *err);
lamina_status sys_link_durable(const char *from, const char *to, struct lamina_error *err); /* hard link; replaces `to` */
/* A symbolic link at `path` that holds `target`; replaces what is there. UNSUPPORTED where the file system has no links. */
lamina_status sys_symlink_durable(const char *target, const char *path, struct lamina_error *err);
bool sys_is_link(const char *path); /* symbolic, wherever it leads */
/* The bytes of a file in another one, as sys_write_whole_durable leaves it. */
lamina_status sys_copy_durable(const char *from, const char *to, struct lamina_error *err);
lamina_status sys_dir_sync(const char *dir, struct lamina_error *err);
lamina_status sys_remove(const char *path, struct lamina_error *err); /* absent is fine */
/* Durable when it returns, also where a stopped run had made some of them. */
lamina_status sys_make_dirs(const char *path, struct lamina_error *err);
lamina_status sys_remove_dir(const char *path, struct lamina_error *err); /* empty directories only; absent is fine */
/* The directory and all below it; links are removed, not followed. Absent is fine. */
lamina_status sys_remove_tree(const char *path, struct lamina_error *err);
lamina_status sys_stat(const char *path, struct sys_stat *out, struct lamina_error *err);
bool sys_exists(const char *path);
lamina_status sys_real_path(const char *path, struct str *out, struct lamina_error *err);
/* UINT64_MAX where the file system keeps no account. */
lamina_status sys_disk_free(const char *path, uint64_t *bytes, struct lamina_error *err);

/* Names in a directory, sorted bytewise, without "." and "..". `each` returns false to stop. */
lamina_status sys_list_dir(const char *dir, bool (*each)(void *user, const char *name), void *user,
                           struct lamina_error *err);

/* A whole small file, refused above `limit` bytes. Appends to *out. */
lamina_status sys_read_whole(const char *path, uint64_t limit, struct str *out, struct lamina_error *err);
/* temp + write + fsync + rename + fsync(dir). The temporary stands beside `path`; after a crash it may be left there. */
lamina_status sys_write_whole_durable(const char *path, struct span bytes, struct lamina_error *err);

/* Is this the name of such a temporary? For sweeping up after a crash, under the directory's lock. */
bool sys_is_temp_name(const char *name);

/* A whole file in anonymous memory that sys_unload returns to the system at once (not a file mapping). For files of
 * many MiB such as tokenizer.json, so that their bytes do not stay in the heap. */
lamina_status sys_load(const char *path, uint64_t limit, struct span *bytes, struct lamina_error *err);
void sys_unload(struct span *bytes);

/* An exclusive advisory lock on a file that is created when absent. `wait` false: BUSY at once, naming the holder's pid
 * when the file tells it. A holder that wants the file gone removes it before dropping the lock. A signal that interrupts
 * the waiting gives INTERRUPTED. */
struct sys_lock {
    int fd;
};
lamina_status sys_lock_take(struct sys_lock *lock, const char *path, bool wait, struct lamina_error *err);
void sys_lock_drop(struct sys_lock *lock);

/* The environment and home directory, for the programs: value or NULL. */
const char *sys_env(const char *name);

#endif
