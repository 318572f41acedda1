/* SPDX-License-Identifier: Apache-2.0
 *
 * libcurl, loaded when something is to be fetched: with what it brings along it takes some MiB of memory, which a run under a small
 * budget must not pay for. Its header is used as it is, its functions through this table.
 */
#ifndef HUB_HUB_CURL_H
#define HUB_HUB_CURL_H

#include <curl/curl.h>

#include "base/status.h"

struct hub_curl {
    void *library;
    CURLcode (*global_init)(long flags);
    void (*global_cleanup)(void);
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *easy);
    CURLcode (*easy_setopt)(CURL *easy, CURLoption option, ...);
    CURLcode (*easy_getinfo)(CURL *easy, CURLINFO info, ...);
    CURLcode (*easy_perform)(CURL *easy);
    const char *(*easy_strerror)(CURLcode code);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_cleanup)(CURLM *multi);
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *easy);
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *easy);
    CURLMcode (*multi_perform)(CURLM *multi, int *running);
    CURLMcode (*multi_poll)(CURLM *multi, struct curl_waitfd *extra, unsigned extra_count, int timeout_ms, int *ready);
    CURLMsg *(*multi_info_read)(CURLM *multi, int *left);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
};

/* UNSUPPORTED when the library is not there or lacks something. Closed by hub_curl_close, also after a failure. */
lamina_status hub_curl_open(struct hub_curl *curl, struct lamina_error *err);
void hub_curl_close(struct hub_curl *curl);

#endif
