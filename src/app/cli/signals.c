/* SPDX-License-Identifier: Apache-2.0
 *
 * Ctrl-C once: the work at hand ends at its next safe point and keeps what it has. Twice: the process ends at once. What
 * is on disk stays right either way, because the store's rules do not trust an orderly end.
 */
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "app/cli/cli.h"

/* A handler has nowhere else to put its word. */
static volatile sig_atomic_t seen_signal;

static void on_signal(int number) {
    if (seen_signal != 0) {
        _exit(128 + number);
    }
    seen_signal = number;
}

void cli_signals_wake(bool wake) {
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    action.sa_flags = wake ? 0 : SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cli_signals_init(void) {
    cli_signals_wake(false);
}

bool cli_interrupt_take(void) {
    bool was = seen_signal == SIGINT;
    seen_signal = was ? 0 : seen_signal;
    return was;
}

bool cli_interrupted(void) {
    return seen_signal != 0;
}

void cli_signals_done(void) {
    seen_signal = 0;
}

int cli_interrupt_exit_code(void) {
    return seen_signal != 0 ? 128 + seen_signal : 0;
}
