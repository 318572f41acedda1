#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Packed stores against plain ones: the same weights, the same logits bit for bit. TAP on stdout.

usage: run_planes.py LAMINA [TESTDATA, not needed]

Models of random weights in bf16 and f16, with exponents as trained weights have them, as random bits have them, and all alike; of odd
shapes, with experts and latents, and with matrices cut along their columns. Each is split with codec raw and with codec planes. Logits
of both are compared as text, on every level of instructions, whole and streamed under the smallest budget; weights are compared by the
independent reader; a damaged tile is found; the demonstration model is smaller by what its exponents allow.
"""
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

import run_coded
from run_coded import DEEPSEEK, IDS, deepseek_shapes, llama_shapes

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LLAMA = dict(run_coded.LLAMA, intermediate_size=290)
WIDE = dict(LLAMA, hidden_size=64, intermediate_size=33100, num_hidden_layers=1)


def numbers(rng, shape, dtype, look):
    """Little-endian numbers of two bytes: as trained, with any small exponent, or all of one size."""
    count = math.prod(shape)
    if len(shape) == 1:
        return struct.pack("<H", 0x3F80 if dtype == "BF16" else 0x3C00) * count
    if look == "random bits":  # exponents from 0 (denormal numbers, zeros) up to below 1
        bits = int.from_bytes(rng.randbytes(2 * count), "little")
        keep = int.from_bytes(struct.pack("<H", 0xBC7F if dtype == "BF16" else 0xABFF) * count, "little")
        return (bits & keep).to_bytes(2 * count, "little")
    draw = [rng.gauss(0, 1) if look == "trained" else rng.choice((-1, 1)) for _ in range(min(count, 5000))]
    scale = shape[1] ** -0.5
    if dtype == "F16":
        some = [struct.pack("<e", x * scale) for x in draw]
    else:
        some = [struct.pack("<f", x * scale)[2:] for x in draw]
    return b"".join(rng.choices(some, k=count))


def write(path, config, shapes, dtype, look, seed):
    rng = random.Random(seed)
    run_coded.write(path, {name: (dtype, shape, numbers(rng, shape, dtype, look)) for name, shape, _ in shapes(config)}, config)


def run(*command, status=0):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != status:
        raise RuntimeError(f"exit {done.returncode}, {status} expected: {' '.join(command)}: {done.stderr.strip()}")
    return done


def logits(lamina, store, *flags):
    return run(lamina, "logits", store, "--ids", IDS, "-n", "3", "--json", "-q", *flags).stdout


def values(store):
    return run(sys.executable, os.path.join(ROOT, "tools", "lamina_store.py"), "values", store).stdout


def size_of(store):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(store) for f in files)


def same_everywhere(lamina, store, want=None):
    """The text `want` of logits (None: of one thread without vectors) on every level, and with other threads, rows and memory."""
    want = want or logits(lamina, store, "--isa", "scalar", "-t", "1")
    said = run(lamina, "logits", store, "--ids", IDS, "-n", "3", "--memory", "1MiB", "--prompt-rows", "1", "--no-pin", "-t", "1",
               status=7).stderr
    budget = int(re.search(r"--memory (\d+)MiB", said).group(1))
    ways = [("--isa", isa, "-t", "2") for isa in ("scalar", "avx2", "avx512", "neon", "auto")]
    ways += [("--memory", f"{budget}MiB", "--prompt-rows", "1", "--no-pin", "-t", "1"), ("--prompt-rows", "7", "-t", "3"),
             ("--memory", f"{budget + 4}MiB", "--prompt-rows", "3", "-t", "2"), ("--prompt-rows", "1", "-t", "2")]
    for way in ways:
        if logits(lamina, store, *way) != want:
            raise RuntimeError(f"other logits with {' '.join(way)}")


def damage(store):
    """Flips a bit in the middle of a layer, a byte of a tile; the store must say so and never answer."""
    path = os.path.join(store, "layers", "00000.bin")
    with open(path, "r+b") as f:
        f.seek(os.path.getsize(path) // 2)
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte ^ 16]))


def compare(lamina, base, config, shapes, dtype, look, number, smaller):
    source, raw, planes = (os.path.join(base, f"{number}{name}") for name in ("", ".raw", ".planes"))
    write(source, config, shapes, dtype, look, number)
    for codec, store in (("raw", raw), ("planes", planes)):
        run(lamina, "split", source, "-o", store, "--codec", codec, "-q")
        run(lamina, "verify", store, "-q")
    if "_PL" not in run(lamina, "show", planes).stdout or "_PL" in run(lamina, "show", raw).stdout:
        raise RuntimeError("not packed, or packed where it should not be")
    if values(raw) != values(planes):
        raise RuntimeError("the independent reader sees other weights")
    same_everywhere(lamina, planes, logits(lamina, raw))
    share = size_of(planes) / size_of(raw)
    if not smaller[0] <= share <= smaller[1]:
        raise RuntimeError(f"{share:.3f} of the plain store, {smaller[0]} to {smaller[1]} expected")
    damage(planes)
    run(lamina, "verify", planes, "-q", status=8)
    run(lamina, "logits", planes, "--ids", IDS, "-q", status=8)
    return f"{share:.3f} of the plain store"


def demonstration(lamina, base):
    """Trained weights: bits over the packed matrices, whole pages and tile tables included."""
    source, planes = os.path.join(ROOT, "demo", "model"), os.path.join(base, "demo.planes")
    run(lamina, "split", source, "-o", planes, "--codec", "planes", "-q")
    answer = run(lamina, "run", planes, "What is the capital of Japan?", "-q").stdout
    bits = json.loads(run(lamina, "show", planes, "--json").stdout)
    layers = [f for f in bits["files"] if f["name"].startswith("layers/")]
    weights = sum(m["rows"] * m["cols"] for f in layers for m in f["matrices"])
    per_weight = 8 * sum(f["size"] for f in layers) / weights
    if "Tokyo" not in answer or per_weight > 11.2:
        raise RuntimeError(f"{per_weight:.2f} bits, and \"{answer.strip()}\"")
    return f"{per_weight:.2f} bits a weight of the layers"


def main():
    lamina = sys.argv[1]
    failed = 0
    cases = [(LLAMA, llama_shapes, dtype, look, smaller) for dtype in ("BF16", "F16")
             for look, smaller in (("trained", (0.6, 0.99)), ("random bits", (0.6, 1.05)), ("alike", (0.4, 0.99)))]
    cases += [(DEEPSEEK, deepseek_shapes, "BF16", "trained", (0.6, 0.99)), (DEEPSEEK, deepseek_shapes, "F16", "trained", (0.6, 0.99)),
              (WIDE, llama_shapes, "BF16", "trained", (0.6, 0.75))]
    print(f"1..{len(cases) + 1}")
    with tempfile.TemporaryDirectory() as base:
        for number, (config, shapes, dtype, look, smaller) in enumerate(cases, 1):
            name = f"{config['architectures'][0]} {config['intermediate_size']}, {dtype}, {look}"
            try:
                print(f"ok {number} - {name}: {compare(lamina, base, config, shapes, dtype, look, number, smaller)}")
            except (RuntimeError, OSError, AttributeError) as e:
                failed += 1
                print(f"not ok {number} - {name}: {e}")
        try:
            print(f"ok {len(cases) + 1} - the demonstration model: {demonstration(lamina, base)}")
        except (RuntimeError, OSError, KeyError) as e:
            failed += 1
            print(f"not ok {len(cases) + 1} - the demonstration model: {e}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
