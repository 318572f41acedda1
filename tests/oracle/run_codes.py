#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quantised checkpoints with their codes packed against the same as they are: logits equal bit for bit. TAP on stdout.

usage: run_codes.py LAMINA TESTDATA [WORDS ...]    only cases whose names have one of WORDS

Weights as trained ones are (normal, each row of a size of its own) are written as FP8 (e4m3 by blocks and rows, e5m2), int8, GPTQ,
AWQ's zero points, MXFP4, NVFP4, bitsandbytes' nf4, MLX and GGUF write them, as Llamas and a Mixtral; to these come the quantised
models of the test data. Each is split with codec raw and with codec planes. Logits of both are compared as text, on every level
of instructions, whole and streamed under the smallest budget; weights by the independent reader; the store must be smaller by what
the format allows; a damaged tile is found. Codes that are noise stay as they are, and so do stores made with codec raw.
"""
import functools
import json
import math
import os
import random
import struct
import sys
import tempfile

import run_coded
import run_quantised as Q
import run_reader
from run_planes import damage, logits, run, same_everywhere, size_of

import lamina_store

DIMS = (384, 6, 2, 64, 896)  # hidden, heads, KV heads, dimensions of a head, FFN
PAGE = 4096


def near(bits, rng, rows, cols):
    """Codes of so many bits around the middle, in place of run_quantised.py's even ones."""
    some = [min((1 << bits) - 1, max(1, round(rng.gauss((1 << bits) / 2, (1 << bits) / 6)))) for _ in range(4096)]
    return [bytes(rng.choices(some, k=cols)) for _ in range(rows)]


def two_of_complement(rng, rows, cols, bits):
    return [bytes(c ^ 1 << (bits - 1) for c in line) for line in near(bits, rng, rows, cols)]


def encoder(function, draw=None, **fixed):
    """An encoder of run_quantised.py that draws codes as trained weights have them."""
    def encode(rng, rows, cols):
        even = Q.random_codes
        Q.random_codes = draw or (lambda r, n, m, bits: near(bits, r, n, m))
        try:
            return function(rng, rows, cols, **fixed)
        finally:
            Q.random_codes = even
    return encode


def small_float(value, fraction, bias, most):
    """The byte of the number next to a value."""
    sign, size = (128 if value < 0 else 0), abs(value)
    if size < 2.0 ** (1 - bias - fraction) / 2:
        return sign
    e = max(math.floor(math.log2(size)), 1 - bias)
    q = round(size / 2.0 ** e * (1 << fraction))
    return sign | min(most, q if q < 1 << fraction and e == 1 - bias else ((e + bias) << fraction) + q - (1 << fraction))


def fp8(rng, rows, cols, form, dtype, code="F8_E4M3"):
    """Codes and scales; of the weights they stand for nothing is asked."""
    fraction, bias, most, top = (3, 7, 0x7E, 448) if code == "F8_E4M3" else (2, 15, 0x7B, 57344)
    some = [[small_float(rng.gauss(0, 1) * size / 4.2 * top, fraction, bias, most) for _ in range(2000)] for size in (0.5, 0.7, 1)]
    codes = b"".join(bytes(rng.choices(some[r % 3], k=cols)) for r in range(rows))
    grid = {"block": (-(-rows // 128), -(-cols // 128)), "row": (rows, 1)}[form]
    scales = b"".join(run_coded.rounded(rng.uniform(0.5, 1.5) * 4 / top / cols ** 0.5, dtype)[0] for _ in range(grid[0] * grid[1]))
    end = ".weight_scale_inv" if form == "block" else ".weight_scale"
    return {".weight": (code, (rows, cols), codes), end: (dtype, grid, scales)}, [Q.rounded([0.0]) for _ in range(1)]


def mxfp4(rng, rows, cols):
    """Scales of few sizes."""
    tensors, weights = run_reader.mxfp4(rng, rows, cols, "blocks")
    shape = tensors[".weight_scales"][1]
    sizes = bytes(rng.choices((115, 116, 117, 118), weights=(1, 6, 8, 1), k=shape[0] * shape[1]))
    return dict(tensors, **{".weight_scales": ("U8", shape, sizes)}), weights


def nvfp4(rng, rows, cols):
    """ModelOpt's."""
    tensors, weights = Q.nvfp4(rng, rows, cols, divide=False)
    shape = tensors[".weight_scale"][1]
    sizes = bytes(rng.choices(range(0x48, 0x58), k=shape[0] * shape[1]))
    return dict(tensors, **{".weight_scale": ("F8_E4M3", shape, sizes)}), weights


def gguf(base, kind):
    """Scales of few sizes, codes near the middle."""
    rng, path = random.Random(kind), base + "/coded"
    run_reader.gguf(path, kind, (kind,), dims=DIMS)
    source = run_reader.lamina_source.Gguf(path)
    with open(path, "r+b") as f:
        for dtype, dims, offset in source.tensors.values():
            if dtype != kind:
                continue
            count = math.prod(dims)
            blocks = b""
            codes = iter(b"".join(two_of_complement(rng, 1, count, 8) if kind == "Q8_0" else near(4, rng, 1, count)))
            for _ in range(count // 32):
                scale = struct.pack("<e", rng.uniform(0.5, 1.5) / 127 / 20)
                some = [next(codes) for _ in range(32)]
                blocks += scale + bytes(some) if kind == "Q8_0" else scale + bytes(a | b << 4 for a, b in zip(some[:16], some[16:]))
            f.seek(source.base + offset)
            f.write(blocks)
    os.rename(path, path + ".gguf")


def cases():
    """Name, function that writes base/coded, and how much smaller the layers are: least and most."""
    def model(name, encode, settings, share, **more):
        return name, lambda base: Q.make(base, name, more.pop("dims", DIMS), encode, settings, **more), share

    block = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    row = {"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized"}}
    gptq4 = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}}
    yield model("FP8 e4m3, blocks", functools.partial(fp8, form="block", dtype="F32"), block, (0.78, 0.88))
    yield model("FP8 e4m3, blocks, BF16, Mixtral", functools.partial(fp8, form="block", dtype="BF16"), block, (0.78, 0.9),
                experts=4, kept=(".gate",))
    yield model("FP8 e4m3, rows", functools.partial(fp8, form="row", dtype="F32"), row, (0.78, 0.9))
    yield model("FP8 e5m2, rows", functools.partial(fp8, form="row", dtype="BF16", code="F8_E5M2"), row, (0.65, 0.85))
    yield model("int8, rows", encoder(Q.int8, two_of_complement),
                Q.compressed("int-quantized", {"num_bits": 8, "strategy": "channel"}), (0.85, 0.98))
    yield model("bitsandbytes LLM.int8", encoder(Q.llm_int8, two_of_complement),
                {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, (0.85, 0.98))
    yield model("GPTQ, symmetric", encoder(Q.gptq, bits=4, group=128), gptq4, (0.8, 0.95))
    yield model("GPTQ, asymmetric, desc_act", encoder(Q.gptq, bits=4, group=128, sym=False, order="shuffled"), gptq4, (0.8, 0.97))
    yield model("GPTQ, 8 bit", encoder(Q.gptq, bits=8, group=128),
                {"quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 128}}, (0.85, 0.98))
    yield model("GPTQ, 3 bit", encoder(Q.gptq, bits=3, group=128),
                {"quantization_config": {"quant_method": "gptq", "bits": 3, "group_size": 128}}, (0.8, 1.0))
    yield model("AWQ", encoder(Q.awq, group=128), {"quantization_config": {"quant_method": "awq", "version": "gemm"}}, (0.8, 0.97))
    yield model("MLX", encoder(Q.mlx, bits=4, group=64), Q.mlx_settings(4, 64), (0.8, 0.97))
    yield model("MXFP4", mxfp4, {"quantization_config": {"quant_method": "mxfp4"}}, (0.93, 0.98))
    yield model("NVFP4", nvfp4, {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}},
                (0.9, 0.98))
    nf4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    yield model("bitsandbytes nf4", encoder(Q.bnb4, kind="nf4", nested=False), {"quantization_config": nf4}, (0.8, 1))
    for kind, share in (("Q8_0", (0.85, 0.98)), ("Q4_0", (0.8, 0.97))):
        yield "GGUF " + kind, functools.partial(gguf, kind=kind), share
    yield model("noise in FP8", fp8_noise, row, (1, 1))


def fp8_noise(rng, rows, cols):
    tensors, weights = fp8(rng, rows, cols, "row", "F32")
    noise = rng.randbytes(rows * cols).translate(bytes(c & 0xF7 if c & 0x7F == 0x7F else c for c in range(256)))
    return dict(tensors, **{".weight": ("F8_E4M3", (rows, cols), noise)}), weights


def layers_of(lamina, store):
    """Bytes of the tiles of coded matrices of layers, and how many of them are packed."""
    shown = json.loads(run(lamina, "show", store, "--json").stdout)
    matrices = [m for f in shown["files"] if f["name"].startswith("layers/") for m in f["matrices"]
                if m["dtype"] not in ("F32", "BF16", "F16", "BF16_PL", "F16_PL")]
    return sum(m["bytes"] for m in matrices), sum(m["packed_tiles"] for m in matrices), sum(m["tiles"] for m in matrices)


def records(path):
    """All records of codes, with the lead that they share, by the independent reader."""
    store, out = lamina_store.Store(path), []
    for name in store.sizes:
        f = store.open(name)
        for m in f.records if f.kind == 0 else ():
            if m["coding"] is not None:
                lead = f.coded_tile(m, 0, lamina_store.coded_bytes(m, 0))[:m["coding"].lead_bytes]
                out.append((name, m["role"], m["expert"], lead, lamina_store.coded_lines(f, m)))
    return out


def compare(lamina, source, base, share):
    raw, planes = base + "/raw", base + "/planes"
    for codec, store in (("raw", raw), ("planes", planes)):
        run(lamina, "split", source, "-o", store, "--codec", codec, "-q")
        run(lamina, "verify", store, "-q")
    (before, none, _), (after, packed, tiles) = layers_of(lamina, raw), layers_of(lamina, planes)
    if none != 0 or (packed == 0) != (share == (1, 1)):
        raise RuntimeError(f"{packed} of {tiles} tiles are packed, {none} with codec raw")
    seen = records(raw)
    if seen != records(planes) or not seen:
        raise RuntimeError("the independent reader sees other records")
    same_everywhere(lamina, planes, logits(lamina, raw))
    found = after / before
    if not share[0] <= found <= share[1] or size_of(planes) > size_of(raw) + PAGE:
        raise RuntimeError(f"{found:.3f} of the codes as they are, {share[0]} to {share[1]} expected")
    damage(planes)
    run(lamina, "verify", planes, "-q", status=8)
    run(lamina, "logits", planes, "--ids", run_coded.IDS, "-q", status=8)
    return f"{found:.3f} of the codes as they are, {packed} of {tiles} tiles packed"


def of_testdata(testdata):
    """Of gpt-oss matrices of codes are so small that no page is saved."""
    for name, share in (("llama-fp8-block", (0.75, 0.99)), ("qwen3-fp8-block", (0.75, 0.99)), ("gpt-oss-mxfp4", (1, 1))):
        yield name, os.path.join(testdata, "oracle", name), share


def main():
    lamina, words, failed = sys.argv[1], sys.argv[3:], 0
    jobs = [(name, make, None, share) for name, make, share in cases()]
    jobs += [(name, None, source, share) for name, source, share in of_testdata(sys.argv[2])]
    jobs = [job for job in jobs if not words or any(w in job[0] for w in words)]
    print(f"1..{len(jobs)}")
    for number, (name, make, source, share) in enumerate(jobs, 1):
        with tempfile.TemporaryDirectory() as base:
            try:
                if make is not None:
                    make(base)
                    source = base + ("/coded.gguf" if os.path.exists(base + "/coded.gguf") else "/coded")
                print(f"ok {number} - {name}: {compare(lamina, source, base, share)}", flush=True)
            except (RuntimeError, OSError, AttributeError, KeyError, lamina_store.Bad) as e:
                failed += 1
                print(f"not ok {number} - {name}: {e}", flush=True)
    return 1 if failed or not jobs else 0


if __name__ == "__main__":
    sys.exit(main())
