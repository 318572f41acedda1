#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`lamina ppl` and `lamina kl` against figures made anew from `lamina logits` and a softmax of our own. TAP on stdout.

usage: run_ppl.py LAMINA TESTDATA

The text is tokenised as plain text, cut into chunks here, and each chunk fed to `lamina logits`: its log-probabilities of the
tokens that follow give the perplexity, its logits of every scored position (one call each, on small chunks) give log-probabilities
and divergences in Python's floats. A checkpoint of TESTDATA with a tokenizer of its own is scored too.
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TEXT = "".join(f"What is the capital of {c}?\nThe capital is near the sea, and {c} is a country.\n"
               for c in ("France", "Japan", "Peru", "Kenya", "Norway", "Chile", "Egypt", "Cuba", "Ghana", "Nepal"))


def run(*command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def chunks_of(lamina, model, size):
    """Ids of each whole chunk, with the tokenizer's front (BOS) in place of its first ids."""
    plain = json.loads(run(lamina, "tokenize", model, "--json", "--no-special", stdin=TEXT))["ids"]
    whole = json.loads(run(lamina, "tokenize", model, "--json", stdin=TEXT))["ids"]
    front = whole[:len(whole) - len(plain)]
    if whole[len(front):] != plain:
        raise RuntimeError("the tokenizer does more than putting something in front: this test does not know it")
    ids = front + plain
    return [front + ids[at + len(front):at + size] for at in range(0, len(ids) - size + 1, size)]


def logits(lamina, model, ids):
    return json.loads(run(lamina, "logits", model, "--ids", ",".join(map(str, ids)), "--json", "-q"))


def mean_and_error(values):
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values) / (len(values) - 1))


def log_softmax(row):
    row = struct.unpack(f"{len(row)}f", struct.pack(f"{len(row)}f", *row))  # the decimals are just enough to name the fp32
    most = max(row)
    total = math.log(math.fsum(math.exp(x - most) for x in row))
    return [x - most - total for x in row]


def near(what, got, want, tolerance):
    if not abs(got - want) <= tolerance * (1 + abs(want)):
        raise RuntimeError(f"{what} is {got!r}, {want!r} expected")


def perplexity(lamina, model, size):
    """From log-probabilities that lamina logits prints (fp32)."""
    chunks = chunks_of(lamina, model, size)
    nll = [-p for ids in chunks for p in logits(lamina, model, ids)["logprob_next"][size // 2:]]
    mean, error = mean_and_error(nll)
    got = json.loads(run(lamina, "ppl", model, PATH, "-c", str(size), "--kv", "f32", "--json", "-q"))
    if got["chunks"] != len(chunks) or got["tokens"] != len(nll) or len(nll) != len(chunks) * (size - size // 2 - 1):
        raise RuntimeError(f"{got['chunks']} chunks and {got['tokens']} tokens, {len(chunks)} and {len(nll)} expected")
    near("the perplexity", got["ppl"], math.exp(mean), 1e-5)
    near("its error", got["ppl_error"], math.exp(mean) * error, 1e-5)
    return f"{got['ppl']:.6f} of {len(nll)} tokens"


def divergence(lamina, reference, model, size, count):
    """From all logits of every scored position of the first chunks."""
    kls, nll, of_reference, same = [], [], [], 0
    for ids in chunks_of(lamina, reference, size)[:count]:
        for row in range(size // 2, size - 1):
            p, q = (log_softmax(logits(lamina, m, ids[:row + 1])["logits_last"]) for m in (reference, model))
            kls.append(math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q)))
            nll.append(-q[ids[row + 1]])
            of_reference.append(-p[ids[row + 1]])
            same += p.index(max(p)) == q.index(max(q))
    got = json.loads(run(lamina, "kl", model, "--reference", reference, PATH, "-c", str(size), "--chunks", str(count), "--kv", "f32",
                         "--json", "-q"))
    mean, error = mean_and_error(kls)
    ratio, ratio_error = mean_and_error([a - b for a, b in zip(nll, of_reference)])
    diff2 = [(math.exp(-a) - math.exp(-b)) ** 2 for a, b in zip(nll, of_reference)]
    ordered = sorted(kls)
    half = len(kls) // 2
    median = ordered[half] if len(kls) % 2 else (ordered[half - 1] + ordered[half]) / 2
    for name, value in (("tokens", len(kls)), ("mean_kl", mean), ("mean_kl_error", error), ("median_kl", median),
                        ("max_kl", ordered[-1]), ("top1_agreement", 100 * same / len(kls)),
                        ("ppl", math.exp(mean_and_error(nll)[0])), ("reference_ppl", math.exp(mean_and_error(of_reference)[0])),
                        ("ppl_ratio", math.exp(ratio)), ("ppl_ratio_error", math.exp(ratio) * ratio_error),
                        ("rms_p_diff", 100 * math.sqrt(math.fsum(diff2) / len(diff2)))):
        near(name, got[name], value, 1e-12)
    if not mean > 1e-6:
        raise RuntimeError("the two models do not differ: nothing was tested")
    return f"mean KL {mean:.6f}, same top token {100 * same / len(kls):.1f} %, of {len(kls)} tokens"


def random_model(folder, *flags):
    run(sys.executable, os.path.join(ROOT, "tests", "cli", "mkmodel.py"), folder, "--vocab", "259", "--tokenizer", *flags)
    return folder


def main():
    global PATH
    lamina, testdata = sys.argv[1], sys.argv[2]
    demo = os.path.join(ROOT, "demo", "model")
    stories = os.path.join(testdata, "stories260k", "hf")
    with tempfile.TemporaryDirectory() as base:
        os.environ["LAMINA_HOME"] = os.path.join(base, "home")
        PATH = os.path.join(base, "text")
        with open(PATH, "w", encoding="utf-8") as out:
            out.write(TEXT)
        a = random_model(os.path.join(base, "a"))
        b = random_model(os.path.join(base, "b"), "--seed", "2")
        c = random_model(os.path.join(base, "c"), "--dtype", "F16")
        cases = [(f"perplexity of {name}, chunks of {size}", lambda m=model, s=size: perplexity(lamina, m, s))
                 for name, model in (("the demonstration model (BOS)", demo), ("a random model (no BOS)", a)) for size in (16, 33, 128)]
        cases += [("divergence of two random models", lambda: divergence(lamina, a, b, 12, 2)),
                  ("divergence of two roundings of one model", lambda: divergence(lamina, a, c, 12, 3))]
        if os.path.isdir(stories):
            cases += [(f"perplexity of stories260k, chunks of {size}", lambda s=size: perplexity(lamina, stories, s)) for size in (32, 100)]
        failed = 0
        for number, (name, case) in enumerate(cases, 1):
            try:
                print(f"ok {number} - {name}: {case()}")
            except (RuntimeError, OSError, KeyError, ValueError, subprocess.TimeoutExpired) as e:
                failed += 1
                print(f"not ok {number} - {name}: {e}")
            sys.stdout.flush()
    if not os.path.isdir(stories):
        cases.append(None)
        print(f"ok {len(cases)} - perplexity of stories260k # SKIP no test data at {testdata}")
    print(f"1..{len(cases)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
