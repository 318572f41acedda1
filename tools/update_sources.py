#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the source lists of the build (src/<room>/meson.build and friends) from the files that are there.

Lists stay explicit, so that ninja notices a change and a stray file is never compiled by accident; this script saves the
typing. With --check it only says what differs (tools/check_layers.py calls it so).
"""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEAD = "# SPDX-License-Identifier: Apache-2.0\n# Written by tools/update_sources.py.\n"


def names(folder, pattern, recursive=False):
    base = ROOT / folder
    found = base.rglob(pattern) if recursive else base.glob(pattern)
    return sorted(str(p.relative_to(base)) for p in found if p.is_file())


def meson_list(variable, items):
    if not items:
        return f"{variable} = []\n"
    return f"{variable} = [\n" + "".join(f"  '{i}',\n" for i in items) + "]\n"


def stems(items, prefix):
    return [i[len(prefix):-2] for i in items]


def wanted_files():
    """Path of each generated list -> its text."""
    out = {}
    for room in sorted(p.name for p in (ROOT / "src").iterdir() if p.is_dir() and p.name != "app"):
        files = names(f"src/{room}", "*.c", recursive=True)
        if files:
            out[f"src/{room}/meson.build"] = HEAD + meson_list("sources", files)
    for program in ("cli", "server", "tools"):
        out[f"src/app/{program}/meson.build"] = HEAD + meson_list("sources", names(f"src/app/{program}", "*.c"))
    unit = names("tests/unit", "*.c")
    tests = [n for n in unit if n.startswith("test_")]
    out["tests/unit/meson.build"] = (HEAD + meson_list("unit_tests", stems(tests, "test_"))
                                     + meson_list("unit_support", [n for n in unit if n not in tests]))
    fuzz = [n for n in names("tests/fuzz", "fuzz_*.c")]
    out["tests/fuzz/meson.build"] = HEAD + meson_list("fuzz_targets", stems(fuzz, "fuzz_"))
    kcheck = names("tests/kcheck", "*.c")
    out["tests/kcheck/meson.build"] = HEAD + meson_list("kcheck_sources", kcheck)
    out["tests/tools/meson.build"] = HEAD + meson_list("test_tools", stems(names("tests/tools", "*.c"), ""))
    out["examples/list/meson.build"] = HEAD + meson_list("examples", names("examples", "*.c"))
    package = [n for n in names("python/lamina", "*") if n.endswith((".py", ".typed"))]
    out["python/lamina/meson.build"] = HEAD + meson_list("sources", package)
    return out


def differences():
    """Lists that are not what the tree says, as sentences."""
    found = []
    for path, text in wanted_files().items():
        target = ROOT / path
        if not target.exists() or target.read_text() != text:
            found.append(f"{path}: source list is not what the tree holds; run tools/update_sources.py")
    return found


def main():
    if sys.argv[1:] == ["--check"]:
        wrong = differences()
        print("\n".join(wrong), end="\n" if wrong else "")
        return 1 if wrong else 0
    for path, text in wanted_files().items():
        target = ROOT / path
        if not target.exists() or target.read_text() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            print("wrote", path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
