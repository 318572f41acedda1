#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The official Python clients against `lamina serve`: they chat, stream, list, cancel, and run a batch. Needs the packages openai, anthropic and ollama.

usage: tools/serve_check.py [LAMINA] [MODEL]      (default: build/lamina and the demonstration model)
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import anthropic
import ollama
import openai

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAMINA = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build" / "lamina")
MODEL = sys.argv[2] if len(sys.argv) > 2 else str(ROOT / "demo" / "model")
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
HOME = tempfile.TemporaryDirectory(prefix="lamina-check.")
failed = []


def check(name, good, what=""):
    print(("ok      " if good else "FAILED  ") + name + ("" if good else f": {what!r}"))
    if not good:
        failed.append(name)


def start():
    """The server's process and address."""
    log = tempfile.NamedTemporaryFile("r", suffix=".log")
    process = subprocess.Popen([LAMINA, "serve", MODEL, "--port", "0", "--memory", "256MiB"],
                               env=dict(os.environ, LAMINA_API_KEY="check-key", LAMINA_HOME=HOME.name), stderr=open(log.name, "w", encoding="utf-8"))
    for _ in range(600):
        found = re.search(r"at (http://\S+)", open(log.name, encoding="utf-8").read())
        if found:
            return process, found[1]
        time.sleep(0.1)
    sys.exit(open(log.name, encoding="utf-8").read())


def running(base):
    request = urllib.request.Request(base + "/metrics", headers={"Authorization": "Bearer check-key"})
    text = urllib.request.urlopen(request).read().decode()
    return float(re.search(r"^lamina_requests_running (\S+)", text, re.M)[1])


def with_openai(base):
    client = openai.OpenAI(base_url=base + "/v1", api_key="check-key", max_retries=0)
    name = client.models.list().data[0].id
    check("openai models.list and retrieve", client.models.retrieve(name).id == name, name)
    whole = client.chat.completions.create(model=name, messages=QUESTION, temperature=0, logprobs=True, top_logprobs=2)
    text = whole.choices[0].message.content
    check("openai chat", "Paris" in text and whole.usage.total_tokens > 0 and whole.choices[0].logprobs.content[0].top_logprobs, whole)
    chunks = list(client.chat.completions.create(model=name, messages=QUESTION, temperature=0, stream=True,
                                                 stream_options={"include_usage": True}))
    joined = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check("openai stream", joined == text and chunks[-1].usage.completion_tokens > 0, joined)
    echo = client.completions.create(model=name, prompt="Paris is", echo=True, logprobs=1, max_tokens=1)
    check("openai completions", echo.choices[0].text.startswith("Paris is") and echo.choices[0].logprobs.token_logprobs[0] is None, echo)
    stream = client.chat.completions.create(model=name, messages=QUESTION, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    for _ in range(200):
        if running(base) == 0:
            break
        time.sleep(0.1)
    check("openai cancel", running(base) == 0)
    for error, call in ((openai.NotFoundError, lambda: client.chat.completions.create(model="none", messages=QUESTION)),
                        (openai.BadRequestError, lambda: client.chat.completions.create(model=name, messages=[])),
                        (openai.AuthenticationError, lambda: openai.OpenAI(base_url=base + "/v1", api_key="x").models.list())):
        try:
            call()
            check(f"openai {error.__name__}", False)
        except error as e:
            check(f"openai {error.__name__}", bool(e.body["message"]), e)
    return name, text


def with_batches(base, name, text):
    client = openai.OpenAI(base_url=base + "/v1", api_key="check-key", max_retries=0)
    path = pathlib.Path(HOME.name) / "in.jsonl"
    body = {"model": name, "messages": QUESTION, "temperature": 0}
    lines = [{"custom_id": f"line {i}", "method": "POST", "url": "/v1/chat/completions", "body": body} for i in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with open(path, "rb") as data:
        file = client.files.create(file=data, purpose="batch")
    check("openai files.create", file.bytes == path.stat().st_size and file.filename == "in.jsonl", file)
    check("openai files.list, retrieve, content", [f.id for f in client.files.list(purpose="batch")] == [file.id] and
          client.files.retrieve(file.id) == file and client.files.content(file.id).content == path.read_bytes())
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"of": "check"})
    for _ in range(600):
        batch = client.batches.retrieve(batch.id)
        if batch.status in ("completed", "failed"):
            break
        time.sleep(0.1)
    check("openai batches.create, retrieve", batch.status == "completed" and batch.request_counts.completed == 20 and
          batch.request_counts.failed == 0 and batch.metadata == {"of": "check"} and batch.error_file_id is None, batch)
    out = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    check("openai the batch's output", sorted(x["custom_id"] for x in out) == sorted(x["custom_id"] for x in lines) and
          all(x["response"]["body"]["choices"][0]["message"]["content"] == text for x in out), out)
    body.update(max_tokens=1000, ignore_eos=True)
    file = client.files.create(file=("many.jsonl", "".join(json.dumps(dict(line, custom_id=f"{i}")) + "\n" for i, line in
                                                           enumerate(lines * 50)).encode()), purpose="batch")
    second = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    check("openai batches.cancel", client.batches.cancel(second.id).status == "cancelling")
    for _ in range(600):
        if client.batches.retrieve(second.id).status == "cancelled":
            break
        time.sleep(0.1)
    check("openai batches.list", [b.status for b in client.batches.list(limit=1)] in (["cancelled", "completed"], ["completed", "cancelled"]))
    check("openai files.delete", client.files.delete(file.id).deleted)
    try:
        client.files.retrieve(file.id)
        check("openai a deleted file", False)
    except openai.NotFoundError as e:
        check("openai a deleted file", bool(e.body["message"]), e)


def with_anthropic(base, name, text):
    client = anthropic.Anthropic(base_url=base, api_key="check-key", max_retries=0)
    whole = client.messages.create(model=name, max_tokens=40, messages=QUESTION)
    check("anthropic messages", whole.content[0].text == text and whole.stop_reason == "end_turn", whole)
    with client.messages.stream(model=name, max_tokens=40, messages=QUESTION) as stream:
        joined = "".join(stream.text_stream)
        final = stream.get_final_message()
    check("anthropic stream", joined == text and final.usage.output_tokens == whole.usage.output_tokens, joined)
    check("anthropic count_tokens", client.messages.count_tokens(model=name, messages=QUESTION).input_tokens == whole.usage.input_tokens)


def with_ollama(base, name, text):
    client = ollama.Client(host=base, headers={"Authorization": "Bearer check-key"})
    check("ollama list, show, ps", client.list().models[0].model == name and client.show(name).details and client.ps().models)
    options = {"temperature": 0}
    check("ollama chat", client.chat(model=name, messages=QUESTION, options=options).message.content == text)
    parts = list(client.chat(model=name, messages=QUESTION, options=options, stream=True))
    check("ollama stream", "".join(p.message.content for p in parts) == text and parts[-1].done_reason == "stop", parts)
    check("ollama generate", client.generate(model=name, prompt=QUESTION[0]["content"], options=options).response == text)


def main():
    process, base = start()
    try:
        name, text = with_openai(base)
        with_batches(base, name, text)
        with_anthropic(base, name, text)
        with_ollama(base, name, text)
    finally:
        process.terminate()
    check("the server ends with 0", process.wait(60) == 0)
    sys.exit(1 if failed else 0)


main()
