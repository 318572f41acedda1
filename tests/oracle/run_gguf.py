#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Logits of GGUF files against recorded outputs of the reference framework, one TAP line per case.

usage: run_gguf.py LAMINA TESTDATA [FOLDER]...

Each folder of TESTDATA/oracle whose architecture GGUF has is converted by that format's rules (gguf_rules.py) and compared as
run_oracle.py compares the folder itself. Weights keep their values, so the limits are the same. Folders that the format cannot
express are named with the reason; a case longer than what the file says is left out where the original grows with the length.
"""
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run_oracle as R  # noqa: E402
from gguf_files import read_checkpoint  # noqa: E402
from gguf_rules import ARCHITECTURES, Conversion  # noqa: E402

SKIPPED = {
    "chatglm-6b": "the format has no such architecture",
    "chatglm2-32k": "the metadata cannot say that positions are divided",
    "internlm": "the format has no such architecture",
    "internlm-rotary-dynamic": "the format has no such architecture",
    "qwen1-early-bin": "no converter reads this dialect of config.json",
    "qwen1-ntk-logn-bin": "the metadata cannot say that the base grows with the prompt"}
# The metadata has no dynamic scaling: only cases that stay below the trained length.
GROWING = ("internlm2-dynamic", "internlm3", "llama-dynamic")
# Also with tensors in the form that other converters, or the tool that quantises, give them.
OTHER_FORMS = ("deepseek-v2-lite", "deepseek-v3", "glm45-moe", "phi3", "qwen2-moe", "qwen3-next")


def converted(folder, path, other=False):
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    Conversion(config, read_checkpoint(folder), other).write(path)
    return path


def cases(testdata, folders, room):
    for name in folders:
        folder = os.path.join(testdata, "oracle", name)
        if name in SKIPPED:
            yield f"{name} # SKIP {SKIPPED[name]}", None
            continue
        with open(os.path.join(folder, "golden.json")) as f:
            golden = json.load(f)
        with open(os.path.join(folder, "config.json")) as f:
            config = json.load(f)
        most = config["max_position_embeddings"] if name in GROWING else 1 << 30
        path = os.path.join(room, name + ".gguf")
        for i, case in enumerate(golden["cases"]):
            words = f"{name} case {i} ({len(case['prompt'])}+{case['new_tokens']} tokens)"
            if len(case["prompt"]) + case["new_tokens"] > most:
                yield f"{words} # SKIP the metadata has no dynamic scaling", None
            else:
                yield words, (folder, path, case, golden)
            if name in OTHER_FORMS:
                yield words + " in other forms", (folder, path.replace(".gguf", "-other.gguf"), case, golden)


def check(lamina, folder, path, case, golden, home):
    if not os.path.exists(path):
        converted(folder, path, path.endswith("-other.gguf"))
    return R.check_case(lamina, path, case, golden, home)


def main():
    lamina, testdata = sys.argv[1], sys.argv[2]
    failed = number = 0
    if not os.path.isdir(os.path.join(testdata, "oracle")):
        print(f"ok 1 - GGUF files of recorded checkpoints # SKIP no test data at {testdata}\n1..1")
        return 0
    with tempfile.TemporaryDirectory() as room, tempfile.TemporaryDirectory() as home:
        for number, (words, job) in enumerate(cases(testdata, sys.argv[3:] or R.FOLDERS, room), 1):
            try:
                print(f"ok {number} - {words}" if job is None else f"ok {number} - {words}: {check(lamina, *job, home)}")
            except (RuntimeError, OSError, ValueError, KeyError, R.subprocess.TimeoutExpired) as e:
                failed += 1
                print(f"not ok {number} - {words}: {e!r}" if isinstance(e, KeyError) else f"not ok {number} - {words}: {e}")
            sys.stdout.flush()
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
