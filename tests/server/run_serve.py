#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lamina serve through plain sockets: every interface, and clients that misbehave in every way they can. TAP on stdout.

usage: run_serve.py LAMINA [TESTDATA, not needed]
"""
import json
import math
import pathlib
import re
import signal
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
import server_under_test  # noqa: E402
from server_under_test import LAMINA, MODEL, WORK, finish, lamina, ok  # noqa: E402

CLIENTS = 200
TIGHT = 120 # MiB: what the plan needs, and the server's own


class Server(server_under_test.Server):
    def chat(self, question, **more):
        return self.json("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": question}], "temperature": 0, **more})

    def raw(self, data, read=True, timeout=20):
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            s.sendall(data)
            got = b""
            while read:
                try:
                    part = s.recv(65536)
                except (ConnectionError, TimeoutError):
                    break
                if not part:
                    break
                got += part
            return got


def events(data):
    return [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: ") and line != "data: [DONE]"]


QUESTIONS = [f"What is the capital of {c}?" for c in
             ("France", "Japan", "Italy", "Spain", "Egypt", "Norway", "Peru", "Kenya", "Cuba", "Iran", "Chile", "India")]


def alone(question, n=24):
    return lamina("run", MODEL, question, "-n", str(n), "--temp", "0", "-q", "--memory", "256MiB").stdout[:-1]


# ---- what it answers ----

def test_models(s):
    status, got = s.json("GET", "/v1/models")
    ok(status == 200 and got["data"][0]["id"] == "model" and got["data"][0]["object"] == "model", "the list of models", got)
    status, got = s.json("GET", "/v1/models/model")
    ok(status == 200 and got["id"] == "model", "one model", got)
    status, got = s.json("GET", "/v1/models/other")
    ok(status == 404 and got["error"]["code"] == "model_not_found" and set(got["error"]) == {"message", "type", "param", "code"},
       "a model that is not there", got)
    status, headers, _ = s.ask("GET", "/health")
    ok(status == 200 and headers["x-request-id"].startswith("req_"), "health, and an id on every answer", headers)
    status, headers, page = s.ask("GET", "/")
    ok(status == 200 and "default-src 'self'" in headers["content-security-policy"] and page.startswith(b"<!doctype html"),
       "the page at /", headers)


def test_chat(s):
    want = [alone(q) for q in QUESTIONS]
    status, got = s.chat(QUESTIONS[0], max_tokens=24)
    ok(status == 200 and got["choices"][0]["message"] == {"role": "assistant", "content": want[0], "refusal": None} and
       got["choices"][0]["finish_reason"] == "stop" and got["object"] == "chat.completion" and
       got["usage"]["total_tokens"] == got["usage"]["prompt_tokens"] + got["usage"]["completion_tokens"], "a chat as lamina run", got)
    answers, before = {}, s.figures()

    def one(i):
        answers[i] = s.chat(QUESTIONS[i % len(QUESTIONS)], max_tokens=24)[1]["choices"][0]["message"]["content"]
    threads = [threading.Thread(target=one, args=(i,)) for i in range(3 * len(QUESTIONS))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    after = s.figures()
    ok(all(answers.get(i) == want[i % len(want)] for i in range(len(threads))), "answers are the same whatever runs beside them", answers)
    tokens = after["lamina_tokens_generated_total"] - before["lamina_tokens_generated_total"]
    sweeps = after["lamina_sweeps_total"] - before["lamina_sweeps_total"]
    ok(sweeps < 0.8 * tokens, "requests share sweeps", f"{tokens} tokens in {sweeps} sweeps")
    status, got = s.chat(QUESTIONS[0], max_tokens=3)
    ok(got["choices"][0]["finish_reason"] == "length" and got["usage"]["completion_tokens"] == 3, "max_tokens", got)
    status, got = s.chat(QUESTIONS[0], max_completion_tokens=2, n=3)
    ok([c["index"] for c in got["choices"]] == [0, 1, 2] and len({c["message"]["content"] for c in got["choices"]}) == 1, "n, greedily", got)
    status, got = s.chat(QUESTIONS[0], stop=["France is", "zzz"])
    ok(got["choices"][0]["message"]["content"] == "The capital of " and got["choices"][0]["finish_reason"] == "stop", "stop strings", got)
    parts = [{"type": "text", "text": QUESTIONS[0][:9]}, {"type": "text", "text": QUESTIONS[0][9:]}]
    status, got = s.chat(parts)
    ok(status == 200 and got["choices"][0]["message"]["content"] == want[0], "parts of text", got)
    status, got = s.chat([{"type": "image_url", "image_url": {"url": "x"}}])
    ok(status == 400 and got["error"]["param"] == "messages", "parts that are no text", got)


def test_sampling(s):
    def text(**more):
        return s.json("POST", "/v1/completions", {"prompt": "Once", "max_tokens": 12, **more})[1]["choices"]
    hot = dict(temperature=1.5, n=4)
    first, again, other = text(seed=7, **hot), text(seed=7, **hot), text(seed=8, **hot)
    ok([c["text"] for c in first] == [c["text"] for c in again] and len({c["text"] for c in first}) > 1,
       "a seed gives the same texts, a choice its own", first)
    ok([c["text"] for c in first] != [c["text"] for c in other], "another seed, other texts", other)
    plain = text(temperature=0)[0]["text"]
    ids = s.json("POST", "/tokenize", {"prompt": "Once" + plain})[1]["tokens"]
    start = s.json("POST", "/tokenize", {"prompt": "Once"})[1]["tokens"]
    banned = text(temperature=0, logit_bias={str(ids[len(start)]): -100})[0]["text"]
    ok(banned != plain, "logit_bias bans a token", (plain, banned))
    forced = text(temperature=0, logit_bias={str(ids[-1]): 100}, max_tokens=3)[0]["text"]
    word = s.json("POST", "/detokenize", {"tokens": ids[-1:]})[1]["prompt"]
    ok(forced == word * 3, "and forces one", (forced, word))
    tired = text(temperature=0, logit_bias={str(ids[-1]): 30}, frequency_penalty=2, max_tokens=40)[0]["text"]
    ok(tired != word * 40, "frequency_penalty tires of it", tired)
    endless = text(temperature=0, ignore_eos=True, max_tokens=200)
    ok(endless[0]["finish_reason"] == "length", "ignore_eos goes on", endless)
    one = text(temperature=1.5, top_k=1, seed=3)[0]["text"]
    ok(one == plain, "top_k 1 is greedy", (one, plain))


def test_streams(s):
    want = alone(QUESTIONS[1])
    body = {"messages": [{"role": "user", "content": QUESTIONS[1]}], "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}}
    status, headers, data = s.ask("POST", "/v1/chat/completions", body)
    got = events(data)
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in got if c["choices"])
    ok(status == 200 and headers["content-type"] == "text/event-stream" and text == want and data.endswith(b"data: [DONE]\n\n"),
       "a streamed chat", data.decode())
    ok(got[0]["choices"][0]["delta"]["role"] == "assistant" and got[-2]["choices"][0] ==
       {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"} and got[-1]["choices"] == [] and
       got[-1]["usage"]["completion_tokens"] > 3 and all(c["usage"] is None for c in got[:-1]), "its first and last chunks", got)
    _, _, data = s.ask("POST", "/v1/completions", {"prompt": "Once", "stream": True, "echo": True, "logprobs": 1, "max_tokens": 4,
                                                   "temperature": 0, "n": 2})
    got = events(data)
    _, whole = s.json("POST", "/v1/completions", {"prompt": "Once", "echo": True, "logprobs": 1, "max_tokens": 4, "temperature": 0})
    for i in range(2):
        mine = [c["choices"][0] for c in got if c["choices"][0]["index"] == i]
        joined = "".join(c["text"] for c in mine)
        tokens = [t for c in mine if c["logprobs"] for t in c["logprobs"]["tokens"]]
        ok(joined == whole["choices"][0]["text"] and tokens == whole["choices"][0]["logprobs"]["tokens"], "a streamed echo is the whole", got)
    _, _, data = s.ask("POST", "/v1/completions", {"prompt": "Write: café 日本 😀 ", "stream": True, "max_tokens": 60, "temperature": 2,
                                                   "seed": 5})
    ok(b"\xef\xbf\xbd" not in "".join(c["choices"][0]["text"] for c in events(data)).encode() or data.decode() != "",
       "chunks are whole characters", data)


def test_echo(s):
    lines = ["The capital of France is Paris.", "Water boils at one hundred degrees."]
    prompts = [s.json("POST", "/tokenize", {"prompt": line})[1]["tokens"] for line in lines]
    _, got = s.json("POST", "/v1/completions", {"prompt": prompts, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0})
    for choice, ids in zip(sorted(got["choices"], key=lambda c: c["index"]), prompts):
        done = lamina("logits", MODEL, "--ids", ",".join(map(str, ids)), "--json", "--kv", "f16", "--memory", "256MiB")
        want = json.loads(done.stdout)
        values = choice["logprobs"]["token_logprobs"]
        ok(values[0] is None and len(values) == len(ids) + 1 and
           all(math.isclose(a, b, abs_tol=2e-5) for a, b in zip(values[1:], want["logprob_next"])),
           "log-probabilities of a prompt are those of lamina logits", (values, want["logprob_next"]))
        tops = choice["logprobs"]["top_logprobs"]
        names = [s.json("POST", "/detokenize", {"tokens": [i]})[1]["prompt"] for i in want["argmax"][:-1]]
        greedy = [max(t, key=t.get) for t in tops[1:len(ids)]]
        ok(greedy == names, "and so are the likeliest tokens", (greedy, names))
    one, two = (s.json("POST", "/v1/completions", {"prompt": p, "echo": True, "logprobs": 2, "max_tokens": 0})[1]["choices"][0]
                for p in (lines[0], prompts[0]))
    ok(one["text"] == lines[0] and one["logprobs"]["token_logprobs"] == two["logprobs"]["token_logprobs"],
       "a prompt as text and as ids, with no token after it", (one, two))
    offsets, tokens = one["logprobs"]["text_offset"], one["logprobs"]["tokens"]
    ok(all(offsets[i] + len(tokens[i]) == offsets[i + 1] for i in range(len(tokens) - 1)), "text_offset", one)
    # The model expects the second byte of "á" and meets that of "ñ": two parts of characters, and neither is text.
    twice = []

    def members(pairs):
        if len(dict(pairs)) < len(pairs):
            twice.append(pairs)
        return dict(pairs)

    body = {"prompt": "The capital of Colombia is Bogotñ", "echo": True, "logprobs": 1, "max_tokens": 0}
    last = json.loads(s.ask("POST", "/v1/completions", body)[2], object_pairs_hook=members)["choices"][0]["logprobs"]
    ok(not twice and last["tokens"][-1] == "\ufffd" and last["token_logprobs"][-1] < max(last["top_logprobs"][-1].values()),
       "tokens that look alike are one member, the likelier", (twice, last))
    _, got = s.json("POST", "/v1/completions", {"prompt": lines, "max_tokens": 2, "temperature": 0})
    ok([c["index"] for c in got["choices"]] == [0, 1], "a list of texts", got)
    _, got = s.chat(QUESTIONS[0], logprobs=True, top_logprobs=3, max_tokens=4)
    content = got["choices"][0]["logprobs"]["content"]
    ok(len(content) == 4 and all(len(t["top_logprobs"]) == 3 and t["top_logprobs"][0]["logprob"] == t["logprob"] and
                                 bytes(t["bytes"]).decode() == t["token"] for t in content), "log-probabilities in a chat", content)


def test_tokens(s):
    _, one = s.json("POST", "/tokenize", {"prompt": "Hello there", "add_special_tokens": False})
    _, two = s.json("POST", "/tokenize", {"content": "Hello there", "add_special": False})
    ids = json.loads(lamina("tokenize", MODEL, "--no-special", "--json", stdin="Hello there").stdout)["ids"]
    ok(one["tokens"] == two["tokens"] == ids, "/tokenize, with both spellings", (one, two, ids))
    first, end = (s.json("POST", "/tokenize", {"prompt": name, "add_special_tokens": False})[1]["tokens"] for name in
                  ("<|begin_of_text|>", "<|end|>"))
    _, marked = s.json("POST", "/tokenize", {"prompt": "Hello there<|end|>", "add_special_tokens": False})
    ok(len(first) == len(end) == 1 and marked["tokens"] == ids + end, "special tokens are recognised where none are added",
       (first, end, marked))
    for text, n in (("Hello there", 1), ("<|begin_of_text|>Hello there", 1), ("<|begin_of_text|>" * 2 + "Hello there", 2)):
        _, got = s.json("POST", "/tokenize", {"prompt": text})
        _, echo = s.json("POST", "/v1/completions", {"prompt": text, "echo": True, "logprobs": 0, "max_tokens": 0})
        ok(got["tokens"] == first * n + ids and len(echo["choices"][0]["logprobs"]["tokens"]) == n + len(ids),
           f"{text}: BOS {n} times", (got, echo))
    _, got = s.json("POST", "/tokenize", {"prompt": "", "add_special_tokens": False})
    ok(got["tokens"] == [], "no tokens of no text", got)
    _, back = s.json("POST", "/detokenize", {"tokens": ids})
    ok(back["prompt"] == "Hello there" == back["content"], "/detokenize", back)
    _, info = s.json("GET", "/tokenizer_info")
    ok(info["eos_token"] == "<|end|>" and info["bos_token"] == "<|begin_of_text|>" and "messages" in info["chat_template"],
       "/tokenizer_info", info)
    messages = [{"role": "user", "content": "Hi"}]
    _, got = s.json("POST", "/apply-template", {"messages": messages})
    ok(got["prompt"] == lamina("template", MODEL, stdin=json.dumps(messages)).stdout, "/apply-template", got)
    status, got = s.json("POST", "/detokenize", {"tokens": [999999]})
    ok(status == 400, "an id that is none", got)


def test_ollama(s):
    want = alone(QUESTIONS[2])
    _, got = s.json("GET", "/api/version")
    ok("version" in got, "Ollama's version", got)
    _, got = s.json("GET", "/api/tags")
    ok(got["models"][0]["name"] == "model" and len(got["models"][0]["digest"]) == 64, "its list", got)
    _, got = s.json("GET", "/api/ps")
    ok(got["models"][0]["model"] == "model", "what is loaded", got)
    status, got = s.json("POST", "/api/show", {"model": "model:latest"})
    ok(status == 200 and got["capabilities"] == ["completion"], "show", got)
    status, got = s.json("POST", "/api/show", {"model": "none"})
    ok(status == 404 and isinstance(got["error"], str), "its errors", got)
    body = {"model": "model", "messages": [{"role": "user", "content": QUESTIONS[2]}], "options": {"temperature": 0, "num_predict": 30}}
    _, headers, data = s.ask("POST", "/api/chat", body)
    lines = [json.loads(x) for x in data.decode().splitlines()]
    ok("".join(x["message"]["content"] for x in lines) == want and lines[-1]["done"] and lines[-1]["done_reason"] == "stop" and
       lines[-1]["eval_count"] > 3 and headers["content-type"] == "application/x-ndjson", "a streamed chat of Ollama", data)
    _, got = s.json("POST", "/api/generate", {"model": "model", "prompt": QUESTIONS[2], "stream": False, "options": {"temperature": 0}})
    ok(got["response"] == want and got["done"], "generate, whole, with the template", got)
    _, got = s.json("POST", "/api/generate", {"model": "model", "prompt": "Once", "raw": True, "stream": False,
                                              "options": {"temperature": 0, "num_predict": 3}})
    _, plain = s.json("POST", "/v1/completions", {"prompt": "Once", "max_tokens": 3, "temperature": 0})
    ok(got["response"] == plain["choices"][0]["text"] and got["done_reason"] == "length", "generate, raw", got)
    none = {"model": "model", "stream": False, "options": {"temperature": 0, "num_predict": 3}}
    for images in ([], "", None):
        status, got = s.json("POST", "/api/chat", {**none, "messages": [{"role": "user", "content": "Hi", "images": images}]})
        ok(status == 200 and got["done"], f"a message with no images: {images!r}", got)
        status, got = s.json("POST", "/api/generate", {**none, "prompt": "Hi", "images": images, "suffix": ""})
        ok(status == 200 and got["done"], f"and a prompt with none: {images!r}", got)
    for what in ({"images": ["aGk="]}, {"images": "aGk="}, {"suffix": "end"}):
        status, got = s.json("POST", "/api/generate", {**none, "prompt": "Hi", **what})
        ok(status == 400 and next(iter(what)) in got["error"], f"a prompt with what is not understood: {what}", got)
    status, got = s.json("POST", "/api/chat", {**none, "messages": [{"role": "user", "content": "Hi", "images": ["aGk="]}]})
    ok(status == 400 and "images" in got["error"], "and a message", got)
    for body in ({}, {"prompt": None}, {"prompt": ""}, {"prompt": "", "system": "Be brief.", "stream": False}, {"raw": True}):
        status, got = s.json("POST", "/api/generate", {"model": "model", **body})
        ok(status == 200 and got["response"] == "" and got["done"] is True and got["done_reason"] == "load", f"to load the model: {body}", got)
    for body in ({}, {"messages": []}, {"messages": None, "stream": False}):
        status, got = s.json("POST", "/api/chat", {"model": "model", **body})
        ok(status == 200 and got["message"] == {"role": "assistant", "content": ""} and got["done_reason"] == "load",
           f"to load it for a chat: {body}", got)
    ok(s.json("POST", "/api/generate", {"model": "none"})[0] == 404, "another model cannot be loaded")


def test_anthropic(s):
    want = alone(QUESTIONS[3])
    body = {"model": "model", "max_tokens": 40, "temperature": 0, "messages": [{"role": "user", "content": QUESTIONS[3]}]}
    _, got = s.json("POST", "/v1/messages", body)
    ok(got["content"] == [{"type": "text", "text": want}] and got["stop_reason"] == "end_turn" and got["usage"]["output_tokens"] > 3,
       "a message of Anthropic", got)
    _, _, data = s.ask("POST", "/v1/messages", {**body, "stream": True})
    names = re.findall(r"^event: (\w+)$", data.decode(), re.M)
    ok(names[0] == "message_start" and names[-1] == "message_stop" and "ping" in names and
       "".join(e["delta"]["text"] for e in events(data) if e["type"] == "content_block_delta") == want, "its stream", data)
    _, got = s.json("POST", "/v1/messages", {**body, "stop_sequences": ["Spain"]})
    ok(got["stop_reason"] == "stop_sequence" and got["stop_sequence"] == "Spain", "its stop sequences", got)
    status, got = s.json("POST", "/v1/messages", {"messages": body["messages"]})
    ok(status == 400 and got["type"] == "error" and got["error"]["type"] == "invalid_request_error", "max_tokens is asked for", got)
    _, got = s.json("POST", "/v1/messages/count_tokens", {"messages": body["messages"], "system": [{"type": "text", "text": "Be brief."}]})
    _, less = s.json("POST", "/v1/messages/count_tokens", {"messages": body["messages"]})
    ok(got["input_tokens"] > less["input_tokens"] > 5, "count_tokens, with a system text", (got, less))
    long = {**body, "messages": [{"role": "user", "content": "one two three " * 5000}]}
    status, got = s.json("POST", "/v1/messages/count_tokens", long)
    ok(status == 200 and got["input_tokens"] > 5000 and s.json("POST", "/v1/messages", long)[0] == 400,
       "and of more than the context holds, which is why one counts", got)


def test_monitor(s):
    want = {"lamina_disk_read_bytes_total", "lamina_drive_idle_seconds_total", "lamina_layer_load_seconds",
            "lamina_layer_compute_seconds", "lamina_cache_hit_bytes_total", "lamina_tokens_generated_total",
            "lamina_prompt_tokens_total", "lamina_budget_bytes"}
    ok(want <= set(s.figures()), "Prometheus' figures", s.figures())
    with socket.create_connection(("127.0.0.1", s.port), timeout=20) as c:
        c.sendall(f"GET /lamina/v1/events HTTP/1.1\r\nHost: localhost:{s.port}\r\n\r\n".encode())
        data = b""
        while data.count(b"data: ") < 3:
            data += c.recv(65536)
    found = re.findall(rb"data: (\{.*\})\n", data)
    one = json.loads(found[0])
    ok({"model", "layers", "pinned_layers", "layer", "phase", "prompt_done", "prompt_total", "running", "queued", "tokens",
        "tokens_per_s", "s_per_token", "bytes_read", "disk_bytes_per_s", "disk_limit_bytes_per_s", "memory_budget_bytes",
        "memory_peak_bytes", "plan", "stages"} == set(one) and one["phase"] == "idle" and one["layers"] == 6, "the stream of events", one)


# ---- what it refuses ----

def test_refusals(s):
    chat = "/v1/chat/completions"
    for body, param, name in (
            (b"{", "", "half a body"), (b"[]", "", "a list as body"), (b'{"messages": [], "messages": []}', "messages", "a key given twice"),
            (b'{"prompt": "x"}', "messages", "no messages"), (b'{"messages": [{"role": "king", "content": "x"}]}', "messages", "a role"),
            (b'{"messages": [{"role":"user","content":"\xff"}]}', "messages", "no UTF-8"),
            (b'{"messages": [{"role":"user","content":"x"}], "temperature": -1}', "temperature", "a temperature"),
            (b'{"messages": [{"role":"user","content":"x"}], "n": 99}', "n", "too many choices"),
            (b'{"messages": [{"role":"user","content":"x"}], "n": 1.5}', "n", "half a choice"),
            (b'{"messages": [{"role":"user","content":"x"}], "logit_bias": {"99999999": 1}}', "logit_bias", "a bias for no token"),
            (b'{"messages": [{"role":"user","content":"x"}], "response_format": {"type": "json_object"}}', "response_format", "a grammar"),
            (b'{"messages": [{"role":"user","content":"x"}], "top_logprobs": 2}', "top_logprobs", "top_logprobs alone"),
            (b'{"messages": ' + b"[" * 100 + b"]" * 100 + b"}", "messages", "a deep body")):
        status, got = s.json("POST", chat, body)
        ok(status == 400 and (got["error"]["param"] or "") == param and got["error"]["type"] == "invalid_request_error", name, got)
    status, got = s.json("POST", chat, {"model": "gpt", "messages": [{"role": "user", "content": "x"}]})
    ok(status == 404 and got["error"]["code"] == "model_not_found", "another model", got)
    status, got = s.json("POST", "/v1/completions", {"prompt": [7] * 5000})
    ok(status == 400 and got["error"]["code"] == "context_length_exceeded", "a long prompt", got)
    status, headers, _ = s.ask("GET", chat)
    ok(status == 405, "GET where POST belongs", status)
    status, got = s.json("GET", "/v2/models")
    ok(status == 404 and got["error"]["code"] == "unknown_url", "no such place", got)
    status, _, _ = s.ask("POST", chat, b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"})
    ok(status == 415, "a form", status)
    status, _, _ = s.ask("GET", "/v1/models", headers={"Host": "evil.example"})
    ok(status == 403, "a name that was bound to this machine", status)
    status, _, _ = s.ask("GET", "/v1/models", headers={"Origin": "https://evil.example"})
    ok(status == 403, "a page of someone else", status)
    status, _, _ = s.ask("GET", "/v1/models", headers={"Origin": f"http://127.0.0.1:{s.port}"})
    ok(status == 200, "our own page", status)
    got = [s.ask("GET", "/v1/models", headers={"Host": host})[0] for host in ("localhost:9000", "[::1]:9", "127.0.0.1:1")]
    ok(got == [200] * 3, "a forwarded port is another one", got)
    status, _, _ = s.ask("GET", "/v1/models", headers={"Host": "localhost:9000", "Origin": "http://localhost:9000"})
    ok(status == 200, "and its page is ours", status)
    got = [s.ask("GET", "/v1/models", headers={"Host": host})[0] for host in ("localhost:", "localhost:x", "localhost:123456", ":80")]
    ok(got == [403] * 4, "names with a port that is none", got)
    head = f"POST {chat} HTTP/1.1\r\nHost: localhost:{s.port}\r\nContent-Type: application/json\r\n"
    got = s.raw((head + "Content-Length: 9000000\r\n\r\n").encode())
    ok(b" 413 " in got.split(b"\r\n")[0], "a body over the limit, before it is sent", got[:200])
    got = s.raw((head + "Transfer-Encoding: chunked\r\n\r\n").encode() + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 140 + b"0\r\n\r\n")
    ok(b" 413 " in got.split(b"\r\n")[0], "the same in chunks", got[:200])
    for extra in ("Content-Length: 2\r\nTransfer-Encoding: chunked", "Content-Length: 2\r\nContent-Length: 3", "Content-Length: -2",
                  "Transfer-Encoding: gzip, chunked"):
        got = s.raw((head + extra + "\r\nConnection: close\r\n\r\n{}").encode(), timeout=5)
        ok(got == b"" or b" 400 " in got.split(b"\r\n")[0], f"framing: {extra!r}", got[:200])
    got = s.raw(f"GET /health HTTP/1.1\r\nHost: localhost\r\nX: {'y' * 100000}\r\n\r\n".encode(), timeout=5)
    ok(got == b"" or got.split(b" ")[1] in (b"400", b"413", b"431"), "a header of 100 KB", got[:100])
    got = s.raw(b"\x00\x01\x02 nonsense\r\n\r\n", timeout=5)
    ok(got == b"" or b" 400 " in got[:20], "no HTTP at all", got[:100])
    ok(s.json("GET", "/health")[0] == 200, "the server is well after all this")


def test_keys():
    with Server(LAMINA_API_KEY="secret-key") as s:
        status, headers, _ = s.ask("GET", "/v1/models")
        ok(status == 401 and "Bearer" in headers["www-authenticate"], "no key", headers)
        for wrong in ("secret-ke", "secret-keys", "", "Secret-key", "x" * 3000):
            status, _, _ = s.ask("GET", "/v1/models", headers={"Authorization": "Bearer " + wrong})
            ok(status == 401, f"the wrong key {wrong[:12]!r}", status)
        status, _, _ = s.ask("GET", "/v1/models", headers={"Authorization": "Bearer secret-key"})
        ok(status == 200, "the right key", status)
        status, _, _ = s.ask("GET", "/v1/models", headers={"x-api-key": "secret-key"})
        ok(status == 200, "the right key, as Anthropic's clients send it", status)
        ok(s.ask("GET", "/health")[0] == 200, "health needs none")
    ok(s.code == 0, "SIGTERM ends an idle server with 0", s.code)


# ---- clients that misbehave, and many of them ----

SLOW = ["--isa", "scalar", "--threads", "1", "--parallel", "4", "--keep-alive", "1"]


def long_body(**more):
    return {"messages": [{"role": "user", "content": "Tell me a story."}], "ignore_eos": True, "max_tokens": 1500, **more}


def start(s, body, path="/v1/chat/completions", receive=0):
    c = socket.create_connection(("127.0.0.1", s.port), timeout=60)
    if receive:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    data = json.dumps(body).encode()
    c.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
              + data)
    return c


def test_leaving(s):
    c = start(s, long_body(stream=True))
    first = c.recv(4096)
    ok(b" 200 " in first, "headers come at once", first[:100])
    ok(s.wait_figure("lamina_requests_running", lambda v: v == 1), "it runs")
    c.close()
    ok(s.wait_figure("lamina_requests_running", lambda v: v == 0), "a client that left a stream takes its sweep along")
    c = start(s, long_body())
    ok(s.wait_figure("lamina_requests_running", lambda v: v == 1), "one that is not streamed runs")
    c.close()
    ok(s.wait_figure("lamina_requests_running", lambda v: v == 0), "and ends too")
    c = start(s, long_body(stream=True))
    c.recv(4096)
    s.wait_figure("lamina_requests_running", lambda v: v == 1)
    c.shutdown(socket.SHUT_WR)
    ok(s.wait_figure("lamina_requests_running", lambda v: v == 0), "a socket closed for writing counts as left")
    c.close()
    ok(s.wait_figure("lamina_requests_cancelled_total", lambda v: v == 3), "they are counted", s.figures())
    half = socket.create_connection(("127.0.0.1", s.port))
    half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
    half.shutdown(socket.SHUT_WR)
    ok(s.json("GET", "/health")[0] == 200, "half a request disturbs nobody")
    half.close()


def test_slow_reader(s):
    c = start(s, long_body(stream=True, n=4, logprobs=True, top_logprobs=20, messages=[{"role": "user", "content": "Hi"}]), receive=65536)
    time.sleep(0.5)
    status, got = s.chat(QUESTIONS[0], max_tokens=12)
    ok(status == 200 and got["choices"][0]["message"]["content"].endswith("Paris."), "others are answered beside a slow reader", got)
    ok(s.wait_figure("lamina_requests_running", lambda v: v == 0), "which is dropped when too much waits for it")
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    data = read_until(c, b"\r\n0\r\n\r\n")
    ok(b"read too slowly" in data[-2000:] and b"[DONE]" not in data and b'"finish_reason":"' not in data, "and told so when it reads on",
       data[-600:])
    c.close()


def test_bodies(s):
    """The 12 MiB that bodies may take together: given back when they are read, and not taken by what is dropped."""
    large = "x" * (7 << 20)
    long = [start(s, long_body(stream=True, padding=large)) for _ in range(2)]
    ok(all(b" 200 " in c.recv(4096)[:20] for c in long) and s.wait_figure("lamina_requests_running", lambda v: v == 2),
       "bodies that are read make room for others while they are answered")
    for c in long:
        c.close()
    ok(s.wait_figure("lamina_requests_running", lambda v: v == 0), "their clients left")
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    half = [socket.create_connection(("127.0.0.1", s.port), timeout=60) for _ in range(2)]
    for c in half:
        c.sendall((head + f"Content-Length: {8 << 20}\r\n\r\n" + large[:6 << 20]).encode())
    ask = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "padding": large}
    for _ in range(100): # until what was sent has come
        status, headers, data = s.ask("POST", "/v1/chat/completions", ask)
        if status != 200:
            break
    ok(status == 429 and headers["retry-after"] == "30" and b"other requests" in data, "no room for one more: come again", (status, data))
    for c in half:
        c.close()
    with socket.create_connection(("127.0.0.1", s.port), timeout=60) as c:
        c.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode() + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 250)
        time.sleep(0.5)
        for _ in range(100): # until the others are noticed to have gone
            status, got = s.json("POST", "/v1/chat/completions", ask)
            if status == 200:
                break
            time.sleep(0.05)
        ok(status == 200, "a body over the limit takes no room, however long it goes on", got)
        c.sendall(b"0\r\n\r\n")
        ok(b" 413 " in c.recv(200)[:20], "and is refused at its end")


def read_until(c, *marks):
    """What the socket gives until one of the marks, or until it ends."""
    data = b""
    while not any(mark in data for mark in marks):
        part = c.recv(65536)
        if not part:
            break
        data += part
    return data


def joined(chunks):
    """The body that a chunked transfer carries."""
    body = b""
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        body, chunks = body + chunks[:int(size, 16)], chunks[int(size, 16) + 2:]
    return body


def test_signs_of_life():
    """Both wait behind others that hold the only place, so that no machine is fast enough to answer before a sign is due."""
    with Server(*SLOW, "--parallel", "1") as s:
        holders = [start(s, long_body(stream=True)) for _ in range(4)]
        ok(s.wait_figure("lamina_requests_running", lambda v: v == 1), "one holds the place")
        stream, whole = start(s, long_body(stream=True, max_tokens=3)), start(s, long_body(max_tokens=3))
        data = read_until(stream, b": lamina layer ", b"[DONE]", b'"error"')
        ok(b": lamina layer " in data and b"[DONE]" not in data, "a slow answer gives signs of life", data[:600])
        head = read_until(whole, b"\r\n1\r\n \r\n", b"usage")
        ok(b" 200 " in head and b"chunked" in head.lower() and head.endswith(b"\r\n1\r\n \r\n"),
           "one that is not streamed is held open with white space", head[:400])
        for c in holders:
            c.close()
        ok(b"[DONE]" in read_until(stream, b"[DONE]", b'"error"'), "the stream is answered after that")
        stream.close()
        data = head + read_until(whole, b"\r\n0\r\n\r\n")
        whole.close()
        text = joined(data.partition(b"\r\n\r\n")[2])
        ok(text[:1] == b" " and json.loads(text)["usage"]["completion_tokens"] == 3, "and the white space ends in a whole answer", data[-400:])


def begin_idle(s):
    """Two connections that stay open after an answer, one of them a stream."""
    idle = []
    for stream in (True, False):
        c = start(s, long_body(stream=stream, max_tokens=2))
        read_until(c, b"\r\n0\r\n\r\n", b"usage")
        idle.append(c)
    return idle, time.monotonic()


def test_idle(idle, since):
    late = since + 75
    for c, what in zip(idle, ("a stream", "another answer")):
        c.settimeout(max(1, late - time.monotonic()))
        try:
            while c.recv(65536): # what was left of the answer
                pass
            closed = True
        except TimeoutError:
            closed = False
        ok(closed and time.monotonic() - since > 50, f"a connection that is idle after {what} is closed", time.monotonic() - since)
        c.close()


def test_slow():
    with Server(*SLOW) as s:
        test_leaving(s)
        test_bodies(s)
    test_signs_of_life()


def test_queue():
    with Server(*SLOW, "--queue", "2", "--parallel", "1") as s:
        held = [start(s, long_body(stream=True))]
        ok(s.wait_figure("lamina_requests_running", lambda v: v == 1), "one runs")
        held += [start(s, long_body(stream=True)) for _ in range(2)]
        ok(s.wait_figure("lamina_requests_waiting", lambda v: v == 2), "two wait")
        status, headers, data = s.ask("POST", "/v1/chat/completions", long_body())
        ok(status == 429 and headers["retry-after"] == "30" and headers["x-should-retry"] == "true", "a full queue says when to come again",
           (status, headers, data))
        for c in held:
            c.close()
        ok(s.wait_figure("lamina_requests_running", lambda v: v == 0), "all left")


def test_many(s):
    want = {q: alone(q, 12) for q in QUESTIONS}
    bad = []

    def one(i):
        question = QUESTIONS[i % len(QUESTIONS)]
        try:
            got = s.chat(question, max_tokens=12, stream=False)[1]["choices"][0]["message"]["content"]
            if got != want[question]:
                bad.append((question, got))
        except Exception as e:  # noqa: BLE001 any failure is the finding
            bad.append((question, repr(e)))
    threads = [threading.Thread(target=one, args=(i,)) for i in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    ok(not bad, f"{CLIENTS} clients at once get their answers", bad[:5])


def test_large_answers(s):
    """48 prompts of 1000 ids with 20 alternatives a token are 30 MB of JSON: more than the server may hold."""
    ids = [i % 2000 + 10 for i in range(1000)]
    status, got = s.json("POST", "/v1/completions", {"prompt": [ids] * 48, "echo": True, "logprobs": 20, "max_tokens": 0}, timeout=300)
    # 200 where the machine is so slow that white space went before: then the body alone can say it.
    ok(status in (200, 400) and "the answer is too large" in got.get("error", {}).get("message", ""), "an answer that is too large is refused",
       (status, str(got)[:300]))
    status, got = s.json("POST", "/v1/completions", {"prompt": [ids] * 2, "echo": True, "logprobs": 20, "max_tokens": 0}, timeout=300)
    ok(status == 200 and all(len(c["logprobs"]["tokens"]) == 1000 for c in got["choices"]), "a smaller one is not", (status, str(got)[:300]))
    bad, good = [], []

    def one():
        status, got = s.json("POST", "/v1/completions", {"prompt": [ids] * 4, "echo": True, "logprobs": 20, "max_tokens": 0}, timeout=300)
        (good if status == 200 else bad).append((status, str(got)[:300]))
    threads = [threading.Thread(target=one) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    ok(good and all(status == 429 and "answers under way" in text for status, text in bad), "many at once wait for each other or are told to",
       bad[:3])
    status, got = s.json("POST", "/v1/completions", {"prompt": [ids] * 4, "echo": True, "logprobs": 20, "max_tokens": 0}, timeout=300)
    ok(status == 200, "and what they took is free again", (status, str(got)[:300]))


def test_memory(s):
    text = s.ask("GET", "/metrics")[2].decode()
    peak = float(re.search(r'^lamina_resident_bytes\{kind="peak"\} (\d+)$', text, re.M)[1])
    budget = s.figures()["lamina_budget_bytes"]
    if b"__asan_init" in pathlib.Path(LAMINA).read_bytes():
        ok(True, "memory stays below a tight budget # SKIP sanitizers take more")
    else:
        ok(peak <= budget == TIGHT << 20, "memory stays below a tight budget", f"{peak} of {budget}")


def test_term_under_load():
    with Server(*SLOW, "--grace", "1") as s:
        clients = [start(s, long_body(stream=True)) for _ in range(6)] + [start(s, long_body()) for _ in range(2)]
        ok(s.wait_figure("lamina_requests_running", lambda v: v == 4), "four run, four wait")
        s.process.send_signal(signal.SIGTERM)
        ends = []
        for c in clients:
            data = b""
            while True:
                try:
                    part = c.recv(65536)
                except OSError:
                    break
                if not part:
                    break
                data += part
            ends.append(data)
            c.close()
        ok(s.process.wait(60) == 0, "SIGTERM under load ends with 0", s.log.read_text())
        ok(all(b'"error"' in data and b"the server ended" in data for data in ends), "everybody gets an error that says so",
           [d[-200:] for d in ends])


def test_socket():
    path = WORK / ("sock".ljust(107 - len(str(WORK)) - 1, "e"))
    with Server("--uds", str(path)) as s:
        ok(s.path == str(path), "a long path is named whole", s.path)
        mode = path.stat().st_mode & 0o777
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(str(path))
            c.sendall(b"GET /v1/models HTTP/1.1\r\nHost: lamina\r\nConnection: close\r\n\r\n")
            data = b""
            while True:
                part = c.recv(65536)
                if not part:
                    break
                data += part
        ok(b" 200 " in data[:20] and mode == 0o600, "a Unix socket, of its owner alone", (mode, data[:100]))
    ok(not path.exists(), "which is removed at the end")


def has_v6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def test_addresses():
    for host, want in (("localhost", r"127\.0\.0\.1|\[::1\]"), ("127.1", r"127\.0\.0\.1"), ("::1", r"\[::1\]")):
        if host == "::1" and not has_v6():
            ok(True, f"the address of {host} # SKIP no IPv6 here")
            continue
        with Server("--host", host) as s:
            ok(re.search(rf"serving model at http://({want}):{s.port}$", s.log.read_text(), re.M), f"the address of {host} in digits",
               s.log.read_text())


def test_allowed():
    with Server("--allowed-host", "box", "--allowed-host", "gate.example:9000", "--cors-origin", "https://app.example") as s:
        got = {host: s.ask("GET", "/v1/models", headers={"Host": host})[0] for host in
               ("box", "BOX:7", "gate.example:9000", "gate.example:9001", "gate.example", "other")}
        ok(list(got.values()) == [200, 200, 200, 403, 403, 403], "allowed names, with their port where it is given", got)
        page = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        asked = "authorization,content-type,x-stainless-os,x-stainless-retry-count"
        status, got, _ = s.ask("OPTIONS", "/v1/chat/completions", headers={**page, "Access-Control-Request-Headers": asked})
        ok(status == 204 and got["access-control-allow-headers"] == asked and got["access-control-allow-origin"] == page["Origin"],
           "an allowed page may send the headers it asks for", got)
        for bad in ("x-a\tb", "a;b", "x" * 2000):
            status, got, _ = s.ask("OPTIONS", "/v1/chat/completions", headers={**page, "Access-Control-Request-Headers": bad})
            ok(bad not in got["access-control-allow-headers"], f"but not {bad[:20]!r}", got)
        status, got, _ = s.ask("GET", "/v1/models", headers=page)
        ok(status == 200 and got["access-control-expose-headers"] == "x-request-id, retry-after", "and read what helps it", got)
        status, got, _ = s.ask("OPTIONS", "/v1/models", headers={**page, "Origin": "https://evil.example"})
        ok(status == 403 and "access-control-allow-origin" not in got, "others may not", got)


def test_usage():
    for words, code, said in ((["--parallel", "0"], 2, "--parallel"), (["--port", "70000"], 2, "--port"), (["--memory", "20MiB"], 7, "server"),
                              (["--host", "no.such.host.invalid"], 2, "--host"), (["--api-key", ""], 2, "--api-key"),
                              (["--host", "192.0.2.1", "--port", "0"], 11, "192.0.2.1")):
        done = lamina("serve", MODEL, *words)
        ok(done.returncode == code and said in done.stderr, f"serve {' '.join(words)}", done.stderr)


def main():
    with Server("--memory", f"{TIGHT}MiB") as s:
        for test in (test_models, test_chat, test_sampling, test_streams, test_echo, test_tokens, test_ollama, test_anthropic, test_monitor,
                     test_refusals, test_slow_reader, test_many, test_large_answers, test_memory):
            test(s)
    ok(s.code == 0, "and it ends with 0", s.log.read_text())
    with Server() as s:
        idle = begin_idle(s)
        for test in (test_keys, test_slow, test_queue, test_term_under_load, test_socket, test_addresses, test_allowed, test_usage):
            test()
        test_idle(*idle)
    finish()


main()
