/* SPDX-License-Identifier: Apache-2.0
 * Which processes hold a model: each writes a small file below the home while it does, and holds a lock on it, so that a file whose
 * writer is gone is known by that (holding.c writes, cmd_ps.c reads).
 *
 *     home/run/PID.json    one JSON object: pid, start, boot, command, model, memory_budget_bytes, port
 *
 * `start` is the process's start in clock ticks since the boot `boot`, as /proc has it: with it a PID names one process. */
#ifndef CLI_HOLDING_H
#define CLI_HOLDING_H

#include <stdbool.h>
#include <stdint.h>

#include "app/cli/cli.h"

enum { CLI_HOLDING_DIR_LEN = 1024 };

struct cli_holding {
    int fd; /* -1: nothing was written; that is no failure of anybody's */
    char path[CLI_HOLDING_DIR_LEN + 64];
    bool made_home; /* it was not there before */
    const struct cli_options *o;
    const char *command, *model;
};
/* Says that this process is about to hold `model`. Never fails; takes no memory that stays. Options and words outlive it. */
void cli_holding_begin(struct cli_holding *h, const struct cli_options *o, const char *command, const char *model);
/* Says where a server listens, from then on. */
void cli_holding_port(struct cli_holding *h, uint32_t port);
void cli_holding_end(struct cli_holding *h);

/* Takes the lock of such a file, opened to read and write; it ends with the descriptor. False: another process has it. */
bool cli_holding_lock(int fd);
/* Start of a process in ticks since boot, 0: there is none such (or no /proc). */
uint64_t cli_process_start(long pid);
/* The kernel's word for this boot, "" where it has none. `out` needs 64 bytes. */
void cli_boot_id(char out[64]);

#endif
