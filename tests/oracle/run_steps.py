#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stores in whole steps: what rounding does to weights, to sizes and to logits. TAP on stdout.

usage: run_steps.py LAMINA [TESTDATA, not needed [WORDS ...]]    only cases whose names have one of WORDS

Models of Gaussian weights are split with codecs of steps and read by the independent reader. A second checkpoint whose weights are
numbers, split with codec raw, says which weight of the checkpoint stands where in a store, turned and reordered ones included. So
every weight is compared with its source, and a third checkpoint is written from what the steps stand for: its logits are those of
the store, up to the order of rounding, and bit for bit where scales are powers of two. Logits must not depend on instructions,
threads, memory or how the prompt is cut.
"""
import array
import filecmp
import json
import math
import operator
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))

import lamina_store  # noqa: E402
import lamina_values  # noqa: E402
import run_coded  # noqa: E402
from run_coded import DEEPSEEK, VOCAB, deepseek_shapes, llama_shapes, rounded  # noqa: E402
from run_planes import LLAMA, WIDE, logits, run, same_everywhere, size_of  # noqa: E402

TIED = dict(LLAMA, tie_word_embeddings=True)
BIG = dict(LLAMA, hidden_size=2048, intermediate_size=2048, num_attention_heads=16, num_key_value_heads=8)
GPT_OSS = {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 400,
           "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "num_local_experts": 2,
           "num_experts_per_tok": 1, "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "attention_bias": True, "sliding_window": 16,
           "max_position_embeddings": 512}
# Signal over noise in dB. A step of s sigma has a noise of s^2 / 12; of rates, as what a code of this kind needs for Gaussian rows,
# and of small matrices less, since pages are not full.
STEPS = {"q8": 0.0318, "q4": 0.271}
LEVELS = {"q8": (40.0, 41.0), "q4": (21.0, 22.5), "q3.50": (16.0, 19.0), "q2.00": (4.5, 10.0)}
NOT_ROUNDED = ("router", "shared_router")


def tied_shapes(config):
    return [shape for shape in llama_shapes(config) if shape[0] != "lm_head.weight"]


def gpt_oss_shapes(c):
    hidden, inner, experts, width = c["hidden_size"], c["intermediate_size"], c["num_local_experts"], c["head_dim"]
    heads, kv = c["num_attention_heads"] * width, c["num_key_value_heads"] * width
    for name, shape in (("embed_tokens.weight", (VOCAB, hidden)), ("norm.weight", (hidden,))):
        yield "model." + name, shape, None
    yield "lm_head.weight", (VOCAB, hidden), None
    for name, shape in (("self_attn.q_proj", (heads, hidden)), ("self_attn.k_proj", (kv, hidden)),
                        ("self_attn.v_proj", (kv, hidden)), ("self_attn.o_proj", (hidden, heads)),
                        ("mlp.router", (experts, hidden))):
        yield f"model.layers.0.{name}.weight", shape, None
        yield f"model.layers.0.{name}.bias", shape[:1], None
    for name, shape in (("input_layernorm.weight", (hidden,)), ("post_attention_layernorm.weight", (hidden,)),
                        ("self_attn.sinks", (heads // width,)), ("mlp.experts.gate_up_proj_bias", (experts, 2 * inner)),
                        ("mlp.experts.gate_up_proj", (experts, hidden, 2 * inner)),
                        ("mlp.experts.down_proj_bias", (experts, hidden)), ("mlp.experts.down_proj", (experts, inner, hidden))):
        yield "model.layers.0." + name, shape, None


# ---- models ----

def gaussian(rng, shape, dtype):
    """Rows are pieces of a run of numbers, so that millions are quickly made."""
    if len(shape) == 1:
        return rounded(1.0, dtype)[0] * shape[0]
    cols, size = shape[-1], len(rounded(1.0, dtype)[0])
    pool = b"".join(rounded(rng.gauss(0, cols ** -0.5), dtype)[0] for _ in range(20000))
    run_length = min(cols, 1000)
    count = math.prod(shape)
    pieces = [pool[at * size:(at + run_length) * size] for at in
              (rng.randrange(20000 - run_length) for _ in range(-(-count // run_length)))]
    return b"".join(pieces)[:count * size]


def make(config, shapes, dtype, seed):
    rng = random.Random(seed)
    return {name: (dtype, shape, gaussian(rng, shape, dtype)) for name, shape, _ in shapes(config)}


class Model:
    """A checkpoint of which every weight of a matrix has a number, from 1 on: its place in `flat`."""

    def __init__(self, lamina, base, config, tensors):
        self.lamina, self.base, self.config, self.tensors = lamina, base, config, tensors
        self.flat = array.array("f", [0])
        numbered = {}
        for name, (dtype, shape, data) in tensors.items():
            numbered[name] = tensors[name]
            if len(shape) > 1:
                begin = len(self.flat)
                self.flat.extend(lamina_values.numbers(dtype, data))
                numbered[name] = ("F32", shape, array.array("f", range(begin, len(self.flat))).tobytes())
        if len(self.flat) >= 1 << 24:
            raise RuntimeError("more weights than float32 can number")
        self.source = self.write("source", tensors)
        self.raw = self.split(self.source, "raw")
        self.places = {key: [array.array("I", map(int, row)) for row in rows] for key, _, _, rows
                       in matrices(self.split(self.write("numbered", numbered), "raw"))}

    def write(self, name, tensors):
        path = os.path.join(self.base, name)
        run_coded.write(path, tensors, self.config)
        return path

    def split(self, source, codec):
        store = f"{source}.{codec}"
        run(self.lamina, "split", source, "-o", store, "--codec", codec, "-q")
        run(self.lamina, "verify", store, "-q")
        return store

    def weights(self, key, row):
        return operator.itemgetter(*self.places[key][row])(self.flat)

    def rewritten(self, name, flat):
        """A checkpoint in fp32 of other weights."""
        tensors, at = {}, 1
        for tensor, (dtype, shape, data) in self.tensors.items():
            if len(shape) > 1:
                data = flat[at:at + math.prod(shape)].tobytes()
                at += math.prod(shape)
                dtype = "F32"
            tensors[tensor] = (dtype, shape, data)
        return self.write(name, tensors)


def matrices(path):
    """File, role and expert, type, scales of rows in steps, rows."""
    store = lamina_store.Store(path)
    for name in store.sizes:
        f = store.open(name)
        for m in f.records if f.kind == 0 else []:
            key = name, m["role"], m["expert"]
            if m["dtype"] == "STEPS":
                yield key, "STEPS", *lamina_store.steps_lines(f, m)
            else:
                yield key, m["type"], None, list(lamina_store.values_of(f, m))


def in_steps(config, key, rows, element):
    """Whether this matrix is to be rounded: docs/FORMAT.md, "Matrices in steps"."""
    cols = len(rows[0])
    tile = min(-(-len(rows) // 16) * 16, 64) * cols
    tile *= max(min(-(-(2 << 20) // (2 * tile)), -(-len(rows) // 64)), 1) if 2 * tile <= 4 << 20 else 1
    return (key[0].startswith("layers/") and key[1] not in NOT_ROUNDED and len(rows) * cols >= 16384 and cols >= 32
            and tile * element <= (8 << 20) - 4096)


# ---- weights ----

def compare_rows(model, key, scales, rows, steps):
    """Squares of weights and of what was lost; fills `steps` with what the steps stand for."""
    power = lost = 0.0
    for r, (scale, line) in enumerate(zip(scales, rows)):
        weights = model.weights(key, r)
        stand_for = [k * scale for k in line]
        worst = max(lamina_store.off_by(w, k, scale) for w, k in zip(weights, line)) if max(map(abs, line)) > 256 else \
            max(abs(w - s) for w, s in zip(weights, stand_for)) - scale * 0.5001
        if worst > 0 and (scale > 0 or max(map(abs, weights)) > 2e-32):
            raise RuntimeError(f"{key}, row {r}: a weight is further than half a step of {scale} from its source")
        power += math.sumprod(weights, weights) if hasattr(math, "sumprod") else sum(w * w for w in weights)
        lost += sum((w - s) * (w - s) for w, s in zip(weights, stand_for))
        for place, s in zip(model.places[key][r], stand_for):
            steps[place] = s
    steps[0] = 0
    return power, lost


def finer(config, role):
    """Bits beyond others of the same rate: docs/FORMAT.md, "Matrices in steps"."""
    served = config["num_attention_heads"] / config.get("num_key_value_heads", config["num_attention_heads"])
    if role in ("k", "v") and "kv_lora_rank" not in config:
        return 0.5 * math.log2(min(served, 4))
    return 0.25 if role in ("down", "shared_down", "expert_down") else 0.0


def compare_shares(model, store, step):
    """Scales over the lengths of their rows: the step of the codec, finer by what each matrix deserves, on average as it is."""
    ratios, weights = {}, {}
    for key, kind, scales, rows in matrices(store):
        if kind == "STEPS":
            lengths = [math.sqrt(sum(w * w for w in model.weights(key, r)) / len(rows[0])) for r in range(len(rows))]
            if any(scale for scale, length in zip(scales, lengths) if not length):  # heads of latents end in rows of nothing
                raise RuntimeError(f"{key}: a row of zeros has a scale")
            ratios.setdefault(key[1], []).extend(scale / length for scale, length in zip(scales, lengths) if length)
            weights[key[1]] = weights.get(key[1], 0) + len(rows) * len(rows[0])
    mean = sum(finer(model.config, role) * n for role, n in weights.items()) / sum(weights.values())
    for role, found in ratios.items():
        want = step * 2 ** (mean - finer(model.config, role))
        if abs(sum(found) / len(found) / want - 1) > 0.003:
            raise RuntimeError(f"{role}: steps of {sum(found) / len(found):.4f}, {want:.4f} expected")


def compare_weights(model, store):
    """How many matrices are in steps, their signal over noise in dB, and the weights that the store stands for."""
    power = lost = 0.0
    count, steps = 0, array.array("f", model.flat)
    element = lamina_store.PLAIN[next(iter(model.tensors.values()))[0]]
    found = {}
    for key, kind, scales, rows in matrices(store):
        found[key] = kind
        if (kind == "STEPS") != in_steps(model.config, key, rows, element):
            raise RuntimeError(f"{key} of {len(rows)} x {len(rows[0])} is {kind}")
        if kind == "STEPS":
            more = compare_rows(model, key, scales, rows, steps)
            power, lost, count = power + more[0], lost + more[1], count + 1
        elif any(tuple(line) != model.weights(key, r) for r, line in enumerate(rows)):
            raise RuntimeError(f"{key} is not exact")
    if found.keys() != model.places.keys() or count == 0:
        raise RuntimeError(f"{len(found)} matrices, {count} in steps")
    if not filecmp.cmp(f"{store}/small.bin", f"{model.raw}/small.bin", shallow=False):
        raise RuntimeError("vectors are not those of the plain store")
    if "kv_lora_rank" in model.config and not all(found["layers/00000.bin", role, 0] == "STEPS" for role in ("u_k", "u_v", "kv_a")):
        raise RuntimeError("matrices of latents are not in steps")
    return count, 10 * math.log10(power / lost), steps


# ---- logits ----

def numbers_of(text):
    out = json.loads(text)
    return [x for x in out["logits_last"]] + [x for x in out["logits_final"]]


def compare_logits(model, store, steps, name):
    """With a checkpoint of what the steps stand for. Returns the difference against the largest."""
    plain = model.split(model.rewritten(name, steps), "raw")
    want, got = (numbers_of(logits(model.lamina, path)) for path in (plain, store))
    off = max(abs(a - b) for a, b in zip(want, got)) / max(map(abs, want))
    if len(want) != len(got) or not off <= 1e-4:
        raise RuntimeError(f"logits differ by {off:.1e} from those of the same weights in fp32")
    return off


# ---- cases ----

def compare(lamina, base, config, shapes, dtype, codecs):
    model = Model(lamina, base, config, make(config, shapes, dtype, str(config) + dtype))
    said = []
    for codec in codecs:
        store = model.split(model.source, codec)
        count, level, steps = compare_weights(model, store)
        if not LEVELS[codec][0] <= level <= LEVELS[codec][1]:
            raise RuntimeError(f"{codec}: {level:.2f} dB, {LEVELS[codec][0]} to {LEVELS[codec][1]} expected")
        if codec in STEPS:
            compare_shares(model, store, STEPS[codec])
        off = compare_logits(model, store, steps, f"as.{codec}")
        same_everywhere(lamina, store)
        said.append(f"{codec} {count} matrices, {level:.2f} dB, logits off by {off:.0e}")
    return "; ".join(said)


def powers_of_two(lamina, base, codec):
    """Rows in fp32 of such a length that their scales come out as powers of two: then nothing is rounded twice."""
    tensors = make(LLAMA, llama_shapes, "F32", 3)
    first = Model(lamina, os.path.join(base, "first"), LLAMA, tensors)
    ratios = {}
    for key, kind, scales, _ in matrices(first.split(first.source, codec)):
        if kind == "STEPS":
            ratios.setdefault(key[1], []).extend(
                scale / math.sqrt(sum(w * w for w in first.weights(key, r)) / len(first.places[key][r]))
                for r, scale in enumerate(scales))
    scaled = {}
    for name, (dtype, shape, data) in tensors.items():
        values = array.array("f", data)
        role = name.rsplit(".", 2)[-2].removesuffix("_proj")
        share = sum(ratios[role]) / len(ratios[role]) if role in ratios else 1  # scales are rounded, on average to themselves
        for at in range(0, len(values), shape[1]) if role in ratios else []:
            row = values[at:at + shape[1]]
            rms = math.sqrt(sum(w * w for w in row) / len(row))
            factor = 2.0 ** round(math.log2(rms * share)) / share / rms
            values[at:at + shape[1]] = array.array("f", [w * factor for w in row])
        scaled[name] = dtype, shape, values.tobytes()
    model = Model(lamina, os.path.join(base, "second"), LLAMA, scaled)
    store = model.split(model.source, codec)
    _, _, steps = compare_weights(model, store)
    scales = [scale for _, kind, scales, _ in matrices(store) if kind == "STEPS" for scale in scales]
    odd = sum(math.frexp(scale)[0] != 0.5 for scale in scales)
    if odd or not scales:
        raise RuntimeError(f"{odd} of {len(scales)} scales are no powers of two")
    plain = model.split(model.rewritten("as", steps), "raw")
    if logits(lamina, plain) != logits(lamina, store):
        raise RuntimeError("logits are not those of the same weights in fp32")
    return f"{len(scales)} scales, logits bit for bit"


def bits_of(store):
    """Bits a weight of the matrices in steps, whole pages included, file after file."""
    shown = lamina_store.Store(store)
    weights = size = 0
    for name in shown.layers:
        f = shown.open(name)
        weights += sum(m["rows"] * m["cols"] for m in f.records if m["dtype"] == "STEPS")
        size += sum(length for _, length in f.tiles)
        if any(m["dtype"] != "STEPS" for m in f.records):
            raise RuntimeError("a large matrix is not in steps")
    return 8 * size / weights, weights


def sizes(lamina, base):
    source = os.path.join(base, "big")
    config = dict(BIG, num_hidden_layers=1)
    run_coded.write(source, make(config, llama_shapes, "BF16", 5), config)
    said = []
    asked = [("q8", 7.1, 7.3), ("q4", 4.1, 4.2)]
    asked += [(f"q{b:.2f}", b * 0.985, b * 1.015) for b in (2.25, 2.5, 3.5, 4, 5.25, 6.5, 8)]
    asked += [("q2.00", 2.0, 2.10)]  # two bits for every weight, scales, directories, and what some matrices get beyond others
    for codec, least, most in asked:
        store = f"{source}.{codec}"
        run(lamina, "split", source, "-o", store, "--codec", codec, "-q")
        bits, weights = bits_of(store)
        if not least <= bits <= most or weights < 8 << 20:
            raise RuntimeError(f"{codec}: {bits:.3f} bits of {weights} weights, {least:.3f} to {most:.3f} expected")
        said.append(f"{codec} {bits:.3f}")
    return f"{weights} weights; " + ", ".join(said)


def killed(lamina, base):
    """A split is killed when its first layer is there; the next one goes on, to the same bytes. Two splits are equal."""
    source, whole, out = (os.path.join(base, name) for name in ("big", "whole", "out"))
    run_coded.write(source, make(BIG, llama_shapes, "BF16", 6), BIG)
    command = [lamina, "split", source, "-o", out, "--codec", "q3.50", "-q"]
    run(lamina, "split", source, "-o", whole, "--codec", "q3.50", "-q")
    for _ in range(5):
        with subprocess.Popen(command) as child:
            while child.poll() is None and not os.path.exists(f"{out}/layers/00000.bin"):
                time.sleep(0.001)
            child.send_signal(signal.SIGKILL)
        if child.returncode == -signal.SIGKILL and not os.path.exists(f"{out}/lamina.json"):
            break
        run("rm", "-r", out)
    else:
        raise RuntimeError("the split cannot be killed in time")
    run(*command)
    run(lamina, "split", source, "-o", out + "2", "--codec", "q3.50", "-q")
    for one in (out, out + "2"):
        for directory, _, files in os.walk(whole):
            for name in files:
                path = os.path.join(directory, name)
                if not filecmp.cmp(path, path.replace(whole, one, 1), shallow=False):
                    raise RuntimeError(f"{name} is not that of an undisturbed split")
    if size_of(out) != size_of(whole):
        raise RuntimeError("files that do not belong")
    return "the same bytes after a kill, and in a third split"


def put(tensors, name, row, values):
    """Writes over the first weights of a row."""
    dtype, shape, data = tensors[name]
    size = lamina_store.PLAIN[dtype]
    at = row * shape[1] * size
    new = b"".join(rounded(v, dtype)[0] for v in values)
    tensors[name] = dtype, shape, data[:at] + new + data[at + len(new):]


def unusual(lamina, base, dtype):
    """Rows of outliers, zeros, and numbers as small as the type has."""
    tensors = make(WIDE, llama_shapes, dtype, 7)
    wide, name = "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.up_proj.weight"
    outlier = 500 * 33100 ** -0.5
    put(tensors, wide, 3, [outlier])
    put(tensors, wide, 63, [-outlier, outlier / 3])
    put(tensors, name, 1, [500 / 8])
    put(tensors, name, 2, [0.0] * 64)
    put(tensors, name, 3, [-0.0] * 64)
    least = {"BF16": 2.0 ** -133, "F16": 2.0 ** -24}[dtype]
    put(tensors, name, 4, [least * (i % 5 - 2) for i in range(64)])
    put(tensors, name, 33099, [least] * 64)
    model = Model(lamina, base, WIDE, tensors)
    for codec in ("q4", "q8.00"):
        store = model.split(model.source, codec)
        _, _, steps = compare_weights(model, store)
        lines = {key[1]: (scales, rows) for key, kind, scales, rows in matrices(store) if kind == "STEPS"}
        scales, rows = lines["up"]
        if scales[2:4] != [0, 0] or any(map(any, rows[2:4])) or (scales[4] != 0) != (dtype == "F16"):
            raise RuntimeError(f"{codec}: rows of nothing have scales {scales[2:5]}")
        for role, row, col, want in (("down", 3, 0, outlier), ("down", 63, 0, -outlier), ("up", 1, 0, 500 / 8)):
            scales, rows = lines[role]
            got = scales[row] * rows[row][col]
            if abs(got / want - 1) > max(2.0 ** -8, 0.6 * scales[row] / abs(want)) + 2.0 ** -8 or abs(got / want - 1) > 0.02:
                raise RuntimeError(f"{codec}: an outlier of {want} became {got}")
        compare_logits(model, store, steps, f"as.{codec}")
        same_everywhere(lamina, store)
    steps_of_outlier = max(map(abs, lines["down"][1][3]))
    if steps_of_outlier <= 256:
        raise RuntimeError(f"only {steps_of_outlier} steps: no whole number of more than 8 bits is tested")
    return f"an outlier of {steps_of_outlier} steps, zeros and denormal numbers"


def refused(lamina, base):
    for dtype, bad, tensor, name, words in (
            ("BF16", math.nan, "model.layers.1.self_attn.q_proj.weight", "layers/00001.bin", 'matrix "q"'),
            ("F16", math.inf, "model.layers.0.mlp.down_proj.weight", "layers/00000.bin", 'matrix "down"'),
            ("F32", -math.inf, "model.layers.1.mlp.gate_proj.weight", "layers/00001.bin", 'matrix "gate"'),
            ("F32", math.nan, "model.layers.0.mlp.up_proj.weight", "layers/00000.bin", 'matrix "up"')):
        source = os.path.join(base, dtype + tensor)
        tensors = make(LLAMA, llama_shapes, dtype, 1)
        _, shape, data = tensors[tensor]
        value = {"BF16": struct.pack("<f", bad)[2:], "F16": struct.pack("<e", bad), "F32": struct.pack("<f", bad)}[dtype]
        tensors[tensor] = dtype, shape, data[:-len(value)] + value
        run_coded.write(source, tensors, LLAMA)
        for codec in ("q8", "q3.50"):
            said = run(lamina, "split", source, "-o", f"{source}.{codec}", "--codec", codec, "-q", status=9).stderr
            if name not in said or words not in said or "NaN or infinite" not in said or "planes" not in said:
                raise RuntimeError(f"{dtype}, {bad}: {said.strip()}")
            if os.path.exists(f"{source}.{codec}/lamina.json"):
                raise RuntimeError("a store is there nevertheless")
        run(lamina, "split", source, "-o", f"{source}.planes", "--codec", "planes", "-q")
    return "NaN and infinities are refused by file and matrix"


def unknown(lamina, base):
    source = os.path.join(base, "source")
    run_coded.write(source, make(LLAMA, llama_shapes, "BF16", 1), LLAMA)
    codecs = ("q1.00", "q1.99", "q8.01", "q9.00", "q3.5", "q4.000", "q5", "q", "Q4", "q4 ", "q-3.50", "q+3.5", "q3,50", "q2.0x")
    for codec in codecs:
        said = run(lamina, "split", source, "-o", f"{source}.store", "--codec", codec, "-q", status=9).stderr
        if f'"{codec}"' not in said or "raw, planes, q8, q4 and q2.00 to q8.00" not in said:
            raise RuntimeError(f"{codec}: {said.strip()}")
        if os.path.exists(f"{source}.store"):
            raise RuntimeError(f"{codec}: something was written")
    return f"{len(codecs)} codecs, with the list of those that there are"


def damaged(lamina, base):
    """A bit of a tile: found by checksums, and never answered from."""
    source = os.path.join(base, "source")
    run_coded.write(source, make(LLAMA, llama_shapes, "BF16", 1), LLAMA)
    run(lamina, "split", source, "-o", f"{source}.store", "--codec", "q3.50", "-q")
    path = f"{source}.store/layers/00001.bin"
    with open(path, "r+b") as f:
        f.seek(os.path.getsize(path) // 2)
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte ^ 16]))
    run(lamina, "verify", f"{source}.store", "-q", status=8)
    run(lamina, "logits", f"{source}.store", "--ids", run_coded.IDS, "-q", status=8)
    return "exit 8"


def in_turn(lamina, base):
    """Experts whose gates and ups stand in turn, as columns, in rows long enough that a tile fills what is read at once."""
    tensors = make(GPT_OSS, gpt_oss_shapes, "BF16", 1)
    for name in [name for name in tensors if name.endswith("_proj") and "experts" in name]:
        dtype, shape, data = tensors[name]
        few = b"".join(rounded(x * 0.02, dtype)[0] for x in (1, -1, -1, 1, 1))  # the first expert is a much smaller one
        tensors[name] = dtype, shape, few * (len(data) // 2 // len(few)) + data[len(data) // 2:]
    model = Model(lamina, base, GPT_OSS, tensors)
    same_everywhere(lamina, model.split(model.source, "planes"))
    store = model.split(model.source, "q4")
    found = {key: rows for key, kind, _, rows in matrices(store) if kind == "STEPS"}
    if ("layers/00000.bin", "expert_gate", 1) not in found or ("layers/00000.bin", "expert_up", 0) not in found:
        raise RuntimeError("experts are not in steps")
    count, level, steps = compare_weights(model, store)
    off = compare_logits(model, store, steps, "as")
    same_everywhere(lamina, store)
    return f"{count} matrices, {level:.2f} dB, logits off by {off:.0e}"


def cases():
    def case(config, shapes, dtype, *codecs):
        name = f"{config['architectures'][0][:-11]} {config['intermediate_size']}, {dtype}"
        name += ", tied" if config is TIED else ""
        return name, lambda lamina, base: compare(lamina, base, config, shapes, dtype, codecs)

    yield case(LLAMA, llama_shapes, "BF16", "q8", "q4", "q3.50", "q2.00")
    yield case(LLAMA, llama_shapes, "F16", "q8", "q4", "q3.50", "q2.00")
    yield case(LLAMA, llama_shapes, "F32", "q8", "q4", "q3.50", "q2.00")
    yield case(TIED, tied_shapes, "BF16", "q4")
    yield case(DEEPSEEK, deepseek_shapes, "BF16", "q8", "q2.00")
    yield case(DEEPSEEK, deepseek_shapes, "F16", "q4")
    yield case(DEEPSEEK, deepseek_shapes, "F32", "q3.50")
    yield case(WIDE, llama_shapes, "BF16", "q4")
    yield case(WIDE, llama_shapes, "F32", "q8")
    yield "GptOss, experts in turn", in_turn
    for codec in ("q8", "q4"):
        yield f"scales are powers of two, {codec}", lambda lamina, base, c=codec: powers_of_two(lamina, base, c)
    yield "bits a weight", sizes
    yield "killed and resumed", killed
    for dtype in ("BF16", "F16"):
        yield f"unusual rows, {dtype}", lambda lamina, base, d=dtype: unusual(lamina, base, d)
    yield "values that cannot be rounded", refused
    yield "unknown codecs", unknown
    yield "a damaged tile", damaged


def main():
    words = sys.argv[3:]
    chosen = [case for case in cases() if not words or any(w in case[0] for w in words)]
    failed = 0
    print(f"1..{len(chosen)}")
    for number, (name, work) in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory() as base:
            try:
                print(f"ok {number} - {name}: {work(sys.argv[1], base)}", flush=True)
            except (RuntimeError, OSError, KeyError, AttributeError, lamina_values.Bad, subprocess.TimeoutExpired) as e:
                failed += 1
                print(f"not ok {number} - {name}: {type(e).__name__}: {e}", flush=True)
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
