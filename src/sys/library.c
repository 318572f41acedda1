/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/library.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

void *sys_library_open(const char *name) {
    return dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

bool sys_library_function(void *library, const char *name, void *function) {
    void *address = dlsym(library, name);
    if (address == NULL) {
        return false;
    }
    memcpy(function, &address, sizeof(address)); /* POSIX: both kinds of pointers have one representation */
    return true;
}
