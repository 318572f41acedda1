#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replays a recorded trace of chosen experts (lamina --expert-trace) through policies of a cache of SLOTS experts.

usage: expert_policy.py TRACE SLOTS [HALF_LIFE ...]

Prints hit rates: Belady's optimum (free to read past the cache), least frequently used with ageing as exec/expert_cache.c does
it (per half-life in passes; a newcomer leads by half a choice), and least recently used."""
import bisect
import heapq
import sys
from collections import OrderedDict, defaultdict


def read_trace(path):
    """[(layer, [experts])] in order."""
    with open(path, encoding="utf-8") as f:
        return [(int(a), [int(e) for e in b.split()]) for a, b in (line.split(":") for line in f)]


def belady(trace, slots):
    uses = defaultdict(list)
    for t, (layer, experts) in enumerate(trace):
        for e in experts:
            uses[layer, e].append(t)
    cached, heap, hits, total = {}, [], 0, 0
    for t, (layer, experts) in enumerate(trace):
        now = {(layer, e) for e in experts}
        total += len(now)
        for key in now:
            hits += key in cached
        for key in now:
            later = uses[key]
            i = bisect.bisect_right(later, t)
            following = later[i] if i < len(later) else 1 << 60
            if key not in cached and len(cached) >= slots:
                while heap and (heap[0][1] not in cached or cached[heap[0][1]] != -heap[0][0]):
                    heapq.heappop(heap)
                if not heap or -heap[0][0] <= following:
                    continue
                del cached[heapq.heappop(heap)[1]]
            cached[key] = following
            heapq.heappush(heap, (-following, key))
    return hits / total


def aged_frequency(trace, slots, half_life, lead=0.5):
    turns = len({layer for layer, _ in trace})
    grow, weight = 1.0 + 0.6931471805599453 / (half_life * turns), 1.0
    rank, cached, hits, total = defaultdict(float), set(), 0, 0
    for layer, experts in trace:
        weight *= grow
        now = [(layer, e) for e in experts]
        total += len(now)
        for key in now:
            rank[key] += weight
        missing = [key for key in now if key not in cached]
        hits += len(now) - len(missing)
        for key in missing:
            if len(cached) < slots:
                cached.add(key)
                continue
            loser = min((k for k in cached if k not in now), key=lambda k: rank[k], default=None)
            if loser is not None and rank[loser] + lead * weight < rank[key]:
                cached.remove(loser)
                cached.add(key)
    return hits / total


def recency(trace, slots):
    cached, hits, total = OrderedDict(), 0, 0
    for layer, experts in trace:
        for e in experts:
            total += 1
            if (layer, e) in cached:
                hits += 1
                cached.move_to_end((layer, e))
            else:
                cached[layer, e] = True
                if len(cached) > slots:
                    cached.popitem(last=False)
    return hits / total


def main():
    trace, slots = read_trace(sys.argv[1]), int(sys.argv[2])
    best = belady(trace, slots)
    print(f"belady {best:.3f}, least recently used {recency(trace, slots):.3f}")
    for life in map(float, sys.argv[3:] or ["16", "64", "256", "1024"]):
        rate = aged_frequency(trace, slots, life)
        print(f"aged frequency, half-life {life:g}: {rate:.3f}, {rate / best:.2f} of the optimum")


if __name__ == "__main__":
    main()
