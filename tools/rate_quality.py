#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quality against bits: divergence of rounded models from the exact one, beside bitsandbytes' formats on the same tensors.

    tools/rate_quality.py build/lamina CHECKPOINT [--tokens N] [--codecs q8,q6.25,q4,q3.90,...] [--work DIR]

Text comes from the model itself: pieces of 250 tokens drawn at temperature 1 from a dozen beginnings, seeds 1, 2, ... Of the
checkpoint (one safetensors file, bf16, f16 or f32) copies are made of which the layers' matrices went through NF4 (block 64) and the
dynamic 8-bit format (block 2048), by the formulas of that library, as fp32; lamina's own codecs round the same matrices. `lamina kl`
compares each with the exact store. Prints a table; bits are those of the matrices: for lamina as stored, with scales, tables and
padding; for the others by their formulas, which pad nothing.
"""
import argparse
import array
import bisect
import json
import os
import shutil
import struct
import subprocess
import tempfile

NF4 = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0)
BEGINNINGS = ("Once upon a time", "The capital of", "One day", "There was a", "She", "In the morning", "What is", "He said",
              "A little", "They went", "My friend", "The sun")


def dynamic_map():
    """256 values: decades from 1e-6 to 1, each with twice as many steps as the one below; both signs, 0 and 1."""
    values = [0.0, 1.0]
    for i in range(7):
        count = 2 ** i
        edges = [0.1 + 0.9 * k / count for k in range(count + 1)]
        for a, b in zip(edges, edges[1:]):
            v = 10.0 ** (i - 6) * (a + b) / 2
            values += [v, -v]
    return sorted(values)


FORMATS = (("NF4, block 64", NF4, 64, 4.5), ("dynamic 8 bit, block 2048", tuple(dynamic_map()), 2048, 8 + 32 / 2048))


def single(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def through(values, table, block):
    """Nearest entries of the table times the largest value of each block."""
    middles = [(a + b) / 2 for a, b in zip(table, table[1:])]
    table = [single(v) for v in table]
    out = array.array("f")
    for at in range(0, len(values), block):
        part = values[at:at + block]
        most = max(max(part), -min(part))
        if most == 0:
            out.extend(part)
            continue
        inverse = 1.0 / most
        out.extend(table[bisect.bisect_right(middles, v * inverse)] * most for v in part)
    return out


def floats(data, dtype):
    if dtype == "F32":
        return array.array("f", data)
    if dtype == "F16":
        return array.array("f", struct.unpack(f"<{len(data) // 2}e", data))
    wide = array.array("I", (v << 16 for v in array.array("H", data)))
    return array.array("f", wide.tobytes())


def is_rounded(name, shape):
    return ".layers." in name and len(shape) == 2 and shape[0] * shape[1] >= 16384 and shape[1] >= 32


def copy_through(source, path, table, block):
    shutil.copytree(source, path, ignore=shutil.ignore_patterns("*.safetensors", "*.md"))
    with open(os.path.join(source, "model.safetensors"), "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(size))
        body = f.read()
    header.pop("__metadata__", None)
    new, data, at = {}, [], 0
    for name, t in header.items():
        values = floats(body[t["data_offsets"][0]:t["data_offsets"][1]], t["dtype"])
        if is_rounded(name, t["shape"]):
            values = through(values, table, block)
        data.append(values.tobytes())
        new[name] = {"dtype": "F32", "shape": t["shape"], "data_offsets": [at, at + len(data[-1])]}
        at += len(data[-1])
    text = json.dumps(new).encode()
    with open(os.path.join(path, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def bits_of(store):
    """Of the matrices of the layers: whole tiles over weights."""
    with open(os.path.join(store, "lamina.json"), encoding="utf-8") as f:
        return json.load(f)["bits"]["layers"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("lamina")
    p.add_argument("checkpoint")
    p.add_argument("--tokens", type=int, default=8192)
    p.add_argument("--ctx", type=int, default=256)
    p.add_argument("--codecs", default="planes,q8,q7.00,q6.25,q6.00,q5.00,q4,q3.90,q3.50,q3.00")
    p.add_argument("--work", help="keep stores and text here")
    a = p.parse_args()
    work = a.work or tempfile.mkdtemp()
    os.makedirs(work, exist_ok=True)
    raw = os.path.join(work, "raw")
    run(a.lamina, "split", a.checkpoint, "-o", raw, "--codec", "raw", "-q")
    text = os.path.join(work, "text.txt")
    with open(text, "w", encoding="utf-8") as f:
        for seed in range(1, a.tokens // 250 + 2):
            start = BEGINNINGS[seed % len(BEGINNINGS)]
            f.write(start + run(a.lamina, "run", raw, start, "--raw", "--temp", "1", "--top-p", "1", "--seed", str(seed), "-n", "250",
                                "-q").removeprefix(start) + "\n")
    saved = os.path.join(work, "reference.kl")
    print(f"{'format':28} {'bits':>6}  {'mean KL':>10} +-{'':8} {'same top':>8}  {'perplexity':>10}")

    def compare(name, store, bits):
        reference = saved if os.path.exists(saved) else raw
        command = [a.lamina, "kl", store, "--reference", reference, text, "-c", str(a.ctx), "--json", "-q"]
        if not os.path.exists(saved):
            command += ["--save", saved]
        r = json.loads(run(*command))
        print(f"{name:28} {bits:6.3f}  {r['mean_kl']:10.3e} +- {r['mean_kl_error']:.1e} {r['top1_agreement']:7.2f}%  {r['ppl']:10.4f} "
              f"+- {r['ppl_error']:.4f}", flush=True)

    for codec in a.codecs.split(","):
        store = os.path.join(work, codec)
        run(a.lamina, "split", a.checkpoint, "-o", store, "--codec", codec, "-q")
        compare("lamina " + codec, store, bits_of(store))
    for name, table, block, bits in FORMATS:
        copy = os.path.join(work, name.split()[0] + ".hf")
        if not os.path.exists(copy):
            copy_through(a.checkpoint, copy, table, block)
        store = os.path.join(work, name.split()[0])
        run(a.lamina, "split", copy, "-o", store, "--codec", "raw", "-q")
        compare(name, store, bits)


if __name__ == "__main__":
    main()
