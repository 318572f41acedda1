/* SPDX-License-Identifier: Apache-2.0
 *
 * libmicrohttpd, loaded when a server starts: no other command pays for it. Its header is used as it is, its functions through this
 * table.
 */
#ifndef SERVER_HTTPD_H
#define SERVER_HTTPD_H

#include <microhttpd.h>

#include "base/status.h"

struct httpd {
    void *library;
    struct MHD_Daemon *(*start_daemon)(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback accept, void *accept_user,
                                       MHD_AccessHandlerCallback handler, void *handler_user, ...);
    void (*stop_daemon)(struct MHD_Daemon *daemon);
    MHD_socket (*quiesce_daemon)(struct MHD_Daemon *daemon);
    struct MHD_Response *(*create_response_from_buffer)(size_t size, void *buffer, enum MHD_ResponseMemoryMode mode);
    struct MHD_Response *(*create_response_from_callback)(uint64_t size, size_t block, MHD_ContentReaderCallback reader, void *user,
                                                          MHD_ContentReaderFreeCallback free_user);
    struct MHD_Response *(*create_response_from_fd64)(uint64_t size, int fd);
    enum MHD_Result (*add_response_header)(struct MHD_Response *response, const char *name, const char *value);
    enum MHD_Result (*queue_response)(struct MHD_Connection *connection, unsigned status, struct MHD_Response *response);
    void (*destroy_response)(struct MHD_Response *response);
    int (*get_connection_values)(struct MHD_Connection *connection, enum MHD_ValueKind kind, MHD_KeyValueIterator each, void *user);
    const char *(*lookup_connection_value)(struct MHD_Connection *connection, enum MHD_ValueKind kind, const char *key);
    const union MHD_ConnectionInfo *(*get_connection_info)(struct MHD_Connection *connection, enum MHD_ConnectionInfoType type,
                                                           ...);
    enum MHD_Result (*set_connection_option)(struct MHD_Connection *connection, enum MHD_CONNECTION_OPTION option, ...);
    struct MHD_PostProcessor *(*create_post_processor)(struct MHD_Connection *connection, size_t size, MHD_PostDataIterator each,
                                                       void *user);
    enum MHD_Result (*post_process)(struct MHD_PostProcessor *p, const char *bytes, size_t len);
    enum MHD_Result (*destroy_post_processor)(struct MHD_PostProcessor *p);
};

/* UNSUPPORTED when the library is not there or lacks something. */
lamina_status httpd_open(struct httpd *h, struct lamina_error *err);

#endif
