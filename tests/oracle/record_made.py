#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes golden.json of folders of tests/oracle/made from the reference framework. Needs torch and transformers, which nothing else
here does; it is run by hand when a folder is added.

usage: record_made.py [--code DIR] NAME...

From a folder's config.json come the tensors, under the names in which the framework saves them; their ranges are chosen by what they
are, their elements are computed (made_weights.py). Then greedy decoding in fp32, eager attention, with a cache; the same without is
compared. --code: the publisher's modeling files, of a family that the framework does not have itself; its config.json has an auto_map.
"""
import glob
import json
import math
import os
import shutil
import sys
import tempfile

import torch
import transformers
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from made_weights import bf16_words, write_checkpoint

MADE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "made")
PROMPTS, NEW = (24, 7), 20
TURNED = ("qwen3-vl-moe",)  # published [in, out], which the framework reads and does not write
CENTRED = ("qwen3_5", "gemma2", "nemotron", "vaultgemma")  # norms multiply by 1 + w


def range_of(name, shape, model_type, tied):
    """(middle, range) of a tensor's elements: wide enough that no part of the model could be left out unseen."""
    if name.endswith(("A_log", "dt_bias")):
        return 0.5, 1.0
    if name.endswith(".bias"):
        return 0.0, 0.4
    if "norm" in name:
        centred = model_type.startswith(CENTRED) and "linear_attn" not in name
        return (0.0 if centred else 1.0), 0.5
    if len(shape) == 1:
        return 1.0, 0.4
    if "embed" in name:
        return 0.0, 0.12 if tied else 1.0  # wider, a tied model says again what it read
    if "router.proj" in name:
        return 0.0, 2.6  # what it reads is divided by the root of its width
    return 0.0, round((2.0 if "lm_head" in name else 1.2) * math.sqrt(3.0 / (shape[-1] if "conv" not in name else 4)), 4)


def rounded(values):
    return [float(f"{v:.9g}") for v in values]


def record(model, prompt):
    ids, cache, steps = list(prompt), None, []
    with torch.no_grad():
        first = None
        for _ in range(NEW):
            fed = ids if cache is None else ids[-1:]
            out = model(torch.tensor([fed]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            first = out.logits[0].double() if first is None else first
            steps.append(out.logits[0, -1].double())
            ids.append(int(steps[-1].argmax()))
        again = model(torch.tensor([ids[:-1]]), use_cache=False).logits[0, len(prompt) - 1:].double()
    assert [int(r.argmax()) for r in again] == ids[len(prompt):], "another answer without a cache"
    best = torch.stack(steps).topk(2).values
    logs = first.log_softmax(-1)
    return {"prompt": list(prompt), "new_tokens": NEW, "greedy": ids[len(prompt):],
            "min_margin": round(float((best[:, 0] - best[:, 1]).min()), 6), "logits_std": round(float(first[-1].std()), 3),
            "logits_last": rounded(first[-1].tolist()), "logits_final": rounded(steps[-1].tolist()),
            "prompt_argmax": [int(r.argmax()) for r in first],
            "prompt_next_logprob": rounded(float(logs[i, t]) for i, t in enumerate(prompt[1:])),
            "noise_max_abs": round(float((torch.stack(steps) - again).abs().max()), 9)}


def config_with_code(folder, remote, room):
    """The configuration; where code is the publisher's, of a copy in `room` that must stay."""
    for path in (os.path.join(folder, "config.json"), *remote):
        shutil.copy(path, room)
    return AutoConfig.from_pretrained(room if remote else folder, trust_remote_code=bool(remote))


def main():
    names, remote = sys.argv[1:], []
    if names[0] == "--code":
        remote, names = glob.glob(os.path.join(names[1], "*.py")), names[2:]
    trust = {"trust_remote_code": True} if remote else {}
    for name in names:
        folder = os.path.join(MADE, name)
        with_code = tempfile.TemporaryDirectory()
        config = config_with_code(folder, remote, with_code.name)
        text, tensors = config.get_text_config(), {}
        tied = getattr(text, "tie_word_embeddings", getattr(config, "tie_word_embeddings", False))
        model_class = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
        with tempfile.TemporaryDirectory() as room:
            model_class.from_config(config, dtype=torch.bfloat16, **trust).save_pretrained(room)
            with safe_open(os.path.join(room, "model.safetensors"), "pt") as f:
                for key in f.keys():
                    shape = f.get_slice(key).get_shape()
                    if name in TURNED and ".experts." in key:
                        shape = [shape[0], shape[2], shape[1]]
                    tensors[key] = [shape, *range_of(key, shape, config.model_type, tied)]
        with tempfile.TemporaryDirectory() as room:
            place = os.path.join(room, name)
            write_checkpoint(folder, place, tensors)
            for path in remote:
                shutil.copy(path, place)
            model, said = model_class.from_pretrained(place, dtype=torch.float32, attn_implementation="eager",
                                                      output_loading_info=True, **trust)
            assert not said["missing_keys"] and not said["unexpected_keys"], said
        model.eval()
        if hasattr(model, "set_experts_implementation"):
            model.set_experts_implementation("eager")
        prompts = [[w % text.vocab_size for w in bf16_words(f"{name} prompt {n}", n, 0.0, 1.0)] for n in PROMPTS]
        whose = ", the publisher's code" if remote else ""
        golden = {"format": "lamina-made-1", "reference": f"{type(model).__name__}{whose} (transformers {transformers.__version__})",
                  "torch": torch.__version__.split("+")[0], "compute": "float32, eager attention, CPU", "tensors": tensors,
                  "cases": [record(model, p) for p in prompts]}
        with open(os.path.join(folder, "golden.json"), "w") as f:
            f.write(json.dumps(golden, separators=(",", ":")).replace('"cases"', '\n"cases"').replace("],[", "],[") + "\n")
        print(name, [(c["min_margin"], c["logits_std"], c["noise_max_abs"], len(set(c["greedy"]))) for c in golden["cases"]])


if __name__ == "__main__":
    main()
