# SPDX-License-Identifier: Apache-2.0
"""What the tests of the hub share: a hub and a folder of their own, the program run there, cases in TAP, small checkpoints."""
import json
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import tempfile

from hub_server import Hub

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LAMINA = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LAMINA_PROGRAM", "build/lamina")
HIGH = bytes(0x3c + (b & 1) + (b & 0x80) if b % 16 else 0x3b for b in range(256))


class Checks:
    def __init__(self, name):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix=f"lamina-{name}."))
        self.hub = Hub()
        self.cases = 0

    def ok(self, good, name, why=""):
        self.cases += 1
        if not good:
            print("\n".join("# " + line for line in str(why)[:2500].splitlines()))
        print(f"{'ok' if good else 'not ok'} {self.cases} - {name}", flush=True)

    def environment(self, cache, **more):
        """Nothing of the caller's hub; a cache, a home and a hub of the test's. None takes a variable away."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "LAMINA_", "HUGGING", "TRANSFORMERS")) and
               not k.lower().endswith("_proxy")}
        env.update(HF_ENDPOINT=self.hub.endpoint, HF_HOME=str(self.work / cache), LC_ALL="C.UTF-8", TERM="dumb", HOME=str(self.work))
        env.update(more)
        return {k: v for k, v in env.items() if v is not None}

    def lamina(self, cache, *words, **more):
        done = subprocess.run([LAMINA, *words], env=self.environment(cache, **more), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=300)
        done.all = f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, cache, *words):
        """Whoever started the test may ignore Ctrl-C, as shells do for what runs behind them; a child would, until it minds signals."""
        return subprocess.Popen([LAMINA, *words], env=self.environment(cache), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


# ---- checkpoints ----

def numbers(count, dice):
    """bf16 that look like weights."""
    out = bytearray(2 * count)
    out[0::2] = dice.randbytes(count)
    out[1::2] = dice.randbytes(count).translate(HIGH)
    return bytes(out)


def safetensors(tensors, fp8=()):
    """Sorted by name, as the library writes them: layers come as 0, 1, 10, 11, ..., 2."""
    header, at = {}, 0
    for name, (shape, data) in sorted(tensors.items()):
        header[name] = {"dtype": "F8_E4M3" if name in fp8 else "BF16", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, (_, data) in sorted(tensors.items()))


def shapes(data):
    length, = struct.unpack("<Q", data[:8])
    return {n: t["shape"] for n, t in json.loads(data[8:8 + length]).items()}


def model(layers, hidden, inter, vocab=600, tied=False, files=1, seed=1, cut=None, fmt="llama"):
    dice = random.Random(seed)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": inter,
              "num_hidden_layers": layers, "num_attention_heads": hidden // 32, "num_key_value_heads": hidden // 32, "vocab_size": vocab,
              "rms_norm_eps": 1e-5, "max_position_embeddings": 256, "hidden_act": "silu", "tie_word_embeddings": tied,
              "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2}
    def matrix(rows, cols):
        return [rows, cols], numbers(rows * cols, dice)
    def vector(n):
        return [n], numbers(n, dice)
    t = {"model.embed_tokens.weight": matrix(vocab, hidden), "model.norm.weight": vector(hidden)}
    if not tied:
        t["lm_head.weight"] = matrix(vocab, hidden)
    for i in range(layers):
        for name, rows, cols in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", hidden, hidden),
                                 ("self_attn.v_proj", hidden, hidden), ("self_attn.o_proj", hidden, hidden),
                                 ("mlp.gate_proj", inter, hidden), ("mlp.up_proj", inter, hidden), ("mlp.down_proj", hidden, inter)):
            t[f"model.layers.{i}.{name}.weight"] = matrix(rows, cols)
        t[f"model.layers.{i}.input_layernorm.weight"] = vector(hidden)
        t[f"model.layers.{i}.post_attention_layernorm.weight"] = vector(hidden)
    out = {"config.json": json.dumps(config).encode()}
    if files == 1:
        out["model.safetensors"] = safetensors(t)
        return out
    cut = cut or (lambda name, n: n * files // len(t))
    names = sorted(t, key=lambda n: (0 if "embed" in n else 2 if "layers" not in n else 1,
                                     int(n.split(".")[2]) if "layers" in n else 0, n))
    place = {name: cut(name, n) for n, name in enumerate(names)}
    shards = [f"model-{i + 1:05}-of-{files:05}.safetensors" for i in range(files)]
    for i, shard in enumerate(shards):
        out[shard] = safetensors({n: t[n] for n in names if place[n] == i})
    out["model.safetensors.index.json"] = json.dumps({"weight_map": {n: shards[place[n]] for n in names}}).encode()
    return out
