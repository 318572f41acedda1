#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models that TESTDATA has no folder of, against outputs of the reference framework. One TAP line per case and way.

usage: run_made.py LAMINA TESTDATA

Folders of tests/oracle/made hold a config.json and outputs (record_made.py recorded them); their weights are computed. Each is
compared as run_oracle.py compares folders, as run_variants.py computes them in other ways, and, where GGUF has the architecture, as
run_gguf.py does. What each is there for:
  ernie45-moe        experts from one layer to another, chosen by softmax and a bias
  falcon-one-norm    one norm for both branches where newer checkpoints have two (11B)
  gemma4-moe         experts beside an MLP, keys that serve as values
  gemma4-moe-inputs  the same with inputs by layer, and layers that read the keys and values of others
  qwen35-three       three heads of values on each of two heads of keys: with two on two, an order and its reverse are the same
  gemma2-uncapped    keys that are null: no soft caps, though the class has them where the keys are missing
  gemma4-by-layer    heads of single layers in per_layer_config, as newer frameworks write them
  glm4-lite-listed   layers with experts by mlp_layer_types
  gpt2-by-layer      scores divided by the number of the layer, and not by the root of the width
  kimi-listed        the same, where names of tensors and keys of linear attention differ with it
  llama-relu         ReLU
  qwen2moe-window    a window in some layers by use_sliding_window, where layer_types is silent
  qwen3moe-window    the same in all layers
  smollm3, smollm3-listed   layers without RoPE by number and by a list, all of which see everything
  arcee, bloom, dots, exaone4, granite-moe-shared, gpt-bigcode, gpt-neo, gptj, helium, hunyuan-moe, nemotron, olmoe, opt,
  phimoe, seed-oss, vaultgemma   these families, some with switches that their checkpoints have the other way round
  exaone4-full       no window at all: then layers that see everything rotate
  gpt-bigcode-heads  keys and values by head, unscaled scores
  hunyuan-alpha      norms behind RoPE, whose base is raised once
  olmo-clipped, mpt-clipped   clipped queries, keys and values
  llava-wrapped, mistral4-wrapped   a text model of one of several families inside a multimodal one
  qwen25-vl, qwen3-vl, glm4v, glm45v   multimodal models of a family, text alone; the first with its keys side by side, as published
  qwen3-vl-moe, qwen3-vl-moe-rows   experts of a layer in one tensor, [in, out] and [out, in]
  deepseek-v32, glm-dsa   an indexer that would choose all keys
  afmoe, cwm, exaone-moe, flex-olmo, hy-v3, hyperclovax, jais2, mellum, solar-open, youtu   these families
  ministral          windows by layer_types in some layers of a Mistral
  mimo-v2, mimo-v2-listed   values of another width than keys, sinks and more KV heads where there is a window; by the published
  keys and by lists of layers
  mllama             layers that attend to images, some of them past the last, and an embedding of more rows than the vocabulary
  bailing, bailing-v2   these families, recorded from the code that their publisher ships beside the weights
  stablelm-norms     a norm of its own for each head of queries and keys, a tensor each
"""
import glob
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

import run_gguf
import run_oracle
import run_variants
from made_weights import write_checkpoint

FOLDERS = ["afmoe", "arcee", "bailing", "bailing-v2", "bloom", "cwm", "deepseek-v32", "dots", "ernie45-moe", "exaone-moe",
           "exaone4", "exaone4-full", "falcon-one-norm", "flex-olmo", "gemma2-uncapped", "gemma4-by-layer", "gemma4-moe",
           "gemma4-moe-inputs", "glm-dsa", "glm4-lite-listed", "glm45v", "glm4v", "gpt-bigcode", "gpt-bigcode-heads", "gpt-neo",
           "gpt2-by-layer", "gptj", "granite-moe-shared", "helium", "hunyuan-alpha", "hunyuan-moe", "hy-v3", "hyperclovax",
           "jais2", "kimi-listed", "llama-relu", "llava-wrapped", "mellum", "mimo-v2", "mimo-v2-listed", "ministral",
           "mistral4-wrapped", "mllama", "mpt-clipped", "nemotron", "olmo-clipped", "olmoe", "opt", "phimoe", "qwen25-vl",
           "qwen2moe-window", "qwen3-vl", "qwen3-vl-moe", "qwen3-vl-moe-rows", "qwen35-three", "qwen3moe-window", "seed-oss",
           "smollm3", "smollm3-listed", "solar-open", "stablelm-norms", "vaultgemma", "youtu"]
# The others are about config.json, or the format cannot say them.
IN_GGUF = ["arcee", "bailing-v2", "bloom", "deepseek-v32", "dots", "ernie45-moe", "exaone-moe", "exaone4",
           "exaone4-full", "falcon-one-norm", "gemma4-moe", "gemma4-moe-inputs", "glm-dsa", "gpt-bigcode", "granite-moe-shared",
           "hunyuan-alpha", "hunyuan-moe", "mpt-clipped", "nemotron", "olmo-clipped", "olmoe", "qwen35-three", "seed-oss",
           "smollm3", "stablelm-norms"]
STACKED_TOO = ["dots", "exaone-moe", "hy-v3"]
OTHER_FORMS = ["gemma4-moe"]  # gate and up of experts apart, which readers of the format take as well
MADE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "made")


def check_list():
    there = {os.path.basename(os.path.dirname(p)) for p in glob.glob(os.path.join(MADE, "*", "golden.json"))}
    if there != set(FOLDERS):
        raise RuntimeError(f"not listed: {sorted(there - set(FOLDERS))}; listed and not there: {sorted(set(FOLDERS) - there)}")
    return f"{len(there)} folders"


def check_ways(lamina, path, home, recorded=None):
    bad = [f"{way}: {said}" for way, good, said in run_variants.check_folder(lamina, path, home, recorded) if not good]
    if bad:
        raise RuntimeError("; ".join(bad))
    return ", ".join(way for way, _ in run_variants.WAYS)


def jobs_of(lamina, name, room, home):
    place = os.path.join(room, name)
    write_checkpoint(os.path.join(MADE, name), place)
    with open(os.path.join(place, "golden.json")) as f:
        golden = json.load(f)
    for i, case in enumerate(golden["cases"]):
        yield f"{name} case {i}", lambda c=case: run_oracle.check_case(lamina, place, c, golden, home)
    yield f"{name}: the same bits in other ways", lambda: check_ways(lamina, place, home)
    if name in STACKED_TOO:
        stacked = os.path.join(room, name + "-stacked")
        write_checkpoint(os.path.join(MADE, name), stacked)
        stack_experts(stacked)
        for i, case in enumerate(golden["cases"]):
            yield f"{name} case {i}, experts in one tensor", lambda c=case: run_oracle.check_case(lamina, stacked, c, golden, home)
    if name not in IN_GGUF:
        return
    path = os.path.join(room, name + ".gguf")
    for i, case in enumerate(golden["cases"]):
        yield f"{name} case {i} from GGUF", lambda c=case: run_gguf.check(lamina, place, path, c, golden, home)
        if name in OTHER_FORMS:
            yield f"{name} case {i} from GGUF in other forms", \
                lambda c=case: run_gguf.check(lamina, place, path.replace(".gguf", "-other.gguf"), c, golden, home)
    yield f"{name} from GGUF: the same bits in other ways", lambda: check_ways(lamina, path, home, place)


def check_pieces(lamina, room, home):
    """A vector that lies in a tensor per head: one that is missing, or has another length, is named."""
    folder, broken = os.path.join(MADE, "stablelm-norms"), "model.layers.1.self_attn.q_layernorm.norms.2.weight"
    with open(os.path.join(folder, "golden.json")) as f:
        tensors = json.load(f)["tensors"]
    shape, middle, reach = tensors.pop(broken)
    for number, (more, said) in enumerate((({}, "has no tensor"), ({broken: [[shape[0] + 2], middle, reach]}, "has the shape"))):
        place = os.path.join(room, f"broken-{number}")
        write_checkpoint(folder, place, {**tensors, **more})
        done = subprocess.run([lamina, "logits", place, "--ids", "5", "-q", "--home", home], capture_output=True, text=True, timeout=60)
        if done.returncode != 8 or broken not in done.stderr or said not in done.stderr:
            raise RuntimeError(f"exit {done.returncode}: {done.stderr}")
    return "two ways"


def stack_experts(place):
    """Experts of a layer in one tensor, gate above up, as newer frameworks keep them in memory."""
    path = os.path.join(place, "model.safetensors")
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    stacks, plain = {}, []
    for name, entry in header.items():
        raw = data[slice(*entry["data_offsets"])]
        found = re.fullmatch(r"(.*\.experts)\.(\d+)\.(gate|up|down)_proj\.weight", name)
        if found is None:
            plain.append((name, entry["shape"], raw))
        else:
            stacks.setdefault(found[1], {})[int(found[2]), found[3]] = (entry["shape"], raw)
    for prefix, parts in stacks.items():
        count, (rows, cols) = len(parts) // 3, parts[0, "gate"][0]
        both = b"".join(parts[e, "gate"][1] + parts[e, "up"][1] for e in range(count))
        plain += [(prefix + ".gate_up_proj", [count, 2 * rows, cols], both),
                  (prefix + ".down_proj", [count, cols, rows], b"".join(parts[e, "down"][1] for e in range(count)))]
    write_tensors(path, ((name, "BF16", shape, raw) for name, shape, raw in plain))


def write_tensors(path, tensors):
    out, body = {}, bytearray()
    for name, dtype, shape, raw in tensors:
        out[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(out).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


def check_left_out(lamina, room):
    """Splitting a multimodal checkpoint says which parts beside the text model it leaves out, each with its size."""
    place, store = os.path.join(room, "llava-wrapped"), os.path.join(room, "llava-store")
    with open(os.path.join(place, "golden.json")) as f:
        tensors = json.load(f)["tensors"]
    done = subprocess.run([lamina, "split", place, "-o", store], capture_output=True, text=True, timeout=60)
    said = re.search(r"LlavaForConditionalGeneration: only the text model is kept; left out: (.*)", done.stderr)
    if done.returncode != 0 or said is None:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr}")
    there = [n for n in tensors if ".language_model." not in n and not n.startswith("language_model.")]
    parts = dict(re.findall(r"(\S+) \((\d+) tensors, [^)]+\)", said[1]))
    counted = {p: sum(n.startswith(p) for n in there) for p in parts}
    if len(parts) < 2 or {p: int(n) for p, n in parts.items()} != counted or sum(counted.values()) != len(there):
        raise RuntimeError(f"{said[1]}, but there are {counted} of {len(there)}")
    return said[1]


def main():
    lamina = os.path.abspath(sys.argv[1])
    failed = 0
    with tempfile.TemporaryDirectory() as room, tempfile.TemporaryDirectory() as home:
        jobs = [("every folder of made is tested", check_list)]
        jobs += [job for name in FOLDERS for job in jobs_of(lamina, name, room, home)]
        jobs += [("pieces of vectors that do not fit are named", lambda: check_pieces(lamina, room, home))]
        jobs += [("what is not the text model is named", lambda: check_left_out(lamina, room))]
        for number, (words, job) in enumerate(jobs, 1):
            try:
                print(f"ok {number} - {words}: {job()}")
            except (RuntimeError, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as e:
                failed += 1
                print(f"not ok {number} - {words}: {e!r}" if isinstance(e, KeyError) else f"not ok {number} - {words}: {e}")
            sys.stdout.flush()
    print(f"1..{len(jobs)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
