#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the decoders of src/format/quant*.c with the reference libraries of the formats, bit for bit.

Not part of the test suite: it needs the Python packages numpy, torch, gguf, bitsandbytes, compressed_tensors and mlx (a part
is skipped, and says so, where its package is missing). GPTQ and AWQ are compared with their packing written out here in
numpy. Random codes and scales, a fixed seed; the tests in tests/unit hold checksums of what was found equal here.

    tools/quant_check.py [--blocks N]
    tools/quant_check.py --checksums DIR   what gguf makes of the blocks in tests/unit/test_quant.c; DIR: goldens/ggml-quants
"""
import argparse
import ctypes
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent


def build(folder):
    """The format room and what it stands on as one shared library."""
    library = pathlib.Path(folder) / "quant.so"
    sources = sorted((ROOT / "src" / "format").glob("quant*.c")) + [ROOT / "src" / "format" / "safetensors.c"]
    sources += [ROOT / "src" / "base" / f"{name}.c" for name in ("status", "arena", "json", "str")]
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-ffp-contract=off", "-fPIC", "-shared", f"-I{ROOT}/src",
                    f"-I{ROOT}/include", *map(str, sources), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


class Score:
    def __init__(self):
        self.wrong = 0

    def compare(self, what, ours, theirs):
        ours = np.ascontiguousarray(ours, dtype=np.float32).reshape(-1)
        theirs = np.ascontiguousarray(theirs, dtype=np.float32).reshape(-1)
        both_nan = np.isnan(ours) & np.isnan(theirs)
        same = (ours.view(np.uint32) == theirs.view(np.uint32)) | both_nan
        # A zero's sign is compared too, but reported apart: it changes no product.
        zero = ~same & (ours == 0) & (theirs == 0)
        bad = int((~same & ~zero).sum())
        self.wrong += bad > 0
        note = f", {int(zero.sum())} zeros of the other sign" if zero.any() else ""
        print(f"{'ok  ' if bad == 0 else 'FAIL'} {what}: {ours.size - bad} of {ours.size} equal{note}")
        if bad:
            i = int(np.flatnonzero(~same & ~zero)[0])
            print(f"     first at {i}: {ours[i]!r}, reference {theirs[i]!r}")


class QuantType(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("ggml", ctypes.c_uint32), ("block_len", ctypes.c_uint16),
                ("block_bytes", ctypes.c_uint16),
                ("decode", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p))]


def check_gguf(lib, score, blocks):
    """Any bytes are a block, so random ones try every code, scale and kind of float16."""
    try:
        import gguf
    except ImportError:
        print("skipped: no package gguf")
        return
    lib.quant_of_ggml.restype = ctypes.POINTER(QuantType)
    rng = np.random.default_rng(1)
    for number, (length, size) in gguf.GGML_QUANT_SIZES.items():
        found = lib.quant_of_ggml(int(number))
        if not found:
            print(f"     {number.name}: not known here")
            continue
        kind = found.contents
        if (kind.name.decode(), kind.block_len, kind.block_bytes) != (number.name, length, size):
            print(f"FAIL {number.name}: {kind.name} {kind.block_len} {kind.block_bytes}, expected {length} {size}")
            score.wrong += 1
        if not kind.decode:
            continue
        data = rng.integers(0, 256, size=(blocks, size), dtype=np.uint8)
        ours = np.empty(blocks * length, dtype=np.float32)
        kind.decode(data.ctypes.data, blocks, ours.ctypes.data)
        with np.errstate(all="ignore"):
            theirs = gguf.quants.dequantize(data, number)
        score.compare(f"gguf {number.name}", ours, theirs)


def checksum(values):
    """FNV-1a over the bits of float32 values, every NaN counted as the same one."""
    bits = np.ascontiguousarray(values, dtype="<f4").reshape(-1).view("<u4").copy()
    bits[np.isnan(values).reshape(-1)] = 0x7fc00000
    h = 0xcbf29ce484222325
    for byte in bits.tobytes():
        h = (h ^ byte) * 0x100000001b3 % (1 << 64)
    return h


def print_checksums(folder):
    import gguf
    for number, (length, size) in gguf.GGML_QUANT_SIZES.items():
        x, data = 12345, bytearray()
        for _ in range(64 * size):
            x = (x * 1664525 + 1013904223) % (1 << 32)
            data.append(x >> 24)
        try:
            with np.errstate(all="ignore"):
                values = gguf.quants.dequantize(np.frombuffer(bytes(data), dtype=np.uint8).reshape(64, size), number)
        except NotImplementedError:
            continue
        print(f'    {{"{number.name}", UINT64_C(0x{checksum(values):016x})}},')
    for path in sorted(pathlib.Path(folder).glob("*_expected.bin")):
        name = path.name.removesuffix("_expected.bin")
        number = gguf.GGMLQuantizationType["_".join(name.split("_")[:-2]).upper()]
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8).reshape(-1, gguf.GGML_QUANT_SIZES[number][1])
        print(f'    {{"{name}", "{number.name}", UINT64_C(0x{checksum(gguf.quants.dequantize(data, number)):016x})}},')


# ---- matrices spread over several tensors ----

METHODS = ("FP8", "INT8", "BNB8", "MXFP4", "NVFP4", "GPTQ", "AWQ", "PACKED", "MLX")


class Span(ctypes.Structure):
    _fields_ = [("ptr", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Tensor(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_char_p), ("rank", ctypes.c_uint32), ("shape", ctypes.c_uint64 * 8), ("bytes", Span)]


class Source(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("method", ctypes.c_int), ("bits", ctypes.c_uint32), ("group", ctypes.c_uint32),
                ("block_rows", ctypes.c_uint32), ("block_cols", ctypes.c_uint32), ("plus_one", ctypes.c_bool),
                ("divide", ctypes.c_bool), ("cols", ctypes.c_uint64), ("codes", Tensor), ("scales", Tensor),
                ("zeros", Tensor), ("order", Tensor), ("global_", Tensor)]


class Bnb4(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("state", Span), ("codes", Tensor), ("scales", Tensor), ("table", Tensor),
                ("nested_scales", Tensor), ("nested_table", Tensor)]


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("message", ctypes.c_char * 4096)]


DTYPES = {"float32": b"F32", "float16": b"F16", "bfloat16": b"BF16", "int32": b"I32", "uint32": b"U32", "int8": b"I8",
          "uint8": b"U8", "float8_e4m3fn": b"F8_E4M3", "float8_e5m2": b"F8_E5M2", "int64": b"I64"}


def tensor(t, keep):
    """A torch tensor as the library sees it; `keep` holds the bytes alive."""
    import torch
    t = t.contiguous()
    data = t.reshape(-1).view(torch.uint8).numpy().copy()
    keep.append(data)
    shape = (ctypes.c_uint64 * 8)(*t.shape)
    return Tensor(DTYPES[str(t.dtype).split(".")[1]], t.dim(), shape, Span(data.ctypes.data, data.size))


def decode(lib, method, codes, scales, **more):
    keep = []
    source = Source(name=b"w", method=METHODS.index(method), codes=tensor(codes, keep), scales=tensor(scales, keep))
    for name, value in more.items():
        setattr(source, name, tensor(value, keep) if hasattr(value, "dtype") else value)
    matrix = (ctypes.c_uint64 * 256)()  # struct quant_matrix, with room to spare
    error = Error()
    if lib.quant_matrix_open(ctypes.byref(source), matrix, ctypes.byref(error)) != 0:
        raise SystemExit(f"{method}: {error.message.decode()}")
    out = np.empty((matrix[0], matrix[1]), dtype=np.float32)
    lib.quant_matrix_rows(matrix, ctypes.c_uint64(0), ctypes.c_uint64(matrix[0]), ctypes.c_void_p(out.ctypes.data))
    return out


def check_floats(lib, score):
    import torch
    gen = torch.Generator().manual_seed(2)
    for kind in (torch.float8_e4m3fn, torch.float8_e5m2):
        codes = torch.randint(0, 256, (300, 390), generator=gen, dtype=torch.uint8).view(kind)
        wide = codes.to(torch.float32)
        grid = torch.rand((3, 4), generator=gen) + 0.01
        spread = grid.repeat_interleave(128, 0)[:300].repeat_interleave(128, 1)[:, :390]
        score.compare(f"{kind} blocks of 128 x 128", decode(lib, "FP8", codes, grid, block_rows=128, block_cols=128),
                      wide * spread)
        rows = torch.rand((300, 1), generator=gen).to(torch.bfloat16)
        score.compare(f"{kind} a scale a row", decode(lib, "FP8", codes, rows), wide * rows.float())
        one = torch.rand((1,), generator=gen)
        score.compare(f"{kind} one scale", decode(lib, "FP8", codes, one), wide * one)
    # gpt-oss: transformers' convert_moe_packed_tensors does lut[code] and torch.ldexp with the exponent less 127.
    lut = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6])
    blocks = torch.randint(0, 256, (2, 64, 6, 16), generator=gen, dtype=torch.uint8)
    scales = torch.randint(0, 252, (2, 64, 6), generator=gen, dtype=torch.uint8)
    pairs = torch.stack((lut[(blocks & 15).long()], lut[(blocks >> 4).long()]), -1).reshape(128, 6, 32)
    theirs = torch.ldexp(pairs.double(), scales.reshape(128, 6, 1).double() - 127).float().reshape(128, 192)
    score.compare("mxfp4 blocks of gpt-oss", decode(lib, "MXFP4", blocks, scales), theirs)
    score.compare("mxfp4 packed", decode(lib, "MXFP4", blocks.reshape(128, 96), scales.reshape(128, 6)), theirs)
    codes = torch.randint(-128, 128, (64, 96), generator=gen, dtype=torch.int8)
    rows = torch.rand((64, 1), generator=gen)
    score.compare("int8 a scale a row", decode(lib, "INT8", codes, rows), codes.float() * rows)
    try:
        import bitsandbytes.functional as bnb
        score.compare("bitsandbytes int8", decode(lib, "BNB8", codes, rows.reshape(-1)),
                      bnb.int8_vectorwise_dequant(codes, rows.reshape(-1)))
    except ImportError:
        print("skipped: no package bitsandbytes")


def streams(codes, bits):
    """Codes of each row as one stream of bits, low bits first, in words of 32."""
    as_bits = (codes[..., None].astype(np.uint8) >> np.arange(bits, dtype=np.uint8) & 1).reshape(codes.shape[0], -1)
    as_bits = np.pad(as_bits, ((0, 0), (0, -as_bits.shape[1] % 32)))
    return np.packbits(as_bits, axis=1, bitorder="little").view("<u4").astype(np.uint32).view(np.int32)


def gptq_three(column):
    """AutoGPTQ's 3-bit packing written out: ten codes, two bits of the next; its third bit, ten codes, one bit of the next;
    its other two bits, ten codes."""
    c = [int(x) for x in column]
    a = sum(c[i] << 3 * i for i in range(10)) | (c[10] & 3) << 30
    b = c[10] >> 2 | sum(c[11 + i] << 3 * i + 1 for i in range(10)) | (c[21] & 1) << 31
    d = c[21] >> 1 | sum(c[22 + i] << 3 * i + 2 for i in range(10))
    return [a, b, d]


def check_integers(lib, score):
    import torch
    rng = np.random.default_rng(3)
    of = torch.from_numpy
    for bits in (2, 3, 4, 8):
        rows, cols, group = 64, 96, 32
        q = rng.integers(0, 1 << bits, (rows, cols)).astype(np.int64)
        z = rng.integers(0, 1 << bits, (cols // group, rows)).astype(np.int64)
        scales = (rng.random((cols // group, rows)) + .1).astype(np.float16)
        packed = np.ascontiguousarray(streams(q, bits).T)
        if bits == 3:
            words = [gptq_three(q[0, i:i + 32]) for i in range(0, cols, 32)]
            assert np.array_equal(packed[:, 0].view(np.uint32), np.array(words, dtype=np.uint32).reshape(-1))
        for order in (np.arange(cols) // group, rng.permutation(cols) // group):
            theirs = (q - z[order].T).astype(np.float32) * scales[order].T.astype(np.float32)
            stored = streams((z - 1) % (1 << bits), bits)
            more = {"bits": bits, "order": of(order.astype(np.int32))}
            score.compare(f"gptq {bits} bit", decode(lib, "GPTQ", of(packed), of(scales), plus_one=True, zeros=of(stored), **more),
                          theirs)
            score.compare(f"gptq_v2 {bits} bit", decode(lib, "GPTQ", of(packed), of(scales), zeros=of(streams(z, bits)), **more),
                          theirs)
    # AWQ: nibble i of a word is that of row 8w + order[i] (awq/quantize/packing_utils).
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    q = rng.integers(0, 16, (96, 64))
    z = rng.integers(0, 16, (3, 64))
    scales = (rng.random((3, 64)) + .1).astype(np.float16)

    def words(x):
        x = x.reshape(x.shape[0], -1, 8)[:, :, order].astype(np.uint32)
        return of(np.bitwise_or.reduce(x << (4 * np.arange(8, dtype=np.uint32)), axis=2).view(np.int32).copy())
    spread = np.arange(96) // 32
    theirs = ((q - z[spread]).astype(np.float32) * scales[spread].astype(np.float32)).T
    score.compare("awq", decode(lib, "AWQ", words(q), of(scales), zeros=words(z)), theirs)


def check_packed(lib, score):
    try:
        import torch
        from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    except ImportError:
        print("skipped: no package compressed_tensors")
        return
    gen = torch.Generator().manual_seed(4)
    for bits in range(2, 9):
        half = 1 << (bits - 1)
        q = torch.randint(-half, half, (96, 100), generator=gen, dtype=torch.int8)
        z = torch.randint(-half, half, (96, 5), generator=gen, dtype=torch.int8)
        scales = torch.rand((96, 5), generator=gen).to(torch.bfloat16)
        spread = scales.float().repeat_interleave(20, 1)
        codes = pack_to_int32(q, bits)
        more = {"bits": bits, "cols": 100, "group": 20}
        score.compare(f"compressed-tensors {bits} bit", decode(lib, "PACKED", codes, scales, **more), q.float() * spread)
        zeros = pack_to_int32(z, bits, packed_dim=0)
        theirs = (q.float() - z.float().repeat_interleave(20, 1)) * spread
        score.compare(f"compressed-tensors {bits} bit, zero points", decode(lib, "PACKED", codes, scales, zeros=zeros, **more),
                      theirs)
    check_nvfp4(lib, score, gen)


def check_nvfp4(lib, score, gen):
    import torch
    lut = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6])
    codes = torch.randint(0, 256, (32, 48), generator=gen, dtype=torch.uint8)
    scales = torch.randint(1, 0x7e, (32, 6), generator=gen, dtype=torch.uint8).view(torch.float8_e4m3fn)
    one = torch.tensor([37.3])
    wide = torch.stack((lut[(codes & 15).long()], lut[(codes >> 4).long()]), -1).reshape(32, 6, 16)
    for divide in (False, True):
        scale = scales.float() / one if divide else scales.float() * one
        score.compare(f"nvfp4 {'divided' if divide else 'multiplied'}",
                      decode(lib, "NVFP4", codes, scales, global_=one, divide=divide), wide * scale[..., None])


def check_mlx(lib, score):
    try:
        import mlx.core as mx
        import torch
    except ImportError:
        print("skipped: no package mlx")
        return
    mx.random.seed(5)
    for bits in (2, 3, 4, 5, 6, 8):
        for group in (32, 64):
            codes, scales, minima = mx.quantize(mx.random.normal((48, 192)), group_size=group, bits=bits)
            theirs = np.array(mx.dequantize(codes, scales, minima, group_size=group, bits=bits))
            t = [torch.from_numpy(np.array(x).view(np.int32) if x.dtype == mx.uint32 else np.array(x))
                 for x in (codes, scales, minima)]
            score.compare(f"mlx {bits} bit, group {group}", decode(lib, "MLX", t[0], t[1], zeros=t[2], bits=bits), theirs)


def check_bnb4(lib, score):
    try:
        import bitsandbytes.functional as bnb
        import torch
    except ImportError:
        print("skipped: no package bitsandbytes")
        return
    gen = torch.Generator().manual_seed(6)
    weight = torch.randn((70, 130), generator=gen)
    for kind in ("nf4", "fp4"):
        for nested in (False, True):
            for block in (64, 128):
                packed, state = bnb.quantize_4bit(weight, quant_type=kind, compress_statistics=nested, blocksize=block)
                theirs = bnb.dequantize_4bit(packed, state)
                parts = state.as_dict(packed=True)
                keep = []
                text = bytes(parts[f"quant_state.bitsandbytes__{kind}"].numpy().tobytes())
                data = np.frombuffer(text, dtype=np.uint8).copy()
                keep.append(data)
                source = Bnb4(name=b"w", state=Span(data.ctypes.data, data.size), codes=tensor(packed, keep),
                              scales=tensor(parts["absmax"], keep), table=tensor(parts["quant_map"], keep))
                if nested:
                    source.nested_scales = tensor(parts["nested_absmax"], keep)
                    source.nested_table = tensor(parts["nested_quant_map"], keep)
                matrix = (ctypes.c_uint64 * 32)()
                error = Error()
                if lib.quant_bnb4_open(ctypes.byref(source), matrix, ctypes.byref(error)) != 0:
                    raise SystemExit(error.message.decode())
                out = np.empty((matrix[0], matrix[1]), dtype=np.float32)
                lib.quant_bnb4_weights(matrix, ctypes.c_uint64(0), ctypes.c_uint64(out.size), ctypes.c_void_p(out.ctypes.data))
                score.compare(f"bitsandbytes {kind}, block {block}{', nested' if nested else ''}", out, theirs.numpy())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=20000)
    parser.add_argument("--checksums", metavar="DIR")
    args = parser.parse_args()
    if args.checksums is not None:
        print_checksums(args.checksums)
        return 0
    score = Score()
    with tempfile.TemporaryDirectory() as folder:
        lib = build(folder)
        check_gguf(lib, score, args.blocks)
        try:
            import torch  # noqa: F401
            check_floats(lib, score)
            check_integers(lib, score)
        except ImportError:
            print("skipped: no package torch")
        check_packed(lib, score)
        check_mlx(lib, score)
        check_bnb4(lib, score)
    print("all equal" if score.wrong == 0 else f"{score.wrong} formats differ")
    return score.wrong != 0


if __name__ == "__main__":
    sys.exit(main())
