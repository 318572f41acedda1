#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast checkpoints are split whose matrices lie as the store wants them, and those whose rows are columns of the file: rows of
bench/split.csv on stdout.

usage: split_rate.py LAMINA DIR [ROUNDS]

Random checkpoints of a few hundred MB are made in DIR, split ROUNDS times (3) in turns, and removed; GB/s are bytes of the source over
the median of the seconds, the drive's reads and writes, encoding and SHA-256 included. Experts of 4096 x 3072 and 1536 x 4096 in
BF16 and FP8 (blocks of 128 x 128), [out, in] and [in, out]; 4 bit matrices of 4096 x 14336 by GPTQ and AWQ, which are both columns;
and attention of 4096 x 4096 whose rotary pairs lie side by side.
"""
import array
import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import time

HIDDEN, EXPERT, EXPERTS, FFN, VOCAB = 4096, 1536, 12, 14336, 96
rng = random.Random(1)


def bf16(count):
    """Weights of both signs between 2^-10 and 2^-6, about as many of each exponent."""
    out = bytearray(2 * count)
    out[0::2] = rng.randbytes(count)
    out[1::2] = rng.randbytes(count).translate(bytes((0x3A + c % 3) | (c & 0x80) for c in range(256)))
    return bytes(out)


def fp8(count):
    return rng.randbytes(count).translate(bytes(c & 0xBF for c in range(256)))


def f32(count):
    return array.array("f", [rng.uniform(0.001, 0.01) for _ in range(count)]).tobytes()


def f16(count):
    return struct.pack("<e", 0.01) * count


def write(path, tensors, config):
    os.makedirs(path)
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(os.path.join(path, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            f.write(data)
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    return at


def ends(root):
    return {root + "embed_tokens.weight": ("BF16", (VOCAB, HIDDEN), bf16(VOCAB * HIDDEN)),
            "lm_head.weight": ("BF16", (VOCAB, HIDDEN), bf16(VOCAB * HIDDEN)),
            root + "norm.weight": ("BF16", (HIDDEN,), bf16(HIDDEN))}


def norms(layer):
    return {f"{layer}{name}.weight": ("BF16", (HIDDEN,), bf16(HIDDEN)) for name in ("input_layernorm", "post_attention_layernorm")}


def with_experts(path, coded, turned):
    config = {"architectures": ["Qwen3VLMoeForConditionalGeneration"], "hidden_size": HIDDEN, "intermediate_size": FFN,
              "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": VOCAB,
              "moe_intermediate_size": EXPERT, "num_experts": EXPERTS, "num_experts_per_tok": 2, "rms_norm_eps": 1e-6}
    if coded:
        config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    layer = "model.language_model.layers.0."
    tensors = {**ends("model.language_model."), **norms(layer)}
    for name, rows in (("q", 256), ("k", 128), ("v", 128)):
        tensors[f"{layer}self_attn.{name}_proj.weight"] = ("BF16", (rows, HIDDEN), bf16(rows * HIDDEN))
    tensors[layer + "self_attn.o_proj.weight"] = ("BF16", (HIDDEN, 256), bf16(HIDDEN * 256))
    tensors[layer + "self_attn.q_norm.weight"] = tensors[layer + "self_attn.k_norm.weight"] = ("BF16", (64,), bf16(64))
    tensors[layer + "mlp.gate.weight"] = ("BF16", (EXPERTS, HIDDEN), bf16(EXPERTS * HIDDEN))
    for name, rows, cols in (("gate_up_proj", 2 * EXPERT, HIDDEN), ("down_proj", HIDDEN, EXPERT)):
        shape = (EXPERTS, cols, rows) if turned else (EXPERTS, rows, cols)
        count, grid = EXPERTS * rows * cols, (EXPERTS, shape[1] // 128, shape[2] // 128)
        tensors[f"{layer}mlp.experts.{name}"] = ("F8_E4M3", shape, fp8(count)) if coded else ("BF16", shape, bf16(count))
        if coded:
            tensors[f"{layer}mlp.experts.{name}_scale_inv"] = ("F32", grid, f32(grid[0] * grid[1] * grid[2]))
    return write(path, tensors, config)


def in_words(path, awq):
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": 1,
              "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
              "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}
              if awq else {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}}
    layer = "model.layers.0."
    tensors = {**ends("model."), **norms(layer)}
    shapes = [(f"self_attn.{name}_proj", HIDDEN, HIDDEN) for name in "qkvo"]
    for name, rows, cols in shapes + [("mlp.gate_proj", FFN, HIDDEN), ("mlp.up_proj", FFN, HIDDEN), ("mlp.down_proj", HIDDEN, FFN)]:
        shape = (cols, rows // 8) if awq else (cols // 8, rows)
        tensors[f"{layer}{name}.qweight"] = ("I32", shape, rng.randbytes(rows * cols // 2))
        tensors[f"{layer}{name}.scales"] = ("F16", (cols // 128, rows), f16(cols // 128 * rows))
        tensors[f"{layer}{name}.qzeros"] = ("I32", (cols // 128, rows // 8), rng.randbytes(cols // 128 * rows // 2))
    return write(path, tensors, config)


def in_pairs(path):
    config = {"architectures": ["Ernie4_5ForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": 1024, "num_hidden_layers": 3,
              "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
              "tie_word_embeddings": False, "max_position_embeddings": 512}
    tensors = ends("model.")
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        tensors.update(norms(layer))
        for name in "qkvo":
            tensors[f"{layer}self_attn.{name}_proj.weight"] = ("BF16", (HIDDEN, HIDDEN), bf16(HIDDEN * HIDDEN))
        for name, rows, cols in (("gate", 1024, HIDDEN), ("up", 1024, HIDDEN), ("down", HIDDEN, 1024)):
            tensors[f"{layer}mlp.{name}_proj.weight"] = ("BF16", (rows, cols), bf16(rows * cols))
    return write(path, tensors, config)


FORMS = (("bf16 [out, in]", lambda p: with_experts(p, False, False)), ("bf16 [in, out]", lambda p: with_experts(p, False, True)),
         ("fp8 [out, in]", lambda p: with_experts(p, True, False)), ("fp8 [in, out]", lambda p: with_experts(p, True, True)),
         ("gptq", lambda p: in_words(p, False)), ("awq", lambda p: in_words(p, True)), ("bf16 rotary pairs", in_pairs))


def main():
    lamina, room, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3
    place = os.path.join(room, "split-rate")
    shutil.rmtree(place, ignore_errors=True)
    sizes = [make(os.path.join(place, str(i))) for i, (_, make) in enumerate(FORMS)]
    os.sync()
    took = [[] for _ in FORMS]
    for _ in range(rounds):
        for i in range(len(FORMS)):
            store = os.path.join(place, "store")
            began = time.monotonic()
            subprocess.run([lamina, "split", os.path.join(place, str(i)), "-o", store, "-q"], check=True, capture_output=True)
            took[i].append(time.monotonic() - began)
            shutil.rmtree(store)
    print("form,MB,seconds,GB_per_s")
    for (name, _), size, seconds in zip(FORMS, sizes, took):
        middle = statistics.median(seconds)
        print(f'"{name}",{size / 1e6:.0f},{middle:.2f},{size / 1e9 / middle:.3f}')
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
