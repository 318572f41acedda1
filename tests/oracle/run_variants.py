#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every folder of the oracle in every way of computing it: same bits. One TAP line per folder and way.

usage: run_variants.py LAMINA TESTDATA

`lamina logits` of each case as it comes is compared as text with the same under the smallest budget (nothing pinned, one row
per pass, one thread, no read-ahead), in chunks of the prompt, and with the definition's kernels on another I/O engine. Then the
prompts of two cases are decoded in a batch of 3 under the smallest budget of that: ids and last logits are those of decoding
alone, bit for bit. All in fp32 KV. run_oracle.py says whether the plain way is right.
"""
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile

import run_oracle

CHUNKS = [("--prompt-rows", "7", "-t", "2"), ("--prompt-rows", "16", "-t", "3")]
DEFINITION = ("--isa", "scalar", "--io", "threads", "-t", "2")
SMALLEST = ("-t", "1", "--no-read-ahead", "--no-pin", "--prompt-rows", "1")


def run(command, home):
    """(exit status, stdout, stderr) of a program."""
    done = subprocess.run(command, capture_output=True, env=dict(os.environ, LAMINA_HOME=home), timeout=600)
    return done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace").strip()


def answer(command, home):
    status, out, said = run(command, home)
    if status != 0:
        raise RuntimeError(f"exit {status}: {said} ({' '.join(command)})")
    return out


def smallest_mib(command, home):
    """A budget of 1 MiB is refused in words that name the smallest one."""
    status, _, said = run(command, home)
    named = re.search(r"--memory (\d+)MiB", said)
    if status != 7 or not named:
        raise RuntimeError(f"exit {status} under a budget of 1 MiB, the smallest one was expected: {said}")
    return int(named.group(1))


class Folder:
    """The cases of one folder, their plain answers as text, and the ways to get the same again."""

    def __init__(self, lamina, path, home, recorded=None):
        self.lamina, self.path, self.home = lamina, path, home
        with open(os.path.join(recorded or path, "golden.json")) as f:
            self.cases = json.load(f)["cases"]
        self.plain = [answer(self.logits(case), home) for case in self.cases]

    def logits(self, case, *flags):
        return [self.lamina, "logits", self.path, "--ids", ",".join(map(str, case["prompt"])), "-n", str(case["new_tokens"]),
                "--kv", "f32", "--json", *flags]

    def same(self, *flags):
        for number, case in enumerate(self.cases):
            command = self.logits(case, *flags)
            out = answer(command, self.home)
            if out != self.plain[number]:
                raise RuntimeError(f"case {number}: {difference(self.plain[number], out)} with {' '.join(flags)}")

    def streamed(self):
        """Also that nothing stayed in memory: every pass read all that it needs."""
        said = []
        plan = json.loads(answer([self.lamina, "plan", self.path, "-c", "8", "--no-pin", "--json"], self.home))
        for number, case in enumerate(self.cases):
            budget = smallest_mib(self.logits(case, *SMALLEST, "--memory", "1MiB"), self.home)
            report = os.path.join(self.home, f"{os.path.basename(self.path)}-{number}.json")
            out = answer(self.logits(case, *SMALLEST, "--memory", f"{budget}MiB", "--report", report), self.home)
            if out != self.plain[number]:
                raise RuntimeError(f"case {number}: {difference(self.plain[number], out)} under {budget} MiB")
            with open(report) as f:
                facts = json.load(f)
            if facts["peak_memory_bytes"] > budget << 20:
                raise RuntimeError(f"case {number}: a peak of {facts['peak_memory_bytes']} bytes, {budget} MiB were allowed")
            if facts["bytes_read"] < facts["passes"] * plan["streamed_bytes"] or facts["passes"] == 0:
                raise RuntimeError(f"case {number}: {facts['passes']} passes read {facts['bytes_read']} bytes, "
                                   f"{plan['streamed_bytes']} each were expected")
            said.append(f"{budget} MiB")
        return " and ".join(said)

    def chunked(self):
        for flags in CHUNKS:
            self.same(*flags)
        return "chunks of 7 and 16"

    def defined(self):
        self.same(*DEFINITION)
        return "scalar kernels"

    def batched(self):
        """Cases 0, 1 and 0 again: what each gives is what it gave alone."""
        batch = os.path.join(os.path.dirname(self.lamina), "tests", "batch")
        numbers = [0, 1, 0]
        steps = {self.cases[n]["new_tokens"] for n in numbers}
        if len(steps) != 1:
            raise RuntimeError(f"the cases generate different numbers of tokens: {steps}")
        prompts = [",".join(map(str, self.cases[n]["prompt"])) for n in numbers]
        rest = [str(*steps), *prompts]
        budget = smallest_mib([batch, self.path, self.home, "1", *rest], self.home)
        out = json.loads(answer([batch, self.path, self.home, str(budget), *rest], self.home))
        for i, number in enumerate(numbers):
            alone = json.loads(self.plain[number])
            if out["tokens"][i] != alone["tokens"]:
                raise RuntimeError(f"sequence {i}: ids {out['tokens'][i]}, alone {alone['tokens']}")
            if out["logits_final"][i] != alone["logits_final"]:
                off = run_oracle.worst(out["logits_final"][i], alone["logits_final"])
                raise RuntimeError(f"sequence {i}: the ids are equal, logits_final differ by {off:.2e}")
        return f"{budget} MiB"


WAYS = [("streamed", Folder.streamed), ("in chunks", Folder.chunked), ("by definition", Folder.defined),
        ("in a batch of 3", Folder.batched)]


def difference(want, got):
    """In words, for two unequal outputs."""
    a, b = json.loads(want), json.loads(got)
    for key in a:
        if a[key] != b.get(key):
            return f"\"{key}\" differs"
    return "the text differs"


def check_folder(lamina, path, home, recorded=None):
    """(way, whether it was the same, words) for each way. The cases are those of `recorded` where the checkpoint is a file."""
    try:
        folder = Folder(lamina, path, home, recorded)
    except (RuntimeError, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as e:
        return [(name, False, str(e)) for name, _ in WAYS]
    results = []
    for name, way in WAYS:
        try:
            results.append((name, True, way(folder)))
        except (RuntimeError, OSError, ValueError, KeyError, IndexError, subprocess.TimeoutExpired) as e:
            results.append((name, False, str(e)))
    return results


def main():
    lamina, testdata = os.path.abspath(sys.argv[1]), sys.argv[2]
    oracle = os.path.join(testdata, "oracle")
    if not os.path.isdir(oracle):
        print(f"ok 1 - the oracle in other ways # SKIP no test data at {testdata}\n1..1")
        return 0
    number = failed = 0
    with tempfile.TemporaryDirectory() as home, \
            concurrent.futures.ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        jobs = [(name, pool.submit(check_folder, lamina, os.path.join(oracle, name), home)) for name in run_oracle.FOLDERS]
        for name, job in jobs:
            for way, good, said in job.result():
                number += 1
                failed += not good
                print(f"{'ok' if good else 'not ok'} {number} - oracle/{name} {way}: {said}", flush=True)
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
