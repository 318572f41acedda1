#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""FP8 checkpoints of every form against the same weights in fp32: logits equal bit for bit. TAP on stdout.

usage: run_coded.py LAMINA [TESTDATA, not needed]

A small model of random weights is written once with fp32 weights that FP8 codes and scales stand for, and once with the codes:
scales per 128 x 128 block, per row, and for all; in float32 and bfloat16; with the scales of activations that are dropped. The
models are a Llama, a Phi-3, whose fused matrices are cut within blocks, and a DeepSeek-V3 whose latents, heads and experts begin
and end within blocks, with its layer of predictions; and a Mistral 4, whose experts are stacked.
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

VOCAB = 96
IDS = ",".join(str(i * 7 % VOCAB) for i in range(20))
LLAMA = {"architectures": ["LlamaForCausalLM"], "hidden_size": 160, "intermediate_size": 288, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCAB, "rms_norm_eps": 1e-5}
PHI3 = dict(LLAMA, architectures=["Phi3ForCausalLM"], model_type="phi3", max_position_embeddings=512,
            original_max_position_embeddings=512)
DEEPSEEK = {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 272, "intermediate_size": 304,
            "num_hidden_layers": 3, "first_k_dense_replace": 1, "moe_layer_freq": 1, "num_nextn_predict_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 144, "kv_lora_rank": 136, "qk_nope_head_dim": 40,
            "qk_rope_head_dim": 24, "v_head_dim": 48, "moe_intermediate_size": 136, "n_routed_experts": 4, "n_shared_experts": 1,
            "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "topk_method": "noaux_tc", "scoring_func": "sigmoid",
            "norm_topk_prob": True, "routed_scaling_factor": 2.5, "vocab_size": VOCAB, "rms_norm_eps": 1e-6, "rope_theta": 10000,
            "max_position_embeddings": 640, "attention_bias": False, "hidden_act": "silu", "tie_word_embeddings": False,
            "rope_scaling": {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0,
                             "original_max_position_embeddings": 16}}

# Experts of a layer in one tensor. Blocks of scales do not cross from one to the next: rows of each are whole blocks, or have one
# scale together.
STACKED = {"architectures": ["Mistral4ForCausalLM"], "model_type": "mistral4", "hidden_size": 256, "intermediate_size": 304,
           "num_hidden_layers": 2, "first_k_dense_replace": 0, "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 144,
           "kv_lora_rank": 136, "qk_nope_head_dim": 40, "qk_rope_head_dim": 24, "v_head_dim": 48, "moe_intermediate_size": 192,
           "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "vocab_size": VOCAB, "rms_norm_eps": 1e-6,
           "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 16,
                               "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}}


def e4m3(code):
    exponent, fraction = code >> 3 & 15, code & 7
    value = fraction * 2.0 ** -9 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7)
    return -value if code & 128 else value


def rounded(value, dtype):
    """The bytes of a number, and the number that they stand for."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    if dtype == "BF16":
        bits &= 0xFFFF0000
        return struct.pack("<H", bits >> 16), struct.unpack("<f", struct.pack("<I", bits))[0]
    if dtype == "F16":
        half = struct.pack("<e", value)
        return half, struct.unpack("<e", half)[0]
    return struct.pack("<I", bits), struct.unpack("<f", struct.pack("<I", bits))[0]


def llama_shapes(config):
    """Names, shapes, and for what is not quantised its data type."""
    hidden, ffn, fused = config["hidden_size"], config["intermediate_size"], "Phi3" in config["architectures"][0]
    parts = [("self_attn.q_proj", (hidden, hidden)), ("self_attn.k_proj", (hidden // 2, hidden)),
             ("self_attn.v_proj", (hidden // 2, hidden)), ("mlp.gate_proj", (ffn, hidden)), ("mlp.up_proj", (ffn, hidden))]
    if fused:
        parts = [("self_attn.qkv_proj", (2 * hidden, hidden)), ("mlp.gate_up_proj", (2 * ffn, hidden))]
    yield "model.embed_tokens.weight", (VOCAB, hidden), "F32"
    yield "lm_head.weight", (VOCAB, hidden), "F32"
    yield "model.norm.weight", (hidden,), "F32"
    for i in range(config["num_hidden_layers"]):
        p = f"model.layers.{i}."
        for name, shape in parts + [("self_attn.o_proj", (hidden, hidden)), ("mlp.down_proj", (hidden, ffn))]:
            yield p + name + ".weight", shape, None
        yield p + "input_layernorm.weight", (hidden,), "F32"
        yield p + "post_attention_layernorm.weight", (hidden,), "F32"


def deepseek_shapes(c):
    hidden, q_rank, kv_rank, heads = c["hidden_size"], c["q_lora_rank"], c["kv_lora_rank"], c["num_attention_heads"]
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    layers = c["num_hidden_layers"]
    yield "model.embed_tokens.weight", (VOCAB, hidden), "BF16"
    yield "lm_head.weight", (VOCAB, hidden), "BF16"
    yield "model.norm.weight", (hidden,), "F32"
    stacked = c is STACKED
    for i in range(layers if stacked else layers + 1):  # the last one predicts further tokens
        p = f"model.layers.{i}."
        if i == layers:
            yield p + "eh_proj.weight", (hidden, 2 * hidden), "BF16"
            yield p + "enorm.weight", (hidden,), "F32"
        for name, shape in (("q_a_proj", (q_rank, hidden)), ("q_b_proj", (heads * (nope + rope), q_rank)),
                            ("kv_a_proj_with_mqa", (kv_rank + rope, hidden)), ("kv_b_proj", (heads * (nope + value), kv_rank)),
                            ("o_proj", (hidden, heads * value))):
            yield f"{p}self_attn.{name}.weight", shape, None
        yield p + "self_attn.q_a_layernorm.weight", (q_rank,), "F32"
        yield p + "self_attn.kv_a_layernorm.weight", (kv_rank,), "F32"
        yield p + "input_layernorm.weight", (hidden,), "F32"
        yield p + "post_attention_layernorm.weight", (hidden,), "F32"
        ffn, places = c["intermediate_size"], ["mlp."]
        if i >= c["first_k_dense_replace"]:
            yield p + "mlp.gate.weight", (c["n_routed_experts"], hidden), "BF16"
            ffn = c["moe_intermediate_size"]
            places = ["mlp.shared_experts."] + [f"mlp.experts.{e}." for e in range(0 if stacked else c["n_routed_experts"])]
            if stacked:
                yield p + "mlp.experts.gate_up_proj", (c["n_routed_experts"], 2 * ffn, hidden), None
                yield p + "mlp.experts.down_proj", (c["n_routed_experts"], hidden, ffn), None
            else:
                yield p + "mlp.gate.e_score_correction_bias", (c["n_routed_experts"],), "F32"
        for place in places:
            yield f"{p}{place}gate_proj.weight", (ffn, hidden), None
            yield f"{p}{place}up_proj.weight", (ffn, hidden), None
            yield f"{p}{place}down_proj.weight", (hidden, ffn), None


def quantised(rng, shape, form, dtype):
    """Codes, the shape and bytes of their scales, and the fp32 bytes of what both stand for."""
    if len(shape) == 3:
        codes, grids, scales, values = zip(*(quantised(rng, shape[1:], form, dtype) for _ in range(shape[0])))
        return b"".join(codes), (shape[0], *grids[0], *((1,) if form == "all" else ())), b"".join(scales), b"".join(values)
    rows, cols = shape
    grid = {"block": (-(-rows // 128), -(-cols // 128)), "row": (rows, 1), "all": (1,)}[form]
    count = grid[0] * (grid[1] if len(grid) > 1 else 1)
    scales = [rounded(rng.uniform(0.5, 1.5) / cols ** 0.5, dtype) for _ in range(count)]
    codes = rng.randbytes(rows * cols).translate(bytes(c & 0xBF for c in range(256)))  # below 2, and no NaN
    table = [e4m3(c) for c in range(256)]
    width = 128 if form == "block" else cols
    values = []
    for r in range(rows):
        for c in range(0, cols, width):
            scale = scales[{"block": r // 128 * grid[-1] + c // 128, "row": r, "all": 0}[form]][1]
            values += [table[code] * scale for code in codes[r * cols + c:r * cols + min(c + width, cols)]]
    return codes, grid, b"".join(s[0] for s in scales), struct.pack(f"<{len(values)}f", *values)


def unquantised(rng, name, shape, dtype):
    """The bytes of a tensor that both checkpoints have as it is."""
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    if len(shape) > 1 or name.endswith("bias"):
        reach = 0.1 if ".gate." in name else 1  # a router whose scores differ
        return b"".join(rounded(rng.uniform(-reach, reach), dtype)[0] for _ in range(count))
    return rounded(1.0, dtype)[0] * count


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


def make(base, config, form, dtype, method):
    rng = random.Random(f"{form} {dtype}")
    plain, coded = {}, {}
    for name, shape, kept in (deepseek_shapes if "kv_lora_rank" in config else llama_shapes)(config):
        if kept is None:
            codes, grid, scales, values = quantised(rng, shape, form, dtype)
            plain[name] = ("F32", shape, values)
            coded[name] = ("F8_E4M3", shape, codes)
            coded[name + ("_scale_inv" if form == "block" else "_scale")] = (dtype, grid, scales)
            coded[name[:-6] + "input_scale" if name.endswith(".weight") else name + "_activation_scale"] = \
                ("F32", (1,), struct.pack("<f", 1.0))
        else:
            plain[name] = coded[name] = (kept, shape, unquantised(rng, name, shape, kept))
    write(os.path.join(base, "plain"), plain, config)
    write(os.path.join(base, "coded"), coded, dict(config, quantization_config=method))


def logits(lamina, model, home):
    done = subprocess.run([lamina, "logits", model, "--ids", IDS, "-n", "4", "--json", "-q"], capture_output=True,
                          env=dict(os.environ, LAMINA_HOME=home), timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    out = json.loads(done.stdout)
    return {key: out[key] for key in ("tokens", "logits_last", "logits_final", "argmax", "logprob_next")}


def compare(lamina, cases):
    """A TAP line for each (name, function that writes plain and coded under a folder). Returns how many failed."""
    failed = 0
    print(f"1..{len(cases)}")
    for number, (name, make_both) in enumerate(cases, 1):
        with tempfile.TemporaryDirectory() as base:
            try:
                make_both(base)
                same = logits(lamina, f"{base}/plain", f"{base}/a") == logits(lamina, f"{base}/coded", f"{base}/b")
                words = "logits equal those of fp32 weights" if same else "logits differ from those of fp32 weights"
            except (RuntimeError, KeyError, subprocess.TimeoutExpired) as e:
                same, words = False, str(e)
            failed += not same
            print(f"{'ok' if same else 'not ok'} {number} - {name}: {words}", flush=True)
    return failed


def main():
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    packed = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    forms = [(LLAMA, "block", "F32", fp8), (LLAMA, "block", "BF16", fp8), (LLAMA, "row", "F32", packed),
             (LLAMA, "row", "BF16", {"quant_method": "fbgemm_fp8"}), (LLAMA, "all", "F32", packed), (LLAMA, "all", "BF16", fp8),
             (PHI3, "block", "BF16", fp8), (PHI3, "row", "F32", packed),
             (DEEPSEEK, "block", "F32", fp8), (DEEPSEEK, "row", "BF16", packed), (DEEPSEEK, "all", "F32", packed),
             (STACKED, "block", "BF16", fp8), (STACKED, "row", "F32", fp8), (STACKED, "all", "BF16", fp8)]
    cases = [(f"{config['architectures'][0][:-11]} in FP8, scales {form} in {dtype}, {method['quant_method']}",
              lambda base, c=config, f=form, d=dtype, m=method: make(base, c, f, d, m)) for config, form, dtype, method in forms]
    return 1 if compare(sys.argv[1], cases) else 0


if __name__ == "__main__":
    sys.exit(main())
