# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of Llama's shape as lamina_store.py compares stores with them: safetensors, plain or quantised, and GGUF files.

It must know nothing of stores. A checkpoint gives a matrix by its role: plain numbers as they lie in the file, rows of GGUF's
blocks likewise, or, of codes that several tensors spell, the float32 values that the method's library would make of them. Formulas
are those of docs/FORMAT.md, "Sources"; nothing is taken from the reader of the store but the numbers of lamina_values.py.
"""

import array
import json
import math
import os
import struct

from lamina_values import BLOCKS, E2M1, OVER_127, little, need, numbers, once, over, rounded, unpack

PLAIN = {"F32": 4, "F16": 2, "BF16": 2}
DTYPE_BYTES = {**PLAIN, "F64": 8, "I64": 8, "I32": 4, "U32": 4, "I16": 2, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1,
               "F8_E8M0": 1}
IGNORED = ("rotary_emb.inv_freq", ".weight_format", ".input_scale", ".input_global_scale", "rope_freqs.weight")

# docs/FORMAT.md, "Roles": name in a store -> name in a checkpoint, in a GGUF file.
NAMES = {
    "embed": ("model.embed_tokens.weight", "token_embd.weight"),
    "head": ("lm_head.weight", "output.weight"),
    "final_norm": ("model.norm.weight", "output_norm.weight"),
    "q": ("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"),
    "k": ("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"),
    "v": ("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"),
    "o": ("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
    "gate": ("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"),
    "up": ("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"),
    "down": ("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"),
    "attn_norm": ("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
    "mlp_norm": ("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
    "q_bias": ("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"),
    "k_bias": ("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"),
    "v_bias": ("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"),
    "o_bias": ("model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"),
    "gate_bias": ("model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias"),
    "up_bias": ("model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias"),
    "down_bias": ("model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias"),
}


class Matrix:
    """dtype: as in a store, and lines: rows of bytes; or, where several tensors make it, "GROUPS", and rows of float32."""

    def __init__(self, name, dtype, shape, lines):
        self.name, self.dtype, self.shape, self.lines = name, dtype, list(shape), lines


def cut(raw, count):
    """`count` lines of equal length."""
    need(count > 0 and len(raw) % count == 0, "%d bytes are not %d lines" % (len(raw), count))
    each = len(raw) // count
    return [raw[i * each:(i + 1) * each] for i in range(count)]


def affine(codes, zeros, scales, groups):
    """(code - zero) * scale of a row; zeros and scales are its groups', groups has each column's."""
    return rounded([(q - zeros[g]) * scales[g] for q, g in zip(codes, groups)])


def weighed(row, scales, each):
    """Numbers times the scale of their group."""
    return rounded([w * scales[c // each] for c, w in enumerate(row)])


# ---- safetensors ----

class Checkpoint:
    def __init__(self, path):
        self.path, self.tensors, self.used = path, {}, set()
        if os.path.exists(os.path.join(path, "model.safetensors")):
            names = ["model.safetensors"]
        else:
            with open(os.path.join(path, "model.safetensors.index.json"), encoding="utf-8") as f:
                names = sorted(set(json.load(f)["weight_map"].values()))
        for name in names:
            with open(os.path.join(path, name), "rb") as f:
                (length,) = struct.unpack("<Q", f.read(8))
                for tensor, entry in json.loads(f.read(length)).items():
                    if tensor != "__metadata__":
                        self.tensors[tensor] = (name, 8 + length, entry)
        with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        self.mlx = config.get("quantization") or {}
        self.quant = config.get("quantization_config") or self.mlx

    def read(self, tensor):
        need(tensor in self.tensors, "the checkpoint has no " + tensor)
        name, base, entry = self.tensors[tensor]
        begin, end = entry["data_offsets"]
        with open(os.path.join(self.path, name), "rb") as f:
            f.seek(base + begin)
            data = f.read(end - begin)
        self.used.add(tensor)
        need(len(data) == math.prod(entry["shape"]) * DTYPE_BYTES[entry["dtype"]], tensor + ": another size than its shape says")
        return entry["dtype"], entry["shape"], data

    def numbers(self, tensor):
        dtype, _, data = self.read(tensor)
        return numbers(dtype, data)

    def text(self, name):
        with open(os.path.join(self.path, name), "rb") as f:
            return f.read()

    def vector(self, role, layer):
        return self.read(NAMES[role][0].format(layer))

    def matrix(self, role, layer):
        name = NAMES[role][0].format(layer)
        base = name[:-len(".weight")]
        dtype = self.tensors[name][2]["dtype"] if name in self.tensors else None
        if dtype in PLAIN:
            _, shape, data = self.read(name)
            return Matrix(name, dtype, shape, cut(data, shape[0]))
        rows = list(self.method(name, base, dtype)(name, base))
        return Matrix(name, "GROUPS", (len(rows), len(rows[0])), rows)

    def method(self, name, base, dtype):
        if base + ".qweight" in self.tensors:
            return self.awq if self.quant.get("quant_method") == "awq" else self.gptq
        if base + ".weight_packed" in self.tensors:
            return self.four_bits if self.tensors[base + ".weight_packed"][2]["dtype"] == "U8" else self.packed
        if name + "_blocks" in self.tensors:
            return self.blocks
        if dtype in ("F8_E4M3", "F8_E5M2"):
            return self.fp8
        if dtype == "I8":
            return self.int8
        if dtype in ("U32", "I32"):
            return self.words
        need(dtype == "U8", "the checkpoint has no %s in a known form" % name)
        return self.four_bits if name + "_scale_2" in self.tensors else self.bnb4

    def left(self):
        """Names of tensors that nobody asked for, though they say something."""
        for tensor in sorted(set(self.tensors) - self.used):
            empty_bias = tensor.endswith(".bias") and self.quant and not any(self.read(tensor)[2])
            if not tensor.endswith(IGNORED) and not empty_bias:
                yield tensor

    # ---- one a method; each yields rows of float32 ----

    def fp8(self, name, _):
        dtype, (rows, cols), data = self.read(name)
        scale_name = name + ("_scale_inv" if name + "_scale_inv" in self.tensors else "_scale")
        _, shape, _ = self.read(scale_name)
        scales = self.numbers(scale_name)
        high, wide = self.quant.get("weight_block_size") or (128, 128)
        if len(scales) == 1:
            high, wide = rows, cols
        elif shape == [rows] or shape == [rows, 1]:
            high, wide = 1, cols
        else:
            need(shape == [-(-rows // high), -(-cols // wide)], scale_name + ": another shape")
        each = -(-cols // wide)
        for r, line in enumerate(cut(data, rows)):
            yield weighed(numbers(dtype, line), scales[r // high * each:(r // high + 1) * each], wide)

    def int8(self, name, base):
        """compressed-tensors: code * scale. bitsandbytes: code * SCB, then times 1/127."""
        _, (rows, cols), data = self.read(name)
        bnb = base + ".SCB" in self.tensors
        scales = self.numbers(base + ".SCB" if bnb else name + "_scale")
        scales = scales * rows if len(scales) == 1 else scales
        each = len(scales) // rows
        need(each * rows == len(scales) and each > 0 and cols % each == 0, name + ": another number of scales")
        for r, line in enumerate(cut(data, rows)):
            row = weighed(numbers("I8", line), scales[r * each:(r + 1) * each], cols // each)
            yield rounded([p * OVER_127 for p in row]) if bnb else row

    def four_bits(self, name, base):
        """NVFP4 of compressed-tensors (divides by the global scale) and of ModelOpt (multiplies), and packed MXFP4."""
        packed = base + ".weight_packed" in self.tensors
        _, (rows, _), data = self.read(base + ".weight_packed" if packed else name)
        dtype, shape, raw = self.read(name + "_scale")
        global_name = base + (".weight_global_scale" if packed else ".weight_scale_2")
        if packed and global_name not in self.tensors:
            yield from self.e2m1(cut(data, rows), cut(raw, shape[0]), 32)
            return
        one, scales = self.numbers(global_name)[0], numbers(dtype, raw)
        scales = rounded([over(s, one) if packed else s * one for s in scales])
        for r, line in enumerate(cut(data, rows)):
            yield weighed([E2M1[q] for q in unpack(line, 4, 2 * len(line))], scales[r * shape[1]:(r + 1) * shape[1]], 16)

    def e2m1(self, lines, scales, each):
        for line, exponents in zip(lines, scales):
            need(len(line) * 2 == len(exponents) * each, "another number of scales")
            yield weighed([E2M1[q] for q in unpack(line, 4, 2 * len(line))], numbers("F8_E8M0", exponents), each)

    def blocks(self, name, _):
        _, shape, data = self.read(name + "_blocks")
        _, groups, raw = self.read(name + "_scales")
        need(shape == groups + [16], name + ": blocks and scales of other shapes")
        rows = math.prod(groups[:-1])
        yield from self.e2m1(cut(data, rows), cut(raw, rows), 32)

    def words(self, name, base):
        """MLX: code * scale, rounded, + bias; or MXFP4."""
        _, (rows, _), data = self.read(name)
        dtype, (_, count), raw = self.read(base + ".scales")
        if base + ".biases" not in self.tensors:
            need(dtype == "U8", base + ": no biases")
            yield from self.e2m1(cut(data, rows), cut(raw, rows), 32)
            return
        settings = dict(self.mlx, **(self.mlx.get(base) or {}))
        bits, each = settings["bits"], settings["group_size"]
        scales, least = numbers(dtype, raw), self.numbers(base + ".biases")
        for r, line in enumerate(cut(data, rows)):
            row = weighed(unpack(line, bits, count * each), scales[r * count:(r + 1) * count], each)
            yield rounded([p + least[r * count + c // each] for c, p in enumerate(row)])

    def column_groups(self, order_name, cols, each, count):
        groups = [c // each for c in range(cols)]
        if order_name in self.tensors:
            said = list(little("i", self.read(order_name)[2]))
            groups = groups if said[0] == -1 else said
        need(len(groups) == cols and 0 <= min(groups) and max(groups) < count, order_name + ": a group that is not there")
        return groups

    def gptq(self, _, base):
        """Words along the columns. Zero points are stored less one, but by gptq_v2, and but where all are the middle."""
        bits = self.quant["bits"]
        mask, middle = (1 << bits) - 1, 1 << (bits - 1)
        _, (lines, rows), data = self.read(base + ".qweight")
        cols = lines * 32 // bits
        dtype, (count, _), raw = self.read(base + ".scales")
        scales = numbers(dtype, raw)
        zeros = [unpack(line, bits, rows) for line in cut(self.read(base + ".qzeros")[2], count)]
        plus = int(self.quant.get("checkpoint_format") != "gptq_v2")
        stored = {z for line in zeros for z in line}
        if stored == {middle} or stored == {middle - 1}:
            plus = middle - stored.pop()
        each = self.quant["group_size"] if 0 < self.quant["group_size"] < cols else cols
        groups = self.column_groups(base + ".g_idx", cols, each, count)
        words = array.array("I", data)
        for r in range(rows):
            codes = unpack(words[r::rows].tobytes(), bits, cols)
            yield affine(codes, [z[r] + plus & mask for z in zeros], scales[r::rows], groups)

    def awq(self, _, base):
        """Words along the rows: nibble i is that of row 8w + (0, 2, 4, 6, 1, 3, 5, 7)[i]."""
        _, (cols, words), data = self.read(base + ".qweight")
        dtype, (count, rows), raw = self.read(base + ".scales")
        scales, groups = numbers(dtype, raw), [c // (cols // count) for c in range(cols)]

        def lines(raw, many):
            return [unpack(line, 4, 8 * words) for line in cut(raw, many)]
        codes, zeros = lines(data, cols), lines(self.read(base + ".qzeros")[2], count)
        for r in range(rows):
            at = r // 8 * 8 + (0, 4, 1, 5, 2, 6, 3, 7)[r % 8]
            yield affine([line[at] for line in codes], [line[at] for line in zeros], scales[r::rows], groups)

    def packed(self, _, base):
        """compressed-tensors pack-quantized: codes and zero points with half of the range added; zero points along the rows."""
        scheme = [g["weights"] for g in self.quant["config_groups"].values()]
        need(len({s["num_bits"] for s in scheme}) == 1, "several widths of codes")
        bits = scheme[0]["num_bits"]
        rows, cols = self.numbers_of_shape(base)
        _, _, data = self.read(base + ".weight_packed")
        dtype, (_, count), raw = self.read(base + ".weight_scale")
        scales = numbers(dtype, raw)
        zeros = [[1 << (bits - 1)] * rows] * count
        if base + ".weight_zero_point" in self.tensors:
            words = array.array("I", self.read(base + ".weight_zero_point")[2])
            zeros = [unpack(words[g::count].tobytes(), bits, rows) for g in range(count)]
        groups = self.column_groups(base + ".weight_g_idx", cols, scheme[0].get("group_size") or cols, count)
        for r, line in enumerate(cut(data, rows)):
            yield affine(unpack(line, bits, cols), [z[r] for z in zeros], scales[r * count:(r + 1) * count], groups)

    def numbers_of_shape(self, base):
        dtype, _, data = self.read(base + ".weight_shape")
        return little("q" if dtype == "I64" else "i", data)

    def bnb4(self, name, _):
        """bitsandbytes: blocks over all weights, row by row, the first of two codes in the high nibble."""
        names = (name + ".quant_state.bitsandbytes__" + kind for kind in ("nf4", "fp4"))
        state_name = next((t for t in names if t in self.tensors), None)
        need(state_name, name + ": no quant_state")
        state, table = json.loads(self.read(state_name)[2]), self.numbers(name + ".quant_map")
        (rows, cols), each = state["shape"], state["blocksize"]
        dtype, _, raw = self.read(name + ".absmax")
        if name + ".nested_absmax" in self.tensors:
            steps, runs = self.numbers(name + ".nested_quant_map"), self.numbers(name + ".nested_absmax")
            wide, offset = state["nested_blocksize"], once(state["nested_offset"])
            products = rounded([steps[c] * runs[i // wide] for i, c in enumerate(raw)])
            scales = rounded([p + offset for p in products])
        else:
            scales = numbers(dtype, raw)
        codes = [q for two in self.read(name)[2] for q in (two >> 4, two & 15)]
        for at in range(0, rows * cols, cols):
            yield rounded([table[codes[i]] * scales[i // each] for i in range(at, at + cols)])


# ---- GGUF ----

GGUF_TYPES = {0: "F32", 1: "F16", 30: "BF16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K",
              12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 20: "IQ4_NL", 23: "IQ4_XS", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4_B",
              40: "NVFP4_B"}
GGUF_NUMBERS = {**dict(enumerate("BbHhIif?")), 10: "Q", 11: "q", 12: "d"}


class Gguf:
    """One file of the architecture "llama", whose queries and keys have rotary pairs side by side."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        magic, version, tensors, values = struct.unpack_from("<4sIQQ", self.data)
        need(magic == b"GGUF" and version in (2, 3), path + ": no GGUF file")
        self.at, self.used = 24, set()
        self.meta = dict(self.pair() for _ in range(values))
        self.tensors = dict(self.info() for _ in range(tensors))
        align = self.meta.get("general.alignment", 32)
        self.base = -(-self.at // align) * align
        need(self.meta.get("general.architecture") == "llama", path + ": not of the architecture llama")
        self.heads = self.meta["llama.attention.head_count"]
        self.kv_heads = self.meta.get("llama.attention.head_count_kv", self.heads)
        self.rotary = self.meta.get("llama.rope.dimension_count", 0)

    def take(self, code):
        value = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += struct.calcsize("<" + code)
        return value

    def word(self):
        length = self.take("Q")
        self.at += length
        return self.data[self.at - length:self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.word()
        if kind == 9:
            kind, count = self.take("I"), self.take("Q")
            return [self.value(kind) for _ in range(count)]
        return self.take(GGUF_NUMBERS[kind])

    def pair(self):
        key = self.word()
        return key, self.value(self.take("I"))

    def info(self):
        """Shapes are written fastest first."""
        name = self.word()
        shape = [self.take("Q") for _ in range(self.take("I"))][::-1]
        number, offset = self.take("I"), self.take("Q")
        need(number in GGUF_TYPES, "%s is of type %d" % (name, number))
        return name, (GGUF_TYPES[number], shape, offset)

    def read(self, name):
        need(name in self.tensors, "the file has no " + name)
        dtype, shape, offset = self.tensors[name]
        weights, size = (1, PLAIN[dtype]) if dtype in PLAIN else BLOCKS[dtype][:2]
        need(shape[-1] % weights == 0, name + ": rows are no whole blocks")
        begin = self.base + offset
        data = self.data[begin:begin + math.prod(shape) // weights * size]
        self.used.add(name)
        return dtype, shape, data

    def in_halves(self, role, lines):
        """Rows or elements of queries and keys: pair i, at 2i and 2i + 1, to i and i + d/2."""
        heads = {"q": self.heads, "k": self.kv_heads}.get(role[:1] if role in ("q", "k", "q_bias", "k_bias") else "")
        if heads is None:
            return lines
        each = len(lines) // heads
        turned = self.rotary or each
        order = [2 * i + j for j in (0, 1) for i in range(turned // 2)] + list(range(turned, each))
        return [lines[h * each + i] for h in range(heads) for i in order]

    def text(self, _):
        return None  # made from the metadata

    def vector(self, role, layer):
        dtype, shape, data = self.read(NAMES[role][1].format(layer))
        return dtype, shape, b"".join(self.in_halves(role, cut(data, shape[0])))

    def matrix(self, role, layer):
        name = NAMES[role][1].format(layer)
        dtype, shape, data = self.read(name)
        return Matrix(name, dtype, shape, self.in_halves(role, cut(data, shape[0])))

    def left(self):
        return sorted(t for t in set(self.tensors) - self.used if not t.endswith(IGNORED))


def open_source(path):
    return Gguf(path) if os.path.isfile(path) else Checkpoint(path)
