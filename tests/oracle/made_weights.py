# SPDX-License-Identifier: Apache-2.0
"""Checkpoints whose weights are computed, for run_made.py and record_made.py: a folder of tests/oracle/made says names, shapes and
ranges, so that it holds no weights. Plain Python.

Element i of a tensor is bf16(middle + range * (2 u - 1)), u the upper 24 bits of the i-th number of a linear congruential generator
(x = 1664525 x + 1013904223 mod 2^32) that begins with the CRC-32 of the tensor's name.
"""
import array
import json
import os
import shutil
import struct
import zlib


def bf16_words(name, count, middle, reach):
    x, out = zlib.crc32(name.encode()), array.array("f")
    for _ in range(count):
        x = (1664525 * x + 1013904223) & 0xFFFFFFFF
        out.append(middle + reach * ((x >> 8) / (1 << 23) - 1))
    return array.array("H", (w >> 16 for w in array.array("I", out.tobytes())))  # rounded towards zero


def count_of(shape):
    n = 1
    for size in shape:
        n *= size
    return n


def write_checkpoint(folder, place, tensors=None):
    """The checkpoint of a folder of made/ as a directory `place`, its golden.json beside it; from `tensors` where that is to be made."""
    recorded = tensors is None
    if recorded:
        with open(os.path.join(folder, "golden.json")) as f:
            tensors = json.load(f)["tensors"]
    header, data = {}, bytearray()
    for name, (shape, middle, reach) in tensors.items():
        raw = bf16_words(name, count_of(shape), middle, reach).tobytes()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    os.makedirs(place)
    with open(os.path.join(place, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)
    for name in ("config.json", "golden.json") if recorded else ("config.json",):
        shutil.copy(os.path.join(folder, name), place)
