#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The family table as the program tells it: the page made from it is up to date, and rows are checked by what they say.

usage: run_families.py LAMINA TESTDATA

One TAP line per case. The last group, which row reads which recorded folder, needs TESTDATA but for
demo/model and made/.
"""
import json
import os
import pathlib
import subprocess
import sys

import run_made
import run_oracle

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import families_doc  # noqa: E402


def check_page(lamina):
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "families_doc.py"), "--check", lamina], capture_output=True,
                          timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stdout + done.stderr).decode(errors="replace").strip().replace("\n", " "))


def check_walk():
    """The row that docs/ADD-A-FAMILY.md walks through is in the table as it is shown."""
    blocks = [b for b in (ROOT / "docs" / "ADD-A-FAMILY.md").read_text().split("\n\n") if b.startswith("    {\n        .name")]
    table = "".join((ROOT / "src" / "model" / f"family_{part}.c").read_text() for part in ("dense", "sparse"))
    if len(blocks) != 1 or blocks[0] not in table:
        raise RuntimeError(f"{len(blocks)} rows are shown, expected one, and that as the table has it")


def check_folders(checks):
    """Every folder that run_oracle.py or run_made.py compares checks one row, and no other folder is said to."""
    compared = ["demo/model", *(f"made/{n}" for n in run_made.FOLDERS), *(f"oracle/{n}" for n in run_oracle.FOLDERS),
                *(f"tiny-hf/{n}" for n in run_oracle.FORWARD),
                *(f"golden-models/{n}" for n in run_oracle.HIDDEN)]
    said = [folder for folders in checks.values() for folder in folders]
    if sorted(compared) != sorted(said):
        raise RuntimeError(f"not in families.txt: {sorted(set(compared) - set(said))}; not compared: "
                           f"{sorted(set(said) - set(compared))}; twice: {sorted(f for f in set(said) if said.count(f) > 1)}")


def check_rows(table, checks):
    """Names are unique and known, architectures are there, and a row says one thing of each aspect that every model has."""
    names = [f["name"] for f in table["families"]]
    if len(set(names)) != len(names) or not names or set(checks) - set(names):
        raise RuntimeError(f"names twice, or in families.txt and not in the table: {sorted(set(checks) - set(names))}")
    for family in table["families"]:
        lacking = {"norm", "layer", "attention", "positions", "MLP"} - set(family["features"])
        if lacking or not family["architectures"]:
            raise RuntimeError(f"{family['name']} says nothing about {sorted(lacking) or 'architectures'}")


def check_features(table):
    """The counts are those of the rows, and no feature is one that no family has."""
    for entry in table["rows_per_feature"]:
        rows = sum(entry["feature"] in f["features"].get(entry["aspect"], []) for f in table["families"])
        if rows != entry["rows"] or rows == 0:
            raise RuntimeError(f"{entry['aspect']}: {entry['feature']}: {entry['rows']} said, {rows} counted")


def check_reader(lamina, folder, want):
    done = subprocess.run([lamina, "families", str(folder), "--json"], capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    got = [f["name"] for f in json.loads(done.stdout)["families"]]
    if got != [want]:
        raise RuntimeError(f"read by {got}, expected {want}")


def main():
    lamina, testdata = sys.argv[1], sys.argv[2]
    checks, table = families_doc.read_checks(), families_doc.table_of(lamina)
    there = os.path.isdir(os.path.join(testdata, "oracle"))
    jobs = [("docs/FAMILIES.md is what the table says", lambda: check_page(lamina)),
            ("docs/ADD-A-FAMILY.md shows a row as it is", check_walk),
            ("families.txt lists what is compared", lambda: check_folders(checks)),
            (f"{len(table['families'])} rows are told", lambda: check_rows(table, checks)),
            (f"{len(table['rows_per_feature'])} features are counted", lambda: check_features(table))]
    for family, folders in checks.items():
        for folder in folders:
            ours = {"demo/model": ROOT / folder, f"made/{os.path.basename(folder)}": ROOT / "tests" / "oracle" / folder}
            if there or folder in ours:
                place = ours.get(folder, os.path.join(testdata, folder))
                jobs.append((f"{folder} is read by {family}", lambda p=place, f=family: check_reader(lamina, p, f)))
    failed = 0
    for number, (name, job) in enumerate(jobs, 1):
        try:
            job()
            print(f"ok {number} - {name}")
        except (RuntimeError, OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
            failed += 1
            print(f"not ok {number} - {name}: {e}")
    if not there:
        print(f"ok {len(jobs) + 1} - rows that read recorded folders # SKIP no test data at {testdata}")
    print(f"1..{len(jobs) + (not there)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
