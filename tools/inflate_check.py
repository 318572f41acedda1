#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare a small Llama checkpoint with one that lamina-inflate made from it.

    inflate_check.py SMALL BIG [--prompts 6] [--tokens 24] [--text "What is 2 + 3?"]

Needs numpy only; reads safetensors itself and computes in float32, one layer at a
time.  The small model continues every prompt greedily; then both models score the
whole sequences.  Where the most likely token is the same at every position, greedy
text is the same.  Exit code 0: equal text, logits within --tolerance, and no
padded id within 100 of the best real one.
"""

import argparse
import json
import mmap
import sys
from pathlib import Path

import numpy as np


class Checkpoint:
    """Tensors of a safetensors directory as float32 arrays."""

    def __init__(self, path):
        self.path = Path(path)
        self.config = json.loads((self.path / "config.json").read_text())
        index = self.path / "model.safetensors.index.json"
        names = ["model.safetensors"]
        if index.exists():
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        self.tensors = {}
        for name in names:
            with open(self.path / name, "rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8:8 + length])
            header.pop("__metadata__", None)
            end = 0
            for key, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                begin, stop = entry["data_offsets"]
                assert begin == end, f"{name}: hole before {key}"
                end = stop
                self.tensors[key] = data, 8 + length + begin, entry["dtype"], entry["shape"]
            assert 8 + length + end == len(data), f"{name}: {len(data)} bytes, expected {8 + length + end}"

    def get(self, name, missing_ok=False):
        if missing_ok and name not in self.tensors:
            return None
        data, offset, dtype, shape = self.tensors[name]
        count = int(np.prod(shape))
        kind = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}[dtype]
        raw = np.frombuffer(data, kind, count, offset).reshape(shape)
        if dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32)

    def rows(self, name, ids):
        """Some rows of a matrix."""
        data, offset, dtype, shape = self.tensors[name]
        kind = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}[dtype]
        raw = np.frombuffer(data, kind, int(np.prod(shape)), offset).reshape(shape)[ids]
        return (raw.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else raw.astype(np.float32)


def inverse_frequencies(config, dim):
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    theta = config.get("rope_theta") or scaling.get("rope_theta", 10000.0)
    freq = 1.0 / theta ** (np.arange(0, dim, 2) / dim)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "linear":
        return freq / scaling["factor"]
    if kind == "llama3":
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        length = 2 * np.pi / freq
        context = scaling["original_max_position_embeddings"]
        t = (context / length - low) / (high - low)
        mixed = freq * ((1 - t) / scaling["factor"] + t)
        return np.where(length < context / high, freq, np.where(length > context / low, freq / scaling["factor"], mixed))
    if kind != "default":
        sys.exit(f"RoPE scaling {kind} is not known here")
    return freq


def norm(x, gain, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * gain


def logits(model, sequences):
    """Logits at every position of every sequence, [rows, vocabulary]."""
    c = model.config
    heads = c["num_attention_heads"]
    kv_heads = c.get("num_key_value_heads") or heads
    dim = c.get("head_dim") or c["hidden_size"] // heads
    freq = inverse_frequencies(c, dim)
    angle = np.concatenate([np.outer(np.arange(len(s)), freq) for s in sequences])[:, None]
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    ends = np.cumsum([len(s) for s in sequences])

    def rotate(x):
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate((a * cos - b * sin, b * cos + a * sin), -1)

    x = model.rows("model.embed_tokens.weight", np.concatenate(sequences))
    for layer in range(c["num_hidden_layers"]):
        def linear(name, value):
            y = value @ model.get(f"model.layers.{layer}.{name}.weight").T
            bias = model.get(f"model.layers.{layer}.{name}.bias", missing_ok=True)
            return y if bias is None else y + bias

        n = norm(x, model.get(f"model.layers.{layer}.input_layernorm.weight"), c["rms_norm_eps"])
        q = rotate(linear("self_attn.q_proj", n).reshape(-1, heads, dim))
        k = rotate(linear("self_attn.k_proj", n).reshape(-1, kv_heads, dim))
        v = linear("self_attn.v_proj", n).reshape(-1, kv_heads, dim)
        k, v = (np.repeat(t, heads // kv_heads, axis=1) for t in (k, v))
        mixed = np.empty_like(q)
        for begin, end in zip(np.r_[0, ends[:-1]], ends):
            scores = np.einsum("qhd,khd->hqk", q[begin:end], k[begin:end]) / np.float32(np.sqrt(dim))
            scores += np.triu(np.full(scores.shape[1:], -np.inf, np.float32), 1)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            mixed[begin:end] = np.einsum("hqk,khd->qhd", weights, v[begin:end])
        x = x + linear("self_attn.o_proj", mixed.reshape(len(x), -1))
        n = norm(x, model.get(f"model.layers.{layer}.post_attention_layernorm.weight"), c["rms_norm_eps"])
        gate, up = linear("mlp.gate_proj", n), linear("mlp.up_proj", n)
        x = x + linear("mlp.down_proj", gate / (1 + np.exp(-np.clip(gate, -80, None))) * up)
    n = norm(x, model.get("model.norm.weight"), c["rms_norm_eps"])
    name = "model.embed_tokens.weight" if c.get("tie_word_embeddings") else "lm_head.weight"
    head = model.get(name)
    return n @ head.T


def make_prompts(small, count, texts):
    """Texts if the tokenizers package is there, then ids drawn from a fixed seed."""
    prompts = []
    if texts:
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(str(small.path / "tokenizer.json"))
        for text in texts:
            prompts.append(np.array(tokenizer.encode(text).ids))
    rng = np.random.default_rng(7)
    vocab = small.config["vocab_size"]
    for i in range(count):
        prompts.append(rng.integers(0, vocab, 1 + 5 * i))
    return prompts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("small")
    parser.add_argument("big")
    parser.add_argument("--prompts", type=int, default=6, help="prompts of random ids")
    parser.add_argument("--tokens", type=int, default=24, help="continued greedily")
    parser.add_argument("--text", action="append", default=[], help="a prompt as text (needs the tokenizers package)")
    parser.add_argument("--tolerance", type=float, default=2e-4, help="of logits, relative to the largest")
    args = parser.parse_args()

    small, big = Checkpoint(args.small), Checkpoint(args.big)
    vocab, big_vocab = small.config["vocab_size"], big.config["vocab_size"]
    sequences = make_prompts(small, args.prompts, args.text)
    for _ in range(args.tokens):
        scores = logits(small, sequences)
        last = np.cumsum([len(s) for s in sequences]) - 1
        sequences = [np.append(s, scores[row].argmax()) for s, row in zip(sequences, last)]

    expected, found = logits(small, sequences), logits(big, sequences)
    real, padded = found[:, :vocab], found[:, vocab:]
    scale = np.abs(expected).max()
    difference = np.abs(expected - real).max()
    same = (expected.argmax(-1) == found.argmax(-1)).sum()
    top = np.sort(expected, -1)
    print(f"positions         {len(found)} in {len(sequences)} sequences")
    print(f"largest logit     {scale:.4g}")
    print(f"max difference    {difference:.3g} ({difference / scale:.3g} of the largest)")
    print(f"closest choice    {(top[:, -1] - top[:, -2]).min():.3g} between the two best ids")
    print(f"same arg-max      {same} of {len(found)}")
    gap = np.inf
    if big_vocab > vocab:
        gap = (real.min(-1) - padded.max(-1)).min()
        print(f"padded ids        {big_vocab - vocab}, {gap:.4g} below the worst real one, lowest {padded.min():.4g}")
    good = same == len(found) and difference <= args.tolerance * scale and gap > 100 and np.isfinite(found).all()
    print("equal" if good else "DIFFERENT")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
