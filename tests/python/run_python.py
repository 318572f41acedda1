#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python package against the headers and the program: the same sizes, the same answers, the same numbers. TAP on stdout.

usage: run_python.py LAMINA [TESTDATA, not needed]    (liblamina.so lies beside LAMINA)

Needs the standard library alone; numpy and a wheel's build tools are used when they are here. What needs torch and transformers is
tools/airllm_check.py.
"""
import array
import ctypes
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LAMINA = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LAMINA_PROGRAM", "build/lamina"))
WORK = pathlib.Path(tempfile.mkdtemp(prefix="lamina-python."))
MODEL = str(ROOT / "demo" / "model")
os.environ["LAMINA_LIBRARY"] = os.path.join(os.path.dirname(LAMINA), "liblamina.so")
os.environ["LAMINA_PROGRAM"] = LAMINA
os.environ["LAMINA_HOME"] = str(WORK / "home")
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "hub"), str(ROOT / "tools")]
sys.dont_write_bytecode = True
QUESTIONS = ["What is the capital of France?", "What is the capital of Japan?", "What is 47 + 38?", "Why is the sky blue?",
             "Tell me a story about a boy named Tom.", "Hello"]
MEMORY = "1GiB"
cases = 0


def ok(good, name, why=""):
    global cases
    cases += 1
    if not good:
        print("\n".join("# " + line for line in str(why)[:1500].splitlines()))
    print(f"{'ok' if good else 'not ok'} {cases} - {name}", flush=True)


def skip(name, why):
    global cases
    cases += 1
    print(f"ok {cases} - {name} # SKIP {why}", flush=True)


def refused(kind, name, function, *arguments, words="", **named):
    try:
        function(*arguments, **named)
        ok(False, name, "nothing was refused")
    except kind as error:
        ok(words in str(error), name, f"{error!r} does not say {words!r}")
    except Exception as error:
        ok(False, name, f"{error!r} instead of {kind.__name__}")


def lamina_json(*words, text=""):
    done = subprocess.run([LAMINA, *words, "--json", "--quiet"], input=text.encode(), capture_output=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"lamina {words} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def python(script, **more):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), **more}
    return subprocess.run([sys.executable, "-B", "-c", script], env=env, capture_output=True, text=True, timeout=600, check=False)


# ---- the declarations ----

def test_abi():
    import python_abi
    from lamina import _abi, records
    ok(not python_abi.differences(), "python/lamina/_abi.py is what the headers give", python_abi.differences())
    cc = shutil.which(os.environ.get("CC", "cc"))
    if cc is None:
        skip("sizes and offsets are the compiler's", "no C compiler")
    else:
        lines = []
        for struct in _abi.STRUCTS:
            name = struct.__name__
            lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
            lines += [f'printf("{name}.{field} %zu %zu\\n", offsetof(struct {name}, {field}), sizeof(((struct {name} *)0)->{field}));'
                      for field, _ in struct._fields_]
        source = WORK / "sizes.c"
        source.write_text("#include <lamina/lamina.h>\n#include <stdio.h>\nint main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n")
        done = subprocess.run([cc, f"-I{ROOT / 'include'}", str(source), "-o", str(WORK / "sizes")], capture_output=True, text=True,
                              check=False)
        ok(done.returncode == 0, "each declared struct and field is one of the header", done.stderr)
        theirs = subprocess.run([str(WORK / "sizes")], capture_output=True, text=True, check=False).stdout.splitlines()
        ours = []
        for struct in _abi.STRUCTS:
            ours.append(f"{struct.__name__} {ctypes.sizeof(struct)}")
            ours += [f"{struct.__name__}.{f} {getattr(struct, f).offset} {getattr(struct, f).size}" for f, _ in struct._fields_]
        ok(ours == theirs and len(ours) > 150, f"{len(ours)} sizes and offsets are the compiler's",
           "\n".join(f"{a} | {b}" for a, b in zip(ours, theirs) if a != b))
    for record, struct in ((records.Plan, _abi.lamina_plan), (records.Info, _abi.lamina_info), (records.Stats, _abi.lamina_stats),
                           (records.Part, _abi.lamina_part), (records.PlanLine, _abi.lamina_plan_line)):
        fields = [f for f, _ in struct._fields_ if f not in ("size", "line_count")]
        ok(set(record.__dataclass_fields__) == set(fields), f"{record.__name__} has the fields of {struct.__name__}",
           set(record.__dataclass_fields__) ^ set(fields))
    header = (ROOT / "include" / "lamina" / "lamina.h").read_text() + (ROOT / "include" / "lamina" / "status.h").read_text()
    declared = set(re.findall(r"LAMINA_API[^;(]*?(lamina_\w+)\(", header))
    ok(declared == set(_abi.FUNCTIONS), "every function of the header is declared", declared ^ set(_abi.FUNCTIONS))


# ---- answers ----

def test_generate(lamina, model):
    for text in QUESTIONS:
        said = lamina_json("run", MODEL, text, "-n", "40", "--memory", MEMORY)
        answer = model.generate(text, max_tokens=40)
        ours = {"text": answer.text, "stop_reason": answer.stop_reason, "prompt_tokens": answer.prompt_tokens,
                "new_tokens": answer.new_tokens}
        ok(ours == said, f"generate({text!r}) is what lamina run says", f"{ours}\n{said}")
    said = lamina_json("run", MODEL, QUESTIONS[4], "-n", "60", "--raw", "--stop", "was", "--memory", MEMORY)
    answer = model.generate(QUESTIONS[4], max_tokens=60, raw=True, stop=["was"])
    ok((answer.text, answer.stop_reason) == (said["text"], said["stop_reason"]), "a plain prompt and a stop string", f"{answer}\n{said}")
    said = lamina_json("run", MODEL, QUESTIONS[4], "-n", "30", "--temp", "0.9", "--top-k", "50", "--seed", "7", "--memory", MEMORY)
    answer = model.generate(QUESTIONS[4], max_tokens=30, temperature=0.9, top_k=50, seed=7)
    ok(answer.text == said["text"], "a sampled answer of the same seed", f"{answer.text}\n{said['text']}")
    messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": QUESTIONS[0]}]
    prompt = model.tokenizer.apply_chat_template(messages)
    ok(model.generate(messages).ids == model.generate(model.tokenizer.encode_prompt(prompt)).ids, "messages, and their ids")
    pieces = []
    answer = model.generate(QUESTIONS[3], on_text=lambda text: pieces.append(text) and False)
    ok("".join(pieces) == answer.text and len(pieces) > 3, "on_text gets the text in pieces", pieces)
    answer = model.generate(QUESTIONS[3], on_text=lambda text: True)
    ok(answer.stop_reason == "interrupted" and answer.new_tokens == 1, "on_text can stop", answer)


def test_stream(lamina, model):
    whole = model.generate(QUESTIONS[4])
    stream = model.stream(QUESTIONS[4])
    pieces = list(stream)
    ok("".join(pieces) == whole.text and len(pieces) > 20 and stream.answer.ids == whole.ids, "stream gives the same text in pieces",
       pieces)
    with model.stream(QUESTIONS[4], max_tokens=200) as stream:
        first = next(stream)
    ok(whole.text.startswith(first) and stream.answer.stop_reason == "interrupted" and stream.answer.new_tokens < 143,
       "a stream that is left stops the model", stream.answer)
    for _ in model.stream(QUESTIONS[4]):
        break
    ok(model.generate(QUESTIONS[0]).stop_reason == "eos", "the model is free after a stream was forgotten")
    refused(lamina.UsageError, "a stream says what is wrong with its prompt", model.stream, [], words="empty")
    bad = model.stream([1, 2, 10**6])
    refused(lamina.UsageError, "errors of a stream come to whoever reads it", list, bad, words="vocabulary")


class Interrupted:
    """In place of a stream's queue: Ctrl-C comes while a piece is awaited."""

    def get(self):
        raise KeyboardInterrupt


def test_stopping(lamina, model):
    with model.stream(QUESTIONS[4], max_tokens=1900, ignore_eos=True) as stream:
        pass
    ok(stream.answer is None or stream.answer.stop_reason == "interrupted", "a stream that nobody reads is closed without a word")
    stream = model.stream(QUESTIONS[4], max_tokens=1900, ignore_eos=True)
    next(stream)
    pieces, stream._pieces = stream._pieces, Interrupted()
    refused(KeyboardInterrupt, "Ctrl-C while a piece is awaited", next, stream)
    stream._pieces = pieces
    ok(len(list(stream)) < 1000 and stream.answer.new_tokens < 1000, "and the model stops, although the stream is still there",
       stream.answer)
    began, chunks = threading.Event(), []

    def see(progress):
        chunks.append(progress.kind)
        began.set()

    with lamina.Model(MODEL, memory=MEMORY, prompt_rows=8, context=2000, progress=see) as slow:
        with slow.stream([7] * 1900, max_tokens=5):
            began.wait()
        ok(0 < len(chunks) < 200, "closing does not wait for the rest of a prompt", len(chunks))
        refused(lamina.UsageError, "what was stopped stops nothing else", slow.generate, [10**6], words="vocabulary")
    # Exit handlers run last in, first out: this one counts when the model has been stopped.
    script = f"""
import atexit, lamina
made = []
def count():
    futures = [stream._future for stream in made]
    tokens = sum(f.result().new_tokens for f in futures if f.exception() is None)
    print(tokens < 1000, isinstance(futures[1].exception(), lamina.StoppedError))
atexit.register(count)
m = lamina.Model({MODEL!r}, memory={MEMORY!r})
for _ in range(2):
    made.append(m.stream("Tell me a story.", max_tokens=1900, ignore_eos=True))
for piece in made[0]:
"""
    done = python(script + "    raise KeyboardInterrupt\n")
    ok(done.stdout == "True True\n" and done.returncode != 0, "Ctrl-C in a loop over a stream ends the program after a sweep", done)
    done = python(script + "    break\n")
    ok(done.stdout == "True True\n" and done.returncode == 0 and not done.stderr,
       "so does the end of a program with unfinished streams", done)


def test_batch(lamina, model):
    alone = [model.generate(q, max_tokens=60) for q in QUESTIONS]

    def same(answers, name):
        a = [(x.text, x.ids, x.stop_reason, x.new_tokens, x.prompt_tokens) for x in answers]
        b = [(x.text, x.ids, x.stop_reason, x.new_tokens, x.prompt_tokens) for x in alone]
        ok(a == b, name, f"{a}\n{b}")

    before = model.stats.passes
    same(model.batch(QUESTIONS, max_tokens=60), f"{len(QUESTIONS)} prompts in one batch: each answer as alone")
    passes = model.stats.passes - before if model.stats.passes >= before else model.stats.passes
    ok(0 < passes <= 61, "a sweep carries a token of each", passes)
    with lamina.Model(MODEL, memory=MEMORY, sequences=2) as two:
        same(two.batch(QUESTIONS, max_tokens=60), "a batch of more prompts than sequences")
    with lamina.Model(MODEL, memory=MEMORY, sequences=4, prompt_rows=8) as narrow:
        same(narrow.batch(QUESTIONS, max_tokens=60), "a batch whose prompts take many passes")
    stops = [model.generate(q, max_tokens=60, stop=["the", "is"]) for q in QUESTIONS]
    ok([(a.text, a.stop_reason) for a in model.batch(QUESTIONS, max_tokens=60, stop=["the", "is"])] ==
       [(a.text, a.stop_reason) for a in stops], "stop strings in a batch", stops)
    ok(model.batch([]) == [], "a batch of nothing")
    left = model.batch(QUESTIONS[:3], max_tokens=20, on_token=lambda index, token: index == 1)
    ok([a.stop_reason == "interrupted" for a in left] == [False, True, False], "one of a batch is stopped", left)
    refused(lamina.UsageError, "a batch names the prompt that is wrong", model.batch, [[1], []], words="prompt 1")
    refused(ZeroDivisionError, "what a callback of a batch raises comes out", model.batch, QUESTIONS, on_token=lambda i, t: 1 // 0)
    ok(model.generate(QUESTIONS[0], max_tokens=60).ids == alone[0].ids, "and the model still answers")
    samples = [model.batch([QUESTIONS[4]] * 3, max_tokens=20, temperature=1.0, seed=5) for _ in range(2)]
    ok([a.ids for a in samples[0]] == [a.ids for a in samples[1]] and len({tuple(a.ids) for a in samples[0]}) == 3,
       "samples of a batch differ, and repeat with the seed", samples[0])


def test_logits(lamina, model):
    ids = model.prompt_ids(QUESTIONS[0])
    said = lamina_json("logits", MODEL, "--ids", ",".join(map(str, ids)), "-n", "1", "--kv", "f16", "--memory", MEMORY)
    last, rows = model.logits(ids), model.logits(ids, rows="all")
    ok(last.shape == (1, 3072) and last.tolist()[0] == array.array("f", said["logits_last"]).tolist(),
       "logits are those of lamina logits, bit for bit")
    best = [max(range(len(row)), key=row.__getitem__) for row in rows.tolist()]
    ok(rows.shape == (len(ids), 3072) and best == said["argmax"] and rows.tolist()[-1] == last.tolist()[0], "and those of each position")
    if importlib.util.find_spec("numpy") is None:
        skip("numpy takes them without copying", "numpy is not installed")
    else:
        import numpy
        ok(numpy.asarray(rows).shape == (len(ids), 3072) and numpy.asarray(rows).dtype == numpy.float32, "numpy takes them without copying")
    refused(lamina.UsageError, "no logits of nothing", model.logits, [])
    refused(lamina.UsageError, "rows are last or all", model.logits, ids, rows="first")


def test_facts(lamina, model):
    said = lamina_json("show", MODEL)
    ok(model.info.codec == "planes" and model.info.architecture == "LlamaForCausalLM" and model.info.vocab == 3072 and
       os.path.isfile(os.path.join(model.info.store_path, "lamina.json")), "info", f"{model.info}\n{said}")
    plan = model.plan
    ok(plan.fits and plan.budget_bytes == 1 << 30 and sum(line.bytes for line in plan.line) == plan.total_bytes, "plan", plan)
    ok(lamina.Model.forecast(MODEL, "40MiB", 100000).fits is False, "a forecast says that it does not fit")
    parts = model.profile()
    ok([p.name for p in parts] == ["embedding", *(f"layer {i}" for i in range(6)), "head"] and sum(p.pass_s for p in parts) > 0, "profile",
       parts)
    ok(model.stats.memory_budget_bytes == 1 << 30 and json.dumps(model.stats.as_dict()), "stats")


def test_tokenizer(lamina, model):
    with lamina.Tokenizer(MODEL) as t:
        for text in ("Once upon a time", " naïve café 東京 ☕ ", "<|user|>\nhi<|end|>", "zero\0inside", "\ud800 lone"):
            said = lamina_json("tokenize", MODEL, text=text) if "\0" not in text and "\ud800" not in text else None
            ids = t.encode(text)
            ok(said is None or ids == said["ids"], f"encode({text!a})", f"{ids}\n{said}")
            if "\ud800" not in text:
                ok(t.decode(t.encode(text, special=False), skip_special=False) == text, f"decode is its inverse for {text!a}")
        ok(t.encode("<|end|>", special=False, parse_special=False) != [5] and t.encode("<|end|>", special=False) == [5],
           "special tokens in a text are parsed when asked for")
        refused(lamina.UsageError, "-1 is no id", t.decode, [-1], words="-1")
        refused(lamina.LaminaError, "nor is one of another tokenizer", t.decode, [4000000])
        refused(lamina.LaminaError, "a conversation that is none", t.apply_chat_template, ["x"])
    refused(lamina.NotFoundError, "a chat template that is not there", lamina.Tokenizer, MODEL, "no-such-format", words="no-such-format")
    refused(lamina.UsageError, "a closed tokenizer says so", t.encode, "x", words="closed")
    empty = WORK / "empty"
    empty.mkdir()
    refused(lamina.NotFoundError, "a folder without a tokenizer", lamina.Tokenizer, str(empty))


def test_errors(lamina, model):
    refused(FileNotFoundError, "a path that is not there", lamina.Model, str(WORK / "nothing"), words="does not exist")
    refused(lamina.NoFitError, "a budget that is too small names one that is not", lamina.Model, MODEL, "8MiB", words="smallest")
    refused(MemoryError, "and is a MemoryError", lamina.Model, MODEL, "8MiB")
    refused(lamina.UsageError, "a size that is none", lamina.Model, MODEL, "much", words="much")
    refused(lamina.UnsupportedError, "a codec that is none", lamina.Model, MODEL, codec="zip", words="zip")
    refused(lamina.UsageError, "an option that is none", model.generate, "x", heat=1, words="heat")
    refused(lamina.UsageError, "a temperature out of range", model.generate, "x", temperature=-1.0, words="temperature")
    refused(lamina.UsageError, "no tokens", model.generate, "x", max_tokens=0)
    refused(lamina.UsageError, "a store has its codec", lamina.Model, model.info.store_path, codec="q8", words="planes")
    with lamina.Model(MODEL, memory=MEMORY, context=20) as short:
        refused(lamina.UsageError, "a prompt longer than a given context", short.generate, list(range(7, 40)), words="context")
        answer = short.generate(QUESTIONS[4], max_tokens=50)
        ok(answer.stop_reason == "length" and answer.prompt_tokens + answer.new_tokens in (20, 21), "an answer ends with a given context",
           answer)
        pair = short.batch([QUESTIONS[4]] * 2, max_tokens=50)
        ok([a.ids for a in pair] == [answer.ids] * 2, "in a batch too", pair)
    long = model.generate([7] * 700, max_tokens=3, ignore_eos=True)
    ok(long.new_tokens == 3 and model.plan.context_tokens >= 703, "a context that was not given grows")
    closed = lamina.Model(MODEL, memory=MEMORY)
    closed.close()
    closed.close()
    refused(lamina.UsageError, "a closed model says so", closed.generate, "x", words="closed")
    done = python("import lamina; lamina.Model('x/y')", LAMINA_LIBRARY=str(WORK / "none.so"))
    ok("NotFoundError" in done.stderr and "LAMINA_LIBRARY" in done.stderr, "a library that is not there", done.stderr)
    ok([lamina.parse_size(s) for s in ("4GiB", "512M", "20GB", "1500", 7, None, "1.5K")] ==
       [4 << 30, 512 << 20, 20 * 10**9, 1500, 7, 0, 1536], "sizes are read as the program reads them")


def test_reopening(lamina, model):
    """A model that a request needs opened anew, when there is no room any more: not even for what it was."""
    done = python(f"""
import lamina
m = lamina.Model({MODEL!r}, memory="120MiB")
first = m.generate("Hello").text
room = b"x" * (100 << 20)
for call in (lambda: m.generate("Hello", max_tokens=1000), lambda: m.stats, lambda: m.plan, m.profile, lambda: m.batch(["Hello"])):
    try:
        call()
        print("nothing was refused")
    except lamina.LaminaError as error:
        print(type(error).__name__, "the model is closed" in str(error), "the next request tries again" in str(error))
del room
print(m.generate("Hello").text == first, m.stats.passes > 0)
""")
    want = ["NoFitError True True", *["UsageError True True"] * 3, "NoFitError True True", "True True"]
    ok(done.stdout.splitlines() == want and done.returncode == 0,
       "a model that cannot be opened again says so, and is when it can be", f"{done.returncode}\n{done.stdout}\n{done.stderr}")
    armed = []

    def log(level, text):  # a context longer than the model was made for is warned about when it is opened
        if armed:
            raise ZeroDivisionError(text)

    with lamina.Model(MODEL, memory=MEMORY, log=log) as m:
        want = m.generate(QUESTIONS[0]).ids
        armed.append(True)
        refused(ZeroDivisionError, "what a callback raises while a model is opened anew comes out", m.generate, QUESTIONS[0],
                max_tokens=3000)
        ok(m.plan.context_tokens < 3000 and m.generate(QUESTIONS[0]).ids == want, "and the model is as it was")
        armed.clear()
        m.generate(QUESTIONS[0], max_tokens=3000)
        armed.append(True)
        refused(ZeroDivisionError, "where it raises once more", m.batch, QUESTIONS)
        refused(lamina.UsageError, "the model is closed", lambda: m.stats, words="a callback raised")
        armed.clear()
        ok([a.ids for a in m.batch(QUESTIONS[:1])] == [want], "and the next request opens it")


def test_mute(lamina, model):
    """A checkpoint without the files of a tokenizer."""
    folder = WORK / "mute"
    subprocess.run([sys.executable, str(ROOT / "tests" / "cli" / "mkmodel.py"), str(folder)], check=True, stdout=subprocess.DEVNULL)
    with lamina.Model(str(folder), memory=MEMORY) as mute:
        alone = [mute.generate(ids, max_tokens=4, seed=1) for ids in ([5, 6, 7], [8, 9])]
        both = mute.batch([[5, 6, 7], [8, 9]], 4, seed=1)
        ok([(a.ids, a.text) for a in both] == [(a.ids, "") for a in alone], "a model without a tokenizer answers with ids", both)
        for call in (mute.generate, lambda ids, **more: mute.batch([ids], **more)):
            refused(lamina.NotFoundError, "stop strings need a tokenizer", call, [5, 6], stop=["x"], words="tokenizer")


def test_threads(lamina, model):
    want = {q: model.generate(q, max_tokens=30).ids for q in QUESTIONS}
    got = {}

    def ask(which, questions):
        for q in questions:
            got[q, threading.get_ident()] = which.generate(q, max_tokens=30).ids == want[q]

    with lamina.Model(MODEL, memory=MEMORY) as other:
        threads = [threading.Thread(target=ask, args=(m, QUESTIONS)) for m in (model, model, other, other)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    ok(len(got) == 4 * len(QUESTIONS) and all(got.values()), "four threads and two models: the same answers", got)
    refused(lamina.UsageError, "a callback that calls its model is refused", model.generate, "x", on_text=lambda t: model.stats, words="callback")
    refused(KeyError, "what a callback raises comes out", model.generate, "x", on_text=lambda t: {}["a"])

    def interrupt(_text):
        os.kill(os.getpid(), signal.SIGINT)
        return False

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background
    refused(KeyboardInterrupt, "Ctrl-C while the model computes", model.generate, QUESTIONS[4], on_text=interrupt)
    ok(model.generate(QUESTIONS[0]).stop_reason == "eos", "and the model still answers")
    seen = []
    with lamina.Model(MODEL, memory=MEMORY, home=str(WORK / "other"), progress=seen.append, log=lambda *a: None) as fresh:
        fresh.generate([7] * 20, max_tokens=1)
    ok({"split", "prompt"} <= {p.kind for p in seen}, "progress of splitting and of prompts", seen[:3])
    refused(lamina.StoppedError, "progress can stop", lamina.Model, MODEL, home=str(WORK / "third"), progress=lambda p: True)
    done = python(f"import lamina, gc\nm = lamina.Model({MODEL!r})\ns = m.stream('Tell me a story.')\nnext(s)\ndel m, s\ngc.collect()\n"
                  f"print(lamina.Model({MODEL!r}).generate('Hello').text)\n")
    ok(done.returncode == 0 and done.stdout == "Hello! How can I help you?\n" and not done.stderr,
       "a model and its stream are forgotten while it computes", f"{done.returncode} {done.stdout} {done.stderr}")
    done = python(f"import lamina\nm = lamina.Model({MODEL!r}, memory='1GiB')\nprint(m.generate('Hello').text)\n"
                  "s = m.stream('Tell me a story.')\nnext(s)\n")
    ok(done.returncode == 0 and done.stdout == "Hello! How can I help you?\n" and not done.stderr,
       "a program that closes nothing ends cleanly", f"{done.returncode} {done.stdout} {done.stderr}")


# ---- AirLLM ----

class Ambiguous:
    """Compares as a tensor does."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise ValueError("ambiguous")


def check_airllm_tokenizer(tokenizer):
    chat = [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": " It was "}]
    whole = tokenizer.apply_chat_template(chat, tokenize=False)
    open_end = tokenizer.apply_chat_template(chat, tokenize=False, continue_final_message=True)
    ok(whole.startswith(open_end) and open_end.rstrip().endswith("It was") and len(open_end) < len(whole),
       "continue_final_message ends the prompt with the last message", [whole, open_end])
    ids = tokenizer.apply_chat_template([chat, chat[:1]], continue_final_message=True)
    ok(tokenizer.decode(ids[0]) == open_end and tokenizer.decode(ids[1]).endswith("Say it."), "in ids, for each of many", ids)
    refused(ValueError, "not together with a generation prompt", tokenizer.apply_chat_template, chat, continue_final_message=True,
            add_generation_prompt=True)
    refused(ValueError, "not without text", tokenizer.apply_chat_template, [{"role": "user", "content": ""}],
            continue_final_message=True, words="last message")
    own = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}{{ documents[0] if documents else '' }}"
    ok(tokenizer.apply_chat_template(chat, tokenize=False, chat_template=own) == "[user:Say it.][assistant: It was ]" and
       tokenizer.apply_chat_template(chat[:1], documents=["d"], tokenize=False, chat_template=own) == "[user:Say it.]d" and
       tokenizer.apply_chat_template(chat, tokenize=False) == whole, "chat_template and documents are used, for this call")
    named = tokenizer.apply_chat_template(chat[:1], tokenize=False, chat_template="chatglm2")
    ok("Say it." in named and named != tokenizer.apply_chat_template(chat[:1], tokenize=False),
       "the name of a built-in format too", named)
    for name, value in (("return_assistant_tokens_mask", True), ("tokenizer_kwargs", {"stride": 1})):
        refused(TypeError, f"{name} is refused", tokenizer.apply_chat_template, chat, words=name, **{name: value})
    refused(TypeError, "a tensor where nothing is known", tokenizer, "x", stride=Ambiguous(), words="stride")
    left = tokenizer.apply_chat_template([chat, chat[:1]], padding=True, padding_side="left")
    ok(left[1][0] == tokenizer.pad_token_id and len(left[0]) == len(left[1]), "padding_side of a call", left)
    limit, tokenizer.model_max_length = tokenizer.model_max_length, 40
    row = tokenizer("Say it.", padding="max_length")
    tokenizer.model_max_length = limit
    ok(len(row.input_ids) == 40 and sum(row.attention_mask) < 40, "padding to the model's own length", row)


def test_airllm(lamina, model):
    from lamina import airllm
    with airllm.AutoModel.from_pretrained(MODEL, memory=MEMORY) as m:
        tokens = m.tokenizer(QUESTIONS[:1], return_attention_mask=False, truncation=True, max_length=128, padding=False)
        out = m.generate(tokens["input_ids"], max_new_tokens=20, use_cache=True, return_dict_in_generate=True)
        ids = model.prompt_ids(QUESTIONS[0], raw=True)
        want = model.generate(ids, max_tokens=20)
        ok(out.sequences[0][: len(ids)] == ids and out["sequences"][0][len(ids):len(ids) + len(want.ids)] == want.ids,
           "the quick start with lists", out.sequences)
        prompts = [model.prompt_ids(q) for q in QUESTIONS]
        alone = [m.generate([p], max_new_tokens=12)[0][len(p):] for p in prompts]
        ok(all(a[: len(w.ids)] == w.ids for a, w in zip(alone, (model.generate(p, max_tokens=12) for p in prompts))),
           "generate() gives the model's tokens")
        width = max(map(len, prompts))
        for side in ("left", "right"):
            m.tokenizer.padding_side = side
            padded = m.tokenizer.pad([{"input_ids": p} for p in prompts])
            rows = m.generate(padded["input_ids"], attention_mask=padded["attention_mask"], max_new_tokens=12)
            ok(all(r[width: width + len(a)] == a and r[:width] == p for r, a, p in zip(rows, alone, padded["input_ids"])),
               f"padding on the {side} changes no answer", rows)
        rows = m.generate(padded["input_ids"], max_new_tokens=12)
        ok(all(r[width: width + len(a)] == a for r, a in zip(rows, alone)), "padding tokens are padding without a mask too")
        scores = m.generate([prompts[0]], max_new_tokens=3, return_dict_in_generate=True, output_logits=True)
        ok(len(scores.logits) == 3 and scores.logits[0][0] == model.logits(prompts[0]).tolist()[0] and scores.scores is None,
           "output_logits are the model's")
        ok(m.config.num_hidden_layers == 6 and m.generation_config.eos_token_id == [5, 1] and str(m.device) == "cpu", "config, device")
        refused(ValueError, "greedy sequences are all one", m.generate, [prompts[0]], num_return_sequences=2)
        refused(lamina.UsageError, "a batch is not token ids", m.generate, tokens, words="input_ids")
        class Defaults:  # as a generation_config of transformers 4, where nobody has said a length
            def to_dict(self):
                return {"max_length": 20, "do_sample": False, "num_beams": 1}

        long = model.prompt_ids(QUESTIONS[4] + " It was a cold morning in the village and everybody was still asleep.")
        m.generation_config = airllm.Config({k: v for k, v in m.generation_config.to_dict().items() if k != "max_new_tokens"})
        row = m.generate([long], generation_config=Defaults(), eos_token_id=[])[0]
        ok(len(long) > 20 and len(row) == len(long) + 20, "max_length=20 of a configuration is no limit, but 20 new tokens",
           len(row))
        ok(len(m.generate([prompts[0]], max_length=20, eos_token_id=[])[0]) == 20, "as an argument it is")
        check_airllm_tokenizer(m.tokenizer)
        m.tokenizer.pad_token = None
        refused(ValueError, "padding needs a token", m.tokenizer, QUESTIONS, padding=True, words="padding token")
        refused(TypeError, "what the tokenizer does not know", m.tokenizer, "x", return_offsets_mapping=True, words="return_offsets_mapping")
    for compression, codec in (("8bit", "q8"), ("4bit", "q4")):
        with airllm.AutoModel.from_pretrained(MODEL, compression=compression, memory=MEMORY) as m:
            row = m.generate([prompts[0]], max_new_tokens=8)[0]
            ok(m.lamina.info.codec == codec and len(row) > len(prompts[0]), f"compression={compression!r} is a store in {codec}",
               m.lamina.info)
    for call in (airllm.AutoModel.from_pretrained, airllm.split_and_save_layers):
        refused(lamina.UsageError, "other compressions are refused", call, MODEL, compression="2bit", words="4bit")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        made = airllm.split_and_save_layers(MODEL, str(WORK / "layers"), "a_name", "8bit")
    with lamina.Model(made, memory=MEMORY) as m:
        ok(m.info.codec == "q8" and made == m.info.store_path and made.startswith(str(WORK / "layers")) and len(seen) == 1,
           "split_and_save_layers takes AirLLM's arguments in their order", [made, seen])
    ok(airllm.split_and_save_layers(made) == made and airllm.split_and_save_layers(str(WORK / "gone"), repo_id=MODEL) ==
       model.info.store_path, "a store is its own; repo_id stands in for a checkpoint that is not there")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            airllm.AirLLMLlama2(MODEL, delete_original=True, memory=MEMORY).close()
    said = [str(w.message) for w in seen]
    ok(len(said) == 1 and "lamina split" in said[0], "what means nothing is warned about once, with what to do instead", said)
    done = python(f"from lamina.airllm import AutoModel\nm = AutoModel.from_pretrained({MODEL!r})\nm.generate([[7, 8]], max_new_tokens=2)\n"
                  "import sys\nassert not {'torch', 'numpy', 'transformers'} & set(sys.modules)\n")
    ok(done.returncode == 0, "neither torch nor numpy is imported for lists", done.stderr)


def test_hub(lamina, model):
    from hub_server import Hub, Repo
    server = Hub()
    files = pathlib.Path(MODEL)
    repo = server.add("org/demo", Repo({p.name: p.read_bytes() for p in files.iterdir() if p.suffix != ".tsv"}))
    before = {k: os.environ.pop(k) for k in list(os.environ) if k.startswith("HF_") or k.lower().endswith("_proxy")}
    os.environ.update(HF_ENDPOINT=server.endpoint, HF_HOME=str(WORK / "hf"))
    try:
        with lamina.Model("org/demo", memory=MEMORY, token="hf_secret") as pulled:
            ok("Paris" in pulled.generate(QUESTIONS[0]).text, "a model of the hub is fetched and answers")
        ok({r["token"] for r in server.requests if r["where"] == "hub"} == {"Bearer hf_secret"}, "the token goes to the hub")
        server.reset()
        with lamina.Model("org/demo", memory=MEMORY):
            ok(not server.requests, "and the second time nobody is asked", server.requests)
        refused(lamina.NotFoundError, "a model that the hub has not", lamina.Model, "org/none", words="org/none")
        server.reset()
        with lamina.Model(f"org/demo@{repo.commit}", memory=MEMORY):
            ok(not server.requests, "nor for a commit", server.requests)
        os.environ.update(LAMINA_STREAM="1", LAMINA_DRY_RUN="1", HF_HOME=str(WORK / "hf-stream"))
        with lamina.Model("org/demo", memory=MEMORY) as streamed:
            weights = list((WORK / "hf-stream").rglob("snapshots/*/*.safetensors"))
            ok("Paris" in streamed.generate(QUESTIONS[0]).text and not weights,
               "with LAMINA_STREAM the store alone is made")
        ok(lamina.pull("org/demo") == streamed.info.store_path, "and pull gives it", streamed.info)
        server.reset()
        os.environ.pop("LAMINA_STREAM")
        with lamina.Model("org/demo", memory=MEMORY) as again:
            ok(again.info.store_path == streamed.info.store_path and not server.requests, "which later calls find", again.info)
        os.environ.pop("LAMINA_DRY_RUN")
        os.environ.update(HF_HOME=str(WORK / "hf"))
        server.reset()
        ok(os.path.isfile(os.path.join(lamina.pull("org/demo"), "config.json")) and repo.commit in lamina.pull("org/demo"), "pull")
        server.add("org/sub", Repo({"Q4/m-00001-of-00002.gguf": b"GGUF1", "Q4/m-00002-of-00002.gguf": b"GGUF2", "Q4/mmproj.gguf": b"P"}))
        place = lamina.pull("org/sub")
        server.reset()
        ok(place.endswith("/Q4/m-00001-of-00002.gguf") and lamina.hub.resolve("org/sub") == place and not server.requests,
           "a GGUF model in a folder is its file, and found again", place)
    finally:
        for name in ("HF_ENDPOINT", "HF_HOME", "LAMINA_STREAM", "LAMINA_DRY_RUN"):
            os.environ.pop(name, None)
        os.environ.update(before)


# ---- the wheel ----

def test_wheel():
    missing = [m for m in ("mesonpy", "pip") if importlib.util.find_spec(m) is None]
    missing += [t for t in ("meson", "ninja", "patchelf") if shutil.which(t) is None]
    if missing:
        skip("the wheel", f"needs {' and '.join(missing)}")
        return
    source = WORK / "source"
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, check=False)
    if done.returncode != 0 or subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=False).returncode != 0:
        skip("the wheel", "this is no git checkout")
        return
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(WORK), str(source)],
                          capture_output=True, text=True, check=False)
    wheels = list(WORK.glob("*.whl"))
    ok(done.returncode == 0 and len(wheels) == 1 and "-py3-none-linux_" in wheels[0].name, "pip builds a wheel for every Python 3",
       f"{wheels} {done.stderr[-1400:]}")
    if len(wheels) == 1:
        names = zipfile.ZipFile(wheels[0]).namelist()
        for part in ("liblamina.so", "scripts/lamina", "lamina/py.typed", "lamina/_abi.py", "lamina/airllm.py"):
            ok(any(n.endswith(part) for n in names), f"the wheel holds {part}", names)
        done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(WORK / "site"), str(wheels[0])],
                              capture_output=True, text=True, check=False)
        env = {k: v for k, v in os.environ.items() if k not in ("LAMINA_LIBRARY", "LAMINA_PROGRAM")}
        done = subprocess.run([sys.executable, "-c", f"import lamina; print(lamina.Model({MODEL!r}).generate('Hello').text)"],
                              env={**env, "PYTHONPATH": str(WORK / "site")}, cwd=WORK, capture_output=True, text=True, check=False)
        ok(done.stdout == "Hello! How can I help you?\n", "what is installed answers", done.stderr)


def main():
    try:
        test_abi()
        import lamina
        with lamina.Model(MODEL, memory=MEMORY) as model:
            for test in (test_generate, test_stream, test_stopping, test_batch, test_logits, test_facts, test_tokenizer,
                         test_errors, test_reopening, test_mute, test_threads, test_airllm, test_hub):
                try:
                    test(lamina, model)
                except Exception:
                    ok(False, f"{test.__name__} runs to its end", traceback.format_exc())
        test_wheel()
    except Exception:
        ok(False, "the package can be used", traceback.format_exc())
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    print(f"1..{cases}")


if __name__ == "__main__":
    main()
