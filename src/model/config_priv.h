/* SPDX-License-Identifier: Apache-2.0
 * config.json as values: every key that any row of the table understands, read by one table, before any family has a say.
 * Private to the model room. */
#ifndef MODEL_CONFIG_PRIV_H
#define MODEL_CONFIG_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"

/* A number that may be absent. */
struct config_number {
    double value;
    bool given;
};

struct config_flag {
    bool value;
    bool given;
};

struct config_text {
    char value[64];
    bool given;
};

struct config_rope {
    struct config_text type;
    struct config_number theta, factor, low_freq_factor, high_freq_factor, original_max, beta_fast, beta_slow,
        attention_factor, mscale, mscale_all_dim, partial;
    struct config_flag truncate;
};

struct config_values {
    struct config_text architecture, model_type, activation, quant_method;
    struct config_number hidden, layers, heads, kv_heads, head_dim, ffn, vocab, max_positions, norm_eps, rope_theta,
        partial_rotary;
    struct config_flag tied, attention_bias, mlp_bias;
    struct config_rope rope;
    struct config_number bos;
    uint32_t eos_count;
    uint32_t eos_ids[16];
    /* First key seen that asks for something no row has, in words ("mixture of experts (num_local_experts)"). */
    char foreign[128];
};

lamina_status config_read(struct span json, struct config_values *v, struct lamina_error *err);

/* Token ids as a number, a list of numbers, or null. */
struct json_reader;
bool config_read_ids(struct json_reader *r, uint32_t *ids, uint32_t *count, uint32_t max);

#endif
