#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""FP8 checkpoints of every form against the same weights in fp32: logits equal bit for bit. TAP on stdout.

usage: run_coded.py LAMINA [TESTDATA, not needed]

A small model of random weights is written once with fp32 weights that FP8 codes and scales stand for, and once with the codes:
scales per 128 x 128 block, per row, and for all; in float32 and bfloat16; with the scales of activations that are dropped. The
models are a Llama, a Phi-3, whose fused matrices are cut within blocks, and a DeepSeek-V3 whose latents, heads and experts begin
and end within blocks, with its layer of predictions; a Mistral 4, whose experts are stacked; and a Llama 4 and a Qwen3-VL with
experts, whose experts are stacked and lie [in, out].
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

# Stacked experts [in, out], which are no whole blocks.
LLAMA4 = {"architectures": ["Llama4ForCausalLM"], "model_type": "llama4_text", "hidden_size": 160, "intermediate_size": 136,
          "intermediate_size_mlp": 304, "num_hidden_layers": 3, "interleave_moe_layer_step": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "head_dim": 40, "num_local_experts": 3, "num_experts_per_tok": 1, "vocab_size": VOCAB,
          "rms_norm_eps": 1e-5, "attention_chunk_size": 64, "use_qk_norm": True, "max_position_embeddings": 512}
QWEN3VL = {"architectures": ["Qwen3VLMoeForConditionalGeneration"], "model_type": "qwen3_vl_moe", "hidden_size": 288,
           "intermediate_size": 304, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 40,
           "moe_intermediate_size": 200, "num_experts": 4, "num_experts_per_tok": 2, "vocab_size": VOCAB, "rms_norm_eps": 1e-6,
           "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True, "max_position_embeddings": 512}


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


def turned_shapes(c):
    hidden, head, llama = c["hidden_size"], c["head_dim"], c is LLAMA4
    experts, ffn = c.get("num_local_experts", c.get("num_experts")), c["intermediate_size" if llama else "moe_intermediate_size"]
    root, mlp = ("model.", "feed_forward") if llama else ("model.language_model.", "mlp")
    yield root + "embed_tokens.weight", (VOCAB, hidden), "F32"
    yield "lm_head.weight", (VOCAB, hidden), "F32"
    yield root + "norm.weight", (hidden,), "F32"
    for i in range(c["num_hidden_layers"]):
        p, wide = f"{root}layers.{i}.", []
        for name, heads in (("q", 4), ("k", 2), ("v", 2)):
            yield f"{p}self_attn.{name}_proj.weight", (heads * head, hidden), None
        yield p + "self_attn.o_proj.weight", (hidden, 4 * head), None
        yield p + "input_layernorm.weight", (hidden,), "F32"
        yield p + "post_attention_layernorm.weight", (hidden,), "F32"
        if llama:
            sparse = i % c["interleave_moe_layer_step"] == c["interleave_moe_layer_step"] - 1
            wide = [(f"{mlp}.shared_expert.", ffn)] if sparse else [(f"{mlp}.", c["intermediate_size_mlp"])]
        else:
            sparse = True
            yield p + "self_attn.q_norm.weight", (head,), "F32"
            yield p + "self_attn.k_norm.weight", (head,), "F32"
        if sparse:
            yield f"{p}{mlp}.{'router' if llama else 'gate'}.weight", (experts, hidden), "BF16"
            yield f"{p}{mlp}.experts.gate_up_proj", (experts, hidden, 2 * ffn), None
            yield f"{p}{mlp}.experts.down_proj", (experts, ffn, hidden), None
        for place, width in wide:
            yield f"{p}{place}gate_proj.weight", (width, hidden), None
            yield f"{p}{place}up_proj.weight", (width, hidden), None
            yield f"{p}{place}down_proj.weight", (hidden, width), None


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


def quantised(rng, shape, form, dtype, turned=False):
    """Codes, the shape and bytes of their scales, and the fp32 bytes of what both stand for. Rows of turned ones are columns."""
    if len(shape) == 3:
        one = rounded(rng.uniform(0.5, 1.5) / shape[1] ** 0.5, dtype) if form == "whole" else None
        codes, grids, scales, values = zip(*(one_matrix(rng, shape[1:], form, dtype, turned, one) for _ in range(shape[0])))
        if form == "whole":
            return b"".join(codes), (1,), scales[0], b"".join(values)
        grid = (shape[0], *grids[0], *((1,) if form == "all" else ()))
        grid = (shape[0], shape[2], 1) if form == "rows, upright" and turned else grid
        return b"".join(codes), grid, b"".join(scales), b"".join(values)
    return one_matrix(rng, shape, form, dtype, False, None)


def one_matrix(rng, shape, form, dtype, turned, given):
    rows, cols = shape
    form = {"whole": "all", "rows, upright": "row"}.get(form, form)
    grid = {"block": (-(-rows // 128), -(-cols // 128)), "row": (1, cols) if turned else (rows, 1), "all": (1,)}[form]
    count = grid[0] * (grid[1] if len(grid) > 1 else 1)
    scales = [given or rounded(rng.uniform(0.5, 1.5) / (rows if turned else cols) ** 0.5, dtype) for _ in range(count)]
    codes = rng.randbytes(rows * cols).translate(bytes(c & 0xBF for c in range(256)))  # below 2, and no NaN
    table = [e4m3(c) for c in range(256)]
    width = 128 if form == "block" else 1 if form == "row" and turned else cols
    values = []
    for r in range(rows):
        for c in range(0, cols, width):
            place = {"block": r // 128 * grid[-1] + c // 128, "row": c if turned else r, "all": 0}[form]
            scale = scales[place][1]
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
    turned = config is LLAMA4 or config is QWEN3VL
    for name, shape, kept in (turned_shapes if turned else deepseek_shapes if "kv_lora_rank" in config else llama_shapes)(config):
        if kept is None:
            codes, grid, scales, values = quantised(rng, shape, form, dtype, turned)
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


def compare(lamina, cases, more=0):
    """A TAP line for each (name, function that writes plain and coded under a folder). Returns how many failed."""
    failed = 0
    print(f"1..{len(cases) + more}")
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


def refuse(lamina, first):
    """Stacked codes [in, out] that are taken for nothing else: exit status and a word of the message of each."""
    def edited(base, edit):
        with open(f"{base}/coded/model.safetensors", "rb") as f:
            header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
            data = f.read()
        for name, entry in header.items():
            edit(name, entry)
        text = json.dumps(header).encode()
        with open(f"{base}/coded/model.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + data)

    def as_int8(name, entry):
        entry["dtype"] = "I8" if name.endswith("experts.down_proj") else entry["dtype"]

    def other_scales(name, entry):
        if name.endswith("experts.down_proj_scale_inv"):
            entry["shape"] = [entry["shape"][0] * entry["shape"][2], 1, entry["shape"][1]]

    failed = 0
    for number, (words, blocks, edit, code, said) in enumerate((
            ("int8 codes", [128, 128], as_int8, 9, "int8 codes of stacked experts"),
            ("blocks that are no squares", [128, 120], None, 9, "blocks of 128 x 120 weights"),
            ("scales of another shape", [128, 128], other_scales, 8, "scales do not belong to")), first):
        with tempfile.TemporaryDirectory() as base:
            make(base, QWEN3VL, "block", "F32", {"quant_method": "fp8", "weight_block_size": blocks})
            if edit is not None:
                edited(base, edit)
            done = subprocess.run([lamina, "logits", f"{base}/coded", "--ids", "5", "-q", "--home", f"{base}/home"],
                                  capture_output=True, text=True, timeout=60)
            good = done.returncode == code and said in done.stderr
            failed += not good
            print(f"{'ok' if good else 'not ok'} {number} - stacked [in, out], {words}: exit {done.returncode}, "
                  f"{done.stderr.strip() if not good else 'refused'}")
    return failed


def main():
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    packed = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    forms = [(LLAMA, "block", "F32", fp8), (LLAMA, "block", "BF16", fp8), (LLAMA, "row", "F32", packed),
             (LLAMA, "row", "BF16", {"quant_method": "fbgemm_fp8"}), (LLAMA, "all", "F32", packed), (LLAMA, "all", "BF16", fp8),
             (PHI3, "block", "BF16", fp8), (PHI3, "row", "F32", packed),
             (DEEPSEEK, "block", "F32", fp8), (DEEPSEEK, "row", "BF16", packed), (DEEPSEEK, "all", "F32", packed),
             (STACKED, "block", "BF16", fp8), (STACKED, "row", "F32", fp8), (STACKED, "all", "BF16", fp8),
             (QWEN3VL, "block", "F32", fp8), (QWEN3VL, "block", "BF16", fp8), (QWEN3VL, "row", "F32", packed),
             (QWEN3VL, "all", "F32", fp8), (LLAMA4, "row", "F32", {"quant_method": "fbgemm_fp8"}),
             (LLAMA4, "rows, upright", "F32", {"quant_method": "fbgemm_fp8"}), (LLAMA4, "block", "BF16", fp8),
             (LLAMA4, "whole", "F32", fp8)]
    cases = [(f"{config['architectures'][0][:-11]} in FP8, scales {form} in {dtype}, {method['quant_method']}",
              lambda base, c=config, f=form, d=dtype, m=method: make(base, c, f, d, m)) for config, form, dtype, method in forms]
    failed = compare(sys.argv[1], cases, 3)
    return 1 if failed + refuse(sys.argv[1], len(cases) + 1) else 0


if __name__ == "__main__":
    sys.exit(main())
