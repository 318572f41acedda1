#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demonstration model as GGUF files answers as it does from its own files. TAP on stdout.

usage: run_gguf_text.py LAMINA [TESTDATA, not needed]

The checkpoint is converted with its tokenizer and chat template in the metadata, once with its weights as they are, in one file
and in three parts, and once with matrices in Q8_0; then the commands that people use are asked for text and ids.
"""
import itertools
import json
import os
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gguf_files  # noqa: E402
from gguf_rules import Conversion  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL = os.path.join(ROOT, "demo", "model")
QUESTIONS = ("What is the capital of the United States?", "What is the capital of France?", "What is the capital of Japan?")
TEXT = "Hello <|user|> wörld 12345,  it's\n\n\tfine\u00a0. <|end|>"


def load(name):
    with open(os.path.join(MODEL, name), encoding="utf-8") as f:
        return json.load(f)


def tokenizer_metadata():
    whole, settings = load("tokenizer.json"), load("tokenizer_config.json")
    ids = dict(whole["model"]["vocab"], **{t["content"]: t["id"] for t in whole["added_tokens"]})
    special = {t["content"] for t in whole["added_tokens"] if t["special"]}
    tokens = [t for t, _ in sorted(ids.items(), key=lambda item: item[1])]
    merges = [m if isinstance(m, str) else " ".join(m) for m in whole["model"]["merges"]]
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [3 if t in special else 1 for t in tokens], "tokenizer.ggml.merges": merges,
            "tokenizer.ggml.bos_token_id": ids[settings["bos_token"]], "tokenizer.ggml.eos_token_id": ids[settings["eos_token"]],
            "tokenizer.ggml.add_bos_token": True, "tokenizer.chat_template": settings["chat_template"]}


def q8_0(values):
    """Blocks of 32: a float16 scale, the largest magnitude / 127, and rounded codes."""
    out = bytearray()
    for at in range(0, len(values), 32):
        part = values[at:at + 32]
        scale = struct.pack("<e", max(map(abs, part)) / 127)
        d = struct.unpack("<e", scale)[0]
        out += scale + struct.pack("<32b", *(max(-127, min(127, round(v / d))) if d else 0 for v in part))
    return bytes(out)


def convert(room):
    """Paths of the files to ask."""
    gguf_files.TYPES["Q8_0"] = 8
    c = Conversion(load("config.json"), gguf_files.read_checkpoint(MODEL), False)
    c.convert()
    c.describe()
    c.metadata.update(tokenizer_metadata())
    whole, parts, small = (os.path.join(room, name) for name in ("whole.gguf", "parts", "small"))
    gguf_files.write_gguf(whole, c.metadata, c.out)
    os.mkdir(parts)
    os.mkdir(small)
    third = -(-len(c.out) // 3)
    for i in range(3):
        pairs = {"split.no": i, "split.count": 3, "split.tensors.count": len(c.out)}
        gguf_files.write_gguf(os.path.join(parts, f"demo-{i + 1:05}-of-00003.gguf"), dict(c.metadata, **pairs) if i == 0 else pairs,
                              c.out[i * third:(i + 1) * third])
    coded = []
    for name, shape, kind, raw in c.out:
        if len(shape) == 2:
            values = struct.unpack(f"<{len(raw) // 2}H", raw)
            floats = struct.unpack(f"<{len(values)}f", b"".join(struct.pack("<I", v << 16) for v in values))
            coded.append((name, shape, "Q8_0", q8_0(floats)))
        else:
            coded.append((name, shape, kind, raw))
    gguf_files.write_gguf(os.path.join(small, "demo-Q8_0.gguf"), c.metadata, coded)
    return {"one file": whole, "a directory of three parts": parts, "the second part": os.path.join(parts, "demo-00002-of-00003.gguf"),
            "Q8_0, alone in its directory": small}


class Asker:
    def __init__(self, lamina, home):
        self.lamina, self.home = lamina, home

    def run(self, *arguments, text=None):
        return subprocess.run([self.lamina, *arguments], capture_output=True, input=text, timeout=300, encoding="utf-8",
                              env=dict(os.environ, LAMINA_HOME=self.home), check=False)

    def refused(self, status, words, *arguments):
        done = self.run(*arguments)
        return done.returncode == status and words in done.stderr

    def __call__(self, command, model, *arguments, text=None):
        done = self.run(command, model, *arguments, text=text)
        if done.returncode != 0:
            raise RuntimeError(f"{command} ends with {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def checks(ask, paths):
    """Yields (name, holds)."""
    answers = {q: ask("run", MODEL, q, "--temp", "0", "-q") for q in QUESTIONS}
    ids = ask("tokenize", MODEL, "--json", text=TEXT)
    chat = json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    rendered = ask("template", MODEL, text=chat)
    for words, path in paths.items():
        yield f"{words}: ids of a text", lambda p=path: ask("tokenize", p, "--json", text=TEXT) == ids
        yield f"{words}: a rendered chat", lambda p=path: ask("template", p, text=chat) == rendered
        for question, answer in answers.items():
            yield f"{words}: {question}", lambda p=path, q=question, a=answer: ask("run", p, q, "--temp", "0", "-q") == a
    exact = ("logits", "--ids", "1,2,3,4,5", "-n", "4", "--json", "-q")
    yield "one file: logits bit for bit", lambda: ask(exact[0], paths["one file"], *exact[1:]) == ask(exact[0], MODEL, *exact[1:])


def refusals(ask, paths, room):
    """Yields (name, holds): what is wrong with files, and that nothing else is lost."""
    whole, several, cut = paths["one file"], os.path.join(room, "several"), os.path.join(room, "cut.gguf")
    os.mkdir(several)
    for name in ("a.gguf", "b.gguf"):
        os.link(whole, os.path.join(several, name))
    with open(whole, "rb") as f, open(cut, "wb") as g:
        g.write(f.read()[:-100000])
    yield "several models in a directory", lambda: ask.refused(2, "a.gguf, b.gguf", "run", several, "Hi")
    yield "a file cut short", lambda: ask.refused(8, "cut short", "split", cut)
    yield "a file that is not there", lambda: ask.refused(3, "does not exist", "run", os.path.join(room, "none.gguf"), "Hi")
    yield "a missing part", lambda: ask.refused(3, "demo-00003-of-00003.gguf is missing", "split", incomplete(paths, room))
    store = os.path.join(room, "store")
    yield "verify against the file", lambda: ask("split", whole, "-o", store) and ask("verify", store, "--source", whole)
    yield "--delete-original frees the parts at the end", lambda: freed(ask, paths["the second part"], os.path.join(room, "freed"))


def incomplete(paths, room):
    parts = os.path.join(room, "incomplete")
    os.mkdir(parts)
    for i in (1, 2):
        name = f"demo-{i:05}-of-00003.gguf"
        os.link(os.path.join(paths["a directory of three parts"], name), os.path.join(parts, name))
    return parts


def freed(ask, path, store):
    before = ask("run", path, QUESTIONS[0], "--temp", "0", "-q")
    ask("split", path, "-o", store, "--delete-original")
    return os.listdir(os.path.dirname(path)) == [] and ask("run", store, QUESTIONS[0], "--temp", "0", "-q") == before


def main():
    failed = number = 0
    with tempfile.TemporaryDirectory() as room, tempfile.TemporaryDirectory() as home:
        ask, paths = Asker(sys.argv[1], home), convert(room)
        for number, (words, holds) in enumerate(itertools.chain(checks(ask, paths), refusals(ask, paths, room)), 1):
            try:
                good, why = holds(), ""
            except (RuntimeError, subprocess.TimeoutExpired) as e:
                good, why = False, f" # {e}"
            failed += not good
            print(f"{'ok' if good else 'not ok'} {number} - {words}{why}")
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
