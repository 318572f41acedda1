#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read rate and hit rate of a mixture of experts along written text, beside the drive's limit and the optimum.

usage: expert_text.py LAMINA STORE DISKREAD BIGFILE TOKENIZER TEXT BUDGET[,BUDGET...] [TOKENS [ROUNDS [ROWS,...]]]

TOKENIZER is a model whose tokenizer turns the file TEXT into ids, all of them below the vocabulary of STORE: random weights choose
experts by token, so what words repeat, experts do too, as with trained models; random ids do not. DISKREAD reads BIGFILE
directly, before and after each run, into a few buffers that stay in the last-level cache; beside it BIGFILE is read into as much
memory as the cache of the run has, which is what a cache that is being filled can reach. Passes have ROWS tokens of the text (1),
as a batch of so many sequences has. Prints, for each run, both limits, the rate and its ratios to their means, the share of the
time in which nothing was asked of the drive, the slots of the cache, and its hit rate over that of Belady's optimum on the same
trace at equal bytes (expert_policy.py)."""
import itertools
import json
import mmap
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

import expert_policy


def limit_of(diskread, bigfile):
    out = subprocess.run([diskread, bigfile, "4", "2"], capture_output=True, text=True, check=True).stdout
    return max(float(x) for x in re.findall(r"huge pages: ([0-9.]+) GB/s", out))


class Spread:
    """Direct reads of 1 MiB, 8 at a time, into huge pages of as much memory as asked for, each of it in turn."""

    def __init__(self, path, size):
        self.piece = 1 << 20
        self.count = size // self.piece
        self.room = mmap.mmap(-1, self.count * self.piece, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.room.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, len(self.room), 4096):
            self.room[at] = 1
        self.file = os.open(path, os.O_RDONLY | os.O_DIRECT)
        self.pieces = os.fstat(self.file).st_size // self.piece

    def work(self, first, step, end):
        view, done = memoryview(self.room), 0
        while time.monotonic() < end:
            at = (first + done * step) % self.count * self.piece
            offset = (first + done * step) % self.pieces * self.piece
            done += os.preadv(self.file, [view[at:at + self.piece]], offset) // self.piece
        self.read += done

    def rate(self, seconds=2.0, threads=8):
        """GB/s"""
        self.read, begin = 0, time.monotonic()
        team = [threading.Thread(target=self.work, args=(i, threads, begin + seconds)) for i in range(threads)]
        for t in team:
            t.start()
        for t in team:
            t.join()
        return self.read * self.piece / (time.monotonic() - begin) / 1e9


def ids_of(lamina, tokenizer, text, count):
    with open(text, "rb") as f:
        out = subprocess.run([lamina, "tokenize", tokenizer, "--json", "-q"], stdin=f, capture_output=True, check=True).stdout
    return ",".join(str(i) for i in json.loads(out)["ids"][:count])


def main():
    lamina, store, diskread, bigfile, tokenizer, text, budgets = sys.argv[1:8]
    ids = ids_of(lamina, tokenizer, text, int(sys.argv[8]) if len(sys.argv) > 8 else 120)
    rows_of_passes = sys.argv[10].split(",") if len(sys.argv) > 10 else ["1"]
    for _ in range(int(sys.argv[9]) if len(sys.argv) > 9 else 1):
        for rows, budget in itertools.product(rows_of_passes, budgets.split(",")):
            with tempfile.TemporaryDirectory() as scratch:
                report, trace = os.path.join(scratch, "report"), os.path.join(scratch, "trace")
                spread = Spread(bigfile, int(budget.removesuffix("MiB")) << 20)
                before, before_wide = limit_of(diskread, bigfile), spread.rate()
                subprocess.run([lamina, "logits", store, "--ids", ids, "--prompt-rows", rows, "--memory", budget, "--report", report,
                                "--expert-trace", trace, "-q", "--json"], stdout=subprocess.DEVNULL, check=True)
                after, after_wide = limit_of(diskread, bigfile), spread.rate()
                with open(report, encoding="utf-8") as f:
                    r = json.load(f)
                chosen = expert_policy.read_trace(trace)
                experts = r["experts"]
                bytes_each = experts["chosen_bytes"] / sum(len(e) for _, e in chosen)
                slots = int(experts["cache_bytes"] // bytes_each)
                rate = r["disk_bytes_per_s"] / 1e9
                best = expert_policy.belady(chosen, slots)
                print(f"{budget}, {rows} a pass: limit {before:.2f} {after:.2f}, into as much memory {before_wide:.2f} {after_wide:.2f}, "
                      f"read {rate:.2f} GB/s = {2 * rate / (before + after):.2f} and {2 * rate / (before_wide + after_wide):.2f}, "
                      f"drive idle {r['drive_idle_s'] / sum(r['stages'].values()):.3f}, "
                      f"{slots} slots, hits {experts['hit_rate']:.3f} of {best:.3f} = {experts['hit_rate'] / best:.2f}", flush=True)


if __name__ == "__main__":
    main()
