#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The read rate of a run beside the drive's limit, interleaved: one row of bench/ledger.csv on stdout.

usage: read_rate.py LAMINA STORE DISKREAD BIGFILE [BUDGET [ROUNDS]]

DISKREAD is an independent measuring program that prints lines ending in "N GB/s"; it reads BIGFILE by direct reads into
huge pages. Each round runs it once and lamina once from a cold cache; the medians and the median of the ratios count.
"""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile


def limit_of(diskread, bigfile):
    out = subprocess.run([diskread, bigfile, "4", "2"], capture_output=True, text=True, check=True).stdout
    return max(float(m.group(1)) for m in re.finditer(r"huge pages: ([0-9.]+) GB/s", out) if m)


def rate_of(lamina, store, budget):
    with tempfile.NamedTemporaryFile() as report:
        subprocess.run([lamina, "run", store, "The capital of France is", "--raw", "--temp", "0", "-n", "24", "--ignore-eos",
                        "-q", "--memory", budget, "--report", report.name], capture_output=True, check=True)
        return json.load(open(report.name, encoding="utf-8"))


def main():
    lamina, store, diskread, bigfile = sys.argv[1:5]
    budget = sys.argv[5] if len(sys.argv) > 5 else "256MiB"
    limits, rates, seconds = [], [], []
    for _ in range(int(sys.argv[6]) if len(sys.argv) > 6 else 5):
        limits.append(limit_of(diskread, bigfile))
        report = rate_of(lamina, store, budget)
        rates.append(report["disk_bytes_per_s"] / 1e9)
        seconds.append(report["s_per_token"])
    ratio = statistics.median(r / l for r, l in zip(rates, limits))
    print(f"{os.path.basename(store.rstrip('/'))},{budget},{statistics.median(limits):.2f},{statistics.median(rates):.2f},"
          f"{ratio:.2f},{statistics.median(seconds):.3f},{min(rates):.2f}-{max(rates):.2f}")


if __name__ == "__main__":
    main()
