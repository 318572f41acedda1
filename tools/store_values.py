#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares what stores stand for with what the reference libraries of quantised formats make of the same weights, bit for bit.

    tools/store_values.py LAMINA [WORDS ...]   a line a format; only formats whose names have one of WORDS
    tools/store_values.py --checksums DIR      what gguf makes of the blocks in tests/unit/test_quant.c; DIR: goldens/ggml-quants

For each format the library quantises random weights, or reads random codes where it only reads; its tensors make a checkpoint of a
small Llama, `lamina split` makes a store, and lamina_store.py's decoders make floats of that. Not part of the test suite: it needs
numpy and, for the formats they are of, the Python packages gguf, mlx, torch, bitsandbytes, compressed-tensors, transformers,
auto-gptq and autoawq; a part is skipped, and says so, where its package is missing. Libraries that compute in the type of their
scales are given these widened to float32, so that nothing is rounded away.
"""
import importlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import types

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
import run_coded  # noqa: E402
import run_quantised as writers  # noqa: E402
from lamina_source import NAMES  # noqa: E402
from lamina_store import GROUP_FIELDS, Store, values_of  # noqa: E402
from lamina_values import BLOCKS, E2M1, FNV_START, fnv  # noqa: E402

DIMS = (256, 4, 2, 64, 512)  # hidden, heads, KV heads, dimensions of a head, FFN
ODD = (148, 6, 3, 20, 276)
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int32": "I32", "uint32": "U32", "int8": "I8", "uint8": "U8",
          "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int64": "I64"}
SKIPPED = []


def library(name):
    try:
        return importlib.import_module(name)
    except ImportError as e:
        SKIPPED.append(f"{name} ({e})")
        return None


def one_file(package, path, *parents):
    """A module of a package whose other parts need more than is here."""
    found = importlib.util.find_spec(package)
    if found is None or library("torch") is None:
        SKIPPED.append(package)
        return None
    for parent in (package, *(f"{package}.{p}" for p in parents)):
        sys.modules[parent] = types.ModuleType(parent)
        sys.modules[parent].__spec__ = found
        sys.modules[parent].__path__ = [os.path.join(os.path.dirname(found.origin), *parent.split(".")[1:])]
    return library(f"{package}.{path}")


def stored(t):
    """Type, shape and bytes of a tensor of torch, mlx or numpy."""
    name = str(t.dtype).split(".")[-1]
    if hasattr(t, "detach"):
        import torch
        raw = t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(t, np.ndarray):
        raw = t.tobytes()
    else:
        import mlx.core as mx
        raw = np.array(t.view(mx.uint8)).tobytes()
    return DTYPES[name], tuple(t.shape), raw


# ---- comparing ----

class Table:
    def __init__(self, lamina, words):
        self.lamina, self.words, self.wrong, self.lines = lamina, words, 0, 0

    def wants(self, name):
        return not self.words or any(w in name for w in self.words)

    def compare(self, name, source, references, base):
        """references: matrices by the names of their tensors."""
        done = subprocess.run([self.lamina, "split", source, "-o", f"{base}/store", "-q"], capture_output=True, text=True)
        if done.returncode != 0:
            return self.line(name, 0, 0, done.stderr.strip(), "")
        store, weights, bad, zeros, seen, kind = Store(f"{base}/store"), 0, 0, 0, 0, ""
        for layer, file in [("", "embed.bin"), ("", "head.bin"), *enumerate(store.layers)]:
            f = store.open(file) if file in store.sizes else None
            for m in f.records if f else []:
                theirs = next((references[n] for n in (n.format(layer) for n in NAMES[m["role"]]) if n in references), None)
                if theirs is None:
                    continue
                ours = np.array([np.frombuffer(row, dtype="<f4") for row in values_of(f, m)])
                theirs = np.ascontiguousarray(theirs, dtype="<f4")
                same = (ours.view("<u4") == theirs.view("<u4")) | (np.isnan(ours) & np.isnan(theirs))
                zero = ~same & (ours == 0) & (theirs == 0)  # told apart: it changes no product
                weights, zeros, bad, seen = weights + ours.size, zeros + int(zero.sum()), bad + int((~same & ~zero).sum()), seen + 1
                kind = m["dtype"] if m["dtype"] != "GROUPS" else " ".join(
                    f"{k} {int(getattr(m['coding'], k))}" for k in GROUP_FIELDS[:8] if getattr(m["coding"], k))
        why = "" if seen == len(references) else f", {seen} of {len(references)} matrices found"
        note = f", {zeros} zeros of the other sign" if zeros else ""
        self.line(name, seen, weights, ("equal" if bad == 0 else f"{bad} differ") + why, kind + note)

    def line(self, name, matrices, weights, result, kind):
        self.lines += 1
        self.wrong += result != "equal"
        print(f"{'ok  ' if result == 'equal' else 'FAIL'} {name:52} {matrices:3} matrices {weights:8} weights  {result:8} {kind}",
              flush=True)

    def checkpoint(self, name, settings, encode, dims=DIMS, ends=False):
        """encode(rows, cols): tensors by the ends of their names, and the float32 that the library makes of them."""
        if not self.wants(name):
            return
        rng, tensors, references = np.random.default_rng(7), {}, {}
        matrices = [(n, writers.VOCAB, dims[0], ends) for n in ("model.embed_tokens", "lm_head")]
        for matrix, rows, cols, coded in matrices + [(*m, True) for m in writers.linears(dims, 1, 0, False)]:
            if not coded:
                tensors[matrix + ".weight"] = stored(rng.standard_normal((rows, cols), dtype=np.float32))
                continue
            made, references[matrix + ".weight"] = encode(rows, cols)
            tensors.update({matrix + end: t if isinstance(t, tuple) else stored(t) for end, t in made.items()})
        for norm in ("model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm", "model.norm"):
            tensors[norm + ".weight"] = stored(np.ones(dims[0], dtype=np.float32))
        with tempfile.TemporaryDirectory() as base:
            run_coded.write(f"{base}/source", tensors, dict(writers.config_of(dims, 1, 0, False, False), **settings))
            self.compare(name, f"{base}/source", references, base)


# ---- formats ----

def gguf_blocks(table):
    gguf = library("gguf")
    hidden, heads, kv, head, ffn = DIMS
    shapes = {"token_embd": (writers.VOCAB, hidden), "output": (writers.VOCAB, hidden), "blk.0.attn_q": (heads * head, hidden),
              "blk.0.attn_k": (kv * head, hidden), "blk.0.attn_v": (kv * head, hidden), "blk.0.attn_output": (hidden, heads * head),
              "blk.0.ffn_gate": (ffn, hidden), "blk.0.ffn_up": (ffn, hidden), "blk.0.ffn_down": (hidden, ffn)}
    for number, (length, size) in gguf.GGML_QUANT_SIZES.items() if gguf else ():
        if number.name.removesuffix("_B") not in [n.removesuffix("_B") for n in BLOCKS] or not table.wants(f"gguf {number.name}"):
            continue
        rng, references, made = np.random.default_rng(8), {}, "quantised"
        with tempfile.TemporaryDirectory() as base:
            writer = gguf.GGUFWriter(f"{base}/m.gguf", "llama")
            writer.add_block_count(1), writer.add_context_length(128), writer.add_embedding_length(hidden)
            writer.add_feed_forward_length(ffn), writer.add_head_count(heads), writer.add_head_count_kv(kv)
            writer.add_layer_norm_rms_eps(1e-5), writer.add_rope_freq_base(1e4), writer.add_rope_dimension_count(head)
            for name, (rows, cols) in shapes.items():
                try:
                    data = gguf.quants.quantize(rng.standard_normal((rows, cols), dtype=np.float32), number)
                except NotImplementedError:
                    data, made = rng.integers(0, 256, (rows, cols // length * size), dtype=np.uint8), "random bytes"
                with np.errstate(all="ignore"):
                    values = gguf.quants.dequantize(data, number).astype(np.float32)
                if name.endswith(("attn_q", "attn_k")):  # pairs side by side -> halves
                    values = values.reshape(-1, head // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)
                references[name + ".weight"] = values
                writer.add_tensor(name + ".weight", data, raw_dtype=number)
            for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
                writer.add_tensor(name + ".weight", np.ones(hidden, dtype=np.float32))
            writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
            table.compare(f"gguf {number.name}, {made}", f"{base}/m.gguf", references, base)


def mlx(table):
    mx = library("mlx.core")
    for bits in (2, 3, 4, 5, 6, 8) if mx else ():
        for group, dtype in ((32, mx.float16), (64, mx.bfloat16), (128, mx.float32)):
            def encode(rows, cols):
                made = mx.quantize(mx.random.normal((rows, cols)).astype(dtype), group_size=group, bits=bits)
                codes, scales, least = made
                values = mx.dequantize(codes, scales.astype(mx.float32), least.astype(mx.float32), group_size=group, bits=bits)
                return dict(zip((".weight", ".scales", ".biases"), made)), np.array(values)
            name = f"mlx {bits} bit, group {group}, {str(dtype).split('.')[-1]}"
            table.checkpoint(name, writers.mlx_settings(bits, group), encode, ends=True)
    if mx:
        def mxfp4(rows, cols):
            codes, scales = mx.quantize(mx.random.normal((rows, cols)), mode="mxfp4")
            return {".weight": codes, ".scales": scales}, np.array(mx.dequantize(codes, scales, mode="mxfp4", dtype=mx.float32))
        table.checkpoint("mlx mxfp4", writers.mlx_settings(4, 32, mode="mxfp4"), mxfp4, ends=True)


def bitsandbytes(table):
    bnb, torch = library("bitsandbytes.functional"), library("torch")
    for kind in ("nf4", "fp4") if bnb and torch else ():
        for nested in (False, True):
            for block, dims in ((64, DIMS), (128, ODD)):
                def encode(rows, cols):
                    codes, state = bnb.quantize_4bit(torch.randn(rows, cols), quant_type=kind, compress_statistics=nested,
                                                     blocksize=block)
                    made = {f".weight.{k}": v for k, v in state.as_dict(packed=True).items()}
                    return {".weight": codes, **made}, bnb.dequantize_4bit(codes, state).numpy()
                settings = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
                table.checkpoint(f"bitsandbytes {kind}, block {block}{', double quantisation' if nested else ''}"
                                 f"{', odd columns' if dims == ODD else ''}", settings, encode, dims)
    if bnb and torch:
        def int8(rows, cols):
            weight = torch.randn(rows, cols)
            sizes = weight.abs().amax(1)
            codes = torch.round(weight * (127.0 / sizes[:, None])).to(torch.int8)
            return {".weight": codes, ".SCB": sizes}, bnb.int8_vectorwise_dequant(codes, sizes).numpy()
        settings = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
        table.checkpoint("bitsandbytes int8", settings, int8, ODD)


def compressed_tensors(table):
    torch = library("torch")
    if not torch or not library("compressed_tensors"):
        return
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    def both(form, args, dims=DIMS, scale_dtype=None, codes=None, extra=None, decode=None, note=""):
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
        library_of = BaseCompressor.get_value_from_registry(form)
        name = f"compressed-tensors {form} {args['num_bits']} bit, {args['strategy']} {args.get('group_size', '')}".rstrip() + note

        def encode(rows, cols):
            groups = cols // args["group_size"] if "group_size" in args else 1
            shape = {"tensor": (1,), "block": (-(-rows // 128), -(-cols // 128))}.get(args["strategy"], (rows, groups))
            state = {"weight_scale": (torch.rand(shape) + 0.1).to(scale_dtype or torch.float32)}
            state.update(extra(rows, groups) if extra else {})
            if codes is None:
                made = library_of.compress({"weight": torch.randn(rows, cols) * 2, **state}, scheme)
            else:
                made = {"weight": codes(rows, cols), **state}
            wide = {k: v.float() if v.dtype in (torch.bfloat16, torch.float16) else v for k, v in made.items()}
            return {f".{k}": v for k, v in made.items()}, (decode or library_of.decompress)(wide, scheme)["weight"].float().numpy()
        table.checkpoint(name, writers.compressed(form, args), encode, dims)

    for bits in range(2, 9):
        def zeros(rows, groups, half=1 << (bits - 1)):
            return {"weight_zero_point": torch.randint(-half, half, (rows, groups), dtype=torch.int8)}
        args = {"num_bits": bits, "type": "int"}
        both("pack-quantized", dict(args, strategy="group", group_size=32, symmetric=True), scale_dtype=torch.bfloat16)
        both("pack-quantized", dict(args, strategy="group", group_size=64, symmetric=False), scale_dtype=torch.float16, extra=zeros,
             note=", zero points")
        both("pack-quantized", dict(args, strategy="channel", symmetric=False), ODD, extra=zeros, note=", zero points, odd columns")
    both("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}, ODD, torch.bfloat16)
    both("int-quantized", {"num_bits": 8, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True})

    def any_fp8(rows, cols):
        return torch.randint(0, 256, (rows, cols), dtype=torch.uint8).view(torch.float8_e4m3fn)
    eight = {"num_bits": 8, "type": "float", "symmetric": True}
    both("float-quantized", dict(eight, strategy="channel"), ODD, torch.bfloat16, any_fp8)
    both("float-quantized", dict(eight, strategy="tensor"), ODD, torch.float32, any_fp8)
    both("float-quantized", dict(eight, strategy="block", block_structure=[128, 128]), DIMS, torch.bfloat16, any_fp8)

    def nvfp4(state, scheme):
        """As its decompress() does, but not in bfloat16."""
        rows, half = state["weight_packed"].shape
        codes = unpack_fp4_from_uint8(state["weight_packed"], rows, 2 * half, dtype=torch.float32)
        return {"weight": dequantize(codes, state["weight_scale"].float(), args=scheme.weights, dtype=torch.float32,
                                     global_scale=state["weight_global_scale"])}
    both("nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "symmetric": True},
         decode=nvfp4, extra=lambda rows, groups: {"weight_global_scale": torch.tensor([37.3])})
    both("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "symmetric": True})


def formulas(table):
    """What no library here decodes: its formula, with torch's own numbers."""
    torch = library("torch")
    if not torch:
        return

    def wide_grid(rows, cols):
        codes = torch.randint(0, 256, (rows, cols), dtype=torch.uint8).view(torch.float8_e5m2)
        scales = torch.rand(-(-rows // 128), -(-cols // 128)) + 0.1
        spread = scales.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :cols]
        return {".weight": codes, ".weight_scale_inv": scales}, (codes.float() * spread).numpy()

    def modelopt(rows, cols):
        codes = torch.randint(0, 256, (rows, cols // 2), dtype=torch.uint8)
        scales, one = torch.randint(1, 0x7E, (rows, cols // 16), dtype=torch.uint8).view(torch.float8_e4m3fn), torch.tensor(0.0373)
        pairs = torch.tensor(E2M1)[torch.stack((codes & 15, codes >> 4), -1).reshape(rows, cols).long()]
        return {".weight": codes, ".weight_scale": scales, ".weight_scale_2": one}, \
            (pairs * (scales.float() * one).repeat_interleave(16, 1)).numpy()
    settings = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    table.checkpoint("fp8 e5m2, block", settings, wide_grid, ODD)
    table.checkpoint("modelopt nvfp4", {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, modelopt)


def gpt_oss(table):
    torch, mxfp4 = library("torch"), library("transformers.integrations.mxfp4")
    if torch and mxfp4:
        def encode(rows, cols):
            blocks = torch.randint(0, 256, (1, rows, cols // 32, 16), dtype=torch.uint8)
            scales = torch.randint(40, 200, (1, rows, cols // 32), dtype=torch.uint8)
            values = mxfp4.convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)[0].T  # it turns them
            return {".weight_blocks": blocks[0], ".weight_scales": scales[0]}, values.contiguous().numpy()
        table.checkpoint("transformers mxfp4, blocks", {"quantization_config": {"quant_method": "mxfp4"}}, encode)


def gptq(table):
    module = one_file("auto_gptq", "nn_modules.qlinear.qlinear_cuda", "nn_modules", "nn_modules.qlinear")
    torch = sys.modules.get("torch")
    for bits in (2, 3, 4, 8) if module else ():
        for group, shuffled in ((32, False), (128, False), (64, True), (-1, False)):
            def encode(rows, cols):
                width = group if group > 0 else cols
                order = torch.arange(cols) // width
                order = order[torch.randperm(cols)] if shuffled else order
                scales = (torch.rand(rows, cols // width) + 0.1).half().float() / 64
                zeros = torch.randint(1, 1 << bits, (rows, cols // width)).float()  # of stored -1 its readers do not agree
                codes = torch.randint(0, 1 << bits, (rows, cols)).float()
                linear = torch.nn.Linear(cols, rows, bias=False)
                linear.weight.data = (codes - zeros[:, order]) * scales[:, order]
                q = module.QuantLinear(bits, group, cols, rows, False)
                q.pack(linear, scales, zeros, order.int())
                made = {"." + k: getattr(q, k) for k in ("qweight", "qzeros", "scales", "g_idx")}
                made[".scales"] = made[".scales"].half()
                q.scales, q.wf = made[".scales"].float(), q.wf.to(torch.int32)
                return made, q(torch.eye(cols)).T.contiguous().detach().numpy()
            settings = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": shuffled, "sym": False}
            name = f"auto-gptq {bits} bit, group {group}{', desc_act' if shuffled else ''}"
            table.checkpoint(name, {"quantization_config": settings}, encode)


def awq(table):
    gemm, torch = one_file("awq", "modules.linear.gemm", "utils", "modules", "modules.linear"), sys.modules.get("torch")
    for group in (32, 128) if gemm else ():
        def encode(rows, cols):
            order = torch.arange(cols) // group
            scales = (torch.rand(cols // group, rows) + 0.1).half().float() / 64
            zeros = torch.randint(0, 16, (cols // group, rows))
            linear = torch.nn.Linear(cols, rows, bias=False)
            linear.weight.data = ((torch.randint(0, 16, (cols, rows)) - zeros[order]) * scales[order]).T.contiguous()
            q = gemm.WQLinear_GEMM.from_linear(linear, 4, group, scales=scales, zeros=zeros)
            values = gemm.dequantize_gemm(q.qweight, q.qzeros, q.scales.float(), 4, group)
            return {"." + k: getattr(q, k) for k in ("qweight", "qzeros", "scales")}, values.T.contiguous().numpy()
        settings = {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": True}
        table.checkpoint(f"autoawq gemm 4 bit, group {group}", {"quantization_config": settings}, encode)


# ---- checksums for the tests ----

def checksum(values):
    """FNV-1a over the bits of float32 values, every NaN counted as the same one."""
    bits = np.ascontiguousarray(values, dtype="<f4").reshape(-1).view("<u4").copy()
    bits[np.isnan(values).reshape(-1)] = 0x7fc00000
    return fnv(FNV_START, bits.tobytes())


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


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--checksums":
        print_checksums(sys.argv[2])
        return 0
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.stderr.write(__doc__)
        return 2
    table = Table(os.path.abspath(sys.argv[1]), sys.argv[2:])
    for part in (gguf_blocks, mlx, bitsandbytes, compressed_tensors, formulas, gpt_oss, gptq, awq):
        part(table)
    for name in dict.fromkeys(SKIPPED):
        print(f"skipped: no package {name}")
    print(f"{table.lines} formats, {table.wrong} differ")
    return 1 if table.wrong or table.lines == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
