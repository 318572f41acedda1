# SPDX-License-Identifier: Apache-2.0
"""What run_serve.py and run_batch.py share: TAP, and a running `lamina serve` that plain sockets talk to."""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LAMINA = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LAMINA_PROGRAM", "build/lamina")
MODEL = str(ROOT / "demo" / "model")
WORK = pathlib.Path(tempfile.mkdtemp(prefix="lamina-serve."))
CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
cases = 0


def ok(good, name, why=""):
    global cases
    cases += 1
    if not good:
        print("\n".join("# " + line for line in str(why)[:1500].splitlines()))
    print(f"{'ok' if good else 'not ok'} {cases} - {name}", flush=True)


def finish():
    print(f"1..{cases}")
    shutil.rmtree(WORK, ignore_errors=True)


def environment(home="home", **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "LAMINA_")) and not k.lower().endswith("_proxy")}
    env.update(LAMINA_HOME=str(WORK / home), LC_ALL="C.UTF-8", TERM="dumb", HOME=str(WORK), **more)
    return env


def lamina(*words, stdin=None):
    return subprocess.run([LAMINA, *words], env=environment(), input=stdin, capture_output=True, text=True, timeout=120)


class Server:
    """One running server; `with` ends it and notes how it ended. most_kib: no file that it writes becomes larger."""

    def __init__(self, *words, home="home", most_kib=None, **env):
        limits = [] if most_kib is None else ["bash", "-c", f"trap '' XFSZ; ulimit -f {most_kib}; exec \"$@\"", "limited"]
        self.key, self.home, self.code = env.get("LAMINA_API_KEY"), WORK / home, None
        self.log = WORK / f"log{len(list(WORK.glob('log*')))}"
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([*limits, LAMINA, "serve", MODEL, "--port", "0", "--memory", "256MiB", *words],
                                            env=environment(home, **env), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(600):
            found = re.search(r"serving .* at (?:http://[^ ]*:(\d+)|(/.*))", self.log.read_text())
            if found:
                self.port, self.path = int(found[1] or 0), found[2]
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(self.log.read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.code = self.process.wait(120)
        return self.code

    def ask(self, method, path, body=None, headers=None, timeout=120):
        """Status, headers, body as bytes. A body that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        head = {"Content-Type": "application/json"} if body is not None else {}
        head.update(headers or {})
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method, path, data, head)
        reply = connection.getresponse()
        got = reply.status, dict((k.lower(), v) for k, v in reply.getheaders()), reply.read()
        connection.close()
        return got

    def json(self, method, path, body=None, **more):
        status, _, data = self.ask(method, path, body, **more)
        return status, json.loads(data)

    def figures(self):
        text = Server.ask(self, "GET", "/metrics")[2].decode()
        return {m[1]: float(m[2]) for m in re.finditer(r"^(lamina_\w+) ([-+.e\d]+)$", text, re.M)}

    def wait_figure(self, name, test, seconds=60):
        for _ in range(seconds * 20):
            if test(self.figures()[name]):
                return True
            time.sleep(0.05)
        return False
