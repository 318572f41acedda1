#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rates of the planes kernels beside what one core reads and copies: rows of bench/kernels.csv on stdout.

usage: kernel_rate.py KCHECK [ROUNDS]

KCHECK --bench runs ROUNDS times (5); every figure is the median, every share the median of the shares of one run. Gweights/s of one
core from memory, what that is of reading alone in bytes and of memcpy in bytes of BF16 made, and Gweights/s in cache.
"""
import re
import statistics
import subprocess
import sys

LINE = re.compile(r"(\S+)\s+planes (\S+)\s+([0-9.]+) bits (\S+(?: \S+)?)\s+([0-9.]+) Gweights/s from memory "
                  r"\(([0-9.]+) of reading's ([0-9.]+) GB/s, ([0-9.]+) of memcpy's ([0-9.]+)\), ([0-9.]+) in cache")


def main():
    rows = {}
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 5):
        out = subprocess.run([sys.argv[1], "--bench"], capture_output=True, text=True, check=True).stdout
        for m in LINE.finditer(out):
            rows.setdefault((m[1], m[2], m[3], m[4]), []).append([float(x) for x in m.groups()[4:]])
    print("level,codec,bits,what,memory_Gweights_s,of_read,read_GB_s,of_memcpy,memcpy_GB_s,cache_Gweights_s,cache_best")
    for (level, codec, bits, what), got in rows.items():
        figures = [statistics.median(column) for column in zip(*got)]
        print(f"{level},{codec},{bits},{what}," + ",".join(f"{x:.2f}" for x in figures) + f",{max(g[-1] for g in got):.2f}")


if __name__ == "__main__":
    main()
