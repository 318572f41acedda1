#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stores of quantised checkpoints and GGUF files against tools/lamina_store.py, the independent reader. TAP on stdout.

usage: run_reader.py LAMINA [TESTDATA, not needed [WORDS ...]]    only cases whose names have one of WORDS

Checkpoints of Llama's shape are split and compared with their store, which must agree; then one byte of the checkpoint is
changed, a tensor further from case to case, and the comparison must say so. Of other shapes (fused matrices, experts, latents) the
store's values must be those of the store of the same weights in fp32. Of stores in whole steps, weights are the nearest that
their scale allows, and a byte changed in the checkpoint, or in a tile of the store, is noticed.
"""
import functools
import os
import random
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))

import gguf_files  # noqa: E402
import lamina_source  # noqa: E402
import lamina_values  # noqa: E402
import run_coded  # noqa: E402
import run_planes  # noqa: E402
import run_quantised as Q  # noqa: E402

# Of run_quantised.py's cases, those that differ in what a store keeps.
COMPARED = (
    "GPTQ 4 bit, group 32, symmetric, gptq_v2", "GPTQ 4 bit, group 32, asymmetric, gptq",
    "GPTQ 3 bit, group -1, asymmetric, gptq_v2", "GPTQ 8 bit, group 32, asymmetric, gptq_v2, desc_act",
    "GPTQ 4 bit, group 128, symmetric, no checkpoint_format, no g_idx", "GPTQ 2 bit, group 128, asymmetric, no checkpoint_format",
    "GPTQ 4 bit, group 32, symmetric, gptq, zero points stored as gptq_v2 does", "AWQ gemm 4 bit, group 32",
    "AWQ gemm 4 bit, group -1", "compressed-tensors pack-quantized 4 bit, channel, asymmetric",
    "compressed-tensors pack-quantized 4 bit, group 64, asymmetric, actorder, I32",
    "compressed-tensors pack-quantized 8 bit, group 32, symmetric, F32", "compressed-tensors int-quantized, channel",
    "compressed-tensors nvfp4-pack-quantized", "ModelOpt NVFP4", "bitsandbytes nf4", "bitsandbytes fp4, double quantisation",
    "bitsandbytes LLM.int8", "MLX 3 bit, group 64, F16", "MLX 8 bit, group 32, F16, tied", "MLX 6 bit, group 32, F32",
    "MLX 4, 6 and 8 bit")
EQUAL_VALUES = (
    "GPTQ 4 bit, group 32, asymmetric, gptq, desc_act, fused", "AWQ gemm 4 bit, group -1, fused",
    "compressed-tensors pack-quantized 4 bit, channel, asymmetric, fused", "bitsandbytes nf4, double quantisation, fused",
    "MLX 4 bit, group 64, Mixtral, experts stacked")
# Ends of names of tensors of layers of which no byte is without effect.
TELLING = ("proj.weight", "attn_q.weight", "attn_k.weight", "ffn_down.weight", "attn_q.bias", ".qweight", ".qzeros", ".g_idx",
           ".scales", ".biases", "_packed", "_zero_point", "_scale", "_scale_inv", "_scale_2", "_global_scale", ".SCB", ".absmax",
           ".quant_map", "_blocks", "_scales")


def mxfp4(rng, rows, cols, form):
    """Neighbours in one byte, the first in the low nibble."""
    codes = rng.randbytes(rows * cols // 2)
    scales = bytes(rng.randrange(110, 130) for _ in range(rows * cols // 32))
    weights = []
    for r in range(rows):
        line = [code for two in codes[r * cols // 2:(r + 1) * cols // 2] for code in (two & 15, two >> 4)]
        sizes = [2.0 ** (e - 127) for e in scales[r * cols // 32:(r + 1) * cols // 32]]
        weights.append(Q.rounded([(-1) ** (q >> 3) * Q.E2M1[q & 7] * sizes[c // 32] for c, q in enumerate(line)]))
    shapes = {"blocks": ("U8", (rows, cols // 32, 16)), "words": ("U32", (rows, cols // 8)), "packed": ("U8", (rows, cols // 2))}
    codes_end, scales_end = {"blocks": (".weight_blocks", ".weight_scales"), "words": (".weight", ".scales"),
                             "packed": (".weight_packed", ".weight_scale")}[form]
    return {codes_end: (*shapes[form], codes), scales_end: ("U8", (rows, cols // 32), scales)}, weights


def gguf(path, name, types, tied=False, bias=False, dims=(256, 4, 2, 64, 512)):
    """A Llama whose matrices are of one type after the other; any bytes are blocks."""
    gguf_files.TYPES.update((kind, number) for number, kind in lamina_source.GGUF_TYPES.items())
    rng, tensors, (hidden, heads, kv, head, ffn) = random.Random(name), [], dims

    def vector(tensor, count):
        tensors.append((tensor, [count], "F32", Q.floats([rng.uniform(0.8, 1.2) for _ in range(count)])))

    def matrix(tensor, rows, cols):
        kind = types[len(tensors) % len(types)]
        if kind in lamina_source.PLAIN:
            raw = b"".join(run_coded.rounded(rng.uniform(-1, 1), kind)[0] for _ in range(rows * cols))
        else:
            weights, size, _ = lamina_values.BLOCKS[kind]
            raw = rng.randbytes(rows * cols // weights * size)
        tensors.append((tensor, [rows, cols], kind, raw))

    matrix("token_embd.weight", Q.VOCAB, hidden)
    if not tied:
        matrix("output.weight", Q.VOCAB, hidden)
    for i in range(2):
        for end, rows, cols in (("attn_q", heads * head, hidden), ("attn_k", kv * head, hidden), ("attn_v", kv * head, hidden),
                                ("attn_output", hidden, heads * head), ("ffn_gate", ffn, hidden), ("ffn_up", ffn, hidden),
                                ("ffn_down", hidden, ffn)):
            matrix(f"blk.{i}.{end}.weight", rows, cols)
            if bias and end in ("attn_q", "attn_k", "attn_v"):
                vector(f"blk.{i}.{end}.bias", rows)
        vector(f"blk.{i}.attn_norm.weight", hidden)
        vector(f"blk.{i}.ffn_norm.weight", hidden)
    vector("output_norm.weight", hidden)
    values = {"block_count": 2, "context_length": 128, "embedding_length": hidden, "feed_forward_length": ffn,
              "attention.head_count": heads, "attention.head_count_kv": kv, "attention.layer_norm_rms_epsilon": 1e-5,
              "attention.key_length": head, "attention.value_length": head, "rope.dimension_count": head, "rope.freq_base": 10000.0}
    gguf_files.write_gguf(path, {"general.architecture": "llama", **{"llama." + k: v for k, v in values.items()}}, tensors)


LATENT = dict(run_coded.DEEPSEEK, hidden_size=256, intermediate_size=320, q_lora_rank=160, kv_lora_rank=128, qk_nope_head_dim=32,
              qk_rope_head_dim=32, v_head_dim=64, moe_intermediate_size=160)


def latent(base, encode, settings):
    """A DeepSeek-V3 of codes, keys' part of its latents included, which a store has turned."""
    rng, plain, coded = random.Random("latent"), {}, {}
    for name, shape, kept in run_coded.deepseek_shapes(LATENT):
        if kept is None:
            tensors, weights = encode(rng, *shape)
            plain[name] = ("F32", shape, b"".join(w.tobytes() for w in weights))
            coded.update((name[:-len(".weight")] + end, tensor) for end, tensor in tensors.items())
        else:
            plain[name] = coded[name] = (kept, shape, run_coded.unquantised(rng, name, shape, kept))
    run_coded.write(os.path.join(base, "plain"), plain, LATENT)
    run_coded.write(os.path.join(base, "coded"), coded, dict(LATENT, **settings))


def steps(base, dtype):
    """A Llama with rows of 290, which are no whole blocks, and of 160."""
    rng = random.Random(dtype)

    def numbers(shape):
        if len(shape) == 1:
            return run_coded.rounded(1.0, dtype)[0] * shape[0]
        some = [run_coded.rounded(rng.gauss(0, 1) * shape[1] ** -0.5, dtype)[0] for _ in range(5000)]
        return b"".join(rng.choices(some, k=shape[0] * shape[1]))

    run_coded.write(base + "/coded", {name: (dtype, shape, numbers(shape)) for name, shape, _
                                      in run_coded.llama_shapes(run_planes.LLAMA)}, run_planes.LLAMA)


# ---- cases: name, function that writes under a folder, what to compare with ----

def fp8(config, form, dtype, method):
    return f"{config['architectures'][0][:-11]} in FP8, scales {form} in {dtype}", \
        lambda base: run_coded.make(base, config, form, dtype, method), "plain" if config is not run_coded.LLAMA else "coded"


def cases():
    for name, dims, encode, settings, more in Q.cases():
        if name in COMPARED + EQUAL_VALUES:
            yield name, lambda base, n=name, d=dims, e=encode, s=settings, m=more: Q.make(base, n, d, e, s, **m), \
                "coded" if name in COMPARED else "plain"
    by_block = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    by_row = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    yield fp8(run_coded.LLAMA, "block", "BF16", by_block)
    yield fp8(run_coded.LLAMA, "row", "F32", by_row)
    yield fp8(run_coded.LLAMA, "all", "F32", by_row)
    yield fp8(run_coded.DEEPSEEK, "block", "F32", by_block)
    for form, settings in (("blocks", {"quantization_config": {"quant_method": "mxfp4"}}),
                           ("packed", Q.compressed("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "group_size": 32})),
                           ("words", Q.mlx_settings(4, 32, mode="mxfp4"))):
        encode = functools.partial(mxfp4, form=form)
        yield f"MXFP4, {form}", lambda base, f=form, e=encode, s=settings: Q.make(base, f, Q.SHORT_32, e, s), "coded"
    scheme = {"num_bits": 4, "strategy": "group", "group_size": 32}
    for name, encode, settings in (
            ("GPTQ", functools.partial(Q.gptq, bits=4, group=32, sym=False),
             {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}),
            ("AWQ", functools.partial(Q.awq, group=32), {"quantization_config": {"quant_method": "awq", "version": "gemm"}}),
            ("pack-quantized", functools.partial(Q.packed, bits=4, group=32), Q.compressed("pack-quantized", scheme)),
            ("bitsandbytes nf4", functools.partial(Q.bnb4, kind="nf4", nested=True), {}),
            ("MLX", functools.partial(Q.mlx, bits=4, group=32), Q.mlx_settings(4, 32))):
        yield f"DeepseekV3 in {name}", lambda base, e=encode, s=settings: latent(base, e, s), "plain"
    several = functools.partial(Q.gptq, bits=8, group=32, sym=False, order="shuffled")
    settings = {"quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 32}}
    one = {"kept": ("up_proj", "down_proj", "layers.1.mlp.gate_proj")}  # a single large matrix of codes
    yield "GPTQ 8 bit, desc_act, several tiles", \
        lambda base, s=settings: Q.make(base, "tiles", (64, 2, 1, 32, 15616), several, s, **one), "coded"
    for codec, dtype in (("q8", "BF16"), ("q4", "F16"), ("q3.50", "F32"), ("q8.00", "F32"), ("q2.00", "BF16")):
        yield f"whole steps, {codec} of {dtype}", functools.partial(steps, dtype=dtype), codec
    names = list(lamina_values.BLOCKS)
    yield "GGUF, several tiles", \
        lambda base: gguf(base + "/coded", "tiles", ("Q8_0", "Q4_0", "Q6_K"), dims=(1024, 8, 4, 128, 2304)), "coded"
    yield "GGUF, all types of blocks", lambda base: gguf(base + "/coded", "blocks", names), "coded"
    yield "GGUF, the other way round, with biases", lambda base: gguf(base + "/coded", "turned", names[::-1], bias=True), "coded"
    yield "GGUF, plain numbers, tied", \
        lambda base: gguf(base + "/coded", "plain", ("BF16", "F16", "F32"), tied=True, dims=(96, 3, 3, 40, 72)), "coded"


# ---- comparing ----

def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def reader(*arguments):
    return run(sys.executable, os.path.join(ROOT, "tools", "lamina_store.py"), *arguments)


def split(lamina, source, store, codec="raw"):
    done = run(lamina, "split", source, "-o", store, "--codec", codec, "-q")
    if done.returncode != 0:
        raise RuntimeError(f"split: exit {done.returncode}: {done.stderr.strip()}")
    return store


def places(source):
    """File, offset and length of every tensor."""
    if os.path.isfile(source):
        opened = lamina_source.Gguf(source)
        for name, (_, _, offset) in opened.tensors.items():
            yield name, source, opened.base + offset, len(opened.read(name)[2])
        return
    for name, (file, base, entry) in lamina_source.Checkpoint(source).tensors.items():
        begin, end = entry["data_offsets"]
        yield name, os.path.join(source, file), base + begin, end - begin


def change_at(path, at, bits=0x11):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte ^ bits]))


def change_a_byte(source, number, within=0, bits=0x11):
    """In the middle of one of the tensors that say something; returns its name. within: which byte of an element."""
    telling = [place for place in places(source) if place[0].endswith(TELLING) and not place[0].endswith(lamina_source.IGNORED)]
    name, path, at, length = telling[number * 7 % len(telling)]
    change_at(path, at + length // 8 * 4 + within, bits)
    return name


def must_see(done, what):
    if done.returncode != 1 or done.stderr or not (" differ\n" in done.stdout or done.stdout.startswith("Bad: ")):
        raise RuntimeError(f"a changed byte of {what} is not seen: {(done.stdout + done.stderr).strip()[-300:]}")


def compare_with_source(lamina, base, number):
    source, store = f"{base}/coded", f"{base}/store"
    if os.path.isfile(source):
        os.rename(source, source + ".gguf")
        source += ".gguf"
    split(lamina, source, store)
    done = reader("check", store, source)
    if done.returncode != 0 or ", 0 differences" not in done.stdout:
        raise RuntimeError(f"{(done.stdout + done.stderr).strip()[-300:]}")
    changed = change_a_byte(source, number)
    must_see(reader("check", store, source), changed)
    return f"{done.stdout.split(' (')[0].strip().splitlines()[-1]}; seen: a changed byte of {changed}"


def compare_steps(lamina, base, number, codec):
    """A byte of the source is changed so that its weight is large: small ones may be rounded to the same whole number."""
    source, store = f"{base}/coded", split(lamina, f"{base}/coded", f"{base}/store", codec)
    done = reader("check", store, source)
    rounded = reader("dump", store).stdout.count("dtype STEPS")
    if done.returncode != 0 or ", 0 differences" not in done.stdout or rounded != 10:
        raise RuntimeError(f"{rounded} of 10 matrices are in steps; {(done.stdout + done.stderr).strip()[-300:]}")
    path = f"{store}/layers/00001.bin"
    for quarter in (1, 2, 3):
        at = os.path.getsize(path) * quarter // 4
        change_at(path, at)
        must_see(reader("check", store, source), f"quarter {quarter} of a layer")
        change_at(path, at)
    dtype = next(iter(lamina_source.Checkpoint(source).tensors.values()))[2]["dtype"]
    changed = change_a_byte(source, number, lamina_source.PLAIN[dtype] - 1, 0x40)
    must_see(reader("check", store, source), changed)
    return f"{done.stdout.split(' (')[0].strip().splitlines()[-1]}; seen: changed bytes of {changed} and of a layer"


def compare_values(lamina, base):
    """Lines are: file, role, expert, type, rows, columns, checksum."""
    tables = []
    for which in ("plain", "coded"):
        done = reader("values", split(lamina, f"{base}/{which}", f"{base}/{which}.store"))
        if done.returncode != 0:
            raise RuntimeError((done.stdout + done.stderr).strip()[-300:])
        tables.append([line.split() for line in done.stdout.splitlines()])
    plain, coded = ([line[:3] + line[4:] for line in table] for table in tables)
    kept = sum(line[3] == "GROUPS" for line in tables[1])
    if plain != coded or kept == 0:
        raise RuntimeError(f"{sum(a != b for a, b in zip(plain, coded))} of {len(plain)} matrices differ, {kept} are coded")
    return f"values of {len(plain)} matrices, {kept} of them coded, are those of fp32 weights"


def main():
    words = sys.argv[3:]
    chosen = [case for case in cases() if not words or any(w in case[0] for w in words)]
    failed = 0
    print(f"1..{len(chosen)}")
    for number, (name, make, against) in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory() as base:
            try:
                make(base)
                said = (compare_with_source(sys.argv[1], base, number) if against == "coded"
                        else compare_values(sys.argv[1], base) if against == "plain"
                        else compare_steps(sys.argv[1], base, number, against))
                print(f"ok {number} - {name}: {said}", flush=True)
            except (RuntimeError, OSError, lamina_values.Bad, subprocess.TimeoutExpired) as e:
                failed += 1
                print(f"not ok {number} - {name}: {e}", flush=True)
    missing = set(COMPARED + EQUAL_VALUES) - {case[0] for case in cases()}
    if missing:
        print(f"# no such cases: {sorted(missing)}")
    return 1 if failed or missing or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
