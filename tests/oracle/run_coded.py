#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""FP8 checkpoints of every form against the same weights in fp32: logits equal bit for bit. TAP on stdout.

usage: run_coded.py LAMINA [TESTDATA, not needed]

A small Llama of random weights is written once with fp32 weights that FP8 codes and scales stand for, and once with the codes:
scales per 128 x 128 block, per row, and for all; in float32 and bfloat16; with the scales of activations that are dropped.
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

HIDDEN, FFN, LAYERS, VOCAB, HEADS = 160, 288, 2, 96, 4
IDS = ",".join(str(i * 7 % VOCAB) for i in range(20))


def e4m3(code):
    exponent, fraction = code >> 3 & 15, code & 7
    value = fraction * 2.0 ** -9 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7)
    return -value if code & 128 else value


def rounded(value, dtype):
    """The bytes of a scale, and the number that they stand for."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    if dtype == "BF16":
        bits &= 0xFFFF0000
        return struct.pack("<H", bits >> 16), struct.unpack("<f", struct.pack("<I", bits))[0]
    return struct.pack("<I", bits), struct.unpack("<f", struct.pack("<I", bits))[0]


def shapes():
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN), False
    yield "lm_head.weight", (VOCAB, HIDDEN), False
    yield "model.norm.weight", (HIDDEN,), False
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        for name, shape in (("self_attn.q_proj", (HIDDEN, HIDDEN)), ("self_attn.k_proj", (HIDDEN // 2, HIDDEN)),
                            ("self_attn.v_proj", (HIDDEN // 2, HIDDEN)), ("self_attn.o_proj", (HIDDEN, HIDDEN)),
                            ("mlp.gate_proj", (FFN, HIDDEN)), ("mlp.up_proj", (FFN, HIDDEN)), ("mlp.down_proj", (HIDDEN, FFN))):
            yield p + name + ".weight", shape, True
        yield p + "input_layernorm.weight", (HIDDEN,), False
        yield p + "post_attention_layernorm.weight", (HIDDEN,), False


def quantised(rng, shape, form, dtype):
    """Codes, the shape and bytes of their scales, and the fp32 bytes of what both stand for."""
    rows, cols = shape
    grid = {"block": (-(-rows // 128), -(-cols // 128)), "row": (rows, 1), "all": (1,)}[form]
    count = grid[0] * (grid[1] if len(grid) > 1 else 1)
    scales = [rounded(rng.uniform(0.5, 1.5) / cols ** 0.5, dtype) for _ in range(count)]
    codes = bytes(rng.choice((0, 128)) | rng.randrange(0, 0x40) for _ in range(rows * cols))
    table = [e4m3(c) if c & 127 != 127 else 0.0 for c in range(256)]
    values = []
    for r in range(rows):
        for c in range(cols):
            at = {"block": r // 128 * grid[-1] + c // 128, "row": r, "all": 0}[form]
            values.append(table[codes[r * cols + c]] * scales[at][1])
    return codes, grid, b"".join(s[0] for s in scales), struct.pack(f"<{len(values)}f", *values)


def write(path, tensors, config):
    os.makedirs(path)
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(path, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)


def make(base, form, dtype, method):
    rng = random.Random(f"{form} {dtype}")
    plain, coded = {}, {}
    for name, shape, quantise in shapes():
        if quantise:
            codes, grid, scales, values = quantised(rng, shape, form, dtype)
            plain[name] = ("F32", shape, values)
            coded[name] = ("F8_E4M3", shape, codes)
            coded[name + ("_scale_inv" if form == "block" else "_scale")] = (dtype, grid, scales)
            coded[name[:-6] + "input_scale"] = ("F32", (1,), struct.pack("<f", 1.0))
        else:
            count = shape[0] * (shape[1] if len(shape) > 1 else 1)
            values = [rng.uniform(-1, 1) if len(shape) > 1 else 1.0 for _ in range(count)]
            plain[name] = coded[name] = ("F32", shape, struct.pack(f"<{count}f", *values))
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS,
              "num_attention_heads": HEADS, "num_key_value_heads": HEADS // 2, "vocab_size": VOCAB, "rms_norm_eps": 1e-5}
    write(os.path.join(base, "plain"), plain, config)
    write(os.path.join(base, "coded"), coded, dict(config, quantization_config=method))


def logits(lamina, model, home):
    done = subprocess.run([lamina, "logits", model, "--ids", IDS, "-n", "4", "--json", "-q"], capture_output=True,
                          env=dict(os.environ, LAMINA_HOME=home), timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    out = json.loads(done.stdout)
    return {key: out[key] for key in ("tokens", "logits_last", "logits_final", "argmax", "logprob_next")}


def main():
    lamina = sys.argv[1]
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    packed = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    forms = [("block", "F32", fp8), ("block", "BF16", fp8), ("row", "F32", packed), ("row", "BF16", {"quant_method": "fbgemm_fp8"}),
             ("all", "F32", packed), ("all", "BF16", fp8)]
    failed = 0
    print(f"1..{len(forms)}")
    for number, (form, dtype, method) in enumerate(forms, 1):
        with tempfile.TemporaryDirectory() as base:
            try:
                make(base, form, dtype, method)
                same = logits(lamina, f"{base}/plain", f"{base}/a") == logits(lamina, f"{base}/coded", f"{base}/b")
                words = "logits equal those of fp32 weights" if same else "logits differ from those of fp32 weights"
            except (RuntimeError, KeyError, subprocess.TimeoutExpired) as e:
                same, words = False, str(e)
            failed += not same
            print(f"{'ok' if same else 'not ok'} {number} - FP8, scales {form} in {dtype}, {method['quant_method']}: {words}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
