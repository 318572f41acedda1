#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""AirLLM's quick start and the steps of its notebooks with the import changed. Needs torch, as AirLLM does; no GPU.

    PYTHONPATH=python python3 examples/airllm_quickstart.py [MODEL, demo/model]
"""
import pathlib
import sys

from lamina.airllm import AutoModel  # was: from airllm import AutoModel

MAX_LENGTH = 128
MODEL = sys.argv[1] if len(sys.argv) > 1 else str(pathlib.Path(__file__).resolve().parent.parent / "demo" / "model")

# The quick start.
model = AutoModel.from_pretrained(MODEL)

input_text = [
    "What is the capital of United States?",
]

input_tokens = model.tokenizer(input_text,
                               return_tensors="pt",
                               return_attention_mask=False,
                               truncation=True,
                               max_length=MAX_LENGTH,
                               padding=False)

generation_output = model.generate(
    input_tokens["input_ids"].cuda(),
    max_new_tokens=20,
    use_cache=True,
    return_dict_in_generate=True)

output = model.tokenizer.decode(generation_output.sequences[0])
print(output)

# The same with a chat template, and several at once, which the sweep over the weights serves together.
chats = [[{"role": "user", "content": f"What is the capital of {country}?"}] for country in ("France", "Japan", "Brazil")]
model.tokenizer.padding_side = "left"
batch = model.tokenizer.apply_chat_template(chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True)
answers = model.generate(**batch, max_new_tokens=20)
for answer in model.tokenizer.batch_decode(answers[:, batch["input_ids"].shape[1]:], skip_special_tokens=True):
    print(answer)

# Compressed: fewer bytes to read for each token.
small = AutoModel.from_pretrained(MODEL, compression="4bit")
ids = small.tokenizer.apply_chat_template(chats[0], add_generation_prompt=True, return_tensors="pt")
print(small.tokenizer.decode(small.generate(ids, max_new_tokens=20)[0][ids.shape[1]:], skip_special_tokens=True))
