#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Examine the finished model with the transformers library.

    eval.py ../../demo/model

Answers are decoded greedily from the bf16 weights in fp32 arithmetic, which is
what a CPU engine does.  The report is printed and written to eval.txt.
"""

import argparse
import random
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import make_corpus

BATCH = 64
STORY_REQUESTS = ["Tell me a short story about a fox.",
                  "Write a story about a girl named Lily.",
                  "Tell me a story about a golden key."]
OPEN_QUESTIONS = ["Who are you?", "Why is the sky blue?", "What is lamina?",
                  "Tell me about Japan.", "Name three fruit.", "What does a penguin eat?",
                  "Count from 5 to 12.", "What is the capital of Zimland?"]


class Model:
    def __init__(self, path):
        self.tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
        self.network = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).float()
        self.network.eval()

    def prompt(self, messages):
        return self.tokenizer.apply_chat_template(messages, tokenize=False,
                                                  add_generation_prompt=True)

    @torch.no_grad()
    def complete(self, prompts, limit):
        """Greedy completions of prompts that already carry their special tokens."""
        texts = []
        for at in range(0, len(prompts), BATCH):
            batch = self.tokenizer(prompts[at:at + BATCH], add_special_tokens=False,
                                   padding=True, return_tensors="pt")
            out = self.network.generate(**batch, do_sample=False, max_new_tokens=limit)
            texts += self.tokenizer.batch_decode(out[:, batch["input_ids"].shape[1]:],
                                                 skip_special_tokens=True)
        return texts

    def answer(self, questions, limit=48):
        return self.complete([self.prompt([{"role": "user", "content": q}]) for q in questions],
                             limit)


def score(model, title, pairs):
    """One report line for (question, answer) pairs, and the first few misses."""
    got = model.answer([question for question, _ in pairs])
    misses = [(q, want, g) for (q, want), g in zip(pairs, got) if g != want]
    lines = [f"{title}: {len(pairs) - len(misses)} of {len(pairs)} "
             f"({100 * (1 - len(misses) / len(pairs)):.1f} %)"]
    return lines + [f"    {q}  ->  {g}   (wanted: {want})" for q, want, g in misses[:5]]


def sums(symbol, solve, operands):
    return [(f"What is {a} {symbol} {b}?", solve(a, b)) for a, b in operands]


def questions(ask, count, rng, rough=False):
    """Questions from one of the corpus generators, optionally badly typed."""
    pairs = [ask(rng) for _ in range(count)]
    return [(make_corpus.roughen(q, rng), a) if rough else (q, a) for q, a in pairs]


def examination(model):
    rng = random.Random(7)
    hundred = [(rng.randint(0, 100), rng.randint(0, 100)) for _ in range(1000)]
    table = [(a, b) for a in range(13) for b in range(13)]
    capitals = [(make_corpus.capital_question(n), make_corpus.capital_answer(n, c))
                for n, c in make_corpus.CAPITALS]
    yield score(model, "capitals, main phrasing", capitals)
    yield score(model, "capitals, other and badly typed phrasings",
                questions(make_corpus.ask_capital, 500, rng, rough=True))
    yield score(model, "countries of capitals, continents",
                questions(make_corpus.ask_country, 300, rng))
    yield score(model, "addition up to 100 + 100", sums("+", make_corpus.add, hundred))
    yield score(model, "subtraction up to 100 - 100",
                sums("-", make_corpus.subtract, [(max(p), min(p)) for p in hundred]))
    yield score(model, "multiplication up to 12 * 12",
                sums("*", make_corpus.multiply, table))
    yield score(model, "division up to 144 / 12",
                sums("/", make_corpus.divide, [(a * b, b) for a, b in table if b]))
    yield score(model, "chemical elements", questions(make_corpus.ask_element, 100, rng))
    yield score(model, "calendar and planets", questions(make_corpus.ask_calendar, 100, rng))
    yield score(model, "animals", questions(make_corpus.ask_animal, 100, rng))
    yield score(model, "single facts", make_corpus.table(make_corpus.facts.SINGLES))
    for question, answer in zip(OPEN_QUESTIONS, model.answer(OPEN_QUESTIONS, 64)):
        yield [f"> {question}", answer, ""]
    for question, answer in zip(STORY_REQUESTS, model.answer(STORY_REQUESTS, 400)):
        yield [f"> {question}", answer, ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("eval.txt"))
    args = parser.parse_args()
    torch.set_num_threads(2)
    with open(args.out, "w", encoding="utf-8") as report:
        for lines in examination(Model(args.model)):
            text = "\n".join(lines)
            print(text, flush=True)
            report.write(text + "\n")


if __name__ == "__main__":
    main()
