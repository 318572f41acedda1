/* SPDX-License-Identifier: Apache-2.0
 * The shortest program over the public API: one greedy answer under 512 MiB.
 *     ask MODEL TEXT
 * MODEL is a checkpoint directory or a store; the first use splits a checkpoint. */
#include <lamina/lamina.h>
#include <stdio.h>
#include <string.h>

static bool print_text(void *user, const char *text, size_t len, uint32_t id) {
    (void)user;
    (void)id;
    fwrite(text, 1, len, stdout);
    return fflush(stdout) != 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: ask MODEL TEXT\n");
        return -LAMINA_USAGE;
    }
    struct lamina_error err = {0};
    struct lamina_model *model = NULL;
    struct lamina_session *session = NULL;
    uint32_t *ids = NULL;
    size_t count = 0;
    struct lamina_settings settings;
    lamina_settings_defaults(&settings);
    settings.memory_bytes = 512u << 20;
    settings.context_tokens = 512;
    struct lamina_generate generate;
    lamina_generate_defaults(&generate);
    generate.max_tokens = 64;
    generate.on_text = print_text;

    lamina_status status = lamina_model_open(&model, argv[1], &settings, &err);
    if (status == 0 && lamina_model_text(model) == NULL) {
        fprintf(stderr, "%s has no tokenizer\n", argv[1]);
        status = LAMINA_NOT_FOUND;
    }
    if (status == 0) {
        status = lamina_tokenize(lamina_model_text(model), argv[2], strlen(argv[2]), true, &ids, &count, &err);
    }
    if (status == 0) {
        status = lamina_session_open(&session, model, &err);
    }
    if (status == 0) {
        status = lamina_session_generate(session, ids, (uint32_t)count, &generate, &err);
    }
    putchar('\n');
    if (status != 0 && err.message[0] != '\0') {
        fprintf(stderr, "%s\n", err.message);
    }
    lamina_free(ids);
    lamina_session_close(&session);
    lamina_model_close(&model);
    return -status;
}
