/* SPDX-License-Identifier: Apache-2.0 */
#include "app/server/httpd.h"

#include <stddef.h>

#include "base/compiler.h"
#include "sys/library.h"

lamina_status httpd_open(struct httpd *h, struct lamina_error *err) {
#define FUNCTION(name) {"MHD_" #name, &h->name}
    *h = (struct httpd){0};
    const struct {
        const char *name;
        void *function;
    } wanted[] = {
        FUNCTION(start_daemon), FUNCTION(stop_daemon), FUNCTION(quiesce_daemon), FUNCTION(create_response_from_buffer),
        FUNCTION(create_response_from_callback), FUNCTION(create_response_from_fd64), FUNCTION(add_response_header),
        FUNCTION(queue_response), FUNCTION(destroy_response), FUNCTION(get_connection_values), FUNCTION(lookup_connection_value),
        FUNCTION(get_connection_info), FUNCTION(set_connection_option), FUNCTION(create_post_processor), FUNCTION(post_process),
        FUNCTION(destroy_post_processor),
    };
#undef FUNCTION
    h->library = sys_library_open("libmicrohttpd.so.12");
    h->library = h->library != NULL ? h->library : sys_library_open("libmicrohttpd.12.dylib");
    if (h->library == NULL) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "serving needs libmicrohttpd, which is not on this machine: install it (Debian: libmicrohttpd12)");
    }
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        if (!sys_library_function(h->library, wanted[i].name, wanted[i].function)) {
            return base_fail(err, LAMINA_UNSUPPORTED, "this machine's libmicrohttpd has no %s: it is too old, 0.9.75 is needed",
                             wanted[i].name);
        }
    }
    return LAMINA_OK;
}
