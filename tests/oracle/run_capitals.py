#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every capital the demonstration model was taught, through `lamina run`: one TAP line per country.

usage: run_capitals.py LAMINA [TESTDATA, not needed]

This is the whole path a user takes: chat template, tokenizer, streaming, greedy decoding, detokenizer.
"""
import os
import subprocess
import sys
import tempfile


def main():
    lamina = sys.argv[1]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    model = os.path.join(root, "demo", "model")
    with open(os.path.join(model, "capitals.tsv"), encoding="utf-8") as f:
        pairs = [line.rstrip("\n").split("\t") for line in f if line.strip()]
    failed = 0
    with tempfile.TemporaryDirectory() as home:
        for number, (question, answer) in enumerate(pairs, 1):
            done = subprocess.run([lamina, "run", model, question, "--temp", "0", "-n", "40", "-q"], capture_output=True,
                                  env=dict(os.environ, LAMINA_HOME=home), timeout=300)
            said = done.stdout.decode(errors="replace").strip()
            good = done.returncode == 0 and said == answer.strip()
            failed += not good
            print(f"{'ok' if good else 'not ok'} {number} - {question} -> {said!r}")
    print(f"1..{len(pairs)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
