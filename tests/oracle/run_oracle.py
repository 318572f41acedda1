#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Logits of `lamina logits` against recorded outputs of the reference framework, one TAP line per case.

usage: run_oracle.py LAMINA TESTDATA

The demonstration model's goldens always run; those of TESTDATA only where it exists. A case passes when the greedy ids are equal and no logit is off by more than 2e-3 or four times the recorded noise
(oracle/SOURCES.md). Folders stand in FOLDERS; a missing one is a skip with its reason.
"""
import json
import os
import subprocess
import sys
import tempfile

FOLDERS = [
    "baichuan-13b", "baichuan-7b", "baichuan2-13b", "baichuan2-7b", "chatglm2", "chatglm2-32k", "chatglm3", "cohere", "cohere2",
    "ernie45", "falcon-40b", "falcon-7b", "gemma", "gemma2", "gemma3-text", "glm-native", "glm4-0414", "glm4-9b-remote", "gpt-neox",
    "gpt2", "granite", "internlm", "internlm2", "internlm2-dynamic", "internlm3", "llama-dynamic", "llama-gqa-llama3",
    "llama-linear-bin", "llama-mha", "llama-tied-bias", "ministral3", "mistral-full", "mistral-swa", "olmo2", "olmo3", "phi2", "phi3",
    "phi3-longrope", "qwen1", "qwen1-early-bin", "qwen1-ntk-logn-bin", "qwen2", "qwen2-swa", "qwen2-tied", "qwen2-yarn", "qwen3",
    "qwen3-tied", "stablelm", "starcoder2"]


def run_logits(lamina, model, ids, count, home, extra=()):
    """The JSON object that `lamina logits` prints."""
    command = [lamina, "logits", model, "--ids", ",".join(map(str, ids)), "-n", str(count), "--kv", "f32", "--json",
               *extra]
    done = subprocess.run(command, capture_output=True, env=dict(os.environ, LAMINA_HOME=home), timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return json.loads(done.stdout)


def worst(got, want):
    if len(got) != len(want):
        raise RuntimeError(f"{len(got)} logits, expected {len(want)}")
    return max(abs(a - b) for a, b in zip(got, want))


def check_case(lamina, model, case, golden, home):
    """Returns the words that say what was compared; raises with what differs."""
    out = run_logits(lamina, model, case["prompt"], case["new_tokens"], home)
    limit = max(2e-3, 4 * case.get("noise_max_abs", 0))
    accepted = [case["greedy"]]
    if golden.get("accept_recompute") and case.get("greedy_recompute"):
        accepted.append(case["greedy_recompute"])
    if out["tokens"] not in accepted:
        raise RuntimeError(f"ids {out['tokens']} are not {case['greedy']}")
    last = worst(out["logits_last"], case["logits_last"])
    final = worst(out["logits_final"], case["logits_final"]) if out["tokens"] == case["greedy"] else 0.0
    if last > limit or final > limit:
        raise RuntimeError(f"logits off by {last:.2e} and {final:.2e}, limit {limit:.2e}")
    if out["argmax"] != case["prompt_argmax"]:
        raise RuntimeError("arg-max ids of the prompt positions differ")
    scores = worst(out["logprob_next"], case["prompt_next_logprob"])
    if scores > limit:
        raise RuntimeError(f"log-probabilities of the prompt off by {scores:.2e}")
    return f"logits within {max(last, final):.1e}, log-probabilities within {scores:.1e}"


def oracle_cases(testdata):
    for folder in FOLDERS:
        path = os.path.join(testdata, "oracle", folder)
        with open(os.path.join(path, "golden.json")) as f:
            golden = json.load(f)
        for i, case in enumerate(golden["cases"]):
            yield f"oracle/{folder} case {i} ({len(case['prompt'])}+{case['new_tokens']} tokens)", path, case, golden


def forward_cases(testdata):
    """Sets whose goldens come from a float64 forward: fewer fields, the same comparison."""
    for name in ("tiny_llama3", "tiny_mistral", "tiny_qwen3", "tiny_gemma3"):
        path = os.path.join(testdata, "tiny-hf", name)
        with open(os.path.join(path, "golden.json")) as f:
            g = json.load(f)
        yield f"tiny-hf/{name}", path, g["input_ids"], g["greedy_16"], g["last_logits"], g["argmax_per_position"]
    with open(os.path.join(testdata, "stories260k", "golden.json")) as f:
        g = json.load(f)
    for name, entry in g.items():
        model = os.path.join(testdata, "stories260k", name)
        yield f"stories260k/{name} prompt", model, entry["prompt_ids"], None, entry["last_logits"], \
            entry["argmax_per_position"]
        text = entry["greedy_from_bos"]
        yield f"stories260k/{name} {len(text) - 1} tokens from BOS", model, text[:1], text[1:], None, None


def demo_cases(root):
    """The demonstration model against the framework it was trained with: needs nothing but the project."""
    path = os.path.join(root, "demo", "model")
    with open(os.path.join(path, "golden.json")) as f:
        for i, g in enumerate(json.load(f)):
            yield f"demo/model golden {i}", path, g["ids"], g["next_ids"], g.get("logits_last"), None


def check_forward(lamina, model, ids, greedy, logits, argmax, home):
    out = run_logits(lamina, model, ids, len(greedy) if greedy else 1, home)
    if greedy and out["tokens"] != greedy:
        at = next(i for i, (a, b) in enumerate(zip(out["tokens"], greedy)) if a != b)
        raise RuntimeError(f"ids differ from token {at} on")
    off = worst(out["logits_last"], logits) if logits else 0.0
    if off > 2e-3:
        raise RuntimeError(f"logits off by {off:.2e}")
    if argmax and out["argmax"] != argmax:
        raise RuntimeError("arg-max ids of the prompt positions differ")
    return f"{len(greedy or [])} ids equal, logits within {off:.1e}"


def main():
    lamina, testdata = sys.argv[1], sys.argv[2]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    jobs, plain = [], list(demo_cases(root))
    if os.path.isdir(os.path.join(testdata, "oracle")):
        jobs = [(name, lambda p=path, c=case, g=golden: check_case(lamina, p, c, g, home))
                for name, path, case, golden in oracle_cases(testdata)]
        plain += list(forward_cases(testdata))
    jobs += [(name, lambda p=path, i=ids, g=greedy, l=logits, a=argmax: check_forward(lamina, p, i, g, l, a, home))
             for name, path, ids, greedy, logits, argmax in plain]
    failed = 0
    with tempfile.TemporaryDirectory() as home:
        for number, (name, job) in enumerate(jobs, 1):
            try:
                print(f"ok {number} - {name}: {job()}")
            except (RuntimeError, KeyError, subprocess.TimeoutExpired) as e:
                failed += 1
                print(f"not ok {number} - {name}: {e}")
            sys.stdout.flush()
    if len(jobs) == len(plain):
        print(f"ok {len(jobs) + 1} - recorded outputs of other checkpoints # SKIP no test data at {testdata}")
        jobs.append(None)
    print(f"1..{len(jobs)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
