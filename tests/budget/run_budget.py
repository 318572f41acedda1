#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The budget promise, enforced by the kernel: a 1b model inside memory groups of exactly its budget. TAP on stdout.

usage: run_budget.py LAMINA [TESTDATA, not needed]

The demonstration model is inflated to the 1b preset (about 2 GB, and as much again as a store) below build/. For each
budget the process runs alone in a cgroup (v1) whose limit is the budget, from a cold cache: no OOM kill, the same text as
the small model's, peak at most the budget and at least 0.85 of it. The smallest budget that `plan` prints must work, and
one MiB less must be refused by name.
"""
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.path.join(ROOT, "build", "budget")
GROUPS = "/sys/fs/cgroup/memory"
MIB = 1 << 20
QUESTION = "What is the capital of the United States?"
NEED_BYTES = 6 << 30


def why_not():
    """The reason this cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root to make memory groups"
    if not os.path.exists(os.path.join(GROUPS, "memory.limit_in_bytes")):
        return "no cgroup v1 memory controller"
    os.makedirs(os.path.join(ROOT, "build"), exist_ok=True)
    if shutil.disk_usage(os.path.join(ROOT, "build")).free < NEED_BYTES and not os.path.isdir(WORK):
        return "needs 6 GiB of disk"
    return None


class Group:
    """A memory group of `limit` bytes (None: no limit), removed at the end."""

    def __init__(self, limit):
        self.path = os.path.join(GROUPS, f"lamina-test-{os.getpid()}")
        os.mkdir(self.path)
        if limit:
            self.write("memory.limit_in_bytes", limit)
        self.limit = limit

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w") as f:
            f.write(str(value))

    def read(self, name):
        with open(os.path.join(self.path, name)) as f:
            return f.read()

    def run(self, command, env):
        def enter():
            self.write("cgroup.procs", os.getpid())
        return subprocess.run(command, capture_output=True, env=env, preexec_fn=enter, timeout=600)

    def peak(self):
        return int(self.read("memory.max_usage_in_bytes"))

    def kills(self):
        return int(re.search(r"^oom_kill (\d+)", self.read("memory.oom_control"), re.M).group(1))

    def close(self):
        os.rmdir(self.path)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def make_model(lamina, env):
    """The store's path; one that this program does not read, of an older format, is made again."""
    checkpoint, store = os.path.join(WORK, "model-1b"), os.path.join(WORK, "store-1b")
    if subprocess.run([lamina, "show", store], capture_output=True, env=env).returncode == 0:
        return store
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    inflate = os.path.join(os.path.dirname(lamina), "lamina-inflate")
    subprocess.run([inflate, os.path.join(ROOT, "demo", "model"), checkpoint, "--preset", "1b"], check=True,
                   capture_output=True, env=env)
    subprocess.run([lamina, "split", checkpoint, "-o", store], check=True, capture_output=True, env=env)
    shutil.rmtree(checkpoint)
    return store


def run_in(lamina, store, budget, env, extra=()):
    """Runs the question in a group of `budget` bytes; returns the finished process, its report and the group's figures."""
    report_path = os.path.join(WORK, "report.json")
    group = Group(budget)
    try:
        drop_caches()
        done = group.run([lamina, "run", store, QUESTION, "--temp", "0", "-n", "24", "-q", "--report", report_path,
                          "--memory", str(budget) if budget else "1TiB", *extra], env)
        figures = (group.peak(), group.kills())
    finally:
        group.close()
    report = None
    if done.returncode == 0:
        with open(report_path) as f:
            report = json.load(f)
    return done, report, figures


def check_budget(lamina, store, budget, text, env, extra=(), full=True):
    done, report, (peak, kills) = run_in(lamina, store, budget, env, extra)
    if done.returncode != 0 or kills:
        raise RuntimeError(f"exit {done.returncode}, {kills} OOM kills: {done.stderr.decode(errors='replace')[-300:]}")
    if done.stdout != text:
        raise RuntimeError(f"said {done.stdout!r}, the small model {text!r}")
    own = report["peak_memory_bytes"]
    if budget and (own > budget or peak > budget):
        raise RuntimeError(f"peak {own} (group {peak}) above the budget of {budget}")
    if budget and full and budget < report["bytes_read"] and max(own, peak) < 0.85 * budget:
        raise RuntimeError(f"peak {own} (group {peak}) leaves more than 15 % of {budget} unused")
    share = report["disk_bytes_per_s"] / report["disk_limit_bytes_per_s"] if report["disk_limit_bytes_per_s"] else 0
    return (f"peak {own / MIB:.1f} MiB, group {peak / MIB:.1f} MiB, {report['disk_bytes_per_s'] / 1e9:.2f} GB/s "
            f"({100 * share:.0f} % of the drive's limit), {report['s_per_token']:.2f} s a token")


def check_smallest(lamina, store, text, env):
    plan = subprocess.run([lamina, "plan", store, "--memory", "1MiB", "-c", "512", "--json"], capture_output=True, env=env)
    smallest = json.loads(plan.stdout)["smallest_budget_bytes"]
    if smallest > 64 * MIB:
        raise RuntimeError(f"the smallest budget for 512 positions is {smallest / MIB:.0f} MiB, above 64")
    words = check_budget(lamina, store, smallest, text, env, ("-c", "512"), full=False)
    done, _, _ = run_in(lamina, store, smallest - MIB, env, ("-c", "512"))
    if done.returncode != 7 or f"{smallest // MIB}MiB" not in done.stderr.decode():
        raise RuntimeError(f"one MiB less: exit {done.returncode}: {done.stderr.decode()[-300:]}")
    return f"{smallest // MIB} MiB works ({words}); one MiB less exits 7 and names it"


def main():
    lamina = os.path.abspath(sys.argv[1])
    reason = why_not()
    if reason:
        print(f"ok 1 - budgets enforced by memory groups # SKIP {reason}\n1..1")
        return 0
    env = dict(os.environ, LAMINA_HOME=os.path.join(WORK, "home"))
    store = make_model(lamina, env)
    small = subprocess.run([lamina, "run", os.path.join(ROOT, "demo", "model"), QUESTION, "--temp", "0", "-n", "24", "-q"],
                           capture_output=True, env=env, check=True)
    jobs = [(name, lambda b=budget: check_budget(lamina, store, b, small.stdout, env))
            for name, budget in [("96 MiB", 96 * MIB), ("256 MiB", 256 * MIB), ("1 GiB", 1024 * MIB), ("no limit", None)]]
    jobs.append(("the smallest budget for 512 positions", lambda: check_smallest(lamina, store, small.stdout, env)))
    failed = 0
    for number, (name, job) in enumerate(jobs, 1):
        try:
            print(f"ok {number} - 1b under {name}: {job()}", flush=True)
        except (RuntimeError, subprocess.SubprocessError, OSError) as e:
            failed += 1
            print(f"not ok {number} - 1b under {name}: {e}", flush=True)
    print(f"1..{len(jobs)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
