#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of random weights in the shape of a mixture of experts, for measuring what is read and what is cached.

usage: make_moe.py mixtral|deepseek DIRECTORY [LAYERS [SEED [FULL [SPARSE]]]]

mixtral: hidden 1024, 8 experts of 3584, 2 per token; deepseek: latents, 64 experts of 512 in 8 groups, 6 per token, a shared
one. About 180 and 220 MB a layer. FULL (1): the real widths (4096 and 14336; 7168 and 2048), 2.9 and 6 GB a layer. SPARSE (1): the
first layer of deepseek has experts too; one dense layer of few weighs more than in the real model, where it is one of 61. Rows of
the router have lengths of their own, so that some experts are liked more than others, as in trained models; texts are random ids."""
import json
import os
import struct
import sys

import numpy as np

VOCAB, HIDDEN, WIDTH, NARROW = 4096, 1024, 3584, 512


def mixtral(layers):
    config = dict(architectures=["MixtralForCausalLM"], model_type="mixtral", hidden_size=HIDDEN, intermediate_size=WIDTH,
                  num_hidden_layers=layers, num_attention_heads=16, num_key_value_heads=4096 // HIDDEN, num_local_experts=8,
                  num_experts_per_tok=2, vocab_size=VOCAB, rms_norm_eps=1e-5, rope_theta=1e6, max_position_embeddings=4096)
    tensors = {}
    for i in range(layers):
        p = f"model.layers.{i}."
        for name, rows in (("q_proj", HIDDEN), ("k_proj", 256), ("v_proj", 256), ("o_proj", HIDDEN)):
            tensors[p + f"self_attn.{name}.weight"] = (rows, HIDDEN)
        tensors[p + "block_sparse_moe.gate.weight"] = (8, HIDDEN)
        for e in range(8):
            tensors[p + f"block_sparse_moe.experts.{e}.w1.weight"] = (WIDTH, HIDDEN)
            tensors[p + f"block_sparse_moe.experts.{e}.w3.weight"] = (WIDTH, HIDDEN)
            tensors[p + f"block_sparse_moe.experts.{e}.w2.weight"] = (HIDDEN, WIDTH)
    return config, tensors


def deepseek(layers, dense=1):
    config = dict(architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", hidden_size=HIDDEN, intermediate_size=2816,
                  moe_intermediate_size=NARROW, num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=8,
                  q_lora_rank=384, kv_lora_rank=256, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
                  n_routed_experts=64, n_shared_experts=1, num_experts_per_tok=6, n_group=8, topk_group=4,
                  first_k_dense_replace=dense, norm_topk_prob=True, routed_scaling_factor=2.5, scoring_func="sigmoid",
                  vocab_size=VOCAB, rms_norm_eps=1e-6, rope_theta=1e4, max_position_embeddings=4096)
    tensors = {}
    for i in range(layers):
        p = f"model.layers.{i}."
        a = p + "self_attn."
        tensors |= {a + "q_a_proj.weight": (384, HIDDEN), a + "q_a_layernorm.weight": (384,), a + "q_b_proj.weight": (8 * 192, 384),
                    a + "kv_a_proj_with_mqa.weight": (320, HIDDEN), a + "kv_a_layernorm.weight": (256,),
                    a + "kv_b_proj.weight": (8 * 256, 256), a + "o_proj.weight": (HIDDEN, 8 * 128)}
        groups = [("mlp.", 2816)] if i < dense else [("mlp.shared_experts.", NARROW)] + [(f"mlp.experts.{e}.", NARROW) for e in range(64)]
        for name, width in groups:
            tensors[p + name + "gate_proj.weight"] = (width, HIDDEN)
            tensors[p + name + "up_proj.weight"] = (width, HIDDEN)
            tensors[p + name + "down_proj.weight"] = (HIDDEN, width)
        if i >= dense:
            tensors[p + "mlp.gate.weight"] = (64, HIDDEN)
            tensors[p + "mlp.gate.e_score_correction_bias"] = (64,)
    return config, tensors


def bf16(values):
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def fill(rng, name, shape):
    """Random bf16 (as uint16): norms 1, routers with rows of different lengths, the rest by 1 / sqrt(width)."""
    if name.endswith("e_score_correction_bias"):
        return bf16(np.zeros(shape))
    if len(shape) == 1:
        return bf16(np.ones(shape))
    values = rng.standard_normal(shape, dtype=np.float32) / np.sqrt(shape[1])
    if name.endswith(".gate.weight"):
        values *= np.exp(rng.standard_normal((shape[0], 1), dtype=np.float32) * 0.5)
    return bf16(values)


def main():
    global HIDDEN, WIDTH, NARROW
    kind, directory = sys.argv[1:3]
    if len(sys.argv) > 5 and sys.argv[5] != "0":
        HIDDEN, WIDTH, NARROW = {"mixtral": (4096, 14336, 0), "deepseek": (7168, 0, 2048)}[kind]
    layers = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    rng = np.random.default_rng(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    sparse = len(sys.argv) > 6 and sys.argv[6] != "0"
    config, tensors = mixtral(layers) if kind == "mixtral" else deepseek(layers, 0 if sparse else 1)
    for i in range(layers):
        tensors[f"model.layers.{i}.input_layernorm.weight"] = (HIDDEN,)
        tensors[f"model.layers.{i}.post_attention_layernorm.weight"] = (HIDDEN,)
    tensors |= {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN)}
    os.makedirs(directory, exist_ok=True)
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2 * int(np.prod(shape))
        header[name] = dict(dtype="BF16", shape=list(shape), data_offsets=[at, at + size])
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(directory, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors.items():
            f.write(fill(rng, name, shape).tobytes())
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=1)


if __name__ == "__main__":
    main()
