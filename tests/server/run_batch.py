#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files and batches of lamina serve: round trips, mistakes, cancelling, and servers that are killed in the middle. TAP on stdout.

usage: run_batch.py LAMINA [TESTDATA, not needed]
"""
import http.client
import json
import signal
import sys
import time

sys.dont_write_bytecode = True
import server_under_test  # noqa: E402
from server_under_test import CHAT, PLAIN, finish, ok  # noqa: E402

SLOW = ("--isa", "scalar", "--threads", "1")
TOKENS = 60 # of a slow line


class Server(server_under_test.Server):
    """Answers without their headers; the server's key goes along, if it has one."""

    def ask(self, method, path, body=None, kind="application/json", key=True):
        head = {"Content-Type": kind} if body is not None else {}
        if self.key and key:
            head["Authorization"] = "Bearer " + self.key
        status, _, data = super().ask(method, path, body, head)
        return status, data

    def json(self, *words, **more):
        status, data = self.ask(*words, **more)
        return status, json.loads(data)

    def upload(self, data, purpose="batch", field="file", cut=0):
        parts = b""
        if purpose is not None:
            parts += b'--Q7\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + purpose.encode() + b"\r\n"
        parts += (b'--Q7\r\nContent-Disposition: form-data; name="' + field.encode() + b'"; filename="../in put.jsonl"\r\n'
                  b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n--Q7--\r\n")
        return self.json("POST", "/v1/files", parts[:len(parts) - cut], kind="multipart/form-data; boundary=Q7")

    def batch(self, lines, endpoint=CHAT, **more):
        data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
        file_id = self.upload(data)[1]["id"]
        return self.json("POST", "/v1/batches", {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **more})[1]

    def wait(self, batch_id, test=lambda b: b["status"] in ("completed", "failed", "cancelled"), seconds=120):
        for _ in range(seconds * 20):
            got = self.json("GET", "/v1/batches/" + batch_id)[1]
            if test(got):
                break
            time.sleep(0.05)
        return got

    def lines(self, file_id):
        return [] if file_id is None else [json.loads(line) for line in self.ask("GET", f"/v1/files/{file_id}/content")[1].splitlines()]

    def figure(self, name):
        return self.figures()[name]


COUNTRIES = ("France", "Japan", "Italy", "Spain", "Egypt", "Norway", "Peru", "Kenya", "Cuba", "Iran", "Chile", "India", "China", "Greece", "Poland")


def chat(i, **more):
    body = {"model": "model", "messages": [{"role": "user", "content": f"What is the capital of {COUNTRIES[i % len(COUNTRIES)]}?"}],
            "temperature": 0, "max_tokens": 20, **more}
    return {"custom_id": f"chat é\"{i}", "method": "POST", "url": CHAT, "body": body}


def plain(i, **more):
    return {"custom_id": f"plain {i}", "method": "POST", "url": PLAIN,
            "body": {"prompt": f"{COUNTRIES[i % len(COUNTRIES)]} is", "temperature": 0, "max_tokens": 8, "logprobs": 1, **more}}


def same(a, b):
    """Two answers but for their names and times."""
    return all(a[k] == b[k] for k in ("object", "model", "choices", "usage"))


# ---- files ----

def test_files(s):
    data = bytes(range(256)) * 4096
    status, got = s.upload(data)
    ok(status == 200 and got["bytes"] == len(data) and got["purpose"] == "batch" and got["filename"].endswith("in put.jsonl"), "upload", got)
    name = got["id"]
    ok(s.json("GET", "/v1/files/" + name) == (200, got), "what is known of a file")
    ok(s.ask("GET", f"/v1/files/{name}/content") == (200, data), "its content")
    other = s.upload(b"x")[1]["id"]
    status, listed = s.json("GET", "/v1/files")
    ok({f["id"] for f in listed["data"]} == {name, other} and not listed["has_more"], "the list", listed)
    status, one = s.json("GET", "/v1/files?limit=1&order=asc")
    status, two = s.json("GET", f"/v1/files?limit=1&order=asc&after={one['last_id']}")
    ok(one["has_more"] and not two["has_more"] and {one["data"][0]["id"], two["data"][0]["id"]} == {name, other}, "pages of it", (one, two))
    store = next((s.home / "serve").iterdir())
    ok(store.stat().st_mode & 0o777 == 0o700 and all(p.stat().st_mode & 0o077 == 0 for p in store.iterdir()), "nobody else may read them")
    ok(s.json("DELETE", "/v1/files/" + name) == (200, {"id": name, "object": "file", "deleted": True}), "delete")
    ok(s.ask("GET", "/v1/files/" + name)[0] == 404 and s.ask("GET", f"/v1/files/{name}/content")[0] == 404 and
       s.ask("DELETE", "/v1/files/" + name)[0] == 404 and not (store / name).exists(), "and it is gone")
    for bad in ("../x", "..%2f..%2fx", "lock", other + ".json", other + "/../lock", other.upper(), "file-", "%00", other + "%00", "x" * 300):
        answers = [s.ask("GET", f"/v1/files/{bad}"), s.ask("GET", f"/v1/files/{bad}/content"), s.ask("DELETE", f"/v1/files/{bad}")]
        good = all(a[0] in (400, 404) for a in answers) if "%00" not in bad else b"custom" not in answers[1][1]
        ok(good, f"no file is called {bad[:40]}", answers)
    s.json("DELETE", "/v1/files/" + other)
    for what, (status, got) in (("another purpose", s.upload(b"x", purpose="fine-tune")), ("no purpose", s.upload(b"x", purpose=None)),
                                ("no file", s.upload(b"x", field="other")), ("half a form", s.upload(b"x" * 1000, cut=20))):
        ok(status == 400 and got["error"]["message"], f"a form with {what} is refused", got)
    ok(s.ask("POST", "/v1/files", b"{}")[0] == 415, "JSON is no form")
    ok(s.ask("POST", "/v1/files", b"x", kind="multipart/form-data")[0] == 400, "a form without a boundary")
    head = f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=Q7\r\nContent-Length: {(200 << 20) + 1}\r\n\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
    connection.connect()
    connection.sock.sendall(head.encode())
    ok(b" 413 " in connection.sock.recv(200)[:20], "more than 200 MB are refused before they are sent")
    connection.close()
    ok(s.json("GET", "/v1/files")[1]["data"] == [] and not [p for p in store.iterdir() if p.name.startswith(("tmp-", "file-"))],
       "what was refused leaves nothing", list(store.iterdir()))


# ---- batches ----

def test_round_trip(s):
    chats = [chat(i) for i in range(15)]
    chats[4] = chat(4, temperature=-1)
    chats[9]["body"]["model"] = "no-such-model"
    plains = [plain(i) for i in range(15)]
    plains[7]["body"]["prompt"] = 5
    for lines, endpoint, bad in ((chats, CHAT, {4: 400, 9: 404}), (plains, PLAIN, {7: 400})):
        begun = s.batch(lines, endpoint, metadata={"who": "test"})
        ok(begun["object"] == "batch" and begun["status"] == "validating" and begun["metadata"] == {"who": "test"}, "a batch begins", begun)
        got = s.wait(begun["id"])
        ok(got["status"] == "completed" and got["request_counts"] == {"total": 15, "completed": 15 - len(bad), "failed": len(bad)} and
           got["created_at"] <= got["in_progress_at"] <= got["finalizing_at"] <= got["completed_at"], "and is completed", got)
        out, errors = s.lines(got["output_file_id"]), s.lines(got["error_file_id"])
        ok(sorted(x["custom_id"] for x in out) == sorted(x["custom_id"] for i, x in enumerate(lines) if i not in bad), "every line once", out)
        ok({x["custom_id"]: x["response"]["status_code"] for x in errors} == {lines[i]["custom_id"]: code for i, code in bad.items()} and
           all(x["response"]["body"]["error"]["message"] for x in errors), "failed lines in a file of their own", errors)
        by_id = {x["custom_id"]: x for x in out}
        alone = {x["custom_id"]: s.json("POST", endpoint, x["body"])[1] for i, x in enumerate(lines) if i not in bad}
        ok(all(same(by_id[k]["response"]["body"], alone[k]) for k in alone), "answers are those of plain requests", out)
    status, listed = s.json("GET", "/v1/batches?limit=1")
    rest = s.json("GET", f"/v1/batches?after={listed['last_id']}")[1]
    ok(len(listed["data"]) == 1 and listed["has_more"] and len(rest["data"]) == 1 and not rest["has_more"], "the list of batches", listed)
    ok(s.ask("POST", f"/v1/batches/{got['id']}/cancel")[0] == 409, "one that ended cannot be cancelled")


def test_mistakes(s):
    good = chat(0)
    lines = [good, b"{not json", dict(good, custom_id="b", method="GET"), dict(good, custom_id="c", url=PLAIN), good,
             dict(good, custom_id="d", body=None), chat(5, stream=True), {k: v for k, v in good.items() if k != "custom_id"}, b"", chat(8, stream=False)]
    got = s.wait(s.batch(lines)["id"])
    ok(got["status"] == "failed" and [(e["code"], e["line"]) for e in got["errors"]["data"]] == [
        ("invalid_json_line", 2), ("invalid_method", 3), ("mismatched_url", 4), ("duplicate_custom_id", 5), ("invalid_json_line", 6),
        ("invalid_request", 7), ("missing_required_parameter", 8)] and got["output_file_id"] is None, "what is wrong with lines is listed", got)
    ok(s.wait(s.batch([b" "])["id"])["errors"]["data"][0]["code"] == "empty_file", "a file without lines")
    file_id = s.upload(b"x")[1]["id"]
    base = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    for change in ({"input_file_id": "../x"}, {"input_file_id": "file-" + "0" * 24}, {"endpoint": "/v1/embeddings"}, {"completion_window": "1h"},
                   {"metadata": {"a": 1}}, {"metadata": {str(i): "x" for i in range(17)}}, {"input_file_id": None}):
        status, got = s.json("POST", "/v1/batches", {**base, **change})
        ok(status == 400 and got["error"]["message"], f"a batch with {change} is refused", got)
    s.ask("DELETE", "/v1/files/" + file_id)
    ok(s.json("POST", "/v1/batches", base)[0] == 400, "a deleted file is no input")
    for bad in ("../x", "batch_", "batch_" + "0" * 24, file_id, "lock"):
        ok(s.ask("GET", "/v1/batches/" + bad)[0] == 404 and s.ask("POST", f"/v1/batches/{bad}/cancel")[0] == 404, f"no batch is called {bad}")


def test_cancel():
    with Server(*SLOW, "--parallel", "2", home="cancel") as s:
        first = s.batch([chat(i, max_tokens=TOKENS, ignore_eos=True) for i in range(200)])
        second = s.batch([chat(i) for i in range(3)])
        got = s.wait(first["id"], lambda b: b["request_counts"]["completed"] >= 2)
        ok(got["status"] == "in_progress" and got["output_file_id"] is None, "it is at work", got)
        ok(s.ask("DELETE", "/v1/files/" + first["input_file_id"])[0] == 409, "its input cannot be deleted")
        status, quick = s.json("POST", CHAT, chat(3)["body"])
        ok(status == 200 and s.json("GET", "/v1/batches/" + first["id"])[1]["status"] == "in_progress", "others are answered beside it", quick)
        status, got = s.json("POST", f"/v1/batches/{second['id']}/cancel")
        ok(status == 200 and got["status"] == "cancelling", "one that waits is cancelled", got)
        ok(s.wait(second["id"])["status"] == "cancelled", "while the other one is at work")
        status, got = s.json("POST", f"/v1/batches/{first['id']}/cancel")
        got = s.wait(first["id"])
        out = s.lines(got["output_file_id"])
        ok(got["status"] == "cancelled" and 2 <= len(out) == got["request_counts"]["completed"] < 200 and got["cancelled_at"],
           "what was answered before it was cancelled is kept", got)
        for _ in range(600):
            if s.figure("lamina_requests_waiting") + s.figure("lamina_requests_running") == 0:
                break
            time.sleep(0.1)
        ok(s.figure("lamina_requests_waiting") + s.figure("lamina_requests_running") == 0, "nothing of it waits or runs any more")


def test_killed():
    lines = [chat(i, max_tokens=TOKENS, ignore_eos=True) for i in range(60)]
    lines[5]["body"]["temperature"] = -1
    ids = sorted(x["custom_id"] for x in lines)
    kept = 0
    with Server(*SLOW, "--parallel", "4", home="killed") as s:
        batch = s.batch(lines)["id"]
        s.wait(batch, lambda b: b["request_counts"]["completed"] >= 9)
        s.end(signal.SIGKILL)
        part = next((s.home / "serve").iterdir()) / (batch + ".out")
        whole = part.read_bytes()
        whole = whole[:whole.rfind(b"\n") + 1]
        kept = whole.count(b"\n")
        part.write_bytes(whole + whole[:whole.find(b"\n") // 2])
    with Server(*SLOW, "--parallel", "4", "--grace", "20", home="killed") as s:
        got = s.wait(batch, lambda b: b["request_counts"]["completed"] >= kept + 8)
        ok(got["status"] == "in_progress" and got["request_counts"]["total"] == 60, "it goes on after SIGKILL", got)
        ok(s.end() == 0, "SIGTERM under a batch ends with 0", s.log.read_text())
        again = part.read_bytes()
        ok(again.startswith(whole) and again.endswith(b"\n") and again.count(b"\n") >= kept + 8, "the torn line was cut off, the others kept")
        middle = again.count(b"\n")
    with Server("--parallel", "4", home="killed") as s:
        got = s.wait(batch)
        out, errors = s.lines(got["output_file_id"]), s.lines(got["error_file_id"])
        ok(got["status"] == "completed" and got["request_counts"] == {"total": 60, "completed": 59, "failed": 1}, "and is completed", got)
        ok(sorted(x["custom_id"] for x in out + errors) == ids, "every line is there once", len(out))
        done = s.figure("lamina_requests_done_total")
        made = s.figure("lamina_tokens_generated_total")
        ok(done == 59 - middle and made == TOKENS * (59 - middle), "nothing was computed twice", (done, made, middle))
        by_id = {x["custom_id"]: x["response"]["body"] for x in out}
        ok(all(same(by_id[x["custom_id"]], s.json("POST", CHAT, x["body"])[1]) for x in lines[:5]), "answers are those of plain requests")
        ok(s.ask("DELETE", "/v1/files/" + got["output_file_id"])[0] == 200, "the output can be deleted")
    with Server(home="killed") as s:
        again = s.json("GET", "/v1/batches/" + batch)[1]
        ok(again == got and len(s.json("GET", "/v1/files")[1]["data"]) == 2, "a new start finds what there was", again)
        with Server(home="killed") as t:
            status, refused = t.json("GET", "/v1/files")
            ok(status == 503 and "another server" in refused["error"]["message"] and t.ask("GET", "/v1/batches")[0] == 503,
               "a second server leaves them alone", refused)


def test_grace():
    lines = [chat(i, max_tokens=1500, ignore_eos=True) for i in range(8)] # minutes
    lines[0]["body"]["max_tokens"] = 1
    with Server(*SLOW, "--parallel", "4", "--grace", "1", home="grace") as s:
        batch = s.batch(lines)["id"]
        s.wait(batch, lambda b: b["request_counts"]["completed"] == 1)
        ok(s.end() == 0 and "the state" not in s.log.read_text(), "lines that outlast the grace time do not hold the server", s.log.read_text())
    with Server(*SLOW, home="grace") as s:
        got = s.wait(batch, lambda b: b["request_counts"]["total"] > 0)
        ok(got["status"] == "in_progress" and got["request_counts"] == {"total": 8, "completed": 1, "failed": 0},
           "and count neither as answered nor as failed", got)
        s.ask("POST", f"/v1/batches/{batch}/cancel")
        got = s.wait(batch)
        ok(got["status"] == "cancelled" and len(s.lines(got["output_file_id"])) == 1, "cancelled after a new start", got)


def test_full():
    lines = [plain(i, logprobs=5, max_tokens=16) for i in range(15)]
    with Server(home="full"):
        pass # the store is made
    with Server(home="full", most_kib=20) as s: # no file becomes larger: writing stops in the middle of a line
        got = s.wait(s.batch(lines, PLAIN)["id"])
        ok(got["status"] == "failed" and "cannot be written" in got["errors"]["data"][0]["message"], "a disk that is full fails a batch", got)
        raw = s.ask("GET", f"/v1/files/{got['output_file_id']}/content")[1]
        ok(raw.endswith(b"\n") and 0 < len(s.lines(got["output_file_id"])) == got["request_counts"]["completed"] < 15,
           "and its output ends with a whole line", raw[-200:])


def test_damaged():
    lines = [chat(i) for i in range(15)]
    with Server("--no-pin", "--parallel", "2", home="damaged") as s:
        layer = next(s.home.glob("*/layers/00003.bin"))
        data = bytearray(layer.read_bytes())
        data[4096:] = bytes(len(data) - 4096)
        with open(layer, "r+b") as f:
            f.write(data)
        got = s.wait(s.batch(lines)["id"])
        ok(got["status"] == "failed" and got["request_counts"]["total"] == 15 and got["request_counts"]["failed"] == 0 and
           got["error_file_id"] is None and "damaged" in got["errors"]["data"][0]["message"],
           "where the server fails no line counts as done, and the batch says why", got)
        ok(got["request_counts"]["completed"] == len(s.lines(got["output_file_id"])) < 15, "what was answered is kept", got)


def test_key():
    with Server(home="key", LAMINA_API_KEY="secret") as s:
        asked = [("GET", "/v1/files"), ("GET", "/v1/batches"), ("POST", "/v1/files"), ("POST", "/v1/batches"), ("DELETE", "/v1/files/x"),
                 ("GET", "/v1/files/x/content"), ("POST", "/v1/batches/x/cancel")]
        ok(all(s.ask(*words, key=False)[0] == 401 for words in asked), "nothing without the key")
        ok(s.upload(b"x")[0] == 200, "but with it")


def main():
    with Server() as s:
        for test in (test_files, test_round_trip, test_mistakes):
            test(s)
    ok(s.code == 0, "and it ends with 0", s.log.read_text())
    for test in (test_cancel, test_killed, test_grace, test_full, test_damaged, test_key):
        test()
    finish()


main()
