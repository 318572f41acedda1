# SPDX-License-Identifier: Apache-2.0
"""A hub on this machine, and a content network beside it, with nothing but the standard library.

It speaks what clients of a Hugging Face hub use: GET /api/models/ID[/revision/REV], /api/models/ID/tree/REV, HEAD and GET
/ID/resolve/REV/PATH with ETag, X-Linked-Etag, X-Linked-Size, X-Repo-Commit; big files are redirected to signed addresses on
the other server, which knows ranges. And it misbehaves on request: see `Faults`. Every request is written down.
"""
import hashlib
import http.server
import json
import socket
import threading
import time
import urllib.parse


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Repo:
    """Files of one revision. Those named in `lfs` (or ending so) lie on the content network."""

    def __init__(self, files, lfs=(".safetensors", ".bin", ".gguf", "tokenizer.json"), branch="main", note=b""):
        self.files = dict(files)
        self.lfs = lfs
        self.branch = branch
        names = json.dumps(sorted((p, hashlib.sha256(d).hexdigest()) for p, d in self.files.items())).encode()
        self.commit = hashlib.sha1(names + note).hexdigest()
        self.etags = {p: hashlib.sha256(d).hexdigest() if self.is_lfs(p) else git_blob(d) for p, d in self.files.items()}
        self.gated = None      # None, "no token", "not listed"
        self.plain_listing = False  # names alone, as a hub that ignores ?blobs=true

    def is_lfs(self, path):
        return path.endswith(tuple(self.lfs))

    def sibling(self, path, blobs):
        entry = {"rfilename": path}
        if blobs and not self.plain_listing:
            entry.update(size=len(self.files[path]), blobId=git_blob(self.files[path]))
            if self.is_lfs(path):
                entry["lfs"] = {"sha256": self.etags[path], "size": len(self.files[path]), "pointerSize": 134}
        return entry


class Faults:
    """What goes wrong; all of it can be changed while the servers run."""

    def __init__(self):
        self.statuses = []      # (part of a path, status, headers, how often): answered instead
        self.drops = []         # [part of a path, bytes before the connection is cut, how often]
        self.no_ranges = False  # 200 and everything, whatever was asked
        self.wrong_range = False
        self.corrupt = set()    # etags whose bytes come with one bit flipped
        self.shrink = {}        # etag -> bytes that the content network has of it
        self.encoded = False
        self.signed_uses = None  # a signed address works so often, then 403
        self.bytes_per_s = None
        self.moved = None       # relative redirect: old id -> new id
        self.circle = False
        self.lock = threading.Lock()

    def take_status(self, path):
        with self.lock:
            for fault in self.statuses:
                if fault[0] in path and fault[3] > 0:
                    fault[3] -= 1
                    return fault
        return None

    def take_drop(self, path):
        with self.lock:
            for fault in self.drops:
                if fault[0] in path and fault[2] > 0:
                    fault[2] -= 1
                    return fault[1]
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "test"

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def note(self, status, sent):
        self.server.hub.requests.append({
            "where": self.server.role, "method": self.command, "path": self.path, "status": status, "sent": sent,
            "range": self.headers.get("Range"), "token": self.headers.get("Authorization")})

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.note(status, len(body))

    def refuse(self, status, code=None, message=None):
        headers = {}
        if code:
            headers["X-Error-Code"] = code
        if message:
            headers["X-Error-Message"] = message
        self.answer(status, json.dumps({"error": message or "refused"}).encode(), headers)

    def send_file(self, data, headers, etag):
        """The bytes, or the range asked for, with all that can go wrong on the way."""
        faults = self.server.hub.faults
        if etag in faults.corrupt:
            data = data[:len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1:]
        data = data[:faults.shrink.get(etag, len(data))]
        begin, end, status = 0, len(data), 200
        asked = self.headers.get("Range")
        if asked and not faults.no_ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            begin, end = int(first), min(int(last) + 1 if last else len(data), len(data))
            if begin >= len(data) or end <= begin:
                self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            status = 206
            shown = begin + 1 if faults.wrong_range else begin
            headers["Content-Range"] = f"bytes {shown}-{end - 1}/{len(data)}"
        if faults.encoded:
            headers["Content-Encoding"] = "gzip"
        headers["Accept-Ranges"] = "bytes"
        headers["Content-Length"] = str(end - begin)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            self.note(status, 0)
            return
        sent, drop = 0, faults.take_drop(self.path)
        stop = end if drop is None else min(end, begin + drop)
        try:
            for at in range(begin, stop, 65536):
                part = data[at:min(at + 65536, stop)]
                if faults.bytes_per_s:
                    time.sleep(len(part) / faults.bytes_per_s)
                self.wfile.write(part)
                sent += len(part)
        except OSError:
            pass
        self.note(status, sent)
        if stop < end:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        try:
            fault = self.server.hub.faults.take_status(self.path)
            if fault:
                self.answer(fault[1], b"a passing weakness", fault[2])
            elif self.server.role == "hub":
                self.hub_request()
            else:
                self.content_request()
        except (BrokenPipeError, ConnectionResetError):
            pass

    # ---- the content network ----

    def content_request(self):
        hub = self.server.hub
        parts = urllib.parse.urlsplit(self.path)
        etag = parts.path.strip("/")
        signature = urllib.parse.parse_qs(parts.query).get("sig", [""])[0]
        with hub.lock:
            left = hub.signatures.get(signature, 0)
            hub.signatures[signature] = left - 1
        if left <= 0:
            self.refuse(403, message="Request has expired")
        elif hub.faults.circle:
            self.answer(302, b"", {"Location": self.path})
        else:
            self.send_file(hub.content[etag], {"ETag": f'"{etag}"'}, etag)

    # ---- the hub ----

    def repo_of(self, name, revision):
        """The repository, or None after a refusal."""
        hub = self.server.hub
        versions = hub.repos.get(name)
        token = self.headers.get("Authorization")
        if token == "Bearer bad":
            self.refuse(401, message="Invalid credentials in Authorization header")
            return None
        if versions is None:
            self.refuse(401 if token is None else 404, None if token is None else "RepoNotFound", "Repository not found")
            return None
        for repo in versions:
            if revision in (repo.branch, repo.commit):
                if repo.gated and (token is None or repo.gated == "not listed"):
                    self.refuse(401 if token is None else 403, "GatedRepo", f"Access to model {name} is restricted.")
                    return None
                return repo
        self.refuse(404, "RevisionNotFound", "Invalid rev id")
        return None

    def hub_request(self):
        hub = self.server.hub
        parts = urllib.parse.urlsplit(self.path)
        words = [urllib.parse.unquote(w) for w in parts.path.strip("/").split("/")]
        if words[:2] == ["api", "models"]:
            self.api_request(words[2:], parse_blobs(parts.query))
            return
        if "resolve" not in words:
            self.refuse(404)
            return
        at = words.index("resolve")
        name, revision, path = "/".join(words[:at]), words[at + 1], "/".join(words[at + 2:])
        if hub.faults.moved and name == hub.faults.moved[0]:
            self.answer(307, b"", {"Location": self.path.replace(name, hub.faults.moved[1], 1)})
            return
        repo = self.repo_of(name, revision)
        if repo is None:
            return
        if path not in repo.files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{repo.etags[path]}"'}
        if not repo.is_lfs(path):
            self.send_file(repo.files[path], headers, repo.etags[path])
            return
        etag = repo.etags[path]
        headers["X-Linked-Etag"] = headers.pop("ETag")
        headers["X-Linked-Size"] = str(len(repo.files[path]))
        headers["ETag"] = '"an address of its own"'
        headers["Location"] = hub.sign(etag)
        self.answer(302, b"", headers)

    def api_request(self, words, blobs):
        name, rest = ("/".join(words[:2]), words[2:]) if "/".join(words[:2]) in self.server.hub.repos or len(words) < 2 or \
            words[1] not in ("revision", "tree") else (words[0], words[1:])
        repo = self.repo_of(name, rest[1] if len(rest) > 1 else "main")
        if repo is None:
            return
        if rest[:1] == ["tree"]:
            listing = []
            for path in sorted(repo.files):
                entry = {"type": "file", "oid": git_blob(repo.files[path]), "size": len(repo.files[path]), "path": path}
                if repo.is_lfs(path):
                    entry["lfs"] = {"oid": repo.etags[path], "size": len(repo.files[path]), "pointerSize": 134}
                listing.append(entry)
        else:
            listing = {"_id": "0", "id": name, "modelId": name, "sha": repo.commit, "private": False, "gated": False,
                       "disabled": False, "downloads": 0, "likes": 0, "tags": [],
                       "siblings": [repo.sibling(path, blobs) for path in sorted(repo.files)]}
        self.answer(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})


def parse_blobs(query):
    return urllib.parse.parse_qs(query).get("blobs", [""])[0].lower() in ("true", "1")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class Hub:
    """Both servers, running. `endpoint` is what HF_ENDPOINT is to be."""

    def __init__(self):
        self.repos, self.content, self.signatures, self.requests = {}, {}, {}, []
        self.faults = Faults()
        self.lock = threading.Lock()
        self.servers = []
        for role in ("hub", "content"):
            server = Server(("127.0.0.1", 0), Handler)
            server.role, server.hub = role, self
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            self.servers.append(server)
        self.endpoint = f"http://127.0.0.1:{self.servers[0].server_address[1]}"
        self.content_at = f"http://localhost:{self.servers[1].server_address[1]}"

    def add(self, name, repo):
        """A repository, or another revision of it; the newest of a branch counts."""
        self.repos.setdefault(name, [])
        self.repos[name].insert(0, repo)
        for path, data in repo.files.items():
            if repo.is_lfs(path):
                self.content[repo.etags[path]] = data
        return repo

    def sign(self, etag):
        with self.lock:
            signature = f"s{len(self.signatures)}"
            self.signatures[signature] = self.faults.signed_uses or 1 << 30
        return f"{self.content_at}/{etag}?sig={signature}"

    def reset(self):
        self.faults = Faults()
        self.requests = []

    def sent(self, etag):
        """Bytes of a big file that were sent, all ranges together."""
        return sum(r["sent"] for r in self.requests if r["where"] == "content" and etag in r["path"])

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
