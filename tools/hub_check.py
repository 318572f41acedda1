#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Do lamina and Python's huggingface_hub find each other's files? Needs huggingface_hub, so it is a tool and no test.

usage: hub_check.py LAMINA

A hub on this machine (tests/hub/hub_server.py) has a small model. lamina pulls it, and huggingface_hub, offline, must find every
file and see nothing wrong with the cache; then huggingface_hub fetches it into another cache, and lamina must use that offline; then
each goes on where the other has part of it, and the leftovers of a killed pull must not bother the Python client.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "hub"))
from hub_server import Hub, Repo  # noqa: E402

LAMINA = sys.argv[1]
DEMO = pathlib.Path(__file__).resolve().parent.parent / "demo" / "model"
WORK = pathlib.Path(tempfile.mkdtemp(prefix="lamina-hub-check."))
failures = 0


def check(good, name, why=""):
    global failures
    failures += not good
    print(f"{'good' if good else 'BAD '} {name}{'' if good else ': ' + str(why)[:800]}", flush=True)


def environment(hub, cache, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "LAMINA_")) and not k.lower().endswith("_proxy")}
    env.update(HF_ENDPOINT=hub.endpoint, HF_HOME=str(WORK / cache), HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_XET="1", **more)
    return env


def python(hub, cache, code, **more):
    return subprocess.run([sys.executable, "-c", code], env=environment(hub, cache, **more), capture_output=True, text=True, timeout=120)


def lamina(hub, cache, *words, **more):
    return subprocess.run([LAMINA, *words], env=environment(hub, cache, **more), capture_output=True, text=True, timeout=120)


def main():
    hub = Hub()
    repo = hub.add("org/demo", Repo({p.name: p.read_bytes() for p in DEMO.iterdir() if p.suffix not in (".tsv", ".md")}))
    names = sorted(repo.files)
    find = f"""
from huggingface_hub import hf_hub_download, snapshot_download, scan_cache_dir
for name in {names!r}:
    print(hf_hub_download("org/demo", name))
print(snapshot_download("org/demo"))
info = scan_cache_dir()
print([r.repo_id for r in info.repos], sum(r.nb_files for r in info.repos), list(map(str, info.warnings)))
"""
    done = lamina(hub, "ours", "pull", "org/demo", "-q")
    check(done.returncode == 0, "lamina pulls", done.stderr)
    hub.requests.clear()
    seen = python(hub, "ours", find, HF_HUB_OFFLINE="1")
    lines = seen.stdout.splitlines()
    check(seen.returncode == 0 and len(lines) == len(names) + 2 and lines[-2] == done.stdout.strip(), "huggingface_hub finds our files offline",
          seen.stdout + seen.stderr)
    check(lines and lines[-1] == f"['org/demo'] {len(names)} []", "and sees no damage in the cache", lines[-1:])
    check(all(pathlib.Path(line).read_bytes() == repo.files[name] for line, name in zip(lines, names)), "with the right bytes")
    seen = python(hub, "ours", find)
    check(seen.returncode == 0 and not [r for r in hub.requests if r["where"] == "content"], "online it fetches none of them again",
          seen.stderr + str(hub.requests))

    seen = python(hub, "theirs", 'from huggingface_hub import snapshot_download as s; print(s("org/demo"))')
    check(seen.returncode == 0, "huggingface_hub fetches", seen.stderr)
    hub.requests.clear()
    done = lamina(hub, "theirs", "run", "org/demo", "What is the capital of Japan?", "-n", "12", "--temp", "0", "-q", HF_HUB_OFFLINE="1")
    check(done.returncode == 0 and "Tokyo" in done.stdout and not hub.requests, "lamina runs from its cache offline", done.stdout + done.stderr)
    done = lamina(hub, "theirs", "pull", "org/demo", "-q")
    check(done.returncode == 0 and not [r for r in hub.requests if r["where"] == "content"], "and pulls nothing twice", hub.requests)
    print("     beside ours lie: " + ", ".join(sorted(str(p.relative_to(WORK / "theirs" / "hub")) for p in (WORK / "theirs" / "hub").glob("*/*")
                                                  if p.parent.name != ".locks")))

    hub.faults.bytes_per_s = 400_000
    child = subprocess.Popen([LAMINA, "pull", "org/demo", "-q", "--piece", "256KiB"], env=environment(hub, "killed"))
    try:
        child.wait(1.5)
    except subprocess.TimeoutExpired:
        child.kill()
    child.wait()
    hub.faults.bytes_per_s = None
    partial = [p.name for p in (WORK / "killed" / "hub").glob("*/blobs/*.incomplete")]
    seen = python(hub, "killed", find)
    check(len(partial) == 2 and seen.returncode == 0 and seen.stdout.splitlines()[-1].startswith("['org/demo']"),
          "a killed pull of ours does not bother it", f"{partial}\n{seen.stdout}{seen.stderr}")
    done = lamina(hub, "killed", "run", "org/demo", "What is the capital of Japan?", "-n", "12", "--temp", "0", "-q", HF_HUB_OFFLINE="1")
    check(done.returncode == 0 and "Tokyo" in done.stdout, "and lamina uses what it then fetched", done.stderr)
    (WORK / "part").mkdir()
    seen = python(hub, "part", 'from huggingface_hub import hf_hub_download as d; d("org/demo", "config.json")')
    done = lamina(hub, "part", "run", "org/demo", "What is the capital of Japan?", "-n", "12", "--temp", "0")
    check(seen.returncode == 0 and done.returncode == 0 and "Tokyo" in done.stdout, "a cache with one file of it: lamina pulls the rest",
          seen.stderr + done.stderr)
    hub.close()
    shutil.rmtree(WORK, ignore_errors=True)
    print(f"{failures} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
