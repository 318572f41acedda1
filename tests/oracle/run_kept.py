#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sessions saved and loaded, of every folder of the oracle in both precisions of the KV cache: the same bits as without. TAP.

usage: run_kept.py LAMINA TESTDATA

build/tests/keep computes, saves, opens the model anew, loads and goes on (its head says how); the prompts are those of run_oracle.py.
"""
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

import run_oracle

STEPS = 6
LONG = 70  # tokens of a longer prompt: more than one page


def check(lamina, path, home, name, kv):
    with open(os.path.join(path, "golden.json")) as f:
        golden = json.load(f)
    prompt = golden["cases"][0]["prompt"] if "cases" in golden else list(range(5, 17))
    long = (prompt[:-1] * LONG)[:LONG - 1] + prompt[-1:] if len(prompt) < 20 and "chatglm-6b" not in name else prompt
    keep = os.path.join(os.path.dirname(lamina), "tests", "keep")
    said = []
    for ids in (prompt, long):
        file = os.path.join(home, f"{name}-{kv}.kv")
        done = subprocess.run([keep, path, home, file, kv, str(STEPS), ",".join(map(str, ids))], capture_output=True, text=True,
                              timeout=600)
        if done.returncode != 0:
            raise RuntimeError(f"{len(ids)} tokens: exit {done.returncode}: {done.stderr.strip()}")
        said.append(f"{int(done.stdout)} bytes")
    return " and ".join(said)


def main():
    lamina, testdata = os.path.abspath(sys.argv[1]), sys.argv[2]
    oracle = os.path.join(testdata, "oracle")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    folders = [os.path.join(oracle, name) for name in run_oracle.FOLDERS] if os.path.isdir(oracle) else []
    number = failed = 0
    with tempfile.TemporaryDirectory() as home, \
            concurrent.futures.ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        jobs = [(os.path.basename(path), kv, pool.submit(check, lamina, path, home, os.path.basename(path), kv))
                for path in [os.path.join(root, "demo", "model")] + folders for kv in ("f16", "f32")]
        for name, kv, job in jobs:
            number += 1
            try:
                print(f"ok {number} - {name} {kv}: {job.result()}", flush=True)
            except (RuntimeError, OSError, ValueError, KeyError, IndexError, subprocess.TimeoutExpired) as e:
                failed += 1
                print(f"not ok {number} - {name} {kv}: {e}", flush=True)
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
