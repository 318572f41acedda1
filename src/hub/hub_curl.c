/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/hub_curl.h"

#include <stddef.h>

#include "base/compiler.h"
#include "sys/library.h"

/* The library by its version-4 interface, which has been one since 2006, whichever TLS it was built with. */
static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.4.dylib"};

lamina_status hub_curl_open(struct hub_curl *curl, struct lamina_error *err) {
#define FUNCTION(name) {"curl_" #name, &curl->name}
    *curl = (struct hub_curl){0};
    const struct {
        const char *name;
        void *function;
    } wanted[] = {
        FUNCTION(global_init), FUNCTION(global_cleanup), FUNCTION(easy_init), FUNCTION(easy_cleanup), FUNCTION(easy_setopt),
        FUNCTION(easy_getinfo), FUNCTION(easy_perform), FUNCTION(easy_strerror), FUNCTION(multi_init),
        FUNCTION(multi_cleanup), FUNCTION(multi_add_handle), FUNCTION(multi_remove_handle), FUNCTION(multi_perform),
        FUNCTION(multi_poll), FUNCTION(multi_info_read), FUNCTION(slist_append), FUNCTION(slist_free_all),
    };
#undef FUNCTION
    for (size_t i = 0; i < ARRAY_LEN(names) && curl->library == NULL; i++) {
        curl->library = sys_library_open(names[i]);
    }
    if (curl->library == NULL) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "fetching needs libcurl, which is not on this machine: install it (Debian: libcurl4)");
    }
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        if (!sys_library_function(curl->library, wanted[i].name, wanted[i].function)) {
            return base_fail(err, LAMINA_UNSUPPORTED, "this machine's libcurl has no %s: it is too old, 7.85 is needed",
                             wanted[i].name);
        }
    }
    return curl->global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? LAMINA_OK
                                                              : base_fail(err, LAMINA_UNEXPECTED, "libcurl cannot be started");
}

void hub_curl_close(struct hub_curl *curl) {
    if (curl->global_cleanup != NULL) {
        curl->global_cleanup();
    }
    *curl = (struct hub_curl){0};
}
