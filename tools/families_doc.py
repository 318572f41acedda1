#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/FAMILIES.md from what `lamina families --json` says and from tests/oracle/families.txt.

usage: families_doc.py [--check] [LAMINA]

LAMINA is build/lamina unless given. With --check nothing is written: the status is 1 when the page is not what would be.
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "FAMILIES.md"
CHECKS = ROOT / "tests" / "oracle" / "families.txt"

HEAD = """# Model families

Written by `tools/families_doc.py` from `lamina families --json`; `./test.sh` fails when the page and the table differ. The
table itself is `src/model/family_dense.c`, with `family_early.c`, `family_sparse.c` and `family_mixed.c` beside it, and
`docs/ADD-A-FAMILY.md` says how a row gets there. `lamina families DIR` names the row that reads a checkpoint, or says what is missing for it.

A row says what config.json does not. The numbers of heads and KV heads, the kind of RoPE scaling (linear, dynamic, llama3,
yarn, longrope), which layers have a window, and an activation other than the one below come from config.json where its keys
say so. A key that asks for something the row lacks is refused by name (exit code 9).

Rows that are found "also inside a multimodal checkpoint" read the text model of one and pass the other towers over. Models built
around text models of several families (LLaVA and its kin, InternVL, Idefics 3, Mistral 3, Kimi-K2.5, Voxtral and others:
`model_wrappers` in `src/model/family_dense.c`) are led to the row by their `text_config`.

## Which checkpoints, and what checks them

*Checked by* names folders with outputs that a reference implementation gave for a small model of the family; `./test.sh`
compares logits, greedy tokens and log-probabilities with them (`tests/oracle/run_oracle.py`, which skips folders that are
not there). `oracle/` and `demo/model` were recorded from the framework the checkpoints are written for, `tiny-hf/` from a
forward pass in float64, `golden-models/` are hidden states of single layers. `made/` are models that nothing published stands
for; their weights are computed (`tests/oracle/run_made.py`), their outputs recorded as those of `oracle/`. "nothing recorded"
means what it says.

| family | architectures in config.json | checked by |
|---|---|---|
"""


def read_checks(path=CHECKS):
    """Family -> folders with recorded outputs."""
    out = {}
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            family, folders = line.split(":", 1)
            if family in out:
                raise ValueError(f"{path}: {family} has two lines")
            out[family] = folders.split()
    return out


def table_of(lamina):
    done = subprocess.run([str(lamina), "families", "--json"], capture_output=True, timeout=60, check=True)
    return json.loads(done.stdout)


def page_of(table, checks):
    names = [f["name"] for f in table["families"]]
    out = [HEAD]
    for family in table["families"]:
        folders = ", ".join(checks.get(family["name"], [])) or "nothing recorded"
        out.append(f"| {family['name']} | {', '.join(family['architectures'])} | {folders} |\n")
    checked = sum(name in checks for name in names)
    out.append(f"\n{len(names)} families, {checked} of them with recorded outputs.\n\n## What each is\n")
    for family in table["families"]:
        out.append(f"\n### {family['name']}\n\n")
        out += [f"- {aspect}: {'; '.join(words)}\n" for aspect, words in family["features"].items()]
    out.append("\n## Rows per feature\n\n| | feature | rows |\n|---|---|---|\n")
    before = None
    for entry in table["rows_per_feature"]:
        aspect = entry["aspect"] if entry["aspect"] != before else ""
        out.append(f"| {aspect} | {entry['feature']} | {entry['rows']} |\n")
        before = entry["aspect"]
    return "".join(out)


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    lamina = pathlib.Path(arguments[0]) if arguments else ROOT / "build" / "lamina"
    page = page_of(table_of(lamina), read_checks())
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page)
        print(f"wrote {PAGE.relative_to(ROOT)}")
        return 0
    if not PAGE.exists() or PAGE.read_text() != page:
        print(f"{PAGE.relative_to(ROOT)} is not what the table says; run: python3 tools/families_doc.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
