#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train the byte-level BPE tokenizer of the demonstration model on its corpus.

    make_tokenizer.py corpus.jsonl ../../demo/model

The split pattern is the one of Llama 3.  While the merges are learned, every
digit stands alone, so no merge joins two digits: "47" is always the tokens
"4" "7", and a model this small can learn to add digit by digit.
"""

import argparse
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCAB_SIZE = 3072
BOS, EOS, USER, ASSISTANT, SYSTEM, END, PAD = SPECIAL = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|user|>", "<|assistant|>", "<|system|>",
    "<|end|>", "<|pad|>"]

LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{{ '<|system|>\n' + message['content'] + '<|end|>\n' }}"
    "{% elif message['role'] == 'user' %}"
    "{{ '<|user|>\n' + message['content'] + '<|end|>\n' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}")


def split(pattern):
    """Cut the text with the pattern, then map its bytes to printable letters."""
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def texts(corpus):
    """Every piece of text in the corpus, without the chat markup."""
    with open(corpus, encoding="utf-8") as lines:
        for line in lines:
            doc = json.loads(line)
            if "text" in doc:
                yield doc["text"]
            else:
                yield from (message["content"] for message in doc["messages"])


def train(corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = split(LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}"))
    tokenizer.train_from_iterator(texts(corpus), trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.pre_tokenizer = split(LLAMA3_SPLIT)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))])
    if tokenizer.get_vocab_size() != VOCAB_SIZE:
        raise SystemExit(f"only {tokenizer.get_vocab_size()} tokens: the corpus is too small")
    return tokenizer


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("model", type=Path)
    args = parser.parse_args()
    args.model.mkdir(parents=True, exist_ok=True)
    train(args.corpus).save(str(args.model / "tokenizer.json"))
    named = {"bos_token": BOS, "eos_token": END, "pad_token": PAD}
    write_json(args.model / "special_tokens_map.json", named)
    write_json(args.model / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", **named,
        "additional_special_tokens": [USER, ASSISTANT, SYSTEM, EOS],
        "clean_up_tokenization_spaces": False, "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE})


if __name__ == "__main__":
    main()
