#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of every integer and 4-bit format against the same weights in fp32: logits equal bit for bit. TAP on stdout.

usage: run_quantised.py LAMINA [TESTDATA, not needed [WORDS ...]]    only cases whose names have one of WORDS

A small Llama, Mixtral or Phi-3 (whose fused matrices are cut within words and blocks) of random codes, scales and zero points
is written as GPTQ, AWQ, compressed-tensors, ModelOpt, bitsandbytes and MLX write it, and once more with the fp32 weights that
these stand for, by the formulas of src/format/quant_matrix.h. Numbers are Python's, of double precision, in which product,
quotient and sum of two float32 are exact enough to be rounded to float32 once; array("f") rounds. run_coded.py does FP8.
"""
import array
import functools
import json
import os
import random
import struct
import sys

import run_coded

VOCAB = 100
NF4 = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0)
FP4 = (0.0, 0.0625 / 12, 8 / 12, 1.0, 4 / 12, 6 / 12, 2 / 12, 3 / 12)
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

# hidden, heads, KV heads, dimensions of a head, FFN. Formats divide columns (the first, the product of the second and fourth, the
# last) or rows (these, and the product of the third and fourth; where matrices are fused, their sums).
WIDE_32 = (160, 5, 1, 32, 288)   # everything a multiple of 32, most of it not of 64
WIDE_64 = (192, 3, 1, 64, 320)
SHORT_32 = (160, 4, 1, 24, 288)  # columns are multiples of 32, some matrices have 24 rows
SHORT_64 = (192, 8, 1, 24, 320)
ONE_128 = (128, 4, 2, 32, 384)   # one group of 128 in most matrices
SHORT_16 = (144, 4, 1, 24, 272)
SHORT_8 = (168, 3, 1, 24, 280)
ODD = (148, 6, 3, 20, 276)       # columns are multiples of 4 only
FUSED_32 = (160, 10, 1, 16, 288)  # together multiples of 32, values begin at row 176
FUSED_8 = (120, 6, 3, 20, 276)   # together multiples of 8, values begin at row 180, up-projections at row 276
FUSED_4 = (148, 2, 1, 74, 276)


# ---- numbers ----

def floats(values):
    """The bytes of float32, each value rounded once."""
    return struct.pack(f"<{len(values)}f", *values)


def rounded(values):
    return array.array("f", values)


def numbers(values, dtype):
    """The bytes of values in a data type, and what they stand for."""
    pairs = [run_coded.rounded(v, dtype) for v in values]
    return b"".join(p[0] for p in pairs), [p[1] for p in pairs]


def random_codes(rng, rows, cols, bits):
    """Lines of codes, 0 seldom, so that their mean is the middle of the range: else all tokens would look alike."""
    most = (1 << bits) - 1
    table = bytes(c % most + 1 for c in range(255)) + b"\0"
    return [rng.randbytes(cols).translate(table) for _ in range(rows)]


def random_scales(rng, count, cols, bits, dtype="F32"):
    """Such that a row of weights is about as long as a unit vector."""
    return numbers([rng.uniform(0.5, 1.5) * 4 / (1 << bits) / cols ** 0.5 for _ in range(count)], dtype)


def stream(codes, bits):
    """Codes as one stream of bits, low bits first, filled up to words of 32."""
    digits = [format(c, f"0{bits}b") for c in range(1 << bits)]
    text = "".join(digits[c] for c in reversed(codes))
    return int(text, 2).to_bytes(-(-len(codes) * bits // 32) * 4, "little")


def side_by_side(streams):
    """Streams that run down the columns of a matrix of words."""
    words = len(streams[0]) // 4
    out = array.array("I", bytes(4 * words * len(streams)))
    for i, line in enumerate(streams):
        out[i::len(streams)] = array.array("I", line)
    return out.tobytes()


def affine(codes, zeros, scales, groups):
    """(code - zero) * scale of a row; zeros and scales are its groups', groups has each column's."""
    return rounded([(q - zeros[g]) * scales[g] for q, g in zip(codes, groups)])


# ---- formats: each returns tensors by the ends of their names, and rows of weights ----

def gptq(rng, rows, cols, bits, group, sym=True, v2=False, order="plain"):
    """v1 stores zero points less one. No zero point of 0: of those, v1's readers do not agree."""
    width, less = cols if group == -1 else group, 0 if v2 else 1
    count = -(-cols // width)
    groups = [c // width for c in range(cols)]
    if order == "shuffled":
        rng.shuffle(groups)
    codes = random_codes(rng, rows, cols, bits)
    zeros = [[1 << (bits - 1) if sym else rng.randrange(1, 1 << bits) for _ in range(rows)] for _ in range(count)]
    data, scales = random_scales(rng, count * rows, cols, bits, "F16")
    weights = [affine(codes[r], [z[r] for z in zeros], scales[r::rows], groups) for r in range(rows)]
    tensors = {".qweight": ("I32", (cols * bits // 32, rows), side_by_side([stream(c, bits) for c in codes])),
               ".qzeros": ("I32", (count, rows * bits // 32), b"".join(stream([z - less for z in line], bits) for line in zeros)),
               ".scales": ("F16", (count, rows), data)}
    if order is not None:
        tensors[".g_idx"] = ("I32", (cols,), struct.pack(f"<{cols}i", *groups))
    return tensors, weights


def awq(rng, rows, cols, group):
    width = cols if group == -1 else group
    count = cols // width
    codes = random_codes(rng, rows, cols, 4)
    zeros = random_codes(rng, count, rows, 4)
    data, scales = random_scales(rng, count * rows, cols, 4, "F16")

    def word_lines(lines):
        """Nibble i of a word is that of row 8w + (0, 2, 4, 6, 1, 3, 5, 7)[i]."""
        return b"".join(stream([line[w + i] for w in range(0, rows, 8) for i in (0, 2, 4, 6, 1, 3, 5, 7)], 4) for line in lines)

    groups = [c // width for c in range(cols)]
    weights = [affine(codes[r], [z[r] for z in zeros], scales[r::rows], groups) for r in range(rows)]
    return {".qweight": ("I32", (cols, rows // 8), word_lines([bytes(c[k] for c in codes) for k in range(cols)])),
            ".qzeros": ("I32", (count, rows // 8), word_lines(zeros)), ".scales": ("F16", (count, rows), data)}, weights


def packed(rng, rows, cols, bits, group, sym=True, shuffled=False, dtype="BF16", shape_dtype="I64"):
    """compressed-tensors pack-quantized; codes and zero points are both stored with half of the range added. group 0: a row."""
    width = group if group > 0 else cols
    count = cols // width
    groups = [c // width for c in range(cols)]
    if shuffled:
        rng.shuffle(groups)
    codes = random_codes(rng, rows, cols, bits)
    zeros = [bytes([1 << (bits - 1)] * count) if sym else rng.randbytes(count).translate(bytes(c >> (8 - bits) for c in range(256)))
             for _ in range(rows)]
    data, scales = random_scales(rng, rows * count, cols, bits, dtype)
    weights = [affine(codes[r], zeros[r], scales[r * count:r * count + count], groups) for r in range(rows)]
    lines = [stream(c, bits) for c in codes]
    tensors = {".weight_packed": ("I32", (rows, len(lines[0]) // 4), b"".join(lines)),
               ".weight_scale": (dtype, (rows, count), data),
               ".weight_shape": (shape_dtype, (2,), struct.pack("<2q" if shape_dtype == "I64" else "<2i", rows, cols))}
    if not sym:
        tensors[".weight_zero_point"] = ("I32", (-(-rows * bits // 32), count),
                                         side_by_side([stream([z[g] for z in zeros], bits) for g in range(count)]))
    if shuffled:
        tensors[".weight_g_idx"] = ("I32", (cols,), struct.pack(f"<{cols}i", *groups))
    return tensors, weights


def signed(codes):
    return [c - 256 if c > 127 else c for c in codes]


def int8(rng, rows, cols):
    """compressed-tensors int-quantized."""
    codes = random_codes(rng, rows, cols, 8)
    data, scales = random_scales(rng, rows, cols, 8, "BF16")
    return {".weight": ("I8", (rows, cols), b"".join(codes)), ".weight_scale": ("BF16", (rows, 1), data)}, \
        [rounded([q * s for q in signed(c)]) for c, s in zip(codes, scales)]


def llm_int8(rng, rows, cols):
    """bitsandbytes: code * SCB, then times the float32 nearest to 1/127."""
    over_127 = rounded([1 / 127])[0]
    codes = random_codes(rng, rows, cols, 8)
    data, scales = numbers([127 * s for s in random_scales(rng, rows, cols, 8)[1]], "F32")
    return {".weight": ("I8", (rows, cols), b"".join(codes)), ".SCB": ("F32", (rows,), data),
            ".weight_format": ("U8", (), b"\0")}, \
        [rounded([p * over_127 for p in rounded([q * s for q in signed(c)])]) for c, s in zip(codes, scales)]


def nvfp4(rng, rows, cols, divide):
    """compressed-tensors divides scales by the global one, ModelOpt multiplies. Low nibble first; bit 3 is the sign."""
    codes = random_codes(rng, rows, cols, 4)
    values = E2M1 + tuple(-v for v in E2M1)
    coded = [rng.randrange(0x30, 0x70) for _ in range(rows * cols // 16)]
    size = rng.uniform(0.5, 1.5) / 16 / cols ** 0.5
    one = rounded([1 / size if divide else size])[0]
    scales = rounded([run_coded.e4m3(c) / one if divide else run_coded.e4m3(c) * one for c in coded])
    weights = [rounded([values[q] * scales[(r * cols + i) // 16] for i, q in enumerate(line)]) for r, line in enumerate(codes)]
    data = b"".join(bytes(line[i] | line[i + 1] << 4 for i in range(0, cols, 2)) for line in codes)
    scale = ("F8_E4M3", (rows, cols // 16), bytes(coded))
    if divide:
        return {".weight_packed": ("U8", (rows, cols // 2), data), ".weight_scale": scale,
                ".weight_global_scale": ("F32", (1,), floats([one])), ".input_global_scale": ("F32", (1,), floats([1.5]))}, weights
    return {".weight": ("U8", (rows, cols // 2), data), ".weight_scale": scale, ".weight_scale_2": ("F32", (), floats([one])),
            ".input_scale": ("F32", (), floats([0.01]))}, weights


def bnb4(rng, rows, cols, kind, nested, block=64):
    """bitsandbytes: blocks over all weights, row by row, the first of two in the high nibble."""
    count = -(-rows * cols // block)
    table = rounded(NF4 if kind == "nf4" else FP4 + tuple(-v for v in FP4))
    state = {"quant_type": kind, "blocksize": block, "dtype": "bfloat16", "shape": [rows, cols]}
    tensors = {".weight.quant_map": ("F32", (16,), table.tobytes())}
    if nested:
        coded, wide = rng.randbytes(count), 256
        steps = rounded([(i - 127) / 128 for i in range(256)])
        sizes = rounded([rng.uniform(0.5, 1.0) / cols ** 0.5 for _ in range(-(-count // wide))])
        offset = 2.0 / cols ** 0.5
        state.update(nested_blocksize=wide, nested_dtype="float32", nested_offset=offset)
        products = rounded([steps[c] * sizes[i // wide] for i, c in enumerate(coded)])
        scales = rounded([p + rounded([offset])[0] for p in products])
        tensors.update({".weight.absmax": ("U8", (count,), coded), ".weight.nested_absmax": ("F32", (len(sizes),), sizes.tobytes()),
                        ".weight.nested_quant_map": ("F32", (256,), steps.tobytes())})
    else:
        scales = rounded([rng.uniform(1, 3) / cols ** 0.5 for _ in range(count)])
        tensors[".weight.absmax"] = ("F32", (count,), scales.tobytes())
    codes = random_codes(rng, 1, rows * cols, 4)[0]
    text = json.dumps(state).encode()
    tensors[f".weight.quant_state.bitsandbytes__{kind}"] = ("U8", (len(text),), text)
    tensors[".weight"] = ("U8", (rows * cols // 2, 1), bytes(codes[i] << 4 | codes[i + 1] for i in range(0, len(codes), 2)))
    weights = rounded([table[q] * scales[i // block] for i, q in enumerate(codes)])
    return tensors, [weights[r * cols:r * cols + cols] for r in range(rows)]


def mlx(rng, rows, cols, bits, group, dtype="F16"):
    """code * scale, rounded, + bias; what a group does not divide stays as it was."""
    if cols % group != 0:
        return None
    count = cols // group
    codes = random_codes(rng, rows, cols, bits)
    scale_data, scales = random_scales(rng, rows * count, cols, bits, dtype)
    least_data, least = numbers([-s * (1 << (bits - 1)) * rng.uniform(0.8, 1.2) for s in scales], dtype)
    weights = []
    for r, line in enumerate(codes):
        products = rounded([q * scales[r * count + i // group] for i, q in enumerate(line)])
        weights.append(rounded([p + least[r * count + i // group] for i, p in enumerate(products)]))
    return {".weight": ("U32", (rows, cols * bits // 32), b"".join(stream(c, bits) for c in codes)),
            ".scales": (dtype, (rows, count), scale_data), ".biases": (dtype, (rows, count), least_data)}, weights


# ---- models ----

def linears(dims, layers, experts, fused):
    hidden, heads, kv, head, ffn = dims
    for i in range(layers):
        p = f"model.layers.{i}."
        if fused:
            yield p + "self_attn.qkv_proj", (heads + 2 * kv) * head, hidden
            yield p + "mlp.gate_up_proj", 2 * ffn, hidden
            yield p + "mlp.down_proj", hidden, ffn
        else:
            yield p + "self_attn.q_proj", heads * head, hidden
            yield p + "self_attn.k_proj", kv * head, hidden
            yield p + "self_attn.v_proj", kv * head, hidden
        yield p + "self_attn.o_proj", hidden, heads * head
        if experts:
            yield p + "block_sparse_moe.gate", experts, hidden
        places = [f"{p}block_sparse_moe.experts.{e}." for e in range(experts)] or ([] if fused else [p + "mlp."])
        gate, up, down = ("w1", "w3", "w2") if experts else ("gate_proj", "up_proj", "down_proj")
        for place in places:
            yield place + gate, ffn, hidden
            yield place + up, ffn, hidden
            yield place + down, hidden, ffn


def config_of(dims, layers, experts, fused, tied):
    hidden, heads, kv, head, ffn = dims
    family = "Mixtral" if experts else "Phi3" if fused else "Llama"
    config = {"architectures": [family + "ForCausalLM"], "model_type": family.lower(), "hidden_size": hidden,
              "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
              "head_dim": head, "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": tied,
              "max_position_embeddings": 256}
    if experts:
        config.update(num_local_experts=experts, num_experts_per_tok=2)
    if fused:
        config.update(original_max_position_embeddings=256)
    return config


def stack_experts(tensors):
    """MLX's newer layout: all experts of a layer in one tensor."""
    out = {}
    for name, (dtype, shape, data) in tensors.items():
        before, found, after = name.partition(".experts.")
        if not found:
            out[name] = (dtype, shape, data)
            continue
        _, matrix, end = after.split(".")
        joined = f"{before}.switch_mlp.{ {'w1': 'gate_proj', 'w2': 'down_proj', 'w3': 'up_proj'}[matrix]}.{end}"
        count, so_far = (out[joined][1][0], out[joined][2]) if joined in out else (0, b"")
        out[joined] = (dtype, (count + 1, *shape), so_far + data)
    return out


def make(base, name, dims, encode, settings, experts=0, fused=False, tied=False, also=(), kept=(), overrides=None, stacked=False,
         biases=False, wrapped=False):
    """also: of "model.embed_tokens" and "lm_head", what is quantised too. kept: ends of the names of what is not.
    overrides: other encoders for ends of names. biases: zeros beside every matrix, as older GPTQ writers leave them.
    wrapped: inside a multimodal model, whose text_config has the settings."""
    rng = random.Random(name)
    layers = 1 if experts else 2
    plain, coded = {}, {}
    matrices = [("model.embed_tokens", VOCAB, dims[0])] + ([] if tied else [("lm_head", VOCAB, dims[0])])
    for matrix, rows, cols in matrices + list(linears(dims, layers, experts, fused)):
        one = next((e for end, e in (overrides or {}).items() if matrix.endswith(end)), encode)
        whole = matrix in ("model.embed_tokens", "lm_head") and matrix not in also
        made = None if whole or matrix.endswith(tuple(kept)) else one(rng, rows, cols)
        if made is None:
            values = floats([rng.uniform(-1, 1) if whole else rng.uniform(-2, 2) / cols ** 0.5 for _ in range(rows * cols)])
            plain[matrix + ".weight"] = coded[matrix + ".weight"] = ("F32", (rows, cols), values)
            continue
        tensors, weights = made
        plain[matrix + ".weight"] = ("F32", (rows, cols), b"".join(w.tobytes() for w in weights))
        coded.update({matrix + end: tensor for end, tensor in tensors.items()})
        if biases:
            coded[matrix + ".bias"] = ("F16", (rows,), bytes(2 * rows))
    norms = [f"model.layers.{i}.{n}_layernorm.weight" for i in range(layers) for n in ("input", "post_attention")]
    for norm in norms + ["model.norm.weight"]:
        plain[norm] = coded[norm] = ("F32", (dims[0],), floats([rng.uniform(0.8, 1.2) for _ in range(dims[0])]))
    config = config_of(dims, layers, experts, fused, tied)
    run_coded.write(os.path.join(base, "plain"), plain, config)
    coded, config = stack_experts(coded) if stacked else coded, dict(config, **settings)
    if wrapped:
        coded = {"language_model." + name: tensor for name, tensor in coded.items()}
        config = {"architectures": ["LlavaForConditionalGeneration"], "text_config": config}
    run_coded.write(os.path.join(base, "coded"), coded, config)


# ---- cases: name, shape of the model, encoder, settings in config.json, and what else make() is told ----

def gptq_cases():
    for form in ((4, 32, True, None, "plain", WIDE_32), (4, 64, True, "gptq", "plain", WIDE_64),
                 (4, 128, True, "gptq", "plain", ONE_128), (4, -1, True, None, "plain", WIDE_32),
                 (4, 32, False, "gptq", "plain", WIDE_32), (4, 64, False, "gptq_v2", "plain", WIDE_64),
                 (4, 32, True, "gptq_v2", "plain", WIDE_32), (4, 32, True, "gptq", "shuffled", WIDE_32),
                 (4, 128, False, "gptq_v2", "shuffled", ONE_128), (4, 128, True, "gptq", "shuffled", WIDE_32),
                 (4, 128, True, None, None, WIDE_32), (8, 32, True, "gptq", "plain", WIDE_32),
                 (8, 32, False, "gptq_v2", "shuffled", WIDE_32), (8, -1, False, None, "plain", WIDE_32),
                 (3, 32, True, "gptq", "plain", WIDE_32), (3, 64, False, "gptq", "shuffled", WIDE_64),
                 (3, -1, False, "gptq_v2", "plain", WIDE_32), (2, 64, True, "gptq_v2", "plain", WIDE_64),
                 (2, 128, False, None, "plain", ONE_128)):
        yield gptq_case(*form)
    yield gptq_case(4, 32, True, "gptq", "plain", WIDE_32, stored_v2=True)
    yield gptq_case(4, 32, True, "gptq_v2", "plain", WIDE_32, stored_v2=False)
    yield gptq_case(4, 32, True, None, "plain", WIDE_32, biases=True)
    yield gptq_case(4, 32, True, "gptq", "plain", WIDE_32, experts=4, kept=(".gate",))
    yield gptq_case(4, 32, False, "gptq", "shuffled", FUSED_32, fused=True)
    yield gptq_case(3, 32, False, "gptq_v2", "plain", FUSED_32, fused=True)


def gptq_case(bits, group, sym, form, order, dims, stored_v2=None, **more):
    settings = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": order == "shuffled", "sym": sym,
                "damp_percent": 0.01, "true_sequential": True}
    if form is not None:
        settings["checkpoint_format"] = form
    v2 = form == "gptq_v2" if stored_v2 is None else stored_v2
    name = f"GPTQ {bits} bit, group {group}, {'' if sym else 'a'}symmetric, {form or 'no checkpoint_format'}"
    name += {"shuffled": ", desc_act", None: ", no g_idx", "plain": ""}[order]
    name += "" if stored_v2 is None else f", zero points stored as {'gptq_v2' if v2 else 'gptq'} does"
    name += ("biases" in more) * ", biases of zeros" + ("fused" in more) * ", fused" + ("experts" in more) * ", Mixtral"
    encode = functools.partial(gptq, bits=bits, group=group, sym=sym, v2=v2, order=order)
    return name, dims, encode, {"quantization_config": settings}, more


def awq_cases():
    for group, dims in ((32, SHORT_32), (64, SHORT_64), (128, ONE_128), (-1, SHORT_8), (-1, FUSED_8)):
        settings = {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": True,
                    "modules_to_not_convert": None}
        fused = dims == FUSED_8
        yield f"AWQ gemm 4 bit, group {group}{', fused' if fused else ''}", dims, functools.partial(awq, group=group), \
            {"quantization_config": settings}, {"fused": fused}


def compressed(form, scheme, ignore=("lm_head",), activations=None):
    weights = {"actorder": None, "block_structure": None, "dynamic": False, "group_size": None, "observer": "minmax",
               "observer_kwargs": {}, "symmetric": True, "type": "int", **scheme}
    return {"quantization_config": {
        "quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed", "global_compression_ratio": None,
        "kv_cache_scheme": None, "ignore": list(ignore), "sparsity_config": {}, "config_groups": {
            "group_0": {"input_activations": activations, "output_activations": None, "targets": ["Linear"], "weights": weights}}}}


def compressed_cases():
    for bits, group, sym, shuffled, dims, more in (
            (4, 32, True, False, SHORT_32, {}), (4, 128, True, False, ONE_128, {"dtype": "F16"}),
            (4, 32, False, False, SHORT_32, {}), (4, 32, True, True, SHORT_32, {}),
            (4, 64, False, True, SHORT_64, {"shape_dtype": "I32"}), (4, 0, True, False, ODD, {}), (4, 0, False, False, ODD, {}),
            (4, 0, False, False, FUSED_8, {}), (4, 32, True, True, FUSED_32, {}), (8, 0, True, False, ODD, {}),
            (8, 32, True, False, SHORT_32, {"dtype": "F32"}), (8, 32, False, False, SHORT_32, {})):
        scheme = {"num_bits": bits, "symmetric": sym, "strategy": "group" if group else "channel", "group_size": group or None,
                  "actorder": "group" if shuffled else None}
        fused = dims in (FUSED_8, FUSED_32)
        name = f"compressed-tensors pack-quantized {bits} bit, {f'group {group}' if group else 'channel'}, "
        name += f"{'' if sym else 'a'}symmetric" + shuffled * ", actorder" + fused * ", fused"
        yield name + "".join(f", {v}" for v in more.values()), dims, \
            functools.partial(packed, bits=bits, group=group, sym=sym, shuffled=shuffled, **more), \
            compressed("pack-quantized", scheme), {"fused": fused}
    scheme = {"num_bits": 4, "strategy": "group", "group_size": 32}
    settings = compressed("pack-quantized", scheme)
    yield "compressed-tensors pack-quantized 4 bit, group 32, inside a multimodal model", SHORT_32, \
        functools.partial(packed, bits=4, group=32), settings, {"wrapped": True}
    settings = {"compression_config": {k: v for k, v in settings["quantization_config"].items() if k != "quant_method"}}
    yield "compressed-tensors pack-quantized 4 bit, group 32, under its older key", SHORT_32, \
        functools.partial(packed, bits=4, group=32), settings, {}
    yield "compressed-tensors pack-quantized 4 bit, group 32, Mixtral", SHORT_32, functools.partial(packed, bits=4, group=32), \
        compressed("pack-quantized", scheme, ("lm_head", "re:.*block_sparse_moe.gate")), {"experts": 4, "kept": (".gate",)}
    yield "compressed-tensors int-quantized, channel", ODD, int8, \
        compressed("int-quantized", {"num_bits": 8, "strategy": "channel"}, activations={"num_bits": 8, "dynamic": True}), {}
    scheme = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
    yield "compressed-tensors nvfp4-pack-quantized", SHORT_16, functools.partial(nvfp4, divide=True), \
        compressed("nvfp4-pack-quantized", scheme, activations=dict(scheme, dynamic="local")), {}
    yield "ModelOpt NVFP4", SHORT_16, functools.partial(nvfp4, divide=False), \
        {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}}, {}


def bitsandbytes_cases():
    for kind, nested, dims in (("nf4", False, ODD), ("nf4", True, ODD), ("fp4", False, ODD), ("fp4", True, ODD),
                               ("nf4", False, FUSED_4), ("nf4", True, FUSED_4)):
        settings = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": kind,
                    "bnb_4bit_use_double_quant": nested, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "uint8"}
        fused = dims == FUSED_4
        yield f"bitsandbytes {kind}" + nested * ", double quantisation" + fused * ", fused", dims, \
            functools.partial(bnb4, kind=kind, nested=nested), {"quantization_config": settings}, {"fused": fused}
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True, "llm_int8_threshold": 6.0}
    yield "bitsandbytes LLM.int8", ODD, llm_int8, {"quantization_config": settings}, {}
    yield "bitsandbytes LLM.int8, fused", FUSED_4, llm_int8, {"quantization_config": settings}, {"fused": True}


def mlx_settings(bits, group, both=True, **more):
    settings = {"group_size": group, "bits": bits, **more}
    return {"quantization": settings, "quantization_config": settings} if both else {"quantization": settings}


def mlx_cases():
    ends = {"also": ("model.embed_tokens", "lm_head")}
    for bits, group, dtype, dims, tied in (
            (4, 64, "F16", SHORT_64, False), (4, 32, "BF16", SHORT_32, True), (4, 128, "F32", ONE_128, False),
            (8, 64, "BF16", SHORT_64, False), (8, 32, "F16", SHORT_32, True), (3, 64, "F16", SHORT_64, False),
            (3, 32, "BF16", SHORT_32, False), (6, 128, "F16", ONE_128, False), (6, 32, "F32", SHORT_32, False)):
        yield f"MLX {bits} bit, group {group}, {dtype}" + tied * ", tied", dims, \
            functools.partial(mlx, bits=bits, group=group, dtype=dtype), mlx_settings(bits, group, mode="affine"), \
            dict(ends, tied=tied)
    four = functools.partial(mlx, bits=4, group=64)
    yield "MLX 4 bit, group 64, only \"quantization\" in config.json", SHORT_64, four, mlx_settings(4, 64, both=False), ends
    yield "MLX 4 bit, group 64, which does not divide some columns", (160, 4, 2, 32, 320), four, mlx_settings(4, 64), ends
    mixed = {f"model.layers.{i}.mlp.down_proj": {"group_size": 64, "bits": 6} for i in range(2)}
    others = {"down_proj": functools.partial(mlx, bits=6, group=64), "lm_head": functools.partial(mlx, bits=8, group=32)}
    yield "MLX 4, 6 and 8 bit", SHORT_64, four, mlx_settings(4, 64, **mixed, lm_head={"group_size": 32, "bits": 8}), \
        dict(ends, overrides=others)
    yield "MLX 4 bit, group 32, fused", FUSED_32, functools.partial(mlx, bits=4, group=32), mlx_settings(4, 32), \
        dict(ends, fused=True)
    yield "MLX 4 bit, group 64, Mixtral", SHORT_64, four, mlx_settings(4, 64), dict(ends, experts=4)
    yield "MLX 4 bit, group 64, Mixtral, experts stacked", SHORT_64, four, mlx_settings(4, 64), \
        dict(ends, experts=4, stacked=True)


def cases():
    for source in (gptq_cases, awq_cases, compressed_cases, bitsandbytes_cases, mlx_cases):
        yield from source()


def main():
    words = sys.argv[3:]
    chosen = [case for case in cases() if not words or any(w in case[0] for w in words)]
    jobs = [(name, lambda base, n=name, d=dims, e=encode, s=settings, m=more: make(base, n, d, e, s, **m))
            for name, dims, encode, settings, more in chosen]
    return 1 if not jobs or run_coded.compare(sys.argv[1], jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
