#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a small random Llama checkpoint (Hugging Face layout) with nothing but the standard library.

usage: mkmodel.py DIR [--hidden 32] [--layers 2] [--heads 4] [--kv-heads 2] [--head-dim N] [--ffn 64] [--vocab 64]
                  [--dtype BF16|F16|F32|I8] [--tied] [--seed 1] [--architecture NAME] [--tokenizer] [--shards N]

--tokenizer adds a byte-level tokenizer (256 bytes and three special tokens; needs --vocab 259 or more) and a chat
template. Weights are uniform and small, so that logits stay tame; the same arguments give the same bytes everywhere.
"""
import argparse
import json
import os
import random
import struct

SIZES = {"BF16": 2, "F16": 2, "F32": 4, "I8": 1}


def encode(values, dtype):
    if dtype == "F32":
        return struct.pack(f"<{len(values)}f", *values)
    if dtype == "F16":
        return struct.pack(f"<{len(values)}e", *values)
    if dtype == "I8":
        return bytes(int(v * 127) & 0xff for v in values)
    return b"".join(struct.pack("<f", v)[2:] for v in values)  # bf16 by cutting


def tensors(a):
    """Name and shape of every tensor, in file order."""
    yield "model.embed_tokens.weight", [a.vocab, a.hidden]
    for layer in range(a.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", [a.hidden]
        yield prefix + "self_attn.q_proj.weight", [a.heads * a.head_dim, a.hidden]
        yield prefix + "self_attn.k_proj.weight", [a.kv_heads * a.head_dim, a.hidden]
        yield prefix + "self_attn.v_proj.weight", [a.kv_heads * a.head_dim, a.hidden]
        yield prefix + "self_attn.o_proj.weight", [a.hidden, a.heads * a.head_dim]
        yield prefix + "post_attention_layernorm.weight", [a.hidden]
        yield prefix + "mlp.gate_proj.weight", [a.ffn, a.hidden]
        yield prefix + "mlp.up_proj.weight", [a.ffn, a.hidden]
        yield prefix + "mlp.down_proj.weight", [a.hidden, a.ffn]
    yield "model.norm.weight", [a.hidden]
    if not a.tied:
        yield "lm_head.weight", [a.vocab, a.hidden]


def values_of(name, shape, random_source):
    count = 1
    for n in shape:
        count *= n
    if "norm" in name:
        return [1.0 + 0.1 * (random_source.random() - 0.5) for _ in range(count)]
    scale = 1.0 if "embed" in name else 1.7 / shape[-1] ** 0.5
    return [scale * (2.0 * random_source.random() - 1.0) for _ in range(count)]


def write_shard(path, part, a, random_source):
    header, blobs, at = {}, [], 0
    for name, shape in part:
        blob = encode(values_of(name, shape, random_source), a.dtype)
        header[name] = {"dtype": a.dtype, "shape": shape, "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for blob in blobs:
            out.write(blob)
    return at


def byte_alphabet():
    """The 256 printable stand-ins of byte-level BPE, as published with GPT-2."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {}, 0
    for byte in range(256):
        table[byte] = chr(byte) if byte in plain else chr(256 + extra)
        extra += byte not in plain
    return table


def write_tokenizer(folder):
    vocab = {char: byte for byte, char in byte_alphabet().items()}
    special = [(256, "<s>"), (257, "</s>"), (258, "<|user|>")]
    added = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, text in special]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": []},
    }
    template = ("{% for message in messages %}{% if message['role'] == 'user' %}<|user|>{% endif %}"
                "{{ message['content'] }}{% endfor %}{% if add_generation_prompt %}<s>{% endif %}")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
              "chat_template": template, "model_max_length": 1024}
    dump(os.path.join(folder, "tokenizer.json"), tokenizer)
    dump(os.path.join(folder, "tokenizer_config.json"), config)


def dump(path, value):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1)
        out.write("\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    for name, value in (("hidden", 32), ("layers", 2), ("heads", 4), ("kv-heads", 2), ("head-dim", 0), ("ffn", 64),
                        ("vocab", 64), ("seed", 1), ("shards", 1)):
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--dtype", default="BF16", choices=sorted(SIZES))
    p.add_argument("--architecture", default="LlamaForCausalLM")
    p.add_argument("--tied", action="store_true")
    p.add_argument("--tokenizer", action="store_true")
    a = p.parse_args()
    a.head_dim = a.head_dim or a.hidden // a.heads
    if a.tokenizer:
        a.vocab = max(a.vocab, 259)
    os.makedirs(a.folder, exist_ok=True)
    dump(os.path.join(a.folder, "config.json"), {
        "architectures": [a.architecture],
        "model_type": "llama" if a.architecture == "LlamaForCausalLM" else "unheard_of",
        "hidden_size": a.hidden, "num_hidden_layers": a.layers, "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads, "head_dim": a.head_dim, "intermediate_size": a.ffn, "vocab_size": a.vocab,
        "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": a.tied, "torch_dtype": "bfloat16", "bos_token_id": 256 if a.tokenizer else 1,
        "eos_token_id": 257 if a.tokenizer else 2})
    if a.tokenizer:
        write_tokenizer(a.folder)
    source = random.Random(a.seed)
    everything = list(tensors(a))
    size = -(-len(everything) // a.shards)
    weight_map, total = {}, 0
    for i in range(a.shards):
        part = everything[i * size:(i + 1) * size]
        name = "model.safetensors" if a.shards == 1 else f"model-{i + 1:05}-of-{a.shards:05}.safetensors"
        total += write_shard(os.path.join(a.folder, name), part, a, source)
        weight_map.update({tensor: name for tensor, _ in part})
    if a.shards > 1:
        dump(os.path.join(a.folder, "model.safetensors.index.json"),
             {"metadata": {"total_size": total}, "weight_map": weight_map})


if __name__ == "__main__":
    main()
