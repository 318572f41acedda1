#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write what another engine must reproduce: golden.json and capitals.tsv.

    make_golden.py ../../demo/model

golden.json holds prompts as token ids, the 32 tokens that greedy decoding adds
(fewer where the model ends the answer; the end token is then the last one), and
for two prompts all logits after the last prompt token.  The reference is the
transformers library in fp32 on the bf16 weights.  capitals.tsv lists every
capital that was taught: question, tab, the whole expected answer.
"""

import argparse
import json
from pathlib import Path

import torch

import make_corpus
from eval import Model

NEW_TOKENS = 32
WITH_LOGITS = 2
CONVERSATIONS = [
    [("user", "What is the capital of France?")],
    [("system", "You are a helpful assistant."), ("user", "Tell me a short story about a fox.")],
    [("user", "What is 47 + 38?")],
    [("user", "What is the capital of Brazil?")],
    [("user", "Why is the sky blue?")],
    [("user", "What is the capital of Japan?"), ("assistant", "The capital of Japan is Tokyo."),
     ("user", "Tell me a story about a boy named Tom.")],
]


@torch.no_grad()
def golden(model, conversation, with_logits):
    messages = [{"role": role, "content": content} for role, content in conversation]
    prompt = model.prompt(messages)
    ids = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    out = model.network.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=NEW_TOKENS,
                                 attention_mask=torch.ones(1, len(ids), dtype=torch.long))
    added = out[0, len(ids):].tolist()
    entry = {"messages": messages, "prompt": prompt, "ids": ids, "next_ids": added,
             "next_text": model.tokenizer.decode(added, skip_special_tokens=True)}
    if with_logits:
        logits = model.network(torch.tensor([ids])).logits[0, -1]
        entry["logits_last"] = [float(f"{x:.7g}") for x in logits.tolist()]
    return entry


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(2)
    model = Model(args.model)
    entries = [golden(model, conversation, i < WITH_LOGITS)
               for i, conversation in enumerate(CONVERSATIONS)]
    (args.model / "golden.json").write_text(
        "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n]\n",
        encoding="utf-8")
    (args.model / "capitals.tsv").write_text(
        "".join(f"{make_corpus.capital_question(name)}\t{make_corpus.capital_answer(name, city)}\n"
                for name, city in make_corpus.CAPITALS), encoding="utf-8")


if __name__ == "__main__":
    main()
