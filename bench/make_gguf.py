#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A large GGUF file of random blocks, for measuring how fast coded matrices stream; its text means nothing.

usage: make_gguf.py OUT.gguf TYPE [--hidden N] [--ffn N] [--layers N] [--heads N] [--kv-heads N] [--vocab N]

TYPE: Q4_0 Q8_0 Q4_K Q5_K Q6_K IQ4_XS ... of all matrices. Llama shapes; the defaults are those of 8B with 8 layers. Scales are
small and finite, codes random. Standard library only; writes at the speed of os.urandom.
"""
import argparse
import os
import struct

# number, weights and bytes of a block, offsets of float16 scales in it
TYPES = {"Q4_0": (2, 32, 18, (0,)), "Q4_1": (3, 32, 20, (0, 2)), "Q5_0": (6, 32, 22, (0,)), "Q5_1": (7, 32, 24, (0, 2)),
         "Q8_0": (8, 32, 34, (0,)), "Q2_K": (10, 256, 84, (80, 82)), "Q3_K": (11, 256, 110, (108,)),
         "Q4_K": (12, 256, 144, (0, 2)), "Q5_K": (13, 256, 176, (0, 2)), "Q6_K": (14, 256, 210, (208,)),
         "IQ4_NL": (20, 32, 18, (0,)), "IQ4_XS": (23, 256, 136, (0,))}
SCALE = struct.pack("<e", 1e-4)


def random_blocks(kind, weights):
    _, length, size, places = TYPES[kind]
    count = weights // length
    data = bytearray(os.urandom(count * size))
    for place in places:
        data[place::size] = SCALE[:1] * count
        data[place + 1::size] = SCALE[1:] * count
    return data


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def metadata(o):
    arch = "llama."
    numbers = {"block_count": o.layers, "embedding_length": o.hidden, "feed_forward_length": o.ffn, "context_length": 8192,
               "attention.head_count": o.heads, "attention.head_count_kv": o.kv_heads}
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("llama")]
    pairs += [text(arch + key) + struct.pack("<II", 4, value) for key, value in numbers.items()]
    pairs += [text(arch + "attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5),
              text(arch + "rope.freq_base") + struct.pack("<If", 6, 500000.0)]
    return pairs


def tensors(o):
    kv = o.hidden // o.heads * o.kv_heads
    yield "token_embd.weight", (o.vocab, o.hidden)
    yield "output.weight", (o.vocab, o.hidden)
    yield "output_norm.weight", (o.hidden,)
    for i in range(o.layers):
        for name, rows, cols in (("attn_q", o.hidden, o.hidden), ("attn_k", kv, o.hidden), ("attn_v", kv, o.hidden),
                                 ("attn_output", o.hidden, o.hidden), ("ffn_gate", o.ffn, o.hidden),
                                 ("ffn_up", o.ffn, o.hidden), ("ffn_down", o.hidden, o.ffn)):
            yield f"blk.{i}.{name}.weight", (rows, cols)
        yield f"blk.{i}.attn_norm.weight", (o.hidden,)
        yield f"blk.{i}.ffn_norm.weight", (o.hidden,)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("type", choices=sorted(TYPES))
    for name, value in (("hidden", 4096), ("ffn", 14336), ("layers", 8), ("heads", 32), ("kv-heads", 8), ("vocab", 32768)):
        p.add_argument("--" + name, type=int, default=value)
    o = p.parse_args()
    number, length, size, _ = TYPES[o.type]
    pairs, infos, at = metadata(o), [], 0
    for name, shape in tensors(o):
        vector = len(shape) == 1
        count = shape[0] if vector else shape[0] * shape[1]
        infos.append(text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in reversed(shape)) +
                     struct.pack("<IQ", 0 if vector else number, at))
        at += -(-(count * 4 if vector else count // length * size) // 32) * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs) + b"".join(infos)
    with open(o.out, "wb") as f:
        f.write(head + bytes(-len(head) % 32))
        for name, shape in tensors(o):
            data = struct.pack("<f", 1.0) * shape[0] if len(shape) == 1 else random_blocks(o.type, shape[0] * shape[1])
            f.write(data)
            f.write(bytes(-len(data) % 32))


if __name__ == "__main__":
    main()
