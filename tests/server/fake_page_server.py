#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server that speaks what the page at / is told by `lamina serve`, without a model: for tools/page_check.py and for looking.

usage: fake_page_server.py [--port N] [--key KEY] [--slow SECONDS]

What the user says chooses the reply: "fail" ends in an error within the stream, "refuse" is answered with 503, "cut" loses the
connection, "long" goes on until the client leaves; everything else is answered with text that has all kinds of markdown and HTML that
must not be taken as such.
"""
import argparse
import http.server
import json
import pathlib
import threading
import time

PAGE = pathlib.Path(__file__).resolve().parents[2] / "src" / "app" / "server" / "page.html"
MODELS = ["meta-llama/Llama-3.3-70B-Instruct", "org/small"]
LAYERS, PINNED = 80, 22
GIB = 1 << 30
PLAN = [("pinned weights", 2.9), ("ring of tiles", 0.19), ("KV cache", 0.8), ("activations", 0.31), ("head and norms", 0.12),
        ("tokenizer", 0.05), ("stacks, page tables", 0.03)]
REPLY = """The sky is blue because air scatters **short waves** more than long ones; this is *Rayleigh scattering*.

1. Sunlight holds all colours.
2. Molecules are far smaller than a wave, so the scattered share grows as `1/wavelength^4`.
3. Blue comes from everywhere, red comes straight on.

```python
def scattered(wavelength_nm):
    \"\"\"Relative to 550 nm; <b>not bold</b> & not an entity.\"\"\"
    return (550 / wavelength_nm) ** 4

print(f"{scattered(450):.2f}")  # a line that is rather long, so that the block has to scroll sideways on a phone
```

At sunset the way through the air is ~40 times longer, and what is left is red. More at [a page](https://example.org/sky).
<img src="x" onerror="document.title='broken in'"><script>document.title='broken in'</script>
"""


class State:
    """What the threads share; `lock` guards all of it."""

    def __init__(self, key, slow):
        self.lock = threading.Lock()
        self.key, self.slow = key, slow
        self.requests = []   # bodies of chat requests
        self.aborted = 0     # replies whose client left
        self.phase, self.tokens, self.prompt_done, self.prompt_total = "idle", 0, None, None
        self.began = time.monotonic()

    def facts(self):
        with self.lock:
            busy = self.phase != "idle"
            now = time.monotonic() - self.began
            layer = int(now * 13) % LAYERS if busy else None
            wobble = 0.06 * ((int(now * 4) * 7919) % 13 - 6) / 6
            return {"model": MODELS[0], "layers": LAYERS, "pinned_layers": PINNED, "layer": layer, "phase": self.phase,
                    "prompt_done": self.prompt_done, "prompt_total": self.prompt_total, "running": int(busy), "queued": 0,
                    "tokens": self.tokens, "tokens_per_s": 0.022 if busy else None, "s_per_token": 45.2 if busy else None,
                    "bytes_read": int(now * 3.0e9) if busy else 0, "disk_bytes_per_s": 3.05e9 * (1 + wobble) if busy else 0,
                    "disk_limit_bytes_per_s": 3.3e9, "memory_budget_bytes": 6 * GIB, "memory_peak_bytes": int(4.6 * GIB),
                    "plan": [{"name": n, "bytes": int(g * GIB)} for n, g in PLAN],
                    "stages": {"read_wait_s": 40.1, "decode_s": 1.9, "compute_s": 4.4, "other_s": 0.3}}


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""
    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, format, *args):  # noqa: A002
        pass

    def plain(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fault(self, status, words):
        self.plain(status, "application/json", json.dumps({"error": {"message": words, "type": "x"}}).encode())

    def refused(self):
        if self.state.key and self.headers.get("Authorization") != "Bearer " + self.state.key:
            self.fault(401, "this server wants a key")
            return True
        return False

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, value):
        self.wfile.write(b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n")
        self.wfile.flush()

    def do_GET(self):
        if self.path == "/":
            self.plain(200, "text/html; charset=utf-8", PAGE.read_bytes())
        elif self.refused():
            pass
        elif self.path == "/v1/models":
            self.plain(200, "application/json", json.dumps({"object": "list", "data": [{"id": m, "object": "model"}
                                                                                      for m in MODELS]}).encode())
        elif self.path == "/lamina/v1/events":
            self.stream()
            try:
                while True:
                    self.event(self.state.facts())
                    time.sleep(0.25)
            except OSError:
                pass
        else:
            self.fault(404, "there is nothing at " + self.path)

    def reply(self, text, long):
        s = self.state
        words = text.split(" ")
        for i in range(10 ** 6 if long else len(words)):
            with s.lock:
                s.phase, s.prompt_done, s.tokens = "decode", None, i + 1
            word = words[i % len(words)] + ("" if not long and i == len(words) - 1 else " ")
            self.event({"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word}}]})
            time.sleep(s.slow)
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.event({"choices": [], "usage": {"prompt_tokens": 21, "completion_tokens": len(words), "total_tokens": 21 + len(words)}})
        self.event(b"[DONE]")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.refused():
            return
        request = json.loads(body)
        s = self.state
        said = request["messages"][-1]["content"]
        with s.lock:
            s.requests.append(request)
        if "refuse" in said:
            self.fault(503, "the queue is full")
            return
        self.stream()
        try:
            for i in range(5):
                with s.lock:
                    s.phase, s.prompt_total, s.prompt_done = "prompt", 1024, i * 204
                self.wfile.write(b": keep-alive\n\n")
                self.wfile.flush()
                time.sleep(4 * s.slow)
            if "cut" in said:
                return
            if "fail" in said:
                self.event({"choices": [{"index": 0, "delta": {"content": "Well"}}]})
                self.event({"error": {"message": "a tile of layer 7 is damaged; run lamina verify", "code": 8}})
                return
            self.reply(REPLY, "long" in said)
        except OSError:
            with s.lock:
                s.aborted += 1
        finally:
            with s.lock:
                s.phase, s.prompt_done, s.prompt_total = "idle", None, None


def start(port=0, key="", slow=0.02):
    """A running server and its state; server.server_port is where."""
    state = State(key, slow)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (Handler,), {"state": state}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, state


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, default=8766)
    parser.add_argument("--key", default="")
    parser.add_argument("--slow", type=float, default=0.1)
    args = parser.parse_args()
    server, _ = start(args.port, args.key, args.slow)
    print(f"http://127.0.0.1:{server.server_port}/")
    threading.Event().wait()


if __name__ == "__main__":
    main()
