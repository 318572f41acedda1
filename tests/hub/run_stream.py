#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lamina pull --stream and run --stream against a hub on this machine (hub_server.py): the store is that of the whole checkpoint byte
for byte, the drive holds little more than it at any time, kills cost little, and wrong bytes leave nothing. TAP on stdout.

usage: run_stream.py LAMINA [TESTDATA, not needed]
"""
import fcntl
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))
from hub_checks import LAMINA, ROOT, Checks, model, numbers, safetensors, shapes  # noqa: E402
from hub_server import Repo  # noqa: E402
from made_weights import write_checkpoint  # noqa: E402

KILLS = 20
CHECKS = Checks("stream")
HUB, WORK, ok, environment, lamina = CHECKS.hub, CHECKS.work, CHECKS.ok, CHECKS.environment, CHECKS.lamina


def on_drive(cache):
    """Bytes that the drive gives to everything below, holes left out."""
    total = 0
    for folder, _, names in os.walk(WORK / cache):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                pass
    return total


class Watch(threading.Thread):
    """The most bytes on the drive while it runs. A process given is held while they are counted: bytes that move from the cache to
    the store meanwhile would be counted twice."""

    def __init__(self, cache, child=None):
        super().__init__(daemon=True)
        self.cache, self.child, self.most, self.done = cache, child, 0, False
        self.start()

    def hold(self, number):
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)

    def run(self):
        while not self.done:
            self.hold(signal.SIGSTOP)
            self.most = max(self.most, on_drive(self.cache))
            self.hold(signal.SIGCONT)
            time.sleep(0.01)

    def stop(self):
        self.done = True
        self.join()
        return self.most


def tree(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(pathlib.Path(path).rglob("*")) if p.is_file()}


def differing(a, b):
    return sorted(n for n in a.keys() | b.keys() if a.get(n) != b.get(n))


def reference(files, codec=("--codec", "planes")):
    """The store of the checkpoint as a directory."""
    place = pathlib.Path(tempfile.mkdtemp(dir=WORK))
    for name, data in files.items():
        (place / name).write_bytes(data)
    out = str(place) + ".store"
    done = subprocess.run([LAMINA, "split", str(place), "-o", out, "-q", *codec], env=environment("reference"), capture_output=True,
                          text=True, timeout=300)
    shutil.rmtree(place)
    assert done.returncode == 0, done.stderr
    return tree(out)


def leftovers(cache):
    return [str(p) for p in (WORK / cache).rglob("*incomplete*")] + [str(p) for p in (WORK / cache).rglob("journal")]


def weights(repo):
    return [n for n in repo.files if n.endswith(".safetensors")]


def same(cache, name, files, title, *words, codec=("--codec", "planes")):
    done = lamina(cache, "pull", name, "--stream", *codec, *words)
    store = pathlib.Path(done.stdout.strip() or "/nowhere")
    wrong = differing(tree(store), reference(files, codec)) if done.returncode == 0 else ["no store"]
    ok(not wrong and not leftovers(cache), title, f"{wrong} {leftovers(cache)}\n{done.all}")
    return done, store


# ---- cases ----

def made(name):
    """A folder of tests/oracle/made."""
    place = WORK / name
    write_checkpoint(ROOT / "tests" / "oracle" / "made" / name, place)
    return {n: (place / n).read_bytes() for n in ("config.json", "model.safetensors")}


def test_bytes():
    few = dict(layers=12, hidden=64, inter=160)
    cases_of = {
        "one file, layers as 0, 1, 10, 11, 2": model(**few),
        "tied": model(tied=True, seed=2, **few),
        "two files": model(files=2, seed=3, **few),
        "two files, matrices here and vectors there": model(files=2, seed=4, cut=lambda n, i: int("norm" in n), **few),
        "three files that share every layer": model(files=3, seed=5, cut=lambda n, i: i % 3, **few),
        "two files, the last layers first": model(files=2, seed=6, cut=lambda n, i: int(i < 55), **few),
        "vectors in a tensor per head": made("stablelm-norms"),
        "experts that lie [in, out], and another tower": made("qwen3-vl-moe"),
        "layers that are left out": made("mllama"),
        "rotary pairs side by side": made("glm4v"),
    }
    for n, (title, files) in enumerate(cases_of.items()):
        repo = HUB.add(f"org/b{n}", Repo(files))
        HUB.reset()
        same(f"b{n}", f"org/b{n}", files, f"{title}: the store is that of the whole checkpoint", "--piece", "16KiB")
        sent = {p: HUB.sent(repo.etags[p]) for p in weights(repo)}
        ok(all(sent[p] == len(files[p]) for p in sent), f"{title}: each byte comes once", sent)
    for codec in ("--codec", "raw"), ("--quant", "q4"):
        HUB.add("org/codec", Repo(cases_of["two files"]))
        same("codec" + codec[1], "org/codec", cases_of["two files"], f"{codec[1]}: the same", "--piece", "16KiB", codec=codec)
    files = cases_of["two files"]
    done = lamina("b2", "verify", "org/b2", "-q")
    ok(done.returncode == 0, "verify finds it by its name", done.all)
    done = lamina("b2", "ls", "--json")
    seen = json.loads(done.stdout or "{}")
    ok(done.returncode == 0 and len(seen["stores"]) == 1 and seen["stores"][0].get("model") == "org/b2", "ls says whose it is", done.all)
    done = lamina("b2", "ls")
    ok("org/b2@main  (streamed)\n" in done.stdout and seen["models"][0]["streamed"], "and that its files are complete without weights",
       done.all)
    beside = json.loads(pathlib.Path(seen["stores"][0]["path"] + ".hub").read_text())
    repo = HUB.repos["org/b2"][0]
    ok(beside["commit"] == repo.commit and {f["path"]: f["sha256"] for f in beside["files"]} ==
       {p: repo.etags[p] for p in weights(repo)}, "repository, commit and checksums stand beside it", beside)
    HUB.reset()
    done = lamina("b2", "logits", "org/b2", "--ids", "1,2,3", "--json", HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:1")
    ok(done.returncode == 0 and "argmax" in done.stdout, "offline, without a checkpoint", done.all)
    HUB.reset()
    done = lamina("b2", "pull", "org/b2", "--if-missing", "-q")
    ok(done.returncode == 0 and done.stdout.strip() == seen["stores"][0]["path"] and not HUB.requests, "pull --if-missing finds it",
       done.all)
    for name in weights(repo):
        (WORK / "b2" / "hub" / "models--org--b2" / "blobs" / f"{repo.etags[name]}.lamina-stream.incomplete").write_bytes(b"left")
    os.mkdir(seen["stores"][0]["path"] + ".hub.tmp")  # in the way of nobody
    done = lamina("b2", "pull", "org/b2", "--stream")
    os.rmdir(seen["stores"][0]["path"] + ".hub.tmp")
    ok(done.returncode == 0 and not [r for r in HUB.requests if r["where"] == "content"] and not leftovers("b2"),
       "again: nothing is fetched, and what a kill at the very end left is swept up", f"{leftovers('b2')} {HUB.requests}")
    lock = WORK / "b2" / "hub" / ".locks" / "models--org--b2" / "another.lock"
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = lamina("b2", "rm", "org/b2")
    kept = json.loads(lamina("b2", "ls", "--json").stdout)
    ok(done.returncode not in (0, 1, 3) and len(kept["stores"]) == 1 and len(kept["models"]) == 1,
       "rm while somebody fetches it removes nothing", f"{kept} {done.all}")
    done = lamina("b2", "rm", "org/b2")
    after = json.loads(lamina("b2", "ls", "--json").stdout)
    ok(done.returncode == 0 and after == {"models": [], "stores": []}, "rm takes the store and the rest", done.all)


def test_two_drives():
    """The cache on a drive of its own, which is too small: it is that one that is named."""
    HUB.add("org/two", Repo(model(2, 64, 160, seed=42)))
    place = WORK / "drive"
    place.mkdir()
    mounts = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=256k none "$0" && exec "$@"', str(place)]
    if shutil.which("unshare") is None or subprocess.run([*mounts, "true"], capture_output=True).returncode != 0:
        ok(True, "a full drive of the cache # SKIP no file system can be mounted here")
        return
    done = subprocess.run([*mounts, LAMINA, "pull", "org/two", "--stream"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=environment("two", HF_HUB_CACHE=str(place / "hub"), LAMINA_HOME=str(WORK / "two")))
    ok(done.returncode == 6 and "set HF_HUB_CACHE" in done.stderr and str(place) in done.stderr.splitlines()[-1],
       "a full drive of the cache is named", done.stderr)


def test_run():
    at = ROOT / "demo" / "model"
    HUB.add("org/demo", Repo({p.name: p.read_bytes() for p in at.iterdir() if p.suffix != ".tsv"}))
    question = ["run", "org/demo", "What is the capital of Japan?", "-n", "12", "--temp", "0", "--memory", "256MiB"]
    done = lamina("run", *question, "--stream")
    blobs = [p for p in (WORK / "run" / "hub").rglob("blobs/*") if p.stat().st_size > 1 << 20]
    ok(done.returncode == 0 and "Tokyo" in done.stdout and not blobs, "run --stream answers and keeps no checkpoint", f"{blobs} {done.all}")
    HUB.reset()
    done = lamina("run", *question, "--offline")
    ok(done.returncode == 0 and "Tokyo" in done.stdout and not HUB.requests, "the next run asks nobody", done.all)


def test_peak():
    for title, words, files in (("one file", (), model(64, 256, 704, vocab=4000, seed=11)),
                                ("four files", (), model(64, 256, 704, vocab=4000, seed=12, files=4)),
                                ("a large head", (), model(40, 192, 512, vocab=12000, seed=13, files=3)),
                                ("shared layers", (), model(24, 128, 384, seed=15, files=3, cut=lambda n, i: i % 3)),
                                ("raw", ("--codec", "raw"), model(64, 192, 512, seed=14, files=2))):
        HUB.add("org/peak", Repo(files))
        HUB.reset()
        HUB.faults.bytes_per_s = 12_000_000
        done = subprocess.Popen([LAMINA, "pull", "org/peak", "--stream", *words], env=environment("peak"), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        watch = Watch("peak", done)
        _, said = done.communicate(timeout=300)
        done.all = f"exit {done.returncode}\n{said}"
        most, size = watch.stop(), on_drive("peak")
        said = re.search(r"takes at most ([0-9.]+) (KiB|MiB|GiB)", said)
        reckoned = float(said[1]) * {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[said[2]] if said else 0
        ok(most <= 1.01 * reckoned + 100_000, f"{title}: no more than was said before, {most} of {reckoned:.0f}", done.all)
        if title == "shared layers":
            ok(done.returncode == 0, f"{title}: possible, at {most / size:.2f} of the store", done.all)
            shutil.rmtree(WORK / "peak")
            continue
        source = sum(len(d) for n, d in files.items() if n.endswith(".safetensors"))
        ok(done.returncode == 0 and size > 10_000_000 and most <= 1.05 * size,
           f"{title}: at most {most / size:.3f} of the store on the drive ({size} bytes, of {source})", done.all)
        shutil.rmtree(WORK / "peak")


def test_kills():
    files = model(40, 128, 384, vocab=2000, seed=21, files=3)
    repo = HUB.add("org/k", Repo(files))
    total = sum(len(files[p]) for p in weights(repo))
    expected, dice = reference(files), random.Random(7)
    HUB.reset()
    HUB.faults.bytes_per_s = 700_000
    kills, sent, watch = 0, 0, Watch("k")
    while kills < KILLS:
        child = CHECKS.start("k", "pull", "org/k", "--stream", "--piece", "64KiB", "-q")
        try:
            child.wait(0.1 + dice.random() * 0.4)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL if kills % 4 else signal.SIGINT)
            kills += 1
        child.communicate()
        if child.returncode == 0:
            break
    time.sleep(0.3)
    HUB.faults.bytes_per_s = None
    ok(kills == KILLS, f"stopped {kills} times while it came")
    done = lamina("k", "pull", "org/k", "--stream", "--piece", "64KiB", "-q")
    most, size = watch.stop(), on_drive("k")
    sent = sum(HUB.sent(repo.etags[p]) for p in weights(repo))
    layer = (4 * 128 * 128 + 3 * 128 * 384) * 2
    # What was in flight, what came out of turn and was not hashed yet, and the rows of the layer at work.
    allowed = (KILLS + 1) * (8 * (64 << 10) + layer + 3 * (64 << 10))
    wrong = differing(tree(done.stdout.strip() or "/nowhere"), expected)
    ok(done.returncode == 0 and not wrong and not leftovers("k"), "the store is right after all", f"{wrong} {leftovers('k')}\n{done.all}")
    ok(sent - total <= allowed, f"{sent - total} bytes came twice, {(sent - total) // KILLS} a kill (a layer: {layer}, the window: {8 << 16})",
       f"{sent} of {total}")
    ok(most <= 1.05 * size + 2 * (8 * (64 << 10)) + layer, f"at most {most / size:.3f} of the store on the drive, kills included")


def test_faults():
    files = model(10, 64, 160, seed=31, files=2)
    repo = HUB.add("org/f", Repo(files))
    first, second = (repo.etags[p] for p in sorted(weights(repo)))
    words = ("pull", "org/f", "--stream", "--piece", "16KiB")

    def nothing_made(cache):
        return not list((WORK / cache / "lamina").rglob("lamina.json")) and not list((WORK / cache / "lamina").rglob("*.bin"))

    for which, etag in (("first", first), ("last", second)):
        HUB.reset()
        HUB.faults.corrupt = {etag}
        done = lamina(which, *words)
        ok(done.returncode == 8 and "not those that the hub announced" in done.stderr and nothing_made(which) and not leftovers(which),
           f"a wrong bit in the {which} file: no store, nothing of it left", f"{leftovers(which)} {done.all}")
        HUB.reset()
        same(which, "org/f", files, f"{which} file: works afterwards", "--piece", "16KiB")
    HUB.reset()
    HUB.faults.no_ranges = True
    done = lamina("norange", *words)
    ok(done.returncode == 9 and "gives no ranges" in done.stderr and nothing_made("norange"), "a server without ranges is refused", done.all)
    HUB.reset()
    HUB.faults.drops = [[first, 5000, 6], [second, 0, 3]]
    HUB.faults.statuses = [["resolve", 503, {}, 2]]
    HUB.faults.signed_uses = 7
    same("weak", "org/f", files, "dropped connections, 503, expired addresses: overcome", "--piece", "16KiB")
    HUB.reset()
    HUB.faults.statuses = [[first, 429, {"Retry-After": "6"}, 1]]
    done, _ = same("patient", "org/f", files, "asked to wait: waits", "--piece", "16KiB")
    ok("the hub asks to wait 6 s" in done.stderr, "and says so", done.all)
    HUB.reset()
    # Stopped half way; what lies on the drive is damaged meanwhile.
    HUB.faults.bytes_per_s = 60_000
    child = subprocess.Popen([LAMINA, *words, "-q"], env=environment("damaged"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    for _ in range(300):
        time.sleep(0.02)
        if len(list((WORK / "damaged").rglob("layers/*.bin"))) >= 2:
            break
    child.kill()
    child.communicate()
    HUB.reset()
    for part in (WORK / "damaged").rglob("*.lamina-stream.incomplete"):
        part.write_bytes(bytes(part.stat().st_size))
    same("damaged", "org/f", files, "bytes that were lost between two runs are fetched again", "--piece", "16KiB")
    # Its journal is lost: what was made of the bytes cannot be proved, so it is made again.
    HUB.faults.bytes_per_s = 60_000
    child = subprocess.Popen([LAMINA, "pull", "org/f", "--stream", "--piece", "16KiB", "-q"], env=environment("lost"),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(300):
        time.sleep(0.02)
        if len(list((WORK / "lost").rglob("layers/*.bin"))) >= 2:
            break
    child.kill()
    child.communicate()
    HUB.reset()
    for part in (WORK / "lost").rglob("*incomplete"):
        part.unlink()
    same("lost", "org/f", files, "the cache was swept between two runs: begins anew", "--piece", "16KiB")


def test_refusals():
    HUB.reset()
    HUB.add("org/gguf", Repo({"a.gguf": b"GGUF" * 99}))
    done = lamina("refuse", "pull", "org/gguf", "--stream")
    ok(done.returncode == 9 and "safetensors files only" in done.stderr, "GGUF", done.all)
    HUB.add("org/bin", Repo({"config.json": b"{}", "pytorch_model.bin": b"PK" * 99}))
    done = lamina("refuse", "pull", "org/bin", "--stream")
    ok(done.returncode == 9 and "safetensors files only" in done.stderr, "torch's pickles", done.all)
    files = model(2, 64, 160, seed=41)
    HUB.add("org/git", Repo(files, lfs=("tokenizer.json",)))
    done = lamina("refuse", "pull", "org/git", "--stream")
    ok(done.returncode == 9 and "no SHA-256" in done.stderr, "weights without a SHA-256", done.all)
    for words in (("--dry-run",), ("--include", "*"), ("--codec", "raw", "--quant", "q8")):
        done = lamina("refuse", "pull", "org/git", "--stream", *words)
        ok(done.returncode == 2, f"--stream with {words[0]}", done.all)
    done = lamina("refuse", "pull", "org/git", "--codec", "raw")
    ok(done.returncode == 2 and "--stream" in done.stderr, "--codec without --stream", done.all)
    HUB.add("org/odd", Repo(files))
    done = lamina("refuse", "pull", "org/odd", "--stream", "--piece", "5000")
    ok(done.returncode == 2 and "power of two" in done.stderr, "pieces of an odd length", done.all)
    done = lamina("whole", "pull", "org/odd", "-q")
    done = lamina("whole", "pull", "org/odd", "--stream")
    ok(done.returncode == 0 and "nothing is left to stream" in done.stderr and (pathlib.Path(done.stdout.strip()) / "lamina.json").is_file(),
       "a checkpoint that is in the cache is split from there", done.all)
    seen = json.loads(lamina("whole", "ls", "--json").stdout)["stores"]
    done = lamina("whole", "logits", "org/odd", "--ids", "1,2,3", "--json")
    ok(done.returncode == 0 and json.loads(lamina("whole", "ls", "--json").stdout)["stores"] == seen and len(seen) == 1,
       "into the store that later commands use", f"{seen} {done.all}")
    done = lamina("whole", "pull", "org/odd", "--stream", "--quant", "q4", "-q")
    made = tree(done.stdout.strip() or "/nowhere")
    ok(done.returncode == 0 and done.stderr == "" and not differing(made, reference(files, ("--quant", "q4"))),
       "with the coding that was asked for, quietly", done.all)
    dice, name = random.Random(1), "model.layers.0.self_attn.q_proj.weight"
    t = {n: (list(s), numbers(s[0] * (s[1] if len(s) > 1 else 1), dice)) for n, s in shapes(files["model.safetensors"]).items()}
    t[name] = (t[name][0], dice.randbytes(64 * 64))
    t[name + "_scale_inv"] = ([1, 1], numbers(1, dice))
    quantised = dict(files, **{"model.safetensors": safetensors(t, fp8={name}), "config.json": files["config.json"].replace(
        b"{", b'{"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}, ', 1)})
    HUB.add("org/quant", Repo(quantised))
    done = lamina("quant", "pull", "org/quant", "--stream")
    ok(done.returncode == 9 and "quantised" in done.stderr and "fetch it whole" in done.stderr, "a quantised checkpoint", done.all)
    done = lamina("quant2", "pull", "org/quant", "-q")
    done = lamina("quant2", "split", done.stdout.strip(), "-q")
    ok(done.returncode == 0, "which fetched whole can be split", done.all)


try:
    for test in (test_bytes, test_two_drives, test_run, test_peak, test_kills, test_faults, test_refusals):
        if len(sys.argv) < 4 or sys.argv[3] in test.__name__:
            test()
finally:
    HUB.close()
    shutil.rmtree(WORK, ignore_errors=True)
print(f"1..{CHECKS.cases}")
