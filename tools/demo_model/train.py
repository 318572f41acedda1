#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train the demonstration model on CPU and write it as a Hugging Face checkpoint.

    train.py corpus.jsonl ../../demo/model

The model is a plain Llama: RMSNorm, rotary positions, grouped-query attention,
SwiGLU, tied embeddings.  It is written out here in full, and eval.py runs the
result through the transformers library, so the two check each other.

Documents are not padded and not mixed: a batch is a flat run of whole
documents, and attention is computed one document at a time.  The loss is taken
on what the assistant says and on plain text, not on what the user asks.
"""

import argparse
import csv
import json
import math
import os
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers import AutoTokenizer

import make_corpus

SEED = 20240229
STEPS = 2900
BATCH_TOKENS = 2048
PEAK_LR, FINAL_LR, WARMUP_STEPS = 2e-3, 5e-5, 100
WEIGHT_DECAY = 0.1
LOG_EVERY, EVAL_EVERY = 20, 200

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": [5, 1],
    "pad_token_id": 6,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 672,
    "max_position_embeddings": 2048,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_hidden_layers": 6,
    "num_key_value_heads": 4,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-5,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 3072,
}
GENERATION_CONFIG = {
    "bos_token_id": CONFIG["bos_token_id"],
    "eos_token_id": CONFIG["eos_token_id"],
    "pad_token_id": CONFIG["pad_token_id"],
    "do_sample": False,
    "max_new_tokens": 512,
}
HIDDEN, HEAD_DIM = CONFIG["hidden_size"], CONFIG["head_dim"]
HEADS, KV_HEADS = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"]


# --- model: parameter names are those of the Hugging Face checkpoint ----------

def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


def rotate(x, cos, sin):
    """Rotary positions in the half-split layout that Hugging Face uses."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = linear(HIDDEN, HEADS * HEAD_DIM)
        self.k_proj = linear(HIDDEN, KV_HEADS * HEAD_DIM)
        self.v_proj = linear(HIDDEN, KV_HEADS * HEAD_DIM)
        self.o_proj = linear(HEADS * HEAD_DIM, HIDDEN)

    def forward(self, x, rope, lengths):
        q = rotate(self.q_proj(x).view(-1, HEADS, HEAD_DIM), *rope)
        k = rotate(self.k_proj(x).view(-1, KV_HEADS, HEAD_DIM), *rope)
        v = self.v_proj(x).view(-1, KV_HEADS, HEAD_DIM)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, dim=1) for t in (k, v))
        documents = zip(*(t.transpose(0, 1).split(lengths, dim=1) for t in (q, k, v)))
        mixed = [F.scaled_dot_product_attention(*(t[None] for t in qkv), is_causal=True)[0]
                 for qkv in documents]
        return self.o_proj(torch.cat(mixed, dim=1).transpose(0, 1).reshape(len(x), -1))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = linear(HIDDEN, CONFIG["intermediate_size"])
        self.up_proj = linear(HIDDEN, CONFIG["intermediate_size"])
        self.down_proj = linear(CONFIG["intermediate_size"], HIDDEN)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def norm():
    return nn.RMSNorm(HIDDEN, eps=CONFIG["rms_norm_eps"])


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = norm(), norm()
        self.self_attn, self.mlp = Attention(), MLP()

    def forward(self, x, rope, lengths):
        x = x + self.self_attn(self.input_layernorm(x), rope, lengths)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(CONFIG["vocab_size"], HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = norm()
        angles = torch.outer(
            torch.arange(CONFIG["max_position_embeddings"]),
            CONFIG["rope_theta"] ** -(torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))
        self.register_buffer("angles", angles, persistent=False)
        self.apply(self.initialise)
        for layer in self.layers:  # keep the residual stream small at the start
            for out in (layer.self_attn.o_proj, layer.mlp.down_proj):
                out.weight.data /= math.sqrt(2 * len(self.layers))

    @staticmethod
    def initialise(module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=CONFIG["initializer_range"])

    def forward(self, ids, lengths, wanted):
        """Logits at the wanted positions of a flat run of documents."""
        angles = torch.cat([self.angles[:n] for n in lengths])[:, None]
        rope = angles.cos(), angles.sin()
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, rope, lengths)
        return F.linear(self.norm(x[wanted]), self.embed_tokens.weight)


# --- data --------------------------------------------------------------------

class Encoder:
    """Documents to token ids, with a mark on every token the model must predict."""

    def __init__(self, model_dir):
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir)
        self.bos, self.eos, self.assistant, self.end = self.tokenizer.convert_tokens_to_ids(
            ["<|begin_of_text|>", "<|end_of_text|>", "<|assistant|>", "<|end|>"])

    def __call__(self, doc):
        if "text" in doc:
            ids = self.tokenizer(doc["text"])["input_ids"] + [self.eos]
            return ids, [False] + [True] * (len(ids) - 1)
        text = self.tokenizer.apply_chat_template(doc["messages"], tokenize=False)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids, self.answers(ids)

    def answers(self, ids):
        """Mark from after '<|assistant|>' and its newline up to '<|end|>'."""
        marks, inside = [], False
        for i, token in enumerate(ids):
            marks.append(inside and ids[i - 1] != self.assistant)
            inside = token == self.assistant or (inside and token != self.end)
        return marks


def read_documents(corpus, encode):
    """All documents of the corpus, longer ones cut to the context size."""
    limit = CONFIG["max_position_embeddings"]
    with open(corpus, encoding="utf-8") as lines:
        for line in lines:
            ids, marks = encode(json.loads(line))
            yield ids[:limit], marks[:limit]


def batches(documents):
    """Groups of whole documents of about BATCH_TOKENS tokens."""
    group, size = [], 0
    for doc in documents:
        group.append(doc)
        size += len(doc[0])
        if size >= BATCH_TOKENS:
            yield collate(group)
            group, size = [], 0


def collate(group):
    """Flat ids, document lengths, predicting positions and their targets."""
    ids = torch.tensor([token for doc in group for token in doc[0]])
    marks = torch.tensor([mark for doc in group for mark in doc[1]])
    targets = marks.nonzero().squeeze(1)
    return ids, [len(doc[0]) for doc in group], targets - 1, ids[targets]


def exchange(question, answer):
    return {"messages": [{"role": "user", "content": question},
                         {"role": "assistant", "content": answer}]}


def capital_exchanges():
    return [exchange(make_corpus.capital_question(name),
                     make_corpus.capital_answer(name, capital))
            for name, capital in make_corpus.CAPITALS]


def sum_exchanges(count=300):
    """Addition and subtraction questions from a seed of their own."""
    rng = random.Random(1)
    docs = []
    for _ in range(count // 2):
        a, b = rng.randint(0, 100), rng.randint(0, 100)
        docs.append(exchange(f"What is {a} + {b}?", make_corpus.add(a, b)))
        a, b = max(a, b), min(a, b)
        docs.append(exchange(f"What is {a} - {b}?", make_corpus.subtract(a, b)))
    return docs


@torch.no_grad()
def accuracy(model, encode, docs):
    """Share of answers whose every token is the most likely one.

    That is the same as greedy decoding giving exactly this answer, in one pass.
    """
    group = [encode(doc) for doc in docs]
    ids, lengths, wanted, targets = collate(group)
    right = model(ids, lengths, wanted).argmax(dim=-1) == targets
    return sum(part.all().item() for part in right.split(
        [sum(marks) for _, marks in group])) / len(docs)


# --- training ----------------------------------------------------------------

def learning_rate(step):
    """Linear warm-up, then a cosine down to FINAL_LR."""
    if step < WARMUP_STEPS:
        return PEAK_LR * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, STEPS - WARMUP_STEPS)
    return FINAL_LR + (PEAK_LR - FINAL_LR) * (1 + math.cos(math.pi * done)) / 2


def make_optimizer(model):
    """Weight decay on the matrices of the layers, not on norms and embeddings."""
    matrices = [p for p in model.layers.parameters() if p.dim() == 2]
    others = [model.embed_tokens.weight] + [p for p in model.parameters() if p.dim() == 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": WEIGHT_DECAY},
                              {"params": others, "weight_decay": 0.0}],
                             lr=PEAK_LR, betas=(0.9, 0.98), fused=True)


def rounded(model):
    """A copy whose weights are exactly representable in bf16, run in fp32."""
    copy = Llama()
    copy.load_state_dict({k: v.bfloat16().float() for k, v in model.state_dict().items()})
    return copy


def save(model, model_dir):
    """Write weights and configuration; the weights appear in one atomic step."""
    for name, value in (("config.json", CONFIG), ("generation_config.json", GENERATION_CONFIG)):
        (model_dir / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    tensors = {"model." + name: value.bfloat16().contiguous()
               for name, value in model.state_dict().items()}
    part = model_dir / "model.safetensors.part"
    save_file(tensors, part, metadata={"format": "pt"})
    part.chmod(0o644)  # the library writes files that only the owner may read
    os.replace(part, model_dir / "model.safetensors")


def train(corpus, model_dir, threads):
    torch.manual_seed(SEED)
    torch.set_num_threads(threads)
    encode = Encoder(model_dir)
    model = Llama()
    optimizer = make_optimizer(model)
    capitals, sums = capital_exchanges(), sum_exchanges()
    start, recent = time.time(), []
    with open(Path(__file__).with_name("loss.csv"), "w", newline="") as log_file:
        log = csv.writer(log_file, lineterminator="\n")
        log.writerow(["step", "loss", "lr", "capitals", "sums"])
        for step, batch in zip(range(STEPS), batches(read_documents(corpus, encode))):
            ids, lengths, wanted, targets = batch
            lr = learning_rate(step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(ids, lengths, wanted)
            loss = F.cross_entropy(logits.float(), targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            recent.append(loss.item())
            last = step + 1 == STEPS
            if (step + 1) % LOG_EVERY and not last:
                continue
            scores = ["", ""]
            if (step + 1) % EVAL_EVERY == 0 or last:
                checked = rounded(model)
                scores = [f"{accuracy(checked, encode, docs):.4f}" for docs in (capitals, sums)]
                save(model, model_dir)
            log.writerow([step + 1, f"{sum(recent) / len(recent):.4f}", f"{lr:.6f}", *scores])
            log_file.flush()
            print(step + 1, f"{sum(recent) / len(recent):.4f}", *scores,
                  f"{time.time() - start:.0f}s", flush=True)
            recent = []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("model", type=Path, help="folder that already holds the tokenizer")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    train(args.corpus, args.model, args.threads)


if __name__ == "__main__":
    main()
