#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads what lamina bench wrote, each kind by a parser that lamina does not share, and says what is wrong.

usage: bench_check.py json|csv|html|quality|inject|choices|kill ...
"""
import csv
import html.parser
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

SERIES = ("tokens_per_s", "disk_bytes_per_s", "bytes_read", "drive_idle_s", "read_wait_s", "decode_s", "compute_s", "other_s",
          "ttft_warm_s")
VOID = {"meta", "link", "br", "hr", "img", "input"}


def check_json(path, model):
    with open(path, encoding="utf-8") as f:
        d = json.load(f)
    assert d["model"] == model and d["machine"]["cpu"] and d["rule"].startswith("Rule: ") and d["choices"][0]["words"].startswith("Choose ")
    assert "bench" in d["command"]
    assert len(d["choices"]) == 1
    chosen = d["rows"][d["choices"][0]["row"]]
    assert chosen["status"] == 0 and chosen["test"] == "tg4", chosen
    good = [r for r in d["rows"] if r["status"] == 0]
    failed = [r for r in d["rows"] if r["status"] != 0]
    assert [(r["codec"], r["memory"], r["test"]) for r in good] == [
        (c, "24MiB", t) for c in ("raw", "planes") for t in ("pp16", "tg4")], good
    assert [(r["codec"], r["memory"], r["status"], r["test"]) for r in failed] == [
        ("raw", "1MiB", 7, ""), ("planes", "1MiB", 7, "")], failed
    assert all("the smallest that works is" in r["error"] for r in failed)
    for r in good:
        for name in SERIES:
            values = r[name + "_all"]
            assert len(values) == 3 and all(math.isfinite(v) and v >= 0 for v in values), (name, values)
            assert math.isclose(r[name], statistics.median(values)), name
        assert r["tokens_per_s"] > 0 and r["tokens"] == int(r["test"][2:])
        assert r["memory_budget_bytes"] == 24 << 20 and 0 < r["peak_memory_bytes"] <= 24 << 20
        assert r["split"] == "now" and math.isclose(r["cold_start_s"], r["split_s"] + r["load_s"] + r["ttft_cold_s"])
        assert r["disk_limit_bytes_per_s"] is None or r["disk_limit_bytes_per_s"] > 0
        assert "ppl" not in r and "kl" not in r and r["error"] == "" and os.path.exists(r["store"] + "/lamina.json")
    bits = {r["codec"]: r["bits_per_weight"] for r in good}
    assert bits["raw"] == 16 and 8 < bits["planes"] < 16, bits
    return d


def check_csv(path, json_path):
    with open(path, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    with open(json_path, encoding="utf-8") as f:
        other = json.load(f)["rows"]
    assert len(rows) == len(other)
    for row, want in zip(rows, other):
        assert None not in row and None not in row.values(), "columns do not match the head"
        assert set(row) == {k for k in want if not k.endswith("_all")}, set(row) ^ set(want)
        for key, text in row.items():
            value = want[key]
            assert text == ("" if value is None else value) or float(text) == value, (key, text, value)


class Page(html.parser.HTMLParser):
    """Every element is closed in order, nothing is fetched and nothing runs."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.count, self.words = [], {}, []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base"), tag
        for name, value in attrs:
            assert name not in ("src", "href", "srcset", "style") and not name.startswith("on"), (tag, name)
            assert name == "xmlns" or "//" not in (value or ""), (tag, name, value)
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        if "style" in self.open:
            assert "@import" not in data and "url(" not in data, "the style fetches something"
        else:
            self.words.append(data)


def read_page(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open, page.open
    assert text.startswith("<!DOCTYPE html>\n")
    tree = ET.fromstring(text.split("\n", 1)[1])
    return page, " ".join(page.words), tree


def check_html(path, model):
    page, words, tree = read_page(path)
    space = "{http://www.w3.org/2000/svg}"
    pictures = list(tree.iter(space + "svg"))
    assert len(pictures) == page.count["svg"] and len(pictures) in (4, 5), len(pictures)
    for svg in pictures:
        left, top, width, height = map(float, svg.get("viewBox").split())
        assert (left, top) == (0, 0) and svg.get("role") == "img" and svg.get("aria-label")
        for rect in svg.iter(space + "rect"):
            x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
            assert x >= 0 and y >= 0 and w >= 0 and h > 0 and rect.get("fill") and x + w <= width + 0.1 and y + h <= height, rect.attrib
    speeds = [r for svg in pictures[:2] for r in svg.iter(space + "rect")]
    assert len(speeds) == 4 and sum(1 for svg in pictures[:2] for _ in svg.iter(space + "line")) == 3 * 4, len(speeds)
    stages = [r for svg in pictures[2:4] for r in svg.iter(space + "rect")]
    assert len(stages) == 2 * (4 + 2 * 4), len(stages)
    assert page.count["table"] == 2 and page.count["tr"] == (1 + 6) + (1 + 2), page.count
    for needed in (f"lamina bench: {model}", "Choose ", "Rule: ", "planes", "pp16", "tg4", "What failed", "1MiB", "cores",
                   "Command", "lamina bench ", "a token", "tokens/s (", "KV cache f16", "lamina 0.1.0", "medians of 3 repeats"):
        assert needed in words, needed
    assert "Perplexity" not in words


def inject_quality(path):
    """Gives the rows of a journal the figures of quality as if --text had been given."""
    with open(path, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    for line in lines:
        for row in line["rows"]:
            row["ppl"], row["ppl_error"], row["kl"], row["top1"] = {
                "raw": (9.5, 0.1, 0.0, 1.0), "planes": (9.6, 0.1, 0.01, 0.99)}[row["codec"]]
    with open(path, "w", encoding="utf-8") as f:
        for line in lines:
            f.write(json.dumps(line) + "\n")


def check_quality(html_path, csv_path):
    _, words, tree = read_page(html_path)
    points = list(tree.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(points) == 4 and "Perplexity against bits per weight" in words and "bits per weight" in words
    high, low = (float(p.get("cy")) for p in points[:2])
    assert low < high, "the worse perplexity stands higher"
    with open(csv_path, encoding="utf-8", newline="") as f:
        rows = [r for r in csv.DictReader(f) if r["status"] == "0"]
    assert [r["ppl"] for r in rows] == ["9.5", "9.5", "9.6", "9.6"], rows


def ids_of(lamina, model, text, *options):
    done = subprocess.run([lamina, "tokenize", model, "--json", *options], input=text.encode(), capture_output=True, check=True)
    return json.loads(done.stdout)["ids"]


def make_choices(lamina, model, right_path, wrong_path, norm_path):
    """Tasks of which lamina logits says what is likeliest, by number and by text; the same with another answer; and those whose
    answer is the likeliest per character, beside the share of them whose likeliest is another one."""
    tasks = [("The capital of France is", [" Lima", " Paris", " Vienna or Rome"]),
             ("The capital of Peru is ", ["Lima", "Paris"]),
             ("What is the", [" capital of Austria", " zebra", " Vienna"]),
             ("The capital of", [" Peru", " \u00d6sterreich, \u6771\u4eac", " x"]),
             ("The capital of Norway", [" is", " is Oslo.", " is the capital of Norway"]),
             ("What is the capital of Norway? zebra", [" The capital of Norway is Oslo.", " x"])]
    same = 0
    with open(right_path, "w", encoding="utf-8") as right, open(wrong_path, "w", encoding="utf-8") as wrong, \
            open(norm_path, "w", encoding="utf-8") as by_length:
        for prompt, choices in tasks:
            begin, sums = ids_of(lamina, model, prompt.rstrip()), []
            for choice in choices:
                ids = ids_of(lamina, model, prompt + choice)
                done = subprocess.run([lamina, "logits", model, "--ids", ",".join(map(str, ids)), "--kv", "f16", "--json"],
                                      capture_output=True, check=True)
                sums.append(sum(json.loads(done.stdout)["logprob_next"][len(begin) - 1:]))
            norms = [s / len(c.lstrip()) for s, c in zip(sums, choices)]
            best, norm = sums.index(max(sums)), norms.index(max(norms))
            same += best == norm
            for out, answer in ((right, best), (wrong, choices[(best + 1) % len(choices)]), (by_length, norm)):
                out.write(json.dumps({"prompt": prompt, "choices": choices, "answer": answer}) + "\n")
    print(same / len(tasks))


def children_of(group):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                fields = f.read().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(pid)
        except (OSError, IndexError):
            pass
    return found


def kill_after_first(number, journal, *command):
    """Runs a bench, sends it a signal once its journal has a line and it measures the next cell; prints its status. CHILD: kills
    the measuring process instead. SLOW-SIGKILL and the like wait until a control group of this bench has a process."""
    number, slow = (number[5:], True) if number.startswith("SLOW-") else (number, False)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < end and not (os.path.exists(journal) and open(journal, "rb").read()):
        time.sleep(0.02)
    group = f"/sys/fs/cgroup/blkio/lamina-bench-{child.pid}/cgroup.procs"
    group = group if os.path.exists("/sys/fs/cgroup/blkio") else group.replace("/blkio", "")
    while slow and child.poll() is None and time.monotonic() < end and not (os.path.exists(group) and open(group, "rb").read()):
        time.sleep(0.02)
    if child.poll() is None and number == "CHILD":
        os.kill(int(open(group, "rb").read().split()[0]), signal.SIGKILL)
    elif child.poll() is None:
        child.send_signal(getattr(signal, number))
    status = child.wait(60)
    while children_of(child.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert not children_of(child.pid), "a measuring process is left"
    print(status)


if __name__ == "__main__":
    {"json": check_json, "csv": check_csv, "html": check_html, "quality": check_quality, "inject": inject_quality,
     "choices": make_choices, "page": read_page, "kill": kill_after_first}[sys.argv[1]](*sys.argv[2:])
