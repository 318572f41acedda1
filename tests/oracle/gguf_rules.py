# SPDX-License-Identifier: Apache-2.0
"""What converters make of a published checkpoint in GGUF: names, orders of rows, and keys of the metadata, for run_gguf.py.

The rules are those of the converter that GGUF comes from, written again from their description. Where the format has no key for
what a test's small model needs, and a real model does not (a window, a factor that goes by the number of layers), a key that the
format has for other architectures is written.
"""
import math
import re

from gguf_files import Tensor, encoded, joined, mxfp4_blocks, stacked, write_gguf

# config.json's architecture -> GGUF's
ARCHITECTURES = {
    "LlamaForCausalLM": "llama", "MistralForCausalLM": "llama", "MixtralForCausalLM": "llama", "InternLM3ForCausalLM": "llama",
    "Ministral3ForCausalLM": "mistral3", "Llama4ForCausalLM": "llama4", "QWenLMHeadModel": "qwen", "Qwen2ForCausalLM": "qwen2",
    "Qwen2MoeForCausalLM": "qwen2moe", "Qwen3ForCausalLM": "qwen3", "Qwen3MoeForCausalLM": "qwen3moe",
    "Qwen3NextForCausalLM": "qwen3next", "Qwen3_5ForCausalLM": "qwen35", "Qwen3_5ForConditionalGeneration": "qwen35",
    "Qwen3_5MoeForCausalLM": "qwen35moe", "GemmaForCausalLM": "gemma", "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3", "Gemma4ForCausalLM": "gemma4", "PhiForCausalLM": "phi2", "Phi3ForCausalLM": "phi3", "Starcoder2ForCausalLM": "starcoder2",
    "GPT2LMHeadModel": "gpt2", "GPTNeoXForCausalLM": "gptneox", "FalconForCausalLM": "falcon", "StableLmForCausalLM": "stablelm",
    "CohereForCausalLM": "command-r", "Cohere2ForCausalLM": "cohere2", "Olmo2ForCausalLM": "olmo2", "Olmo3ForCausalLM": "olmo2",
    "GraniteForCausalLM": "granite", "Ernie4_5ForCausalLM": "ernie4_5", "BaichuanForCausalLM": "baichuan",
    "BaiChuanForCausalLM": "baichuan", "ChatGLMModel": "chatglm", "GlmForCausalLM": "chatglm", "Glm4ForCausalLM": "glm4",
    "Glm4MoeForCausalLM": "glm4moe", "InternLM2ForCausalLM": "internlm2", "DeepseekV2ForCausalLM": "deepseek2",
    "DeepseekV3ForCausalLM": "deepseek2", "Glm4MoeLiteForCausalLM": "deepseek2", "MiniMaxM2ForCausalLM": "minimax-m2",
    "KimiLinearForCausalLM": "kimi-linear", "GptOssForCausalLM": "gpt-oss", "OlmoForCausalLM": "olmo", "OlmoeForCausalLM": "olmoe",
    "SmolLM3ForCausalLM": "smollm3", "SeedOssForCausalLM": "seed_oss", "ArceeForCausalLM": "arcee", "BloomForCausalLM": "bloom",
    "Exaone4ForCausalLM": "exaone4", "HunYuanDenseV1ForCausalLM": "hunyuan-dense", "HunYuanMoEV1ForCausalLM": "hunyuan-moe",
    "Dots1ForCausalLM": "dots1", "GraniteMoeSharedForCausalLM": "granitemoe", "Ernie4_5_MoeForCausalLM": "ernie4_5-moe",
    "GPTBigCodeForCausalLM": "starcoder", "NemotronForCausalLM": "nemotron", "MPTForCausalLM": "mpt",
    "BailingMoeV2ForCausalLM": "bailingmoe2", "ExaoneMoEForCausalLM": "exaone-moe", "DeepseekV32ForCausalLM": "deepseek32",
    "GlmMoeDsaForCausalLM": "glm-dsa"}
LATENT = ("deepseek2", "deepseek32", "glm-dsa")
PERMUTED = ("llama", "mistral3", "granite", "baichuan", "internlm2", "olmo", "smollm3", "arcee", "granitemoe")  # pairs of halves become neighbours
TILED = ("qwen35", "qwen35moe")  # heads of values lie so that repeating all heads of keys in turn fits them
DELTA = ("qwen3next",) + TILED
PLUS_ONE = ("gemma", "gemma2", "gemma3", "nemotron") + DELTA
LATER_NORM = ("glm4moe", "gpt-oss", "seed_oss") + DELTA  # the norm before the MLP is called post_attention_norm

ENDS = {"embed_tokens": "token_embd", "tok_embeddings": "token_embd", "word_embeddings": "token_embd", "wte": "token_embd",
        "embed_in": "token_embd", "embedding.word_embeddings": "token_embd", "wpe": "position_embd", "lm_head": "output",
        "embed_out": "output", "output_layer": "output", "output": "output", "norm": "output_norm", "ln_f": "output_norm",
        "final_layernorm": "output_norm", "final_layer_norm": "output_norm", "embed_tokens_per_layer": "per_layer_token_embd",
        "word_embeddings_layernorm": "token_embd_norm", "norm_f": "output_norm",
        "per_layer_model_projection": "per_layer_model_proj", "per_layer_projection_norm": "per_layer_proj_norm"}
STEMS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.dense": "attn_output", "self_attn.qkv_proj": "attn_qkv", "self_attention.query_key_value": "attn_qkv",
    "attention.query_key_value": "attn_qkv", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "attention.dense": "attn_output", "self_attention.dense": "attn_output", "attention.wo": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
    "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "mlp.w1": "ffn_up",
    "mlp.w2": "ffn_gate", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down", "feed_forward.w1": "ffn_gate",
    "feed_forward.w3": "ffn_up", "feed_forward.w2": "ffn_down", "feed_forward.gate_proj": "ffn_gate",
    "feed_forward.up_proj": "ffn_up", "feed_forward.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "ln_1": "attn_norm", "attention_norm": "attn_norm", "ln_mlp": "attn_norm",
    "ln_attn": "attn_norm_2", "ln_2": "ffn_norm", "ffn_norm": "ffn_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm", "post_mlp_layernorm": "post_ffw_norm",
    "post_self_attn_layernorm": "post_attention_norm", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate": "ffn_gate_inp", "mlp.router": "ffn_gate_inp", "block_sparse_moe.gate": "ffn_gate_inp",
    "feed_forward.router": "ffn_gate_inp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_b_proj": "attn_q_b", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "linear_attn.in_proj_ba": "ssm_ba", "linear_attn.in_proj_qkv": "attn_qkv", "linear_attn.in_proj_z": "attn_gate",
    "linear_attn.in_proj_b": "ssm_beta", "linear_attn.in_proj_a": "ssm_alpha", "linear_attn.conv1d": "ssm_conv1d",
    "linear_attn.norm": "ssm_norm",
    "linear_attn.out_proj": "ssm_out", "self_attn.q_conv1d": "ssm_conv1d_q", "self_attn.k_conv1d": "ssm_conv1d_k",
    "self_attn.v_conv1d": "ssm_conv1d_v", "self_attn.f_a_proj": "ssm_f_a", "self_attn.f_b_proj": "ssm_f_b",
    "self_attn.b_proj": "ssm_beta", "self_attn.g_a_proj": "ssm_g_a", "self_attn.g_b_proj": "ssm_g_b", "self_attn.o_norm": "ssm_norm",
    "per_layer_input_gate": "inp_gate", "per_layer_projection": "proj", "post_per_layer_input_norm": "post_norm",
    "eh_proj": "nextn.eh_proj", "enorm": "nextn.enorm", "hnorm": "nextn.hnorm", "embed_tokens": "nextn.embed_tokens",
    "shared_head.head": "nextn.shared_head_head", "shared_head.norm": "nextn.shared_head_norm"}
STEMS.update({"attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output", "ffn.up_proj": "ffn_up", "ffn.down_proj": "ffn_down",
              "norm_1": "attn_norm", "norm_2": "ffn_norm", "self_attn.query_layernorm": "attn_q_norm",
              "self_attn.key_layernorm": "attn_k_norm", "attention.query_layernorm": "attn_q_norm",
              "attention.key_layernorm": "attn_k_norm", "self_attn.indexer.wq_b": "indexer.attn_q_b",
              "self_attn.indexer.wk": "indexer.attn_k", "self_attn.indexer.k_norm": "indexer.k_norm",
              "self_attn.indexer.weights_proj": "indexer.proj", "mlp.gate.wg": "ffn_gate_inp",
              "block_sparse_moe.router.layer": "ffn_gate_inp", "block_sparse_moe.output_linear": "ffn_down_exps",
              "shared_mlp.output_linear": "ffn_down_shexp"})
STEMS.update({"router.proj": "ffn_gate_inp", "experts.down_proj": "ffn_down_exps",
              "post_feedforward_layernorm_1": "post_ffw_norm_1", "pre_feedforward_layernorm_2": "pre_ffw_norm_2",
              "post_feedforward_layernorm_2": "post_ffw_norm_2"})
SCALES = {"router.scale": "ffn_gate_inp.scale", "router.per_expert_scale": "ffn_down_exps.scale"}
for _part in ("gate", "up", "down"):
    for _path in ("mlp.shared_expert", "mlp.shared_experts", "feed_forward.shared_expert", "block_sparse_moe.shared_experts",
                  "mlp.shared_mlp"):
        STEMS[f"{_path}.{_part}_proj"] = f"ffn_{_part}_shexp"
EXPERTS = {"gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps", "w1": "ffn_gate_exps",
           "w3": "ffn_up_exps", "w2": "ffn_down_exps"}
SKIPPED = re.compile(r"inv_freq$|\.(attn|attention)\.(masked_)?bias$|^visual\.|^mtp\.")  # nothing is predicted further
ROOTS = re.compile(r"^(model\.|language_model\.|transformer\.|gpt_neox\.|encoder\.)+")


class Conversion:
    """`other`: tensors that older or newer converters, or the tool that quantises, write in another form are in that form."""

    def __init__(self, config, tensors, other=False):
        self.arch = ARCHITECTURES[config["architectures"][0]]
        self.c, self.source, self.other = {**config, **config.get("text_config", {})}, tensors, other
        self.metadata, self.out, self.experts = {"general.architecture": self.arch}, [], {}
        self.layers = self.pick("num_hidden_layers", "num_layers", "n_layer", "n_layers")
        self.hidden = self.pick("hidden_size", "n_embd", "n_embed", "d_model")
        self.heads = self.pick("num_attention_heads", "n_head", "n_heads")
        self.kv_heads = self.pick("num_key_value_heads", "num_kv_heads", "multi_query_group_num", otherwise=(
            1 if self.arch in ("falcon", "starcoder") else self.heads))
        self.head_dim = self.pick("head_dim", "kv_channels", otherwise=self.hidden // self.heads)

    def pick(self, *keys, otherwise=None):
        return next((self.c[k] for k in keys if self.c.get(k) is not None), otherwise)

    # ---- tensors ----

    def add(self, name, tensor):
        """In the type it was stored in where converters keep matrices in one, else F32."""
        kept = len(tensor.shape) >= 2 and name.endswith(".weight") and not re.search(
            r"_norm\.weight|ffn_gate_inp\.|position_embd|ssm_conv1d", name)
        kind = tensor.kind if kept else "F32"
        self.out.append((name, tensor.shape, kind, encoded(tensor, kind)))

    def permuted(self, tensor, heads):
        size = tensor.shape[0] // heads
        return tensor.rows([h * size + j * size // 2 + i for h in range(heads) for i in range(size // 2) for j in (0, 1)])

    def add_query(self, name, tensor, heads):
        self.add(name, self.permuted(tensor, heads) if self.arch in PERMUTED else tensor)

    def take_apart(self, layer, stem, tensor, ending):
        """Matrices that GGUF has in another form. False: not one of these."""
        name, dim = f"blk.{layer}.", self.head_dim
        each = self.heads // self.kv_heads
        if stem == "self_attn.W_pack":
            third = self.heads * dim
            for i, part in enumerate("qkv"):
                rows = tensor.rows(range(i * third, (i + 1) * third))
                self.add(f"{name}attn_{part}.weight", rows if part == "v" else self.permuted(rows, self.heads))
        elif stem == "attention.wqkv":
            for part, rows in self.groups(tensor, each, dim):
                heads = {"q": self.heads, "k": self.kv_heads}.get(part)
                self.add(f"{name}attn_{part}.weight", self.permuted(rows, heads) if heads else rows)
        elif self.arch in ("falcon", "gptneox", "bloom") and STEMS.get(stem) == "attn_qkv":
            self.add(f"{name}attn_qkv{ending}", joined([rows for _, rows in self.groups(tensor, each, dim)]))
        elif stem == "self_attn.kv_b_proj":
            self.latent(name, tensor)
        elif stem == "linear_attn.in_proj_qkvz":
            self.delta_inputs(name, tensor)
        elif stem == "self_attn.qkv_proj" and self.other:
            sizes = [self.heads * dim, self.kv_heads * dim, self.kv_heads * dim]
            for i, part in enumerate("qkv"):
                self.add(f"{name}attn_{part}.weight", tensor.rows(range(sum(sizes[:i]), sum(sizes[:i + 1]))))
        elif stem == "mlp.gate_up_proj" and self.other:
            half = tensor.shape[0] // 2
            self.add(f"{name}ffn_gate.weight", tensor.rows(range(half)))
            self.add(f"{name}ffn_up.weight", tensor.rows(range(half, 2 * half)))
        elif stem == "mlp.shared_expert_gate" and self.other:
            self.add(f"{name}ffn_gate_inp_shexp.weight", tensor.shaped(tensor.shape[1]))
        elif stem.startswith(("mlp.experts.", "feed_forward.experts.")) and not stem[-1].isdigit() and stem.count(".") == 2:
            self.stacked_experts(name, stem.split(".")[2], tensor)
        elif stem == "block_sparse_moe.input_linear":
            self.plain_experts(name, tensor, True)
        elif stem == "shared_mlp.input_linear":
            half = tensor.shape[0] // 2
            self.add(f"{name}ffn_gate_shexp.weight", tensor.rows(range(half)))
            self.add(f"{name}ffn_up_shexp.weight", tensor.rows(range(half, 2 * half)))
        elif stem == "mlp.moe_statics.e_score_correction_bias":
            self.add(f"{name}exp_probs_b.bias", tensor.shaped(tensor.shape[-1]))
        elif stem in ("mlp.gate.e_score_correction_bias", "block_sparse_moe.e_score_correction_bias", "mlp.gate.expert_bias",
                      "mlp.e_score_correction_bias",
                      "block_sparse_moe.gate.e_score_correction_bias"):
            self.add(f"{name}exp_probs_b.bias", tensor)
        elif stem.endswith(".A_log"):
            shape = tensor.shape
            self.add(f"{name}ssm_a", tensor.mapped(lambda x: -math.exp(x)).shaped(*shape))
        elif stem.endswith(".dt_bias"):
            self.add(f"{name}ssm_dt.bias", tensor)
        elif stem == "self_attn.sinks":
            self.add(f"{name}attn_sinks.weight", tensor)
        elif stem in SCALES:
            self.add(name + SCALES[stem], tensor)
        elif stem == "experts.gate_up_proj":
            self.plain_experts(name, tensor)
        elif stem == "layer_scalar":
            self.add(f"{name}layer_output_scale.weight", tensor)
        else:
            return False
        return True

    def groups(self, tensor, each, dim):
        """Groups of queries with their key and their value -> all Q, all K, all V."""
        step = (each + 2) * dim
        first = range(0, self.kv_heads * step, step)
        yield "q", tensor.rows([g + i for g in first for i in range(each * dim)])
        yield "k", tensor.rows([g + each * dim + i for g in first for i in range(dim)])
        yield "v", tensor.rows([g + (each + 1) * dim + i for g in first for i in range(dim)])

    def latent(self, name, tensor):
        plain, value, latent = self.c["qk_nope_head_dim"], self.c["v_head_dim"], self.c["kv_lora_rank"]
        heads = [h * (plain + value) for h in range(self.heads)]
        if self.other:
            self.add(name + "attn_kv_b.weight", tensor)
            return
        keys = tensor.rows([h + i for h in heads for i in range(plain)]).shaped(self.heads, plain, latent)
        self.add(name + "attn_k_b.weight", keys.turned())
        values = tensor.rows([h + plain + i for h in heads for i in range(value)])
        self.add(name + "attn_v_b.weight", values.shaped(self.heads, value, latent))

    def delta_inputs(self, name, tensor):
        keys, heads = self.c["linear_num_key_heads"], self.c["linear_num_value_heads"]
        sizes = [self.c["linear_key_head_dim"]] * 2 + [heads // keys * self.c["linear_value_head_dim"]] * 2
        parts, at = [], 0
        if self.other:
            self.add(name + "ssm_in.weight", tensor)
            return
        for size in sizes:
            parts.append(tensor.rows([g * sum(sizes) + at + i for g in range(keys) for i in range(size)]))
            at += size
        self.add(name + "attn_qkv.weight", joined(parts[:3]))
        self.add(name + "attn_gate.weight", parts[3])

    def tiled(self, stem, tensor):
        """Linear attention's heads of values, which lie by the head of keys they belong to: all first ones, all second ones, ..."""
        keys, heads, dim = self.c["linear_num_key_heads"], self.c["linear_num_value_heads"], self.c["linear_value_head_dim"]
        part = stem.removeprefix("linear_attn.")
        if part in ("norm", "norm.weight"):
            return tensor
        size = 1 if part in ("in_proj_a", "in_proj_b", "A_log", "dt_bias") else dim
        before = 2 * keys * self.c["linear_key_head_dim"] if part in ("in_proj_qkv", "conv1d") else 0
        each = heads // keys
        first = [before + (k * each + i) * size for i in range(each) for k in range(keys)]
        order = [*range(before)] + [f + d for f in first for d in range(size)]
        return tensor.turned().rows(order).turned() if part == "out_proj" else tensor.rows(order)

    def stacked_experts(self, name, part, tensor):
        """Published in one tensor, gate and up together: [experts, in, out], halves or in turn; or codes [experts, out, groups, 16]."""
        in_turn = self.arch == "gpt-oss"
        if part.endswith("_scales"):
            return
        if part.endswith("_blocks"):
            scales = self.source[f"model.layers.{name[4:-1]}.mlp.experts.{part[:-7]}_scales"]
            self.coded_experts(name, part[:-7], tensor, scales)
            return
        bias = part.endswith("_bias")
        part = part.removesuffix("_bias")
        ending = "bias" if bias else "weight"
        wide = tensor.shaped(tensor.shape[0], tensor.shape[1], 1) if bias else tensor.turned()
        if part == "down_proj":
            self.add(f"{name}ffn_down_exps.{ending}", wide.shaped(*wide.shape[:2]) if bias else wide)
            return
        experts, rows, cols = wide.shape
        flat = wide.shaped(experts * rows, cols)
        for i, which in enumerate(("gate", "up")):
            numbers = range(i, rows, 2) if in_turn else range(i * rows // 2, (i + 1) * rows // 2)
            half = flat.rows([e * rows + r for e in range(experts) for r in numbers])
            self.add(f"{name}ffn_{which}_exps.{ending}", half.shaped(*([experts, rows // 2] + ([] if bias else [cols]))))

    def plain_experts(self, name, tensor, apart=False):
        """Published in one tensor as GGUF has it, or takes apart: [experts, gate rows, then up rows, in]."""
        if not (self.other or apart):
            self.add(name + "ffn_gate_up_exps.weight", tensor)
            return
        experts, rows, cols = tensor.shape
        for i, which in enumerate(("gate", "up")):
            numbers = [e * rows + i * rows // 2 + r for e in range(experts) for r in range(rows // 2)]
            half = tensor.shaped(experts * rows, cols).rows(numbers)
            self.add(f"{name}ffn_{which}_exps.weight", half.shaped(experts, rows // 2, cols))

    def coded_experts(self, name, part, blocks, scales):
        experts, rows, groups, _ = blocks.shape
        flat, flat_scales = blocks.shaped(experts * rows, groups * 16), scales.shaped(experts * rows, groups)
        parts = [("down", 0, 1)] if part == "down_proj" else [("gate", 0, 2), ("up", 1, 2)]
        for which, first, step in parts:
            numbers = [e * rows + r for e in range(experts) for r in range(first, rows, step)]
            raw = mxfp4_blocks(flat.rows(numbers), flat_scales.rows(numbers))
            self.out.append((f"{name}ffn_{which}_exps.weight", [experts, rows // step, groups * 32], "MXFP4", raw))

    def convert_layer(self, layer, rest, tensor):
        stem, ending = rest, ""
        for e in (".weight", ".bias"):
            if rest.endswith(e):
                stem, ending = rest[:-len(e)], e
        expert = re.match(r"(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)$", stem)
        if expert:
            self.experts.setdefault((layer, EXPERTS[expert.group(2)]), {})[int(expert.group(1))] = tensor
            return
        head = re.match(r"self_attn\.([qk])_layernorm\.norms\.(\d+)$", stem)
        if head:  # stacked as experts are
            self.experts.setdefault((layer, f"attn_{head.group(1)}_norm"), {})[int(head.group(2))] = tensor
            return
        if self.arch == "deepseek2" and layer >= self.layers:
            return  # layers for predicting further tokens are dropped
        if self.arch in TILED and stem.startswith("linear_attn."):
            tensor = self.tiled(stem, tensor)
        if self.take_apart(layer, stem, tensor, ending):
            return
        if stem == "post_attention_layernorm":
            later = self.arch in LATER_NORM or self.arch in ("gemma2", "gemma3", "gemma4", "olmo2", "exaone4")
            new = "post_attention_norm" if later else "ffn_norm"
            if self.arch == "glm4":
                new = "ffn_norm"
        else:
            new = STEMS[stem]
        if self.arch == "gpt2" and len(tensor.shape) == 2:
            tensor = tensor.turned()
        if self.arch in PLUS_ONE and "norm" in new and new != "ssm_norm" and ending != ".bias":
            tensor = tensor.mapped(lambda x: x + 1.0)
        if new.startswith("ssm_conv1d"):
            channels, taps = tensor.shape[0], tensor.shape[-1]
            tensor = tensor.shaped(*([1, channels, 1, taps] if self.arch == "kimi-linear" else [channels, taps]))
        name = f"blk.{layer}.{new}{ending or '.weight'}"
        if new in ("attn_q", "attn_k") and (self.arch != "kimi-linear"):
            self.add_query(name, tensor, self.heads if new == "attn_q" else self.kv_heads)
        else:
            self.add(name, tensor)

    def convert(self):
        tied = self.pick("tie_word_embeddings", otherwise=self.arch in (
            "gemma", "gemma2", "gemma3", "gemma4", "falcon", "starcoder2", "gpt2", "command-r", "cohere2", "bloom",
            "starcoder", "mpt", "ernie4_5-moe"))
        for name, tensor in self.source.items():
            name = ROOTS.sub("", name)
            inner = re.match(r"(?:layers|h|blocks)\.(\d+)\.(.+)$", name)
            if SKIPPED.search(name):
                continue
            if inner:
                self.convert_layer(int(inner.group(1)), inner.group(2), tensor)
                continue
            stem, _, ending = name.rpartition(".")
            new = ENDS[stem]
            if new == "output" and tied:
                continue
            if self.arch in PLUS_ONE and new == "output_norm" and ending == "weight":
                tensor = tensor.mapped(lambda x: x + 1.0)
            if new == "output" and self.c.get("tokenizer_class") == "BaichuanTokenizer":
                tensor = unit_rows(tensor)  # what the authors say to do for programs without a normed head
            self.add(f"{new}.{ending}", tensor)
        for (layer, name), parts in self.experts.items():
            if self.arch == "deepseek2" and layer >= self.layers or self.other and name == "ffn_up_exps":
                continue
            tensors = [parts[i] for i in range(len(parts))]
            if self.other and name == "ffn_gate_exps":
                ups = self.experts[layer, "ffn_up_exps"]
                name, tensors = "ffn_gate_up_exps", [joined([t, ups[i]]) for i, t in enumerate(tensors)]
            self.add(f"blk.{layer}.{name}.weight", stacked(tensors))

    # ---- metadata ----

    def put(self, key, value):
        if value is not None:
            self.metadata[f"{self.arch}.{key}"] = value

    def put_rope(self):
        c = self.c
        scaling = c.get("rope_scaling") or c.get("rope_parameters") or {}
        kind = scaling.get("rope_type", scaling.get("type"))
        theta = self.pick("rope_theta", "rotary_emb_base", otherwise=scaling.get("rope_theta"))
        if self.arch == "gemma4":
            self.put_two_forms(scaling)
            return
        if self.arch == "chatglm":
            theta = theta or 10000 * c.get("rope_ratio", 1)
        if theta is not None and scaling.get("alpha"):
            theta *= scaling["alpha"] ** (self.head_dim / (self.head_dim - 2))
        if theta is not None:
            self.put("rope.freq_base", float(theta))
        if "mrope_section" in scaling:
            self.put("rope.dimension_sections", scaling["mrope_section"] + [0])
        if kind in ("linear", "yarn"):
            self.put("rope.scaling.type", kind)
            self.put("rope.scaling.factor", float(scaling["factor"]))
        if kind == "yarn":
            self.put("rope.scaling.original_context_length", scaling["original_max_position_embeddings"])
            for key, name in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow"), ("attention_factor", "attn_factor")):
                if key in scaling:
                    self.put("rope.scaling." + name, float(scaling[key]))
            if "mscale_all_dim" in scaling:
                self.put("rope.scaling.yarn_log_multiplier",
                         scaling["mscale_all_dim"] * (0.1 if self.arch in LATENT else 1.0))
            if "llama_4_scaling_beta" in scaling:
                self.put("attention.temperature_scale", scaling["llama_4_scaling_beta"])
        if kind == "llama3":
            self.rope_freqs(theta, scaling)
        if kind in ("longrope", "su"):
            most, original = c["max_position_embeddings"], c["original_max_position_embeddings"]
            for which in ("long", "short"):
                factors = scaling[which + "_factor"]
                self.add(f"rope_factors_{which}.weight", vector(factors))
            self.put("rope.scaling.attn_factor", math.sqrt(1 + math.log(most / original) / math.log(original)))
            self.put("rope.scaling.original_context_length", original)

    def put_two_forms(self, ropes):
        """Layers with a window and others, each with its heads, positions and widths."""
        c, full, windowed = self.c, self.c["global_head_dim"], self.c["head_dim"]
        shared = c["num_kv_shared_layers"]
        swa = [t == "sliding_attention" for t in c["layer_types"]]
        self.put("rope.freq_base", float(ropes["full_attention"]["rope_theta"]))
        self.put("rope.freq_base_swa", float(ropes["sliding_attention"]["rope_theta"]))
        self.put("rope.dimension_count", full)
        self.put("rope.dimension_count_swa", windowed)
        turning = int(full * ropes["full_attention"]["partial_rotary_factor"] / 2)
        self.add("rope_freqs.weight", vector([1.0] * turning + [1e30] * (full // 2 - turning)))
        for key, value in (("key_length", full), ("value_length", full), ("key_length_swa", windowed),
                           ("value_length_swa", windowed), ("shared_kv_layers", shared), ("sliding_window_pattern", swa)):
            self.put("attention." + key, value)
        self.put("embedding_length_per_layer_input", c["hidden_size_per_layer_input"])
        if c.get("num_global_key_value_heads"):
            self.put("attention.head_count_kv", [self.kv_heads if s else c["num_global_key_value_heads"] for s in swa])
        if c.get("use_double_wide_mlp"):
            self.put("feed_forward_length", [c["intermediate_size"] * (2 if i >= self.layers - shared else 1)
                                             for i in range(self.layers)])

    def rope_freqs(self, theta, s):
        """What each frequency is divided by."""
        low, high = s["low_freq_factor"], s["high_freq_factor"]
        original, factors = s["original_max_position_embeddings"], []
        for i in range(0, self.head_dim, 2):
            wave = 2 * math.pi * theta ** (i / self.head_dim)
            if wave < original / high:
                factors.append(1.0)
            elif wave > original / low:
                factors.append(float(s["factor"]))
            else:
                smooth = (original / wave - low) / (high - low)
                factors.append(1 / ((1 - smooth) / s["factor"] + smooth))
        self.add("rope_freqs.weight", vector(factors))

    def put_experts(self):
        c = self.c
        def first(value):  # of a list by layer
            return value[0] if isinstance(value, list) else value
        self.put("expert_count", self.pick("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"))
        self.put("expert_used_count", first(self.pick("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_k",
                                                      "moe_topk")))
        self.put("expert_feed_forward_length", first(self.pick("moe_intermediate_size", otherwise=(
            c["intermediate_size"] if self.arch in ("gpt-oss", "minimax-m2", "llama4") else None))))
        self.put("expert_shared_count", self.pick("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"))
        self.put("expert_shared_feed_forward_length", self.pick("shared_expert_intermediate_size", "shared_intermediate_size"))
        self.put("leading_dense_block_count", self.pick("first_k_dense_replace", "moe_layer_start_index", otherwise=(
            c.get("mlp_layer_types", []).count("dense") or None)))
        self.put("interleave_moe_layer_step", c.get("moe_layer_interval"))
        self.put("expert_weights_scale", c.get("routed_scaling_factor"))
        if self.arch in ("glm4moe", "dots1", "bailingmoe2", "exaone-moe", *LATENT):
            self.put("expert_weights_norm", c.get("norm_topk_prob"))
        if c.get("n_group", 1) > 1:
            self.put("expert_group_count", c["n_group"])
            self.put("expert_group_used_count", c["topk_group"])
        score = self.pick("scoring_func", "moe_router_activation_func", "score_function")
        if score or self.arch in ("glm4moe", "dots1", "exaone-moe") or c.get("topk_method") == "noaux_tc":
            self.put("expert_gating_func", {"softmax": 1, "sigmoid": 2}[score or "sigmoid"])

    def put_latents(self):
        c = self.c
        if c.get("kv_lora_rank"):
            rope, latent = c["qk_rope_head_dim"], c["kv_lora_rank"]
            self.put("attention.q_lora_rank", c.get("q_lora_rank"))
            self.put("attention.indexer.top_k", c.get("index_topk"))
            self.put("attention.kv_lora_rank", latent)
            self.put("rope.dimension_count", rope)
            if self.other:
                self.put("attention.key_length", c["qk_nope_head_dim"] + rope)
                self.put("attention.value_length", c["v_head_dim"])
                return
            self.put("attention.key_length", latent + rope)
            self.put("attention.value_length", latent)
            self.put("attention.key_length_mla", c["qk_nope_head_dim"] + rope)
            self.put("attention.value_length_mla", c["v_head_dim"])

    def put_delta(self):
        c = self.c
        if self.arch in DELTA:
            self.put("full_attention_interval", c.get("full_attention_interval"))
            self.put("ssm.conv_kernel", c["linear_conv_kernel_dim"])
            self.put("ssm.state_size", c["linear_key_head_dim"])
            self.put("ssm.group_count", c["linear_num_key_heads"])
            self.put("ssm.time_step_rank", c["linear_num_value_heads"])
            self.put("ssm.inner_size", c["linear_value_head_dim"] * c["linear_num_value_heads"])
        elif self.arch == "kimi-linear":
            linear = c["linear_attn_config"]
            self.put("ssm.conv_kernel", linear["short_conv_kernel_size"])
            self.put("kda.head_dim", linear["head_dim"])
            self.put("attention.head_count_kv", [int(i + 1 in linear["full_attn_layers"]) for i in range(self.layers)])

    def put_window(self):
        c, window = self.c, self.c.get("sliding_window")
        if self.arch == "llama4":
            window = c["attention_chunk_size"]
            self.put("attention.temperature_length", c["floor_scale"])
        if window is None or (self.arch.startswith("qwen") and not c.get("use_sliding_window")):
            return
        self.put("attention.sliding_window", window)
        if self.arch == "dots1":
            self.put("attention.sliding_window_pattern", [i >= c["max_window_layers"] for i in range(self.layers)])
        if self.arch in ("olmo2", "exaone4", "exaone-moe"):
            self.put("attention.sliding_window_pattern", [t == "sliding_attention" for t in c["layer_types"]])
        if self.arch.startswith("qwen"):
            self.put("attention.sliding_window_pattern", [i >= c["max_window_layers"] for i in range(self.layers)])

    def describe(self):
        c = self.c
        further = c.get("num_nextn_predict_layers", 0) if self.arch in ("glm4moe", "bailingmoe2", "exaone-moe", *LATENT[1:]) else 0
        self.put("block_count", self.layers + further)
        self.put("nextn_predict_layers", further or None)
        self.put("context_length", self.pick("max_position_embeddings", "seq_length", "n_positions", "model_max_length", "max_seq_len",
                                             otherwise=2048))
        self.put("embedding_length", self.hidden)
        self.put("feed_forward_length", self.pick("intermediate_size_mlp", "intermediate_size", "ffn_hidden_size", "n_inner",
                                                  otherwise=4 * self.hidden))
        self.put("attention.head_count", self.heads)
        self.put("attention.head_count_kv", self.kv_heads)
        self.put("attention.layer_norm_rms_epsilon", self.pick("rms_norm_eps", "layernorm_epsilon"))
        eps = self.pick("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps", otherwise=(
            1e-5 if self.arch in ("olmo", "mpt") else None))
        self.put("attention.layer_norm_rms_epsilon" if self.arch == "qwen" else "attention.layer_norm_epsilon", eps)
        if (c.get("head_dim") or self.head_dim != self.hidden // self.heads) and not c.get("kv_lora_rank"):
            self.put("attention.key_length", self.head_dim)
            self.put("attention.value_length", self.head_dim)
        share = self.pick("partial_rotary_factor", "rotary_pct", otherwise=(
            (c.get("rope_parameters") or {}).get("partial_rotary_factor", 0.5 if self.arch == "chatglm" else 1.0)))
        self.put("rope.dimension_count", c.get("rotary_dim", int(share * self.head_dim)))
        for key, name in (("attn_logit_softcapping",) * 2, ("final_logit_softcapping",) * 2, ("logit_scale",) * 2,
                          ("embedding_multiplier", "embedding_scale"), ("residual_multiplier", "residual_scale"),
                          ("attention_multiplier", "attention.scale"), ("logits_scaling", "logit_scale"),
                          ("use_parallel_residual",) * 2):
            self.put(name, c.get(key))
        if c.get("query_pre_attn_scalar"):
            self.put("attention.scale", c["query_pre_attn_scalar"] ** -0.5)
        self.put("attention.clamp_kqv", self.pick("clip_qkv", otherwise=c.get("attn_config", {}).get("clip_qkv")))
        if self.arch == "mpt" or self.arch == "baichuan" and "max_position_embeddings" not in c:
            self.put("attention.max_alibi_bias", 8.0)
        for part in (self.put_rope, self.put_experts, self.put_latents, self.put_delta, self.put_window):
            part()
        ends = c.get("eos_token_id")
        for key, value in (("bos", c.get("bos_token_id")), ("eos", ends if not isinstance(ends, list) else ends[0]),
                           ("eot", ends[1] if isinstance(ends, list) and len(ends) > 1 else None)):
            if value is not None:
                self.metadata[f"tokenizer.ggml.{key}_token_id"] = value

    def write(self, path):
        self.convert()
        self.describe()
        write_gguf(path, self.metadata, self.out)


def vector(values):
    import array
    return Tensor([len(values)], array.array("f", values), "F32")


def unit_rows(tensor):
    rows, cols = tensor.shape
    out = []
    for r in range(rows):
        row = tensor.data[r * cols:(r + 1) * cols]
        length = math.sqrt(sum(v * v for v in row))
        out += [v / length for v in row]
    scaled = vector(out)
    return scaled.shaped(rows, cols)
