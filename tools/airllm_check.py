#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lamina.airllm against transformers on one checkpoint: the same scripts, the same tokens. Needs torch and transformers.

    PYTHONPATH=python python3 tools/airllm_check.py [MODEL, demo/model]

Greedy answers, batches with padding on either side, scores, beams, processors and stopping criteria must be equal token for token;
compressed stores must run. Prints TAP; exits 1 when anything differs.
"""
import contextlib
import io
import os
import pathlib
import sys
import tempfile
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))
if "LAMINA_HOME" not in os.environ:
    HOME = tempfile.TemporaryDirectory(prefix="lamina-airllm.")  # until the program ends
    os.environ["LAMINA_HOME"] = HOME.name
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# What both programs print is compared: the example up to its own further steps.
EXAMPLE = ROOT / "examples" / "airllm_quickstart.py"
QUICK_START = EXAMPLE.read_text().split("\n# The same with a chat template")[0]

import numpy  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import (AutoModelForCausalLM, AutoTokenizer, LogitsProcessor, LogitsProcessorList, StoppingCriteria,  # noqa: E402
                          StoppingCriteriaList, TextIteratorStreamer, TextStreamer)

from lamina.airllm import AirLLMLlama2, AutoModel  # noqa: E402
from lamina.errors import UsageError  # noqa: E402

transformers.logging.set_verbosity_error()
MODEL = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "demo" / "model")
TEXTS = ["Once upon a time", "The capital of France is", "What is 2 + 2?", "Hello, my name is Tom and I", "  two  blanks\n\nand lines",
         "naïve café ☕ 東京", "<|user|>\nWhat is the capital of Japan?<|end|>\n<|assistant|>\n", "A", "1234567890 + 1 ="]
cases = failed = 0


def ok(good, name, why=""):
    global cases, failed
    cases += 1
    failed += not good
    if not good:
        print("\n".join("# " + line for line in str(why)[:2000].splitlines()))
    print(f"{'ok' if good else 'not ok'} {cases} - {name}", flush=True)


def same(ours, theirs, name):
    a, b = torch.as_tensor(ours).tolist(), torch.as_tensor(theirs).tolist()
    ok(a == b, name, f"lamina       {a}\ntransformers {b}")


def printed(script):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(script, "quick start", "exec"), {"__file__": str(EXAMPLE)})
    return out.getvalue()


class NoToken(LogitsProcessor):
    def __init__(self, token):
        self.token = token

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        scores[:, self.token] = -float("inf")
        return scores


class After(StoppingCriteria):
    def __init__(self, length):
        self.length = length

    def __call__(self, input_ids, scores, **unused):
        return torch.full((input_ids.shape[0],), input_ids.shape[1] >= self.length, dtype=torch.bool)


def check_quick_start(reference, tokenizer):
    ids = tokenizer(["What is the capital of United States?"], return_tensors="pt", truncation=True, max_length=128).input_ids
    theirs = reference.generate(ids, max_new_tokens=20, use_cache=True, return_dict_in_generate=True).sequences[0]
    said = printed(QUICK_START)
    ok(said == tokenizer.decode(theirs) + "\n", "the quick start prints what transformers does", f"{said!r}\n{tokenizer.decode(theirs)!r}")
    for compression in ("8bit", "4bit"):
        said = printed(QUICK_START.replace("from_pretrained(MODEL)", f"from_pretrained(MODEL, compression={compression!r})"))
        ok(said.startswith(tokenizer.decode(ids[0])), f"the quick start runs with compression='{compression}'", said)
        with AutoModel.from_pretrained(MODEL, compression=compression) as model:
            ok(model.lamina.info.codec == {"8bit": "q8", "4bit": "q4"}[compression], f"compression='{compression}' is a store in "
               f"{model.lamina.info.codec} of {model.lamina.info.store_bytes} bytes")


def check_tokenizer(model, tokenizer):
    ours = model.tokenizer
    for text in TEXTS:
        for options in ({}, {"add_special_tokens": False}, {"truncation": True, "max_length": 4}):
            a, b = dict(ours(text, **options)), {k: v for k, v in tokenizer(text, **options).items() if k != "token_type_ids"}
            ok(a == b, f"tokenizer({text!r:.24}, {options})", f"{a}\n{b}")
        ids = tokenizer(text).input_ids
        for skip in (False, True):
            a, b = ours.decode(ids, skip_special_tokens=skip), tokenizer.decode(ids, skip_special_tokens=skip)
            ok(a == b, f"decode of {text!r:.24}, skip_special_tokens={skip}", f"{a!r}\n{b!r}")
    for side in ("left", "right"):
        ours.padding_side = tokenizer.padding_side = side
        a, b = ours(TEXTS, padding=True, return_tensors="pt"), tokenizer(TEXTS, padding=True, return_tensors="pt")
        same(a.input_ids, b.input_ids, f"ids padded on the {side}")
        same(a.attention_mask, b.attention_mask, f"mask padded on the {side}")
    ok([ours.eos_token, ours.eos_token_id, ours.pad_token, ours.pad_token_id, ours.bos_token, ours.bos_token_id] ==
       [tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.bos_token,
        tokenizer.bos_token_id], "special tokens")
    chat = [{"role": "user", "content": "What is the capital of Japan?"}]
    ok(ours.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) ==
       tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True), "apply_chat_template: text")
    same(ours.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt"),
         tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True).input_ids,
         "apply_chat_template: ids")
    ok(ours.batch_decode([[5, 6], [7]]) == tokenizer.batch_decode([[5, 6], [7]]), "batch_decode")


def check_greedy(model, reference, tokenizer):
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt").input_ids
        same(model.generate(ids, max_new_tokens=24), reference.generate(ids, max_new_tokens=24), f"greedy after {text!r:.24}")
    ids = tokenizer(TEXTS[0], return_tensors="pt").input_ids
    same(model.generate(ids, max_new_tokens=12).tolist(), torch.tensor(model.generate(ids.tolist(), max_new_tokens=12)), "lists")
    array = model.generate(ids.numpy(), max_new_tokens=12)
    ok(isinstance(array, numpy.ndarray) and array.tolist() == model.generate(ids, max_new_tokens=12).tolist(), "numpy arrays")
    for name, options in {"repetition_penalty": {"repetition_penalty": 1.3}, "eos_token_id": {"eos_token_id": int(ids[0, -1])},
                          "max_length": {"max_length": 9}, "no lengths": {"generation_config": None},
                          "several ends": {"eos_token_id": [18, 20], "pad_token_id": 6}}.items():
        options = {"max_new_tokens": 24, **options} if name not in ("max_length",) else options
        same(model.generate(ids, **options), reference.generate(ids, **options), f"greedy with {name}")
    for name, one in (("stop_strings", dict(stop_strings=["."])),):
        same(model.generate(ids, max_new_tokens=40, **one), reference.generate(ids, max_new_tokens=40, tokenizer=tokenizer, **one), name)
    a = model.generate(ids, max_new_tokens=6, return_dict_in_generate=True, output_scores=True, output_logits=True)
    b = reference.generate(ids, max_new_tokens=6, return_dict_in_generate=True, output_scores=True, output_logits=True)
    same(a.sequences, b.sequences, "sequences with scores")
    far = max(float((x - y).abs().max()) for x, y in zip(a.scores + a.logits, b.scores + b.logits))
    ok(len(a.scores) == len(b.scores) and a.scores[0].shape == b.scores[0].shape and far < 2e-2, f"scores differ by {far:.2g} at most", far)


def check_batches(model, reference, tokenizer):
    tokenizer.padding_side = model.tokenizer.padding_side = "left"
    a, b = model.tokenizer(TEXTS, padding=True, return_tensors="pt"), tokenizer(TEXTS, padding=True, return_tensors="pt")
    theirs = reference.generate(b.input_ids, attention_mask=b.attention_mask, max_new_tokens=16)
    same(model.generate(**a, max_new_tokens=16), theirs, "a batch padded on the left, with its mask")
    same(model.generate(a.input_ids, max_new_tokens=16), reference.generate(b.input_ids, max_new_tokens=16), "and without it")
    model.tokenizer.padding_side = "right"
    c = model.tokenizer(TEXTS, padding=True, return_tensors="pt")
    out = model.generate(**c, max_new_tokens=16)
    width = a.input_ids.shape[1]
    ok(out[:, width:].tolist() == theirs[:, width:].tolist(), "padding on the right changes no answer")
    tokenizer.padding_side = "left"
    alone = [model.generate(tokenizer(t, return_tensors="pt").input_ids, max_new_tokens=16)[0].tolist() for t in TEXTS]
    ok(all(row[-16:][: len(x) - len(tokenizer(t).input_ids)] == x[len(tokenizer(t).input_ids):]
           for row, x, t in zip(theirs.tolist(), alone, TEXTS)), "each answer of a batch is the one that it gets alone")


def check_loops(model, reference, tokenizer):
    ids = tokenizer(TEXTS[0], return_tensors="pt").input_ids
    both = tokenizer(TEXTS[:4], padding=True, return_tensors="pt")
    for beams in (2, 4):
        same(model.generate(ids, max_new_tokens=16, num_beams=beams), reference.generate(ids, max_new_tokens=16, num_beams=beams),
             f"{beams} beams")
    same(model.generate(**both, max_new_tokens=12, num_beams=3), reference.generate(**both, max_new_tokens=12, num_beams=3),
         "3 beams of a padded batch")
    same(model.generate(ids, max_new_tokens=12, num_beams=4, num_return_sequences=3),
         reference.generate(ids, max_new_tokens=12, num_beams=4, num_return_sequences=3), "3 of 4 beams")
    processors = lambda: LogitsProcessorList([NoToken(264)])  # noqa: E731
    same(model.generate(ids, max_new_tokens=16, logits_processor=processors()),
         reference.generate(ids, max_new_tokens=16, logits_processor=processors()), "a logits processor")
    same(model.generate(ids, max_new_tokens=30, stopping_criteria=StoppingCriteriaList([After(14)])),
         reference.generate(ids, max_new_tokens=30, stopping_criteria=StoppingCriteriaList([After(14)])), "a stopping criterion")
    same(model.generate(ids, max_new_tokens=20, no_repeat_ngram_size=2), reference.generate(ids, max_new_tokens=20, no_repeat_ngram_size=2),
         "no_repeat_ngram_size")
    same(model.generate(ids, max_new_tokens=20, min_new_tokens=15), reference.generate(ids, max_new_tokens=20, min_new_tokens=15),
         "min_new_tokens")
    with torch.no_grad():
        far = float((model(ids).logits - reference(ids).logits).abs().max())
    ok(far < 2e-2, f"logits of a forward pass differ by {far:.2g} at most", far)
    labels = both.input_ids[:1].clone()
    labels[0, 0] = labels[0, 1] = -100
    with torch.no_grad():
        ours, theirs = model(both.input_ids[:1], labels=labels), reference(both.input_ids[:1], labels=labels)
    ok(abs(float(ours.loss) - float(theirs.loss)) < 2e-2, f"so do losses: {float(ours.loss):.4f}, {float(theirs.loss):.4f}")
    pair = model(ids, return_dict=False)
    ok(isinstance(pair, tuple) and torch.equal(pair[0], model(ids).logits), "return_dict=False gives a tuple")
    for name, value in (("output_hidden_states", True), ("past_key_values", ((ids,),)), ("position_ids", ids)):
        try:
            model(ids, **{name: value})
            ok(False, f"{name} of a forward pass is refused")
        except UsageError as error:
            ok(name in str(error), f"{name} of a forward pass is refused", error)
    ok(model(ids, output_hidden_states=False, use_cache=True, labels=None).loss is None, "what changes nothing is taken")


def check_sampling(model, tokenizer):
    ids = tokenizer(TEXTS[0], return_tensors="pt").input_ids
    options = dict(max_new_tokens=16, do_sample=True, temperature=0.9, top_k=40, top_p=0.95)
    torch.manual_seed(1)
    a = model.generate(ids, **options)
    torch.manual_seed(1)
    b = model.generate(ids, **options)
    c = model.generate(ids, num_return_sequences=4, seed=5, **options)
    ok(a.tolist() == b.tolist(), "torch.manual_seed makes samples repeatable")
    ok(c.shape[0] == 4 and len({tuple(r) for r in c.tolist()}) > 1, "num_return_sequences gives different samples")
    same(model.generate(ids, max_new_tokens=16, do_sample=True, top_k=1), model.generate(ids, max_new_tokens=16), "top_k=1 is greedy")


def check_streamers(model, tokenizer):
    ids = model.tokenizer(TEXTS[1], return_tensors="pt").input_ids
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        made = model.generate(ids, max_new_tokens=16, streamer=TextStreamer(model.tokenizer, skip_special_tokens=True))
    want = tokenizer.decode(made[0], skip_special_tokens=True)
    ok(out.getvalue() == want + "\n", "TextStreamer", f"{out.getvalue()!r}\n{want!r}")
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    model.generate(ids, max_new_tokens=16, streamer=streamer)
    got = "".join(streamer)
    ok(want.endswith(got) and got, "TextIteratorStreamer", got)


def main():
    warnings.simplefilter("ignore")
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    reference = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    check_quick_start(reference, tokenizer)
    with AirLLMLlama2(MODEL, max_seq_len=64) as model:
        check_tokenizer(model, tokenizer)
        check_greedy(model, reference, tokenizer)
        check_batches(model, reference, tokenizer)
        check_loops(model, reference, tokenizer)
        check_sampling(model, tokenizer)
        check_streamers(model, tokenizer)
    print(f"1..{cases}\n# {cases - failed} of {cases} passed; torch {torch.__version__}, transformers {transformers.__version__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
