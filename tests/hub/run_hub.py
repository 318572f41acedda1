#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lamina pull, run, ls and rm against a hub on this machine (hub_server.py) that misbehaves in every way it can. TAP on stdout.

usage: run_hub.py LAMINA [TESTDATA, not needed]
"""
import fcntl
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))
from gguf_files import read_checkpoint  # noqa: E402
from gguf_rules import Conversion  # noqa: E402
from hub_checks import LAMINA, ROOT, Checks, model  # noqa: E402
from hub_server import Repo  # noqa: E402

KILLS = 50
PIECE = 64 << 10
CHECKS = Checks("hub")
HUB, WORK, ok, environment, lamina = CHECKS.hub, CHECKS.work, CHECKS.ok, CHECKS.environment, CHECKS.lamina


def folder(cache, name):
    return WORK / cache / "hub" / ("models--" + name.replace("/", "--"))


def blobs(cache, name):
    return sorted(p.name for p in (folder(cache, name) / "blobs").glob("*"))


def whole(cache, name, repo, paths=None):
    """Every file of the snapshot has its bytes, through a relative link; nothing unfinished is left."""
    at = folder(cache, name)
    for path in paths or repo.files:
        link = at / "snapshots" / repo.commit / path
        if not link.is_symlink() or os.path.isabs(os.readlink(link)) or link.read_bytes() != repo.files[path]:
            return False
        if link.resolve() != (at / "blobs" / repo.etags[path]).resolve():
            return False
    return not [b for b in blobs(cache, name) if "incomplete" in b] and (at / "refs" / repo.branch).read_text() == repo.commit


def random_bytes(n, seed):
    return random.Random(seed).randbytes(n)


def small_model(seed=1, size=1_500_000, **more):
    files = {"config.json": b'{"model_type": "x"}\n', "tokenizer.json": b'{"v": %d}' % seed, "README.md": b"# read me\n",
             "model.safetensors": random_bytes(size, seed), "empty.txt": b"", "original/consolidated.00.pth": b"pickle"}
    files.update(more)
    return Repo(files)


NEEDED = ["config.json", "tokenizer.json", "model.safetensors", "empty.txt"]


# ---- the promise: from an empty cache to an answer ----

def test_run():
    model = ROOT / "demo" / "model"
    repo = HUB.add("org/demo", Repo({p.name: p.read_bytes() for p in model.iterdir() if p.suffix != ".tsv"}))
    question = ["run", "org/demo", "What is the capital of Japan?", "-n", "12", "--temp", "0", "--memory", "256MiB"]
    done = lamina("run", *question, HF_TOKEN="hf_secret")
    ok(done.returncode == 0 and "Tokyo" in done.stdout, "run ORG/NAME pulls, splits and answers", done.all)
    tokens = {(r["where"], r["token"]) for r in HUB.requests}
    ok(tokens == {("hub", "Bearer hf_secret"), ("content", None)}, "the token goes to the hub and to no other host", tokens)
    names = [n for n in repo.files if not n.endswith(".md")]
    ok(whole("run", "org/demo", repo, names) and "README.md" not in os.listdir(folder("run", "org/demo") / "snapshots" / repo.commit),
       "the cache has the layout of huggingface_hub, and what the model needs", blobs("run", "org/demo"))
    tag = (WORK / "run" / "hub" / "CACHEDIR.TAG").read_text()
    ok(tag.startswith("Signature: 8a477f597d28d172789f06886806bc55") and
       sorted(p.name for p in (WORK / "run" / "hub").iterdir()) == [".locks", "CACHEDIR.TAG", "models--org--demo"],
       "nothing of our own lies at the root of the cache")
    HUB.reset()
    done = lamina("run", *question)
    ok(done.returncode == 0 and "Tokyo" in done.stdout and not HUB.requests, "the second run asks nobody", done.all)
    done = lamina("run", *question, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:1")
    ok(done.returncode == 0 and "Tokyo" in done.stdout, "offline works from the cache", done.all)
    done = lamina("run", "run", f"org/demo@{repo.commit}", "x", "-n", "2", "--offline")
    ok(done.returncode == 0, "a commit as revision, offline", done.all)
    done = lamina("run", "ls", "--json")
    seen = json.loads(done.stdout or "{}")
    ok(done.returncode == 0 and seen["models"][0]["model"] == "org/demo" and seen["models"][0]["complete"] and
       len(seen["stores"]) == 1, "ls shows the model and its store", done.all)
    done = lamina("run", "verify", "org/demo", "-q")
    ok(done.returncode == 0, "verify finds the store of a model of the hub", done.all)
    # As transformers leaves it when it was asked for the weights alone.
    lamina("bare", "pull", "org/demo", "--exclude", "tokenizer*", "--exclude", "special*", "-q")
    HUB.reset()
    done = lamina("bare", "logits", "org/demo", "--ids", "1,2", "--memory", "256MiB")
    ok(done.returncode == 0 and not HUB.requests, "without its tokenizer: who needs none asks nobody", done.all)
    done = lamina("bare", *question, "--offline")
    ok(done.returncode == 3 and "no tokenizer" in done.stderr, "offline it is said", done.all)
    done = lamina("bare", *question)
    ok(done.returncode == 0 and "Tokyo" in done.stdout and "no tokenizer of it; pulling it" in done.stderr,
       "run fetches what is missing", done.all)
    done = lamina("run", "rm", "org/demo", "--dry-run")
    ok(done.returncode == 0 and folder("run", "org/demo").exists(), "rm --dry-run removes nothing", done.all)
    store = seen["stores"][0]["store"]
    done, gone = lamina("run", "rm", "org/demo"), lamina("run", "rm", store)
    after = json.loads(lamina("run", "ls", "--json").stdout)
    ok(done.returncode == 0 and gone.returncode == 0 and after == {"models": [], "stores": []} and
       not os.listdir(WORK / "run" / "hub" / ".locks"), "rm removes the model and the store", done.all + gone.all)
    done = lamina("run", "rm", "org/demo")
    ok(done.returncode == 3, "rm of what is not there", done.all)


# ---- pull ----

def test_pull():
    repo = HUB.add("org/small", small_model())
    HUB.reset()
    done = lamina("pull", "pull", "org/small", "--dry-run", "--json")
    said = json.loads(done.stdout or "{}")
    ok(done.returncode == 0 and {f["path"] for f in said["files"]} == set(NEEDED) and not (WORK / "pull" / "hub").exists() and
       said["fetch_bytes"] == sum(len(repo.files[p]) for p in NEEDED) and said["commit"] == repo.commit,
       "--dry-run lists what would be fetched and writes nothing", done.all)
    done = lamina("pull", "pull", "org/small", "--piece", "64KiB")
    ok(done.returncode == 0 and done.stdout.strip() == str(folder("pull", "org/small") / "snapshots" / repo.commit) and
       whole("pull", "org/small", repo, NEEDED), "pull prints the snapshot's directory", done.all)
    ranges = [r for r in HUB.requests if r["where"] == "content" and r["range"]]
    ok(len(ranges) >= 1_500_000 // PIECE and HUB.sent(repo.etags["model.safetensors"]) == 1_500_000, "in ranges, each byte once")
    HUB.reset()
    done = lamina("pull", "pull", "org/small")
    ok(done.returncode == 0 and len(HUB.requests) == 1, "the second pull asks for the listing alone", HUB.requests)
    HUB.reset()
    done = lamina("pull", "pull", "org/small", "--if-missing", "--json", "-q")
    ok(done.returncode == 0 and json.loads(done.stdout)["path"] == str(folder("pull", "org/small") / "snapshots" / repo.commit) and
       not HUB.requests, "--if-missing says where it is and asks nobody", done.all)
    done = lamina("missing", "pull", "org/small", "--if-missing")
    ok(done.returncode == 0 and whole("missing", "org/small", repo, NEEDED), "and fetches what is not there", done.all)
    done = lamina("missing", "pull", "org/small", "--if-missing", "--dry-run")
    ok(done.returncode == 2 and "--if-missing" in done.stderr, "--if-missing with --dry-run", done.all)
    done = lamina("include", "pull", "org/small", "--include", "*.md", "--include", "orig*", "--exclude", "*.bin")
    ok(done.returncode == 0 and whole("include", "org/small", repo, ["README.md", "original/consolidated.00.pth"]) and
       len(blobs("include", "org/small")) == 2, "--include takes what matches, and nothing else", done.all)
    done = lamina("include", "pull", "org/small", "--include", "nothing*")
    ok(done.returncode == 3, "--include that matches nothing", done.all)
    newer = HUB.add("org/small", small_model(seed=2))
    HUB.reset()
    done = lamina("pull", "pull", "org/small", "-q")
    ok(done.returncode == 0 and whole("pull", "org/small", newer, NEEDED) and done.stderr == "" and
       not [r for r in HUB.requests if repo.etags["config.json"] in r["path"]], "a newer revision: only what changed", done.all)
    done = lamina("pull", "pull", f"org/small@{repo.commit}")
    ok(done.returncode == 0 and (folder("pull", "org/small") / "refs" / "main").read_text() == newer.commit,
       "an older commit by its name leaves the ref alone", done.all)
    HUB.repos["org/small"][0].branch = "pr/1"
    done = lamina("pull", "pull", "org/small", "--revision", "pr/1")
    HUB.repos["org/small"][0].branch = "main"
    ok(done.returncode == 0 and (folder("pull", "org/small") / "refs" / "pr" / "1").read_text() == newer.commit,
       "a revision with a slash", done.all)
    HUB.repos["org/small"][0].branch = "refs/pr/1"
    lamina("request", "pull", "org/small@refs/pr/1")
    HUB.repos["org/small"][0].branch = "main"
    lamina("commit", "pull", f"org/small@{newer.commit}")
    done = lamina("request", "ls"), lamina("commit", "ls")
    ok("org/small@refs/pr/1\n" in done[0].stdout and "org/small\n" in done[1].stdout, "ls: a revision in folders, and none",
       done[0].all + done[1].all)
    lamina("partly", "pull", "org/small", "--include", "*.json")
    done = lamina("partly", "ls")
    ok("org/small@main  (not complete)\n" in done.stdout, "ls: what has no weights is not complete", done.all)
    HUB.faults.moved = ("old/name", "org/small")
    HUB.repos["old/name"] = HUB.repos["org/small"]
    done = lamina("moved", "pull", "old/name")
    ok(done.returncode == 0 and whole("moved", "old/name", newer, NEEDED), "a repository that moved", done.all)
    HUB.reset()
    plain = HUB.add("org/plain", small_model(seed=3))
    plain.plain_listing = True
    done = lamina("plain", "pull", "org/plain")
    ok(done.returncode == 0 and whole("plain", "org/plain", plain, NEEDED), "a hub that lists names alone is asked file by file", done.all)


def test_choice():
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    sharded = HUB.add("org/sharded", Repo({
        "config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode(), "pytorch_model.bin": b"torch",
        "model-00001-of-00002.safetensors": b"one" * 999, "model-00002-of-00002.safetensors": b"two" * 999,
        "consolidated.safetensors": b"again", "tf_model.h5": b"h5", "onnx/model.onnx": b"onnx",
        "additional_chat_templates/tool_use.jinja": b"{{ x }}"}))
    done = lamina("choice", "pull", "org/sharded")
    got = {str(p.relative_to(folder("choice", "org/sharded") / "snapshots" / sharded.commit))
           for p in (folder("choice", "org/sharded") / "snapshots" / sharded.commit).rglob("*") if p.is_symlink()}
    ok(got == {"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
               "additional_chat_templates/tool_use.jinja"}, "shards that the index names, and one form of weights", got)
    link = folder("choice", "org/sharded") / "snapshots" / sharded.commit / "additional_chat_templates" / "tool_use.jinja"
    ok(os.readlink(link).startswith("../../../blobs/"), "a link in a folder leads one up more")
    HUB.add("org/gguf", Repo({"a.Q4_K_M.gguf": b"GGUF4", "a.Q8_0.gguf": b"GGUF8"}))
    done = lamina("choice", "pull", "org/gguf")
    ok(done.returncode == 2 and "--include" in done.stderr, "several GGUF models: the user chooses", done.all)
    done = lamina("choice", "pull", "org/gguf", "--include", "*Q8*")
    ok(done.returncode == 0 and len(blobs("choice", "org/gguf")) == 1, "and is given what was chosen", done.all)
    HUB.add("org/parts", Repo({f"m-{q}-0000{i}-of-00002.gguf": b"GGUF" for q in ("Q4", "Q8") for i in (1, 2)}))
    done = lamina("choice", "pull", "org/parts")
    ok(done.returncode == 2 and "--include 'm-Q8-*.gguf'" in done.stderr, "a model in parts is named by all of them", done.all)
    HUB.add("org/none", Repo({"config.json": b"{}"}))
    ok(lamina("choice", "pull", "org/none").returncode == 3, "a repository without weights")
    huge = HUB.add("org/huge", small_model(seed=4))
    huge.sibling = lambda path, blobs: dict(Repo.sibling(huge, path, blobs), **(
        {"lfs": {"sha256": "0" * 64, "size": 9 << 40}} if path == "model.safetensors" else {}))
    done = lamina("choice", "pull", "org/huge")
    ok(done.returncode == 6 and "9.00 TiB" in done.stderr and not folder("choice", "org/huge").exists(),
       "too large for the drive: said before anything is fetched", done.all)
    for n, path in enumerate(["../../evil", "/etc/x", "a//b", "a/../../b", "c:\\x", "a\\..\\b"]):
        bad = HUB.add(f"org/bad{n}", small_model(seed=5))
        bad.sibling = lambda p, b, bad=bad, path=path: dict(Repo.sibling(bad, p, b), rfilename=path)
        done = lamina("choice", "pull", f"org/bad{n}")
        ok(done.returncode == 8 and "no path inside a repository" in done.stderr, f"a file called {path}", done.all)


def test_no_links():
    """Nothing but plain files, as on a file system that has no links."""
    plain = dict(HF_HUB_DISABLE_SYMLINKS="1")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    repo = HUB.add("org/plain", Repo({
        "config.json": b"{}", "tokenizer.json": b"{}", "empty.txt": b"", "empty2.txt": b"",
        "model.safetensors.index.json": json.dumps(index).encode(), "model-1.safetensors": random_bytes(90_000, 1),
        "model-2.safetensors": random_bytes(90_000, 2)}))
    at = folder("plain-files", "org/plain") / "snapshots" / repo.commit
    done = lamina("plain-files", "pull", "org/plain", **plain)
    ok(done.returncode == 0 and {p.name: p.read_bytes() for p in at.iterdir() if not p.is_symlink()} == repo.files and
       not blobs("plain-files", "org/plain"), "without links the files lie in the snapshot", done.all)
    HUB.reset()
    for more in (plain, {}):
        done = lamina("plain-files", "pull", "org/plain", **more)
        ok(done.returncode == 0 and len(HUB.requests) == 1 and not blobs("plain-files", "org/plain"), "and are found there", HUB.requests)
        HUB.requests = []
    seen = json.loads(lamina("plain-files", "ls", "--json").stdout)["models"][0]
    ok(seen["complete"] and seen["bytes"] == sum(map(len, repo.files.values())), "ls counts them", seen)
    (at / "model-1.safetensors").write_bytes(b"short")
    done = lamina("plain-files", "pull", "org/plain", **plain)
    ok(done.returncode == 0 and (at / "model-1.safetensors").read_bytes() == repo.files["model-1.safetensors"],
       "one of another size is fetched again", done.all)
    model = ROOT / "demo" / "model"
    HUB.add("org/demo", Repo({p.name: p.read_bytes() for p in model.iterdir() if p.suffix != ".tsv"}))
    for _ in range(2):
        HUB.reset()
        done = lamina("plain-files", "run", "org/demo", "What is the capital of Japan?", "-n", "12", "--temp", "0", **plain)
        ok(done.returncode == 0 and "Tokyo" in done.stdout, "run answers", done.all)
    ok(not HUB.requests, "the second time without asking", HUB.requests)


def test_removing():
    """A removal that was killed half way has left this."""
    HUB.add("org/going", small_model(seed=14))
    locks = WORK / "going" / "hub" / ".locks"
    left = locks / "removed--models--org--going"
    for how in ("rm", "rm of what came again", "pull"):
        lamina("going", "pull", "org/going", "-q")
        shutil.move(folder("going", "org/going"), left)
        if how != "rm":
            lamina("elsewhere", "pull", "org/going", "-q")
            shutil.move(folder("elsewhere", "org/going"), folder("going", "org/going"))
        seen = [m["model"] for m in json.loads(lamina("going", "ls", "--json").stdout)["models"]]
        done = lamina("going", *(("pull",) if how == "pull" else ("rm",)), "org/going", "--json")
        ok(seen == (["org/going"] if how != "rm" else []) and done.returncode == 0 and not left.exists() and
           os.listdir(locks) == (["models--org--going"] if how == "pull" else []) and
           folder("going", "org/going").exists() == (how == "pull"), f"{how} ends a removal that was killed", f"{seen} {done.all}")
        if how == "rm":
            ok(json.loads(done.stdout)["freed_bytes"] > 1_500_000, "and says what that freed", done.all)


def gguf_bytes(seed=1):
    """A small model that can be opened."""
    place = WORK / "made"
    place.mkdir()
    files = model(2, 64, 160, vocab=64, seed=seed)
    for name, data in files.items():
        (place / name).write_bytes(data)
    Conversion(json.loads(files["config.json"]), read_checkpoint(str(place))).write(str(place / "model.gguf"))
    data = (place / "model.gguf").read_bytes()
    shutil.rmtree(place)
    return data


def test_gguf():
    logits = ("--ids", "1,2,3", "--json", "--memory", "256MiB")
    repo = HUB.add("org/sub", Repo({"README.md": b"# read me\n", "Q4/m.gguf": gguf_bytes(), "Q4/mmproj-m.gguf": b"GGUF"}))
    place = folder("sub", "org/sub") / "snapshots" / repo.commit / "Q4" / "m.gguf"
    done = lamina("sub", "logits", "org/sub", *logits)
    ok(done.returncode == 0 and "argmax" in done.stdout and place.is_symlink(), "a GGUF file in a folder is found and opened",
       done.all)
    HUB.reset()
    done = lamina("sub", "logits", "org/sub", *logits)
    ok(done.returncode == 0 and not HUB.requests, "and found again without asking", f"{HUB.requests} {done.all}")
    done = lamina("sub", "pull", "org/sub", "-q")
    ok(done.returncode == 0 and done.stdout.strip() == str(place), "pull prints its path", done.all)
    both = HUB.add("org/subs", Repo({"Q4/m.gguf": b"GGUF4", "Q8/m.gguf": b"GGUF8"}))
    for which in ("Q4", "Q8"):
        done = lamina("sub", "pull", "org/subs", "--include", which + "/*", "-q")
        ok(done.returncode == 0 and done.stdout.strip().endswith(f"{both.commit}/{which}/m.gguf"), f"of two the one chosen: {which}",
           done.all)
    done = lamina("sub", "show", "org/subs")
    ok(done.returncode == 2 and "several GGUF models in folders; give the path" in done.stderr, "both in the cache: which is asked",
       done.all)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "more/model-2.safetensors"}}
    HUB.add("org/deep", Repo({
        "config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode(),
        "model-1.safetensors": b"one" * 99, "more/model-2.safetensors": b"two" * 99}))
    lamina("sub", "pull", "org/deep")
    seen = {m["model"]: m for m in json.loads(lamina("sub", "ls", "--json").stdout)["models"]}
    ok(seen["org/deep"]["complete"], "shards in folders are found", seen)


def test_refusals():
    gated = HUB.add("org/gated", small_model(seed=6))
    gated.gated = "no token"
    done = lamina("gated", "pull", "org/gated")
    ok(done.returncode == 4 and f"accept its terms on {HUB.endpoint}/org/gated" in done.stderr and "HF_TOKEN" in done.stderr,
       "gated, no token: what to do", done.all)
    done = lamina("gated", "pull", "org/gated", HF_TOKEN="hf_x")
    ok(done.returncode == 0, "gated, with a token", done.all)
    (WORK / "file").mkdir()
    (WORK / "file" / "token").write_text("hf_file\n")
    HUB.reset()
    done = lamina("file", "pull", "org/gated")
    ok(done.returncode == 0 and HUB.requests[0]["token"] == "Bearer hf_file", "the token of the token file", done.all)
    gated.gated = "not listed"
    done = lamina("gated2", "pull", "org/gated", HF_TOKEN="hf_x")
    ok(done.returncode == 4 and "ask for access" in done.stderr, "gated, not on the list: what to do", done.all)
    done = lamina("gated2", "run", "org/gated", "hello", HF_TOKEN="hf_x")
    ok(done.returncode == 4 and "ask for access" in done.stderr, "the same from run", done.all)
    done = lamina("gated2", "pull", "org/small", HF_TOKEN="bad")
    ok(done.returncode == 4 and "does not know the token" in done.stderr and "bad" not in done.stderr, "a wrong token", done.all)
    for token in (None, "hf_x"):
        done = lamina("none", "pull", "org/missing", HF_TOKEN=token)
        ok(done.returncode == 3 and "check the name" in done.stderr, f"no such repository, token {token}", done.all)
    done = lamina("none", "pull", "org/small@nope")
    ok(done.returncode == 3 and 'no revision "nope"' in done.stderr, "no such revision", done.all)
    done = lamina("none", "pull", "org/small", HF_HUB_OFFLINE="1")
    ok(done.returncode == 5 and "HF_HUB_OFFLINE" in done.stderr, "pull offline", done.all)
    done = lamina("none", "run", "org/nothing", "x", HF_HUB_OFFLINE="1")
    ok(done.returncode == 3 and "HF_HUB_OFFLINE" in done.stderr and "no path here" in done.stderr, "run offline, not in the cache", done.all)
    for name in ("a/b/c", "../x", "a--b/c", "org/na me", "org/x@../y", "org/x@"):
        done = lamina("none", "pull", name)
        ok(done.returncode == 2, f"no name: {name}", done.all)
    done = lamina("none", "pull", "org/small", HF_ENDPOINT="http://127.0.0.1:1")
    ok(done.returncode == 5 and "cannot be reached" in done.stderr, "nobody there", done.all)
    done = lamina("none", "pull", "org/small", HF_ENDPOINT="http://hub.invalid", http_proxy=HUB.endpoint, no_proxy="localhost")
    ok(done.returncode == 0, "through a proxy", done.all)


# ---- misbehaviour ----

def after_fault(name, cache, code, words, repo):
    """A pull that fails so, nothing wrong in the cache, and a pull afterwards that works."""
    done = lamina(cache, "pull", name, "--piece", "64KiB")
    bad = repo.etags["model.safetensors"] in blobs(cache, name)
    ok(done.returncode == code and words in done.stderr and not bad, f"{cache}: exit {code}", done.all)
    HUB.reset()
    done = lamina(cache, "pull", name, "--piece", "64KiB")
    ok(done.returncode == 0 and whole(cache, name, repo, NEEDED), f"{cache}: works afterwards", done.all)


def test_faults():
    repo = HUB.add("org/f", small_model(seed=7))
    weights = repo.etags["model.safetensors"]

    def passes(cache, limit=None):
        done = lamina(cache, "pull", "org/f", "--piece", "64KiB")
        sent = HUB.sent(weights)
        ok(done.returncode == 0 and whole(cache, "org/f", repo, NEEDED) and (limit is None or sent <= limit),
           f"{cache}: overcome", f"{sent} bytes sent\n{done.all}")
        HUB.reset()

    HUB.reset()
    HUB.faults.statuses = [["/api/", 503, {}, 1], [weights, 500, {}, 3], ["resolve", 502, {}, 2]]
    passes("5xx")
    HUB.faults.statuses = [["/api/", 429, {"Retry-After": "2"}, 1]]
    began = time.monotonic()
    passes("429")
    ok(2 <= time.monotonic() - began < 6, "429: Retry-After is heeded", time.monotonic() - began)
    HUB.faults.statuses = [[weights, 429, {"RateLimit": '"resolvers";r=0;t=1'}, 1]]
    began = time.monotonic()
    passes("RateLimit")
    ok(time.monotonic() - began >= 2, "429: the RateLimit header is heeded")
    for cache, part in (("asked to wait for a listing", "/api/"), ("asked to wait for weights", weights)):
        HUB.faults.statuses = [[part, 429, {"Retry-After": "6"}, 1]]
        done = lamina(cache, "pull", "org/f", "--piece", "64KiB")
        ok(done.returncode == 0 and "the hub asks to wait 6 s" in done.stderr, f"{cache}: it is said", done.all)
        HUB.reset()
    HUB.faults.drops = [[weights, 30_000, 12]]
    passes("drops", 1_500_000 + 13 * 70_000)
    HUB.faults.drops = [[weights, 0, 3]]
    passes("drops before a byte")
    HUB.faults.no_ranges = True
    passes("no ranges")
    HUB.faults.no_ranges = True
    HUB.faults.drops = [[weights, 700_000, 2]]
    passes("no ranges, dropped")
    HUB.faults.signed_uses = 5
    passes("signed addresses expire", 1_500_000 + 600_000)
    HUB.faults.statuses = [["/api/", 503, {}, 99]]
    after_fault("org/f", "always 503", 5, "503", repo=repo)
    HUB.faults.corrupt = {weights}
    after_fault("org/f", "wrong bytes", 8, "not those that the hub announced", repo=repo)
    HUB.faults.corrupt = {repo.etags["config.json"]}
    after_fault("org/f", "wrong bytes of a small file", 8, "git SHA-1", repo=repo)
    HUB.faults.shrink = {weights: 1_000_000}
    after_fault("org/f", "a shorter file", 8, "", repo=repo)
    HUB.faults.wrong_range = True
    after_fault("org/f", "another range", 8, "other bytes than were asked", repo=repo)
    HUB.faults.encoded = True
    after_fault("org/f", "compressed", 5, "compressed", repo=repo)
    HUB.faults.circle = True
    after_fault("org/f", "a circle", 5, "circle", repo=repo)
    HUB.faults.statuses = [["resolve", 403, {"X-Error-Message": "no"}, 99]]
    after_fault("org/f", "refused while fetching", 4, "refuses access", repo=repo)
    HUB.faults.statuses = [["resolve", 302, {"Location": "ftp://localhost/x"}, 99]]
    after_fault("org/f", "redirect to another protocol", 5, "not followed", repo=repo)
    lying = dict(repo.etags)
    repo.etags["model.safetensors"] = "0" * 64
    HUB.content["0" * 64] = b"x" * 1_500_000
    done = lamina("swapped", "pull", "org/f")
    repo.etags = lying
    ok(done.returncode == 8 and "0" * 64 not in blobs("swapped", "org/f"), "other bytes under the announced checksum", done.all)
    HUB.reset()
    done = lamina("unwritable", "pull", "org/f", HF_HUB_CACHE="/proc/none")
    ok(done.returncode not in (0, 1) and "/proc/none" in done.stderr, "a cache that cannot be made", done.all)


# ---- stopped and resumed ----

def finished_pieces(cache, name, etag):
    """(piece length, indices) of the journal, whole lines only."""
    path = folder(cache, name) / "blobs" / f"{etag}.lamina-pieces.incomplete"
    if not path.exists():
        return PIECE, set()
    lines = path.read_text().splitlines(keepends=True)
    piece = int(lines[0].split()[3]) if lines and lines[0].endswith("\n") else PIECE
    return piece, {int(line.split()[0]) for line in lines[1:] if re.fullmatch(r"\d+ [0-9a-f]{32}\n", line)}


def asked_again(pieces, piece, etag):
    """Ranges asked of the content network since the last reset that touch a finished piece."""
    wrong = []
    for r in HUB.requests:
        if r["where"] == "content" and etag in r["path"]:
            first, last = r["range"].removeprefix("bytes=").split("-")
            wrong += [r["range"] for i in range(int(first) // piece, int(last) // piece + 1) if i in pieces]
    return wrong


def start(cache, *words):
    return CHECKS.start(cache, "pull", *words)


def test_kills():
    size, dice = 24_000_000, random.Random(5)
    repo = HUB.add("org/k", small_model(seed=8, size=size))
    etag = repo.etags["model.safetensors"]
    HUB.reset()
    HUB.faults.bytes_per_s = 800_000 # of each connection
    kills, sent, wrong, states = 0, 0, [], []
    while kills < KILLS:
        piece, before = finished_pieces("kills", "org/k", etag)
        HUB.requests = []
        child = start("kills", "org/k", "--piece", "64KiB", "--connections", "4", "-q")
        try:
            child.wait(0.05 + dice.random() * 0.25)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL if kills % 3 else signal.SIGINT)
            kills += 1
        child.communicate()
        wrong += asked_again(before, piece, etag)
        sent += HUB.sent(etag)
        states.append(len(before))
        if child.returncode == 0:
            break
    time.sleep(0.3)
    HUB.faults.bytes_per_s = None
    ok(kills == KILLS and states[-1] > states[0], f"stopped {kills} times while it came, {states[-1]} of {size // PIECE + 1} pieces there",
       f"{kills} kills, pieces at each start: {states}")
    ok(not wrong, f"no finished range is asked for again ({sent} bytes sent so far)", wrong)
    ok(etag not in blobs("kills", "org/k"), "nothing looks finished that is not")
    piece, before = finished_pieces("kills", "org/k", etag)
    HUB.requests = []
    done = lamina("kills", "pull", "org/k", "--piece", "1MiB")
    fetched = HUB.sent(etag)
    ok(done.returncode == 0 and not asked_again(before, piece, etag) and fetched == size - len(before) * piece,
       f"the last run fetches what is missing, {fetched} bytes", f"{fetched} {len(before)}\n{done.all}")
    ok(whole("kills", "org/k", repo, NEEDED), "every byte is right and nothing is left behind", blobs("kills", "org/k"))


def partly(cache, name, etag):
    """Pulls until some pieces are finished, then kills."""
    HUB.reset()
    HUB.faults.bytes_per_s = 1_000_000
    child = start(cache, name, "--piece", "64KiB", "--connections", "2", "-q")
    for _ in range(400):
        time.sleep(0.02)
        if len(finished_pieces(cache, name, etag)[1]) >= 5:
            break
    child.kill()
    child.communicate()
    time.sleep(0.3)
    HUB.reset()


def test_leftovers():
    repo = HUB.add("org/l", small_model(seed=9))
    etag = repo.etags["model.safetensors"]
    lamina("renamed", "pull", "org/l")
    for file in (repo.etags["config.json"], etag):
        (folder("renamed", "org/l") / "blobs" / f"{file}.lamina-pieces.incomplete").write_text("lamina-pieces 1 ")
    done = lamina("renamed", "pull", "org/l")
    ok(done.returncode == 0 and whole("renamed", "org/l", repo, NEEDED), "left behind: journals of files that are whole", done.all)
    partly("rewriting", "org/l", etag)
    (folder("rewriting", "org/l") / "blobs" / f"{etag}.lamina-pieces.incomplete.tmp-1-2f").write_text("lamina")
    done = lamina("rewriting", "pull", "org/l")
    ok(done.returncode == 0 and whole("rewriting", "org/l", repo, NEEDED), "left behind: half a journal", done.all)
    for what in ("a torn line", "damaged bytes", "lost bytes", "a journal of another file", "bytes without a journal"):
        cache = what.replace(" ", "-")
        partly(cache, "org/l", etag)
        place = folder(cache, "org/l") / "blobs"
        data, journal = place / f"{etag}.lamina.incomplete", place / f"{etag}.lamina-pieces.incomplete"
        if what == "a torn line":
            journal.write_text(journal.read_text()[:-20])
        elif what == "damaged bytes":
            with open(data, "r+b") as f:
                f.seek(1000)
                byte = f.read(1)
                f.seek(1000)
                f.write(bytes([byte[0] ^ 1]))
        elif what == "lost bytes":
            os.truncate(data, 70_000)
        elif what == "a journal of another file":
            journal.write_text(journal.read_text().replace(etag, "f" * 64))
        else:
            journal.unlink()
        done = lamina(cache, "pull", "org/l")
        ok(done.returncode == 0 and whole(cache, "org/l", repo, NEEDED), f"left behind: {what}", done.all)
    partly("changed", "org/l", etag)
    newer = HUB.add("org/l", small_model(seed=10))
    done = lamina("changed", "pull", "org/l")
    ok(done.returncode == 0 and (folder("changed", "org/l") / "snapshots" / newer.commit / "model.safetensors").read_bytes() ==
       newer.files["model.safetensors"], "the file changed on the hub between two runs", done.all)
    HUB.repos["org/l"] = [repo]
    older = lamina("update", "pull", "org/l")
    HUB.repos["org/l"] = [newer]
    partly("update", "org/l", newer.etags["model.safetensors"])
    ok(older.returncode == 0 and (folder("update", "org/l") / "refs" / "main").read_text() == repo.commit,
       "an update that was stopped leaves the revision of before")


def test_together():
    repo = HUB.add("org/t", small_model(seed=11))
    etag = repo.etags["model.safetensors"]
    HUB.reset()
    HUB.faults.bytes_per_s = 3_000_000
    children = [start("together", "org/t", "--piece", "64KiB", "--connections", "2") for _ in range(4)]
    results = [(*child.communicate(), child.returncode) for child in children]
    ok(all(r[2] == 0 for r in results) and whole("together", "org/t", repo, NEEDED), "four pulls at once", results)
    ok(HUB.sent(etag) == len(repo.files["model.safetensors"]), "fetch each byte once", HUB.sent(etag))
    HUB.reset()
    # The Python client takes the same lock: while it is held, nobody fetches the file.
    lock = WORK / "locked" / "hub" / ".locks" / "models--org--t" / f"{etag}.lock"
    lock.parent.mkdir(parents=True)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        child = start("locked", "org/t", "-v")
        for _ in range(1000):  # until it has come to the weights
            time.sleep(0.02)
            if [r for r in HUB.requests if "tokenizer.json" in r["path"]]:
                break
        time.sleep(1)
        waits = child.poll() is None and HUB.sent(etag) == 0
    out = child.communicate()
    ok(waits and child.returncode == 0 and "another process fetches it" in out[1], "a lock of somebody else is waited for", out)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = lamina("locked", "rm", "org/t")
    ok(done.returncode == 75 and folder("locked", "org/t").exists(), "rm leaves a model alone that is being fetched", done.all)
    # Who waited for a file that somebody else has fetched meanwhile takes no room for it.
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    repo = HUB.add("org/two", Repo({
        "config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode(),
        "model-1.safetensors": random_bytes(300_000, 12), "model-2.safetensors": random_bytes(300_000, 13)}))
    first, second = repo.etags["model-1.safetensors"], repo.etags["model-2.safetensors"]
    lock = WORK / "waited" / "hub" / ".locks" / "models--org--two" / f"{first}.lock"
    lock.parent.mkdir(parents=True)
    HUB.reset()
    HUB.faults.bytes_per_s = 100_000
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        child = start("waited", "org/two")
        for _ in range(1000):
            time.sleep(0.02)
            if [b for b in blobs("waited", "org/two") if b.startswith(second)]:
                break
        (folder("waited", "org/two") / "blobs" / first).write_bytes(repo.files["model-1.safetensors"])
    time.sleep(0.8)
    left, running = [b for b in blobs("waited", "org/two") if b.startswith(first)], child.poll() is None
    out = child.communicate()
    ok(running and left == [first] and child.returncode == 0 and HUB.sent(first) == 0, "a file that came while it was waited for takes "
       "no room again", f"{left} {running} {out}")


def main():
    began = time.monotonic()
    try:
        for test in (test_run, test_pull, test_choice, test_removing, test_no_links, test_gguf, test_refusals, test_faults, test_kills, test_leftovers, test_together):
            if len(sys.argv) < 4 or sys.argv[3] in test.__name__:
                test()
    finally:
        HUB.close()
        shutil.rmtree(WORK, ignore_errors=True)
    print(f"1..{CHECKS.cases}")
    print(f"# {time.monotonic() - began:.0f} s, {threading.active_count()} threads", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
