#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random small models of every family against the reference framework: the same logits, or a refusal that says why. Needs torch and
transformers, so it is a tool and no test; what it finds belongs into tests/oracle/made (record_made.py).

usage: model_diff.py [LAMINA] [--kinds KIND,...] [--seeds FROM:TO] [--keep DIR]

A model is drawn from its kind (model_type) and a seed: shapes, switches, RoPE scaling, ties, windows, experts, each among values that
the class takes, then weights wide enough that no part of it could be left out unseen. It is saved as the framework saves it, sometimes
with the older keys of RoPE, and both programs read that folder: transformers in float32 with eager attention, `lamina logits`.
Prints a line per model that did not agree and a line per kind; exits 1 when logits differ. --keep: differing models stay in DIR.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter

warnings.filterwarnings("ignore")
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error")

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

KINDS = ("llama mistral ministral3 qwen2 qwen3 qwen2_moe qwen3_moe mixtral glm glm4 gemma gemma2 gemma3_text gemma4_text phi phi3 olmo2 "
         "olmo3 granite cohere cohere2 stablelm starcoder2 gpt2 gpt_neox falcon deepseek_v2 deepseek_v3 glm4_moe glm4_moe_lite gpt_oss "
         "llama4_text qwen3_next qwen3_5_text qwen3_5_moe_text kimi_linear minimax_m2 ernie4_5 smollm3 "
         "seed_oss arcee olmoe ernie4_5_moe nemotron exaone4 helium olmo vaultgemma hunyuan_v1_dense hunyuan_v1_moe granitemoe "
         "granitemoeshared dots1 phimoe gptj gpt_neo gpt_bigcode opt bloom mpt deepseek_v32 glm_moe_dsa youtu solar_open "
         "exaone_moe flex_olmo jais2 ministral hy_v3 mimo_v2_flash mllama_text_model "
         "afmoe mellum cwm hyperclovax").split()
# Hidden sizes are heads times the width of a head: where the class has no key for the width, or checks the product.
BY_HEADS = ("phi phi3 stablelm starcoder2 granite olmo2 olmo3 cohere cohere2 qwen2 qwen2_moe qwen3_moe glm4_moe falcon gpt_neox gemma "
            "gemma2 gemma3_text gemma4_text deepseek_v2 smollm3 arcee olmoe ernie4_5_moe exaone4 helium olmo vaultgemma granitemoe "
            "granitemoeshared dots1 phimoe opt bloom exaone_moe flex_olmo mllama_text_model cwm "
            "hyperclovax").split()
MIXED = ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "kimi_linear")  # every fourth layer attends, the others are linear
NO_WINDOW_WHERE_NULL = ("mistral", "phi3", "starcoder2", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "mixtral")
OLDER = {"gptj": "n_layer n_head n_embd n_positions", "gpt_bigcode": "n_layer n_head n_embd n_positions",
         "gpt_neo": "num_layers num_heads hidden_size max_position_embeddings", "mpt": "n_layers n_heads d_model max_seq_len",
         "bloom": "n_layer n_head hidden_size seq_length", "opt": "num_hidden_layers num_attention_heads hidden_size "
         "max_position_embeddings"}  # what they call layers, heads, width and positions
OWN_ROPE = ("gpt2", "gemma4_text", "phi3", "ministral3", "gpt_oss", "kimi_linear", "phimoe", *OLDER)  # no scaling is drawn
# Whose older keys are others, or default to a scaling.
OWN_DIALECT = ("gpt_neox", "falcon", "ministral3", "gpt_oss", "hunyuan_v1_dense", "hunyuan_v1_moe", *OLDER)
ACTIVATIONS = ("silu", "gelu", "gelu_pytorch_tanh", "gelu_new", "relu", "relu2")
OWN_CLASS = {"mllama_text_model": "MllamaForCausalLM"}  # text models that the automatic class does not know
FIXED_ACTIVATION = (*MIXED, "gemma", "gpt_oss", *OLDER)
LIMIT = 2e-3  # of the largest logit; float32 twice in another order stays near 1e-6, a missing part far above


def switches(draw, kind, keys):
    """Flags, drawn sometimes: silence has to be understood as well."""
    flags = ("attention_bias mlp_bias qkv_bias use_qkv_bias use_qk_norm qk_layernorm use_bias norm_topk_prob use_parallel_residual bias "
             "multi_query new_decoder_architecture attention_out_bias").split()
    latent = "kv_lora_rank" in keys or kind in MIXED
    return {k: draw.random() < .5 for k in flags if k in keys and draw.random() < .4 and not (latent and k.endswith("_bias"))}


def experts(draw, keys):
    names = [k for k in ("num_experts", "num_local_experts", "n_routed_experts") if k in keys]
    if not names:
        return {}
    groups = draw.choice((1, 2))
    drawn = {"num_experts_per_tok": draw.choice((1, 2, 3) if "n_group" not in keys else (1, 2)), "moe_intermediate_size":
             draw.choice((32, 64)), "shared_expert_intermediate_size": draw.choice((32, 48)), "n_shared_experts": draw.choice((1, 2)),
             "num_shared_experts": draw.choice((1, 2)), "router_scaling_factor": draw.choice((1., 2.8)),
             "decoder_sparse_step": draw.choice((1, 1, 2)), "mlp_only_layers": draw.choice(([], [], [0])),
             "first_k_dense_replace": draw.choice((0, 1)), "routed_scaling_factor": draw.choice((1.0, 2.5)), "n_group": groups,
             "topk_group": draw.choice((1, groups)), "topk_method": draw.choice(("greedy", "group_limited_greedy"))}
    count = draw.choice((4, 6, 8))
    return {**{k: v for k, v in drawn.items() if k in keys}, **dict.fromkeys(names, count)}


def latents(draw, kind, keys, heads):
    if "kv_lora_rank" not in keys:
        return {}
    query = 24 if kind in ("glm4_moe_lite", "deepseek_v32", "glm_moe_dsa") else None if kind == "kimi_linear" else draw.choice((None, 24))
    return {"kv_lora_rank": draw.choice((16, 32)), "q_lora_rank": query, "qk_rope_head_dim": draw.choice((8, 16)),
            "qk_nope_head_dim": draw.choice((16, 24)), "v_head_dim": draw.choice((16, 24)), "num_key_value_heads": heads}


def scaling(draw, current, partial):
    """rope_parameters, and max_position_embeddings where the kind goes by it."""
    kind = draw.choice(("default", "linear", "dynamic", "llama3", "yarn"))
    p = {"rope_type": kind, "rope_theta": draw.choice((1e4, 5e5, 1e6))}
    if kind != "default":
        p["factor"] = draw.choice((2.0, 4.0, 8.0))
    if kind in ("llama3", "yarn"):
        p["original_max_position_embeddings"] = 32
    if kind == "llama3":
        p.update(low_freq_factor=1.0, high_freq_factor=draw.choice((2.0, 4.0)))
    if kind == "yarn":
        for chance, more in ((.5, {"beta_fast": draw.choice((16., 32.)), "beta_slow": draw.choice((1., 2.))}),
                             (.3, {"mscale": draw.choice((.707, 1.)), "mscale_all_dim": draw.choice((.707, 1.))}),
                             (.2, {"attention_factor": 1.3}), (.2, {"truncate": False})):
            p.update(more if draw.random() < chance else {})
    share = partial if partial is not None else current.get("partial_rotary_factor")
    p.update({"partial_rotary_factor": share} if share is not None else {})
    return p, {"max_position_embeddings": draw.choice((16, 64))} if kind == "dynamic" else {}


def gpt2(draw, heads, width, layers, vocab):
    return {"vocab_size": vocab, "n_embd": heads * width, "n_layer": layers, "n_head": heads, "n_positions": 128,
            "n_inner": draw.choice((None, 100)), "activation_function": draw.choice(ACTIVATIONS[:5]),
            "tie_word_embeddings": draw.random() < .7, "scale_attn_weights": draw.random() < .7,
            "scale_attn_by_inverse_layer_idx": draw.random() < .4, "reorder_and_upcast_attn": draw.random() < .4}


def older(kind, draw, heads, width, layers, vocab):
    drawn = dict(zip(OLDER[kind].split(), (layers, heads, heads * width, 128)), vocab_size=vocab)
    if kind in ("gptj", "gpt_neo", "gpt_bigcode", "opt"):
        drawn["activation_function"] = draw.choice(("gelu", "gelu_new", "relu"))
    if kind in ("gptj", "gpt_bigcode"):
        drawn["n_inner"] = draw.choice((None, 100))
    if kind == "gptj":
        drawn["rotary_dim"] = draw.choice((8, width // 2, width))
    elif kind == "gpt_bigcode":
        drawn.update(multi_query=draw.random() < .6, scale_attn_weights=draw.random() < .7)
    elif kind == "gpt_neo":
        drawn.update(intermediate_size=draw.choice((None, 100)), window_size=draw.choice((4, 8, 200)), attention_types=draw.choice((
            [[["global", "local"], (layers + 1) // 2]], [[["local"], layers]], [[["global"], 1], [["local"], layers - 1]])))
        drawn["num_layers"] = sum(len(names) * times for names, times in drawn["attention_types"])
    elif kind == "opt":
        drawn.update(ffn_dim=draw.choice((100, 128)), enable_bias=draw.random() < .7)
    elif kind == "mpt":
        drawn["attn_config"] = {"clip_qkv": draw.choice((None, .5, 2.)), "softmax_scale": draw.choice((None, .1))}
    if kind != "gptj":
        drawn["tie_word_embeddings"] = draw.random() < .7
    return drawn


def gemma4(draw, vocab):
    form = {"head_dim": 16, "global_head_dim": draw.choice((16, 32)), "use_double_wide_mlp": draw.random() < .5,
            "hidden_size_per_layer_input": draw.choice((0, 8, 16)), "vocab_size_per_layer_input": vocab,
            "num_kv_shared_layers": draw.choice((0, 1)), "num_hidden_layers": 12, "sliding_window": draw.choice((8, 64))}
    if draw.random() < .4:
        form.update(attention_k_eq_v=True, num_global_key_value_heads=1)
    if draw.random() < .4:
        form.update(enable_moe_block=True, num_experts=4, top_k_experts=2, moe_intermediate_size=32)
    return form


def config_of(kind, draw):
    """The configuration, and what was drawn of it."""
    silent = CONFIG_MAPPING[kind]()
    keys = set(silent.to_dict()) | set(silent.attribute_map)
    kv, width = draw.choice((1, 2, 3, 4)), draw.choice((16, 32, 64))
    heads = kv * draw.choice((1, 2, 3))
    layers = draw.choice((5, 8)) if kind in MIXED else draw.choice((2, 3, 4, 5))
    vocab = draw.choice((97, 256, 301))
    own = {"head_dim": width} if kind not in BY_HEADS else {}
    drawn = {"vocab_size": vocab, "hidden_size": draw.choice((64, 96, 128, 160)) if own else heads * width,
             "intermediate_size": draw.choice((96, 128, 200)), "num_hidden_layers": layers, "num_attention_heads": heads,
             "num_key_value_heads": kv, "max_position_embeddings": draw.choice((64, 128, 4096)),
             "tie_word_embeddings": draw.random() < .5, "rms_norm_eps": draw.choice((1e-6, 1e-5, 1e-2)),
             "logit_scale": draw.choice((.0625, .5, 1.)), "final_logit_softcapping": draw.choice((None, 5., 30.)),
             "query_pre_attn_scalar": draw.choice((16, 64, 256)), "embedding_multiplier": draw.choice((1., 12.)),
             "logits_scaling": draw.choice((1., 8.)), "residual_multiplier": draw.choice((1., .22)),
             "attention_multiplier": draw.choice((.015625, .25)), "use_sliding_window": draw.random() < .5,
             "max_window_layers": draw.choice((0, 1, 2)), "linear_num_key_heads": 2, "linear_num_value_heads": draw.choice((2, 4)),
             "linear_key_head_dim": 16, "linear_value_head_dim": draw.choice((16, 32)), "linear_num_heads": 2,
             "linear_head_dim": draw.choice((16, 32)), "linear_conv_kernel_dim": draw.choice((2, 4)), **own,
             "clip_qkv": draw.choice((None, None, .5)),
             "sliding_window": draw.choice((8, 16, 64, *((None,) if kind in NO_WINDOW_WHERE_NULL else ())))}
    if kind == "gemma2":  # the third generation has the key and does not use it
        drawn["attn_logit_softcapping"] = draw.choice((None, 2., 50.))
    if draw.random() < .25 and kind not in FIXED_ACTIVATION:
        drawn["hidden_act"] = draw.choice(ACTIVATIONS)
    partial = draw.choice((.25, .5, .75, 1.)) if "partial_rotary_factor" in keys and draw.random() < .5 else None
    drawn.update({"partial_rotary_factor": partial} if partial is not None else {})
    drawn.update(switches(draw, kind, keys) | experts(draw, keys) | latents(draw, kind, keys, heads))
    if "kv_lora_rank" in keys:
        drawn.pop("head_dim", None)
    if kind == "helium":
        drawn["head_dim"] = width
    if drawn.get("use_sliding_window") and drawn["sliding_window"] is None:
        drawn["sliding_window"] = 8
    rope = getattr(silent, "rope_parameters", None) or {}
    if draw.random() < .55 and kind not in OWN_ROPE:
        drawn["rope_parameters"], more = scaling(draw, rope, partial)
        drawn.update(more)
        if "full_attention" in rope:
            plain = {"rope_type": "default", "rope_theta": draw.choice((1e4, 5e5))}
            drawn["rope_parameters"] = {"full_attention": drawn["rope_parameters"], "sliding_attention": plain}
    if kind == "gpt2":
        drawn = gpt2(draw, heads, width, layers, vocab)
    elif kind in OLDER:
        drawn = older(kind, draw, heads, width, layers, vocab)
        keys |= set(drawn)
    elif kind.startswith("hunyuan"):
        if draw.random() < .5:
            drawn["rope_parameters"] = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 1.0, "alpha": draw.choice((2., 1e3))}
        if kind == "hunyuan_v1_moe":
            drawn["moe_topk"] = drawn.pop("num_experts_per_tok")
    elif kind == "phimoe":
        drawn.update(router_jitter_noise=draw.choice((.01, .2, .5)), lm_head_bias=draw.random() < .5, sliding_window=None,
                     num_experts_per_tok=2)
        drawn.pop("rope_parameters", None)
    elif kind in ("granitemoe", "granitemoeshared"):
        drawn["shared_intermediate_size"] = draw.choice((0, 48))
    elif kind == "mimo_v2_flash":
        drawn.update(v_head_dim=draw.choice((8, 12, width)), attention_value_scale=draw.choice((None, .5)), rope_parameters={
            name: {"rope_type": "default", "rope_theta": draw.choice((1e4, 5e6)), "partial_rotary_factor": draw.choice((.334, .5, 1.))}
            for name in ("full_attention", "sliding_attention")})
        drawn["num_attention_heads"] = 2 * kv * draw.choice((1, 2))  # layers with a window have twice the KV heads
    elif kind == "mllama_text_model":  # text alone passes by the layers that attend to images; its head is its own
        drawn.update(cross_attention_layers=draw.sample(range(layers + 3), draw.choice((0, 1, 2))), tie_word_embeddings=False)
        if draw.random() < .3:  # the third and every fifth after it
            del drawn["cross_attention_layers"]
    elif kind == "gpt_neox":
        drawn["num_key_value_heads"] = heads
    elif kind == "kimi_linear":
        drawn.update(num_experts_per_token=drawn.pop("num_experts_per_tok"), num_expert_group=1, topk_group=1)
    elif kind == "falcon":
        drawn = {**drawn, "ffn_hidden_size": draw.choice((100, 128)), "num_kv_heads": kv, "alibi": False, "parallel_attn": True}
        if draw.random() < .6:  # the newest generation has one norm for both branches
            drawn.update(new_decoder_architecture=True, num_ln_in_parallel_attn=draw.choice((None, 1, 2)))
        keys |= {"ffn_hidden_size", "num_kv_heads"}
    elif kind == "ernie4_5_moe":
        drawn.update(moe_num_experts=draw.choice((4, 6, 8)), moe_k=draw.choice((1, 2, 4)), moe_intermediate_size=draw.choice((32, 48)),
                     moe_num_shared_experts=draw.choice((0, 1, 2)), moe_layer_start_index=draw.choice((0, 1, 2)),
                     moe_layer_end_index=draw.choice((-1, 2, layers - 1)), moe_layer_interval=draw.choice((1, 1, 2)))
        for name in ("num_experts", "num_experts_per_tok"):
            drawn.pop(name, None)
    elif kind == "smollm3":
        drawn.update(use_sliding_window=False, sliding_window=None, no_rope_layer_interval=draw.choice((2, 3, 4)),
                     no_rope_layers=draw.choice((None, [draw.choice((0, 1)) for _ in range(layers)])))
    elif kind == "gemma4_text":
        kept = ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "rms_norm_eps",
                "final_logit_softcapping", "max_position_embeddings")
        drawn = {k: drawn[k] for k in kept} | gemma4(draw, vocab)
        keys |= set(drawn)
    if kind == "llama" and drawn["hidden_size"] % heads != 0:  # which its class does not take, other widths of heads it does
        drawn["hidden_size"] = 16 * heads
    drawn = {k: v for k, v in drawn.items() if k in keys}
    return CONFIG_MAPPING[kind](**drawn, bos_token_id=1, eos_token_id=2,
                                **({} if kind == "youtu" else {"pad_token_id": 0})), drawn  # whose row it would empty on loading


def fill(model, seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(p):
        return torch.randn(p.shape, generator=generator)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed" in name or "wte" in name:
                p.copy_(normal(p) * .5)
            elif p.dim() >= 2:
                p.copy_(normal(p) * (1.2 / p.shape[-1] ** .5))
            elif "A_log" in name or "dt_bias" in name:
                p.copy_(normal(p) * .5)
            elif "bias" in name:
                p.copy_(normal(p) * .1)
            else:
                p.add_(normal(p) * .1)
        for name, b in model.named_buffers():
            if "correction_bias" in name:
                b.copy_(normal(b) * .1)


def older_dialect(folder):
    """rope_theta and rope_scaling, as checkpoints had them before rope_parameters."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_theta" not in rope or any(isinstance(v, dict) for v in rope.values()):
        return
    del config["rope_parameters"]
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = rope
    path.write_text(json.dumps(config))


def compare(lamina, kind, seed, folder):
    """(verdict, words)"""
    draw = random.Random(f"{kind} {seed}")
    own = getattr(transformers, OWN_CLASS[kind]) if kind in OWN_CLASS else None
    try:
        config, drawn = config_of(kind, draw)
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config) if own is None else own(config)
        fill(model, seed)
        model.to(torch.bfloat16).save_pretrained(folder)
        if draw.random() < .4 and kind not in OWN_DIALECT:
            older_dialect(folder)
        reference = (own or AutoModelForCausalLM).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        ids = [draw.randrange(3, config.vocab_size) for _ in range(draw.choice((5, 20, 40)))]
        with torch.no_grad():
            want = reference(torch.tensor([ids]), use_cache=False).logits[0, -1]
    except Exception as e:  # noqa: BLE001 a draw that the framework does not take says nothing about lamina
        return "not drawn", " ".join(repr(e).split())[:200]
    with tempfile.TemporaryDirectory(prefix="lamina-diff.") as home:
        done = subprocess.run([lamina, "logits", folder, "--ids", ",".join(map(str, ids)), "--json", "-q", "--home", home,
                               "--prompt-rows", str(draw.choice((0, 1, 7)))], capture_output=True, text=True, timeout=300)
    words = f"{json.dumps(drawn)}, {len(ids)} ids"
    if done.returncode != 0:
        return f"exit {done.returncode}", f"{done.stderr.strip()[-300:]} {words}"
    got = torch.tensor(json.loads(done.stdout)["logits_last"])
    off = ((got - want).abs().max() / want.abs().max()).item()
    return ("equal" if off < LIMIT else "DIFFERENT"), f"off by {off:.1e} {words}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lamina", nargs="?", default=str(pathlib.Path(__file__).resolve().parent.parent / "build" / "lamina"))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seeds", default="0:10")
    parser.add_argument("--keep", type=pathlib.Path)
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    first, end = map(int, args.seeds.split(":"))
    total = Counter()
    for kind in args.kinds.split(","):
        counts = Counter()
        for seed in range(first, end):
            with tempfile.TemporaryDirectory(prefix="lamina-diff.") as room:
                folder = pathlib.Path(room) / f"{kind}-{seed}"
                verdict, words = compare(args.lamina, kind, seed, folder)
                if verdict == "DIFFERENT" and args.keep is not None:
                    shutil.copytree(folder, args.keep / folder.name, dirs_exist_ok=True)
            counts[verdict] += 1
            if verdict != "equal":
                print(f"{kind} {seed}: {verdict}: {words}", flush=True)
        print(f"{kind}: " + ", ".join(f"{n} {v}" for v, n in counts.items()), flush=True)
        total += counts
    print(f"transformers {transformers.__version__}, torch {torch.__version__}: " + ", ".join(f"{n} {v}" for v, n in total.items()))
    return 1 if total["DIFFERENT"] else 0


if __name__ == "__main__":
    sys.exit(main())
