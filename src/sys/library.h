/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared libraries that are loaded when something needs them, so that whoever does not pays no memory for them.
 */
#ifndef SYS_LIBRARY_H
#define SYS_LIBRARY_H

#include <stdbool.h>

/* By its name as the loader knows it ("libcurl.so.4"). NULL: not there, or not to be loaded. It stays until the process ends, since
 * such libraries leave exit handlers and thread-local data behind. */
void *sys_library_open(const char *name);
/* Copies the address of a function to *function, a pointer to it. False: it has none of that name, and *function is untouched. */
bool sys_library_function(void *library, const char *name, void *function);

#endif
