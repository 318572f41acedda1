#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page of `lamina serve` as a file: small, whole, with nothing from elsewhere, and a policy that fits it.

usage: run_page.py [LAMINA_BINARY [TESTDATA]]     both ignored: the file alone is read. tools/page_check.py drives it in a browser.
"""
import html.parser
import http.client
import json
import pathlib
import re
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools"))
sys.path.insert(0, str(HERE))
import fake_page_server  # noqa: E402
import page_check  # noqa: E402

LIMIT = 60 * 1024
VOID = {"meta", "link", "input", "br", "img", "path", "circle", "line", "rect"}


class Outline(html.parser.HTMLParser):
    """Tags, attributes, and whether each tag that opens is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.ids, self.attributes, self.labelled, self.fields = [], [], [], [], 0, 0

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if "id" in values:
            self.ids.append(values["id"])
        if tag in ("input", "textarea", "select"):
            self.fields += 1
            self.labelled += "label" in self.open or any(a == ("label", "for", values.get("id", "")) for a in self.attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"{self.getpos()}: </{tag}>")


def main():
    text = page_check.PAGE.read_text(encoding="utf-8")
    script = re.search("<script>(.*?)</script>\n", text, re.S).group(1)
    outline = Outline()
    outline.feed(text)
    used = set(re.findall(r'\$\("([a-z-]+)"\)', script)) | {v for t, a, v in outline.attributes if a in ("aria-controls", "aria-labelledby",
                                                                                                   "aria-describedby", "for")}
    fetched = [(t, a, v) for t, a, v in outline.attributes if a in ("src", "href", "action", "data") and not v.startswith(("#", "data:"))]
    handlers = [(t, a) for t, a, v in outline.attributes if a.startswith("on") or a == "style"]
    forbidden = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc", script)
    server, state = fake_page_server.start(slow=0)
    link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    link.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}))
    lines = link.getresponse().read().decode().split("\n\n")
    server.shutdown()
    cases = [
        (f"at most {LIMIT} bytes", len(text.encode()) <= LIMIT, len(text.encode())),
        ("the policy's hashes fit; else run tools/page_check.py hash", page_check.with_hashes(text) == text, ""),
        ("the policy allows nothing inline besides, and no other origin",
         "unsafe" not in text and "default-src 'none'" in text and "connect-src 'self'" in text, ""),
        ("tags are closed in order", not outline.faults and not outline.open, (outline.faults, outline.open)),
        ("ids are unique", len(outline.ids) == len(set(outline.ids)), ""),
        ("ids that are used are there", used <= set(outline.ids), used - set(outline.ids)),
        ("nothing is loaded", not fetched, fetched),
        ("no handler or style in attributes, which the policy would refuse", not handlers, handlers),
        ("no way from text to HTML", not forbidden, forbidden),
        ("every field has a label", outline.fields == outline.labelled and outline.fields > 8, (outline.fields, outline.labelled)),
        ("requests stay on this origin", not re.findall(r'(?:fetch|call)\(\s*["\'`](?!/)', script), ""),
        ("both themes, less motion, narrow screens", all(w in text for w in ("prefers-color-scheme: dark", "prefers-reduced-motion",
                                                                            "max-width: 560px", 'aria-live="polite"')), ""),
        ("the fake server keeps the contract", lines[0].startswith(":") and lines[-2] == "data: [DONE]"
         and len(state.requests) == 1, lines[-3:]),
    ]
    for i, (name, good, detail) in enumerate(cases, 1):
        print(f"{'ok' if good else 'not ok'} {i} - {name}" + ("" if good else f"\n# {detail}"))
    print(f"1..{len(cases)}")
    return 0 if all(good for _, good, _ in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
