#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The include lock: holds the source tree to the house rules that a machine can check.

Prints one line per offence and a closing line of counts; exits 1 when there was any. The arrows between rooms are data
in tools/layers.txt. Checks: arrows, cycles, third-party and system headers, private headers, every header compiles
alone, unique file names, file and function length, line width, family names outside their tables, licence line, tabs,
trailing blanks, invisible characters, printing and exiting in rooms, source lists of the build, declarations for Python.
"""
import concurrent.futures
import fnmatch
import os
import pathlib
import re
import subprocess
import sys
import unicodedata

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import python_abi  # noqa: E402
import update_sources  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Lines aim at 120 columns; a few more are let through so that a word need not break a table or a comment.
MAX_FILE, MAX_FUNCTION, MAX_COLUMNS = 800, 120, 132
KERNEL_FOLDERS = ("src/kern/ref/", "src/kern/x86/", "src/kern/arm/")
TEXT_FOLDERS = ("src", "include", "tests", "tools", "examples", "docs", "bench", "python", ".ci")
TEXT_SUFFIXES = {".c", ".h", ".cu", ".py", ".sh", ".build", ".txt", ".md", ".yml"}
LICENSED_SUFFIXES = {".c", ".h", ".cu", ".py", ".sh", ".build"}
ISO_HEADERS = set("assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg "
                  "stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath uchar wchar wctype".split())
PURE_FORBIDDEN = {"signal", "setjmp", "locale", "stdatomic", "fenv"}
# Where names of model families may stand: the table, and the tables of tokenizers and chat formats, which go by the same names
# (in GGUF files too); the inflater makes models of one family; the server speaks the interface of a program called after one.
FAMILY_TABLES = ("src/model/family_dense.c", "src/model/family_early.c", "src/model/family_sparse.c", "src/model/family_mixed.c",
                 "src/model/family_names_priv.h", "src/model/gguf_table.c", "src/model/chat_formats.c")
FAMILY_FREE = ("src/text/", "src/format/gguf_tokenizer_pre.c", "src/app/tools/", "src/app/server/")
# Words of config.json, files and formulas that are called after a family, and no sign of one.
FAMILY_WORDS = re.compile(r"llama\.cpp|minimax fit|qwen\.tiktoken", re.I)
MODEL_WORDS = re.compile(r"llama_4_scaling_beta|(?<![a-z])(MODEL_ROPE_|take_)?llama3(_frequency)?\b|"
                         r"MODEL_ROPE_QWEN_NTK|qwen_(ntk(_default)?|growth|theta)\b", re.I)
SPEAKING = re.compile(r"(?<![\w.>])(printf|fprintf|vprintf|puts|putchar|perror|exit|_exit|abort|quick_exit)\s*\(")
GLOBAL_STATE = re.compile(r"(?<![\w.>])(fopen|open|openat|clock_gettime|time|pthread_(?!once\b)\w+|getenv|setlocale|rand|strtok)\s*\(")

faults = []
counts = {}


def fault(path, line, text):
    where = f"{path}:{line}" if line else str(path)
    faults.append(f"{where}: {text}")


def read_families():
    """A pattern of what the rows of the family table are called: the first word of each name, and every architecture and model
    type as it is. A short word counts only where it stands alone, or before a digit."""
    text = "".join((ROOT / path).read_text() for path in FAMILY_TABLES if path.startswith("src/model/family_"))
    names = re.findall(r'\.name = "([a-z]+)[^"]*"', text)
    listed = [word for field in ("architectures", "model_types")
              for words in re.findall(rf"\.{field} = {{([^}}]*)}}", text) for word in re.findall(r'"([^"]+)"', words)]
    counts["families"] = len(names)
    if not names or len(listed) < len(names) or text.count(".architectures = ") != len(names):
        fault(FAMILY_TABLES[0], 0, f"{len(names)} names and {len(listed)} architectures and model types: rows cannot be read")
    stems = [name if len(name) > 4 else rf"(?<![a-z]){name}(?![a-z])" for name in sorted(set(names))]
    exact = [rf"\b{re.escape(word)}\b" for word in sorted(set(listed))]
    return re.compile("|".join(stems + exact) or "(?!)", re.I)


def read_layers():
    """Order of rooms, allowed rooms, the lists `pure` and `os`, and header owners."""
    order, allowed, special, owners = [], {}, {}, {}
    for raw in (ROOT / "tools/layers.txt").read_text().splitlines():
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        left, right = (part.strip() for part in line.split(":", 1))
        words = right.split()
        if left.startswith("<"):
            owners[left[1:-1]] = words
        elif left in ("pure", "os", "globals"):
            special[left] = set(words)
        else:
            order.append(left)
            allowed[left] = set(words)
    for room in order:
        for other in (word.split("/")[0] for word in allowed[room] - {"api.h"}):
            if other not in order or order.index(other) >= order.index(room):
                fault("tools/layers.txt", 0, f"{room} may not point at {other}: arrows go down only")
    return order, allowed, special, owners


def strip_code(text):
    """The text with comments and literals blanked, line structure kept."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def line_of(text, index):
    return text.count("\n", 0, index) + 1


def check_system_header(path, line, name, room, special, owners):
    for pattern, places in owners.items():
        if fnmatch.fnmatch(name, pattern):
            if not any(path == p or (p.endswith("/") and path.startswith(p)) for p in places):
                fault(path, line, f"<{name}> belongs to {' '.join(places)}")
            return
    stem = name[:-2]
    if stem in ISO_HEADERS:
        if room in special["pure"] and stem in PURE_FORBIDDEN:
            fault(path, line, f"<{name}> in a pure room")
        return
    if room not in special["os"]:
        fault(path, line, f"<{name}> is neither ISO C nor listed in tools/layers.txt; only {sorted(special['os'])} see the system")


def check_includes(path, text, allowed, special, owners):
    room = path.split("/")[1]
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', text, re.M):
        line, kind, name = line_of(text, match.start()), match.group(1), match.group(2)
        counts["includes"] = counts.get("includes", 0) + 1
        if kind == "<":
            check_system_header(path, line, name, room, special, owners)
        elif name == "lamina/status.h":
            continue
        elif name.startswith("lamina/"):
            if "api.h" not in allowed[room]:
                fault(path, line, f"room {room} may not include the public header {name}")
        else:
            check_own_header(path, line, name, room, allowed)


def check_own_header(path, line, name, room, allowed):
    if not (ROOT / "src" / name).is_file():
        fault(path, line, f'"{name}" is not a path below src/')
        return
    other = name.split("/")[0]
    if other != room:
        if other not in allowed[room] and name not in allowed[room]:
            fault(path, line, f"room {room} may not include {name} (tools/layers.txt)")
        elif name.endswith("_priv.h"):
            fault(path, line, f"{name} is private to room {other}")


def check_functions(path, lines):
    """A function begins at a line in column 0 that ends in '{' after ')', and ends at '}' in column 0."""
    start = None
    for number, line in enumerate(lines, 1):
        if start is None and line[:1] not in ("", " ", "#", "}", "/", "*") and line.endswith(") {"):
            start = number
        elif start is None and re.match(r"^ .*\) \{$", line) and number > 1 and "(" in "".join(lines[max(0, number - 4):number]):
            first = number - 1
            while first > 0 and lines[first - 1][:1] == " ":
                first -= 1
            if first > 0 and re.match(r"^[A-Za-z].*\([^;{}]*$", lines[first - 1]):
                start = first
        elif start is not None and line == "}":
            counts["functions"] = counts.get("functions", 0) + 1
            if number - start + 1 > MAX_FUNCTION and not path.startswith(KERNEL_FOLDERS):
                fault(path, start, f"function of {number - start + 1} lines, at most {MAX_FUNCTION}")
            start = None


def check_text(path, text):
    suffix = pathlib.Path(path).suffix
    lines = text.split("\n")
    if suffix in LICENSED_SUFFIXES and not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:2]):
        fault(path, 1, "no SPDX-License-Identifier: Apache-2.0 in the first two lines")
    if text and not text.endswith("\n"):
        fault(path, len(lines), "no newline at the end of the file")
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            fault(path, number, "tab")
        if line != line.rstrip() and suffix != ".md":
            fault(path, number, "trailing blank")
        if suffix in (".c", ".h") and len(line) > MAX_COLUMNS and not path.startswith("tests/"):
            fault(path, number, f"{len(line)} columns, at most {MAX_COLUMNS}")
        if not line.isascii():
            for char in line:
                if unicodedata.category(char) in ("Cf", "Cc", "Co", "Zl", "Zp") or (char != " " and unicodedata.category(char) == "Zs"):
                    fault(path, number, f"invisible character U+{ord(char):04X}")


def check_families(path, text, families):
    """No file knows a family by its name but the tables. Comments of the model room may mention one."""
    if path in FAMILY_TABLES or path.startswith(FAMILY_FREE):
        return
    words = FAMILY_WORDS.sub(lambda m: " " * len(m.group(0)), text)
    if path.startswith("src/model/"):
        words = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group(0)), words, flags=re.S)
        words = MODEL_WORDS.sub(lambda m: " " * len(m.group(0)), words)
    for match in families.finditer(words):
        fault(path, line_of(text, match.start()), f'family name "{match.group(0)}" outside the tables of src/model')


def check_source(path, text):
    """Rules for C files under src/."""
    room = path.split("/")[1]
    lines = text.split("\n")
    if len(lines) - 1 > MAX_FILE and not path.startswith(KERNEL_FOLDERS):
        fault(path, 0, f"{len(lines) - 1} lines, at most {MAX_FILE}")
    check_functions(path, lines)
    code = strip_code(text)
    if room != "app":
        for match in SPEAKING.finditer(code):
            fault(path, line_of(code, match.start()), f"{match.group(1)}() in a room: only app prints and exits")
    return code


def walk():
    for folder in TEXT_FOLDERS:
        for base, dirs, files in os.walk(ROOT / folder):
            dirs[:] = sorted(d for d in dirs if d not in ("corpus", "build", "__pycache__", "golden"))
            for name in sorted(files):
                path = pathlib.Path(base) / name
                if path.suffix in TEXT_SUFFIXES:
                    yield str(path.relative_to(ROOT))


def check_headers(headers):
    """Every header compiles alone."""
    def compile_one(path):
        flags = ["-std=gnu11", "-D_GNU_SOURCE", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Isrc", "-Iinclude", "-x", "c"]
        if "/x86/" in path:
            if os.uname().machine != "x86_64":
                return None
            flags += ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c"]
        elif "/arm/" in path and os.uname().machine != "aarch64":
            return None
        unit = f'#include "{path.split("/", 1)[1]}"\n'
        done = subprocess.run(["gcc", *flags, "-"], cwd=ROOT, text=True, capture_output=True, input=unit, check=False)
        return None if done.returncode == 0 else (path, done.stderr.strip().splitlines()[0] if done.stderr else "gcc failed")
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for wrong in pool.map(compile_one, headers):
            if wrong:
                fault(wrong[0], 0, f"does not compile alone: {wrong[1]}")
    counts["headers"] = len(headers)


def main():
    order, allowed, special, owners = read_layers()
    families = read_families()
    by_name, headers = {}, []
    for path in walk():
        text = (ROOT / path).read_text(encoding="utf-8", errors="strict")
        counts["files"] = counts.get("files", 0) + 1
        check_text(path, text)
        if path.endswith((".c", ".h")):
            if not path.startswith("include/"):
                by_name.setdefault(os.path.basename(path), []).append(path)
            if path.endswith(".h") and path.startswith(("src/", "include/")):
                headers.append(path)
            if path.startswith(("src/", "include/")):
                check_families(path, text, families)
            if path.startswith("src/"):
                room = path.split("/")[1]
                if room not in allowed:
                    fault(path, 0, f"room {room} is not in tools/layers.txt")
                    continue
                check_includes(path, text, allowed, special, owners)
                code = check_source(path, text)
                if room in special["pure"]:
                    for match in GLOBAL_STATE.finditer(code):
                        fault(path, line_of(code, match.start()), f"{match.group(1)}() in a pure room")
            elif path.startswith(("tests/", "examples/")):
                check_functions(path, text.split("\n"))
        if path.endswith((".c", ".py")) and not path.startswith("src/") and text.count("\n") > MAX_FILE:
            fault(path, 0, f"{text.count(chr(10))} lines, at most {MAX_FILE}")
    for name, paths in by_name.items():
        if len(paths) > 1:
            fault(paths[1], 0, f"file name {name} is taken by {paths[0]}")
    faults.extend(update_sources.differences() + python_abi.differences())
    check_headers(headers)
    print("\n".join(faults), end="\n" if faults else "")
    print(f"include lock: {len(order)} rooms, {counts.get('files', 0)} files, {counts.get('includes', 0)} includes, "
          f"{counts['headers']} headers compiled alone, {counts.get('functions', 0)} functions, "
          f"names of {counts['families']} families, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
