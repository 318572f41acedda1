#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lm-evaluation-harness twice over small local tasks: transformers in float32, and `local-completions` against `lamina serve`. The
log-likelihoods and greediness of every sample, every generated text and every metric must agree. Needs the package lm_eval[api,hf].

usage: tools/lm_eval_check.py [LAMINA] [MODEL] [--questions N] [--memory SIZE]    (MODEL: a checkpoint directory)

With --kv f32 the log-likelihoods are held to 1e-3, with the default f16 to 2e-2. Text requests (tokenized_requests=False) leave the
ids to the server, which puts the model's BOS in front. The harness must count it, so they are run with add_bos_token=True, and
over texts of one window: the harness cuts windows between tokens, where a text has no cut.
"""
import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
WORK = tempfile.TemporaryDirectory(prefix="lamina-lm-eval.")
os.environ["HF_HOME"] = WORK.name + "/hf"

import lm_eval  # noqa: E402  (after the environment that its packages read at import)
import lm_eval.tasks  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
WINDOW = 256  # tokens scored at once: the long texts take several
NEAR = {"f32": 1e-3, "f16": 2e-2}  # of one answer's log-likelihood; of a text's for every hundred tokens, by the KV cache's type

TASKS = {
    "capitals_choice": """
output_type: multiple_choice
doc_to_text: "The capital of {{country}} is"
doc_to_choice: choices
doc_to_target: gold
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "capitals_last": """
output_type: loglikelihood
doc_to_text: "What is the capital of {{country}}? The capital of {{country}} is"
doc_to_target: " {{city}}."
metric_list: [{metric: perplexity}, {metric: acc}]
""",
    "letters": """
output_type: multiple_choice
doc_to_text: "{{front}}"
doc_to_choice: choices
doc_to_target: 0
target_delimiter: ""
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "text_short": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
    "text_long": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
    "capitals_answer": """
output_type: generate_until
doc_to_text: "<|user|>\\nWhat is the capital of {{country}}?<|end|>\\n<|assistant|>\\n"
doc_to_target: "The capital of {{country}} is {{city}}."
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 32, do_sample: false, temperature: 0.0}
metric_list: [{metric: exact_match}]
""",
    "capitals_until": """
output_type: generate_until
doc_to_text: "Here is a list. The capital of {{country}} is"
doc_to_target: " {{city}}"
generation_kwargs: {until: [".", " and"], max_gen_toks: 24, do_sample: false, temperature: 0.0}
metric_list: [{metric: exact_match}]
""",
}
# Characters that a small vocabulary has only as bytes: parts of one are no text by themselves.
LETTERS = [("The capital of Colombia is Bogot", "á"), ("The capital of Moldova is Chi", "ș"), ("Łódź, São Tomé, N'Djamé", "na"),
           ("東", "京"), ("Пари", "ж"), ("The word is caf", "é"), ("😀", "😀"), ("ไทย", "ย"),
           ("The capital of Japan is 東京", ", and")]


def write_tasks(folder, questions):
    """YAML and JSON lines for every task, from the demonstration model's capitals."""
    dice = random.Random(7)
    pairs = []
    for line in (ROOT / "demo" / "model" / "capitals.tsv").read_text(encoding="utf-8").splitlines():
        found = re.match(r"What is the capital of (.*)\?\t.* is (.*)\.$", line)
        if found:
            pairs.append(found.groups())
    sentences = [f"The capital of {country} is {city}." for country, city in pairs]
    asked = dice.sample(pairs, min(questions, len(pairs)))
    rows = {"capitals_choice": []}
    for country, city in asked:
        choices = [city] + dice.sample([c for _, c in pairs if c != city], 3)
        dice.shuffle(choices)
        rows["capitals_choice"].append({"country": country, "choices": choices, "gold": choices.index(city)})
    rows["capitals_last"] = [{"country": country, "city": city} for country, city in asked]
    rows["capitals_answer"] = rows["capitals_until"] = rows["capitals_last"]
    rows["letters"] = [{"front": front, "choices": [right, "ñ", "ț", "京", " Ж", "😀", "."]} for front, right in LETTERS]
    rows["text_short"] = [{"text": " ".join(dice.sample(sentences, n))} for n in (1, 2, 4, 8, 12, 16)]
    rows["text_long"] = [{"text": " ".join(dice.sample(sentences, n))} for n in (60, 100)]
    for name, text in TASKS.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows[name]), encoding="utf-8")
        (folder / f"{name}.yaml").write_text(f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\n"
                                             f"test_split: test\nmetadata: {{version: 1}}{text}", encoding="utf-8")


class Serving:
    """`lamina serve` on a free port."""

    def __init__(self, lamina, model, memory, kv):
        self.log = pathlib.Path(WORK.name) / "serve.log"
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([lamina, "serve", model, "--port", "0", "--memory", memory, "--kv", kv], stderr=log)
        for _ in range(1200):
            found = re.search(r"at (http://\S+)", self.log.read_text())
            if found:
                self.base = found[1]
                break
            if self.process.poll() is not None:
                sys.exit(self.log.read_text())
            time.sleep(0.1)
        self.name = json.load(urllib.request.urlopen(self.base + "/v1/models"))["data"][0]["id"]

    def end(self):
        self.process.terminate()
        return self.process.wait(60)


def evaluate(model, args, tasks, batch, folder):
    began = time.monotonic()
    got = lm_eval.simple_evaluate(model=model, model_args=args, tasks=tasks, batch_size=batch, log_samples=True, bootstrap_iters=0,
                                  task_manager=lm_eval.tasks.TaskManager(include_path=str(folder), include_defaults=False),
                                  **({"device": "cpu"} if model == "hf" else {}))
    return {"results": got["results"], "samples": got["samples"], "seconds": time.monotonic() - began}


def answers(sample):
    """One sample's answers: [(log-likelihood, greedy or None)] or [text]."""
    out = []
    for (one,) in sample["resps"]:
        if isinstance(one, (list, tuple)):
            out.append((float(one[0]), bool(one[1])))
        else:
            out.append(one if isinstance(one, str) else (float(one), None))
    return out


def compare(task, ours, theirs, near_one):
    """What differs, and the largest difference of a log-likelihood."""
    wrong, most = [], 0.0
    order = lambda run: {s["doc_id"]: s for s in run["samples"][task]}  # noqa: E731
    left, right = order(ours), order(theirs)
    if left.keys() != right.keys() or not left:
        return ["other samples"], 0.0
    for number, sample in left.items():
        mine, other = answers(sample), answers(right[number])
        if len(mine) != len(other):
            wrong.append(f"sample {number}: {len(mine)} answers, {len(other)} expected")
        for a, b in zip(mine, other):
            if isinstance(a, str):
                if a != b:
                    wrong.append(f"sample {number}: {a!r}, expected {b!r}")
                continue
            near = near_one * (max(1.0, len(sample["doc"]["text"]) / 400) if a[1] is None else 1.0)
            most = max(most, abs(a[0] - b[0]))
            if not abs(a[0] - b[0]) <= near or a[1] != b[1]:
                wrong.append(f"sample {number}: {a}, expected {b}")
    for name, value in theirs["results"][task].items():
        mine = ours["results"][task][name]
        if isinstance(value, float) and "stderr" not in name and not abs(mine - value) <= near_one * max(1.0, value):
            wrong.append(f"{name} {mine}, expected {value}")
    return wrong, most


def figures(run, task):
    values = run["results"][task].items()
    return ", ".join(f"{k.split(',')[0]} {v:.4f}" for k, v in values if isinstance(v, float) and "stderr" not in k)


def run_all(o, kv, reference, runs, folder):
    """One server, all runs that want its KV type. How many tasks differ."""
    failed = 0
    serving = Serving(o.lamina, o.model, o.memory, kv)
    # The harness keeps one token of max_length for the server, and one more of a rolling window.
    base = {"model": serving.name, "base_url": serving.base + "/v1/completions", "max_length": WINDOW + 2}
    try:
        for name, args, bos, batch, tasks in runs:
            got = evaluate("local-completions", {**base, **args}, tasks, batch, folder)
            for task in tasks:
                wrong, most = compare(task, got, reference[bos], NEAR[kv])
                failed += bool(wrong)
                print(f"{'FAILED ' if wrong else 'ok     '} KV {kv}, {name}, batch {batch}, BOS {bos}: {task}: "
                      f"{len(got['samples'][task])} samples, {figures(got, task)}, difference <= {most:.1e}")
                for line in wrong[:5]:
                    print("        " + line)
            print(f"        {got['seconds']:.1f} s")
    finally:
        code = serving.end()
    print("ok      the server ends with 0" if code == 0 else f"FAILED  the server ends with {code}")
    return failed + (code != 0)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("lamina", nargs="?", default=str(ROOT / "build" / "lamina"))
    p.add_argument("model", nargs="?", default=str(ROOT / "demo" / "model"))
    p.add_argument("--questions", type=int, default=60)
    p.add_argument("--memory", default="256MiB")
    o = p.parse_args()
    folder = pathlib.Path(WORK.name) / "tasks"
    folder.mkdir()
    write_tasks(folder, o.questions)
    every = list(TASKS)
    one_window = [t for t in every if t != "text_long"]
    print(f"lm_eval {lm_eval.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(o.model)
    # The harness takes a remote BOS of id 0 for none, hence custom_prefix_token_id.
    front = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    # Its cache of logits takes two requests of the same tokens for one, even where they are cut into context and answer elsewhere.
    args = {"pretrained": o.model, "dtype": "float32", "max_length": WINDOW, "logits_cache": False}
    reference = {bos: evaluate("hf", {**args, "add_bos_token": bos}, every, 8, folder) for bos in (True, False)}
    for bos, run in reference.items():
        for task in every:
            print(f"transformers, BOS {bos}: {task}: {figures(run, task)}")
    local = {"tokenizer_backend": "huggingface", "tokenizer": o.model, "tokenized_requests": True}
    remote = {"tokenizer_backend": "remote", "custom_prefix_token_id": front}
    ids, bare, text = {**local, "add_bos_token": True}, {**local, "add_bos_token": False}, {"tokenized_requests": False}
    runs = [  # KV type, name, arguments, with BOS, batch, tasks
        ("f32", "ids", ids, True, 1, every),
        ("f32", "ids", ids, True, 8, every),
        ("f32", "ids", bare, False, 8, every),
        ("f32", "ids, 4 requests at once", {**ids, "num_concurrent": 4}, True, 2, every),
        ("f32", "ids, remote tokenizer", {**remote, "tokenized_requests": True}, False, 8, every),
        ("f32", "text", {**ids, **text}, True, 1, one_window),
        ("f32", "text", {**ids, **text}, True, 8, one_window),
        ("f16", "ids", ids, True, 8, every),
    ]
    failed = sum(run_all(o, kv, reference, [r[1:] for r in runs if r[0] == kv], folder) for kv in NEAR)
    sys.exit(1 if failed else 0)


main()
